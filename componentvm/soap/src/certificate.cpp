#include "mvm/soap/certificate.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/secret_file.h"
#include "openssl_handles.h"

namespace mvm::soap {
namespace {

constexpr long kYear = 365L * 24 * 3600;
constexpr long kBackdate = 24L * 3600;  // clocks of hosts differ
constexpr std::size_t kLargestPem = 1 << 20;
constexpr std::size_t kLargestRequest = 16 << 10;
constexpr PrivateFile kOurKey{.lent = true, .linked = true};

Error openssl_failed(const std::string& what) { return Error(ErrorCode::kIo, what + ": " + openssl_error()); }

UniqueKey make_key() { return UniqueKey(EVP_EC_gen("P-256")); }

bool is_ip(const std::string& text) {
  std::array<unsigned char, 16> bytes;
  return ::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
}

bool is_host_name(const std::string& text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
  });
}

bool add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const UniqueExtension extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_name(X509_NAME* subject, const char* field, const std::string& text) {
  return X509_NAME_add_entry_by_txt(subject, field, MBSTRING_ASC,
                                    reinterpret_cast<const unsigned char*>(text.c_str()), -1, -1, 0) == 1;
}

/// Whom a certificate stands for, and how long.
struct Subject {
  std::string name;
  std::string unit = {};  ///< empty: none
  long seconds = 10 * kYear;
};

/// A certificate with everything but extensions and signature.
UniqueX509 blank(const Subject& who, EVP_PKEY* key, const X509_NAME* issuer) {
  UniqueX509 certificate(X509_new());
  const UniqueBignum serial(BN_new());
  if (!certificate || !serial || BN_rand(serial.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1)
    return nullptr;
  X509* c = certificate.get();
  if (X509_set_version(c, X509_VERSION_3) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(c)) == nullptr ||
      X509_gmtime_adj(X509_getm_notBefore(c), -kBackdate) == nullptr ||
      X509_gmtime_adj(X509_getm_notAfter(c), who.seconds) == nullptr || X509_set_pubkey(c, key) != 1)
    return nullptr;
  X509_NAME* subject = X509_get_subject_name(c);
  if (!add_name(subject, "O", "MVM") || (!who.unit.empty() && !add_name(subject, "OU", who.unit)) ||
      !add_name(subject, "CN", who.name) ||
      X509_set_issuer_name(c, issuer != nullptr ? issuer : subject) != 1)
    return nullptr;
  return certificate;
}

std::string bio_text(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

Result<Certificate> to_pem(X509* certificate, EVP_PKEY* key) {
  const UniqueBio certificate_out(BIO_new(BIO_s_mem()));
  const UniqueBio key_out(BIO_new(BIO_s_mem()));
  if (!certificate_out || !key_out || PEM_write_bio_X509(certificate_out.get(), certificate) != 1 ||
      PEM_write_bio_PrivateKey(key_out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl_failed("write a certificate");
  return Certificate{bio_text(certificate_out.get()), bio_text(key_out.get())};
}

UniqueX509 parse_certificate(const std::string& pem) {
  const UniqueBio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return UniqueX509(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
}

UniqueKey parse_key(const std::string& pem) {
  const UniqueBio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return UniqueKey(PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr));
}

Result<Certificate> make_authority() {
  const UniqueKey key = make_key();
  if (!key) return openssl_failed("make the authority's key");
  const UniqueX509 certificate = blank({.name = "MVM authority"}, key.get(), nullptr);
  X509* c = certificate.get();
  if (!certificate || !add_extension(c, c, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !add_extension(c, c, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(c, c, NID_subject_key_identifier, "hash") || X509_sign(c, key.get(), EVP_sha256()) == 0)
    return openssl_failed("make the authority's certificate");
  return to_pem(c, key.get());
}

/// The request, checked: a key of our kind, and proof that who asks has it.
Result<UniqueRequest> parse_request(const std::string& pem) {
  if (pem.size() > kLargestRequest)
    return Error(ErrorCode::kInvalid, "a certificate request this large is none");
  const UniqueBio in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  UniqueRequest request(PEM_read_bio_X509_REQ(in.get(), nullptr, nullptr, nullptr));
  EVP_PKEY* key = request ? X509_REQ_get0_pubkey(request.get()) : nullptr;
  const bool good = key != nullptr && EVP_PKEY_is_a(key, "EC") == 1 && EVP_PKEY_get_bits(key) == 256 &&
                    X509_REQ_verify(request.get(), key) == 1;
  ERR_clear_error();
  if (!good) return Error(ErrorCode::kInvalid, "found no certificate request for a P-256 key");
  return request;
}

bool covers(X509* certificate, const std::string& name) {
  if (is_ip(name)) return X509_check_ip_asc(certificate, name.c_str(), 0) == 1;
  return X509_check_host(certificate, name.c_str(), name.size(), 0, nullptr) == 1;
}

}  // namespace

Result<std::string> make_private_key() {
  const UniqueKey key = make_key();
  const UniqueBio out(BIO_new(BIO_s_mem()));
  if (!key || !out ||
      PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl_failed("make a key");
  return bio_text(out.get());
}

Result<std::string> make_certificate_request(const std::string& key, const std::string& name) {
  const UniqueKey own = parse_key(key);
  const UniqueRequest request(X509_REQ_new());
  const UniqueBio out(BIO_new(BIO_s_mem()));
  if (!own || !request || !out || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
      !add_name(X509_REQ_get_subject_name(request.get()), "CN", name) ||
      X509_REQ_set_pubkey(request.get(), own.get()) != 1 ||
      X509_REQ_sign(request.get(), own.get(), EVP_sha256()) == 0 ||
      PEM_write_bio_X509_REQ(out.get(), request.get()) != 1)
    return openssl_failed("make a certificate request for " + name);
  return bio_text(out.get());
}

Result<std::string> key_of_request(const std::string& request) {
  MVM_ASSIGN(const UniqueRequest parsed, parse_request(request));
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(X509_REQ_get0_pubkey(parsed.get()), &der);
  if (size <= 0) return openssl_failed("read a certificate request");
  const std::string bytes(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return sha256_hex(bytes);
}

Result<std::string> fingerprint_of(const std::string& certificate) {
  const UniqueX509 parsed = parse_certificate(certificate);
  std::array<unsigned char, 32> digest{};
  unsigned size = 0;
  const bool good = parsed && X509_digest(parsed.get(), EVP_sha256(), digest.data(), &size) == 1;
  ERR_clear_error();
  if (!good || size != digest.size()) return Error(ErrorCode::kInvalid, "found no certificate in PEM form");
  return to_hex(digest);
}

struct CertificateAuthority::State {
  std::filesystem::path file;
  std::string pem;
  UniqueX509 certificate;
  UniqueKey key;

  /// A certificate for `owner`'s key; `alternatives` as OpenSSL writes them, empty: none.
  [[nodiscard]] Result<UniqueX509> sign(const Subject& who, EVP_PKEY* owner,
                                        const std::string& alternatives) const {
    X509* authority = certificate.get();
    UniqueX509 made = blank(who, owner, X509_get_subject_name(authority));
    X509* c = made.get();
    if (!made || !add_extension(c, authority, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(c, authority, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(c, authority, NID_ext_key_usage, "serverAuth,clientAuth") ||
        !add_extension(c, authority, NID_subject_key_identifier, "hash") ||
        !add_extension(c, authority, NID_authority_key_identifier, "keyid") ||
        (!alternatives.empty() && !add_extension(c, authority, NID_subject_alt_name, alternatives)) ||
        X509_sign(c, key.get(), EVP_sha256()) == 0)
      return openssl_failed("make a certificate for " + who.name);
    return made;
  }
};

namespace {

/// A host's names, checked, as OpenSSL writes them.
Result<std::string> alternatives_of(const std::string& name, const std::vector<std::string>& others) {
  if (!is_host_name(name)) return Error(ErrorCode::kInvalid, "\"" + name + "\" is no host name");
  std::string text = (is_ip(name) ? "IP:" : "DNS:") + name;
  for (const std::string& other : others) {
    if (!is_ip(other) && !is_host_name(other))
      return Error(ErrorCode::kInvalid, "\"" + other + "\" is neither a host name nor an IP address");
    text += (is_ip(other) ? ",IP:" : ",DNS:") + other;
  }
  return text;
}

}  // namespace

CertificateAuthority::CertificateAuthority(std::unique_ptr<State> state) : state_(std::move(state)) {}
CertificateAuthority::CertificateAuthority(CertificateAuthority&&) noexcept = default;
CertificateAuthority& CertificateAuthority::operator=(CertificateAuthority&&) noexcept = default;
CertificateAuthority::~CertificateAuthority() = default;

const std::string& CertificateAuthority::certificate() const { return state_->pem; }
const std::filesystem::path& CertificateAuthority::file() const { return state_->file; }

Result<CertificateAuthority> CertificateAuthority::open(const std::filesystem::path& folder) {
  MVM_TRY(make_folders(folder, 0700));
  const auto certificate_file = folder / "ca.crt";
  const auto key_file = folder / "ca.key";
  // Two daemons that start at once must not make two authorities.
  const UniqueFd lock(::open((folder / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX) != 0)
    return Error::from_errno(errno, "lock " + (folder / ".lock").string());
  // The certificate is written last: without it the start was cut short, and is done again.
  if (!std::filesystem::exists(certificate_file)) {
    MVM_ASSIGN(const Certificate made, make_authority());
    MVM_TRY(write_file_durably(key_file, made.key, 0600));
    MVM_TRY(write_file_durably(certificate_file, made.certificate, 0644));
  }
  auto state = std::make_unique<State>();
  state->file = certificate_file;
  MVM_ASSIGN(state->pem, read_file(certificate_file, kLargestPem));
  MVM_ASSIGN(const std::string key, read_private_file(key_file, kLargestPem, kOurKey));
  state->certificate = parse_certificate(state->pem);
  state->key = parse_key(key);
  if (!state->certificate || !state->key ||
      X509_check_private_key(state->certificate.get(), state->key.get()) != 1)
    return Error(ErrorCode::kCorrupt,
                 "the authority in " + folder.string() + " is damaged: " + openssl_error());
  return CertificateAuthority(std::move(state));
}

Result<Certificate> CertificateAuthority::issue(const std::string& name,
                                                const std::vector<std::string>& alternative_names) const {
  MVM_ASSIGN(const std::string alternatives, alternatives_of(name, alternative_names));
  const UniqueKey key = make_key();
  if (!key) return openssl_failed("make a key");
  MVM_ASSIGN(const UniqueX509 certificate, state_->sign({.name = name}, key.get(), alternatives));
  return to_pem(certificate.get(), key.get());
}

Result<std::string> CertificateAuthority::certify(const std::string& request, const std::string& name,
                                                  const std::vector<std::string>& alternative_names) const {
  MVM_ASSIGN(const std::string alternatives, alternatives_of(name, alternative_names));
  MVM_ASSIGN(const UniqueRequest parsed, parse_request(request));
  MVM_ASSIGN(const UniqueX509 certificate,
             state_->sign({.name = name}, X509_REQ_get0_pubkey(parsed.get()), alternatives));
  const UniqueBio out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_X509(out.get(), certificate.get()) != 1)
    return openssl_failed("write a certificate");
  return bio_text(out.get());
}

Result<Certificate> CertificateAuthority::issue_for_links(const std::string& lab,
                                                          const std::string& domain) const {
  if (!is_host_name(lab) || domain.empty() || domain.size() > 64)
    return Error(ErrorCode::kInvalid, "\"" + domain + "\" of lab \"" + lab + "\" is no domain of links");
  const UniqueKey key = make_key();
  if (!key) return openssl_failed("make a key");
  MVM_ASSIGN(const UniqueX509 certificate,
             state_->sign({.name = domain, .unit = lab, .seconds = kYear}, key.get(), ""));
  return to_pem(certificate.get(), key.get());
}

Result<TlsFiles> CertificateAuthority::ensure(const std::filesystem::path& folder, const std::string& name,
                                              const std::vector<std::string>& alternative_names) const {
  if (!is_host_name(name)) return Error(ErrorCode::kInvalid, "\"" + name + "\" is no host name");
  TlsFiles files{
      .certificate = folder / (name + ".crt"), .key = folder / (name + ".key"), .ca = state_->file};
  const auto old_certificate = read_file(files.certificate, kLargestPem);
  const auto old_key = read_private_file(files.key, kLargestPem, kOurKey);
  if (old_certificate && old_key) {
    const UniqueX509 certificate = parse_certificate(*old_certificate);
    const UniqueKey key = parse_key(*old_key);
    const bool good = certificate && key && X509_check_private_key(certificate.get(), key.get()) == 1 &&
                      X509_verify(certificate.get(), X509_get0_pubkey(state_->certificate.get())) == 1 &&
                      X509_cmp_current_time(X509_get0_notAfter(certificate.get())) > 0 &&
                      covers(certificate.get(), name) &&
                      std::all_of(alternative_names.begin(), alternative_names.end(),
                                  [&](const std::string& other) { return covers(certificate.get(), other); });
    ERR_clear_error();
    if (good) return files;
  }
  MVM_ASSIGN(const Certificate made, issue(name, alternative_names));
  MVM_TRY(make_folders(folder, 0700));
  MVM_TRY(write_file_durably(files.key, made.key, 0600));
  MVM_TRY(write_file_durably(files.certificate, made.certificate, 0644));
  return files;
}

}  // namespace mvm::soap
