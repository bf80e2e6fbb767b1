#pragma once
// Says in plain words what breaks the published XSDs. libxml2 decides; this explains.

#include <string>

#include "fault_list.h"
#include "xml/document.h"

namespace mvm::topologies {

/// Adds every structural fault of the document and marks the elements that have one. The rules are read from
/// the built-in XSDs, so there is one truth only. Thread-safe.
void check_structure(xml::Element& root, FaultList& faults);

}  // namespace mvm::topologies
