#pragma once
// This machine as a host: its OS-level VMs, links, proxies and guest channels.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/blob_store.h"
#include "mvm/base/clock.h"
#include "mvm/host/host_agent.h"
#include "mvm/osvm/hypervisor.h"

namespace mvm::host {

/// One image that this host can boot, with what the driver needs to do it.
struct HostImage {
  ImageInfo info;
  osvm::ImageSpec spec;
};

/// What a host daemon is configured with. Frozen after start.
struct HostConfig {
  std::string name;                                      ///< unique among hosts
  std::filesystem::path state;                           ///< labs/ lives here
  std::filesystem::path shared_memory = "/dev/shm/mvm";  ///< rings and nodes' roots: <shared_memory>/LAB
  std::filesystem::path node_tree;                       ///< the tree that nodes see as /opt/mvm
  std::vector<std::string> kernel_options;               ///< further arguments of every node's kernel
  std::filesystem::path program;                         ///< mvmd itself, to start lab children
  std::string advertise;     ///< address where other hosts reach lab proxies; empty: only this host
  std::uint32_t vcpus = 0;   ///< for labs; 0: all of the machine's
  std::uint64_t memory = 0;  ///< bytes for labs; 0: the machine's less 1 GiB
  std::vector<HostImage> images;
};

/// HostAgent in process. Every lab and node is written down before it is made, so that a restarted daemon
/// finds, adopts or reaps it.
class LocalHostAgent final : public HostAgent {
 public:
  /// `hypervisors` one for each driver that this host offers; `blobs` must outlive the agent.
  [[nodiscard]] static Result<std::unique_ptr<LocalHostAgent>> create(
      HostConfig config, std::vector<std::unique_ptr<osvm::Hypervisor>> hypervisors, BlobStore& blobs,
      const Clock& clock);
  /// Wakes whoever waits for events; no event follows. Before the destructor.
  void stop();
  /// Lets go: nodes and lab children live on, to be adopted by the next daemon.
  ~LocalHostAgent() override;

  /// Adopts what an earlier daemon left: labs on record with their children, nodes that still run (their
  /// kernels reconnect). VMs and networks of ours that are on no record are reaped. Call once, before use.
  [[nodiscard]] Status recover();

  [[nodiscard]] Result<HostInfo> describe() override;
  [[nodiscard]] Result<LabInfo> ensure_lab(const LabSpec& spec) override;
  [[nodiscard]] Status destroy_lab(const std::string& lab) override;
  [[nodiscard]] Result<NodeInfo> ensure_node(const NodeSpec& spec,
                                             std::chrono::milliseconds timeout) override;
  [[nodiscard]] Status destroy_node(const std::string& lab, const std::string& node) override;
  [[nodiscard]] Status suspend_node(const std::string& lab, const std::string& node, bool suspend) override;
  [[nodiscard]] Result<CallReply> call(const std::string& lab, const std::string& node, const std::string& op,
                                       const nlohmann::json& args, std::string blob,
                                       std::chrono::milliseconds timeout) override;
  [[nodiscard]] Status send_blob(const std::string& lab, const std::string& node,
                                 const std::string& digest) override;
  [[nodiscard]] Status fetch_blob(const std::string& lab, const std::string& node,
                                  const std::string& digest) override;
  [[nodiscard]] Status wire(const std::string& lab, const std::string& attempt,
                            const DomainWiring& wiring) override;
  [[nodiscard]] Status unwire(const std::string& lab, const std::string& attempt) override;
  [[nodiscard]] Result<HostEvents> events(const std::string& epoch, std::uint64_t seq,
                                          std::chrono::milliseconds timeout) override;
  [[nodiscard]] Result<Inventory> inventory() override;
  [[nodiscard]] Result<std::string> console(const std::string& lab, const std::string& node,
                                            std::uint64_t offset) override;

 private:
  struct State;
  explicit LocalHostAgent(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace mvm::host
