#pragma once
// The registry's structs and the generated ones, field by field (fields.h).

#include "fields.h"
#include "mvm/soap/registry_api.h"

namespace mvm::soap {

template <class Direction, class Wire, class Ours>
requires kPair<r__Target, RegistryTarget, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) { d(w.lab, o.lab), d(w.node, o.node); }

template <class Direction, class Wire, class Ours>
requires kPair<r__Info, RegistryInfo, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.name, o.name), d(w.index, o.index), d(w.owner, o.owner), d(w.flag, o.flags), d(w.lease, o.lease);
  d(w.revision, o.revision), d(w.size, o.size);
}

template <class Direction, class Wire, class Ours>
requires kPair<r__Put, RegistryPut, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.name, o.name), d(w.flag, o.flags), d(w.index, o.index), d(w.lease, o.lease), d(w.encoding, o.encoding);
  d.bytes(w.value, o.value);
}

template <class Direction, class Wire, class Ours>
requires kPair<r__Event, RegistryEvent, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.revision, o.revision), d(w.deleted, o.deleted), d(w.info, o.info);
}

template <class Direction, class Wire, class Ours>
requires kPair<r__Member, RegistryMember, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.node, o.node), d(w.provider, o.provider), d(w.state, o.state), d(w.id, o.id), d(w.role, o.role);
  d(w.address, o.address), d(w.leader, o.leader), d(w.trouble, o.trouble);
}

template <class Direction, class Wire, class Ours>
requires kPair<r__Choice, RegistryChoice, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.provider, o.provider), d(w.endpoint, o.endpoints), d(w.prefix, o.prefix);
}

template <class Direction, class Wire, class Ours>
requires kPair<r__Answer, RegistryAnswer, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) { d(w.node, o.node), d(w.done, o.done), d(w.reason, o.reason); }

template <class Direction, class Wire, class Ours>
requires kPair<r__Outcome, RegistryOutcome, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) { d(w.committed, o.committed), d(w.answer, o.answers); }

}  // namespace mvm::soap
