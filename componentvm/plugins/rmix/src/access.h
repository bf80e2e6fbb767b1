#pragma once
// Who may call a kernel over RMIX.

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/rmix/provider.h"

namespace mvm::plugins {

/// Callers are known by the user of their process, by a token, or by a certificate that was verified.
/// Constant.
class Access {
 public:
  /// `users`: user ids besides root and our own, apart by commas. `tokens`: a file that we alone may read,
  /// one token a line; where it is missing it is made, with one that was drawn. kInvalid, kRefused.
  [[nodiscard]] static Result<Access> read(const std::string& users, const std::filesystem::path& tokens);
  /// kRefused.
  [[nodiscard]] Status known(const rmix::Caller& caller) const;
  /// Shown by ourselves.
  [[nodiscard]] const std::string& own_token() const { return tokens_.front(); }

 private:
  std::set<std::uint32_t> users_;
  std::vector<std::string> tokens_;  // one at least
};

}  // namespace mvm::plugins
