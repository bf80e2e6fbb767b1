// Any bytes as an encoded message: the first chooses the chain, the second how long the message may be. What
// comes out is bounded, and goes through the same chain again.
#include <array>
#include <cstdint>

#include "mvm/base/assert.h"
#include "mvm/queuevm/codecs/builtin.h"

namespace {

using mvm::queuevm::CodecChain;
using mvm::queuevm::MessageHead;

std::vector<CodecChain> make_chains() {
  const std::vector<std::vector<std::string>> specs = {
      {"zstd"},    {"checksum"},        {"encrypt"},         {"encrypt:chacha20-poly1305"},
      {"neutral"}, {"neutral", "zstd"}, {"zstd", "checksum"}};
  std::vector<CodecChain> chains;
  for (const auto& spec : specs) {
    auto made = CodecChain::make(*mvm::queuevm::codecs::builtin(), spec, std::string(32, 'k'));
    MVM_ASSERT(made.has_value());
    chains.push_back(std::move(*made));
  }
  return chains;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::vector<CodecChain> chains = make_chains();
  if (size < 2) return 0;
  CodecChain& chain = chains[data[0] % chains.size()];
  const std::size_t most = std::size_t{1} << (data[1] % 17U);
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(2);
  MessageHead head;
  head.fragment = (data[1] & 0x80U) != 0;
  const auto decoded = chain.decode(bytes, head, most);
  if (!decoded) {
    MVM_ASSERT(decoded.error().code() == mvm::ErrorCode::kCorrupt);
    return 0;
  }
  MVM_ASSERT(decoded->size() <= most);
  const std::vector<std::byte> message(decoded->begin(), decoded->end());
  const auto encoded = chain.encode(message, head);
  MVM_ASSERT(encoded.has_value() && encoded->size() <= chain.longest(message.size()));
  const std::vector<std::byte> again(encoded->begin(), encoded->end());
  const auto back = chain.decode(again, head, most);
  MVM_ASSERT(back.has_value() && std::equal(back->begin(), back->end(), message.begin(), message.end()));
  return 0;
}
