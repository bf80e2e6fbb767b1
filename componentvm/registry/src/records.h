#pragma once
// The parts of which updates, answers and snapshots are made, in the neutral encoding.

#include "mvm/registry/packing.h"
#include "mvm/registry/table.h"

namespace mvm::registry {

void write(PackWriter& out, const Info& info);
[[nodiscard]] Info read_info(PackReader& in);
void write(PackWriter& out, const Instance& instance);
[[nodiscard]] Instance read_instance(PackReader& in);

}  // namespace mvm::registry
