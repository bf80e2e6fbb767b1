#pragma once
// This machine as a host of another machine's broker: joining it, what is kept of that, leaving.
// docs/formats/join.md.

#include <optional>

#include "config.h"
#include "mvm/base/result.h"
#include "mvm/soap/certificate.h"

namespace mvm::programs {

/// STATE/host: its certificate and whose host it is.
struct Membership {
  std::string broker;   ///< "https://ADDRESS:PORT", as it was given
  std::string name;     ///< of this host
  std::string address;  ///< where the broker reaches it
  std::uint16_t port = 0;
  std::string authority;  ///< fingerprint of the broker's authority
  std::string token;      ///< SHA-256 of the token it joined with
  soap::TlsFiles tls;
};

/// What is on record; none where this state folder never joined.
[[nodiscard]] Result<std::optional<Membership>> read_membership(const std::filesystem::path& state);

/// Carries out --join and --token. Once more with the same token is no error and asks nobody. Of a join that
/// fails nothing stays. kInvalid, kRefused, kExists, kUnavailable: see soap::join_broker(); kConflict where
/// the folder belongs to a broker, or to a host of another broker.
[[nodiscard]] Status join(const DaemonConfig& config);

/// Ends the membership on this side: the next daemon here is host and broker of its own again. kConflict
/// while anything of a lab is here.
[[nodiscard]] Status leave(const DaemonConfig& config);

}  // namespace mvm::programs
