#pragma once
// Kernels of a lab, to be asked all at once: for services that reach several nodes.

#include <functional>
#include <string>
#include <vector>

#include "api.h"

namespace mvm::broker {

/// One node's kernel. Loop-free: `agent` lives as long as the broker.
struct NodeTarget {
  host::HostAgent* agent = nullptr;  ///< null: see `trouble`
  std::string lab, node, host;
  std::string address;  ///< in the lab's network; empty: it has none of its own
  std::string trouble;  ///< why it cannot be asked

  /// kUnavailable where it cannot be asked.
  [[nodiscard]] Result<nlohmann::json> ask(const std::string& op, const nlohmann::json& args,
                                           std::chrono::milliseconds timeout) const;
  /// Has its kernel load a plug-in whose operations everyone may call.
  [[nodiscard]] Status load(const std::string& plugin, std::chrono::milliseconds timeout) const;
  /// Both are reached in one network: the lab's own, or their host's.
  [[nodiscard]] bool shares_network(const NodeTarget& other) const {
    return host == other.host && address.empty() == other.address.empty();
  }
  /// Where its plug-ins listen for other nodes, at a port that they choose.
  [[nodiscard]] std::string any_port() const { return (address.empty() ? "127.0.0.1" : address) + ":0"; }
};

/// For the record: who had what done with a lab's kernels.
void note_command(Core& core, const soap::Caller& caller, const char* event, const std::string& lab,
                  const std::string& what);

/// The nodes named, or all of the lab; an empty lab: of all labs that the caller may see. kNotFound,
/// kRefused. Any thread but the loop's.
[[nodiscard]] Result<std::vector<NodeTarget>> node_targets(Core& core, const soap::Caller& caller,
                                                           const std::string& lab,
                                                           const std::vector<std::string>& nodes);

/// Does it for each number below `count`, many at a time; returns when all are done.
void for_all(std::size_t count, const std::function<void(std::size_t)>& work);

}  // namespace mvm::broker
