#pragma once
// What a person or program may ask of MVM. The broker implements these interfaces; the SOAP server publishes
// them; the SOAP client implements them again for the command line. What travels is described by the WSDL.
//
// Every call may be made from any thread and blocks until answered. Following (logs, events, consoles) is a
// cursor plus a long poll of at most 25 s.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::soap {

/// Who calls, from the token: user, role and, for a lab's own token, the one lab it reaches.
struct Caller {
  std::string user;
  std::string role;  ///< "admin", "user", "lab"
  std::string lab;   ///< empty: not bound to one lab
};

using Settings = std::map<std::string, std::string>;  ///< --set p=v

/// One fault of a file: all of a file's faults come at once.
struct Diagnostic {
  std::string file;
  int line = 0;
  int column = 0;
  std::string message;
};

// ---- jobs --------------------------------------------------------------------------------------------

struct PlannedNode {
  std::string node, host, driver, image, architecture;
  std::uint32_t vcpus = 0;
  std::uint64_t memory = 0;
  std::vector<std::string> processes;  ///< "cell[0]", ...
  std::string state;                   ///< against a running lab: "new", "kept", "removed"
};

struct PlannedLink {
  std::string link, from, to, transport, where, codec;
  std::string forced;  ///< the transport that the topology says; empty: it was picked
};

/// What would be made and where; or, where `reasons` is not empty, why it cannot be placed now.
struct PlanView {
  std::string name;
  std::vector<PlannedNode> nodes;
  std::vector<PlannedLink> links;  ///< at most 10,000; `link_count` is the whole
  std::uint64_t process_count = 0;
  std::uint64_t link_count = 0;
  std::vector<std::string> builds;   ///< what will be compiled, and where; "cached" where it already was
  std::vector<std::string> reasons;  ///< "host a: 2 of 4 vcpus free, 8 asked", one for each host and want
};

struct SubmitRequest {
  std::string profile;  ///< the job or lab file as XML, self-contained: sources are digests
  Settings settings;
  std::string lab;      ///< run in this existing lab; empty: a lab of its own, gone with the job
  std::string request;  ///< client's own id of this submission: sent twice, it submits once
  std::string file;     ///< name for diagnostics
};

/// A job as the job table shows it.
struct JobView {
  std::string id, lab, name, user, state;
  std::string reason;                                           ///< why it is held, queued, failed
  std::int64_t submitted_ms = 0, started_ms = 0, ended_ms = 0;  ///< wall clock; 0: not yet
  std::uint32_t nodes = 0;
  std::vector<std::string> where;  ///< hosts
  std::uint32_t attempt = 0;
  int exit_code = 0;  ///< highest of its processes, 128 + signal
  bool cancel_asked = false;
  std::string progress;  ///< "3 of 8 nodes up": for people
};

struct ProcessView {
  std::string process, node, state;  ///< "waiting", "running", "exited", "killed"
  int code = 0;
  int signal = 0;
  std::uint64_t user_ms = 0, system_ms = 0, max_rss = 0;
};

struct Transition {
  std::int64_t at_ms = 0;
  std::string from, to, reason;
  std::uint32_t attempt = 0;
};

/// A job with its processes and its way so far.
struct JobDetail {
  JobView job;
  std::vector<ProcessView> processes;
  std::vector<Transition> transitions;
  std::vector<std::string> why;  ///< every reason for its present wait or end, one a line
};

struct LogPiece {
  std::string process, node, stream;  ///< stream "out", "err", "build"
  std::int64_t at_ms = 0;
  std::string text;
};

struct LogPage {
  std::vector<LogPiece> pieces;
  std::uint64_t cursor = 0;  ///< ask again from here
  bool ended = false;        ///< nothing will follow
};

struct LogQuery {
  std::string job;
  std::string process;  ///< empty: all
  std::uint64_t cursor = 0;
  std::chrono::milliseconds wait{0};
};

struct ResultFile {
  std::string name, process, digest;
  std::uint64_t size = 0;
};

/// Jobs: submit, follow, fetch.
class JobApi {
 public:
  virtual ~JobApi() = default;
  /// All faults of the file; empty: valid.
  [[nodiscard]] virtual Result<std::vector<Diagnostic>> validate(const Caller&, const SubmitRequest&) = 0;
  [[nodiscard]] virtual Result<PlanView> plan(const Caller&, const SubmitRequest&) = 0;
  /// The job's id. kInvalid carries the diagnostics in its message, one a line.
  [[nodiscard]] virtual Result<std::string> submit(const Caller&, const SubmitRequest&) = 0;
  [[nodiscard]] virtual Result<std::vector<JobView>> jobs(const Caller&, bool ended_too) = 0;
  [[nodiscard]] virtual Result<JobDetail> job(const Caller&, const std::string& id) = 0;
  /// Waits until the job's state differs from `state`, or the time is over; then as job().
  [[nodiscard]] virtual Result<JobDetail> wait_job(const Caller&, const std::string& id,
                                                   const std::string& state,
                                                   std::chrono::milliseconds wait) = 0;
  [[nodiscard]] virtual Status cancel(const Caller&, const std::string& id) = 0;
  [[nodiscard]] virtual Result<LogPage> logs(const Caller&, const LogQuery&) = 0;
  [[nodiscard]] virtual Result<std::vector<ResultFile>> results(const Caller&, const std::string& id) = 0;
  /// Forgets an ended job with its logs and results. kConflict while it runs.
  [[nodiscard]] virtual Status remove(const Caller&, const std::string& id) = 0;
};

// ---- labs --------------------------------------------------------------------------------------------

struct LabView {
  std::string id, name, user, state, subnet;
  std::int64_t created_ms = 0;
  std::uint32_t nodes = 0, jobs = 0;
  bool ephemeral = false;  ///< lives for one job
};

struct VmView {
  std::string lab, node, host, driver, image, state, address, wsdl, boot;
  std::uint32_t vcpus = 0;
  std::uint64_t memory = 0;
};

struct LinkView {
  std::string lab, link, from, to, type, deliver, when_full, transport;
  std::string codec;   ///< "zstd:3 encrypt": applied where the link is carried between memory domains
  std::string forced;  ///< the transport that the topology says; empty: it was picked
  std::uint32_t capacity = 0;
};

/// A queue at one moment. Counts since it was made.
struct QueueView {
  std::string lab, job, link, where;
  std::uint64_t depth = 0, capacity = 0, bytes = 0, enqueued = 0, dequeued = 0, dropped = 0;
  std::string waiting;                                   ///< who waits for whom; empty: nobody
  std::uint64_t bytes_enqueued = 0, bytes_dequeued = 0;  ///< of payload, since the queue was made
  /// From being committed to being released by the consumer: of so many of the latest messages, about one a
  /// millisecond. 0: none yet.
  std::uint64_t latency_samples = 0, latency_p50_ns = 0, latency_p99_ns = 0;
  std::uint64_t drained = 0;  ///< of those dropped
};

/// One change of a running job's links.
struct LinkEdit {
  enum class Kind : std::uint8_t {
    kConnect,     ///< a link comes
    kDisconnect,  ///< the link `link` goes
    kSet,         ///< the link `link`, or all of the pattern `link`, gets `attributes`; the others stay
  };
  Kind kind = Kind::kConnect;
  std::string from, to;  ///< kConnect: ends as in a topology file: "source.out", "cell[0].in cell[1].in"
  std::string link;      ///< its name; empty when connecting: made from the ends
  Settings attributes;   ///< of <link> and <queue>: "capacity", "when-full", "deliver", ...; kSet: empty
                         ///< values take an attribute away
};

/// Another wiring for a running job: that of a file, or the present one with some edits.
struct RewireRequest {
  std::string target;   ///< a job, or a lab in which one job runs
  std::string profile;  ///< a topology, job or lab file as XML: its topology counts; empty: `edits` do
  Settings settings;
  std::string file;  ///< name for diagnostics
  std::vector<LinkEdit> edits;
  std::chrono::milliseconds deadline{30'000};  ///< prepared by then, or undone; at most an hour
  bool dry_run = false;                        ///< only say what would be done
};

/// A rewiring: what it comes to, and how far it is.
struct RewireView {
  std::string job, lab;
  std::uint64_t number = 0;  ///< of the job's rewirings, from 1; 0: nothing was begun
  std::string state;         ///< "planned", "unchanged", "preparing", "switched", "undone"
  std::string reason;        ///< why it was undone
  std::uint32_t added = 0, removed = 0, redirected = 0, changed = 0, unchanged = 0;  ///< links
  std::vector<std::string> steps;     ///< in their order; of a rewiring that was just asked for
  std::vector<std::string> draining;  ///< links that are gone and still have something to deliver
};

/// A picture of a lab: all three layers.
enum class GraphFormat { kDot, kSvg, kText };

struct ExecRequest {
  std::string lab, node;
  std::vector<std::string> argv;
  std::string input;  ///< standard input, at most 1 MiB
};

struct ExecPage {
  std::vector<LogPiece> pieces;
  std::uint64_t cursor = 0;
  bool ended = false;
  int code = 0;  ///< once ended
};

/// Labs: virtual clusters, their VMs, links and queues.
class LabApi {
 public:
  virtual ~LabApi() = default;
  /// A lab without a job: VMs and network now, jobs later.
  [[nodiscard]] virtual Result<std::string> create_lab(const Caller&, const SubmitRequest&) = 0;
  [[nodiscard]] virtual Result<std::vector<LabView>> labs(const Caller&) = 0;
  [[nodiscard]] virtual Result<LabView> lab(const Caller&, const std::string& id) = 0;
  [[nodiscard]] virtual Status destroy_lab(const Caller&, const std::string& id) = 0;
  [[nodiscard]] virtual Result<std::string> graph(const Caller&, const std::string& lab, GraphFormat) = 0;
  /// Empty lab: those of all labs the caller may see.
  [[nodiscard]] virtual Result<std::vector<VmView>> vms(const Caller&, const std::string& lab) = 0;
  [[nodiscard]] virtual Result<std::vector<LinkView>> links(const Caller&, const std::string& lab) = 0;
  [[nodiscard]] virtual Result<std::vector<QueueView>> queues(const Caller&, const std::string& lab) = 0;
  /// Rewires a running job: all of it or nothing. Returns once it is begun. kInvalid for a file or edit that
  /// makes no sense, kConflict where the job does not run, kUnsupported for what a running job cannot change.
  [[nodiscard]] virtual Result<RewireView> rewire(const Caller&, const RewireRequest&) = 0;
  /// Waits until that rewiring is switched or undone, or the time is over.
  [[nodiscard]] virtual Result<RewireView> rewiring(const Caller&, const std::string& job,
                                                    std::uint64_t number, std::chrono::milliseconds wait) = 0;
  [[nodiscard]] virtual Status suspend(const Caller&, const std::string& lab, const std::string& node,
                                       bool suspend) = 0;
  /// Console bytes from `offset`; waits for more up to `wait`.
  [[nodiscard]] virtual Result<std::string> console(const Caller&, const std::string& lab,
                                                    const std::string& node, std::uint64_t offset,
                                                    std::chrono::milliseconds wait) = 0;
  /// Starts a program in a node; the id follows it.
  [[nodiscard]] virtual Result<std::string> exec(const Caller&, const ExecRequest&) = 0;
  [[nodiscard]] virtual Result<ExecPage> exec_output(const Caller&, const std::string& id,
                                                     std::uint64_t cursor,
                                                     std::chrono::milliseconds wait) = 0;
};

// ---- queues seen from outside -----------------------------------------------------------------------------

/// A message on its way into a queue.
struct Message {
  std::string data;
  std::uint64_t key = 0;
  std::uint32_t priority = 0;  ///< 0 .. 255, of priority queues
};

/// Most of one call, both ways.
inline constexpr std::size_t kMostMessages = 1024;
inline constexpr std::size_t kMostMessageBytes = std::size_t{1} << 20;

/// Messages into an open in port of a job.
struct PutRequest {
  std::string job, port;    ///< "cell[1].work"; short forms: topologies' Graph::find_open()
  std::string client;       ///< drawn by the client, 1 .. 64 letters and digits; the same in all its calls
  std::string ticket;       ///< of the last answer; empty at first
  std::uint64_t first = 0;  ///< number, from 0, of the first of `messages` among all of this client
  std::vector<Message> messages;      ///< what was accepted before is not put again
  bool done = false;                  ///< with the last of them the stream ends, for every client
  std::chrono::milliseconds wait{0};  ///< while the queue is full, or the job does not run yet
};

struct PutAnswer {
  std::uint64_t accepted = 0;  ///< messages of this client in the queue for certain; go on from there
  std::string ticket;
  std::string end;      ///< "done", "dead": nobody reads the port any more
  bool closed = false;  ///< the stream was ended
};

/// Messages out of an open out port of a job.
struct TakeRequest {
  std::string job, port, client, ticket;  ///< as PutRequest's
  std::uint64_t acknowledged = 0;         ///< the client is done with all it was given up to this number
  std::uint64_t partial = 0;              ///< number of a message of which it has only a part
  std::uint64_t offset = 0;               ///< so many bytes of it
  std::uint32_t count = 1024;             ///< most messages; 0: none, acknowledges only
  bool leave = false;  ///< what it was given and has not acknowledged is for others, at once
  std::chrono::milliseconds wait{0};
};

struct TakenMessage {
  std::uint64_t number = 0;  ///< to be acknowledged
  std::uint64_t size = 0;    ///< of the whole message
  std::uint64_t offset = 0;  ///< where `data` stands in it; less than the whole: ask for the rest
  std::string data;
  std::uint64_t key = 0;
  std::uint32_t priority = 0;
  bool again = false;  ///< was given to somebody before, who did not acknowledge it
};

struct TakeAnswer {
  std::vector<TakenMessage> messages;
  std::string ticket;
  std::string end;  ///< "done": all producers are done and every message is acknowledged; "dead": one died
};

/// A look at what waits in a running job's queues.
struct PeekRequest {
  std::string job;
  /// A link as LabApi::links() names it ("ring[3]"; "ring": all of that pattern), or a port:
  /// "cell[3].out[1]", "cell.out" (of all processes), "out" (of all roles).
  std::string name;
  std::uint32_t count = 10;  ///< most messages of each queue, 1 .. kMostMessages
  std::uint32_t bytes = 64;  ///< most bytes of each message; a queue's answer has 256 KiB at most
};

/// A message that waits, and its first bytes.
struct PeekedMessage {
  std::uint64_t number = 0;  ///< in the order in which they entered, from 0
  std::uint64_t size = 0;
  std::string data;
  std::uint64_t key = 0;
  std::uint32_t priority = 0;
  bool again = false;        ///< its consumer died with it
  bool taken = false;        ///< a consumer holds it
  std::uint64_t age_ns = 0;  ///< 0: not known
};

struct PeekedQueue {
  std::string link, where;
  std::uint64_t depth = 0, bytes = 0;
  bool steady = true;  ///< false: messages left meanwhile, and some that were there may be missing
  std::vector<PeekedMessage> messages;  ///< in the order in which they will leave
};

/// One of the queues that a call drained, for the next call: only what waited then.
struct DrainMark {
  std::string queue;
  std::uint64_t before = 0;  ///< messages with smaller numbers; 0: all that wait now
};

/// Messages are to be taken away.
struct DrainRequest {
  std::string job, name;  ///< as in PeekRequest
  /// Most messages in all, 1 .. kMostDrainedAtOnce; where they are told, at most kMostMessages of a queue go
  /// at once.
  std::uint32_t count = 256;
  std::uint32_t bytes = 0;       ///< of each message that is wanted; 0: the messages are not told at all
  std::vector<DrainMark> marks;  ///< of a call before; empty: all queues, and what waits in them now
};
inline constexpr std::uint32_t kMostDrainedAtOnce = 32768;
inline constexpr std::uint32_t kMostDrainedBytes = 960 << 10;  ///< DrainRequest::bytes

struct DrainedQueue {
  std::string link, where;
  DrainMark mark;
  std::uint64_t drained = 0, bytes = 0;  ///< by this call
  bool more = false;                     ///< another call with this mark goes on
  bool pending =
      false;  ///< its consumer has yet to pass over what was drained before; nothing more was taken
  std::vector<PeekedMessage> messages;
};

/// Queues of running jobs, for those outside the lab [MVM 003, §2.2].
class QueueApi {
 public:
  virtual ~QueueApi() = default;
  /// kAborted: the job's attempt ended, or a crash left in doubt which messages are in; kConflict: the stream
  /// was ended; kExhausted: the queue is full and its rule is to fail.
  [[nodiscard]] virtual Result<PutAnswer> put(const Caller&, const PutRequest&) = 0;
  /// Each message is given to one client, and again to another where a client does not call for 30 s without
  /// having acknowledged it. What is left when the job's processes end is kept with the job.
  [[nodiscard]] virtual Result<TakeAnswer> take(const Caller&, const TakeRequest&) = 0;
  /// What waits in the queues of a link or port, without taking or disturbing it. kNotFound says what there
  /// is; kConflict: the job does not run.
  [[nodiscard]] virtual Result<std::vector<PeekedQueue>> peek(const Caller&, const PeekRequest&) = 0;
  /// Takes the messages away that wait in the queues of a link or port. Whoever holds one keeps it. What is
  /// taken counts as drained, and is gone if the answer is lost. Fails as peek().
  [[nodiscard]] virtual Result<std::vector<DrainedQueue>> drain(const Caller&, const DrainRequest&) = 0;
};

// ---- store and system ----------------------------------------------------------------------------------

struct BuildView {
  std::string key, state, role, image, architecture, command, node, digest;
  std::int64_t at_ms = 0;
  std::uint64_t size = 0, wall_ms = 0, hits = 0;
};

/// Reads the next piece of a stream; empty at its end.
using PieceReader = std::function<Result<std::string>()>;
/// Takes the next piece of a stream.
using PieceWriter = std::function<Status(std::string_view)>;

/// Blobs by SHA-256, and the compile cache.
class StoreApi {
 public:
  virtual ~StoreApi() = default;
  /// Those of `digests` that the store lacks.
  [[nodiscard]] virtual Result<std::vector<std::string>> missing_blobs(const Caller&,
                                                                       const std::vector<std::string>&) = 0;
  /// Stores what the reader yields; kCorrupt unless it has this digest; kExhausted beyond the size limit.
  [[nodiscard]] virtual Status put_blob(const Caller&, const std::string& digest, const PieceReader&) = 0;
  [[nodiscard]] virtual Status get_blob(const Caller&, const std::string& digest, const PieceWriter&) = 0;
  [[nodiscard]] virtual Result<std::vector<BuildView>> builds(const Caller&) = 0;
  [[nodiscard]] virtual Result<LogPage> build_log(const Caller&, const std::string& key, std::uint64_t cursor,
                                                  std::chrono::milliseconds wait) = 0;
  /// Drops cached builds not in use; empty key: all. Number dropped.
  [[nodiscard]] virtual Result<std::uint64_t> drop_builds(const Caller&, const std::string& key) = 0;
};

struct EventView {
  std::uint64_t seq = 0;
  std::int64_t at_ms = 0;
  std::string event;  ///< "job.state", "node.up", ...
  std::string lab, job, node;
  std::string detail;  ///< for people
};

struct EventPage {
  std::vector<EventView> events;
  std::uint64_t cursor = 0;
};

struct HostView {
  std::string name, state, architecture;
  std::uint32_t vcpus = 0, vcpus_used = 0;
  std::uint64_t memory = 0, memory_used = 0;
  std::vector<std::string> drivers;  ///< "lxc", "qemu (tcg)", "process"
  std::vector<std::string> images;
};

/// A token with which one machine may join.
struct HostInvite {
  std::string token;   ///< join.h; told once, never kept
  std::string broker;  ///< where that machine reaches the broker: "https://ADDRESS:PORT"
  std::int64_t expires_ms = 0;
};

/// What a machine that joins says of itself.
struct HostJoin {
  std::string secret;   ///< of its token
  std::string name;     ///< that it wants, [a-z0-9-]{1,63}
  std::string address;  ///< where the broker reaches it: "ADDRESS:PORT"
  std::string request;  ///< for a certificate of its own key (PKCS #10, PEM)
};

/// What it gets.
struct JoinedHost {
  std::string certificate;  ///< PEM
  std::string authority;    ///< PEM
  std::string broker;       ///< the broker's name
};

struct WhoAmI {
  Caller caller;
  std::string broker, version;
};

/// Identity, events, hosts.
class SystemApi {
 public:
  virtual ~SystemApi() = default;
  [[nodiscard]] virtual Result<WhoAmI> whoami(const Caller&) = 0;
  [[nodiscard]] virtual Result<EventPage> events(const Caller&, std::uint64_t cursor,
                                                 std::chrono::milliseconds wait) = 0;
  [[nodiscard]] virtual Result<std::vector<HostView>> hosts(const Caller&) = 0;
};

/// Hosts come, rest and go. All but join() are for administrators.
class HostsApi {
 public:
  virtual ~HostsApi() = default;
  /// An invitation for one machine, good once within `valid`; `name` empty: under any name that is free.
  [[nodiscard]] virtual Result<HostInvite> invite(const Caller&, const std::string& name,
                                                  std::chrono::seconds valid) = 0;
  /// A machine joins; its token says that it may. Again with the same key is no error.
  [[nodiscard]] virtual Result<JoinedHost> join(const HostJoin&) = 0;
  /// True: nothing new is placed there, what runs goes on. False: it takes work again.
  [[nodiscard]] virtual Status drain(const Caller&, const std::string& host, bool drain) = 0;
  /// Forgets a joined host that is drained and empty (kConflict where not). `force`: it will not come back,
  /// so what it had is lost.
  [[nodiscard]] virtual Status remove_host(const Caller&, const std::string& host, bool force) = 0;
};

class KernelApi;    // kernel_api.h
class RegistryApi;  // registry_api.h
class DvmApi;       // dvm_api.h

/// All of it, as the broker offers it.
struct BrokerApi {
  JobApi& jobs;
  LabApi& labs;
  StoreApi& store;
  SystemApi& system;
  HostsApi& hosts;
  QueueApi& queues;
  KernelApi& kernels;
  RegistryApi& registry;
  DvmApi& dvm;
};

}  // namespace mvm::soap
