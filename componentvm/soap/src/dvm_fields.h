#pragma once
// The structs of distributed virtual machines and the generated ones, field by field (fields.h).

#include "fields.h"
#include "mvm/soap/dvm_api.h"

namespace mvm::soap {

template <class Direction, class Wire, class Ours>
requires kPair<d__Target, DvmTarget, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) { d(w.lab, o.lab), d(w.name, o.name); }

template <class Direction, class Wire, class Ours>
requires kPair<d__Member, DvmMember, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.name, o.name), d(w.address, o.address), d(w.architecture, o.architecture), d(w.lost, o.lost);
  d(w.server, o.server), d(w.voter, o.voter), d(w.service, o.services);
}

template <class Direction, class Wire, class Ours>
requires kPair<d__Machine, DvmView, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.lab, o.lab), d(w.name, o.name), d(w.server, o.server), d(w.term, o.term), d(w.number, o.number);
  d(w.baseline, o.baseline), d(w.member, o.members), d(w.trouble, o.trouble);
}

template <class Direction, class Wire, class Ours>
requires kPair<d__Answer, DvmAnswer, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) { d(w.node, o.node), d(w.done, o.done), d(w.reason, o.reason); }

template <class Direction, class Wire, class Ours>
requires kPair<d__Outcome, DvmOutcome, Wire, Ours>
void fields(Direction& d, Wire& w, Ours& o) {
  d(w.committed, o.committed), d(w.answer, o.answers), d(w.user, o.user), d(w.password, o.password);
}

}  // namespace mvm::soap
