#pragma once
// How another machine becomes a host of a broker: with the broker's address and a join token, nothing else.
// docs/formats/join.md.

#include <chrono>
#include <string>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// What a join token holds: it proves the machine to the broker and the broker to the machine.
struct JoinToken {
  std::string secret;     ///< 32 hexadecimal digits, drawn by the broker, known to nobody else
  std::string authority;  ///< fingerprint_of() the broker's authority
};

/// "mvm1-SECRET-AUTHORITY".
[[nodiscard]] std::string to_text(const JoinToken& token);
/// kInvalid where it is none; the message does not repeat it.
[[nodiscard]] Result<JoinToken> parse_join_token(const std::string& text);

/// Whom to join, as what.
struct JoinOptions {
  std::string broker;  ///< "https://ADDRESS:PORT"
  JoinToken token;
  std::string name;     ///< of the new host
  std::string address;  ///< where the broker reaches it: "ADDRESS:PORT"
  std::string key;      ///< its private key, PEM; stays here
  std::chrono::milliseconds timeout{20'000};
};

/// Joins: the broker's authority is compared with the token's before anything is told to whoever answers.
/// kRefused where it is another's, or where the broker does not take the token; kExists where the name is
/// taken; kUnavailable where nobody answers.
[[nodiscard]] Result<JoinedHost> join_broker(const JoinOptions& options);

}  // namespace mvm::soap
