#include "leftovers.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <thread>
#include <vector>

#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"

namespace mvm::osvm::libvirt {
namespace {

namespace fs = std::filesystem;

/// libvirt's names for a container's group: "lxc-PID-ID.libvirt-lxc", or under systemd
/// "machine-lxc\x2dPID\x2dID.scope" with every '-' of the id escaped, too.
bool is_group_of(const std::string& folder, const std::string& id) {
  std::string escaped;
  for (const char c : id) escaped += c == '-' ? std::string("\\x2d") : std::string(1, c);
  for (const auto& [head, tail] : {std::pair<std::string, std::string>("lxc-", "-" + id + ".libvirt-lxc"),
                                   {"machine-lxc\\x2d", "\\x2d" + escaped + ".scope"}}) {
    if (folder.size() <= head.size() + tail.size() || !folder.starts_with(head) || !folder.ends_with(tail))
      continue;
    const std::string middle = folder.substr(head.size(), folder.size() - head.size() - tail.size());
    if (std::all_of(middle.begin(), middle.end(), [](char c) { return c >= '0' && c <= '9'; })) return true;
  }
  return false;
}

std::vector<fs::path> groups_of(const std::string& id) {
  std::vector<fs::path> hierarchies{"/sys/fs/cgroup"};
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator("/sys/fs/cgroup", problem))
    if (entry.is_directory(problem)) hierarchies.push_back(entry.path());
  std::vector<fs::path> result;
  for (const fs::path& hierarchy : hierarchies)
    for (const char* parent : {"machine", "machine.slice"})
      for (const auto& entry : fs::directory_iterator(hierarchy / parent, problem))
        if (is_group_of(entry.path().filename(), id)) result.push_back(entry.path());
  return result;
}

void write_if_there(const fs::path& file, std::string_view text) {
  if (const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC)); fd)
    static_cast<void>(write_all(fd.get(), text));
}

/// Sends SIGKILL to all in the group and the groups below; true where there was somebody.
bool kill_group(const fs::path& group) {
  bool found = false;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(group, problem))
    if (entry.is_directory(problem)) found = kill_group(entry.path()) || found;
  if (const auto pids = read_file(group / "cgroup.procs", 1 << 20)) {
    const char* at = pids->data();
    const char* const end = at + pids->size();
    while (at < end) {
      pid_t pid = 0;
      const auto [next, wrong] = std::from_chars(at, end, pid);
      if (wrong == std::errc() && pid > 1) {
        ::kill(pid, SIGKILL);
        found = true;
      }
      at = next + 1;
    }
  }
  // A frozen process does not even die.
  write_if_there(group / "freezer.state", "THAWED");
  write_if_there(group / "cgroup.freeze", "0");
  return found;
}

void remove_group(const fs::path& group) {
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(group, problem))
    if (entry.is_directory(problem)) remove_group(entry.path());
  ::rmdir(group.c_str());
}

/// Takes back what libvirt's firewall says of a bridge: iptables is how libvirt said it.
void remove_rules_of(const std::string& bridge) {
  const auto run = [](std::vector<std::string> arguments) {
    SpawnOptions options;
    options.argv = std::move(arguments);
    return run_captured(std::move(options), std::chrono::seconds(30));
  };
  for (const char* program : {"/usr/sbin/iptables", "/usr/sbin/ip6tables"}) {
    if (::access(program, X_OK) != 0) continue;
    for (const char* table : {"filter", "mangle"}) {
      const auto listed = run({program, "-w", "-t", table, "-S"});
      if (!listed || !listed->status.success()) continue;
      std::istringstream lines(listed->output);
      for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("-A LIBVIRT_")) continue;
        std::istringstream text(line.substr(3));
        std::vector<std::string> rule{program, "-w", "-t", table, "-D"};
        bool its_own = false;
        for (std::string word; text >> word; rule.push_back(word))
          its_own = its_own || (word == bridge && (rule.back() == "-i" || rule.back() == "-o"));
        if (its_own) static_cast<void>(run(std::move(rule)));
      }
    }
  }
}

}  // namespace

Status kill_container_leftovers(const std::string& id) {
  const std::vector<fs::path> groups = groups_of(id);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (const fs::path& group : groups) {
    while (kill_group(group)) {
      if (std::chrono::steady_clock::now() > deadline)
        return Error(ErrorCode::kTimeout, "processes of VM " + id + " do not die (" + group.string() + ")");
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  for (const fs::path& group : groups) remove_group(group);
  return ok();
}

Status remove_bridge_leftover(const std::string& name) {
  const fs::path device = fs::path("/sys/class/net") / name;
  std::error_code problem;
  if (name.empty() || name.size() >= IFNAMSIZ || !fs::is_directory(device / "bridge", problem) ||
      !fs::is_empty(device / "brif", problem) || problem)
    return ok();
  const auto address = read_file(device / "address", 64);
  if (!address || !address->starts_with("52:54:00:")) return ok();
  remove_rules_of(name);  // before what tells of them is gone
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "remove bridge " + name);
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  // Only what is down can be removed; all flags but that are the kernel's to keep.
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0 &&
      ::ioctl(socket.get(), SIOCBRDELBR, name.c_str()) == 0)
    return ok();
  if (errno == ENXIO || errno == ENODEV) return ok();
  return Error::from_errno(errno, "remove bridge " + name);
}

}  // namespace mvm::osvm::libvirt
