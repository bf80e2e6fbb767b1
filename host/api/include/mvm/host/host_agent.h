#pragma once
// HostAgent: what the broker asks of a host, in process or over SOAP with mutual TLS.

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::host {

/// A hypervisor of a host and whether it really works there.
struct DriverInfo {
  std::string driver;  ///< "lxc", "qemu", "process"
  bool usable = false;
  std::string detail;  ///< "tcg", "kvm", or why it is not usable
  bool operator==(const DriverInfo&) const = default;
};

/// An image that a host can boot at once.
struct ImageInfo {
  std::string name;
  std::string kind;          ///< "host", "tree", "disk"
  std::string architecture;  ///< "x86_64", ...
  std::string digest;
  std::vector<std::string> toolchains;  ///< "g++ 12.2.0", ...
  std::vector<std::string> drivers;     ///< drivers that can boot it
  bool operator==(const ImageInfo&) const = default;
};

/// A host as the planner sees it.
struct HostInfo {
  std::string name;
  std::string architecture;
  std::uint32_t vcpus = 0;
  std::uint64_t memory = 0;  ///< bytes that labs may use
  std::uint64_t disk = 0;    ///< bytes free for labs
  std::vector<DriverInfo> drivers;
  std::vector<ImageInfo> images;
  bool operator==(const HostInfo&) const = default;
};

/// With which a host's lab child proves itself to those of the lab's other hosts; all PEM.
struct LinkIdentity {
  std::string certificate;  ///< its organisational unit is the lab, its common name "host:NAME"
  std::string key;
  std::string authority;
  bool operator==(const LinkIdentity&) const = default;
};

/// Guests of a lab that share memory on one host: each two of them, and each with the host, have a part of
/// it.
inline constexpr std::uint32_t kMostRegionSeats = 31;

/// What a lab needs on one host.
struct LabSpec {
  std::string lab;           ///< id, [a-z0-9-]{1,32}
  std::string owner;         ///< user
  std::string secret;        ///< 64 hexadecimal digits; authenticates the lab's proxies
  std::string subnet;        ///< "10.181.7.0/24": the lab's network on this host
  bool proxy = true;         ///< links will leave the host's memory domain: load the lab child with its proxy
  bool plain_links = false;  ///< some link to another host is to do without TLS
  std::uint32_t seats = 0;   ///< guests that are to share a region of memory with each other and the host
  LinkIdentity identity;     ///< empty: no link of the lab is carried by TLS here
};

/// What a host made of it.
struct LabInfo {
  std::string proxy_address;  ///< where other hosts reach this lab's proxy, by TLS
  std::uint16_t proxy_port = 0;
  std::uint16_t plain_port = 0;   ///< there, without TLS; 0 where no link is to do without
  std::uint16_t bridge_port = 0;  ///< where its guests do, at the host's address on the lab's network
  std::uint16_t region_port = 0;  ///< there, for links through shared memory; 0 where there is none
};

/// One node (MVM) to boot.
struct NodeSpec {
  std::string lab;
  std::string node;    ///< name within the lab, [a-z0-9-]{1,24}
  std::string job;     ///< empty: the lab's own
  std::string driver;  ///< "lxc", "qemu", "process"
  std::string image;   ///< name of an image the host knows
  std::uint32_t vcpus = 1;
  std::uint64_t memory = 0;  ///< bytes
  std::string address;       ///< static address on the lab's network; empty for the process driver
  std::uint32_t seat = 0;    ///< a guest's place in the lab's shared region, 1 to LabSpec::seats; 0: none
};

enum class NodeState { kBooting, kUp, kSuspended, kLost };
[[nodiscard]] std::string_view to_string(NodeState state);

/// A node that exists.
struct NodeInfo {
  NodeSpec spec;
  NodeState state = NodeState::kBooting;
  std::string boot;        ///< id of this boot of its kernel
  std::string wsdl;        ///< "http://ADDRESS:PORT/?wsdl"
  nlohmann::json details;  ///< answer of node.info
};

/// Something that happened on the host or in a node. `args` and `blob` are those of
/// docs/formats/guest-channel.md, plus "node.lost" {reason}, "node.up" {boot,adopted?: true},
/// "lab.child" {lost,port,reason}, "link.failed" as a kernel's, "host.hypervisor" {driver,connected}.
struct HostEvent {
  std::uint64_t seq = 0;  ///< counts within `epoch`
  std::string lab;
  std::string node;
  std::string event;
  nlohmann::json args;
  std::string blob;
};

/// Events after a cursor.
struct HostEvents {
  std::string epoch;  ///< changes when the host daemon lost its memory of earlier events
  std::vector<HostEvent> events;
};

/// Answer of a kernel.
struct CallReply {
  nlohmann::json result;
  std::string blob;
};

/// Wiring of one memory domain (docs/architecture.md): the host with all its containers, or one QEMU guest.
/// `steps` has the fields of wire.apply; each process entry also says its `node`.
struct DomainWiring {
  std::string node;  ///< the guest; empty: the host's own domain
  nlohmann::json steps;
};

/// What exists on a host, for adoption and reaping.
struct Inventory {
  std::vector<std::string> labs;
  std::vector<NodeInfo> nodes;
};

/// One machine's OS-level VMs, links, proxies and guest channels.
///
/// Every call blocks, may be made from any thread, is idempotent, and fails with kTimeout or kUnavailable
/// where the host cannot answer; a repeated call finishes what an interrupted one began.
class HostAgent {
 public:
  virtual ~HostAgent() = default;

  [[nodiscard]] virtual Result<HostInfo> describe() = 0;

  /// Loads the lab on this host: network, lab child (proxies), folders [Kim et al. 2006, §4(5)c].
  [[nodiscard]] virtual Result<LabInfo> ensure_lab(const LabSpec& spec) = 0;
  /// Reaps everything of the lab: nodes, network, rings, proxies, files [§4(5)g]. No error if it is gone.
  [[nodiscard]] virtual Status destroy_lab(const std::string& lab) = 0;

  /// Boots the node unless it is up, and waits for its kernel's hello.
  [[nodiscard]] virtual Result<NodeInfo> ensure_node(const NodeSpec& spec,
                                                     std::chrono::milliseconds timeout) = 0;
  [[nodiscard]] virtual Status destroy_node(const std::string& lab, const std::string& node) = 0;
  /// True: suspend; false: resume. kUnsupported where the driver cannot.
  [[nodiscard]] virtual Status suspend_node(const std::string& lab, const std::string& node,
                                            bool suspend) = 0;

  /// One operation of the node's kernel (docs/formats/guest-channel.md). `blob` goes with the request.
  [[nodiscard]] virtual Result<CallReply> call(const std::string& lab, const std::string& node,
                                               const std::string& op, const nlohmann::json& args,
                                               std::string blob, std::chrono::milliseconds timeout) = 0;

  /// Makes sure the node has this blob of the store (sent in pieces, resumed where it broke).
  [[nodiscard]] virtual Status send_blob(const std::string& lab, const std::string& node,
                                         const std::string& digest) = 0;
  /// Brings a blob that the node made into the store.
  [[nodiscard]] virtual Status fetch_blob(const std::string& lab, const std::string& node,
                                          const std::string& digest) = 0;

  /// Makes the rings and proxies of one domain and hands its processes their wiring.
  [[nodiscard]] virtual Status wire(const std::string& lab, const std::string& attempt,
                                    const DomainWiring& wiring) = 0;

  /// Undoes wire() of an attempt on this host: links carried no more, rings removed. The nodes' own part is
  /// attempt.clean. No error if there is nothing.
  [[nodiscard]] virtual Status unwire(const std::string& lab, const std::string& attempt) = 0;

  /// Events after `seq` of `epoch`, waiting up to `timeout` for the first. Asking for events acknowledges
  /// those up to `seq`. An unknown epoch is answered with all that is known.
  [[nodiscard]] virtual Result<HostEvents> events(const std::string& epoch, std::uint64_t seq,
                                                  std::chrono::milliseconds timeout) = 0;

  [[nodiscard]] virtual Result<Inventory> inventory() = 0;

  /// Bytes that the node's console printed, from `offset` on; at most 64 KiB.
  [[nodiscard]] virtual Result<std::string> console(const std::string& lab, const std::string& node,
                                                    std::uint64_t offset) = 0;
};

}  // namespace mvm::host
