#include "execs.h"

#include "hosts.h"
#include "logs.h"
#include "mvm/base/number.h"

namespace mvm::broker {
namespace {

std::uint64_t number_of(const std::string& id) { return whole_number<std::uint64_t>(id).value_or(0); }

}  // namespace

Status Execs::load() {
  std::string after;
  for (;;) {
    MVM_ASSIGN(const auto page, core_.store.list("execs/", after, 500));
    if (page.empty()) return ok();
    for (const auto& entry : page) {
      MVM_ASSIGN(auto record, decode_exec(entry.value));
      execs_[number_of(record.id)] = std::move(record);
    }
    after = page.back().key;
  }
}

ExecRecord& Execs::add(const std::string& user, const std::string& lab, const std::string& node,
                       const std::string& host) {
  trim();
  const auto number = core_.next_number("exec");
  auto& record = execs_[number];
  record = {.id = std::to_string(number),
            .lab = lab,
            .node = node,
            .host = host,
            .user = user,
            .ended = false,
            .code = 0,
            .at_ms = core_.clock.wall_ms()};
  core_.journal.put("execs/" + padded(number), encode(record));
  return record;
}

void Execs::trim() {
  for (auto it = execs_.begin(); it != execs_.end() && execs_.size() >= core_.config.limits.execs_kept;) {
    if (!it->second.ended) {
      ++it;
      continue;
    }
    core_.logs->erase("exec/" + it->second.id);
    core_.journal.erase("execs/" + padded(it->first));
    it = execs_.erase(it);
  }
}

ExecRecord* Execs::find(const std::string& id) {
  const auto found = execs_.find(number_of(id));
  return found == execs_.end() ? nullptr : &found->second;
}

ExecRecord* Execs::of_process(const std::string& proc) {
  return proc.starts_with("exec/") ? find(proc.substr(5)) : nullptr;
}

void Execs::output(ExecRecord& exec, const std::string& stream, std::uint64_t offset,
                   const std::string& text) {
  core_.logs->append("exec/" + exec.id, {.process = "exec/" + exec.id,
                                         .node = exec.node,
                                         .stream = stream,
                                         .offset = offset,
                                         .at_ms = 0,
                                         .text = text});
}

void Execs::ended(ExecRecord& exec, int code) {
  if (exec.ended) return;
  exec.ended = true;
  exec.code = code;
  core_.journal.put("execs/" + padded(number_of(exec.id)), encode(exec));
  // What it left in the node goes; where that fails it goes with the node.
  core_.hosts->with(
      exec.host,
      [lab = exec.lab, node = exec.node, attempt = "exec-" + exec.id,
       timeout = core_.config.call_timeout](host::HostAgent& agent) -> Status {
        MVM_TRY(agent.call(lab, node, "attempt.clean", {{"attempt", attempt}}, {}, timeout));
        return ok();
      },
      [](const Status&) {});
  core_.look();
}

void Execs::node_lost(const std::string& lab, const std::string& node, const std::string& reason) {
  for (auto& [number, exec] : execs_)
    if (!exec.ended && exec.lab == lab && exec.node == node) {
      exec.ended = true;
      exec.code = 255;
      core_.journal.put("execs/" + padded(number), encode(exec));
      core_.logs->note("exec/" + exec.id, "err", "node " + node + " was lost: " + reason + "\n");
    }
}

}  // namespace mvm::broker
