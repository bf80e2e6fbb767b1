#include "mvm/catalog/assertion.h"

#include <openssl/evp.h>

#include "mvm/base/assert.h"
#include "mvm/registry/packing.h"

namespace mvm::catalog {
namespace {

constexpr std::string_view kPartyPrefix = "ed25519:";
constexpr std::string_view kPurpose = "mvm catalog assertion 1";

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using KeyHandle = std::unique_ptr<EVP_PKEY, FreeKey>;
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

const unsigned char* raw(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

/// What is signed: a purpose, so that no other signature of the key means anything here, and all fields.
std::string signed_bytes(const Assertion& a) {
  registry::PackWriter out;
  out.bytes(kPurpose).bytes(a.uri).bytes(a.name).bytes(a.value).bytes(a.type).bytes(a.party);
  out.number(a.serial).number(a.sequence).number(static_cast<std::uint64_t>(a.date_ms)).number(a.ttl_ms);
  out.number(static_cast<std::uint64_t>(a.expires_ms)).flag(a.withdrawn);
  return out.take();
}

bool verify(const Assertion& assertion) {
  const KeyHandle key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(assertion.party), kPartySize));
  const Context context(EVP_MD_CTX_new());
  if (!key || !context || EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1)
    return false;
  const std::string bytes = signed_bytes(assertion);
  return EVP_DigestVerify(context.get(), raw(assertion.signature), assertion.signature.size(), raw(bytes),
                          bytes.size()) == 1;
}

bool printable(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) == 0x7f) return false;
  return true;
}

Status invalid(const char* what) { return Error(ErrorCode::kInvalid, std::string("an assertion: ") + what); }

}  // namespace

std::string party_text(std::string_view party) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::string text(kPartyPrefix);
  for (const char byte : party) {
    text += kHex[static_cast<unsigned char>(byte) >> 4U];
    text += kHex[static_cast<unsigned char>(byte) & 15U];
  }
  return text;
}

Result<std::string> party_of(std::string_view text) {
  const Error wrong(ErrorCode::kInvalid, "party: found \"" + std::string(text.substr(0, 100)) +
                                             "\", expected ed25519: and 64 hexadecimal digits");
  if (!text.starts_with(kPartyPrefix) || text.size() != kPartyPrefix.size() + 2 * kPartySize) return wrong;
  text.remove_prefix(kPartyPrefix.size());
  std::string party;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    unsigned byte = 0;
    for (const char digit : text.substr(i, 2)) {
      const bool number = digit >= '0' && digit <= '9';
      if (!number && !(digit >= 'a' && digit <= 'f')) return wrong;
      byte = byte * 16 + static_cast<unsigned>(number ? digit - '0' : digit - 'a' + 10);
    }
    party.push_back(static_cast<char>(byte));
  }
  return party;
}

Status check(const Assertion& assertion) {
  if (assertion.uri.empty() || assertion.uri.size() > kMaxUri || !printable(assertion.uri))
    return invalid("its resource is a URI of 1 to 2048 bytes");
  if (assertion.uri.find(':') == std::string::npos) return invalid("its resource is a URI: SCHEME:REST");
  if (assertion.name.empty() || assertion.name.size() > kMaxName ||
      assertion.name.find('\0') != std::string::npos)
    return invalid("its name has 1 to 255 bytes and no NUL");
  if (assertion.value.size() > kMaxValue) return invalid("its value has at most 64 KiB");
  if (assertion.type.size() > kMaxType || !printable(assertion.type))
    return invalid("its type has at most 127 bytes");
  if (assertion.withdrawn && !assertion.value.empty()) return invalid("what is withdrawn has no value");
  if (assertion.party.size() != kPartySize || assertion.signature.size() != kSignatureSize)
    return invalid("its party and signature are of Ed25519");
  if (assertion.serial == 0 || assertion.sequence < assertion.serial)
    return invalid("its serial counts from 1, and its sequence at least as far");
  if (assertion.date_ms < 0 || assertion.expires_ms < assertion.date_ms ||
      assertion.expires_ms - assertion.date_ms > kMaxLifeMs)
    return invalid("it expires within 366 days of its date");
  if (!verify(assertion)) return invalid("it is not signed by its party");
  return ok();
}

struct Key::State {
  KeyHandle handle;
  std::string party;
  std::string secret;
};

Key::Key(std::unique_ptr<State> state) : state_(std::move(state)) {}
Key::Key(Key&&) noexcept = default;
Key& Key::operator=(Key&&) noexcept = default;
Key::~Key() = default;

Result<Key> Key::from(std::string_view secret) {
  if (secret.size() != kPartySize) return Error(ErrorCode::kInvalid, "a secret key has 32 bytes");
  auto state = std::make_unique<State>();
  state->handle.reset(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw(secret), secret.size()));
  if (!state->handle) return Error(ErrorCode::kInvalid, "no secret key of Ed25519");
  state->secret = std::string(secret);
  state->party.resize(kPartySize);
  std::size_t size = kPartySize;
  MVM_ASSERT(EVP_PKEY_get_raw_public_key(state->handle.get(),
                                         reinterpret_cast<unsigned char*>(state->party.data()), &size) == 1);
  return Key(std::move(state));
}

Key Key::make() {
  EVP_PKEY* raw_key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  const KeyHandle made(raw_key);
  MVM_ASSERT(made != nullptr);
  std::string secret(kPartySize, '\0');
  std::size_t size = secret.size();
  MVM_ASSERT(
      EVP_PKEY_get_raw_private_key(made.get(), reinterpret_cast<unsigned char*>(secret.data()), &size) == 1);
  auto key = from(secret);
  MVM_ASSERT(key.has_value());
  return std::move(*key);
}

const std::string& Key::party() const { return state_->party; }
const std::string& Key::secret() const { return state_->secret; }

void Key::sign(Assertion& assertion) const {
  assertion.party = state_->party;
  const std::string bytes = signed_bytes(assertion);
  assertion.signature.resize(kSignatureSize);
  std::size_t size = kSignatureSize;
  const Context context(EVP_MD_CTX_new());
  MVM_ASSERT(context &&
             EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, state_->handle.get()) == 1);
  MVM_ASSERT(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(assertion.signature.data()),
                            &size, raw(bytes), bytes.size()) == 1);
}

}  // namespace mvm::catalog
