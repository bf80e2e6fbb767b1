#include "kernel_service.h"

#include <algorithm>

#include "mvm/base/json.h"

namespace mvm::plugins::rmix_kernel {
namespace {

constexpr const char* kPrefix = "rmix/";  // of ids of processes started from here
constexpr std::size_t kMostText = 1U << 20U;
constexpr std::size_t kMostArguments = 4096;

KernelError raised(const Error& error) { return {std::string(to_string(error.code())), error.describe()}; }

std::vector<std::string> texts(const nlohmann::json& object, const char* key) {
  std::vector<std::string> all;
  for (const nlohmann::json& one : array_or_empty(object, key))
    if (one.is_string()) all.push_back(one.get<std::string>());
  return all;
}

std::uint32_t small(const nlohmann::json& object, const char* key) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(number_or(object, key), UINT32_MAX));
}

ProcessInfo shown(const kernel::ProcessInfo& process) {
  return {.id = process.id.substr(std::string_view(kPrefix).size()),
          .pid = process.pid,
          .running = process.state == kernel::ProcessState::kRunning,
          .code = process.code,
          .signal = process.signal};
}

}  // namespace

Result<kernel::Answer> KernelService::ask(const std::string& op, nlohmann::json args, std::string blob) {
  kernel::Call call{
      .op = op, .args = std::move(args), .blob = std::move(blob), .descriptors = {}, .caller = {}};
  call.outside = true;
  return kernel_.call(std::move(call));
}

rmix::Reply<NodeInfo> KernelService::info() {
  auto answer = ask("node.info", nlohmann::json::object());
  if (!answer) return raised(answer.error());
  const nlohmann::json& told = answer->result;
  return NodeInfo{.node = text_or(told, "node"),
                  .boot = text_or(told, "boot"),
                  .architecture = text_or(told, "arch"),
                  .version = text_or(told, "version"),
                  .plugins = texts(told, "plugins"),
                  .processes = small(told, "processes"),
                  .restarts = small(told, "restarts"),
                  .pid = static_cast<std::int64_t>(number_or(told, "pid")),
                  .uptime_ms = number_or(told, "uptime_ms")};
}

rmix::Reply<std::vector<PluginInfo>> KernelService::plugins() {
  auto answer = ask("kernel.plugins", nlohmann::json::object());
  if (!answer) return raised(answer.error());
  std::vector<PluginInfo> all;
  for (const nlohmann::json& one : array_or_empty(answer->result, "plugins"))
    all.push_back({.name = text_or(one, "name"),
                   .version = text_or(one, "version"),
                   .file = text_or(one, "file"),
                   .owner = text_or(one, "owner"),
                   .offers = texts(one, "offers"),
                   .needs = texts(one, "needs")});
  return all;
}

rmix::Reply<void> KernelService::load(std::vector<std::string> plugins) {
  auto answer = ask("kernel.load", {{"plugins", plugins}});
  if (!answer) return raised(answer.error());
  return {};
}

rmix::Reply<void> KernelService::unload(std::string plugin) {
  // It would wait for the very call that asks for it.
  if (plugin == "rmix" || plugin == "rmix-kernel")
    return KernelError{std::string(to_string(ErrorCode::kConflict)),
                       "plug-in " + plugin + " carries this call"};
  auto answer = ask("kernel.unload", {{"plugin", plugin}});
  if (!answer) return raised(answer.error());
  return {};
}

rmix::Reply<std::string> KernelService::run(std::string plugin, std::string function,
                                            std::vector<std::string> arguments) {
  nlohmann::json args{{"plugin", plugin}, {"arguments", arguments}};
  if (!function.empty()) args["function"] = function;
  auto answer = ask("kernel.run", std::move(args));
  if (!answer) return raised(answer.error());
  return text_or(answer->result, "run");
}

rmix::Reply<void> KernelService::stop(std::string run) {
  auto answer = ask("kernel.stop", {{"run", run}});
  if (!answer) return raised(answer.error());
  return {};
}

rmix::Reply<std::vector<RunInfo>> KernelService::runs() {
  auto answer = ask("kernel.runs", nlohmann::json::object());
  if (!answer) return raised(answer.error());
  std::vector<RunInfo> all;
  for (const nlohmann::json& one : array_or_empty(answer->result, "runs"))
    all.push_back({.run = text_or(one, "run"),
                   .plugin = text_or(one, "plugin"),
                   .function = text_or(one, "function"),
                   .state = text_or(one, "state"),
                   .ok = flag_or(one, "ok"),
                   .reason = text_or(one, "reason")});
  return all;
}

rmix::Reply<Pool> KernelService::pool(Pool wanted) {
  nlohmann::json args = nlohmann::json::object();
  if (wanted.minimum != 0) args["minimum"] = wanted.minimum;
  if (wanted.maximum != 0) args["maximum"] = wanted.maximum;
  if (wanted.queue != 0) args["queue"] = wanted.queue;
  if (wanted.idle_ms != 0) args["idle_ms"] = wanted.idle_ms;
  auto answer = ask("kernel.pool", std::move(args));
  if (!answer) return raised(answer.error());
  const nlohmann::json& told = answer->result;
  return Pool{small(told, "minimum"), small(told, "maximum"), small(told, "queue"),
              small(told, "idle_ms"), small(told, "threads"), small(told, "queued")};
}

rmix::Reply<ProcessInfo> KernelService::start_process(std::string id, std::vector<std::string> arguments) {
  if (arguments.empty() || arguments.size() > kMostArguments)
    return KernelError{std::string(to_string(ErrorCode::kInvalid)),
                       "expected a program and at most 4095 arguments"};
  kernel::ProcessSpec spec;
  spec.id = kPrefix + id;
  spec.owner = "rmix-kernel";
  spec.group = "rmix";
  spec.argv = std::move(arguments);
  spec.folder = kernel_.config().work;
  std::string path;
  for (const std::filesystem::path& folder : kernel_.config().programs)
    path += (path.empty() ? "" : ":") + folder.string();
  spec.environment = {{"PATH", path},
                      {"HOME", spec.folder.string()},
                      {"MVM_NODE", kernel_.config().lab + "/" + kernel_.config().node}};
  spec.output_event = "rmix.output";
  spec.output_args = {{"proc", spec.id}};
  auto started = kernel_.processes().start(spec);
  if (!started) return raised(started.error());
  return shown(*started);
}

rmix::Reply<ProcessInfo> KernelService::process(std::string id) {
  auto found = kernel_.processes().find(kPrefix + id);
  if (!found) return raised(found.error());
  return shown(*found);
}

rmix::Reply<void> KernelService::signal_process(std::string id, std::int32_t number) {
  if (number < 1 || number > 64)
    return KernelError{std::string(to_string(ErrorCode::kInvalid)), "expected a signal from 1 to 64"};
  const Status sent = kernel_.processes().signal(kPrefix + id, number);
  if (!sent) return raised(sent.error());
  return {};
}

rmix::Reply<void> KernelService::forget_process(std::string id) {
  const Status forgotten = kernel_.processes().forget(kPrefix + id);
  if (!forgotten) return raised(forgotten.error());
  return {};
}

rmix::Reply<Done> KernelService::operation(std::string name, std::string arguments, rmix::Bytes blob) {
  if (arguments.size() > kMostText)
    return KernelError{std::string(to_string(ErrorCode::kExhausted)), "expected at most 1 MiB of arguments"};
  nlohmann::json args = arguments.empty()
                            ? nlohmann::json::object()
                            : nlohmann::json::parse(arguments, nullptr, /*allow_exceptions=*/false);
  if (!args.is_object())
    return KernelError{std::string(to_string(ErrorCode::kInvalid)),
                       "expected the arguments as one JSON object"};
  if (name == "kernel.unload") {
    auto undone = unload(text_or(args, "plugin"));
    if (undone.exception() != nullptr) return *undone.as<KernelError>();
    return Done{"{}", {}};
  }
  auto answer = ask(name, std::move(args), {reinterpret_cast<const char*>(blob.data()), blob.size()});
  if (!answer) return raised(answer.error());
  const auto bytes = std::as_bytes(std::span(answer->blob));
  return Done{answer->result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
              rmix::Bytes(bytes.begin(), bytes.end())};
}

}  // namespace mvm::plugins::rmix_kernel
