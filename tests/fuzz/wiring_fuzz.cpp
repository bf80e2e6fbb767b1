// Any bytes as a wiring table: refused, or understood and written back the same.

#include <cstdint>
#include <span>

#include "mvm/base/assert.h"
#include "mvm/queuevm/wiring.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto wiring = mvm::queuevm::decode_wiring(std::as_bytes(std::span(data, size)));
  if (!wiring) return 0;
  const auto text = mvm::queuevm::encode(*wiring);
  MVM_ASSERT(text);
  const auto again = mvm::queuevm::decode_wiring(std::as_bytes(std::span(text->data(), text->size())));
  MVM_ASSERT(again && again->ports.size() == wiring->ports.size() && again->role == wiring->role);
  return 0;
}
