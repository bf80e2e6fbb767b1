#pragma once
// Whether libxml2's XSD and the reader's own rules agree on a file. Agreement means:
//  - ill-formed by libxml2: the reader reports exactly that one fault and makes no model;
//  - valid by the XSD: the reader's own structure rules find nothing, and building the model reports faults
//  of
//    meaning only, never of structure;
//  - invalid by the XSD: the reader's own structure rules find something, and the reader refuses.
// libxml2 alone decides the first half, the reader's code alone the second: either can be wrong.

#include <algorithm>
#include <string>
#include <vector>

#include "model.h"
#include "mvm/topologies/reader.h"
#include "structure.h"
#include "xml/gate.h"

namespace mvm::topologies {

/// How many files fell into each class.
struct Counts {
  int ill_formed = 0, invalid = 0, refused = 0, accepted = 0;
};

inline bool has(const std::vector<Diagnostic>& faults, Fault fault) {
  return std::any_of(faults.begin(), faults.end(), [&](const Diagnostic& one) { return one.fault == fault; });
}

/// Empty where gate and reader agree on this text, else what they disagree on.
inline std::string disagreement(const std::string& text, Counts& counts, const ReadOptions& options = {}) {
  const xml::GateResult gate = xml::check(text, "f");
  const ReadResult read = read_profile(text, "f", options);
  if (read.ok() != read.diagnostics.empty()) return "a model and faults";
  if (!gate.well_formed) {
    ++counts.ill_formed;
    const bool same = read.diagnostics.size() == 1 && read.diagnostics[0].fault == Fault::kIllFormed;
    return same ? "" : "ill-formed, but the reader says: " + describe(read.diagnostics);
  }
  auto document = xml::build(text, "f");
  if (!document) return "well-formed, but no model: " + document.error().describe();
  FaultList own;
  check_structure(*document, own);
  if (gate.faults.empty() != own.empty()) {
    return "XSD says: " + describe(gate.faults) + "reader says: " + describe(own.sorted());
  }
  if (gate.faults.empty()) {
    ++(read.ok() ? counts.accepted : counts.refused);
    const bool meaning_only =
        !has(read.diagnostics, Fault::kStructure) && !has(read.diagnostics, Fault::kIllFormed);
    return meaning_only ? "" : "valid, but the reader says: " + describe(read.diagnostics);
  }
  ++counts.invalid;
  return has(read.diagnostics, Fault::kStructure) ? ""
                                                  : "invalid by the XSD: " + describe(gate.faults) +
                                                        "but the reader says: " + describe(read.diagnostics);
}

}  // namespace mvm::topologies
