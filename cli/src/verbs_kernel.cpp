// mvm plugin ..., mvm kernel ...: what kernels have loaded, and commands to them. [Harness 000, §2.3]

#include <ostream>

#include "common.h"
#include "format.h"
#include "kernel_targets.h"
#include "plugin_tree.h"

namespace mvm::cli {
namespace {

using soap::KernelCommand;
using soap::KernelView;

// ---- looking ----------------------------------------------------------------------------------------------

struct Scope {
  std::string scope, node;
};

std::shared_ptr<Scope> add_scope(Grammar& grammar, CLI::App& verb) {
  auto options = std::make_shared<Scope>();
  grammar.completes(verb.add_option("LAB", options->scope, "a lab or a job; LAB/NODE: one of its kernels"),
                    Completes::kLab);
  grammar.completes(verb.add_option("NODE", options->node, "only this node's kernel"), Completes::kNode);
  return options;
}

Result<std::vector<KernelView>> look(Session& session, const Scope& scope) {
  MVM_ASSIGN(const auto targets, resolve_scope(session, scope.scope, scope.node));
  MVM_ASSIGN(auto api, session.api());
  return api.kernels.kernels(session.caller(), targets);
}

/// Of kernels that did not answer: on standard error, and the exit code.
int troubles(Session& session, const std::vector<KernelView>& kernels) {
  std::size_t silent = 0;
  for (const KernelView& kernel : kernels) {
    if (kernel.trouble.empty()) continue;
    ++silent;
    session.err() << "mvm: " << one_line(kernel.lab + "/" + kernel.node + ": " + kernel.trouble) << '\n';
  }
  return silent == 0 ? kDone : silent == kernels.size() ? kOperationFailed : kPartly;
}

Result<int> list_plugins(Session& session, const Scope& scope) {
  MVM_ASSIGN(const auto kernels, look(session, scope));
  Listing listing("plugin", {{"LAB", "lab"},
                             {"NODE", "node"},
                             {"PLUGIN", "name"},
                             {"VERSION", "version"},
                             {"STATE", "state"},
                             {"OWNERS", "owners"},
                             {"FOR", "sharing"},
                             {"OFFERS", "offers"},
                             {"NEEDS", "needs"},
                             {"FUNCTIONS", "functions"},
                             {"", "operations"},
                             {"", "core"},
                             {"", "file"}});
  const auto words = [](const std::vector<std::string>& list) {
    return Cell(list.empty() ? "-" : one_line(join(list, " ")), Json(list));
  };
  for (const KernelView& kernel : kernels)
    for (const soap::PluginView& plugin : kernel.plugins)
      listing.row({kernel.lab,
                   kernel.node,
                   {one_line(plugin.name), plugin.name},
                   {one_line(plugin.version), plugin.version},
                   {plugin.core ? "core" : one_line(plugin.state), plugin.state},
                   words(plugin.owners),
                   {one_line(plugin.sharing), plugin.sharing},
                   words(plugin.offers),
                   words(plugin.needs),
                   words(plugin.functions),
                   words(plugin.operations),
                   {"", plugin.core},
                   {"", plugin.file}});
  session.print(listing);
  return troubles(session, kernels);
}

Result<int> tree(Session& session, const Scope& scope, const std::string& form) {
  MVM_ASSIGN(const auto kernels, look(session, scope));
  if (!session.as_table()) {
    Listing listing("plugin-tree",
                    {{"", "lab"}, {"", "node"}, {"", "host"}, {"", "trouble"}, {"", "plugins"}});
    for (const KernelView& kernel : kernels)
      listing.row({kernel.lab, kernel.node, kernel.host, kernel.trouble, {"", tree_json(kernel)}});
    session.print(listing);
  } else if (form == "dot") {
    session.out() << "digraph plugins {\n";
    for (std::size_t i = 0; i < kernels.size(); ++i) session.out() << tree_dot(kernels[i], i);
    session.out() << "}\n";
  } else {
    for (const KernelView& kernel : kernels) session.out() << tree_text(kernel);
  }
  return troubles(session, kernels);
}

Result<int> list_runs(Session& session, const Scope& scope) {
  MVM_ASSIGN(const auto kernels, look(session, scope));
  Listing listing("kernel-run", {{"LAB", "lab"},
                                 {"NODE", "node"},
                                 {"RUN", "run"},
                                 {"PLUGIN", "plugin"},
                                 {"FUNCTION", "function"},
                                 {"STATE", "state"},
                                 {"BEGAN", "began"},
                                 {"ARGUMENTS", "arguments"},
                                 {"REASON", "reason"},
                                 {"", "ended"}});
  for (const KernelView& kernel : kernels)
    for (const soap::RunView& run : kernel.runs)
      listing.row({kernel.lab,
                   kernel.node,
                   {one_line(run.run), run.run},
                   {one_line(run.plugin), run.plugin},
                   {one_line(run.function), run.function},
                   {run.reason.empty() ? one_line(run.state) : "failed", run.state,
                    run.reason.empty() ? Colour::kNone : Colour::kBad},
                   {local_time(run.began_ms), iso_time(run.began_ms)},
                   {one_line(join(run.arguments, " ")), Json(run.arguments)},
                   {one_line(run.reason), run.reason},
                   {"", iso_time(run.ended_ms)}});
  session.print(listing);
  return troubles(session, kernels);
}

// ---- pools ------------------------------------------------------------------------------------------------

struct PoolOptions {
  std::shared_ptr<Scope> scope;
  soap::PoolChange change;
  std::string idle;
};

Result<int> pool(Session& session, PoolOptions options) {
  if (!options.idle.empty()) {
    MVM_ASSIGN(const auto idle, parse_time(options.idle));
    options.change.idle_ms = idle.count();
  }
  const auto& change = options.change;
  const bool changes = change.minimum >= 0 || change.maximum >= 0 || change.queue >= 0 || change.idle_ms >= 0;
  std::vector<KernelView> kernels;
  if (changes) {
    if (options.scope->scope.empty())
      return Error(ErrorCode::kInvalid, "which kernels' pools are to be changed? Say LAB, JOB or LAB/NODE");
    MVM_ASSIGN(const auto targets, resolve_scope(session, options.scope->scope, options.scope->node));
    MVM_ASSIGN(auto api, session.api());
    MVM_ASSIGN(kernels, api.kernels.adjust_pools(session.caller(), targets, change));
  } else {
    MVM_ASSIGN(kernels, look(session, *options.scope));
  }
  Listing listing("kernel-pool", {{"LAB", "lab"},
                                  {"NODE", "node"},
                                  {"THREADS", "threads", true},
                                  {"MIN", "minimum", true},
                                  {"MAX", "maximum", true},
                                  {"QUEUED", "queued", true},
                                  {"QUEUE", "queue", true},
                                  {"IDLE", "idleMs", true}});
  for (const KernelView& kernel : kernels)
    if (kernel.trouble.empty())
      listing.row({kernel.lab,
                   kernel.node,
                   kernel.pool.threads,
                   kernel.pool.minimum,
                   kernel.pool.maximum,
                   kernel.pool.queued,
                   kernel.pool.queue,
                   {human_duration(static_cast<std::int64_t>(kernel.pool.idle_ms)), kernel.pool.idle_ms}});
  session.print(listing);
  return troubles(session, kernels);
}

// ---- commands ---------------------------------------------------------------------------------------------

struct CommandOptions {
  KernelCommand command;
  std::string plugin;  ///< of those verbs that take one
  std::string on, qos = "all-or-none", deadline = "20s";
};

Result<int> carry_out(Session& session, CommandOptions options) {
  KernelCommand command = std::move(options.command);
  if (!options.plugin.empty()) command.plugins = {options.plugin};
  MVM_ASSIGN(command.targets, resolve_targets(session, options.on));
  MVM_ASSIGN(command.timeout, parse_time(options.deadline));
  command.all_or_none = options.qos == "all-or-none";
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto outcome, api.kernels.command(session.caller(), command));
  Listing listing("kernel-command", {{"NODE", "node"},
                                     {"ABLE", "able"},
                                     {"DONE", "done"},
                                     {"RUN", "run"},
                                     {"REASON", "reason"},
                                     {"", "committed"}});
  std::size_t done = 0;
  for (const soap::KernelAnswer& answer : outcome.answers) {
    done += answer.done ? 1 : 0;
    const auto mark = [](bool yes) {
      return Cell(yes ? "yes" : "no", yes, yes ? Colour::kGood : Colour::kBad);
    };
    listing.row({answer.node,
                 mark(answer.able),
                 mark(answer.done),
                 {one_line(answer.run), answer.run},
                 {one_line(answer.reason), answer.reason},
                 {"", outcome.committed}});
  }
  session.print(listing);
  const std::size_t all = outcome.answers.size();
  if (done == all) return kDone;
  if (!command.all_or_none) return done == 0 ? kOperationFailed : kPartly;
  if (!outcome.committed) {
    session.err() << "mvm: nothing was done: not every kernel is able\n";
    return kAllAborted;
  }
  session.err() << "mvm: decided, but " << count_of(all - done, "kernel")
                << " could not be told in time and took it back\n";
  return kPartly;
}

CLI::App& add_command(Grammar& grammar, CLI::App& noun, KernelCommand::Verb verb, const char* name,
                      const char* about, const std::vector<std::string>& examples,
                      const std::shared_ptr<CommandOptions>& options) {
  options->command.verb = verb;
  CLI::App& app = grammar.verb(noun, name, about, examples,
                               [options](Session& session) { return carry_out(session, *options); });
  grammar.completes(app.add_option("--on", options->on,
                                   "LAB, JOB, NODE, LAB/NODE, several with commas, or all of the only lab")
                        ->type_name("TARGETS")
                        ->required(),
                    Completes::kNode);
  app.add_option("--qos", options->qos, "all of them or none, or each that is able (all-or-none)")
      ->check(one_of({"all-or-none", "best-effort"}));
  app.add_option("--deadline", options->deadline, "for the answer of each kernel (20s)")->type_name("TIME");
  return app;
}

void add_commands(Grammar& grammar, CLI::App& kernel) {
  using Verb = KernelCommand::Verb;
  auto load = std::make_shared<CommandOptions>();
  CLI::App& load_verb = add_command(
      grammar, kernel, Verb::kLoad, "load", "loads plug-ins, a whole stack or nothing of it",
      {"mvm kernel load hello --on lab-3", "mvm kernel load hello@1.2 --on cell-0,cell-1 --qos best-effort"},
      load);
  load_verb.add_option("PLUGIN", load->command.plugins, "NAME or NAME@VERSION[.AGE[.REVISION]]")->required();
  load_verb.add_option("--for", load->command.sharing, "who may call it (everyone)")
      ->check(one_of({"owners", "kernel", "everyone"}));
  auto unload = std::make_shared<CommandOptions>();
  add_command(grammar, kernel, Verb::kUnload, "unload", "unloads a plug-in that a user has loaded",
              {"mvm kernel unload hello --on lab-3"}, unload)
      .add_option("PLUGIN", unload->plugin, "its name")
      ->required();
  auto run = std::make_shared<CommandOptions>();
  CLI::App& run_verb = add_command(
      grammar, kernel, Verb::kRun, "run", "runs code of a plug-in on a thread of each kernel",
      {"mvm kernel run hello --on lab-3", "mvm kernel run hello --on cell-0 --function greet ada"}, run);
  run_verb.add_option("PLUGIN", run->plugin, "its name")->required();
  run_verb.add_option("ARGUMENT", run->command.arguments, "what the code is given");
  run_verb.add_option("--function", run->command.function, "which of its functions (main)")
      ->type_name("NAME");
  run_verb.add_option("--name", run->command.run, "what the thread is to be called")->type_name("RUN");
  auto stop = std::make_shared<CommandOptions>();
  CLI::App& stop_verb =
      add_command(grammar, kernel, Verb::kStop, "stop", "tells such threads to stop",
                  {"mvm kernel stop hello/1 --on cell-0", "mvm kernel stop --plugin hello --on lab-3"}, stop);
  stop_verb.add_option("RUN", stop->command.run, "the thread's name (mvm kernel runs)");
  stop_verb.add_option("--plugin", stop->plugin, "all threads of this plug-in")->type_name("PLUGIN");
}

}  // namespace

void add_kernel_verbs(Grammar& grammar) {
  CLI::App& plugin = grammar.noun("plugin", "plug-ins of kernels: which there are, who owns and uses them");
  {
    auto scope = std::make_shared<std::shared_ptr<Scope>>();
    CLI::App& verb = grammar.verb(plugin, "list", "plug-ins of the kernels of a lab, or of all",
                                  {"mvm plugin list", "mvm plugin list lab-3 cell-0 -o json"},
                                  [scope](Session& session) { return list_plugins(session, **scope); });
    *scope = add_scope(grammar, verb);
  }
  {
    auto scope = std::make_shared<std::shared_ptr<Scope>>();
    auto form = std::make_shared<std::string>("text");
    CLI::App& verb =
        grammar.verb(plugin, "tree", "who has loaded, offers and uses what in each kernel",
                     {"mvm plugin tree lab-3", "mvm plugin tree 12 cell-0 --form dot | dot -Tsvg"},
                     [scope, form](Session& session) { return tree(session, **scope, *form); });
    *scope = add_scope(grammar, verb);
    verb.add_option("--form", *form, "lines of text, or a graph for dot (text)")
        ->check(one_of({"text", "dot"}));
  }
  CLI::App& kernel = grammar.noun("kernel", "kernels: load and unload plug-ins, run and stop their code");
  add_commands(grammar, kernel);
  {
    auto scope = std::make_shared<std::shared_ptr<Scope>>();
    CLI::App& verb = grammar.verb(kernel, "runs", "threads that run plug-in code, and those that did",
                                  {"mvm kernel runs lab-3"},
                                  [scope](Session& session) { return list_runs(session, **scope); });
    *scope = add_scope(grammar, verb);
  }
  auto options = std::make_shared<PoolOptions>();
  CLI::App& verb = grammar.verb(kernel, "pool", "thread pools of kernels; with new bounds: changes them",
                                {"mvm kernel pool", "mvm kernel pool lab-3 cell-0 --max 32 --idle 30s"},
                                [options](Session& session) { return pool(session, *options); });
  options->scope = add_scope(grammar, verb);
  verb.add_option("--min", options->change.minimum, "threads kept when idle")->check(CLI::Range(0, 1024));
  verb.add_option("--max", options->change.maximum, "threads at most")->check(CLI::Range(4, 1024));
  verb.add_option("--queue", options->change.queue, "jobs that may wait")->check(CLI::Range(0, 1024));
  verb.add_option("--idle", options->idle, "an idle thread above the minimum leaves after TIME")
      ->type_name("TIME");
}

}  // namespace mvm::cli
