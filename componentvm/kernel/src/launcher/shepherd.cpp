#include "shepherd.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <set>

#include "mvm/base/file.h"
#include "mvm/base/number.h"

namespace mvm::kernel {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// (child, parent) of every process that /proc shows. The file "children" may be missing in a kernel.
std::vector<std::pair<pid_t, pid_t>> all_processes() {
  std::vector<std::pair<pid_t, pid_t>> found;
  const std::unique_ptr<DIR, CloseDir> dir(::opendir("/proc"));
  if (!dir) return found;
  while (const dirent* entry = ::readdir(dir.get())) {
    const pid_t pid = whole_number<pid_t>(entry->d_name).value_or(0);
    if (pid <= 0) continue;
    auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
    if (!text) continue;
    const std::size_t name_end = text->rfind(')');  // the name may hold anything
    if (name_end == std::string::npos || name_end + 4 >= text->size()) continue;
    if ((*text)[name_end + 2] == 'Z') continue;
    pid_t parent = 0;
    std::from_chars(text->data() + name_end + 4, text->data() + text->size(), parent);
    found.emplace_back(pid, parent);
  }
  return found;
}

std::set<pid_t> descendants_of(pid_t root) {
  const auto processes = all_processes();
  std::set<pid_t> family{root};
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& [pid, parent] : processes)
      if (family.contains(parent) && family.insert(pid).second) grew = true;
  }
  family.erase(root);
  return family;
}

void reap() {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

void tell(int fd, const ShepherdReport& report) {
  ssize_t put = 0;
  do put = ::write(fd, &report, sizeof report);
  while (put < 0 && errno == EINTR);
}

/// What the child says to the shepherd when a step before exec fails, and, with no problem, when it is held.
struct Failure {
  int problem = 0;
  std::array<char, 64> step{};
};

[[noreturn]] void fail(int fd, const char* step) {
  Failure failure;
  failure.problem = errno;
  std::strncpy(failure.step.data(), step, failure.step.size() - 1);
  [[maybe_unused]] const ssize_t put = ::write(fd, &failure, sizeof failure);
  ::_exit(127);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

void close_all_but(const std::set<int>& wanted) {
  unsigned next = 0;
  for (const int keep : wanted) {
    if (static_cast<unsigned>(keep) > next) (void)::close_range(next, static_cast<unsigned>(keep) - 1, 0);
    next = static_cast<unsigned>(keep) + 1;
  }
  (void)::close_range(next, ~0U, 0);
}

/// The descriptors between the process and those above it, which end with exec.
struct Ties {
  int report = -1;
  int gate = -1;
};

/// Moves the descriptors to their numbers and closes all others, the ties excepted. Answers where these are
/// now.
Ties arrange_descriptors(const ShepherdPlan& plan, int report) {
  int above = 3;
  for (const auto& [ours, number] : plan.descriptors) above = std::max(above, number + 1);
  const auto lifted = [&](int fd) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, above);
    if (copy < 0) fail(report, "descriptors");
    return copy;
  };
  const Ties moved{lifted(report), plan.gate < 0 ? -1 : lifted(plan.gate)};
  std::vector<std::pair<int, int>> moves;
  for (int i = 0; i < 3; ++i) moves.emplace_back(lifted(plan.standard[static_cast<std::size_t>(i)]), i);
  for (const auto& [ours, number] : plan.descriptors) moves.emplace_back(lifted(ours), number);
  std::set<int> wanted{moved.report};
  if (moved.gate >= 0) wanted.insert(moved.gate);
  for (const auto& [from, to] : moves) {
    if (::dup2(from, to) < 0) fail(moved.report, "descriptors");
    wanted.insert(to);
  }
  close_all_but(wanted);
  return moved;
}

/// Says that everything but exec is done, and waits to be released. Whoever could do so is gone: so are we.
void wait_at_gate(const Ties& ties) {
  const Failure held;
  if (::write(ties.report, &held, sizeof held) != static_cast<ssize_t>(sizeof held)) ::_exit(127);
  char c = 0;
  ssize_t got = 0;
  do got = ::read(ties.gate, &c, 1);
  while (got < 0 && errno == EINTR);
  if (got != 1) ::_exit(127);
}

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

/// The job's own process, up to exec.
[[noreturn]] void become_job(const ShepherdPlan& plan, int report, int go, pid_t shepherd) {
  // A group of its own, in the launcher's session: a scheduler that groups processes by session lets those of
  // one node hand a core to each other.
  (void)::setpgid(0, 0);
  if (go >= 0) {
    char c = 0;
    if (::read(go, &c, 1) != 1) ::_exit(127);  // the shepherd could not map our user
  }
  const Ties ties = arrange_descriptors(plan, report);
  report = ties.report;
  if (const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC); fd >= 0) {
    [[maybe_unused]] const ssize_t put = ::write(fd, "500", 3);
    ::close(fd);
  }
  ::umask(022);
  if (const char* step = set_limits(plan.limits)) fail(report, step);
  if (const char* step = give_up_privileges(plan.drop, plan.user, plan.group)) fail(report, step);
  if (::chdir(plan.folder.c_str()) != 0) fail(report, "working directory");
  // After the change of user, which would clear it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail(report, "death signal");
  if (!plan.isolate && ::getppid() != shepherd) ::_exit(127);
  reset_signals();
  const std::vector<char*> argv = pointers(plan.argv);
  const std::vector<char*> environment = pointers(plan.environment);
  if (ties.gate >= 0) wait_at_gate(ties);
  if (plan.filter != nullptr && !plan.filter->apply()) fail(report, "system call filter");
  ::execve(plan.program.c_str(), argv.data(), environment.data());
  fail(report, "execute");
}

bool write_map(pid_t pid, const char* file, const std::string& text) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + file;
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// Makes the user of the process known in its new user namespace.
bool map_user(const ShepherdPlan& plan, pid_t pid) {
  const uid_t user = plan.drop ? plan.user : ::geteuid();
  const gid_t group = plan.drop ? plan.group : ::getegid();
  if (!plan.drop && !write_map(pid, "setgroups", "deny")) return false;
  return write_map(pid, "uid_map", std::to_string(user) + " " + std::to_string(user) + " 1") &&
         write_map(pid, "gid_map", std::to_string(group) + " " + std::to_string(group) + " 1");
}

pid_t clone_process(std::uint64_t flags) {
  clone_args arguments{};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  return static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
}

struct Started {
  pid_t pid = -1;
  Failure failure;
};

/// What the child says; false: nothing any more, because it executes its program or is gone.
bool hear(int fd, Failure& failure) {
  ssize_t got = 0;
  do got = ::read(fd, &failure, sizeof failure);
  while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof failure);
}

Started start_job(const ShepherdPlan& plan) {
  std::array<int, 2> report{};
  std::array<int, 2> go{-1, -1};
  Started started;
  const auto failed = [&](const char* step) {
    started.failure.problem = errno;
    std::strncpy(started.failure.step.data(), step, started.failure.step.size() - 1);
    started.pid = -1;
    return started;
  };
  if (::pipe2(report.data(), O_CLOEXEC) != 0 || (plan.isolate && ::pipe2(go.data(), O_CLOEXEC) != 0))
    return failed("pipe");
  const pid_t self = ::getpid();
  const std::uint64_t isolation =
      plan.isolate ? CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS : 0;
  started.pid = clone_process(isolation);
  if (started.pid < 0) return failed(plan.isolate ? "isolate from network and other processes" : "fork");
  if (started.pid == 0) {
    if (go[1] >= 0) ::close(go[1]);
    ::close(report[0]);
    become_job(plan, report[1], go[0], self);
  }
  ::close(report[1]);
  if (plan.isolate) {
    const bool mapped = map_user(plan, started.pid);
    const int problem = errno;
    if (mapped) [[maybe_unused]]
      const ssize_t put = ::write(go[1], "g", 1);
    ::close(go[0]);
    ::close(go[1]);
    if (!mapped) {
      ::close(report[0]);
      errno = problem;
      return failed("map the user into its name space");
    }
  }
  bool heard = hear(report[0], started.failure);
  if (heard && started.failure.problem == 0) {
    // Others must see the ends of the pipes that this process keeps open only for the held one.
    close_all_but({plan.report, report[0]});
    ShepherdReport held;
    held.kind = ShepherdReport::Kind::kHeld;
    held.pid = started.pid;
    tell(plan.report, held);
    heard = hear(report[0], started.failure);
  }
  ::close(report[0]);
  if (heard) started.pid = -1;
  return started;
}

/// Waits until the job's process has ended and all it left behind is dead.
ShepherdReport watch(pid_t main_pid, const sigset_t& signals) {
  ShepherdReport report;
  report.kind = ShepherdReport::Kind::kExited;
  report.pid = main_pid;
  for (bool over = false; !over;) {
    siginfo_t info{};
    const int number = ::sigwaitinfo(&signals, &info);
    if (number == SIGTERM) {
      ::kill(main_pid, SIGKILL);
      continue;
    }
    int status = 0;
    rusage usage{};
    for (pid_t pid = 0; (pid = ::wait4(-1, &status, WNOHANG, &usage)) > 0;) {
      if (pid != main_pid) continue;
      const auto ms = [](const timeval& time) {
        return static_cast<std::uint64_t>(time.tv_sec) * 1000 +
               static_cast<std::uint64_t>(time.tv_usec) / 1000;
      };
      report.status = status;
      report.user_ms = ms(usage.ru_utime);
      report.system_ms = ms(usage.ru_stime);
      report.max_rss = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
      over = true;
    }
  }
  kill_descendants();
  return report;
}

}  // namespace

void kill_descendants() {
  const timespec moment{0, 2'000'000};
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  for (;;) {
    reap();
    if (::waitid(P_ALL, 0, nullptr, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD) return;
    std::set<pid_t> stopped;
    for (int pass = 0; pass < 64; ++pass) {
      bool grew = false;
      for (const pid_t pid : descendants_of(::getpid())) {
        if (!stopped.insert(pid).second) continue;
        ::kill(pid, SIGSTOP);
        grew = true;
      }
      if (!grew) break;
    }
    for (const pid_t pid : stopped) ::kill(pid, SIGKILL);
    ::sigtimedwait(&child, nullptr, &moment);
  }
}

void be_shepherd(const ShepherdPlan& plan) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_NAME, "mvm-shepherd");
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGCHLD);
  ::pthread_sigmask(SIG_SETMASK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  if (::getppid() != plan.launcher) ::_exit(1);
  if (plan.drop) (void)::setgroups(0, nullptr);

  const Started started = start_job(plan);
  ShepherdReport report;
  if (started.pid < 0) {
    report.kind = ShepherdReport::Kind::kFailed;
    report.problem = started.failure.problem;
    report.step = started.failure.step;
    tell(plan.report, report);
    kill_descendants();
    ::_exit(0);
  }
  // Its streams and descriptors are its own from now on: their ends must be seen when it ends.
  close_all_but({plan.report});
  report.kind = ShepherdReport::Kind::kStarted;
  report.pid = started.pid;
  tell(plan.report, report);
  tell(plan.report, watch(started.pid, signals));
  ::_exit(0);
}

}  // namespace mvm::kernel
