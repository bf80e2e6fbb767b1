#pragma once
// Who owns and uses what in a kernel, as a tree. Pure.

#include <string>

#include "listing.h"
#include "mvm/soap/kernel_api.h"

namespace mvm::cli {

/// As lines of text.
[[nodiscard]] std::string tree_text(const soap::KernelView& kernel);
/// As JSON: [{name, version, ..., uses: [{interface, of}], threads, loaded: [..]}].
[[nodiscard]] Json tree_json(const soap::KernelView& kernel);
/// As one cluster of a graph for dot; `number` tells kernels apart.
[[nodiscard]] std::string tree_dot(const soap::KernelView& kernel, std::size_t number);

}  // namespace mvm::cli
