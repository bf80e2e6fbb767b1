#pragma once
// Who calls: tokens from files that their owner alone can read.
//
// A token is 64 hexadecimal digits drawn at random. Its file (docs/formats/soap.md) holds it with the user,
// role and lab it stands for; the server reads every token file of a folder, a client reads its own.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// A token and whom it stands for.
struct Token {
  std::string secret;
  Caller caller;
};

/// Draws a token and writes its file durably, mode 0600. kExists where the file exists already; kInvalid
/// where user, role or lab is none: roles are "admin", "user", "lab", "host"; role "lab" needs a lab.
[[nodiscard]] Result<Token> create_token_file(const std::filesystem::path& path, const Caller& caller);

/// Reads a token file. kRefused where anybody but its owner (us, or root) could read or change it.
[[nodiscard]] Result<Token> read_token_file(const std::filesystem::path& path);

/// The tokens a server accepts. Every method may be called from any thread.
class Identity {
 public:
  Identity();
  ~Identity();
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  /// Accepts the tokens of all files `*.token` in the folder; forgets those of an earlier reading that are
  /// gone. Answers how many there are. A file that others can read is an error (kRefused), not skipped.
  [[nodiscard]] Result<std::size_t> load(const std::filesystem::path& folder);
  /// Accepts one more token, from no file: a lab's, a node's.
  void add(const Token& token);
  /// Draws and accepts a token for this caller.
  [[nodiscard]] Token issue(const Caller& caller);
  /// Forgets every token of a lab.
  void revoke_lab(const std::string& lab);
  /// Forgets one token.
  void revoke(std::string_view secret);

  /// Who this secret stands for; kRefused where it is unknown. Takes the same time for every wrong secret.
  [[nodiscard]] Result<Caller> authenticate(std::string_view secret) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mvm::soap
