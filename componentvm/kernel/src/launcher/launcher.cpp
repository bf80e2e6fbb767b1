#include "launcher.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "mvm/kernel/run.h"

namespace mvm::kernel {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kKernelShortLife{2000};
constexpr milliseconds kKernelWaitMost{5000};
constexpr milliseconds kFormerKernel{5000};       // to be gone, where its launcher was killed
constexpr std::size_t kNoticeWindow = 256 << 10;  // notices that wait for the kernel, bytes
constexpr milliseconds kDiskFullPause{500};

void raise_limits() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, 65536);
    (void)::setrlimit(RLIMIT_NOFILE, &files);
  }
  // Rather a job than the launcher dies when memory is short. Only the machine's real root may ask for it.
  if (const UniqueFd fd(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)); fd) [[maybe_unused]]
    const ssize_t put = ::write(fd.get(), "-900", 4);
}

}  // namespace

int run_launcher(const Config& config, const std::vector<std::string>& kernel_argv,
                 const std::function<void()>& begun) {
  return Launcher(config, kernel_argv, begun).run();
}

Launcher::Launcher(const Config& config, std::vector<std::string> kernel_argv, std::function<void()> begun)
    : config_(config),
      kernel_argv_(std::move(kernel_argv)),
      begun_(std::move(begun)),
      boot_(random_hex(16)),
      drop_(::geteuid() == 0) {}

Status Launcher::prepare() {
  ::umask(022);
  ::signal(SIGPIPE, SIG_IGN);
  (void)::prctl(PR_SET_NAME, "mvm-launcher");
  (void)::prctl(PR_SET_CHILD_SUBREAPER, 1);
  raise_limits();
  MVM_TRY(make_folders(config_.run));
  auto lock = lock_file(config_.run / "lock", kFormerKernel);
  if (!lock && lock.error().code() == ErrorCode::kExists)
    return Error(ErrorCode::kExists, "another kernel runs in " + config_.run.string() +
                                         ": end it, or give this one a folder of its own with --run");
  if (!lock) return lock.error();
  lock_ = std::move(*lock);
  MVM_TRY(make_folders(config_.work));
  // The job's user must be able to pass through, whoever made the folder; what it may read is decided below.
  struct stat work {};
  if (drop_ && ::stat(config_.work.c_str(), &work) == 0 && (work.st_mode & S_IXOTH) == 0)
    (void)::chmod(config_.work.c_str(), (work.st_mode & 07777U) | S_IXOTH);
  // What an earlier boot left: its processes are gone with its launcher.
  MVM_TRY(remove_tree(config_.run / "spool"));
  MVM_TRY(remove_tree(config_.run / "journal"));
  MVM_TRY(make_folders(config_.run / "spool", 0700));
  if (auto filter = SyscallFilter::compile(false)) job_filter_ = std::move(*filter);
  if (auto filter = SyscallFilter::compile(true)) build_filter_ = std::move(*filter);
  if (!job_filter_ || !build_filter_) log::warning("launcher.no-seccomp");
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT}) ::sigaddset(&set, number);
  if (const int problem = ::pthread_sigmask(SIG_SETMASK, &set, nullptr); problem != 0)
    return Error::from_errno(problem, "pthread_sigmask");
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return Error::from_errno(errno, "signalfd");
  return ok();
}

int Launcher::run() {
  if (Status ready = prepare(); !ready) {
    log::error("launcher.failed", {{"reason", ready.error().describe()}});
    return 1;
  }
  log::info("launcher.started",
            {{"node", config_.lab + "/" + config_.node}, {"boot", boot_}, {"pid", ::getpid()}});
  while (!ending_) step();
  return end();
}

// ---- the kernel ------------------------------------------------------------------------------------------

void Launcher::start_kernel() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return;
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  std::vector<std::string> argv = kernel_argv_;
  argv.insert(argv.end(), {"--control", "3", "--lock", "4", "--boot", boot_, "--restarts",
                           std::to_string(kernel_starts_)});
  std::vector<char*> pointers;
  for (std::string& text : argv) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  const pid_t launcher = ::getpid();
  kernel_pid_ = ::fork();
  if (kernel_pid_ < 0) return;
  if (kernel_pid_ == 0) {
    sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != launcher) ::_exit(1);
    // Copies above both first: either may be at the other's place.
    const int control = ::fcntl(theirs.get(), F_DUPFD, 5);
    const int lock = ::fcntl(lock_.get(), F_DUPFD, 5);
    if (control < 0 || lock < 0 || ::dup2(control, 3) < 0 || ::dup2(lock, 4) < 0) ::_exit(126);
    (void)::close_range(5, ~0U, 0);
    ::execv("/proc/self/exe", pointers.data());
    ::_exit(127);
  }
  ++kernel_starts_;
  kernel_begin_ = Clock::now();
  kernel_ = std::make_unique<FrameStream>(std::move(ours), FrameStream::Options{.takes_descriptors = true});
  // A new kernel hears again of everything that it must know.
  for (auto& [id, child] : children_) {
    child->exit_told = false;
    child->out().dirty = child->err().dirty = true;
  }
}

void Launcher::kernel_ended(int status) {
  kernel_pid_ = -1;
  drop_kernel_link();
  if (ending_) return;
  // Nobody else would tell who started it by hand that it cannot do what it was told.
  if (config_.channel.empty() && kernel_starts_ == 1 && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    ending_ = true;
    code_ = WEXITSTATUS(status);
    return;
  }
  const auto now = Clock::now();
  kernel_wait_ = now - kernel_begin_ > kKernelShortLife
                     ? milliseconds(0)
                     : std::clamp(kernel_wait_ * 2, milliseconds(50), kKernelWaitMost);
  kernel_not_before_ = now + kernel_wait_;
  log::warning("kernel.died", {{"signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0},
                               {"code", WIFEXITED(status) ? WEXITSTATUS(status) : 0},
                               {"again_in_ms", kernel_wait_.count()}});
}

void Launcher::drop_kernel_link() {
  kernel_.reset();
  waiting_.clear();
}

void Launcher::tell_kernel(nlohmann::json head, std::vector<UniqueFd> descriptors) {
  if (kernel_ && !kernel_->send(std::move(head), {}, std::move(descriptors))) drop_kernel_link();
}

void Launcher::serve_kernel() {
  Status status = kernel_->receive();
  while (status && kernel_) {
    auto frame = kernel_->next();
    if (!frame) status = frame.error();
    if (!frame || !*frame) break;
    take(std::move(**frame));
  }
  if (!status) drop_kernel_link();
}

// ---- signals ---------------------------------------------------------------------------------------------

void Launcher::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
    if (info.ssi_signo != SIGCHLD) ending_ = true;
  reap();
}

void Launcher::reap() {
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;)
    if (pid == kernel_pid_) kernel_ended(status);
}

int Launcher::end() {
  log::info("launcher.ending");
  if (::getpid() == 1) {
    // The end of a container's first process is the end of all of it, at once. A machine has to be switched
    // off.
    if (config_.channel.starts_with("virtio:")) {
      ::sync();
      (void)::reboot(RB_POWER_OFF);
    }
    ::_exit(0);
  }
  if (kernel_pid_ > 0) ::kill(kernel_pid_, SIGKILL);
  kill_descendants();
  (void)remove_tree(config_.run / "spool");
  (void)remove_tree(config_.run / "journal");
  return code_;
}

// ---- children --------------------------------------------------------------------------------------------

int Launcher::next_timeout() const {
  auto next = Clock::now() + milliseconds(60'000);
  if (kernel_pid_ < 0) next = std::min(next, kernel_not_before_);
  bool disk_full = false;
  for (const auto& [id, child] : children_) {
    if (const auto deadline = child->deadline()) next = std::min(next, *deadline);
    disk_full = disk_full || !child->out().held.empty() || !child->err().held.empty();
  }
  if (disk_full) next = std::min(next, Clock::now() + kDiskFullPause);
  return static_cast<int>(
      std::max<long long>(0, std::chrono::ceil<milliseconds>(next - Clock::now()).count()));
}

void Launcher::step() {
  if (kernel_pid_ < 0 && Clock::now() >= kernel_not_before_) start_kernel();
  std::vector<pollfd> items{{signals_.get(), POLLIN, 0},
                            {kernel_ ? kernel_->fd() : -1, kernel_ ? kernel_->events() : short{0}, 0}};
  for (auto& [id, child] : children_) {
    const auto readable = [](const OutputPipe& pipe) {
      return pipe.fd && !pipe.spool.full() && pipe.held.empty() ? pipe.fd.get() : -1;
    };
    items.push_back({child->report_fd(), POLLIN, 0});
    items.push_back({readable(child->out()), POLLIN, 0});
    items.push_back({readable(child->err()), POLLIN, 0});
    items.push_back({child->input_fd(), POLLOUT, 0});
  }
  if (::poll(items.data(), items.size(), next_timeout()) < 0) return;  // EINTR
  serve_children(items);
  if (items[0].revents != 0) take_signals();
  if (kernel_ && (items[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) serve_kernel();
  if (kernel_ && !kernel_->flush()) drop_kernel_link();
  check_deadlines();
  tell_progress();
  forget_settled();
}

void Launcher::serve_children(const std::vector<pollfd>& items) {
  std::size_t at = 2;
  for (auto& [id, child] : children_) {
    const bool reported = items[at].revents != 0;
    for (OutputPipe* pipe : {&child->out(), &child->err()}) {
      const bool ready = items[pipe == &child->out() ? at + 1 : at + 2].revents != 0;
      if (pipe->fd && (ready || !pipe->held.empty())) child->relay(*pipe);
    }
    if (items[at + 3].revents != 0) child->feed();
    if (reported) child->take_report();
    at += 4;
  }
}

void Launcher::tell_progress() {
  for (auto& [id, child] : children_) {
    if (!kernel_ || kernel_->queued() > kNoticeWindow) return;
    for (OutputPipe* pipe : {&child->out(), &child->err()}) {
      if (!pipe->dirty || !kernel_) continue;
      pipe->dirty = false;
      if (pipe->spool.size() > 0)
        tell_kernel({{"t", "output"},
                     {"id", id},
                     {"stream", pipe == &child->out() ? "out" : "err"},
                     {"size", pipe->spool.size()}});
    }
    if (child->settled() && !child->exit_told && kernel_) {
      child->exit_told = true;
      nlohmann::json head = child->describe();
      head["t"] = "exit";
      tell_kernel(std::move(head));
    }
  }
}

void Launcher::check_deadlines() {
  const auto now = Clock::now();
  for (auto& [id, child] : children_)
    if (const auto deadline = child->deadline(); deadline && now >= *deadline) child->kill("wall-time");
}

void Launcher::forget_settled() {
  std::erase_if(children_, [](const auto& entry) {
    if (entry.second->forgetting ? entry.second->running() : !entry.second->done_with()) return false;
    entry.second->remove_spool();
    return true;
  });
  std::erase_if(waiting_, [this](const Waiting& wanted) {
    const bool left = std::any_of(children_.begin(), children_.end(), [&](const auto& entry) {
      return entry.second->forgetting &&
             (wanted.id.empty() ? entry.second->group() == wanted.group : entry.first == wanted.id);
    });
    if (!left)
      tell_kernel({{"t", "rep"}, {"n", wanted.number}, {"ok", true}, {"result", nlohmann::json::object()}});
    return !left;
  });
}

}  // namespace mvm::kernel
