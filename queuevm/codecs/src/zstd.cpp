// zstd: a byte that says how, then the message as it is (0) or as one zstd frame (1), whichever is shorter.
#include <zstd.h>

#include <cstring>

#include "codecs.h"
#include "mvm/base/number.h"

namespace mvm::queuevm::codecs {
namespace {

constexpr int kDefaultLevel = 1;
constexpr int kMaxLevel = 19;
constexpr std::size_t kWorthIt = 64;  // shorter messages pass as they are
constexpr std::byte kStored{0};
constexpr std::byte kFrame{1};

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ::ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ::ZSTD_freeDCtx(context); }
};

class Zstd final : public Codec {
 public:
  explicit Zstd(int level) : level_(level) {}

  Status encode(std::span<const std::byte> in, const MessageHead&, ByteBuffer& out) override {
    const auto room = out.reset(1 + in.size());
    if (in.size() >= kWorthIt) {
      if (!compressor_) compressor_.reset(::ZSTD_createCCtx());
      // No room for more than the message itself: what does not shrink is stored.
      const std::size_t size = ::ZSTD_compressCCtx(compressor_.get(), room.data() + 1, in.size() - 1,
                                                   in.data(), in.size(), level_);
      if (::ZSTD_isError(size) == 0) {
        room[0] = kFrame;
        out.cut(1 + size);
        return ok();
      }
    }
    room[0] = kStored;
    if (!in.empty()) std::memcpy(room.data() + 1, in.data(), in.size());
    return ok();
  }

  Status decode(std::span<const std::byte> in, const MessageHead&, std::size_t most,
                ByteBuffer& out) override {
    if (in.empty()) return corrupt("zstd: nothing there");
    const auto content = in.subspan(1);
    if (in[0] == kStored) {
      if (content.size() > most) return corrupt("zstd: too long");
      const auto room = out.reset(content.size());
      if (!content.empty()) std::memcpy(room.data(), content.data(), content.size());
      return ok();
    }
    if (in[0] != kFrame) return corrupt("zstd: unknown form");
    // The frame says how much it holds; one that does not, or holds more than may be, is not opened at all.
    const unsigned long long size = ::ZSTD_getFrameContentSize(content.data(), content.size());
    if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > most)
      return corrupt("zstd: not a frame of a bounded size");
    if (!decompressor_) decompressor_.reset(::ZSTD_createDCtx());
    const auto room = out.reset(static_cast<std::size_t>(size));
    const std::size_t got =
        ::ZSTD_decompressDCtx(decompressor_.get(), room.data(), room.size(), content.data(), content.size());
    if (::ZSTD_isError(got) != 0 || got != size) return corrupt("zstd: a broken frame");
    return ok();
  }
  [[nodiscard]] std::size_t overhead() const override { return 1; }

 private:
  int level_;
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> compressor_;
  std::unique_ptr<ZSTD_DCtx, FreeDecompressor> decompressor_;
};

}  // namespace

Result<std::unique_ptr<Codec>> make_zstd(const CodecSetup& setup) {
  int level = kDefaultLevel;
  if (!setup.option.empty()) {
    level = whole_number<int>(setup.option).value_or(0);
    if (level < 1 || level > kMaxLevel) return no_such_option(setup.option, "a level of 1 to 19");
  }
  return std::unique_ptr<Codec>(std::make_unique<Zstd>(level));
}

}  // namespace mvm::queuevm::codecs
