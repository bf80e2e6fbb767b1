#pragma once
// What a plug-in of the Harness kernel is, and what the kernel offers it.
//
//   class Hello final : public mvm::kernel::Plugin {
//     mvm::Status start(mvm::kernel::Kernel& kernel) override {
//       return kernel.handle("hello", [](mvm::kernel::Call& call) -> mvm::Result<mvm::kernel::Answer> {
//         return mvm::kernel::Answer{{{"hello", call.args.value("name", "world")}}, {}};
//       });
//     }
//     void stop() override {}
//   };
//   MVM_KERNEL_PLUGIN(Hello, "hello", "1.0.0")

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mvm/base/blob_store.h"
#include "mvm/base/log.h"
#include "mvm/base/plugin_loader.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/kernel/process.h"

namespace mvm::kernel {

inline constexpr const char* kPluginKind = "kernel";
inline constexpr std::uint32_t kPluginApi = 4;

/// One operation asked of the kernel: from the host over the guest channel, or by another plug-in.
struct Call {
  std::string op;
  nlohmann::json args = nlohmann::json::object();  ///< always an object; its content is not checked yet
  std::string blob;
  std::vector<UniqueFd> descriptors;
  /// Who asks, set by the kernel: a plug-in's name, "kernel" for itself, "outside" for those outside.
  std::string caller;
  /// The plug-in that asks passes on what somebody outside wants: only what is shared with everyone.
  bool outside = false;
};

/// For operations that are the node's host's alone: kRefused where a plug-in asks, or somebody over a
/// network.
[[nodiscard]] inline Status only_host(const Call& call) {
  if (call.caller == "outside" && !call.outside) return ok();
  return Error(ErrorCode::kRefused, call.op + " is for the node's host alone");
}

/// What the operation answers.
struct Answer {
  nlohmann::json result = nlohmann::json::object();
  std::string blob;                   ///< at most channel::kPiece bytes
  std::vector<UniqueFd> descriptors;  ///< to another plug-in only; they do not travel to the host
};

/// Runs on a thread of the pool and may block.
using Handler = std::function<Result<Answer>(Call&)>;

/// A thread that runs plug-in code until it is done or told to stop. [Harness 000, §2.3: run, stop]
class Run {
 public:
  virtual ~Run() = default;
  [[nodiscard]] virtual const std::string& id() const = 0;
  [[nodiscard]] virtual const std::vector<std::string>& arguments() const = 0;
  /// True once it is to stop: also when the plug-in is unloaded, or the kernel ends.
  [[nodiscard]] virtual bool stopping() const = 0;
  /// Sleeps, at most so long; true as soon as it is to stop.
  [[nodiscard]] virtual bool wait_stop(std::chrono::milliseconds time) = 0;
};

/// What such a thread does; it returns soon after it is told to stop.
using RunBody = std::function<Status(Run&)>;

/// One loading of a plug-in, known to who loaded it alone. Never 0.
using PluginHandle = std::uint64_t;

/// Who may call what a plug-in offers. [Harness 000, §2.3: permission attributes]
enum class Sharing {
  kOwners,    ///< those plug-ins that have loaded it
  kKernel,    ///< all plug-ins of this kernel
  kEveryone,  ///< those who call from outside, too
};

/// The node as the kernel was told on its command line.
struct NodeConfig {
  std::string lab;
  std::string node;
  std::string boot;                             ///< drawn once for each boot of the node
  std::filesystem::path work;                   ///< folder for what the job needs, "/work"
  std::filesystem::path run;                    ///< folder for the kernel's own, "/run/mvm"
  std::filesystem::path prefix;                 ///< the read-only tree, "/opt/mvm"
  std::vector<std::filesystem::path> programs;  ///< preset program folders
  unsigned user = 1000;                         ///< uid and gid that job processes get
  unsigned group = 1000;
  bool drops_privileges = false;  ///< false: not started by root, processes keep our uid
  /// For plug-ins, as "PLUGIN.NAME"; each documents its own. Empty where nothing was said.
  std::map<std::string, std::string> settings;
};

/// The kernel, as its plug-ins see it. Every method may be called from any thread.
class Kernel {
 public:
  virtual ~Kernel() = default;
  [[nodiscard]] virtual const NodeConfig& config() const = 0;

  /// Offers an operation; kExists where another plug-in offers it. It ends with the plug-in.
  [[nodiscard]] virtual Status handle(const std::string& op, Handler handler) = 0;
  /// Offers code that users start and stop on a thread of the pool, as often as they like (kernel.run). A
  /// plug-in that is nothing but a program calls it "main". kExists. It ends with the plug-in, whose runs are
  /// told to stop and waited for.
  [[nodiscard]] virtual Status runnable(const std::string& function, RunBody body) = 0;
  /// Calls an operation of any plug-in, on this thread. kUnsupported: nobody offers it.
  [[nodiscard]] virtual Result<Answer> call(Call call) = 0;
  /// Tells the host. Durable: when this returns, it will be told even if the kernel dies. `blob` at most
  /// channel::kPiece bytes.
  [[nodiscard]] virtual Status tell(const std::string& event, const nlohmann::json& args,
                                    const std::string& blob = {}) = 0;
  /// Runs something on the thread pool; blocks while its queue is full.
  [[nodiscard]] virtual Status submit(std::function<void()> job) = 0;

  [[nodiscard]] virtual ProcessManager& processes() = 0;
  /// The node's blobs, in <work>/blobs.
  [[nodiscard]] virtual const BlobStore& blobs() const = 0;

  /// Loads a plug-in of the preset folder, NAME or NAME@VERSION[.AGE[.REVISION]], for the one that asks, also
  /// while that starts or stops. What is there already is counted and not loaded again. Whoever loads it
  /// unloads it; what it has not unloaded when it goes is the kernel's. kNotFound, kRefused, kCorrupt;
  /// kUnsupported where it needs an interface that nobody offers; kConflict where it is there in another
  /// version, or would wait for the one that asks. [§2.3]
  [[nodiscard]] virtual Result<PluginHandle> load(const std::string& wish) = 0;
  /// Undoes one loading of the one that asks. kNotFound, kConflict: another plug-in needs what it offers.
  [[nodiscard]] virtual Status unload(PluginHandle handle) = 0;
  /// Address of a function, of data or of a table of them in a plug-in that the one that asks has loaded;
  /// valid until it is unloaded. Null where there is none. [§2.3: "one-time lookup"]
  [[nodiscard]] virtual void* symbol(PluginHandle handle, const char* name) = 0;
};

/// A plug-in. start() once; stop() once before it is destroyed, in the reverse order of starting: its
/// handlers are no longer called by then, and its own threads must be gone when stop() returns.
class Plugin {
 public:
  virtual ~Plugin() = default;
  /// An error refuses the plug-in; the kernel goes on without it.
  [[nodiscard]] virtual Status start(Kernel& kernel) = 0;
  virtual void stop() = 0;
};

}  // namespace mvm::kernel

/// Exports `Class` as the kernel plug-in of this shared object. Once per plug-in, at namespace scope.
#define MVM_KERNEL_PLUGIN(Class, plugin_name, plugin_version)                                    \
  extern "C" __attribute__((visibility("default"))) const ::mvm::MvmPluginDescriptor mvm_plugin; \
  extern "C" const ::mvm::MvmPluginDescriptor mvm_plugin = {                                     \
      ::mvm::kPluginMagic,                                                                       \
      ::mvm::kPluginAbi,                                                                         \
      ::mvm::kernel::kPluginKind,                                                                \
      ::mvm::kernel::kPluginApi,                                                                 \
      plugin_name,                                                                               \
      plugin_version,                                                                            \
      nullptr,                                                                                   \
      nullptr,                                                                                   \
      []() -> void* { return static_cast<::mvm::kernel::Plugin*>(new Class()); },                \
      [](void* object) { delete static_cast<::mvm::kernel::Plugin*>(object); }};

/// Says which interfaces this plug-in offers to others and which it needs; each an array of "name/version"
/// that ends with a null pointer, or nullptr. At namespace scope, at most once. [Harness 001, §3.1]
#define MVM_PLUGIN_INTERFACES(offered, needed)                                                              \
  extern "C" __attribute__((visibility("default"))) const ::mvm::MvmPluginInterfaces mvm_plugin_interfaces; \
  extern "C" const ::mvm::MvmPluginInterfaces mvm_plugin_interfaces = {::mvm::kPluginInterfacesMagic,       \
                                                                       offered, needed};
