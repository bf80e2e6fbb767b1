// mvm lab ...

#include <map>
#include <ostream>

#include "common.h"
#include "format.h"
#include "mvm/base/digest.h"
#include "offline_plan.h"
#include "profile_file.h"
#include "rewire.h"
#include "vm_listing.h"

namespace mvm::cli {
namespace {

std::shared_ptr<std::string> add_lab_id(Grammar& grammar, CLI::App& verb) {
  auto lab = std::make_shared<std::string>();
  grammar.completes(verb.add_option("LAB", *lab, "the lab's id or name")->required(), Completes::kLab);
  return lab;
}

// ---- create

struct CreateOptions {
  std::shared_ptr<FileOptions> file;
  bool parsable = false, dry_run = false, detach = false;
};

/// Waits until the lab's VMs are up; Ctrl-C ends the wait, not the lab. What keeps them is said as it
/// changes.
Status await_lab(Session& session, const std::string& id) {
  Context& context = session.context();
  const int pressed = context.interrupts.count();
  std::string told;
  for (;;) {
    MVM_ASSIGN(auto api, session.api());
    MVM_ASSIGN(const soap::LabView lab, patiently(session, std::chrono::seconds(60),
                                                  [&] { return api.labs.lab(session.caller(), id); }));
    if (!lab.state.starts_with("starting") || context.interrupts.count() != pressed) return ok();
    if (lab.state != "starting" && lab.state != told)
      context.err << "mvm: lab " << id << ": " << lab.state << '\n';
    told = lab.state;
    context.sleep(std::chrono::milliseconds(50));
  }
}

Result<int> create(Session& session, const CreateOptions& options) {
  MVM_ASSIGN(Prepared prepared, Prepared::prepare(session, *options.file));
  MVM_ASSIGN(auto api, session.api());
  if (prepared.profile.machines.empty()) {
    return Error(ErrorCode::kInvalid, options.file->file + ": found no machines, expected at least one");
  }
  if (options.dry_run) {
    MVM_ASSIGN(const auto view, api.jobs.plan(session.caller(), prepared.request));
    Record record("dry-run");
    record.field("Would create", "name", view.name);
    record.field("Nodes", "nodes", view.nodes.size());
    record.field("Cannot be placed now", "reasons",
                 {view.reasons.empty() ? "-" : join(view.reasons, "\n"), view.reasons});
    session.print(record);
    return view.reasons.empty() ? kDone : kNotPlaceable;
  }
  MVM_TRY(upload_missing(session, prepared.uploads));
  prepared.request.request = random_hex(16);
  MVM_ASSIGN(const std::string id, patiently(session, std::chrono::seconds(5), [&] {
               return api.labs.create_lab(session.caller(), prepared.request);
             }));
  if (!options.detach) MVM_TRY(await_lab(session, id));
  if (options.parsable) {
    session.out() << id << '\n';
  } else if (session.as_table()) {
    session.out() << "lab " << id << (options.detach ? " created\n" : " is up\n");
    session.hint("mvm vm list " + id);
  } else {
    Json json = schema_object("lab-creation");
    json["id"] = id;
    print_json(session.out(), session.format(), json);
  }
  return kDone;
}

void add_create(Grammar& grammar, CLI::App& noun) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App& verb =
      grammar.verb(noun, "create", "makes a lab's VMs and network now, and waits for them; jobs come later",
                   {"mvm lab create lab.xml", "mvm lab create lab.xml --detach",
                    "lab=$(mvm lab create lab.xml --parsable)"},
                   [options](Session& session) { return create(session, *options); });
  options->file = add_file(grammar, verb);
  verb.add_flag("--parsable", options->parsable, "print the lab's id alone");
  verb.add_flag("--dry-run", options->dry_run, "only say what would be done");
  verb.add_flag("--detach", options->detach, "do not wait for the VMs");
}

// ---- apply

/// The user's lab of this name, where there is one.
Result<std::optional<soap::LabView>> find_lab(Session& session, const std::string& name) {
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto labs, api.labs.labs(session.caller()));
  for (const soap::LabView& lab : labs) {
    const bool ours = session.caller().user.empty() || lab.user == session.caller().user;
    if (lab.name == name && ours && !lab.ephemeral) return lab;
  }
  return std::optional<soap::LabView>();
}

/// How a lab's VMs differ from what a file asks for: "new node-2", "removed node-0", "changed node-1".
std::vector<std::string> differences(const topologies::Profile& profile,
                                     const std::vector<soap::VmView>& vms) {
  std::map<std::string, const soap::VmView*> there;
  for (const soap::VmView& vm : vms) there[vm.node] = &vm;
  std::vector<std::string> changes;
  for (const OfflinePlan::Node& node : plan_offline(profile).nodes) {
    const auto found = there.find(node.name);
    if (found == there.end()) {
      changes.push_back("new " + node.name);
      continue;
    }
    const topologies::Machines& want = profile.machines[node.machines];
    const soap::VmView& vm = *found->second;
    if (vm.driver != want.driver || vm.image != want.image || vm.vcpus != want.vcpus ||
        vm.memory != want.memory) {
      changes.push_back("changed " + node.name);
    }
    there.erase(found);
  }
  for (const auto& [name, vm] : there) changes.push_back("removed " + name);
  return changes;
}

/// Creates the lab unless it is there already just as the file says.
Result<int> apply(Session& session, const CreateOptions& options) {
  MVM_ASSIGN(const auto profile, read_profile(*options.file));
  MVM_ASSIGN(const auto lab, find_lab(session, profile.name));
  if (!lab) return create(session, options);
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto vms, api.labs.vms(session.caller(), lab->id));
  const auto changes = differences(profile, vms);
  if (!changes.empty()) {
    session.hint("mvm lab destroy " + lab->id);
    return Error(ErrorCode::kConflict, "found lab " + lab->id + " with other nodes (" + join(changes, ", ") +
                                           "); expected what " + options.file->file + " says");
  }
  if (options.parsable) {
    session.out() << lab->id << '\n';
  } else if (session.as_table()) {
    session.out() << "lab " << lab->id << " is as the file says\n";
  } else {
    Json json = schema_object("lab-creation");
    json["id"] = lab->id;
    print_json(session.out(), session.format(), json);
  }
  return kDone;
}

void add_apply(Grammar& grammar, CLI::App& noun) {
  struct Options {
    CreateOptions create;
    std::string target;
    RewireOptions rewire;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(
      noun, "apply",
      "creates the lab unless it is there as the file says; of two arguments: rewires the job or lab",
      {"mvm lab apply lab.xml", "lab=$(mvm lab apply lab.xml --parsable)",
       "mvm lab apply LAB-OR-JOB topology.xml --dry-run", "mvm lab apply 12 topology.xml --set n=8"},
      [options](Session& session) -> Result<int> {
        // Two arguments: what is to change, and the file. One: the file.
        FileOptions& file = *options->create.file;
        options->create.dry_run = options->rewire.dry_run;
        if (options->target.empty()) return apply(session, options->create);
        std::swap(options->target, file.file);
        return apply_topology(session, options->target, file, options->rewire);
      });
  options->create.file = add_file(grammar, verb);
  grammar.completes(
      verb.add_option("NEW", options->target,
                      "the file, where the first argument is a job or lab to be rewired while it runs"),
      Completes::kFile);
  verb.add_flag("--parsable", options->create.parsable, "print the lab's id alone");
  add_rewire_options(verb, options->rewire);
}

// ---- list, inspect

void add_list(Grammar& grammar, CLI::App& noun) {
  auto watch = std::make_shared<std::shared_ptr<Watch>>();
  CLI::App& verb =
      grammar.verb(noun, "list", "the labs there are", {"mvm lab list", "mvm lab list -o json"},
                   [watch](Session& session) {
                     return show<Listing>(session, **watch, [&]() -> Result<Listing> {
                       MVM_ASSIGN(auto api, session.api());
                       MVM_ASSIGN(const auto labs, api.labs.labs(session.caller()));
                       Listing listing("lab", {{"LAB", "id"},
                                               {"NAME", "name"},
                                               {"USER", "user"},
                                               {"STATE", "state"},
                                               {"NODES", "nodes", true},
                                               {"JOBS", "jobs", true},
                                               {"SUBNET", "subnet"},
                                               {"LIVES", "ephemeral"},
                                               {"CREATED", "created"}});
                       for (const soap::LabView& lab : labs) {
                         listing.row({lab.id,
                                      lab.name,
                                      lab.user,
                                      lab.state,
                                      lab.nodes,
                                      lab.jobs,
                                      lab.subnet,
                                      {lab.ephemeral ? "one job" : "until destroyed", lab.ephemeral},
                                      {local_time(lab.created_ms), iso_time(lab.created_ms)}});
                       }
                       return listing;
                     });
                   });
  *watch = add_watch(grammar, verb);
}

Result<int> inspect(Session& session, const std::string& text) {
  MVM_ASSIGN(const std::string id, resolve_lab(session, text));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto lab, api.labs.lab(session.caller(), id));
  MVM_ASSIGN(const auto vms, api.labs.vms(session.caller(), id));
  MVM_ASSIGN(const auto links, api.labs.links(session.caller(), id));
  Json vms_json = Json::array();
  for (const soap::VmView& vm : vms) vms_json.push_back(vm_json(vm));
  Json links_json = Json::array();
  for (const soap::LinkView& link : links) links_json.push_back(link_json(link));
  Record record("lab-detail");
  record.field("Lab", "id", lab.id);
  record.field("Name", "name", lab.name);
  record.field("User", "user", lab.user);
  record.field("State", "state", lab.state);
  record.field("Subnet", "subnet", lab.subnet);
  record.field("Lives", "ephemeral", {lab.ephemeral ? "for one job" : "until destroyed", lab.ephemeral});
  record.field("Created", "created", {local_time(lab.created_ms), iso_time(lab.created_ms)});
  record.field("Nodes", "nodes", lab.nodes);
  record.field("Jobs", "jobs", lab.jobs);
  record.field("Links", "link_count", links.size());
  record.field("", "vms", {"", vms_json});
  record.field("", "links", {"", links_json});
  session.print(record);
  if (session.as_table() && !vms.empty()) {
    session.out() << '\n';
    session.print(vm_listing(vms));
  }
  return kDone;
}

void add_inspect(Grammar& grammar, CLI::App& noun) {
  auto lab = std::make_shared<std::shared_ptr<std::string>>();
  CLI::App& verb = grammar.verb(noun, "inspect", "one lab with its VMs and links",
                                {"mvm lab inspect lab-3", "mvm lab inspect lab-3 -o json"},
                                [lab](Session& session) { return inspect(session, **lab); });
  *lab = add_lab_id(grammar, verb);
}

// ---- graph, destroy

Result<std::string> graph_json(Session& session, const std::string& lab) {
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto vms, api.labs.vms(session.caller(), lab));
  MVM_ASSIGN(const auto links, api.labs.links(session.caller(), lab));
  Json json = schema_object("lab-graph");
  json["lab"] = lab;
  json["vms"] = Json::array();
  for (const soap::VmView& vm : vms) json["vms"].push_back(vm_json(vm));
  json["links"] = Json::array();
  for (const soap::LinkView& link : links) json["links"].push_back(link_json(link));
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void add_graph(Grammar& grammar, CLI::App& noun) {
  struct Options {
    std::shared_ptr<std::string> lab;
    std::string format = "text", out;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(noun, "graph", "draws a lab: hosts and VMs, processes, queues",
                                {"mvm lab graph lab-3", "mvm lab graph lab-3 -o svg --out lab.svg"},
                                [options](Session& session) -> Result<int> {
                                  MVM_ASSIGN(const std::string id, resolve_lab(session, *options->lab));
                                  MVM_ASSIGN(auto api, session.api());
                                  std::string text;
                                  if (options->format == "json") {
                                    MVM_ASSIGN(text, graph_json(session, id));
                                  } else {
                                    const auto format = options->format == "dot"   ? soap::GraphFormat::kDot
                                                        : options->format == "svg" ? soap::GraphFormat::kSvg
                                                                                   : soap::GraphFormat::kText;
                                    MVM_ASSIGN(text, api.labs.graph(session.caller(), id, format));
                                  }
                                  MVM_TRY(write_out(session, options->out, text));
                                  return kDone;
                                });
  options->lab = add_lab_id(grammar, verb);
  verb.add_option("-o,--format", options->format, "how it is drawn")
      ->check(one_of({"text", "dot", "svg", "json"}))
      ->type_name("text|dot|svg|json");
  grammar.completes(verb.add_option("--out", options->out, "write to this file")->type_name("FILE"),
                    Completes::kFile);
}

void add_destroy(Grammar& grammar, CLI::App& noun) {
  struct Options {
    std::vector<std::string> labs;
    bool dry_run = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb =
      grammar.verb(noun, "destroy", "takes labs down with all that is in them", {"mvm lab destroy lab-3"},
                   [options](Session& session) -> Result<int> {
                     return for_each_id(session, options->labs, "lab",
                                        options->dry_run ? "would be destroyed" : "destroyed",
                                        [&](const std::string& text) -> Status {
                                          MVM_ASSIGN(const std::string id, resolve_lab(session, text));
                                          if (options->dry_run) return ok();
                                          MVM_ASSIGN(auto api, session.api());
                                          return api.labs.destroy_lab(session.caller(), id);
                                        });
                   });
  grammar.completes(verb.add_option("LAB", options->labs, "ids or names of labs")->required(),
                    Completes::kLab);
  verb.add_flag("--dry-run", options->dry_run, "only say what would be done");
}

}  // namespace

void add_lab_verbs(Grammar& grammar) {
  CLI::App& noun = grammar.noun("lab", "labs: virtual clusters that hold jobs");
  add_create(grammar, noun);
  add_apply(grammar, noun);
  add_list(grammar, noun);
  add_inspect(grammar, noun);
  add_graph(grammar, noun);
  add_destroy(grammar, noun);
}

}  // namespace mvm::cli
