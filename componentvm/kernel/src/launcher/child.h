#pragma once
// One process of a job, as the launcher keeps it.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "../spool.h"
#include "confine.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/kernel/config.h"
#include "shepherd.h"

namespace mvm::kernel {

/// What the launcher needs to know to start one, besides the kernel's request.
struct ChildContext {
  const Config& config;
  bool drop = false;  ///< we are root: processes get another user
  const SyscallFilter* job_filter = nullptr;
  const SyscallFilter* build_filter = nullptr;
};

/// One output stream on its way from the process to the spool.
struct OutputPipe {
  UniqueFd fd;
  Spool spool;
  std::string held;    ///< read, and the disk had no room for it
  bool dirty = false;  ///< the kernel has not been told of all of it
};

/// A process, from its start until the kernel forgets it. Not thread-safe; never moved.
class Child {
 public:
  using Clock = std::chrono::steady_clock;

  /// Starts it. kInvalid, kNotFound, kRefused (program outside the allowed folders), kFailed (the process
  /// could not become what it should). `args` are those of the request "start".
  [[nodiscard]] static Result<std::unique_ptr<Child>> start(const ChildContext& context,
                                                            const nlohmann::json& args,
                                                            const std::vector<UniqueFd>& descriptors);

  /// One that was started to be held goes on to its program; the gates of several are opened before the first
  /// is waited for. Once open, opening does nothing.
  void open_gate();
  /// Blocks for the millisecond that exec takes. kFailed: it could not execute its program, and is gone.
  /// kAborted: it had ended before.
  [[nodiscard]] Status await_release();

  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::string& group() const { return group_; }
  [[nodiscard]] bool running() const { return !exited_; }
  /// True once it ended and all its output is in the spool.
  [[nodiscard]] bool settled() const { return exited_ && !out_.fd && !err_.fd; }

  /// Descriptors to watch: reports, output (not while the spool is full), input (while bytes wait).
  [[nodiscard]] int report_fd() const { return report_.get(); }
  [[nodiscard]] OutputPipe& out() { return out_; }
  [[nodiscard]] OutputPipe& err() { return err_; }
  [[nodiscard]] int input_fd() const { return input_waiting_.empty() && !input_end_ ? -1 : input_.get(); }

  /// The shepherd said something, or is gone.
  void take_report();
  /// Reads once from the pipe into the spool.
  void relay(OutputPipe& pipe);
  /// Writes waiting input.
  void feed();

  /// Takes input: see ProcessManager::input.
  [[nodiscard]] Result<std::uint64_t> input(std::uint64_t offset, std::string_view bytes, bool end);
  void signal(int number) const;
  void kill(const std::string& reason);
  [[nodiscard]] std::optional<Clock::time_point> deadline() const {
    return exited_ ? std::nullopt : deadline_;
  }

  /// True where nothing of it is needed any more and nobody will say so.
  [[nodiscard]] bool done_with() const;

  bool exit_told = false;   ///< the kernel was told of its end in this session
  bool finished = false;    ///< the kernel wrote its last event down
  bool forgetting = false;  ///< to be removed once it is settled

  /// ProcessInfo, plus what a new kernel needs to go on.
  [[nodiscard]] nlohmann::json describe() const;
  /// Removes its output from the disk.
  void remove_spool();

 private:
  /// Of a process that waits for its release: kLost ended before that.
  enum class Gate { kNone, kHeld, kOpening, kOpen, kLost };

  Child() = default;
  void exited(const ShepherdReport& report);
  [[nodiscard]] Result<ShepherdReport> await(ShepherdReport::Kind wanted);
  void begin();

  std::string id_, owner_, group_, output_event_, reason_;
  nlohmann::json output_args_, memo_;
  std::filesystem::path spool_folder_;
  pid_t shepherd_ = -1;
  pid_t pid_ = -1;
  UniqueFd report_;
  UniqueFd gate_;  // a byte releases it, the end of the pipe ends it
  Gate state_ = Gate::kNone;
  std::uint64_t wall_limit_ms_ = 0;
  OutputPipe out_, err_;
  UniqueFd input_;
  std::string input_waiting_;
  std::uint64_t input_taken_ = 0;
  bool input_end_ = false;
  Clock::time_point begin_ = Clock::now();
  std::optional<Clock::time_point> deadline_;
  bool exited_ = false;
  bool transient_ = false;
  int code_ = 0;
  int signal_ = 0;
  std::uint64_t wall_ms_ = 0, user_ms_ = 0, system_ms_ = 0, max_rss_ = 0;
};

/// The path of argv[0], or why it may not be run. [Engelmann & Geist, §2.1: a preset program directory]
[[nodiscard]] Result<std::string> find_program(const Config& config, const std::string& name,
                                               const std::filesystem::path& folder);

}  // namespace mvm::kernel
