#pragma once
// What the Resource Catalog holds: assertions of parties about resources [Harness 001, §6].
// docs/formats/catalog.md.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm::catalog {

inline constexpr std::size_t kMaxUri = 2048;
inline constexpr std::size_t kMaxName = 255;  ///< of a characteristic
inline constexpr std::size_t kMaxType = 127;
inline constexpr std::size_t kMaxValue = 64U << 10U;
inline constexpr std::size_t kPartySize = 32;  ///< bytes of a party: its Ed25519 public key
inline constexpr std::size_t kSignatureSize = 64;
inline constexpr std::int64_t kMaxLifeMs = std::int64_t{366} * 24 * 3600 * 1000;  ///< from date to expiry
inline constexpr std::int64_t kMaxAheadMs =
    std::int64_t{5} * 60 * 1000;  ///< a date may be ahead of a server's

/// One party's word about one characteristic of one resource.
struct Assertion {
  std::string uri;              ///< the resource; only a name
  std::string name;             ///< the characteristic
  std::string value;            ///< octets
  std::string type;             ///< how to show the value: "text/plain"
  std::string party;            ///< who says so: the bytes of its key
  std::uint64_t serial = 0;     ///< how often the party has changed this characteristic, from 1
  std::uint64_t sequence = 0;   ///< counts all that the party says, from 1: the order of its updates
  std::int64_t date_ms = 0;     ///< when it was made
  std::uint64_t ttl_ms = 0;     ///< how long a client may keep it without asking again
  std::int64_t expires_ms = 0;  ///< when it no longer holds
  bool withdrawn = false;       ///< the party says no more about it; the value is empty
  std::string signature;        ///< of all that, by the party

  bool operator==(const Assertion&) const = default;
};

/// "ed25519:" and 64 hexadecimal digits.
[[nodiscard]] std::string party_text(std::string_view party);
/// kInvalid.
[[nodiscard]] Result<std::string> party_of(std::string_view text);

/// kInvalid: a limit is broken, or it is not signed by its party. Needs no clock.
[[nodiscard]] Status check(const Assertion& assertion);

/// A party's secret key.
class Key {
 public:
  [[nodiscard]] static Key make();
  /// From its 32 secret bytes. kInvalid.
  [[nodiscard]] static Result<Key> from(std::string_view secret);
  Key(Key&&) noexcept;
  Key& operator=(Key&&) noexcept;
  ~Key();

  [[nodiscard]] const std::string& party() const;
  [[nodiscard]] const std::string& secret() const;
  /// Fills party and signature.
  void sign(Assertion& assertion) const;

 private:
  struct State;
  explicit Key(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::catalog
