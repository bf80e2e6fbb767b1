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

}  // namespace mvm::soap
