// neutral: lets whole messages pass only where they are in the typed encoding of mvm_pack_*, which reads
// alike on every architecture. Changes nothing. A message that was cut into fragments passes unseen.
#include <mvm.h>

#include <cstring>

#include "codecs.h"

namespace mvm::queuevm::codecs {
namespace {

constexpr int kDepth = 64;
constexpr unsigned char kNestedItem = 0xf0;

bool well_formed(mvm_unpacker items, int depth) {
  while (items.position < items.size) {
    if (items.data[items.position] == kNestedItem) {
      mvm_unpacker inside;
      if (depth == 0 || mvm_unpack_nested(&items, &inside) != MVM_OK || !well_formed(inside, depth - 1))
        return false;
    } else if (mvm_unpack_skip(&items) != MVM_OK) {
      return false;
    }
  }
  return true;
}

class Neutral final : public Codec {
 public:
  Status encode(std::span<const std::byte> in, const MessageHead& head, ByteBuffer& out) override {
    if (!is_neutral(in, head))
      return Error(ErrorCode::kInvalid, "neutral: a message is not in the typed encoding (mvm_pack_*)");
    copy(in, out);
    return ok();
  }
  Status decode(std::span<const std::byte> in, const MessageHead& head, std::size_t most,
                ByteBuffer& out) override {
    if (in.size() > most || !is_neutral(in, head)) return corrupt("neutral: not in the typed encoding");
    copy(in, out);
    return ok();
  }
  [[nodiscard]] std::size_t overhead() const override { return 0; }

 private:
  static bool is_neutral(std::span<const std::byte> message, const MessageHead& head) {
    mvm_unpacker items;
    mvm_unpack_init(&items, message.data(), message.size());
    return head.fragment || well_formed(items, kDepth);
  }
  static void copy(std::span<const std::byte> in, ByteBuffer& out) {
    const auto room = out.reset(in.size());
    if (!in.empty()) std::memcpy(room.data(), in.data(), in.size());
  }
};

}  // namespace

Result<std::unique_ptr<Codec>> make_neutral(const CodecSetup& setup) {
  if (!setup.option.empty()) return no_such_option(setup.option, "none");
  return std::unique_ptr<Codec>(std::make_unique<Neutral>());
}

}  // namespace mvm::queuevm::codecs
