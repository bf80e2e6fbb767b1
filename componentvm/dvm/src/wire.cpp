#include "mvm/dvm/wire.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>

#include <array>

#include "mvm/base/assert.h"
#include "mvm/base/json.h"
#include "mvm/dvm/address.h"

namespace mvm::dvm {
namespace {

constexpr std::size_t kTag = 16;  // bytes of it that travel
constexpr std::size_t kDigest = 32;
constexpr std::size_t kPiece = 512 << 10;
constexpr std::size_t kLongestDatagram = 512;

std::string hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<unsigned char>(c) >> 4U];
    text += kDigits[static_cast<unsigned char>(c) & 15U];
  }
  return text;
}

std::string tag(std::string_view key, std::uint64_t count, std::string_view text) {
  return Tagger(key).tag(count, text);
}

}  // namespace

/// HMAC with SHA-256: the library keeps what it made of the key, so that a message costs no new context.
struct Tagger::Context {
  struct Free {
    void operator()(EVP_MAC* used) const { ::EVP_MAC_free(used); }
    void operator()(EVP_MAC_CTX* used) const { ::EVP_MAC_CTX_free(used); }
  };
  std::unique_ptr<EVP_MAC, Free> kind{::EVP_MAC_fetch(nullptr, "HMAC", nullptr)};
  std::unique_ptr<EVP_MAC_CTX, Free> mac{::EVP_MAC_CTX_new(kind.get())};
};

Tagger::Tagger(std::string_view key) : context_(std::make_unique<Context>()) {
  std::string digest = "SHA256";
  const std::array<OSSL_PARAM, 2> parameters{
      ::OSSL_PARAM_construct_utf8_string("digest", digest.data(), digest.size()),
      ::OSSL_PARAM_construct_end()};
  MVM_ASSERT(context_->mac != nullptr &&
             ::EVP_MAC_init(context_->mac.get(), reinterpret_cast<const unsigned char*>(key.data()),
                            key.size(), parameters.data()) == 1);
}

Tagger::~Tagger() = default;
Tagger::Tagger(Tagger&&) noexcept = default;
Tagger& Tagger::operator=(Tagger&&) noexcept = default;

std::string Tagger::tag(std::uint64_t count, std::string_view text) const {
  std::array<unsigned char, 8> place{};
  for (std::size_t i = 0; i < place.size(); ++i) place[i] = static_cast<unsigned char>(count >> (8 * i));
  std::array<unsigned char, kDigest> out{};
  std::size_t size = 0;
  EVP_MAC_CTX* mac = context_->mac.get();
  const bool made =
      ::EVP_MAC_init(mac, nullptr, 0, nullptr) == 1 &&
      ::EVP_MAC_update(mac, place.data(), place.size()) == 1 &&
      ::EVP_MAC_update(mac, reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1 &&
      ::EVP_MAC_final(mac, out.data(), &size, out.size()) == 1;
  MVM_ASSERT(made && size == kDigest);
  return hex({reinterpret_cast<const char*>(out.data()), kTag});
}

std::string text_of(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string authenticate(std::string_view key, std::string_view text) {
  std::array<unsigned char, 32> out{};
  unsigned size = out.size();
  const auto* made =
      ::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data(), &size);
  MVM_ASSERT(made != nullptr && size == out.size());
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}

bool same_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string Introduction::proof(std::string_view secret, bool of_caller) const {
  // Names have no newline, and nonces are digits: no two introductions make the same text.
  return hex(authenticate(secret, std::string("mvm-dvm/1 proof\n") + (of_caller ? "caller" : "called") +
                                      "\n" + vm + "\n" + caller + "\n" + called + "\n" + caller_nonce + "\n" +
                                      called_nonce));
}

std::string Introduction::key(std::string_view secret, bool of_caller) const {
  return authenticate(secret, std::string("mvm-dvm/1 key\n") + (of_caller ? "caller" : "called") + "\n" + vm +
                                  "\n" + caller + "\n" + called + "\n" + caller_nonce + "\n" + called_nonce);
}

std::string Sealer::seal(std::string_view text) {
  MVM_ASSERT(text.size() <= kLongestMessage);
  std::string frames;
  do {
    const std::string_view piece = text.substr(0, kPiece);
    text.remove_prefix(piece.size());
    const bool more = !text.empty();
    frames += encode_frame_text(R"({"mac":")" + tagger_.tag(2 * count_++ + (more ? 1 : 0), piece) +
                                    (more ? R"(","more":true})" : R"("})"),
                                piece);
  } while (!text.empty());
  return frames;
}

Result<std::optional<nlohmann::json>> Opener::open(const Frame& frame) {
  const bool more = flag_or(frame.head, "more");
  if (!same_secret(text_or(frame.head, "mac"), tagger_.tag(2 * count_++ + (more ? 1 : 0), frame.blob)))
    return Error(ErrorCode::kRefused, "a message between kernels does not carry the machine's seal");
  if (begun_.size() + frame.blob.size() > kLongestMessage)
    return Error(ErrorCode::kExhausted, "a message between kernels is too long");
  if (more || !begun_.empty()) begun_ += frame.blob;
  if (more) return std::optional<nlohmann::json>();
  const std::string whole = std::move(begun_);
  begun_.clear();
  MVM_ASSIGN(nlohmann::json message, parse_json(whole.empty() ? std::string_view(frame.blob) : whole));
  if (!message.is_object()) return Error(ErrorCode::kCorrupt, "message between kernels: expected an object");
  return std::optional<nlohmann::json>(std::move(message));
}

std::string join_datagram(const JoinCall& call, std::string_view secret) {
  const std::string text =
      text_of({{"join", kProtocol}, {"vm", call.vm}, {"kernel", call.kernel}, {"address", call.address}});
  return encode_frame({{"mac", tag(secret, 0, "join\n" + text)}}, text);
}

Result<JoinCall> read_join_datagram(std::string_view bytes, std::string_view secret) {
  if (bytes.size() > kLongestDatagram) return Error(ErrorCode::kCorrupt, "join: too long");
  FrameDecoder decoder;
  decoder.feed(bytes);
  MVM_ASSIGN(const std::optional<Frame> frame, decoder.next());
  if (!frame || !same_secret(text_or(frame->head, "mac"), tag(secret, 0, "join\n" + frame->blob)))
    return Error(ErrorCode::kRefused, "join: not from a kernel that has the machine's secret");
  MVM_ASSIGN(const nlohmann::json message, parse_json(frame->blob));
  if (number_or(message, "join") != kProtocol)
    return Error(ErrorCode::kUnsupported, "join: unknown protocol");
  JoinCall call{text_or(message, "vm"), text_or(message, "kernel"), text_or(message, "address")};
  if (!valid_name(call.vm, kLongestVm) || !valid_name(call.kernel, kLongestKernel))
    return Error(ErrorCode::kInvalid, "join: names are not names");
  MVM_ASSIGN([[maybe_unused]] const Endpoint endpoint, Endpoint::read(call.address));
  return call;
}

}  // namespace mvm::dvm
