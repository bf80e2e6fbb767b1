#pragma once
// Whose plug-ins a kernel runs: Ed25519 signatures of entries, and the public keys that are trusted.

#include <map>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/repository/entry.h"

namespace mvm::repository {

/// Both halves of a key.
struct SigningKey {
  std::string secret;     ///< PKCS #8, PEM
  std::string published;  ///< "ed25519:" and 64 hexadecimal digits, as configurations name it
};

[[nodiscard]] Result<SigningKey> make_signing_key();
/// Reads the secret half; kInvalid where it is no Ed25519 key.
[[nodiscard]] Result<SigningKey> read_signing_key(const std::string& secret);
/// Signs the entry's statement.
[[nodiscard]] Status sign(Entry& entry, const SigningKey& key);

/// Which entries are believed. Constant after it was made.
class Trust {
 public:
  /// `keys` as SigningKey::published; kInvalid. Where `allow_unsigned`, an entry without signature is
  /// believed, too; one with a wrong signature never is.
  [[nodiscard]] static Result<Trust> make(const std::vector<std::string>& keys, bool allow_unsigned);
  /// kRefused: nobody signed it, or somebody unknown; kCorrupt: the signature is not that of the statement.
  [[nodiscard]] Status check(const Entry& entry) const;
  [[nodiscard]] bool allows_unsigned() const { return allow_unsigned_; }

 private:
  std::map<std::string, std::string> keys_;  // raw, by id
  bool allow_unsigned_ = false;
};

}  // namespace mvm::repository
