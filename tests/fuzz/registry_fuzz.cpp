// The registry's bytes from outside: updates, which are applied, answers, snapshots, items, patterns. The
// first byte says which.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "mvm/registry/table.h"

namespace {

using namespace mvm::registry;  // NOLINT(google-build-using-namespace)

void require(bool good) {
  if (!good) std::abort();
}

void try_update(std::string_view bytes) {
  const auto update = decode_update(bytes);
  if (!update) return;
  require(encode(*update).size() == bytes.size());
  Table table;
  Table same;
  for (int i = 0; i < 2; ++i) {
    const auto first = table.apply(*update);
    const auto second = same.apply(*update);
    require(first.has_value() == second.has_value());
  }
  require(table.snapshot() == same.snapshot());
  require(Table::restore(table.snapshot()).has_value());
}

void try_pattern(std::string_view bytes) {
  const std::size_t half = bytes.size() / 2;
  const auto pattern = bytes.substr(0, half);
  const auto name = bytes.substr(half);
  if (!check_pattern(pattern)) return;
  if (match(pattern, name)) require(name.starts_with(literal_prefix(pattern)));
  require(match(pattern_of(name), name));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0:
      try_update(bytes);
      break;
    case 1:
      (void)decode_applied(bytes);
      break;
    case 2:
      if (const auto table = Table::restore(bytes)) require(Table::restore(table->snapshot()).has_value());
      break;
    case 3:
      (void)check_item(bytes);
      break;
    default:
      try_pattern(bytes);
      break;
  }
  return 0;
}
