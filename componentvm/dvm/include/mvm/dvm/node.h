#pragma once
// A kernel's part in a distributed virtual machine, whole: what the plug-in "dvm" starts and stops.

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/dvm/address.h"
#include "mvm/dvm/status.h"

namespace mvm::dvm {

/// Whether a kernel without a past may be the first of a machine.
enum class Founding { kNever, kAtOnce, kIfAlone };

/// What a kernel is told about its machine. docs/formats/dvm.md
struct Settings {
  std::string vm;
  std::string kernel;
  Endpoint listen{"127.0.0.1", 0};  ///< port 0: one that is free
  std::string advertise;            ///< the address others reach it by; empty: that of `listen`
  std::vector<Endpoint> seeds;      ///< kernels to ask
  bool multicast = true;
  Founding founding = Founding::kIfAlone;
  std::filesystem::path secret;  ///< file
  std::filesystem::path users;   ///< file
  std::filesystem::path state;   ///< folder
  std::filesystem::path socket;  ///< for applications of this host; empty: none
  std::chrono::milliseconds beat{250};
  std::size_t voters = 5;  ///< kernels that hold the log, 1 to 7
  Baseline baseline;       ///< of a machine that this kernel founds
  std::map<std::string, std::string> attributes;
  std::vector<std::string> unwilling;  ///< plug-ins that are not wanted here
  std::vector<std::string> follow;     ///< services whose events are followed; empty: all
  bool ends_with_vm = false;           ///< the process ends when the machine is halted
  std::string crash_at;                ///< for tests: one of list_crash_points()
};

/// Reads a settings file, a JSON object; `vm`, `kernel` and paths default to what `defaults` has. kInvalid
/// names the field.
[[nodiscard]] Result<Settings> read_settings(const std::filesystem::path& file, Settings defaults);

/// The kernel, as the machine uses it. Called from any thread.
struct Host {
  /// An operation of the kernel; blocks.
  std::function<Result<nlohmann::json>(const std::string& op, const nlohmann::json& args)> call;
  /// Runs something on the kernel's pool.
  std::function<Status(std::function<void()>)> submit;
  /// The process is to end.
  std::function<void()> end;
};

/// One thread of its own, and another one where it holds the log.
class Node {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Node>> start(Settings settings, Host host);
  virtual ~Node() = default;

  /// A command of this kernel's own, with an administrator's rights; blocks. As H_command's.
  [[nodiscard]] virtual Result<nlohmann::json> command(const std::vector<std::string>& words,
                                                       std::chrono::milliseconds patience) = 0;
  /// A thread that the machine started has ended.
  virtual void thread_ended(const std::string& id) = 0;
  [[nodiscard]] virtual Endpoint address() const = 0;
};

}  // namespace mvm::dvm
