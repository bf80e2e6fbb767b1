#pragma once
// Certificates between hosts: the first start makes an authority, which then signs each host's certificate.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::soap {

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
