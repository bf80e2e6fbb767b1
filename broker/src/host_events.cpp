// What a host's event means (docs/formats/guest-channel.md, Events). Everything in it comes from outside.

#include "builds.h"
#include "execs.h"
#include "hosts.h"
#include "jobs.h"
#include "json_fields.h"
#include "labs.h"
#include "mvm/base/log.h"
#include "scheduler.h"

namespace mvm::broker {
namespace {

using nlohmann::json;

using fields::number;
using fields::small;
using fields::text;

void process_exit(Core& core, const json& args) {
  const auto usage = fields::object(args, "usage");
  const EndRecord end{.code = small(args, "code"),
                      .signal = small(args, "signal"),
                      .user_ms = number(usage, "user_ms"),
                      .system_ms = number(usage, "system_ms"),
                      .max_rss = number(usage, "max_rss")};
  const auto proc = text(args, "proc");
  if (auto* exec = core.execs->of_process(proc))
    core.execs->ended(*exec, end.signal != 0 ? 128 + end.signal : end.code);
  else
    core.jobs->process_ended(proc, end);
}

void process_output(Core& core, const host::HostEvent& event) {
  const auto proc = text(event.args, "proc");
  const std::string stream = text(event.args, "stream") == "err" ? "err" : "out";
  const auto offset = number(event.args, "offset");
  if (auto* exec = core.execs->of_process(proc))
    core.execs->output(*exec, stream, offset, event.blob);
  else
    core.jobs->process_output(proc, event.node, stream, offset, event.blob);
}

void tell(Core& core, const host::HostEvent& event, const std::string& detail) {
  const auto* lab = core.labs->find(event.lab);
  core.journal.event({.event = event.event,
                      .lab = event.lab,
                      .job = lab == nullptr ? std::string() : lab->record.job,
                      .node = event.node,
                      .detail = detail,
                      .user = lab == nullptr ? std::string() : lab->record.user});
}

}  // namespace

void handle_event(Core& core, const std::string& host, const host::HostEvent& event) {
  const json args = event.args.is_object() ? event.args : json::object();
  if (!event.lab.empty() && !core.labs->belongs(event.lab, host)) return;  // of a lab that is gone
  if (event.event == "proc.exit") {
    process_exit(core, args);
  } else if (event.event == "proc.output") {
    process_output(core, event);
  } else if (event.event == "build.output") {
    core.builds->output(text(args, "key"), event.node, number(args, "offset"), event.blob);
  } else if (event.event == "build.done") {
    core.builds->done(text(args, "key"), event.lab, event.node, args);
  } else if (event.event == "node.lost") {
    core.labs->node_lost(event.lab, event.node, text(args, "reason"), text(args, "boot"));
  } else if (event.event == "lab.child") {
    tell(core, event, text(args, "reason"));
    core.jobs->proxy_lost(event.lab, host, static_cast<std::uint16_t>(number(args, "port")),
                          text(args, "reason"));
  } else if (event.event == "link.failed") {
    core.jobs->link_failed(text(args, "attempt"), number(args, "link"),
                           text(args, "why") + " (codecs " + text(args, "codecs") + ", message " +
                               std::to_string(number(args, "message")) + ", told by " +
                               (event.node.empty() ? "host " + host : "node " + event.node) + ")");
  } else if (event.event == "node.up") {
    tell(core, event, "on host " + host);
    if (fields::flag(args, "adopted")) core.labs->meet(event.lab, event.node);
  } else if (event.event == "node.kernel") {
    tell(core, event, "its kernel was started again; jobs live on");
  } else if (event.event == "plugin.lost") {
    tell(core, event, "plug-in " + text(args, "plugin") + " is not loaded any more: " + text(args, "reason"));
  } else if (event.event == "host.hypervisor") {
    tell(core, event,
         "host " + host + ": " + text(args, "driver") +
             (fields::flag(args, "connected") ? " connected" : " disconnected"));
    core.hosts->refresh(host);
  } else {
    log::debug("host.event-unknown", {{"event", event.event}, {"host", host}});
  }
}

}  // namespace mvm::broker
