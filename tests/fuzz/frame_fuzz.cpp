// Any bytes on a control stream, in pieces of any size, with and without resynchronisation.

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "mvm/base/assert.h"
#include "mvm/base/frame.h"

namespace {

void decode(std::string_view bytes, std::size_t piece, bool resync) {
  mvm::FrameDecoder decoder(resync);
  while (!bytes.empty()) {
    decoder.feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    for (;;) {
      auto frame = decoder.next();
      if (!frame) return;
      if (!*frame) break;
      MVM_ASSERT((*frame)->head.is_object() && (*frame)->blob.size() <= mvm::kMaxFrameBlob);
      // What was understood can be said again, and is understood the same.
      mvm::FrameDecoder again;
      again.feed(mvm::encode_frame((*frame)->head, (*frame)->blob));
      auto same = again.next();
      MVM_ASSERT(same && *same && (*same)->head == (*frame)->head && (*same)->blob == (*frame)->blob);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  decode(bytes, 1 + data[0] % 64U, (data[0] & 64U) != 0);
  return 0;
}
