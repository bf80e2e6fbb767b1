// Frames of a replicated group's links, and its ledgers: whatever comes, it is refused or is a message that
// means the same when it is written again, and nothing in it is longer than the limits.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire.h"

namespace wire = mvm::replica::wire;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const wire::Bounds bounds{4096, 4096, 65536};
  if (bytes.size() >= wire::kHeader) {
    const auto header = wire::decode_header(bytes, bounds);
    const std::string_view body = bytes.substr(wire::kHeader);
    if (header && header->length <= body.size()) {
      const auto message = wire::decode(header->kind, body.substr(0, header->length), bounds);
      // One way to say a thing: what was taken is what would be sent.
      if (message && wire::encode(*message) != bytes.substr(0, wire::kHeader + header->length)) std::abort();
    }
  }
  if (const auto ledger = wire::decode_ledger(bytes); ledger && wire::encode(*ledger) != bytes) std::abort();
  (void)wire::decode_change(bytes);
  return 0;
}
