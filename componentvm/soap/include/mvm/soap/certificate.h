#pragma once
// Certificates between hosts: the first start makes an authority, which then signs each host's certificate.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::soap {

/// Common name of the broker's certificate; no host may be called so.
inline constexpr std::string_view kBrokerName = "broker";

/// Where one end of a TLS connection finds its certificate, key and the authority it trusts (PEM).
struct TlsFiles {
  std::filesystem::path certificate;
  std::filesystem::path key;  ///< mode 0600
  std::filesystem::path ca;
};

/// A certificate and its key, both PEM.
struct Certificate {
  std::string certificate;
  std::string key;
};

/// A new private key, PEM.
[[nodiscard]] Result<std::string> make_private_key();
/// Asks an authority to certify this key, which stays where it is (PKCS #10, PEM).
[[nodiscard]] Result<std::string> make_certificate_request(const std::string& key, const std::string& name);
/// SHA-256 of the public key that a request is about, hexadecimal. kInvalid where it is no request, is not
/// signed with its own key, or the key is not one that make_private_key() makes.
[[nodiscard]] Result<std::string> key_of_request(const std::string& request);
/// SHA-256 of a certificate (PEM), hexadecimal: how people and join tokens name an authority.
[[nodiscard]] Result<std::string> fingerprint_of(const std::string& certificate);

/// A certificate authority in a folder: `ca.crt` (0644) and `ca.key` (0600). Thread-safe.
class CertificateAuthority {
 public:
  /// Loads the authority, or makes it on the first start. kRefused where others can read its key.
  [[nodiscard]] static Result<CertificateAuthority> open(const std::filesystem::path& folder);
  CertificateAuthority(CertificateAuthority&&) noexcept;
  CertificateAuthority& operator=(CertificateAuthority&&) noexcept;
  ~CertificateAuthority();

  /// Signs a new key for `name` (a host's name, [A-Za-z0-9.-]{1,63}), valid as server and as client for the
  /// given DNS names and IP addresses, for ten years, under a serial number drawn at random.
  [[nodiscard]] Result<Certificate> issue(const std::string& name,
                                          const std::vector<std::string>& alternative_names) const;
  /// As issue(), for a key that its owner keeps: the certificate, PEM. See key_of_request() for errors.
  [[nodiscard]] Result<std::string> certify(const std::string& request, const std::string& name,
                                            const std::vector<std::string>& alternative_names) const;
  /// Signs a new key for one memory domain's links within one lab: the lab is its organisational unit, the
  /// domain ("host:NAME") its common name. It opens nothing else. Valid for a year.
  [[nodiscard]] Result<Certificate> issue_for_links(const std::string& lab, const std::string& domain) const;
  /// issue() into `<folder>/NAME.crt` and `<folder>/NAME.key` (0600); keeps those there that are still good
  /// for all these names.
  [[nodiscard]] Result<TlsFiles> ensure(const std::filesystem::path& folder, const std::string& name,
                                        const std::vector<std::string>& alternative_names) const;

  /// The authority's own certificate, PEM: what peers trust.
  [[nodiscard]] const std::string& certificate() const;
  [[nodiscard]] const std::filesystem::path& file() const;

 private:
  struct State;
  explicit CertificateAuthority(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::soap
