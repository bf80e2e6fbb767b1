#pragma once
// Our structs and the generated ones, field by field: one list for both directions.
//
//   fields(direction, wire, ours)   direction is ToWire or FromWire
//
// Generated types own their strings; bytes point into the soap context's memory.

#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "mvm/soap/broker_api.h"
#include "mvm/soap/node_service.h"
#include "soapH.h"
#include "text.h"

namespace mvm::soap {

/// Bytes to the wire: a copy in the context's memory, gone with the request.
void bytes_to_wire(struct soap* soap, xsd__base64Binary& wire, std::string_view bytes);
[[nodiscard]] inline std::string bytes_from_wire(const xsd__base64Binary& wire) {
  if (wire.__ptr == nullptr || wire.__size <= 0) return {};
  return {reinterpret_cast<const char*>(wire.__ptr), static_cast<std::size_t>(wire.__size)};
}

template <class Direction, class Wire, class Ours>
void fields(Direction& d, Wire& wire, Ours& ours);

/// Ours → the generated struct.
struct ToWire {
  struct soap* soap;
  void operator()(std::string& wire, const std::string& ours) { wire = xml_text(ours); }
  void operator()(std::string*& wire, const std::string& ours) {
    wire = nullptr;
    if (ours.empty()) return;
    wire = soap_new_std__string(soap);
    *wire = xml_text(ours);
  }
  void bytes(xsd__base64Binary& wire, const std::string& ours) { bytes_to_wire(soap, wire, ours); }
  /// A number that may be absent, and is where it is 0.
  void operator()(ULONG64*& wire, std::uint64_t ours) {
    wire = nullptr;
    if (ours == 0) return;
    wire = soap_new_ULONG64(soap);
    *wire = ours;
  }
  template <class Wire, class Ours>
  requires std::is_arithmetic_v<Wire>
  void operator()(Wire& wire, const Ours& ours) { wire = static_cast<Wire>(ours); }
  template <class Wire, class Ours>
  void operator()(std::vector<Wire>& wire, const std::vector<Ours>& ours) {
    wire.resize(ours.size());
    for (std::size_t i = 0; i < ours.size(); ++i) (*this)(wire[i], ours[i]);
  }
  template <class Wire, class Ours>
  requires std::is_class_v<Wire>
  void operator()(Wire& wire, const Ours& ours) { fields(*this, wire, ours); }
};

/// The generated struct → ours.
struct FromWire {
  void operator()(const std::string& wire, std::string& ours) { ours = wire; }
  void operator()(const std::string* wire, std::string& ours) {
    ours = wire != nullptr ? *wire : std::string();
  }
  void bytes(const xsd__base64Binary& wire, std::string& ours) { ours = bytes_from_wire(wire); }
  void operator()(const ULONG64* wire, std::uint64_t& ours) { ours = wire != nullptr ? *wire : 0; }
  template <class Wire, class Ours>
  requires std::is_arithmetic_v<Wire>
  void operator()(const Wire& wire, Ours& ours) { ours = static_cast<Ours>(wire); }
  template <class Wire, class Ours>
  void operator()(const std::vector<Wire>& wire, std::vector<Ours>& ours) {
    ours.resize(wire.size());
    for (std::size_t i = 0; i < wire.size(); ++i) (*this)(wire[i], ours[i]);
  }
  template <class Wire, class Ours>
  requires std::is_class_v<Wire>
  void operator()(const Wire& wire, Ours& ours) { fields(*this, wire, ours); }
};

/// True for a pair of types, whatever their const: Pair<t__Job, JobView, Wire, Ours>.
template <class W, class O, class Wire, class Ours>
inline constexpr bool kPair =
    std::is_same_v<std::remove_const_t<Wire>, W>&& std::is_same_v<std::remove_const_t<Ours>, O>;

template <class Direction, class Wire, class Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  if constexpr (kPair<t__Diagnostic, Diagnostic, Wire, Ours>) {
    d(w.file, o.file), d(w.line, o.line), d(w.column, o.column), d(w.message, o.message);
  } else if constexpr (kPair<t__PlannedNode, PlannedNode, Wire, Ours>) {
    d(w.node, o.node), d(w.host, o.host), d(w.driver, o.driver), d(w.image, o.image);
    d(w.architecture, o.architecture), d(w.vcpus, o.vcpus), d(w.memory, o.memory);
    d(w.process, o.processes), d(w.state, o.state);
  } else if constexpr (kPair<t__PlannedLink, PlannedLink, Wire, Ours>) {
    d(w.link, o.link), d(w.from, o.from), d(w.to, o.to), d(w.transport, o.transport), d(w.where, o.where);
    d(w.codec, o.codec), d(w.forced, o.forced);
  } else if constexpr (kPair<t__Plan, PlanView, Wire, Ours>) {
    d(w.name, o.name), d(w.node, o.nodes), d(w.link, o.links), d(w.processCount, o.process_count);
    d(w.linkCount, o.link_count), d(w.build, o.builds), d(w.reason, o.reasons);
  } else if constexpr (kPair<t__Job, JobView, Wire, Ours>) {
    d(w.id, o.id), d(w.lab, o.lab), d(w.name, o.name), d(w.user, o.user), d(w.state, o.state);
    d(w.reason, o.reason), d(w.submittedMs, o.submitted_ms), d(w.startedMs, o.started_ms);
    d(w.endedMs, o.ended_ms), d(w.nodes, o.nodes), d(w.where, o.where), d(w.attempt, o.attempt);
    d(w.exitCode, o.exit_code), d(w.cancelAsked, o.cancel_asked), d(w.progress, o.progress);
  } else if constexpr (kPair<t__Process, ProcessView, Wire, Ours>) {
    d(w.process, o.process), d(w.node, o.node), d(w.state, o.state), d(w.code, o.code);
    d(w.signal, o.signal), d(w.userMs, o.user_ms), d(w.systemMs, o.system_ms), d(w.maxRss, o.max_rss);
  } else if constexpr (kPair<t__Transition, Transition, Wire, Ours>) {
    d(w.atMs, o.at_ms), d(w.from, o.from), d(w.to, o.to), d(w.reason, o.reason), d(w.attempt, o.attempt);
  } else if constexpr (kPair<t__JobDetail, JobDetail, Wire, Ours>) {
    d(w.job, o.job), d(w.process, o.processes), d(w.transition, o.transitions), d(w.why, o.why);
  } else if constexpr (kPair<t__LogPiece, LogPiece, Wire, Ours>) {
    d(w.process, o.process), d(w.node, o.node), d(w.stream, o.stream), d(w.atMs, o.at_ms);
    d.bytes(w.data, o.text);
  } else if constexpr (kPair<t__LogPage, LogPage, Wire, Ours>) {
    d(w.piece, o.pieces), d(w.cursor, o.cursor), d(w.ended, o.ended);
  } else if constexpr (kPair<t__LogPage, ExecPage, Wire, Ours>) {
    d(w.piece, o.pieces), d(w.cursor, o.cursor), d(w.ended, o.ended);
  } else if constexpr (kPair<t__ResultFile, ResultFile, Wire, Ours>) {
    d(w.name, o.name), d(w.process, o.process), d(w.digest, o.digest), d(w.size, o.size);
  } else if constexpr (kPair<t__Lab, LabView, Wire, Ours>) {
    d(w.id, o.id), d(w.name, o.name), d(w.user, o.user), d(w.state, o.state), d(w.subnet, o.subnet);
    d(w.createdMs, o.created_ms), d(w.nodes, o.nodes), d(w.jobs, o.jobs), d(w.ephemeral, o.ephemeral);
  } else if constexpr (kPair<t__Vm, VmView, Wire, Ours>) {
    d(w.lab, o.lab), d(w.node, o.node), d(w.host, o.host), d(w.driver, o.driver), d(w.image, o.image);
    d(w.state, o.state), d(w.address, o.address), d(w.wsdl, o.wsdl), d(w.boot, o.boot);
    d(w.vcpus, o.vcpus), d(w.memory, o.memory);
  } else if constexpr (kPair<t__Link, LinkView, Wire, Ours>) {
    d(w.lab, o.lab), d(w.link, o.link), d(w.from, o.from), d(w.to, o.to), d(w.type, o.type);
    d(w.deliver, o.deliver), d(w.whenFull, o.when_full), d(w.transport, o.transport);
    d(w.capacity, o.capacity), d(w.codec, o.codec), d(w.forced, o.forced);
  } else if constexpr (kPair<t__Rewiring, RewireView, Wire, Ours>) {
    d(w.job, o.job), d(w.lab, o.lab), d(w.number, o.number), d(w.state, o.state), d(w.reason, o.reason);
    d(w.added, o.added), d(w.removed, o.removed), d(w.redirected, o.redirected), d(w.changed, o.changed);
    d(w.unchanged, o.unchanged), d(w.step, o.steps), d(w.draining, o.draining);
  } else if constexpr (kPair<t__Queue, QueueView, Wire, Ours>) {
    d(w.lab, o.lab), d(w.job, o.job), d(w.link, o.link), d(w.where, o.where), d(w.depth, o.depth);
    d(w.capacity, o.capacity), d(w.bytes, o.bytes), d(w.enqueued, o.enqueued), d(w.dequeued, o.dequeued);
    d(w.dropped, o.dropped), d(w.waiting, o.waiting), d(w.bytesEnqueued, o.bytes_enqueued);
    d(w.bytesDequeued, o.bytes_dequeued), d(w.latencySamples, o.latency_samples);
    d(w.latencyP50Ns, o.latency_p50_ns), d(w.latencyP99Ns, o.latency_p99_ns), d(w.drained, o.drained);
  } else if constexpr (kPair<t__PeekedMessage, PeekedMessage, Wire, Ours>) {
    d(w.number, o.number), d(w.size, o.size), d.bytes(w.data, o.data), d(w.key, o.key);
    d(w.priority, o.priority), d(w.again, o.again), d(w.taken, o.taken), d(w.ageNs, o.age_ns);
  } else if constexpr (kPair<t__PeekedQueue, PeekedQueue, Wire, Ours>) {
    d(w.link, o.link), d(w.where, o.where), d(w.depth, o.depth), d(w.bytes, o.bytes);
    d(w.steady, o.steady), d(w.message, o.messages);
  } else if constexpr (kPair<t__DrainMark, DrainMark, Wire, Ours>) {
    d(w.queue, o.queue), d(w.before, o.before);
  } else if constexpr (kPair<t__DrainedQueue, DrainedQueue, Wire, Ours>) {
    d(w.link, o.link), d(w.where, o.where), d(w.mark, o.mark), d(w.drained, o.drained), d(w.bytes, o.bytes);
    d(w.more, o.more), d(w.pending, o.pending), d(w.message, o.messages);
  } else if constexpr (kPair<t__TakenMessage, TakenMessage, Wire, Ours>) {
    d(w.number, o.number), d(w.size, o.size), d(w.offset, o.offset), d.bytes(w.data, o.data);
    d(w.key, o.key), d(w.priority, o.priority), d(w.again, o.again);
  } else if constexpr (kPair<t__Enqueued, PutAnswer, Wire, Ours>) {
    d(w.accepted, o.accepted), d(w.ticket, o.ticket), d(w.end, o.end), d(w.closed, o.closed);
  } else if constexpr (kPair<t__Dequeued, TakeAnswer, Wire, Ours>) {
    d(w.message, o.messages), d(w.ticket, o.ticket), d(w.end, o.end);
  } else if constexpr (kPair<t__Build, BuildView, Wire, Ours>) {
    d(w.key, o.key), d(w.state, o.state), d(w.role, o.role), d(w.image, o.image);
    d(w.architecture, o.architecture), d(w.command, o.command), d(w.node, o.node), d(w.digest, o.digest);
    d(w.atMs, o.at_ms), d(w.size, o.size), d(w.wallMs, o.wall_ms), d(w.hits, o.hits);
  } else if constexpr (kPair<t__Event, EventView, Wire, Ours>) {
    d(w.seq, o.seq), d(w.atMs, o.at_ms), d(w.event, o.event), d(w.lab, o.lab), d(w.job, o.job);
    d(w.node, o.node), d(w.detail, o.detail);
  } else if constexpr (kPair<t__HostState, HostView, Wire, Ours>) {
    d(w.name, o.name), d(w.state, o.state), d(w.architecture, o.architecture), d(w.vcpus, o.vcpus);
    d(w.vcpusUsed, o.vcpus_used), d(w.memory, o.memory), d(w.memoryUsed, o.memory_used);
    d(w.driver, o.drivers), d(w.image, o.images);
  } else if constexpr (kPair<t__NodePlugin, NodePluginView, Wire, Ours>) {
    d(w.name, o.name), d(w.version, o.version), d(w.owner, o.owner), d(w.state, o.state);
  } else if constexpr (kPair<t__NodeProcess, NodeProcessView, Wire, Ours>) {
    d(w.process, o.process), d(w.pid, o.pid), d(w.state, o.state), d(w.code, o.code), d(w.signal, o.signal);
  } else if constexpr (kPair<t__Peer, NodePeer, Wire, Ours>) {
    d(w.name, o.name), d(w.address, o.address);
  } else {
    static_assert(kPair<Wire, void, void, void>, "no list of fields for this pair of types");
  }
}

}  // namespace mvm::soap
