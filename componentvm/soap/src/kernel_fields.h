#pragma once
// The kernels' structs and the generated ones, field by field (fields.h).

#include "fields.h"
#include "mvm/soap/kernel_api.h"

namespace mvm::soap {

template <class Direction, class Wire, class Ours>
requires kPair<k__Plugin, PluginView, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.name, o.name), d(w.version, o.version), d(w.file, o.file), d(w.owner, o.owners), d(w.offers, o.offers);
  d(w.needs, o.needs), d(w.operation, o.operations), d(w.function, o.functions), d(w.sharing, o.sharing);
  d(w.state, o.state), d(w.core, o.core);
}

template <class Direction, class Wire, class Ours>
requires kPair<k__Run, RunView, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.run, o.run), d(w.plugin, o.plugin), d(w.function, o.function), d(w.argument, o.arguments);
  d(w.state, o.state), d(w.reason, o.reason), d(w.beganMs, o.began_ms), d(w.endedMs, o.ended_ms);
}

template <class Direction, class Wire, class Ours>
requires kPair<k__Pool, PoolView, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.minimum, o.minimum), d(w.maximum, o.maximum), d(w.queue, o.queue), d(w.idleMs, o.idle_ms);
  d(w.threads, o.threads), d(w.queued, o.queued);
}

template <class Direction, class Wire, class Ours>
requires kPair<k__Kernel, KernelView, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.lab, o.lab), d(w.node, o.node), d(w.host, o.host), d(w.trouble, o.trouble);
  d(w.plugin, o.plugins), d(w.run, o.runs), d(w.pool, o.pool);
}

template <class Direction, class Wire, class Ours>
requires kPair<k__Targets, KernelTargets, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) { d(w.lab, o.lab), d(w.node, o.nodes); }

template <class Direction, class Wire, class Ours>
requires kPair<k__Answer, KernelAnswer, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.node, o.node), d(w.able, o.able), d(w.done, o.done), d(w.reason, o.reason), d(w.run, o.run);
}

template <class Direction, class Wire, class Ours>
requires kPair<k__Outcome, KernelOutcome, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) { d(w.committed, o.committed), d(w.answer, o.answers); }

template <class Direction, class Wire, class Ours>
requires kPair<k__PoolChange, PoolChange, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.minimum, o.minimum), d(w.maximum, o.maximum), d(w.queue, o.queue), d(w.idleMs, o.idle_ms);
}

}  // namespace mvm::soap
