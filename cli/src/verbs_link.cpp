// mvm link list|connect|disconnect|set

#include "common.h"
#include "profile_file.h"
#include "rewire.h"
#include "vm_listing.h"

namespace mvm::cli {
namespace {

void add_list(Grammar& grammar, CLI::App& link) {
  struct Options {
    std::string lab;
    std::shared_ptr<Watch> watch;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb =
      grammar.verb(link, "list", "links of a lab, or of all labs",
                   {"mvm link list lab-3", "mvm link list lab-3 -o jsonl"}, [options](Session& session) {
                     return show<Listing>(session, *options->watch, [&]() -> Result<Listing> {
                       std::string lab;
                       if (!options->lab.empty()) {
                         MVM_ASSIGN(lab, resolve_lab(session, options->lab));
                       }
                       MVM_ASSIGN(auto api, session.api());
                       MVM_ASSIGN(const auto links, api.labs.links(session.caller(), lab));
                       return link_listing(links);
                     });
                   });
  grammar.completes(verb.add_option("--lab,LAB", options->lab, "only of this lab")->type_name("LAB"),
                    Completes::kLab);
  options->watch = add_watch(grammar, verb);
}

/// --job, and the user's only running job where it is not given.
void add_job(Grammar& grammar, CLI::App& verb, std::string& job) {
  grammar.completes(
      verb.add_option("--job", job, "of this job, or of the one in this lab (your only one that runs)")
          ->type_name("JOB"),
      Completes::kJob);
}

Result<std::string> job_or_only(Session& session, const std::string& job) {
  if (!job.empty()) return job;
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto jobs, api.jobs.jobs(session.caller(), false));
  std::string found;
  for (const soap::JobView& one : jobs) {
    if (one.state != "RUNNING") continue;
    if (!found.empty())
      return Error(ErrorCode::kInvalid, "several jobs run: found no --job, expected one of them");
    found = one.id;
  }
  if (found.empty()) return Error(ErrorCode::kNotFound, "no job runs");
  return found;
}

void add_connect(Grammar& grammar, CLI::App& link) {
  struct Options {
    std::string job;
    soap::LinkEdit edit;
    RewireOptions rewire;
    std::map<std::string, std::string> attributes;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(
      link, "connect", "joins ports of a running job by a new link",
      {"mvm link connect source.out sink.in --job 12",
       "mvm link connect source.out \"sink[0].in sink[1].in\" --deliver every-one --capacity 64"},
      [options](Session& session) -> Result<int> {
        soap::RewireRequest request;
        MVM_ASSIGN(request.target, job_or_only(session, options->job));
        for (const auto& [name, value] : options->attributes)
          if (!value.empty()) options->edit.attributes[name] = value;
        request.edits.push_back(options->edit);
        return rewire(session, std::move(request), options->rewire);
      });
  verb.add_option("FROM", options->edit.from, "out ports, as in a topology file")->required();
  verb.add_option("TO", options->edit.to, "in ports")->required();
  add_job(grammar, verb, options->job);
  verb.add_option("--name", options->edit.link, "the link's name (made from its ends)")->type_name("NAME");
  const auto attribute = [&](const char* flag, const char* name, const char* about, const char* type) {
    verb.add_option(flag, options->attributes[name], about)->type_name(type);
  };
  attribute("--type", "type", "fifo, priority or latest", "TYPE");
  attribute("--capacity", "capacity", "messages", "N");
  attribute("--bytes", "bytes", "bytes of messages", "SIZE");
  attribute("--when-full", "when-full", "block, drop-oldest, drop-newest or fail", "RULE");
  attribute("--block-for", "timeout", "longest wait of block", "TIME");
  attribute("--ttl", "ttl", "messages that wait longer are dropped", "TIME");
  attribute("--deliver", "deliver", "one-of, every-one or by-key", "RULE");
  attribute("--codec", "codec", "codecs, in their order", "NAMES");
  attribute("--transport", "transport", "a transport to be forced", "NAME");
  add_rewire_options(verb, options->rewire);
}

void add_disconnect(Grammar& grammar, CLI::App& link) {
  struct Options {
    std::string job, name;
    RewireOptions rewire;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb =
      grammar.verb(link, "disconnect", "takes a link from a running job; what is in it is still delivered",
                   {"mvm link disconnect \"ring[3]\" --job 12"}, [options](Session& session) -> Result<int> {
                     soap::RewireRequest request;
                     MVM_ASSIGN(request.target, job_or_only(session, options->job));
                     soap::LinkEdit edit;
                     edit.kind = soap::LinkEdit::Kind::kDisconnect;
                     edit.link = options->name;
                     request.edits.push_back(edit);
                     return rewire(session, std::move(request), options->rewire);
                   });
  verb.add_option("LINK", options->name, "its name, as link list shows it")->required();
  add_job(grammar, verb, options->job);
  add_rewire_options(verb, options->rewire);
}

void add_set(Grammar& grammar, CLI::App& link) {
  struct Options {
    std::string job, link;
    std::vector<std::string> changes;
    RewireOptions rewire;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(
      link, "set", "changes attributes of a link of a running job",
      {"mvm link set 12 \"ring[3]\" capacity=1024 when-full=drop-oldest",
       "mvm link set 12 ring codec=\"zstd:3 checksum\" --dry-run", "mvm link set lab-3 \"ring[0]\" ttl="},
      [options](Session& session) -> Result<int> {
        soap::RewireRequest request;
        request.target = options->job;
        soap::LinkEdit edit;
        edit.kind = soap::LinkEdit::Kind::kSet;
        edit.link = options->link;
        MVM_ASSIGN(edit.attributes, parse_settings(options->changes, {}));
        request.edits.push_back(std::move(edit));
        return rewire(session, std::move(request), options->rewire);
      });
  grammar.completes(verb.add_option("--job,JOB", options->job, "of this job, or of the one in this lab")
                        ->type_name("JOB")
                        ->required(),
                    Completes::kJob);
  verb.add_option("LINK", options->link,
                  "its name, as link list shows it; ring: all of ring[0], ring[1], ...")
      ->required();
  verb.add_option("ATTRIBUTE", options->changes, "KEY=VALUE as in a topology file; KEY= takes it away")
      ->required();
  add_rewire_options(verb, options->rewire);
}

}  // namespace

void add_link_verbs(Grammar& grammar) {
  CLI::App& link = grammar.noun("link", "links: what joins processes");
  add_list(grammar, link);
  add_connect(grammar, link);
  add_disconnect(grammar, link);
  add_set(grammar, link);
}

}  // namespace mvm::cli
