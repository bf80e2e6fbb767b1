#pragma once
// The service that every node publishes from inside its VM, and its client: each node is both.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// Another node of the lab.
struct NodePeer {
  std::string name;
  std::string address;
};

/// What a node says of itself.
struct NodeInfoView {
  std::string node, lab, boot, architecture, version;
  std::int64_t uptime_ms = 0;
  std::uint32_t processes = 0;
  std::vector<std::string> toolchains;  ///< "g++ 12.2.0"
  std::vector<NodePeer> peers;
};

struct NodePluginView {
  std::string name, version, owner, state;
};

struct NodeProcessView {
  std::string process;
  int pid = 0;
  std::string state;
  int code = 0;
  int signal = 0;
};

/// A node as its lab sees it. Every method may be called from any thread and blocks until answered.
class NodeApi {
 public:
  virtual ~NodeApi() = default;
  [[nodiscard]] virtual Result<NodeInfoView> info(const Caller&) = 0;
  [[nodiscard]] virtual Result<std::vector<NodeProcessView>> processes(const Caller&) = 0;
  [[nodiscard]] virtual Result<std::vector<QueueView>> queues(const Caller&) = 0;
  [[nodiscard]] virtual Result<std::vector<NodePluginView>> plugins(const Caller&) = 0;
  /// Answers this node's name, then what the first node of `route` answers to the rest of it: each node is
  /// server of the call before and client of the one after. At most 64 names.
  [[nodiscard]] virtual Result<std::vector<std::string>> visit(const Caller&,
                                                               const std::vector<std::string>& route) = 0;
};

/// How to reach a node.
struct NodeClientOptions {
  std::string url;    ///< "http://ADDRESS:PORT"
  std::string token;  ///< the lab's
  std::chrono::milliseconds connect_timeout{3'000};
  std::chrono::milliseconds timeout{15'000};
};

/// Calls another node. Every method may be called from any thread; the caller is who the token says.
class NodeClient final : public NodeApi {
 public:
  [[nodiscard]] static Result<std::unique_ptr<NodeClient>> create(const NodeClientOptions& options);
  ~NodeClient() override;
  [[nodiscard]] Result<NodeInfoView> info(const Caller& caller = {}) override;
  [[nodiscard]] Result<std::vector<NodeProcessView>> processes(const Caller& caller = {}) override;
  [[nodiscard]] Result<std::vector<QueueView>> queues(const Caller& caller = {}) override;
  [[nodiscard]] Result<std::vector<NodePluginView>> plugins(const Caller& caller = {}) override;
  [[nodiscard]] Result<std::vector<std::string>> visit(const Caller& caller,
                                                       const std::vector<std::string>& route) override;

 private:
  struct State;
  explicit NodeClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::soap
