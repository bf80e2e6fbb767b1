// mvm dvm ...: nodes of a lab that are one distributed virtual machine. [Harness 000, §2.2]

#include <algorithm>
#include <ostream>

#include "common.h"
#include "format.h"
#include "kernel_targets.h"
#include "mvm/soap/dvm_api.h"

namespace mvm::cli {
namespace {

using soap::DvmOutcome;
using soap::DvmView;

struct Options {
  std::string lab, name, node;
  std::vector<std::string> nodes;
};
using OptionsPtr = std::shared_ptr<Options>;

Result<soap::DvmTarget> target_of(Session& session, const Options& options) {
  MVM_ASSIGN(std::string lab, resolve_lab_or_job(session, options.lab));
  return soap::DvmTarget{.lab = std::move(lab), .name = options.name};
}

// ---- looking ----------------------------------------------------------------------------------------------

Json member_json(const soap::DvmMember& member) {
  return {{"kernel", member.name},      {"state", member.lost ? "lost" : "present"},
          {"server", member.server},    {"voter", member.voter},
          {"address", member.address},  {"architecture", member.architecture},
          {"services", member.services}};
}

void print_machine(Session& session, const DvmView& machine) {
  const auto lost = static_cast<std::size_t>(std::count_if(machine.members.begin(), machine.members.end(),
                                                           [](const auto& member) { return member.lost; }));
  const auto voters = static_cast<std::size_t>(std::count_if(
      machine.members.begin(), machine.members.end(), [](const auto& member) { return member.voter; }));
  session.out() << "machine " << one_line(machine.name) << " of lab " << one_line(machine.lab) << ": "
                << count_of(machine.members.size(), "kernel");
  if (lost > 0) session.out() << ", " << lost << " of them lost";
  session.out() << "; " << count_of(voters, "voter") << "; status server "
                << (machine.server.empty() ? "-" : one_line(machine.server)) << " (term " << machine.term
                << ")\nbaseline " << (machine.baseline.empty() ? "-" : one_line(join(machine.baseline, " ")))
                << '\n';
}

/// A table for each machine; JSON has a row for each, with its members.
Result<int> conf(Session& session, const Options& options) {
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto machines, api.dvm.conf(session.caller(), target));
  std::size_t silent = 0;
  Listing whole("dvm", {{"", "lab"},
                        {"", "name"},
                        {"", "server"},
                        {"", "term"},
                        {"", "number"},
                        {"", "baseline"},
                        {"", "members"},
                        {"", "trouble"}});
  for (const DvmView& machine : machines) {
    if (session.as_table()) {
      print_machine(session, machine);
      Listing members("dvm-member", {{"KERNEL", "kernel"},
                                     {"STATE", "state"},
                                     {"ROLE", "role"},
                                     {"ADDRESS", "address"},
                                     {"ARCH", "architecture"},
                                     {"SERVICES", "services"}});
      for (const soap::DvmMember& member : machine.members)
        members.row({{one_line(member.name), member.name},
                     {member.lost ? "lost" : "present", "", member.lost ? Colour::kBad : Colour::kGood},
                     {member.server  ? "server"
                      : member.voter ? "voter"
                                     : "-",
                      ""},
                     {one_line(member.address), member.address},
                     {one_line(member.architecture), member.architecture},
                     {member.services.empty() ? "-" : one_line(join(member.services, " ")), ""}});
      session.print(members);
    }
    Json members = Json::array();
    for (const soap::DvmMember& member : machine.members) members.push_back(member_json(member));
    whole.row({machine.lab,
               machine.name,
               machine.server,
               machine.term,
               machine.number,
               {"", Json(machine.baseline)},
               {"", std::move(members)},
               machine.trouble});
    if (machine.trouble.empty()) continue;
    ++silent;
    session.err() << "mvm: " << one_line(machine.name + ": " + machine.trouble) << '\n';
  }
  if (!session.as_table()) session.print(whole);
  return silent == 0 ? kDone : silent == machines.size() ? kOperationFailed : kPartly;
}

// ---- changing ---------------------------------------------------------------------------------------------

void print_outcome(Session& session, const DvmOutcome& outcome) {
  Listing listing("dvm-command",
                  {{"NODE", "node"}, {"DONE", "done"}, {"REASON", "reason"}, {"", "user"}, {"", "password"}});
  for (const soap::DvmAnswer& answer : outcome.answers)
    listing.row({{one_line(answer.node), answer.node},
                 {answer.done ? "yes" : "no", answer.done, answer.done ? Colour::kGood : Colour::kBad},
                 {one_line(answer.reason), answer.reason},
                 {"", outcome.user},
                 {"", outcome.password}});
  session.print(listing);
}

std::size_t done_of(const DvmOutcome& outcome) {
  return static_cast<std::size_t>(std::count_if(outcome.answers.begin(), outcome.answers.end(),
                                                [](const auto& answer) { return answer.done; }));
}

Result<int> create(Session& session, const Options& options) {
  MVM_ASSIGN(const auto target, target_of(session, options));
  std::vector<std::string> nodes;
  for (const std::string& text : options.nodes) {
    MVM_ASSIGN(std::string node, node_of_lab(text, target.lab, options.lab, "a machine"));
    nodes.push_back(std::move(node));
  }
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto outcome, api.dvm.create(session.caller(), target, nodes));
  print_outcome(session, outcome);
  if (!outcome.committed) {
    session.err() << "mvm: nothing was done: not every node is able\n";
    return kAllAborted;
  }
  if (session.as_table())
    session.out() << "applications on its nodes register as " << outcome.user << " with the password "
                  << outcome.password << ", which is shown this once\n";
  return kDone;
}

Result<int> one_node(Session& session, const Options& options, bool joins) {
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(const std::string node, node_of_lab(options.node, target.lab, options.lab, "a machine"));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto outcome, joins ? api.dvm.add(session.caller(), target, node)
                                       : api.dvm.remove(session.caller(), target, node));
  print_outcome(session, outcome);
  return outcome.committed ? kDone : kOperationFailed;
}

Result<int> add(Session& session, const Options& options) { return one_node(session, options, true); }
Result<int> remove(Session& session, const Options& options) { return one_node(session, options, false); }

Result<int> halt(Session& session, const Options& options) {
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto outcome, api.dvm.halt(session.caller(), target));
  print_outcome(session, outcome);
  const std::size_t done = done_of(outcome);
  return done == outcome.answers.size() ? kDone : done == 0 ? kOperationFailed : kPartly;
}

}  // namespace

void add_dvm_verbs(Grammar& grammar) {
  CLI::App& noun = grammar.noun("dvm", "distributed virtual machines: kernels of a lab that are one");
  const auto verb = [&](const char* name, const char* about, const std::vector<std::string>& examples,
                        Result<int> (*run)(Session&, const Options&), bool needs_name) {
    auto options = std::make_shared<Options>();
    CLI::App& app = grammar.verb(noun, name, about, examples,
                                 [options, run](Session& session) { return run(session, *options); });
    grammar.completes(app.add_option("LAB", options->lab, "a lab or a job")->required(), Completes::kLab);
    CLI::Option* const machine = app.add_option("NAME", options->name, "of the machine");
    if (needs_name) machine->required();
    return std::pair<CLI::App*, OptionsPtr>(&app, options);
  };
  verb("conf", "members, voters, status server, services and baseline of a lab's machines",
       {"mvm dvm conf lab-3", "mvm dvm conf lab-3 blue -o json"}, conf, false);
  {
    const auto [app, options] =
        verb("create", "makes nodes of a lab one machine, all of them or none",
             {"mvm dvm create lab-3 blue", "mvm dvm create lab-3 blue cell-0 cell-1"}, create, true);
    grammar.completes(app->add_option("NODE", options->nodes, "the first founds it (all of the lab)"),
                      Completes::kNode);
  }
  {
    const auto [app, options] =
        verb("add", "has another node join", {"mvm dvm add lab-3 blue cell-2"}, add, true);
    grammar.completes(app->add_option("NODE", options->node, "a node of the lab")->required(),
                      Completes::kNode);
  }
  {
    const auto [app, options] = verb("remove", "has a node leave, or removes one that is dead",
                                     {"mvm dvm remove lab-3 blue cell-2"}, remove, true);
    grammar.completes(app->add_option("NODE", options->node, "a node of the machine")->required(),
                      Completes::kNode);
  }
  verb("halt", "ends a machine on all of its nodes; what they run otherwise lives on",
       {"mvm dvm halt lab-3 blue"}, halt, true);
}

}  // namespace mvm::cli
