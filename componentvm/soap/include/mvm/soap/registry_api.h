#pragma once
// The registries of a lab's nodes, for those outside. docs/formats/registry.md has the words.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// The registry that a node's kernel serves.
struct RegistryTarget {
  std::string lab;
  std::string node;  ///< empty: the lab's first
};

struct RegistryInfo {
  std::string name;
  std::uint64_t index = 0;
  std::string owner;
  std::vector<std::string> flags;  ///< "anyone", "multiple", "persistent"
  std::uint64_t lease = 0, revision = 0, size = 0;
};

struct RegistryPut {
  std::string name;
  std::vector<std::string> flags;  ///< those, and "overwrite"
  std::uint64_t index = 0, lease = 0;
  std::string encoding = "bytes";  ///< of the value: "text", "bytes", or "item": packed already
  std::string value;
};

struct RegistryAsk {
  std::string name;
  std::uint64_t index = 0;
  std::vector<std::string> flags;  ///< "first-available", "read-and-delete", "wait"
  std::chrono::milliseconds wait{0};
};

struct RegistryItem {
  RegistryInfo info;
  std::string encoding;  ///< as RegistryPut's
  std::string value;
};

struct RegistryPlace {
  std::uint64_t index = 0, revision = 0;
};

struct RegistryListing {
  std::vector<RegistryInfo> infos;
  std::uint64_t revision = 0;
  bool more = false;
};

struct RegistryEvent {
  std::uint64_t revision = 0;
  bool deleted = false;
  RegistryInfo info;  ///< deleted: name and index only
};

struct RegistryEvents {
  std::vector<RegistryEvent> events;
  std::uint64_t cursor = 0;
};

/// A node that serves a registry, or a member of a replicated one that no node owns to.
struct RegistryMember {
  std::string node;      ///< empty: nobody says that it is it
  std::string provider;  ///< "sqlite", "raft", "etcd"; empty: it serves none
  std::string state;  ///< "serves"; raft: "joins", "silent" (nobody has a link to it); else "none", "failed"
  std::uint64_t id = 0;  ///< raft: its number in the group
  std::string role;      ///< raft: "voter", "stand-by", "outside"
  std::string address;   ///< raft
  bool leader = false;   ///< raft
  std::string trouble;   ///< why it does not serve, or no more is known
};

/// Which provider nodes are to serve.
struct RegistryChoice {
  std::string provider =
      "raft";  ///< "sqlite": each node one of its own; "raft": one, kept by them all; "etcd"
  std::vector<std::string> endpoints;  ///< etcd: "http://HOST:PORT"
  std::string prefix;                  ///< etcd: of its keys; empty: mvm/registry/LAB/
};

struct RegistryAnswer {
  std::string node;
  bool done = false;
  std::string reason;  ///< why it is not
};

struct RegistryOutcome {
  bool committed = false;  ///< false: nothing was changed
  std::vector<RegistryAnswer> answers;
};

class RegistryApi {
 public:
  virtual ~RegistryApi() = default;
  /// kUnsupported where the node's kernel has not loaded the plug-in registry. The owner is the caller's
  /// user.
  [[nodiscard]] virtual Result<RegistryPlace> put(const Caller&, const RegistryTarget&,
                                                  const RegistryPut&) = 0;
  [[nodiscard]] virtual Result<RegistryItem> get(const Caller&, const RegistryTarget&,
                                                 const RegistryAsk&) = 0;
  [[nodiscard]] virtual Result<std::uint64_t> erase(const Caller&, const RegistryTarget&,
                                                    const RegistryAsk&) = 0;
  /// From behind (after, after_index) where `after` is not empty.
  [[nodiscard]] virtual Result<RegistryListing> list(const Caller&, const RegistryTarget&,
                                                     const std::string& pattern, const std::string& after,
                                                     std::uint64_t after_index, std::uint32_t limit) = 0;
  /// Waits at most 20 s. kNotFound: so old changes are not kept, list again.
  [[nodiscard]] virtual Result<RegistryEvents> watch(const Caller&, const RegistryTarget&,
                                                     std::uint64_t after, const std::string& pattern,
                                                     std::chrono::milliseconds wait) = 0;

  /// Of a whole lab: each of its nodes, then those members of its replicated registry that are no node's.
  [[nodiscard]] virtual Result<std::vector<RegistryMember>> members(const Caller&,
                                                                    const std::string& lab) = 0;
  /// Has nodes serve a registry of that provider (none named: all of the lab); all of them or none. raft: one
  /// that they keep together; those of the lab that keep one already take the others in.
  [[nodiscard]] virtual Result<RegistryOutcome> serve(const Caller&, const std::string& lab,
                                                      const std::vector<std::string>& nodes,
                                                      const RegistryChoice&) = 0;
  /// A node serves no registry any more; what it alone kept of a chosen provider goes. raft: the others know
  /// before it is done; `force`: done anyway.
  [[nodiscard]] virtual Status leave(const Caller&, const std::string& lab, const std::string& node,
                                     bool force) = 0;
  /// An operator's word that a member of the replicated registry never comes back. kNotFound.
  [[nodiscard]] virtual Status confirm_lost(const Caller&, const std::string& lab, std::uint64_t id) = 0;
};

}  // namespace mvm::soap
