#pragma once
// The launcher's loop: signals, the kernel and its requests, the children's pipes and deadlines.

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "child.h"
#include "mvm/base/frame_stream.h"
#include "mvm/kernel/config.h"

namespace mvm::kernel {

/// Single-threaded. Talks to the kernel over a socket pair, in frames: docs/formats/launcher.md.
class Launcher {
 public:
  Launcher(const Config& config, std::vector<std::string> kernel_argv, std::function<void()> begun);
  /// Runs until SIGTERM or SIGINT; the exit code.
  [[nodiscard]] int run();

 private:
  using Clock = std::chrono::steady_clock;
  struct KeptEntry {
    nlohmann::json note;
    std::vector<UniqueFd> descriptors;
  };
  /// A "forget" that is answered once all of its processes are gone.
  struct Waiting {
    std::uint64_t number = 0;
    std::string group;
    std::string id;
  };

  Status prepare();
  void step();
  // The kernel.
  void start_kernel();
  void kernel_ended(int status);
  void drop_kernel_link();
  void serve_kernel();
  void tell_kernel(nlohmann::json head, std::vector<UniqueFd> descriptors = {});
  // Signals.
  void take_signals();
  void reap();
  [[nodiscard]] int end();
  // Children.
  void serve_children(const std::vector<pollfd>& items);
  void tell_progress();
  void forget_settled();
  void check_deadlines();
  [[nodiscard]] int next_timeout() const;
  // Requests.
  void take(Frame frame);
  [[nodiscard]] Result<nlohmann::json> answer(const std::string& op, Frame& frame, bool& later);
  [[nodiscard]] Result<nlohmann::json> op_start(Frame& frame);
  [[nodiscard]] Result<nlohmann::json> op_release(const nlohmann::json& args);
  [[nodiscard]] Result<nlohmann::json> op_list(const nlohmann::json& args);
  [[nodiscard]] Result<nlohmann::json> op_input(Frame& frame);
  [[nodiscard]] Result<nlohmann::json> op_keep(Frame& frame);
  [[nodiscard]] Result<nlohmann::json> op_forget(std::uint64_t number, const nlohmann::json& args,
                                                 bool& later);
  [[nodiscard]] Result<Child*> find(const nlohmann::json& args);

  const Config& config_;
  std::vector<std::string> kernel_argv_;
  std::function<void()> begun_;  // empty once it was called
  std::string boot_;
  bool drop_ = false;
  std::optional<SyscallFilter> job_filter_, build_filter_;
  UniqueFd lock_;  // of the run folder; the kernel holds it too
  UniqueFd signals_;
  std::unique_ptr<FrameStream> kernel_;
  pid_t kernel_pid_ = -1;
  unsigned kernel_starts_ = 0;
  Clock::time_point kernel_begin_{}, kernel_not_before_{};
  std::chrono::milliseconds kernel_wait_{0};
  bool ending_ = false;
  int code_ = 0;  // how this program ends
  std::map<std::string, std::unique_ptr<Child>> children_;
  std::map<std::string, KeptEntry> kept_;
  std::vector<Waiting> waiting_;
  std::vector<UniqueFd> answer_descriptors_;  // to go with the answer that is being made
};

}  // namespace mvm::kernel
