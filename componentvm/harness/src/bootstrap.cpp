// SPDX-License-Identifier: Apache-2.0
#include "bootstrap.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace harness {
namespace {

constexpr auto kStartTime = std::chrono::seconds(30);

std::string reason(const std::string& what) {
  return what + ": " + std::strerror(errno);  // NOLINT(concurrency-mt-unsafe): glibc keeps one text a thread
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string root() {
  if (std::string folder = environment("MVM_HARNESS_DIR"); !folder.empty()) return folder;
  if (const std::string folder = environment("XDG_RUNTIME_DIR"); !folder.empty())
    return folder + "/mvm-harness";
  return "/tmp/mvm-harness-" + std::to_string(::geteuid());
}

/// Ours alone, or we do not go in.
bool make_own(const std::string& folder, Trouble& trouble) {
  struct stat info {};
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    trouble = reason("folder " + folder);
    return false;
  }
  if (::lstat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid() &&
      (info.st_mode & 022) == 0)
    return true;
  trouble = "folder " + folder + " is not ours alone";
  return false;
}

/// Writes a file that is not there yet, for its owner alone.
bool make_file(const std::string& path, const std::string& content, Trouble& trouble) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno == EEXIST) return true;
  const bool written =
      fd >= 0 && ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  if (!written) trouble = reason("file " + path);
  if (fd >= 0) ::close(fd);
  return written;
}

std::string random_digits() {
  unsigned char bytes[32];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) std::abort();
  std::string digits;
  for (const unsigned char byte : bytes) {
    digits += "0123456789abcdef"[byte >> 4];
    digits += "0123456789abcdef"[byte & 15];
  }
  return digits;
}

int try_connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  const int failure = errno;
  ::close(fd);
  errno = failure;
  return -1;
}

std::string find_kernel() {
  if (std::string program = environment("MVM_KERNEL"); !program.empty()) return program;
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&find_kernel), &info) != 0 && info.dli_fname != nullptr) {
    std::string library = info.dli_fname;
    const std::size_t slash = library.rfind('/');
    std::string program =
        (slash == std::string::npos ? "." : library.substr(0, slash)) + "/../bin/mvm-kernel";
    if (::access(program.c_str(), X_OK) == 0) return program;
  }
  return "mvm-kernel";
}

std::string host_name() {
  char text[65] = {};
  ::gethostname(text, sizeof text - 1);
  std::string name;
  for (const char c : std::string(text)) {
    const char low = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if ((low >= 'a' && low <= 'z') || (low >= '0' && low <= '9') || low == '-') name += low;
    if (c == '.' || name.size() == 24) break;
  }
  return name.empty() ? "kernel" : name;
}

/// In a session of its own: it outlives whoever needed it first.
bool start_kernel(const std::string& vm, const std::string& folder, Trouble& trouble) {
  const std::string run = folder + "/run";
  const std::string work = folder + "/work";
  if (!make_own(run, trouble) || !make_own(work, trouble)) return false;
  if (!make_file(run + "/dvm.secret", random_digits() + "\n", trouble)) return false;
  if (!make_file(run + "/dvm.json",
                 R"({"found":"if-alone","ends-with-vm":true})"
                 "\n",
                 trouble))
    return false;
  const std::string log = folder + "/kernel.log";
  const std::string program = find_kernel();
  const std::string node = vm + "/" + host_name();
  std::vector<std::string> words = {
      program, "--node", node, "--run", run, "--work", work, "--no-default-plugins", "--plugin", "dvm"};
  if (::geteuid() != 0)
    words.insert(words.end(),
                 {"--user", std::to_string(::geteuid()), "--group", std::to_string(::getegid())});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&files, 1, 2);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  pid_t child = 0;
  const int failure = ::posix_spawnp(&child, program.c_str(), &files, &attributes, argv.data(), ::environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (failure == 0) return true;
  errno = failure;
  trouble = reason("start " + program);
  return false;
}

/// Waits until the kernel listens; what it has logged says why it does not.
int await_kernel(const std::string& path, const std::string& folder, Trouble& trouble) {
  const auto end = std::chrono::steady_clock::now() + kStartTime;
  while (std::chrono::steady_clock::now() < end) {
    if (const int fd = try_connect(path); fd >= 0) return fd;
    ::poll(nullptr, 0, 20);
  }
  trouble = "the kernel does not answer at " + path + "; see " + folder + "/kernel.log";
  return -1;
}

}  // namespace

std::string folder_of(const std::string& vm) { return root() + "/" + vm; }

int connect_kernel(const std::string& vm, Trouble& trouble) {
  if (vm.empty() || vm.size() > 32 ||
      vm.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos) {
    trouble = "machine \"" + vm.substr(0, 60) + "\": expected a name of letters a-z, digits and dashes";
    return -1;
  }
  const std::string folder = folder_of(vm);
  const std::string path = folder + "/run/harness.sock";
  if (!make_own(root(), trouble) || !make_own(folder, trouble)) return -1;
  if (const int fd = try_connect(path); fd >= 0) return fd;
  // One of us starts it; the others find it then.
  const int lock = ::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0 || ::flock(lock, LOCK_EX) != 0) {
    trouble = reason("file " + folder + "/lock");
    if (lock >= 0) ::close(lock);
    return -1;
  }
  int fd = try_connect(path);
  if (fd < 0 && start_kernel(vm, folder, trouble)) fd = await_kernel(path, folder, trouble);
  ::close(lock);
  return fd;
}

}  // namespace harness
