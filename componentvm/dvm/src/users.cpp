#include "mvm/dvm/users.h"

#include <openssl/evp.h>

#include <array>
#include <sstream>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/secret_file.h"
#include "mvm/dvm/address.h"
#include "mvm/dvm/wire.h"

namespace mvm::dvm {
namespace {

constexpr std::size_t kLargestUsers = 1 << 20;
constexpr std::size_t kLongestPassword = 1024;

Result<std::string> hash_of(std::string_view password, std::string_view salt) {
  if (password.size() > kLongestPassword) return Error(ErrorCode::kInvalid, "password: at most 1024 bytes");
  std::array<unsigned char, 32> out{};
  if (::EVP_PBE_scrypt(password.data(), password.size(), reinterpret_cast<const unsigned char*>(salt.data()),
                       salt.size(), 16384, 8, 1, 64 << 20, out.data(), out.size()) != 1)
    return Error(ErrorCode::kFailed, "scrypt failed");
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : out) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

struct Line {
  std::string name, role, salt, hash;
};

bool read_line(std::istringstream& text, Line& line) {
  std::string all;
  while (std::getline(text, all)) {
    std::istringstream words(all);
    line = {};
    if (words >> line.name >> line.role >> line.salt >> line.hash && line.name.front() != '#') return true;
  }
  return false;
}

}  // namespace

std::string_view to_string(UserRole role) {
  return role == UserRole::kAdministrator ? "administrator"
         : role == UserRole::kOperator    ? "operator"
                                          : "viewer";
}

Result<UserRole> user_role_from(std::string_view text) {
  for (const UserRole role : {UserRole::kViewer, UserRole::kOperator, UserRole::kAdministrator})
    if (text == to_string(role)) return role;
  return Error(ErrorCode::kInvalid, "role: found \"" + std::string(text.substr(0, 40)) +
                                        "\", expected viewer, operator or administrator");
}

bool Users::exist() const {
  std::error_code ignored;
  return std::filesystem::exists(file_, ignored);
}

Result<std::string> Users::read() const { return read_private_file(file_, kLargestUsers); }

Result<SecurityContext> Users::check(const std::string& name, std::string_view password) const {
  MVM_ASSIGN(const std::string all, read());
  std::istringstream text(all);
  Line line;
  Line found{.name = {}, .role = "viewer", .salt = std::string(32, '0'), .hash = std::string(64, '-')};
  while (read_line(text, line))
    if (line.name == name) found = line;
  MVM_ASSIGN(const std::string hash, hash_of(password, found.salt));
  const bool right = same_secret(hash, found.hash);
  if (!right || found.name.empty()) return Error(ErrorCode::kRefused, "unknown user, or wrong password");
  MVM_ASSIGN(const UserRole role, user_role_from(found.role));
  return SecurityContext{found.name, role};
}

Status Users::add(const std::string& name, UserRole role, std::string_view password) const {
  if (!valid_name(name, 32))
    return Error(ErrorCode::kInvalid,
                 "user: found \"" + name.substr(0, 40) + "\", expected letters a-z, digits and dashes");
  MVM_TRY(remove(name));
  std::string all;
  if (exist()) {
    MVM_ASSIGN(all, read());
  }
  const std::string salt = random_hex(16);
  MVM_ASSIGN(const std::string hash, hash_of(password, salt));
  all += name + " " + std::string(to_string(role)) + " " + salt + " " + hash + "\n";
  return write_file_durably(file_, all, 0600);
}

Status Users::remove(const std::string& name) const {
  if (!exist()) return ok();
  MVM_ASSIGN(const std::string all, read());
  std::istringstream text(all);
  std::string kept;
  Line line;
  while (read_line(text, line))
    if (line.name != name) kept += line.name + " " + line.role + " " + line.salt + " " + line.hash + "\n";
  return write_file_durably(file_, kept, 0600);
}

}  // namespace mvm::dvm
