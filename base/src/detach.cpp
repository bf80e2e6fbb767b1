#include "mvm/base/detach.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <iostream>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm {
namespace {

/// What was written to the log from `start` on.
void show(int log, off_t start) {
  std::array<char, 4096> text{};
  for (ssize_t got = 0; (got = ::pread(log, text.data(), text.size(), start)) > 0; start += got)
    std::cerr.write(text.data(), got);
}

[[noreturn]] void go_on(int log, UniqueFd word,
                        const std::function<int(const std::function<void()>& ready)>& serve) {
  ::setsid();
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ::dup2(null, 0);
  ::dup2(log >= 0 ? log : null, 1);
  if (log >= 0) ::dup2(log, 2);
  const int code = serve([&] {
    [[maybe_unused]] const ssize_t told = ::write(word.get(), "r", 1);
    word.reset();
    if (log < 0) ::dup2(null, 2);
  });
  ::_exit(code);
}

}  // namespace

int run_detached(const DetachOptions& options,
                 const std::function<int(const std::function<void()>& ready)>& serve) {
  UniqueFd log;
  off_t start = 0;
  if (!options.log.empty()) {
    log.reset(
        ::open(options.log.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600));
    if (!log) {
      std::cerr << Error::from_errno(errno, "open " + options.log.string()).describe() << '\n';
      return 1;
    }
    start = ::lseek(log.get(), 0, SEEK_END);
  }
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return 1;
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return 1;
  if (child == 0) {
    ours.reset();
    go_on(log.get(), std::move(theirs), serve);
  }
  theirs.reset();
  char word = 0;
  ssize_t got = 0;
  do got = ::read(ours.get(), &word, 1);
  while (got < 0 && errno == EINTR);
  if (got == 1) {
    options.begun(child);
    return 0;
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (log) show(log.get(), start);
  return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

}  // namespace mvm
