// checksum: XXH3 of the bytes and of what travels beside them, in eight bytes behind them. Finds what went
// wrong by accident, not by intent.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstring>

#include "codecs.h"

namespace mvm::queuevm::codecs {
namespace {

constexpr std::size_t kSize = sizeof(XXH64_canonical_t);

class Checksum final : public Codec {
 public:
  Status encode(std::span<const std::byte> in, const MessageHead& head, ByteBuffer& out) override {
    const auto room = out.reset(in.size() + kSize);
    if (!in.empty()) std::memcpy(room.data(), in.data(), in.size());
    const XXH64_canonical_t sum = of(in, head);
    std::memcpy(room.data() + in.size(), sum.digest, kSize);
    return ok();
  }
  Status decode(std::span<const std::byte> in, const MessageHead& head, std::size_t most,
                ByteBuffer& out) override {
    if (in.size() < kSize || in.size() - kSize > most) return corrupt("checksum: wrong length");
    const auto message = in.first(in.size() - kSize);
    const XXH64_canonical_t sum = of(message, head);
    if (std::memcmp(sum.digest, in.data() + message.size(), kSize) != 0)
      return corrupt("checksum: the bytes changed on the way");
    const auto room = out.reset(message.size());
    if (!message.empty()) std::memcpy(room.data(), message.data(), message.size());
    return ok();
  }
  [[nodiscard]] std::size_t overhead() const override { return kSize; }

 private:
  static XXH64_canonical_t of(std::span<const std::byte> message, const MessageHead& head) {
    const XXH64_hash_t seed = XXH3_64bits(head.bytes.data(), head.bytes.size());
    XXH64_canonical_t sum;
    XXH64_canonicalFromHash(&sum, XXH3_64bits_withSeed(message.data(), message.size(), seed));
    return sum;
  }
};

}  // namespace

Result<std::unique_ptr<Codec>> make_checksum(const CodecSetup& setup) {
  if (!setup.option.empty()) return no_such_option(setup.option, "none");
  return std::unique_ptr<Codec>(std::make_unique<Checksum>());
}

}  // namespace mvm::queuevm::codecs
