#include "proc.h"

#include <filesystem>
#include <map>
#include <sstream>

#include "mvm/base/file.h"
#include "mvm/base/number.h"

namespace mvm::osvm::process {
namespace {

constexpr std::size_t kMaxEnvironment = 4 << 20;

template <class Visit>
void each_process(Visit visit) {
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) {
    if (const auto pid = whole_number<pid_t>(entry.path().filename().native())) visit(*pid);
  }
}

}  // namespace

std::optional<ProcessStat> stat_of(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text) return std::nullopt;
  const std::size_t name_end = text->rfind(") ");  // the name may hold anything
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text->substr(name_end + 2));
  ProcessStat stat;
  stat.pid = pid;
  std::string skipped;
  fields >> stat.state >> stat.parent;
  for (int field = 5; field <= 13; ++field) fields >> skipped;
  for (int field = 14; field <= 17; ++field) {
    std::uint64_t ticks = 0;
    fields >> ticks;
    stat.cpu_ticks += ticks;
  }
  for (int field = 18; field <= 21; ++field) fields >> skipped;
  fields >> stat.start_ticks >> skipped >> stat.resident_pages;
  if (!fields) return std::nullopt;
  return stat;
}

bool is_alive(pid_t pid, std::uint64_t start_ticks) {
  const auto stat = stat_of(pid);
  return stat && stat->start_ticks == start_ticks && stat->state != 'Z' && stat->state != 'X';
}

std::vector<ProcessStat> descendants(pid_t pid) {
  std::multimap<pid_t, ProcessStat> children;
  each_process([&](pid_t candidate) {
    if (const auto stat = stat_of(candidate)) children.emplace(stat->parent, *stat);
  });
  std::vector<ProcessStat> result;
  std::vector<pid_t> open{pid};
  while (!open.empty()) {
    const pid_t parent = open.back();
    open.pop_back();
    const auto [first, last] = children.equal_range(parent);
    for (auto child = first; child != last; ++child) {
      if (child->second.state != 'Z') result.push_back(child->second);
      open.push_back(child->second.pid);
    }
    children.erase(first, last);  // a pid reused while we looked must not make a circle
  }
  return result;
}

std::vector<pid_t> with_variable(const std::string& variable) {
  std::vector<pid_t> result;
  each_process([&](pid_t pid) {
    const auto text = read_file("/proc/" + std::to_string(pid) + "/environ", kMaxEnvironment);
    if (!text) return;
    std::string_view rest = *text;
    while (!rest.empty()) {
      const std::string_view item = rest.substr(0, rest.find('\0'));
      if (item == variable) {
        result.push_back(pid);
        return;
      }
      rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    }
  });
  return result;
}

}  // namespace mvm::osvm::process
