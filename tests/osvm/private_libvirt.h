#pragma once
// A private libvirtd for one test program.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/osvm/libvirt/libvirt.h"

namespace mvm::osvm::contract {

using namespace std::chrono_literals;

/// Starts packaging/libvirtd-private in a folder of its own and stops it at the end.
class PrivateLibvirt {
 public:
  enum class Loop { kOwn, kNone };
  explicit PrivateLibvirt(Loop loop = Loop::kOwn) {
    if (::geteuid() != 0) {
      missing_ = "needs root, for libvirtd and containers";
      return;
    }
    auto folder = make_temporary_folder("/tmp", "mvm-lv-");
    if (!folder) {
      missing_ = folder.error().describe();
      return;
    }
    folder_ = *folder;
    start();
    if (missing_.empty() && loop == Loop::kOwn) {
      auto started = libvirt::EventLoop::start();
      if (started)
        loop_ = std::move(*started);
      else
        missing_ = started.error().describe();
    }
  }
  ~PrivateLibvirt() {
    loop_.reset();
    if (folder_.empty()) return;
    static_cast<void>(run("stop"));
    static_cast<void>(remove_tree(folder_));
  }
  PrivateLibvirt(const PrivateLibvirt&) = delete;
  PrivateLibvirt& operator=(const PrivateLibvirt&) = delete;

  [[nodiscard]] const std::string& missing() const { return missing_; }
  [[nodiscard]] const std::string& uri(const std::string& driver) { return uris_[driver]; }
  [[nodiscard]] std::filesystem::path cache() const { return folder_ / "vm-cache"; }
  void start() {
    auto said = run("start");
    if (!said || !said->status.success()) {
      missing_ = "a private libvirtd does not start: " + (said ? said->errors : said.error().describe());
      return;
    }
    std::size_t at = 0;
    while (at < said->output.size()) {
      const std::size_t end = said->output.find('\n', at);
      const std::string line = said->output.substr(at, end - at);
      const std::size_t equals = line.find('=');
      if (equals != std::string::npos) uris_[line.substr(0, equals)] = line.substr(equals + 1);
      if (end == std::string::npos) break;
      at = end + 1;
    }
  }
  /// SIGKILL for libvirtd itself, as a crash would end it.
  void kill_daemon() const {
    const auto pid = read_file(folder_ / "run/libvirtd.pid", 64);
    ASSERT_TRUE(pid) << "no /run/libvirt/libvirtd.pid";
    ASSERT_EQ(::kill(std::stoi(*pid), SIGKILL), 0);
  }
  [[nodiscard]] Result<Captured> run(const std::string& verb) const {
    SpawnOptions options;
    options.argv = {std::string(MVM_SOURCE_DIR) + "/packaging/libvirtd-private", verb, folder_.string()};
    return run_captured(std::move(options), 60s);
  }

 private:
  std::filesystem::path folder_;
  std::string missing_;
  std::map<std::string, std::string> uris_;
  std::unique_ptr<libvirt::EventLoop> loop_;
};

/// Host processes whose command line holds `text`.
inline std::vector<int> processes_with(const std::string& text) {
  std::vector<int> result;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", problem)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto line = read_file(entry.path() / "cmdline", 1 << 20);
    if (line && line->find(text) != std::string::npos && std::stoi(name) != ::getpid())
      result.push_back(std::stoi(name));
  }
  return result;
}

}  // namespace mvm::osvm::contract
