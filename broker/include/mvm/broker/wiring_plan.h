#pragma once
// How a graph's links become queues in memory domains, and what carries them between domains. Pure.
// docs/architecture.md, "Memory domains and wiring"; docs/formats/guest-channel.md, wire.apply.

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/broker/planner.h"
#include "mvm/broker/transports.h"
#include "mvm/host/host_agent.h"
#include "mvm/topologies/graph.h"
#include "mvm/topologies/params.h"

namespace mvm::broker {

inline constexpr std::uint32_t kMaxQueueEnds = 4096;  ///< slots of one side of a queue

/// A queue in a domain. A link's queues, or those of one consumer of it (every-one, by-key), are a tree,
/// named by the id of its home's queue.
struct WiredQueue {
  std::uint32_t domain = 0;
  topologies::LinkId link = 0;  ///< kNoLink: its link is gone, what is queued is still delivered
  std::uint32_t producers = 0;  ///< slots
  std::uint32_t consumers = 0;
  std::uint32_t id = 0;    ///< unlike in every wiring of the attempt
  std::uint32_t tree = 0;  ///< the table's id of the link
  bool coming = false;     ///< belongs to the next wiring: to be made, nobody joins it yet
  bool operator==(const WiredQueue&) const = default;
};

/// A process's end at a queue.
struct WiredEnd {
  topologies::ProcessId process = 0;
  topologies::Slot slot = 0;  ///< of the process: says port and direction
  std::uint32_t queue = 0;
  std::uint32_t queue_slot = 0;
  std::vector<std::uint32_t> after;  ///< consumers: trees whose ends come before this one's first message
  bool operator==(const WiredEnd&) const = default;
};

/// The end of an open port's queue that clients outside the lab use: the kernel of `node` holds its slot.
struct OutsideEnd {
  topologies::LinkId link = 0;
  bool producer = false;   ///< messages come in here
  std::uint32_t node = 0;  ///< in the plan
  std::uint32_t queue = 0;
  std::uint32_t queue_slot = 0;
  bool operator==(const OutsideEnd&) const = default;
};

/// From a consumer slot of one domain's queue to a producer slot of another's, or of its own where the
/// topology keeps a link out of shared memory.
struct Carry {
  std::uint32_t from_queue = 0, from_slot = 0;
  std::uint32_t to_queue = 0, to_slot = 0;
  std::uint32_t id = 0;  ///< unlike in every wiring of the attempt
  std::vector<std::string> codecs;
  Transport transport = Transport::kTcp;
  bool operator==(const Carry&) const = default;
};

/// A tree whose link is gone; its consumers drain it.
struct LeavingTree {
  std::uint32_t tree = 0;
  std::string link;                    ///< its former name
  std::vector<std::string> producers;  ///< the former ones' ends
  bool operator==(const LeavingTree&) const = default;
};

/// A process that is not in the graph any more and has not ended yet. It keeps its wiring as it was: what it
/// reads and feeds are leaving trees.
struct PartingProcess {
  std::string process;  ///< its tag
  std::string role;
  std::uint32_t index = 0, count = 0;  ///< as it knows them
  std::uint32_t node = 0;              ///< in the plan
  std::uint32_t domain = 0;
  nlohmann::json ports;  ///< as its wire step has them
  bool operator==(const PartingProcess&) const = default;
};

/// All of a job's wiring, without addresses.
struct WiringLayout {
  std::vector<MemoryDomain> domains;
  std::vector<std::uint32_t> domain_of;  ///< for each process
  std::vector<WiredQueue> queues;
  std::vector<WiredEnd> ends;            ///< grouped by process, in the order of processes and slots
  std::vector<std::uint32_t> first_end;  ///< for each process where its ends begin; one more than processes
  std::vector<Carry> carries;
  std::vector<OutsideEnd> outside;  ///< in the order of links
  std::vector<LeavingTree> leaving;
  std::vector<PartingProcess> parting;
  std::uint32_t next_queue = 0, next_carry = 0;  ///< ids that were never given
  bool operator==(const WiringLayout&) const = default;
};

/// Splits the links. kInvalid where a queue would have more than kMaxQueueEnds ends on a side; kNoPlacement,
/// a reason a line, where a transport that the topology forces is not to be had.
[[nodiscard]] Result<WiringLayout> lay_out(const topologies::Graph& graph, const Plan& plan);

/// What one wiring was made of.
struct Wired {
  const topologies::Graph& graph;
  const Plan& plan;
  const WiringLayout& layout;
};

/// As lay_out(), starting from a wiring that is in use: trees of unchanged links stay as they are, new ones
/// get numbers of their own, those of links that are gone or changed are left to their consumers, and
/// processes that are gone keep their ends of them. The plan keeps the old one's nodes in their order.
[[nodiscard]] Result<WiringLayout> lay_out_again(const topologies::Graph& graph, const Plan& plan,
                                                 const Wired& before);
/// The old wiring with all that the next one needs besides: made, and joined by nobody.
[[nodiscard]] WiringLayout prepared(const WiringLayout& before, const WiringLayout& next);
/// Without these leaving trees, and without the parting processes of these tags.
[[nodiscard]] WiringLayout without(const WiringLayout& layout, const std::set<std::uint32_t>& trees,
                                   const std::set<std::string>& parted = {});
/// Calls `end(node, queue's id, tree)` for each end that a process reads of a leaving tree, those that are
/// parting included.
void for_each_last_reader(
    const Plan& plan, const WiringLayout& layout,
    const std::function<void(std::uint32_t node, const std::string& queue, std::uint32_t tree)>& end);

/// Text of a layout, and back for the same graph and plan; kCorrupt where it is not one.
[[nodiscard]] std::string encode(const WiringLayout& layout);
[[nodiscard]] Result<WiringLayout> decode_layout(std::string_view text, const topologies::Graph& graph,
                                                 const Plan& plan);

/// "a.out->b.in (leaving)": the name of a tree whose link is gone.
[[nodiscard]] std::string leaving_name(const WiringLayout& layout, std::uint32_t tree);

/// The chains of codecs that carried links have and the topology does not say: Plan::codecs of a wiring.
[[nodiscard]] std::map<topologies::LinkId, std::vector<std::string>> longer_chains(
    const topologies::Graph& graph, const WiringLayout& layout);

/// The place in `queues` of the queue called "q7"; none where there is none.
[[nodiscard]] std::optional<std::uint32_t> find_queue(const WiringLayout& layout, const std::string& id);

/// The steps between two wirings, for people: "make a queue for the link x in host:h1", ...
[[nodiscard]] std::vector<std::string> describe_steps(const Wired& before, const Wired& next);

/// Hosts whose domain something is carried to or from: they need a proxy.
[[nodiscard]] std::set<std::string> hosts_with_proxy(const WiringLayout& layout);

/// Hosts that other hosts' proxies reach without TLS, for links that are forced to tcp.
[[nodiscard]] std::set<std::string> hosts_with_plain_links(const WiringLayout& layout);

/// Guests that carry links by TLS.
[[nodiscard]] std::vector<MemoryDomain> guests_with_tls(const WiringLayout& layout);

/// What the steps need beside the layout.
struct WiringContext {
  struct HostAddress {
    std::string bridge;  ///< its address on the lab's network there: what its guests dial
    std::uint16_t bridge_port = 0;
    std::string proxy_address;      ///< what other hosts dial
    std::uint16_t proxy_port = 0;   ///< by TLS
    std::uint16_t plain_port = 0;   ///< without
    std::uint16_t region_port = 0;  ///< what its guests dial for links through shared memory
  };
  std::string job, attempt, secret;
  std::string codec_seed;  ///< secret of the broker alone: the keys of links that encrypt are made of it
  std::uint64_t generation = 1;
  std::uint64_t link_base = 0;  ///< numbers of carried links start here, so that a lab's jobs do not collide
  std::set<std::uint32_t> also_told;  ///< nodes in the plan that hear of it even if they have no process
  std::map<std::string, HostAddress> hosts;
  std::map<std::string, host::LinkIdentity> guests;  ///< by domain, for those that carry links by TLS
  std::vector<topologies::Param> params;
};

/// The wiring of one domain and the host that carries it out.
struct HostWiring {
  std::string host;
  host::DomainWiring wiring;
};

/// The steps of every domain that holds a process or carries a link. `next`: the graph that coming queues
/// belong to.
[[nodiscard]] std::vector<HostWiring> make_steps(const topologies::Graph& graph, const Plan& plan,
                                                 const WiringLayout& layout, const WiringContext& context,
                                                 const topologies::Graph* next = nullptr);

/// The steps that prepare the wiring `next` while the job has that of `before`: the old one with the new
/// queues besides, which nobody joins but the processes that are new.
[[nodiscard]] std::vector<HostWiring> preparing_steps(const Wired& before, const Wired& next,
                                                      const WiringContext& context);

/// What each link is carried by, for people; of several the dearest.
[[nodiscard]] std::vector<std::string> transports(const topologies::Graph& graph, const WiringLayout& layout);

/// True where the topology says which transport the link has.
[[nodiscard]] bool is_forced(const topologies::Graph& graph, topologies::LinkId link);

/// A link that leaves a memory domain, as a policy sees it.
struct CarriedLink {
  topologies::LinkId link = 0;
  std::string name;
  bool between_hosts = false;
  std::uint64_t bytes = 0;          ///< of its queue
  std::vector<std::string> codecs;  ///< its chain so far
};
[[nodiscard]] std::vector<CarriedLink> carried_links(const topologies::Graph& graph,
                                                     const WiringLayout& layout);

/// A link's codecs, applied where it is carried between domains: a policy's word, else the topology's.
[[nodiscard]] const std::vector<std::string>& codecs_of(const topologies::Graph& graph, const Plan& plan,
                                                        topologies::LinkId link);

/// What a picture says of each link: "shm", "tcp forced", "tcp+tls, zstd:3 encrypt".
[[nodiscard]] std::vector<std::string> link_details(const topologies::Graph& graph, const Plan& plan,
                                                    const WiringLayout& layout);

/// How a wire step calls a queue.
[[nodiscard]] std::string queue_id(const WiredQueue& queue);

/// "cell[3]", or "cell[3]+2" of a process that the second rewiring started: no two processes of an attempt
/// have the same, however often a role is widened again.
[[nodiscard]] std::string process_tag(const topologies::Graph& graph, const Plan& plan,
                                      topologies::ProcessId process);
/// The process of a tag; none where there is none.
[[nodiscard]] std::optional<topologies::ProcessId> find_tag(const topologies::Graph& graph, const Plan& plan,
                                                            const std::string& tag);
/// Its name, without the rewiring: "cell[3]".
[[nodiscard]] std::string name_of_tag(const std::string& tag);
/// "attempt/tag": how the kernel calls a process.
[[nodiscard]] std::string process_id(const std::string& attempt, const topologies::Graph& graph,
                                     const Plan& plan, topologies::ProcessId process);

}  // namespace mvm::broker
