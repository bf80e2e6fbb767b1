#include "supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>

namespace mvm::osvm::process {
namespace {

// Everything below runs in a fork of a process with threads: async-signal-safe calls only, no memory taken.

struct Plan {
  const char* program;
  char* const* argv;
  char* const* envp;
  const char* folder;
  const char* end_note;
  int log;
  int null;
  int control;
};

constexpr time_t kGraceSeconds = 0;
constexpr long kGraceNanoseconds = 500'000'000;

void put(int fd, const void* bytes, std::size_t size) {
  ssize_t done = 0;
  do done = ::write(fd, bytes, size);
  while (done < 0 && errno == EINTR);
}

[[noreturn]] void become_program(const Plan& plan, int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // should somebody kill the supervisor
  ::setpgid(0, 0);
  for (const int number : {SIGTERM, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT}) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  if (::chdir(plan.folder) == 0) ::execve(plan.program, plan.argv, plan.envp);
  const int problem = errno;
  put(report, &problem, sizeof problem);
  ::_exit(127);
}

/// SIGKILL for all children; those of a child become ours when it dies.
void kill_children() {
  std::array<char, 64> path{};
  char* at = path.data();
  for (const char* text = "/proc/self/task/"; *text != '\0';) *at++ = *text++;
  std::array<char, 16> digits{};
  std::size_t count = 0;
  for (auto number = static_cast<unsigned>(::getpid()); number > 0; number /= 10)
    digits[count++] = static_cast<char>('0' + number % 10);
  while (count > 0) *at++ = digits[--count];
  for (const char* text = "/children"; *text != '\0';) *at++ = *text++;
  const int fd = ::open(path.data(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  std::array<char, 4096> text{};
  pid_t pid = 0;
  for (ssize_t got = 0; (got = ::read(fd, text.data(), text.size())) > 0;) {
    for (ssize_t i = 0; i < got; ++i) {
      const char c = text[static_cast<std::size_t>(i)];
      if (c >= '0' && c <= '9') {
        pid = pid * 10 + (c - '0');
      } else if (pid > 1) {
        ::kill(pid, SIGKILL);
        pid = 0;
      }
    }
  }
  ::close(fd);
}

/// Returns when no descendant lives.
void end_all(pid_t group) {
  for (;;) {
    ::kill(-group, SIGKILL);
    kill_children();
    // One at a time: each death may bring us new children.
    const pid_t gone = ::waitpid(-1, nullptr, 0);
    if (gone < 0 && errno == ECHILD) return;
  }
}

[[noreturn]] void write_note_and_leave(const Plan& plan, int status) {
  std::array<char, 32> text{};
  std::size_t size = 0;
  const bool exited = WIFEXITED(status);
  for (const char* word = exited ? "exit " : "signal "; *word != '\0';) text[size++] = *word++;
  const int number = exited ? WEXITSTATUS(status) : WTERMSIG(status);
  if (number >= 100) text[size++] = static_cast<char>('0' + number / 100);
  if (number >= 10) text[size++] = static_cast<char>('0' + number / 10 % 10);
  text[size++] = static_cast<char>('0' + number % 10);
  const int fd = ::open(plan.end_note, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd >= 0) put(fd, text.data(), size);
  ::_exit(0);
}

/// Waits for the program's end or for SIGTERM, then ends whatever is left.
[[noreturn]] void watch(const Plan& plan, pid_t program, const sigset_t& signals) {
  bool ending = false;
  for (;;) {
    const timespec grace{kGraceSeconds, kGraceNanoseconds};
    const int number = ::sigtimedwait(&signals, nullptr, ending ? &grace : nullptr);
    if (number < 0 && errno == EINTR) continue;
    if (number == SIGTERM && !ending) {
      ending = true;
      ::kill(program, SIGTERM);
      ::kill(program, SIGCONT);
      continue;
    }
    if (number < 0) ::kill(program, SIGKILL);  // grace is over
    int status = 0;
    for (pid_t gone = 0; (gone = ::waitpid(-1, &status, number < 0 ? 0 : WNOHANG)) > 0;) {
      if (gone != program) continue;
      end_all(program);
      write_note_and_leave(plan, status);
    }
  }
}

[[noreturn]] void supervise(const Plan& plan) {
  // A group of its own, but the daemon's session: a scheduler that groups by session lets a process hand its
  // core, by yielding, only to one of its own group, and what a process waits for is the lab child's proxy.
  // [ADR 186]
  ::setpgid(0, 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::prctl(PR_SET_NAME, "mvm-vm");
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGCHLD);
  ::pthread_sigmask(SIG_SETMASK, &signals, nullptr);
  for (const int number : {SIGHUP, SIGINT, SIGPIPE, SIGQUIT}) ::signal(number, SIG_IGN);
  ::dup2(plan.null, 0);
  ::dup2(plan.log, 1);
  ::dup2(plan.log, 2);
  // The daemon's descriptors are not ours to keep open: 3 is the control socket, all above goes.
  if (plan.control != 3) ::dup2(plan.control, 3);
  ::syscall(SYS_close_range, 4u, ~0u, 0u);
  char word = 0;
  ssize_t got = 0;
  do got = ::read(3, &word, 1);
  while (got < 0 && errno == EINTR);
  if (got != 1) ::_exit(0);
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) ::_exit(0);
  const pid_t program = ::_Fork();
  if (program == 0) become_program(plan, report[1]);
  int problem = program < 0 ? errno : 0;
  ::close(report[1]);
  if (program > 0) {
    do got = ::read(report[0], &problem, sizeof problem);
    while (got < 0 && errno == EINTR);
  }
  const std::array<int, 2> answer{problem, static_cast<int>(program)};
  put(3, answer.data(), sizeof answer);
  ::close(report[0]);
  ::close(3);
  if (problem != 0) {
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    ::_exit(0);
  }
  ::setpgid(program, program);
  watch(plan, program, signals);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

Result<int> read_int(int fd) {
  int value = 0;
  ssize_t got = 0;
  do got = ::read(fd, &value, sizeof value);
  while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof value))
    return Error(ErrorCode::kIo, "the VM's supervisor ended before it began");
  return value;
}

}  // namespace

Result<Supervisor> Supervisor::fork(const Program& program) {
  std::vector<std::string> arguments = program.argv;
  std::vector<std::string> variables = program.environment;
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(variables);
  const UniqueFd log(
      ::open(program.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!log) return Error::from_errno(errno, "open " + program.log.string());
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null) return Error::from_errno(errno, "open /dev/null");
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return Error::from_errno(errno, "socketpair");
  UniqueFd ours(ends[0]);
  // Above 3 and the standard three, whatever the daemon has closed of those.
  const UniqueFd theirs_low(ends[1]);
  const UniqueFd theirs(::fcntl(ends[1], F_DUPFD_CLOEXEC, 4));
  const UniqueFd log_high(::fcntl(log.get(), F_DUPFD_CLOEXEC, 4));
  const UniqueFd null_high(::fcntl(null.get(), F_DUPFD_CLOEXEC, 4));
  if (!theirs || !log_high || !null_high) return Error::from_errno(errno, "duplicate a descriptor");
  const Plan plan{
      argv[0],        argv.data(),     envp.data(), program.folder.c_str(), program.end_note.c_str(),
      log_high.get(), null_high.get(), theirs.get()};
  // Forked twice: the supervisor is init's child, whose death a pidfd tells, whoever is the daemon by then.
  const pid_t between = ::fork();
  if (between < 0) return Error::from_errno(errno, "fork");
  if (between == 0) {
    const pid_t supervisor = ::_Fork();
    if (supervisor == 0) supervise(plan);
    const int told = supervisor;
    put(theirs.get(), &told, sizeof told);
    ::_exit(0);
  }
  while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
  }
  MVM_ASSIGN(const int pid, read_int(ours.get()));
  if (pid <= 0) return Error(ErrorCode::kExhausted, "no process could be made for the VM's supervisor");
  return Supervisor(pid, std::move(ours));
}

Result<pid_t> Supervisor::start() {
  const char word = 'g';
  if (::send(control_.get(), &word, 1, MSG_NOSIGNAL) != 1)
    return Error::from_errno(errno, "tell the supervisor");
  MVM_ASSIGN(const int problem, read_int(control_.get()));
  MVM_ASSIGN(const int program, read_int(control_.get()));
  if (problem != 0) return Error::from_errno(problem, "start the first program");
  return program;
}

}  // namespace mvm::osvm::process
