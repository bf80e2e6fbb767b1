// Chains of codecs on bytes alone: round trips, what is refused, and hostile input.
#include "mvm/queuevm/codec.h"

#include <gmock/gmock.h>
#include <zstd.h>

#include <cstring>
#include <random>
#include <set>

#include "mvm.hpp"
#include "mvm/queuevm/codecs/builtin.h"
#include "mvm/topologies/codecs.h"

namespace mvm::queuevm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Bytes = std::vector<std::byte>;
const std::string kKey(kCodecKeySize, 'k');

Bytes of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span<const char>(text));
  return {bytes.begin(), bytes.end()};
}

Bytes copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

MessageHead head(unsigned char place = 1) {
  MessageHead made;
  made.bytes[8] = static_cast<std::byte>(place);
  return made;
}

CodecChain chain(std::vector<std::string> specs, const std::string& key = kKey) {
  auto made = CodecChain::make(*codecs::builtin(), specs, key);
  EXPECT_TRUE(made) << made.error().describe();
  return std::move(*made);
}

std::string refusal(std::vector<std::string> specs, const std::string& key = kKey) {
  const auto made = CodecChain::make(*codecs::builtin(), specs, key);
  return made ? "" : made.error().describe();
}

std::vector<Bytes> samples() {
  std::mt19937 random(1);
  std::vector<Bytes> all{{}, of("x"), of(std::string(100, 'a')), of(std::string(700000, 'b'))};
  for (const std::size_t size : {7U, 63U, 64U, 65U, 4096U, 300000U}) {
    Bytes noise(size);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    all.push_back(noise);
  }
  return all;
}

TEST(Codecs, EveryChainGivesTheMessageBack) {
  for (const std::vector<std::string>& specs :
       std::vector<std::vector<std::string>>{{"zstd"},
                                             {"zstd:19"},
                                             {"checksum"},
                                             {"encrypt"},
                                             {"encrypt:chacha20-poly1305"},
                                             {"zstd:3", "checksum", "encrypt"},
                                             {"encrypt:aes-256-gcm", "checksum"}}) {
    CodecChain there = chain(specs);
    CodecChain here = chain(specs);
    EXPECT_EQ(there.tag(), here.tag());
    for (const Bytes& message : samples()) {
      const auto encoded = there.encode(message, head());
      ASSERT_TRUE(encoded);
      EXPECT_LE(encoded->size(), there.longest(message.size())) << there.text();
      const auto decoded = here.decode(*encoded, head(), message.size());
      ASSERT_TRUE(decoded) << there.text() << ": " << decoded.error().describe();
      EXPECT_TRUE(std::equal(decoded->begin(), decoded->end(), message.begin(), message.end()));
    }
  }
}

TEST(Codecs, AnEmptyChainCopiesNothing) {
  CodecChain none;
  const Bytes message = of("plain");
  EXPECT_EQ(none.encode(message, head())->data(), message.data());
  EXPECT_EQ(none.tag(), 0);
  EXPECT_EQ(none.longest(10), 10U);
}

TEST(Codecs, ZstdShrinksWhatRepeatsAndStoresWhatDoesNot) {
  CodecChain zstd = chain({"zstd"});
  EXPECT_LT(zstd.encode(of(std::string(100000, 'a')), head())->size(), 100U);
  Bytes noise(1000);
  std::mt19937 random(1);
  for (auto& byte : noise) byte = static_cast<std::byte>(random());
  EXPECT_EQ(zstd.encode(noise, head())->size(), 1001U);
}

TEST(Codecs, WhatWasEncryptedShowsNothingAndNeverLooksAlike) {
  for (const char* const spec : {"encrypt", "encrypt:chacha20-poly1305"}) {
    CodecChain one = chain({spec});
    CodecChain other = chain({spec});
    const Bytes secret = of("attack at dawn, attack at dawn");
    std::set<std::string> seen;
    for (CodecChain* encoder : {&one, &one, &other, &other}) {
      const auto encoded = *encoder->encode(secret, head());
      const std::string text(reinterpret_cast<const char*>(encoded.data()), encoded.size());
      EXPECT_THAT(text, ::testing::Not(HasSubstr("dawn")));
      seen.insert(text);
      EXPECT_TRUE(chain({spec}).decode(encoded, head(), 100)) << "a decoder that begins in the middle";
    }
    EXPECT_EQ(seen.size(), 4U) << "the same message sent again must look another";
    EXPECT_FALSE(chain({spec}, std::string(kCodecKeySize, 'z'))
                     .decode(copy(*one.encode(secret, head())), head(), 100));
  }
}

TEST(Codecs, EveryChangedBitIsFound) {
  for (const char* const spec : {"checksum", "encrypt", "encrypt:chacha20-poly1305"}) {
    CodecChain codec = chain({spec});
    const Bytes message = of("a message of some length");
    const Bytes encoded = copy(*codec.encode(message, head()));
    for (std::size_t bit = 0; bit < encoded.size() * 8; ++bit) {
      Bytes changed = encoded;
      changed[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      const auto decoded = codec.decode(changed, head(), 100);
      ASSERT_FALSE(decoded) << spec << " bit " << bit;
      EXPECT_EQ(decoded.error().code(), ErrorCode::kCorrupt);
    }
    for (std::size_t size = 0; size < encoded.size(); ++size)
      EXPECT_FALSE(codec.decode(std::span(encoded).first(size), head(), 100));
    EXPECT_FALSE(codec.decode(encoded, head(2), 100)) << "good bytes in another message's place";
    EXPECT_TRUE(codec.decode(encoded, head(), 100));
  }
}

TEST(Codecs, ABombIsNotOpened) {
  CodecChain zstd = chain({"zstd"});
  Bytes bomb(1);
  bomb[0] = std::byte{1};
  const Bytes zeros(64 << 20);
  Bytes frame(ZSTD_compressBound(zeros.size()));
  frame.resize(ZSTD_compress(frame.data(), frame.size(), zeros.data(), zeros.size(), 1));
  bomb.insert(bomb.end(), frame.begin(), frame.end());
  ASSERT_LT(bomb.size(), 10000U);
  const auto decoded = zstd.decode(bomb, head(), 1 << 20);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(zstd.decode(bomb, head(), 64 << 20)) << "where it may be that large";
  // A frame that holds more than it says.
  frame[4] = std::byte{0xa0};  // frame content size of four bytes, single segment
  frame[5] = std::byte{16};
  frame[6] = frame[7] = frame[8] = std::byte{0};
  bomb.assign(1, std::byte{1});
  bomb.insert(bomb.end(), frame.begin(), frame.end());
  EXPECT_FALSE(zstd.decode(bomb, head(), 1 << 20));
}

TEST(Codecs, NeutralLetsTypedMessagesPassAlone) {
  CodecChain neutral = chain({"neutral"});
  Packer packer;
  packer.add(1).add("text").nest([](Packer& inside) { inside.add(2.5); });
  const Bytes typed = copy(packer.bytes());
  const auto encoded = neutral.encode(typed, head());
  ASSERT_TRUE(encoded);
  EXPECT_TRUE(std::equal(encoded->begin(), encoded->end(), typed.begin(), typed.end()));
  const auto refused = neutral.encode(of("raw bytes"), head());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().describe(), HasSubstr("mvm_pack_"));
  EXPECT_FALSE(neutral.decode(of("raw bytes"), head(), 100));
  EXPECT_FALSE(neutral.encode(std::span(typed).first(typed.size() - 1), head()));
  Bytes deep;
  for (unsigned left = 100; left > 0; --left)
    for (const unsigned byte : {0xf0U, (left - 1) * 5 % 256, (left - 1) * 5 / 256, 0U, 0U})
      deep.push_back(static_cast<std::byte>(byte));
  EXPECT_FALSE(neutral.encode(deep, head())) << "nested too deep";
  MessageHead part = head();
  part.fragment = true;
  EXPECT_TRUE(neutral.encode(std::span(typed).first(3), part));
}

TEST(Codecs, UnknownNamesOptionsAndMissingKeysAreSaid) {
  EXPECT_THAT(refusal({"zip"}),
              HasSubstr("no codec 'zip' here, expected one of checksum, encrypt, neutral, zstd"));
  EXPECT_THAT(refusal({"zstd:20"}), HasSubstr("expected a level of 1 to 19"));
  EXPECT_THAT(refusal({"zstd:3x"}), HasSubstr("level"));
  EXPECT_THAT(refusal({"checksum:md5"}), HasSubstr("expected none"));
  EXPECT_THAT(refusal({"encrypt:rot13"}), HasSubstr("chacha20-poly1305"));
  EXPECT_THAT(refusal({"encrypt"}, ""), HasSubstr("without a key"));
  EXPECT_THAT(refusal({"zstd", "zstd"}), HasSubstr("occurs twice"));
  EXPECT_NE(refusal(std::vector<std::string>(9, "checksum")), "");
}

TEST(Codecs, WhatATopologyMayNameIsRegistered) {
  EXPECT_EQ(codecs::builtin()->names(), topologies::codec_names());
  for (const char* const spec :
       {"zstd:1", "zstd:19", "zstd:20", "zstd:0", "zstd:x", "encrypt:aes-256-gcm",
        "encrypt:chacha20-poly1305", "encrypt:aes", "checksum:x", "neutral:x", "zip"})
    EXPECT_EQ(topologies::check_codec(spec).has_value(), !refusal({spec}).empty()) << spec;
  EXPECT_EQ(topologies::kMaxCodecs, kMostCodecs);
}

TEST(Codecs, AKeyIsReadStrictly) {
  EXPECT_EQ(*codec_key_from(""), "");
  EXPECT_EQ(*codec_key_from(std::string(62, '0') + "a9"), std::string(31, '\0') + "\xa9");
  const std::string secret = std::string(63, 'e') + "G";
  const auto refused = codec_key_from(secret);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().describe(), ::testing::Not(HasSubstr("eee")));
  EXPECT_FALSE(codec_key_from("ab"));
}

TEST(Codecs, AProgramRegistersItsOwn) {
  class Flip final : public Codec {
   public:
    Status encode(std::span<const std::byte> in, const MessageHead&, ByteBuffer& out) override {
      const auto room = out.reset(in.size());
      for (std::size_t i = 0; i < in.size(); ++i) room[i] = ~in[i];
      return ok();
    }
    Status decode(std::span<const std::byte> in, const MessageHead& head, std::size_t,
                  ByteBuffer& out) override {
      return encode(in, head, out);
    }
    [[nodiscard]] std::size_t overhead() const override { return 0; }
  };
  CodecRegistry registry;
  ASSERT_TRUE(codecs::register_builtin(registry));
  const CodecFactory make = [](const CodecSetup&) -> Result<std::unique_ptr<Codec>> {
    return std::make_unique<Flip>();
  };
  ASSERT_TRUE(registry.add("flip", make));
  EXPECT_EQ(registry.add("flip", make).error().code(), ErrorCode::kExists);
  EXPECT_EQ(registry.add("No name", make).error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(registry.names(), ElementsAre("checksum", "encrypt", "flip", "neutral", "zstd"));
  auto mixed = CodecChain::make(registry, std::vector<std::string>{"flip", "zstd", "checksum"}, "");
  ASSERT_TRUE(mixed);
  const Bytes message = of(std::string(1000, 'm'));
  const Bytes encoded = copy(*mixed->encode(message, head()));
  EXPECT_EQ(copy(*mixed->decode(encoded, head(), 1000)), message);
}

}  // namespace
}  // namespace mvm::queuevm
