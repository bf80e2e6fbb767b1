/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
// This host's kernel of a machine: where it is, and how it is started.

#include <string>

namespace harness {

/// A failure in words; empty: none.
using Trouble = std::string;

/// The folder of a machine.
[[nodiscard]] std::string folder_of(const std::string& vm);
/// Connects to the kernel's socket, starting a kernel where none listens; -1 with the trouble.
[[nodiscard]] int connect_kernel(const std::string& vm, Trouble& trouble);

}  // namespace harness
