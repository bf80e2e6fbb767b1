#pragma once
// What the parts of LocalHostAgent share.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "event_log.h"
#include "lab.h"
#include "mvm/base/blob_store.h"
#include "mvm/base/unique_fd.h"
#include "mvm/host/local_host_agent.h"

namespace mvm::host {

struct LocalHostAgent::State : std::enable_shared_from_this<LocalHostAgent::State> {
  State(HostConfig host_config, BlobStore& store, const Clock& time)
      : config(std::move(host_config)), blobs(store), clock(time) {}

  const HostConfig config;
  BlobStore& blobs;
  const Clock& clock;
  std::vector<std::unique_ptr<osvm::Hypervisor>> hypervisors;
  EventLog log;

  std::mutex mutex;  ///< guards labs
  std::map<std::string, std::shared_ptr<Lab>> labs;

  std::thread watcher;     ///< notices the death of lab children
  UniqueFd watch_changed;  ///< eventfd: the set of children changed, or stop
  std::atomic<bool> stopping = false;
  std::mutex vm_events_mutex;
  std::vector<std::pair<std::string, osvm::VmEvent>> vm_events;  ///< driver and event, to be handled

  [[nodiscard]] osvm::Hypervisor* hypervisor(std::string_view driver) const;
  [[nodiscard]] osvm::NetworkProvider* networks() const;
  [[nodiscard]] const HostImage* image(std::string_view name) const;
  [[nodiscard]] Result<std::shared_ptr<Lab>> find_lab(const std::string& lab);
  [[nodiscard]] Result<std::shared_ptr<Node>> find_node(const std::string& lab, const std::string& node);
  /// The node's channel while its kernel is known; kUnavailable otherwise.
  [[nodiscard]] Result<std::shared_ptr<channel::HostEnd>> channel_of(const std::string& lab,
                                                                     const std::string& node);

  // labs.cpp
  [[nodiscard]] Status open_network(Lab& lab);
  [[nodiscard]] Status open_child(Lab& lab);
  [[nodiscard]] Status close_lab(const std::shared_ptr<Lab>& lab);
  /// `port`: where its proxy was; 0: nobody knows any more.
  void take_child_event(const Lab& lab, LabChildClient& child);
  void tell_child_lost(const Lab& lab, std::uint16_t port);
  /// The watcher's thread: events of VMs, deaths of lab children.
  void watch();
  void await_hypervisors(const std::vector<std::shared_ptr<Lab>>& found);
  [[nodiscard]] Status reap_strangers();

  // nodes.cpp
  [[nodiscard]] Result<osvm::VmSpec> vm_spec(const Lab& lab, const Node& node) const;
  [[nodiscard]] Status open_channel(const std::shared_ptr<Lab>& lab, const std::shared_ptr<Node>& node);
  void on_boot(const std::string& lab, Node& node, const std::string& boot);
  [[nodiscard]] Status boot(const std::shared_ptr<Lab>& lab, const std::shared_ptr<Node>& node,
                            std::chrono::milliseconds timeout);
  [[nodiscard]] Status introduce(Lab& lab, Node& node);
  void introduce_all(Lab& lab);
  [[nodiscard]] Status close_node(Lab& lab, Node& node);
  void on_vm_event(const osvm::VmEvent& event, const std::string& driver);
  void handle_vm_events();
  void look_for_lost(const std::string& driver);
  [[nodiscard]] std::pair<std::string, std::shared_ptr<Node>> node_of_vm(const std::string& vm);
  void mark_lost(const std::string& lab, Node& node, const std::string& why);
  /// Somebody wants its end: whoever waits for the node, waits no more; nothing is made of its end.
  static void forsake(Node& node);

  // wiring.cpp
  [[nodiscard]] Status wire_guest(const std::string& lab, const std::string& attempt,
                                  const DomainWiring& wiring);
  [[nodiscard]] Status wire_host(Lab& lab, const std::string& attempt, const nlohmann::json& steps);
  [[nodiscard]] std::filesystem::path ring_folder(const Lab& lab) const {
    return config.shared_memory / lab.spec.lab;
  }
  /// Where a step says that two proxies share memory, adds which part of it.
  [[nodiscard]] Status add_parts(Lab& lab, const std::string& node, nlohmann::json& steps) const;
  /// In memory, for what of a node lives no longer than its VM.
  [[nodiscard]] std::filesystem::path scratch_folder(const Lab& lab, const Node& node) const {
    return ring_folder(lab) / "nodes" / node.spec.node;
  }
};

}  // namespace mvm::host
