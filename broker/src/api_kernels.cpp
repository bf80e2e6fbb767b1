// The kernels of a lab's nodes: what they have loaded, and commands to several of them. [Harness 000, §2.3]

#include "api_kernels.h"

#include <algorithm>
#include <set>

#include "json_fields.h"
#include "mvm/base/digest.h"

namespace mvm::broker {
namespace {

using fields::heard;
using fields::kLongestText;
using nlohmann::json;
using soap::KernelAnswer;
using soap::KernelCommand;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{10'000};
constexpr milliseconds kLongest{300'000};
constexpr milliseconds kHold{60'000};  // a kernel that hears no decision takes back what it prepared
constexpr std::size_t kMostPlugins = 256;
constexpr std::size_t kMostListed = 10'000;  // of what one kernel says
constexpr std::uint64_t kMostTime = (1ULL << 53U) - 1;

// ---- what a kernel says, which is not trusted -------------------------------------------------------------

std::vector<std::string> texts(const json& from, const char* name) {
  std::vector<std::string> all;
  const auto found = from.find(name);
  if (found == from.end() || !found->is_array()) return all;
  for (const json& one : *found)
    if (one.is_string() && all.size() < kMostListed)
      all.push_back(one.get_ref<const std::string&>().substr(0, kLongestText));
  return all;
}

template <class View, class Read>
std::vector<View> list(const json& from, const char* name, Read read) {
  std::vector<View> all;
  const auto found = from.find(name);
  if (found == from.end() || !found->is_array()) return all;
  for (const json& one : *found)
    if (one.is_object() && all.size() < kMostListed) all.push_back(read(one));
  return all;
}

soap::PluginView plugin_from(const json& from) {
  return {.name = heard(from, "name"),
          .version = heard(from, "version"),
          .file = heard(from, "file"),
          .owners = texts(from, "owners"),
          .offers = texts(from, "offers"),
          .needs = texts(from, "needs"),
          .operations = texts(from, "operations"),
          .functions = texts(from, "functions"),
          .sharing = heard(from, "sharing"),
          .state = heard(from, "state"),
          .core = fields::flag(from, "core")};
}

soap::RunView run_from(const json& from) {
  return {.run = heard(from, "run"),
          .plugin = heard(from, "plugin"),
          .function = heard(from, "function"),
          .arguments = texts(from, "arguments"),
          .state = heard(from, "state"),
          .reason = heard(from, "reason"),
          .began_ms = static_cast<std::int64_t>(fields::number(from, "began_ms") & kMostTime),
          .ended_ms = static_cast<std::int64_t>(fields::number(from, "ended_ms") & kMostTime)};
}

soap::PoolView pool_from(const json& from) {
  return {.minimum = fields::number(from, "minimum"),
          .maximum = fields::number(from, "maximum"),
          .queue = fields::number(from, "queue"),
          .idle_ms = fields::number(from, "idle_ms"),
          .threads = fields::number(from, "threads"),
          .queued = fields::number(from, "queued")};
}

soap::KernelView view_of(const NodeTarget& target) {
  return {.lab = target.lab,
          .node = target.node,
          .host = target.host,
          .trouble = {},
          .plugins = {},
          .runs = {},
          .pool = {}};
}

Status look(const NodeTarget& target, soap::KernelView& view) {
  MVM_ASSIGN(const json plugins, target.ask("kernel.plugins", json::object(), kLook));
  view.plugins = list<soap::PluginView>(plugins, "plugins", plugin_from);
  MVM_ASSIGN(const json runs, target.ask("kernel.runs", json::object(), kLook));
  view.runs = list<soap::RunView>(runs, "runs", run_from);
  MVM_ASSIGN(const json pool, target.ask("kernel.pool", json::object(), kLook));
  view.pool = pool_from(pool);
  return ok();
}

// ---- commands ---------------------------------------------------------------------------------------------

/// A command as kernels understand it.
struct Order {
  std::string op;
  json args;
};

Result<Order> order_of(const KernelCommand& command) {
  const auto need = [&](bool good, const char* what) -> Status {
    if (good) return ok();
    return Error(ErrorCode::kInvalid, what);
  };
  std::size_t bytes = 0;
  for (const auto& word : command.arguments) bytes += word.size() + 1;
  if (command.plugins.size() > kMostPlugins || command.arguments.size() > kMostPlugins ||
      bytes > (64U << 10U))
    return Error(ErrorCode::kInvalid, "at most 256 plug-ins, and 256 arguments of 64 KiB together");
  const std::string plugin = command.plugins.empty() ? "" : command.plugins.front();
  switch (command.verb) {
    case KernelCommand::Verb::kLoad:
      MVM_TRY(need(!command.plugins.empty(), "which plug-ins are to be loaded?"));
      return Order{"kernel.load",
                   {{"plugins", command.plugins},
                    {"sharing", command.sharing.empty() ? "everyone" : command.sharing}}};
    case KernelCommand::Verb::kUnload:
      MVM_TRY(need(command.plugins.size() == 1, "one plug-in is unloaded at a time"));
      return Order{"kernel.unload", {{"plugin", plugin}}};
    case KernelCommand::Verb::kRun:
      MVM_TRY(need(command.plugins.size() == 1, "code of one plug-in is run at a time"));
      return Order{"kernel.run",
                   {{"plugin", plugin},
                    {"function", command.function},
                    {"arguments", command.arguments},
                    {"run", command.run}}};
    case KernelCommand::Verb::kStop:
      MVM_TRY(need(command.plugins.size() + (command.run.empty() ? 0 : 1) == 1,
                   "what is to be stopped: a run, or all runs of one plug-in?"));
      return command.run.empty() ? Order{"kernel.stop", {{"plugin", plugin}}}
                                 : Order{"kernel.stop", {{"run", command.run}}};
  }
  return Error(ErrorCode::kInvalid, "no such command");
}

void best_effort(const std::vector<NodeTarget>& targets, const Order& order, milliseconds timeout,
                 soap::KernelOutcome& outcome) {
  for_all(targets.size(), [&](std::size_t i) {
    KernelAnswer& answer = outcome.answers[i];
    const auto reply = targets[i].ask(order.op, order.args, timeout);
    answer.able = answer.done = reply.has_value();
    if (reply)
      answer.run = heard(*reply, "run");
    else
      answer.reason = reply.error().describe();
  });
  outcome.committed = std::any_of(outcome.answers.begin(), outcome.answers.end(),
                                  [](const KernelAnswer& answer) { return answer.done; });
}

void commit(const NodeTarget& target, const json& transaction, Clock::time_point until,
            KernelAnswer& answer) {
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
    const auto reply = target.ask("kernel.commit", transaction, std::max(left, milliseconds(1)));
    answer.done = reply.has_value();
    if (reply && answer.run.empty()) answer.run = heard(*reply, "run");
    if (reply) return;
    // Its kernel may be on its way back: what it says is final, what is between it and us is not.
    const bool between =
        reply.error().code() == ErrorCode::kTimeout || reply.error().code() == ErrorCode::kUnavailable;
    answer.reason = "decided, but " + reply.error().describe();
    if (!between || !target.trouble.empty() || Clock::now() >= until) return;
  }
}

/// Two phases: every kernel is able and has done all that may fail, then all are told to keep it.
void all_or_none(const std::vector<NodeTarget>& targets, const Order& order, milliseconds timeout,
                 soap::KernelOutcome& outcome) {
  const json transaction{{"transaction", "broker-" + random_hex(12)}};
  json prepare = transaction;
  prepare["op"] = order.op;
  prepare["args"] = order.args;
  const milliseconds hold = timeout + kHold;
  prepare["hold_ms"] = hold.count();
  const auto until = Clock::now() + hold;
  for_all(targets.size(), [&](std::size_t i) {
    const auto reply = targets[i].ask("kernel.prepare", prepare, timeout);
    outcome.answers[i].able = reply.has_value();
    if (reply)
      outcome.answers[i].run = heard(*reply, "run");
    else
      outcome.answers[i].reason = reply.error().describe();
  });
  outcome.committed = std::all_of(outcome.answers.begin(), outcome.answers.end(),
                                  [](const KernelAnswer& answer) { return answer.able; });
  for_all(targets.size(), [&](std::size_t i) {
    KernelAnswer& answer = outcome.answers[i];
    if (outcome.committed) {
      commit(targets[i], transaction, until, answer);
    } else {
      answer.run.clear();
      // Also those that did not answer: they may have prepared it all the same.
      (void)targets[i].ask("kernel.abort", transaction, timeout);
    }
  });
}

}  // namespace

Result<std::vector<soap::KernelView>> KernelService::kernels(const soap::Caller& caller,
                                                             const soap::KernelTargets& asked) {
  MVM_ASSIGN(const auto targets, node_targets(core_, caller, asked.lab, asked.nodes));
  std::vector<soap::KernelView> views;
  for (const NodeTarget& target : targets) views.push_back(view_of(target));
  for_all(targets.size(), [&](std::size_t i) {
    if (const Status seen = look(targets[i], views[i]); !seen) views[i].trouble = seen.error().message();
  });
  return views;
}

Result<soap::KernelOutcome> KernelService::command(const soap::Caller& caller, const KernelCommand& command) {
  if (command.targets.lab.empty()) return Error(ErrorCode::kInvalid, "of which lab are the kernels?");
  MVM_ASSIGN(const Order order, order_of(command));
  MVM_ASSIGN(const auto targets, node_targets(core_, caller, command.targets.lab, command.targets.nodes));
  if (targets.empty()) return Error(ErrorCode::kConflict, "lab " + command.targets.lab + " has no nodes yet");
  soap::KernelOutcome outcome;
  for (const NodeTarget& target : targets)
    outcome.answers.push_back({.node = target.node, .able = false, .done = false, .reason = {}, .run = {}});
  const milliseconds timeout = std::clamp(command.timeout, milliseconds(1), kLongest);
  if (command.all_or_none)
    all_or_none(targets, order, timeout, outcome);
  else
    best_effort(targets, order, timeout, outcome);
  note(caller, command, outcome);
  return outcome;
}

/// For the record: who had what done, and what became of it.
void KernelService::note(const soap::Caller& caller, const KernelCommand& command,
                         const soap::KernelOutcome& outcome) {
  static constexpr const char* kVerbs[] = {"load", "unload", "run", "stop"};
  std::string detail = kVerbs[static_cast<std::size_t>(command.verb)];
  for (const std::string& plugin : command.plugins) detail += " " + plugin;
  if (!command.run.empty()) detail += " " + command.run;
  const auto done = std::count_if(outcome.answers.begin(), outcome.answers.end(),
                                  [](const KernelAnswer& answer) { return answer.done; });
  detail += ": on " + std::to_string(done) + " of " + std::to_string(outcome.answers.size()) + " kernels";
  note_command(core_, caller, outcome.committed ? "kernel.command" : "kernel.refused", command.targets.lab,
               detail);
}

Result<std::vector<soap::KernelView>> KernelService::adjust_pools(const soap::Caller& caller,
                                                                  const soap::KernelTargets& asked,
                                                                  const soap::PoolChange& change) {
  if (asked.lab.empty()) return Error(ErrorCode::kInvalid, "of which lab are the kernels?");
  json args = json::object();
  for (const auto& [name, value] :
       {std::pair("minimum", change.minimum), std::pair("maximum", change.maximum),
        std::pair("queue", change.queue), std::pair("idle_ms", change.idle_ms)})
    if (value >= 0) args[name] = value;
  MVM_ASSIGN(const auto targets, node_targets(core_, caller, asked.lab, asked.nodes));
  std::vector<soap::KernelView> views;
  for (const NodeTarget& target : targets) views.push_back(view_of(target));
  for_all(targets.size(), [&](std::size_t i) {
    if (const auto pool = targets[i].ask("kernel.pool", args, kLook))
      views[i].pool = pool_from(*pool);
    else
      views[i].trouble = pool.error().message();
  });
  return views;
}

}  // namespace mvm::broker
