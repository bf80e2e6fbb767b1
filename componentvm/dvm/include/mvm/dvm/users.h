#pragma once
// Who may ask a kernel for what. [Harness 000, §2.1: registerUser]

#include <filesystem>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm::dvm {

/// What a user may do: a viewer looks, an operator commands, an administrator changes the machine too.
enum class UserRole { kViewer, kOperator, kAdministrator };

[[nodiscard]] std::string_view to_string(UserRole role);
[[nodiscard]] Result<UserRole> user_role_from(std::string_view text);

/// Who has registered.
struct SecurityContext {
  std::string user;
  UserRole role = UserRole::kViewer;
};

/// A file of users, one a line: "NAME ROLE SALT HASH", the hash by scrypt (N 16384, r 8, p 1, 32 bytes).
/// Refused where anybody but its owner, who must be us, may read it. Hashing takes tens of milliseconds: call
/// it where that does not matter.
class Users {
 public:
  explicit Users(std::filesystem::path file) : file_(std::move(file)) {}
  [[nodiscard]] bool exist() const;
  /// kRefused: unknown, or the wrong password; the two are not told apart, nor by the time they take.
  [[nodiscard]] Result<SecurityContext> check(const std::string& name, std::string_view password) const;
  /// Adds a user or replaces it.
  [[nodiscard]] Status add(const std::string& name, UserRole role, std::string_view password) const;
  [[nodiscard]] Status remove(const std::string& name) const;

 private:
  [[nodiscard]] Result<std::string> read() const;
  std::filesystem::path file_;
};

}  // namespace mvm::dvm
