#pragma once
// A lab and its nodes as this host holds them, and their records on disk.

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lab_child_client.h"
#include "mvm/base/result.h"
#include "mvm/channel/host_end.h"
#include "mvm/host/host_agent.h"

namespace mvm::host {

/// One node. `work` is held while it is made, wired or destroyed; `mutex` guards the fields below it,
/// briefly.
struct Node {
  explicit Node(NodeSpec node_spec, std::filesystem::path node_folder)
      : spec(std::move(node_spec)), folder(std::move(node_folder)) {}
  const NodeSpec spec;
  const std::filesystem::path folder;

  std::mutex work;
  std::mutex transfer;             ///< held while a blob is sent: two builds may want the same one at once
  std::atomic<bool> gone = false;  ///< being destroyed: nobody waits for its events any more

  std::mutex mutex;
  std::condition_variable changed;
  NodeState state = NodeState::kBooting;
  bool awaited = false;  ///< a call is booting it now, and will say itself if it is lost
  std::string boot;
  std::string lost_why;
  nlohmann::json details = nlohmann::json::object();
  std::string wsdl;
  std::string known_hosts;  ///< what the node was last told about the lab's nodes
  std::shared_ptr<channel::HostEnd> channel;
};

/// One lab on this host.
struct Lab {
  Lab(LabSpec lab_spec, std::filesystem::path lab_folder)
      : spec(std::move(lab_spec)), folder(std::move(lab_folder)) {}
  const LabSpec spec;
  const std::filesystem::path folder;

  std::mutex work;  ///< held while the lab as a whole is made or destroyed
  std::map<std::string, std::uint64_t>
      wired;              ///< guarded by `work`: attempt → the latest generation of its wiring
  LinkIdentity identity;  ///< guarded by `work`; never on disk: the broker gives another with each ensure_lab
  /// Guarded by `work`: as spec says, or as was asked for since; jobs and rewirings may need what earlier
  /// ones did not.
  bool proxy = spec.proxy;
  bool plain_links = spec.plain_links;

  std::mutex mutex;
  bool closing = false;
  std::string bridge;  ///< the host's address on the lab's network; empty: no network here
  std::shared_ptr<LabChildClient> child;
  std::map<std::string, std::shared_ptr<Node>> nodes;
};

/// Records: <state>/labs/LAB/lab.json and .../nodes/NODE/node.json, written before anything is made.
[[nodiscard]] Status write_record(const Lab& lab);
[[nodiscard]] Status write_record(const Node& node);
/// Labs with nodes as on disk; what cannot be read is listed in `broken` for removal.
[[nodiscard]] std::vector<std::shared_ptr<Lab>> read_records(const std::filesystem::path& labs,
                                                             std::vector<std::filesystem::path>& broken);

}  // namespace mvm::host
