// The one place of this layer that touches OpenSSL.
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "link_frames.h"
#include "mvm/base/assert.h"

namespace mvm::queuevm::link {

std::array<std::byte, kProofSize> proof_of(std::string_view secret, bool dialler,
                                           std::string_view dialler_hello, std::string_view acceptor_hello) {
  std::string text = dialler ? "MVM link proof 1 D" : "MVM link proof 1 A";
  text += static_cast<char>(dialler_hello.size() & 0xff);
  text += static_cast<char>(dialler_hello.size() >> 8);
  text += dialler_hello;
  text += acceptor_hello;
  std::array<std::byte, kProofSize> proof{};
  unsigned size = 0;
  const unsigned char* made = ::HMAC(::EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                                     reinterpret_cast<const unsigned char*>(text.data()), text.size(),
                                     reinterpret_cast<unsigned char*>(proof.data()), &size);
  MVM_ASSERT(made != nullptr && size == kProofSize);
  return proof;
}

bool same_proof(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void fill_random(std::span<std::byte> bytes) {
  MVM_ASSERT(::RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) ==
             1);
}

}  // namespace mvm::queuevm::link
