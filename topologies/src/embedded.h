#pragma once
// Files that are built into the library.

#include <span>
#include <string_view>

namespace mvm::topologies {

struct EmbeddedFile {
  std::string_view kind;  ///< "schema", "topology", "image", "policy"
  std::string_view name;
  std::string_view text;
};

[[nodiscard]] std::span<const EmbeddedFile> embedded_files();

}  // namespace mvm::topologies
