// mvm validate, plan, graph: what a file says.

#include <ostream>

#include "common.h"
#include "format.h"
#include "mvm/topologies/drawing.h"
#include "offline_plan.h"
#include "profile_file.h"
#include "vm_listing.h"

namespace mvm::cli {
namespace {

constexpr std::size_t kListedProcesses = 8;

// ---- validate

struct ValidateOptions {
  std::vector<std::string> files;
  std::vector<std::string> set;
};

Json faults_json(const std::vector<topologies::Diagnostic>& faults) {
  Json all = Json::array();
  for (const topologies::Diagnostic& fault : faults) {
    Json json = Json::object();
    json["file"] = fault.file;
    json["line"] = fault.line;
    json["column"] = fault.column;
    json["message"] = fault.message;
    json["suggestion"] = fault.suggestion;
    all.push_back(json);
  }
  return all;
}

std::uint64_t machines_of(const topologies::Profile& profile) {
  std::uint64_t count = 0;
  for (const topologies::Machines& machines : profile.machines) count += machines.count;
  return count;
}

Result<int> validate(Session& session, const ValidateOptions& options) {
  MVM_ASSIGN(const auto settings, parse_settings(options.set));
  Listing listing("validation", {{"FILE", "file"},
                                 {"VALID", "valid"},
                                 {"KIND", "kind"},
                                 {"NAME", "name"},
                                 {"PROCESSES", "processes", true},
                                 {"LINKS", "links", true},
                                 {"MACHINES", "machines", true},
                                 {"", "faults"}});
  std::size_t faulty = 0;
  for (const std::string& file : options.files) {
    topologies::FileResolver resolver;
    const topologies::ReadResult read = topologies::read_profile_file(file, {settings, &resolver});
    const Json faults = faults_json(read.diagnostics);
    if (!read.ok()) {
      ++faulty;
      if (session.as_table()) session.err() << topologies::describe(read.diagnostics);
      listing.row({file, {"no", false, Colour::kBad}, "", "", {"", 0}, {"", 0}, {"", 0}, {"", faults}});
      continue;
    }
    const topologies::Profile& profile = *read.profile;
    const std::string kind(topologies::to_string(profile.kind));
    const std::uint64_t machines = machines_of(profile);
    listing.row({file,
                 {"yes", true, Colour::kGood},
                 kind,
                 profile.name,
                 profile.graph.process_count(),
                 profile.graph.link_count(),
                 machines,
                 {"", faults}});
    if (session.as_table() && options.files.size() == 1) {
      session.out() << file << ": valid " << kind << " " << profile.name << ": "
                    << count_of(profile.graph.process_count(), "process") << ", "
                    << count_of(profile.graph.link_count(), "link") << ", " << count_of(machines, "machine")
                    << '\n';
    }
  }
  if (!session.as_table() || options.files.size() > 1) session.print(listing);
  return faulty == 0 ? kDone : kBadInput;
}

void add_validate(Grammar& grammar) {
  auto options = std::make_shared<ValidateOptions>();
  CLI::App& verb =
      grammar.verb(grammar.root(), "validate", "checks files and shows all of their faults; needs no daemon",
                   {"mvm validate job.xml", "mvm validate job.xml --set n=16", "mvm validate *.xml -o json"},
                   [options](Session& session) { return validate(session, *options); });
  grammar.completes(
      verb.add_option("FILE", options->files, "job, lab, topology, image or policy files")->required(),
      Completes::kFile);
  verb.add_option("--set", options->set, "gives a parameter a value; may be repeated")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

// ---- plan

soap::PlanView offline_view(const topologies::Profile& profile) {
  const OfflinePlan plan = plan_offline(profile);
  soap::PlanView view;
  view.name = profile.name;
  view.process_count = profile.graph.process_count();
  view.link_count = profile.graph.link_count();
  for (const OfflinePlan::Node& node : plan.nodes) {
    const topologies::Machines& machines = profile.machines[node.machines];
    soap::PlannedNode planned{node.name,
                              machines.host,
                              machines.driver,
                              machines.image,
                              machines.architecture,
                              machines.vcpus,
                              machines.memory,
                              {},
                              "new"};
    for (const topologies::ProcessId process : node.processes) {
      planned.processes.push_back(profile.graph.process_name(process));
    }
    view.nodes.push_back(std::move(planned));
  }
  for (const topologies::Program& program : profile.programs) {
    if (program.build) view.builds.push_back(program.role + ": " + program.build->command);
  }
  return view;
}

Listing plan_nodes(const soap::PlanView& view) {
  Listing listing("plan-node", {{"NODE", "node"},
                                {"HOST", "host"},
                                {"DRIVER", "driver"},
                                {"IMAGE", "image"},
                                {"ARCH", "architecture"},
                                {"VCPUS", "vcpus", true},
                                {"MEMORY", "memory", true},
                                {"STATE", "state"},
                                {"PROCESSES", "processes"}});
  for (const soap::PlannedNode& node : view.nodes) {
    std::vector<std::string> shown = node.processes;
    if (shown.size() > kListedProcesses) {
      shown.resize(kListedProcesses);
      shown.push_back("and " + std::to_string(node.processes.size() - kListedProcesses) + " more");
    }
    listing.row({node.node,
                 node.host,
                 node.driver,
                 node.image,
                 node.architecture,
                 node.vcpus,
                 {human_bytes(node.memory), node.memory},
                 node.state,
                 {join(shown, " "), node.processes}});
  }
  return listing;
}

Json plan_json(const soap::PlanView& view, bool offline) {
  Json json = schema_object("plan");
  json["name"] = view.name;
  json["offline"] = offline;
  json["placeable"] = view.reasons.empty();
  json["process_count"] = view.process_count;
  json["link_count"] = view.link_count;
  json["nodes"] = Json::array();
  for (const soap::PlannedNode& node : view.nodes) {
    json["nodes"].push_back({{"node", node.node},
                             {"host", node.host},
                             {"driver", node.driver},
                             {"image", node.image},
                             {"architecture", node.architecture},
                             {"vcpus", node.vcpus},
                             {"memory", node.memory},
                             {"state", node.state},
                             {"processes", node.processes}});
  }
  json["links"] = Json::array();
  for (const soap::PlannedLink& link : view.links) {
    json["links"].push_back({{"link", link.link},
                             {"from", link.from},
                             {"to", link.to},
                             {"transport", link.transport},
                             {"forced", !link.forced.empty()},
                             {"codec", link.codec},
                             {"where", link.where}});
  }
  json["builds"] = view.builds;
  json["reasons"] = view.reasons;
  return json;
}

void print_plan(Session& session, const soap::PlanView& view, bool offline, bool links) {
  std::ostream& out = session.out();
  out << view.name << ": " << count_of(view.nodes.size(), "node") << ", "
      << count_of(view.process_count, "process") << ", " << count_of(view.link_count, "link");
  if (offline) out << "; offline: the broker picks hosts";
  out << "\n\n";
  if (!view.nodes.empty()) plan_nodes(view).print(out, Format::kTable, session.colours());
  if (links && !view.links.empty()) {
    Listing listing(
        "plan-link",
        {{"LINK", ""}, {"FROM", ""}, {"TO", ""}, {"TRANSPORT", ""}, {"CODEC", ""}, {"WHERE", ""}});
    for (const soap::PlannedLink& link : view.links) {
      listing.row({link.link, link.from, link.to, transport_text(link.transport, link.forced), link.codec,
                   link.where});
    }
    out << '\n';
    listing.print(out, Format::kTable, session.colours());
  }
  if (!view.builds.empty()) out << "\nBuilds:\n";
  for (const std::string& build : view.builds) out << "  " << one_line(build) << '\n';
}

struct PlanOptions {
  std::shared_ptr<FileOptions> file;
  bool offline = false, links = false;
  std::string lab;
};

Result<soap::PlanView> make_plan(Session& session, const PlanOptions& options) {
  if (options.offline) {
    MVM_ASSIGN(const auto profile, read_profile(*options.file));
    return offline_view(profile);
  }
  MVM_ASSIGN(Prepared prepared, Prepared::prepare(session, *options.file));
  MVM_ASSIGN(auto api, session.api());
  if (!options.lab.empty()) {
    MVM_ASSIGN(prepared.request.lab, resolve_lab(session, options.lab));
  }
  return api.jobs.plan(session.caller(), prepared.request);
}

Result<int> plan(Session& session, const PlanOptions& options) {
  auto view = make_plan(session, options);
  if (!view) {
    if (view.error().code() == ErrorCode::kUnavailable) {
      session.hint("mvm plan --offline " + options.file->file);
    }
    return view.error();
  }
  if (session.as_table()) {
    print_plan(session, *view, options.offline, options.links);
  } else {
    print_json(session.out(), session.format(), plan_json(*view, options.offline));
  }
  if (view->reasons.empty()) return kDone;
  session.err() << "mvm: error: " << one_line(view->name) << " cannot be placed now:\n";
  for (const std::string& reason : view->reasons) session.err() << "  " << one_line(reason) << '\n';
  session.hint("mvm host list");
  return kNotPlaceable;
}

void add_plan(Grammar& grammar) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App& verb = grammar.verb(
      grammar.root(), "plan", "what would be made and where, or why not",
      {"mvm plan job.xml", "mvm plan job.xml --offline --set n=64", "mvm plan job.xml --lab lab-3 -o json"},
      [options](Session& session) { return plan(session, *options); });
  options->file = add_file(grammar, verb);
  verb.add_flag("--offline", options->offline, "ask no broker: only what the file says");
  verb.add_flag("--links", options->links, "list the links, too");
  grammar.completes(
      verb.add_option("--lab", options->lab, "plan into this lab, and show the difference")->type_name("LAB"),
      Completes::kLab);
}

// ---- graph

struct GraphOptions {
  std::shared_ptr<FileOptions> file;
  std::string format = "text", out;
};

Json graph_json(const topologies::Profile& profile, const OfflinePlan& plan) {
  const topologies::Graph& graph = profile.graph;
  Json json = schema_object("graph");
  json["name"] = profile.name;
  json["processes"] = Json::array();
  for (topologies::ProcessId id = 0; id < graph.process_count(); ++id) {
    const bool placed = plan.node_of[id] != topologies::Drawing::kNowhere;
    json["processes"].push_back(
        {{"process", graph.process_name(id)}, {"node", placed ? plan.nodes[plan.node_of[id]].name : ""}});
  }
  json["links"] = Json::array();
  for (topologies::LinkId id = 0; id < graph.link_count(); ++id) {
    const topologies::Link link = graph.link(id);
    std::vector<std::string> from, to;
    for (const topologies::End& end : link.producers) from.push_back(graph.end_name(end));
    for (const topologies::End& end : link.consumers) to.push_back(graph.end_name(end));
    json["links"].push_back({{"link", graph.link_name(id)},
                             {"from", from},
                             {"to", to},
                             {"type", topologies::to_string(link.spec->queue.type)},
                             {"deliver", topologies::to_string(link.spec->deliver)},
                             {"capacity", link.spec->queue.capacity}});
  }
  return json;
}

Result<int> graph(Session& session, const GraphOptions& options) {
  MVM_ASSIGN(const auto profile, read_profile(*options.file));
  const OfflinePlan plan = plan_offline(profile);
  const topologies::Drawing drawing = drawing_of(profile, plan);
  std::string text;
  if (options.format == "dot") {
    text = topologies::to_dot(drawing);
  } else if (options.format == "svg") {
    text = topologies::to_svg(drawing);
  } else if (options.format == "json") {
    text = graph_json(profile, plan).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  } else {
    text = topologies::to_text(drawing);
  }
  MVM_TRY(write_out(session, options.out, text));
  return kDone;
}

void add_graph(Grammar& grammar) {
  auto options = std::make_shared<GraphOptions>();
  CLI::App& verb = grammar.verb(grammar.root(), "graph", "draws a file's topology; needs no daemon",
                                {"mvm graph ring.xml", "mvm graph job.xml -o svg --out job.svg",
                                 "mvm graph job.xml -o dot | dot -Tpng"},
                                [options](Session& session) { return graph(session, *options); });
  options->file = add_file(grammar, verb);
  verb.add_option("-o,--format", options->format, "how it is drawn")
      ->check(one_of({"text", "dot", "svg", "json"}))
      ->type_name("text|dot|svg|json");
  grammar.completes(verb.add_option("--out", options->out, "write to this file")->type_name("FILE"),
                    Completes::kFile);
}

}  // namespace

void add_file_verbs(Grammar& grammar) {
  add_validate(grammar);
  add_plan(grammar);
  add_graph(grammar);
}

}  // namespace mvm::cli
