#include "commands.h"

#include <algorithm>
#include <array>

#include "mvm/base/json.h"

namespace mvm::kernel {
namespace {

using nlohmann::json;

constexpr std::size_t kLongestWish = 300;
constexpr std::size_t kLongestLocator = 2100;
constexpr std::size_t kMostWishes = 256;
constexpr std::size_t kMostArguments = 256;
constexpr std::chrono::milliseconds kHold{60'000};
constexpr std::chrono::milliseconds kLongestHold{600'000};

struct SharingName {
  Sharing sharing;
  const char* name;
};
constexpr std::array kSharingNames{SharingName{Sharing::kOwners, "owners"},
                                   SharingName{Sharing::kKernel, "kernel"},
                                   SharingName{Sharing::kEveryone, "everyone"}};

/// Those that need others first.
void unload_all(Plugins& plugins, std::vector<std::string> names) {
  for (bool gone = true; gone && !names.empty();) {
    const auto left = std::remove_if(names.begin(), names.end(), [&](const std::string& name) {
      return plugins.unload_for_kernel(name, false).has_value();
    });
    gone = left != names.end();
    names.erase(left, names.end());
  }
}

}  // namespace

const char* text_of(Sharing sharing) {
  return std::find_if(kSharingNames.begin(), kSharingNames.end(),
                      [&](const SharingName& one) { return one.sharing == sharing; })
      ->name;
}

Result<Sharing> sharing_of(const std::string& text) {
  for (const SharingName& one : kSharingNames)
    if (text == one.name) return one.sharing;
  return Error(ErrorCode::kInvalid,
               "sharing: found \"" + text.substr(0, 40) + "\", expected owners, kernel or everyone");
}

Commands::Commands(Plugins& plugins, Runs& runs) : plugins_(plugins), runs_(runs) {
  transactions_.add("kernel.load", [this](const json& args, bool kept) { return prepare_load(args, kept); });
  transactions_.add("kernel.unload",
                    [this](const json& args, bool kept) { return prepare_unload(args, kept); });
  transactions_.add("kernel.run", [this](const json& args, bool) { return prepare_run(args); });
  transactions_.add("kernel.stop", [this](const json& args, bool) { return prepare_stop(args); });
}

std::map<std::string, Commands::Operation> Commands::operations() {
  return {{"kernel.load", [this](const json& args, bool kept) { return load(args, kept); }},
          {"kernel.unload", [this](const json& args, bool kept) { return unload(args, kept); }},
          {"kernel.run", [this](const json& args, bool) { return run(args); }},
          {"kernel.stop", [this](const json& args, bool) { return stop(args); }},
          {"kernel.runs",
           [this](const json&, bool) -> Result<json> {
             return json{{"runs", runs_.list()}};
           }},
          {"kernel.prepare", [this](const json& args, bool kept) { return prepare(args, kept); }},
          {"kernel.commit",
           [this](const json& args, bool) { return transactions_.commit(text_or(args, "transaction")); }},
          {"kernel.abort", [this](const json& args, bool) -> Result<json> {
             MVM_TRY(transactions_.abort(text_or(args, "transaction")));
             return json::object();
           }}};
}

// ---- at once ----------------------------------------------------------------------------------------------

Result<json> Commands::load(const json& args, bool kept) {
  MVM_ASSIGN(const Prepared prepared, prepare_load(args, kept));
  return prepared.commit();
}

Result<json> Commands::unload(const json& args, bool kept) {
  MVM_ASSIGN(const std::string name, need_text(args, "plugin", kLongestWish));
  MVM_TRY(plugins_.unload_for_kernel(name, kept));
  return json::object();
}

Result<json> Commands::run(const json& args) {
  MVM_ASSIGN(const RunOrder order, order_from(args));
  MVM_ASSIGN(const std::string run, runs_.start(order));
  return json{{"run", run}};
}

Result<json> Commands::stop(const json& args) {
  MVM_ASSIGN(const Prepared prepared, prepare_stop(args));
  return prepared.commit();
}

// ---- prepared ---------------------------------------------------------------------------------------------

Result<json> Commands::prepare(const json& args, bool kept) {
  MVM_ASSIGN(const std::string id, need_text(args, "transaction", 128));
  MVM_ASSIGN(const std::string op, need_text(args, "op", 80));
  const auto hold = std::chrono::milliseconds(
      std::min<std::uint64_t>(number_or(args, "hold_ms", static_cast<std::uint64_t>(kHold.count())),
                              static_cast<std::uint64_t>(kLongestHold.count())));
  return transactions_.prepare(id, op, object_or_empty(args, "args"), kept, hold);
}

/// Loading may fail in many ways, also in the plug-in's own start: it is done now, and undone by the abort.
Result<Prepared> Commands::prepare_load(const json& args, bool kept) {
  MVM_ASSIGN(const std::vector<std::string> wishes, texts_of(args, "plugins", kMostWishes, kLongestLocator));
  if (wishes.empty()) return Error(ErrorCode::kInvalid, "plugins: found none, expected names of plug-ins");
  MVM_ASSIGN(const Sharing sharing, sharing_of(text_or(args, "sharing", "everyone")));
  MVM_ASSIGN(const std::vector<std::string> names, plugins_.load_stack(wishes, sharing));
  return Prepared{.result = json::object(),
                  .commit = [this, names, kept]() -> Result<json> {
                    if (Status recorded = kept ? plugins_.keep(names) : ok(); !recorded) {
                      unload_all(plugins_, names);
                      return std::move(recorded).error().wrap("write down what is loaded");
                    }
                    return json::object();
                  },
                  .abort = [this, names] { unload_all(plugins_, names); }};
}

Result<Prepared> Commands::prepare_unload(const json& args, bool kept) {
  MVM_ASSIGN(const std::string name, need_text(args, "plugin", kLongestWish));
  MVM_TRY(plugins_.reserve_unload(name));
  return Prepared{.result = json::object(),
                  .commit = [this, name, kept]() -> Result<json> {
                    MVM_TRY(plugins_.finish_unload(name, kept));
                    return json::object();
                  },
                  .abort = [this, name] { plugins_.release_unload(name); }};
}

Result<Prepared> Commands::prepare_run(const json& args) {
  MVM_ASSIGN(const RunOrder order, order_from(args));
  MVM_ASSIGN(const std::string run, runs_.prepare(order));
  return Prepared{.result = {{"run", run}},
                  .commit = [this, run]() -> Result<json> {
                    MVM_TRY(runs_.release(run));
                    return json{{"run", run}};
                  },
                  .abort = [this, run] { runs_.drop(run); }};
}

/// A run by its name, or all of a plug-in.
Result<Prepared> Commands::prepare_stop(const json& args) {
  const std::string run = text_or(args, "run");
  const std::string plugin = text_or(args, "plugin");
  if (run.empty() == plugin.empty())
    return Error(ErrorCode::kInvalid, "kernel.stop: expected either run or plugin");
  if (!run.empty() && !runs_.there(run))
    return Error(ErrorCode::kNotFound, "there is no run " + run.substr(0, 80));
  return Prepared{.commit = [this, run, plugin]() -> Result<json> {
                    if (run.empty()) return json{{"stopped", runs_.stop_of(plugin)}};
                    MVM_TRY(runs_.stop(run));
                    return json{{"stopped", 1}};
                  },
                  .abort = [] {}};
}

Result<RunOrder> Commands::order_from(const json& args) const {
  RunOrder order;
  MVM_ASSIGN(order.plugin, need_text(args, "plugin", kLongestWish));
  MVM_ASSIGN(order.arguments, texts_of(args, "arguments", kMostArguments, 65536));
  order.function = text_or(args, "function");
  order.run = text_or(args, "run");
  order.notify = text_or(args, "notify");
  if (!plugins_.may_call(kOutside, order.plugin))
    return Error(ErrorCode::kRefused,
                 "plug-in " + order.plugin + " is not shared with those outside this kernel");
  return order;
}

}  // namespace mvm::kernel
