#pragma once
// Where each start tag and each attribute stands in a well-formed text, in document order.

#include <cstddef>
#include <string_view>
#include <vector>

namespace mvm::topologies::xml {

struct Place {
  int line = 1;
  int column = 1;
};

struct AttributePlace {
  std::size_t begin = 0, end = 0, value_begin = 0, value_end = 0;
  Place where, value_where;
};

struct TagPlace {
  std::size_t begin = 0, start_end = 0, end = 0;
  Place where;
  std::string_view name;
  std::vector<AttributePlace> attributes;
};

/// Scans a text that libxml2 found well-formed and free of DTDs. Never reads past its end, whatever it holds.
[[nodiscard]] std::vector<TagPlace> index_text(std::string_view text);

}  // namespace mvm::topologies::xml
