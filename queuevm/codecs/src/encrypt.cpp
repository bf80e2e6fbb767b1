// encrypt: AES-256-GCM or ChaCha20-Poly1305 under a key of the link's own. Every encoder draws a salt and
// derives a key of its own from the link's (HMAC-SHA256), under which it counts its nonces: a message that is
// sent again, by this proxy or by one that replaces it, never meets a nonce that was used before.
//
//   16 bytes salt   u64 count, big-endian   the encrypted message   16 bytes tag
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "codecs.h"
#include "mvm/base/assert.h"

namespace mvm::queuevm::codecs {
namespace {

constexpr std::size_t kSalt = 16;
constexpr std::size_t kCount = 8;
constexpr std::size_t kTag = 16;
constexpr std::size_t kNonce = 12;
constexpr std::size_t kHead = kSalt + kCount;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { ::EVP_CIPHER_CTX_free(context); }
};
struct FreeCipher {
  void operator()(EVP_CIPHER* cipher) const { ::EVP_CIPHER_free(cipher); }
};

const unsigned char* raw(const std::byte* bytes) { return reinterpret_cast<const unsigned char*>(bytes); }
unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

/// One direction: a cipher that is keyed by the last salt it saw.
class Direction {
 public:
  Direction(const EVP_CIPHER* cipher, std::string_view key, bool encrypts)
      : context_(::EVP_CIPHER_CTX_new()), encrypts_(encrypts) {
    std::copy(key.begin(), key.end(), key_.begin());
    MVM_ASSERT(context_ &&
               ::EVP_CipherInit_ex(context_.get(), cipher, nullptr, nullptr, nullptr, encrypts ? 1 : 0) == 1);
  }
  ~Direction() { ::OPENSSL_cleanse(key_.data(), key_.size()); }
  Direction(const Direction&) = delete;
  Direction& operator=(const Direction&) = delete;

  void use_salt(std::span<const std::byte> salt) {
    if (salted_ && std::equal(salt.begin(), salt.end(), salt_.begin())) return;
    std::copy(salt.begin(), salt.end(), salt_.begin());
    std::string text = "MVM link codec 1";
    text.append(reinterpret_cast<const char*>(salt.data()), salt.size());
    std::array<unsigned char, kCodecKeySize> derived{};
    unsigned size = 0;
    MVM_ASSERT(::HMAC(::EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
                      reinterpret_cast<const unsigned char*>(text.data()), text.size(), derived.data(),
                      &size) != nullptr &&
               size == derived.size());
    MVM_ASSERT(::EVP_CipherInit_ex(context_.get(), nullptr, nullptr, derived.data(), nullptr, -1) == 1);
    ::OPENSSL_cleanse(derived.data(), derived.size());
    salted_ = true;
  }

  /// Moves `in` to `out`, of the same size. `tag`: made, or what is to be found. False: not authentic.
  bool run(std::span<const std::byte> count, const MessageHead& head, std::span<const std::byte> in,
           std::byte* out, std::byte* tag) {
    std::array<unsigned char, kNonce> nonce{};
    std::memcpy(nonce.data() + kNonce - kCount, count.data(), kCount);
    int moved = 0;
    unsigned char rest[EVP_MAX_BLOCK_LENGTH];
    EVP_CIPHER_CTX* const context = context_.get();
    if (::EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, nonce.data(), -1) != 1 ||
        ::EVP_CipherUpdate(context, nullptr, &moved, raw(head.bytes.data()),
                           static_cast<int>(head.bytes.size())) != 1 ||
        (!encrypts_ && ::EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTag, tag) != 1)) {
      return false;
    }
    if (!in.empty() &&
        ::EVP_CipherUpdate(context, raw(out), &moved, raw(in.data()), static_cast<int>(in.size())) != 1) {
      return false;
    }
    return ::EVP_CipherFinal_ex(context, rest, &moved) == 1 &&
           (!encrypts_ || ::EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTag, tag) == 1);
  }

 private:
  std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context_;
  bool encrypts_;
  bool salted_ = false;
  std::array<std::byte, kSalt> salt_{};
  std::array<char, kCodecKeySize> key_{};
};

class Encrypt final : public Codec {
 public:
  Encrypt(const EVP_CIPHER* cipher, std::string_view key)
      : sealing_(cipher, key, true), opening_(cipher, key, false) {
    MVM_ASSERT(::RAND_bytes(raw(salt_.data()), kSalt) == 1);
    sealing_.use_salt(salt_);
  }

  Status encode(std::span<const std::byte> in, const MessageHead& head, ByteBuffer& out) override {
    if (in.size() > INT_MAX) return Error(ErrorCode::kInvalid, "encrypt: a message beyond 2 GiB");
    const auto room = out.reset(kHead + in.size() + kTag);
    std::copy(salt_.begin(), salt_.end(), room.begin());
    const std::uint64_t number = count_++;
    for (std::size_t i = 0; i < kCount; ++i)
      room[kSalt + i] = static_cast<std::byte>(number >> (8 * (kCount - 1 - i)));
    if (!sealing_.run(room.subspan(kSalt, kCount), head, in, room.data() + kHead,
                      room.data() + kHead + in.size()))
      return Error(ErrorCode::kFailed, "encrypt: OpenSSL refuses");
    return ok();
  }

  Status decode(std::span<const std::byte> in, const MessageHead& head, std::size_t most,
                ByteBuffer& out) override {
    if (in.size() < kHead + kTag) return corrupt("encrypt: too short");
    const std::size_t size = in.size() - kHead - kTag;
    if (size > most || size > INT_MAX) return corrupt("encrypt: too long");
    opening_.use_salt(in.first(kSalt));
    std::array<std::byte, kTag> tag{};
    std::copy_n(in.end() - kTag, kTag, tag.begin());
    const auto room = out.reset(size);
    if (!opening_.run(in.subspan(kSalt, kCount), head, in.subspan(kHead, size), room.data(), tag.data()))
      return corrupt("encrypt: not what the other end sent");
    return ok();
  }
  [[nodiscard]] std::size_t overhead() const override { return kHead + kTag; }

 private:
  Direction sealing_;
  Direction opening_;
  std::array<std::byte, kSalt> salt_{};
  std::uint64_t count_ = 0;
};

}  // namespace

Result<std::unique_ptr<Codec>> make_encrypt(const CodecSetup& setup) {
  const char* name = "";
  if (setup.option.empty() || setup.option == "aes-256-gcm") name = "AES-256-GCM";
  if (setup.option == "chacha20-poly1305") name = "ChaCha20-Poly1305";
  if (*name == '\0') return no_such_option(setup.option, "aes-256-gcm or chacha20-poly1305");
  if (setup.key.size() != kCodecKeySize)
    return Error(ErrorCode::kInvalid, "the link came without a key of 32 bytes");
  const std::unique_ptr<EVP_CIPHER, FreeCipher> cipher(::EVP_CIPHER_fetch(nullptr, name, nullptr));
  if (!cipher) return Error(ErrorCode::kUnsupported, "OpenSSL here does not have it");
  return std::unique_ptr<Codec>(std::make_unique<Encrypt>(cipher.get(), setup.key));
}

}  // namespace mvm::queuevm::codecs
