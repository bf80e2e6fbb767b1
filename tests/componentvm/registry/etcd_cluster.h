#pragma once
// A real etcd of three members on loopback, whose members can be killed and started again.

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/subprocess.h"

namespace mvm::registry {

class EtcdCluster {
 public:
  static constexpr std::size_t kMembers = 3;

  EtcdCluster();
  ~EtcdCluster();
  EtcdCluster(const EtcdCluster&) = delete;
  EtcdCluster& operator=(const EtcdCluster&) = delete;

  void start(std::size_t member);
  void kill(std::size_t member);
  void signal(std::size_t member, int number) { members_[member]->signal(number); }
  /// The members' addresses for clients.
  [[nodiscard]] std::vector<std::string> endpoints() const;

 private:
  [[nodiscard]] std::string url(std::size_t port) const {
    return "http://127.0.0.1:" + std::to_string(ports_[port]);
  }
  std::filesystem::path folder_;
  std::vector<std::uint16_t> ports_;  // of member i: 2 i for clients, 2 i + 1 for members
  std::optional<Subprocess> members_[kMembers];
};

/// One for all tests of a program: each has a prefix of its own. It ends with them.
[[nodiscard]] EtcdCluster& shared_cluster();

}  // namespace mvm::registry
