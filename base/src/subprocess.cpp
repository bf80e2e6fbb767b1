#include "mvm/base/subprocess.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "mvm/base/assert.h"

namespace mvm {
namespace {

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_of(const SpawnOptions& options) {
  std::vector<std::string> result;
  const auto replaced = [&](std::string_view entry) {
    return std::any_of(options.environment.begin(), options.environment.end(), [&](const auto& pair) {
      return entry.starts_with(pair.first) && entry.size() > pair.first.size() &&
             entry[pair.first.size()] == '=';
    });
  };
  if (options.inherit_environment)
    for (char** entry = environ; *entry != nullptr; ++entry)
      if (!replaced(*entry)) result.emplace_back(*entry);
  for (const auto& [name, value] : options.environment) result.push_back(name + "=" + value);
  return result;
}

/// The program's path, searched in PATH before the fork: the child may only make async-signal-safe calls.
Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = ::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody calls setenv
  std::string_view rest = path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string candidate = std::string(rest.substr(0, colon)) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  return Error(ErrorCode::kNotFound, "program " + name + " is not in PATH");
}

struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* envp;
  std::array<int, 3> standard;
  std::vector<std::pair<int, int>> moves;  // every source already lies above all targets
  int above;                               // greater than every target
  bool new_group;
  int report;  // errno goes here when exec fails
};

[[noreturn]] void become_child(const ChildPlan& plan) {
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (plan.new_group) ::setpgid(0, 0);
  for (int i = 0; i < 3; ++i) {
    const int source = plan.standard[static_cast<std::size_t>(i)];
    if (source >= 0 && ::dup2(source, i) < 0) goto failed;
  }
  for (const auto& [source, target] : plan.moves)
    if (::dup2(source, target) < 0) goto failed;
  // What it was not given it does not get, though a library may have opened it without O_CLOEXEC.
  for (int fd = 3; fd < plan.above; ++fd) {
    bool given = false;
    for (const auto& [source, target] : plan.moves) given = given || target == fd;
    if (!given) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  ::close_range(static_cast<unsigned>(plan.above), ~0U, CLOSE_RANGE_CLOEXEC);
  ::execve(plan.program, plan.argv, plan.envp);
failed:
  const int problem = errno;
  [[maybe_unused]] const ssize_t told = ::write(plan.report, &problem, sizeof problem);
  ::_exit(127);
}

ExitStatus status_from(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {info.si_status, 0};
  return {128 + info.si_status, info.si_status};
}

}  // namespace

Result<Subprocess> Subprocess::spawn(const SpawnOptions& options) {
  MVM_ASSERT(!options.argv.empty());
  MVM_ASSIGN(const std::string program, find_program(options.argv[0]));
  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> variables = environment_of(options);
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(variables);

  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  UniqueFd report_read(report[0]);
  UniqueFd report_write(report[1]);
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return Error::from_errno(errno, "open /dev/null");

  int above = 3;
  for (const auto& [source, target] : options.descriptors) above = std::max(above, target + 1);
  std::vector<UniqueFd> copies;
  const auto lifted = [&](int fd) -> int {
    copies.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, above));
    return copies.back().get();
  };
  ChildPlan plan{program.c_str(), argv.data(), envp.data(), {}, {}, above, options.new_group, -1};
  plan.standard = {lifted(options.standard_input >= 0 ? options.standard_input : null.get()),
                   options.standard_output >= 0 ? lifted(options.standard_output) : -1,
                   options.standard_error >= 0 ? lifted(options.standard_error) : -1};
  for (const auto& [source, target] : options.descriptors) plan.moves.emplace_back(lifted(source), target);
  plan.report = lifted(report_write.get());

  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) become_child(plan);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  Subprocess child(pid, std::move(pidfd));
  report_write.reset();
  copies.clear();
  int problem = 0;
  ssize_t got = 0;
  do got = ::read(report_read.get(), &problem, sizeof problem);
  while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof problem))
    return Error::from_errno(problem, "start " + options.argv[0]);
  if (!child.pidfd_) return Error::from_errno(errno, "pidfd_open");
  return child;
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), status_(other.status_) {}

Subprocess& Subprocess::operator=(Subprocess&& other) noexcept {
  if (this != &other) {
    this->~Subprocess();
    new (this) Subprocess(std::move(other));
  }
  return *this;
}

Subprocess::~Subprocess() {
  if (pid_ <= 0 || status_) return;
  ::kill(pid_, SIGKILL);
  static_cast<void>(wait());
}

void Subprocess::signal(int number) const {
  if (pid_ > 0 && !status_) ::kill(pid_, number);
}

std::optional<ExitStatus> Subprocess::wait_for(std::chrono::milliseconds timeout) {
  if (status_) return status_;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd item{pidfd_.get(), POLLIN, 0};
    const int ready = ::poll(&item, 1, static_cast<int>(std::clamp<long long>(left, 0, 1 << 30)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::nullopt;
    return wait();
  }
}

ExitStatus Subprocess::wait() {
  if (status_) return *status_;
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0) {
    if (errno == EINTR) continue;
    // Somebody else reaped it (ECHILD): its fate is unknown, it is certainly gone.
    status_ = ExitStatus{255, 0};
    return *status_;
  }
  status_ = status_from(info);
  return *status_;
}

ExitStatus Subprocess::stop(std::chrono::milliseconds grace) {
  signal(SIGTERM);
  if (auto status = wait_for(grace)) return *status;
  signal(SIGKILL);
  return wait();
}

void Subprocess::detach() {
  pid_ = -1;
  pidfd_.reset();
}

Result<Captured> run_captured(SpawnOptions options, std::chrono::milliseconds timeout, std::size_t limit) {
  std::array<UniqueFd, 2> readers;
  std::array<UniqueFd, 2> writers;
  for (std::size_t i = 0; i < 2; ++i) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
    readers[i].reset(ends[0]);
    writers[i].reset(ends[1]);
  }
  options.standard_output = writers[0].get();
  options.standard_error = writers[1].get();
  const std::string name = options.argv.at(0);
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MVM_ASSIGN(Subprocess child, Subprocess::spawn(options));
  writers = {};
  Captured captured;
  std::array<std::string*, 2> texts{&captured.output, &captured.errors};
  std::array<char, 65536> piece;
  while (readers[0] || readers[1]) {
    std::array<pollfd, 2> items{{{readers[0].get(), POLLIN, 0}, {readers[1].get(), POLLIN, 0}}};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0)
      return Error(ErrorCode::kTimeout,
                   name + " did not end within " + std::to_string(timeout.count()) + " ms and was killed");
    const int ready =
        ::poll(items.data(), items.size(), static_cast<int>(std::min<long long>(left, 1 << 30)));
    if (ready < 0 && errno != EINTR) return Error::from_errno(errno, "poll");
    for (std::size_t i = 0; ready > 0 && i < 2; ++i) {
      if (!readers[i] || items[i].revents == 0) continue;
      const ssize_t got = ::read(readers[i].get(), piece.data(), piece.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        readers[i].reset();
        continue;
      }
      const std::size_t room = limit - std::min(limit, texts[i]->size());
      texts[i]->append(piece.data(), std::min(room, static_cast<std::size_t>(got)));
    }
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  auto status = child.wait_for(std::max(left, std::chrono::milliseconds(0)));
  if (!status) return Error(ErrorCode::kTimeout, name + " closed its output but did not end in time");
  captured.status = *status;
  return captured;
}

}  // namespace mvm
