// mvm events, whoami

#include <ostream>

#include "common.h"
#include "format.h"

namespace mvm::cli {
namespace {

using std::chrono::milliseconds;

// ---- events

struct EventOptions {
  bool follow = false;
  std::string lab, job, retry_for = "60s";
  std::uint64_t since = 0;
};

Json event_json(const soap::EventView& event) {
  Json json = Json::object();
  json["seq"] = event.seq;
  json["time"] = iso_time(event.at_ms);
  json["event"] = event.event;
  json["lab"] = event.lab;
  json["job"] = event.job;
  json["node"] = event.node;
  json["detail"] = event.detail;
  return json;
}

Listing event_listing(const std::vector<soap::EventView>& events) {
  Listing listing("event", {{"SEQ", "seq", true},
                            {"TIME", "time"},
                            {"EVENT", "event"},
                            {"LAB", "lab"},
                            {"JOB", "job"},
                            {"NODE", "node"},
                            {"DETAIL", "detail"}});
  for (const soap::EventView& event : events) {
    listing.row({event.seq,
                 {local_time(event.at_ms), iso_time(event.at_ms)},
                 event.event,
                 event.lab,
                 event.job,
                 event.node,
                 event.detail});
  }
  return listing;
}

/// One line as it comes, without waiting for the widths of the next.
void print_event(Session& session, const soap::EventView& event) {
  if (!session.as_table()) {
    Json json = schema_object("event");
    json.update(event_json(event));
    return print_json(session.out(), Format::kJsonl, json);
  }
  std::string text = local_time(event.at_ms) + "  " + event.event;
  if (!event.lab.empty()) text += "  lab=" + event.lab;
  if (!event.job.empty()) text += "  job=" + event.job;
  if (!event.node.empty()) text += "  node=" + event.node;
  if (!event.detail.empty()) text += "  " + event.detail;
  session.out() << one_line(text) << '\n';
}

Result<int> events(Session& session, const EventOptions& options) {
  MVM_ASSIGN(const milliseconds patience, parse_time(options.retry_for));
  MVM_ASSIGN(auto api, session.api());
  std::uint64_t cursor = options.since;
  std::vector<soap::EventView> all;
  Pacer pacer(session);
  const int pressed = session.context().interrupts.count();
  for (bool first = true;; first = false) {
    pacer.begin();
    const auto ask = [&] {
      return api.system.events(session.caller(), cursor,
                               options.follow && !first ? kLongPoll : milliseconds(0));
    };
    MVM_ASSIGN(const auto page,
               patiently(session, options.follow && !first ? patience : milliseconds(0), ask));
    for (const soap::EventView& event : page.events) {
      if (!options.lab.empty() && event.lab != options.lab) continue;
      if (!options.job.empty() && event.job != options.job) continue;
      if (options.follow) {
        print_event(session, event);
      } else {
        all.push_back(event);
      }
    }
    session.out().flush();
    const bool nothing = page.events.empty();
    cursor = page.cursor;
    if (!options.follow && nothing) break;
    if (!session.out() || session.context().interrupts.count() != pressed) break;
    if (options.follow) pacer.end(!nothing || first);
  }
  if (!options.follow) session.print(event_listing(all));
  return kDone;
}

void add_events(Grammar& grammar) {
  auto options = std::make_shared<EventOptions>();
  CLI::App& verb =
      grammar.verb(grammar.root(), "events", "what happened: jobs, nodes, labs, hosts",
                   {"mvm events", "mvm events -f --job job-7", "mvm events --since 120 -o jsonl"},
                   [options](Session& session) { return events(session, *options); });
  verb.add_flag("-f,--follow", options->follow, "go on until Ctrl-C; with -o json one object a line");
  grammar.completes(verb.add_option("--lab", options->lab, "only of this lab")->type_name("LAB"),
                    Completes::kLab);
  grammar.completes(verb.add_option("--job", options->job, "only of this job")->type_name("JOB"),
                    Completes::kJob);
  verb.add_option("--since", options->since, "only behind this number")->type_name("SEQ");
  verb.add_option("--retry-for", options->retry_for, "how long to look for a broker that went away")
      ->type_name("TIME");
}

// ---- whoami

void add_whoami(Grammar& grammar) {
  grammar.verb(
      grammar.root(), "whoami", "who you are to the broker", {"mvm whoami", "mvm whoami -o json"},
      [](Session& session) -> Result<int> {
        MVM_ASSIGN(auto api, session.api());
        MVM_ASSIGN(const auto who, api.system.whoami(session.caller()));
        Record record("whoami");
        record.field("User", "user", who.caller.user);
        record.field("Role", "role", who.caller.role);
        record.field("Lab", "lab", {who.caller.lab.empty() ? "any" : who.caller.lab, who.caller.lab});
        record.field("Broker", "broker", who.broker);
        record.field("Version", "version", who.version);
        session.print(record);
        return kDone;
      });
}

}  // namespace

void add_system_verbs(Grammar& grammar) {
  add_events(grammar);
  add_whoami(grammar);
}

}  // namespace mvm::cli
