#include "mvm/repository/trust.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <array>
#include <memory>

#include "mvm/base/digest.h"

namespace mvm::repository {
namespace {

constexpr std::string_view kScheme = "ed25519:";
constexpr std::size_t kKeySize = 32;
constexpr std::size_t kSignatureSize = 64;

template <auto free_it>
struct Free {
  template <class T>
  void operator()(T* owned) const {
    free_it(owned);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Context = std::unique_ptr<EVP_MD_CTX, Free<EVP_MD_CTX_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;

const unsigned char* bytes_of(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

/// Empty where it is not that many bytes in lower-case hexadecimal digits.
std::string from_hex(std::string_view text, std::size_t size) {
  if (text.size() != 2 * size) return {};
  const auto value = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = value(text[i]);
    const int low = value(text[i + 1]);
    if (high < 0 || low < 0) return {};
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

std::string id_of(const std::string& raw) { return sha256_hex(raw).substr(0, 16); }

Error failed(const char* what) { return {ErrorCode::kFailed, std::string("OpenSSL could not ") + what}; }

Result<std::string> raw_of(EVP_PKEY* key) {
  std::array<unsigned char, kKeySize> raw{};
  std::size_t size = raw.size();
  if (EVP_PKEY_get_raw_public_key(key, raw.data(), &size) != 1 || size != raw.size())
    return failed("read a public key");
  return std::string(raw.begin(), raw.end());
}

Result<Key> secret_from(const std::string& text) {
  const Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(std::min<std::size_t>(text.size(), 1 << 16))));
  // A key with a pass phrase is none: never ask on a terminal.
  Key key(bio ? PEM_read_bio_PrivateKey(
                    bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr)
              : nullptr);
  if (!key || EVP_PKEY_id(key.get()) != EVP_PKEY_ED25519)
    return Error(
        ErrorCode::kInvalid,
        "it holds no private Ed25519 key (PEM, without pass phrase); make one with: mvm plugin keygen");
  return key;
}

}  // namespace

Result<SigningKey> make_signing_key() {
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!key || !bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return failed("make a key");
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  MVM_ASSIGN(const std::string raw, raw_of(key.get()));
  return SigningKey{std::string(text, static_cast<std::size_t>(size)), std::string(kScheme) + to_hex(raw)};
}

Result<SigningKey> read_signing_key(const std::string& secret) {
  MVM_ASSIGN(const Key key, secret_from(secret));
  MVM_ASSIGN(const std::string raw, raw_of(key.get()));
  return SigningKey{secret, std::string(kScheme) + to_hex(raw)};
}

Status sign(Entry& entry, const SigningKey& signing) {
  MVM_ASSIGN(const Key key, secret_from(signing.secret));
  MVM_ASSIGN(const std::string raw, raw_of(key.get()));
  const std::string statement = entry.statement();
  std::string signature(kSignatureSize, '\0');
  std::size_t size = signature.size();
  const Context context(EVP_MD_CTX_new());
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     bytes_of(statement), statement.size()) != 1)
    return failed("sign");
  entry.key = id_of(raw);
  entry.signature = to_hex(signature);
  return ok();
}

Result<Trust> Trust::make(const std::vector<std::string>& keys, bool allow_unsigned) {
  Trust trust;
  trust.allow_unsigned_ = allow_unsigned;
  for (const std::string& text : keys) {
    const std::string raw =
        text.starts_with(kScheme) ? from_hex(std::string_view(text).substr(kScheme.size()), kKeySize) : "";
    if (raw.empty())
      return Error(ErrorCode::kInvalid, "trusted key: found \"" + text.substr(0, 80) +
                                            "\", expected ed25519: and 64 hexadecimal digits");
    trust.keys_[id_of(raw)] = raw;
  }
  return trust;
}

Status Trust::check(const Entry& entry) const {
  const std::string what = entry.plugin + " for " + entry.architecture;
  if (entry.key.empty()) {
    if (allow_unsigned_) return ok();
    return Error(ErrorCode::kRefused, what + " is not signed, and this kernel loads signed plug-ins only");
  }
  const auto found = keys_.find(entry.key);
  if (found == keys_.end())
    return Error(ErrorCode::kRefused,
                 what + " is signed by key " + entry.key + ", which is not trusted here");
  const std::string signature = from_hex(entry.signature, kSignatureSize);
  const std::string statement = entry.statement();
  const Key key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(found->second), kKeySize));
  const Context context(EVP_MD_CTX_new());
  if (signature.size() == kSignatureSize && key && context &&
      EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(statement),
                       statement.size()) == 1)
    return ok();
  return Error(ErrorCode::kCorrupt, what + ": the signature is not that of key " + entry.key);
}

}  // namespace mvm::repository
