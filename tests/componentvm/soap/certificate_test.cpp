#include "mvm/soap/certificate.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "mvm/base/file.h"

namespace mvm::soap {
namespace {

std::unique_ptr<X509, decltype(&X509_free)> parse(const std::string& pem) {
  BIO* in = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* certificate = PEM_read_bio_X509(in, nullptr, nullptr, nullptr);
  BIO_free(in);
  return {certificate, &X509_free};
}

class CertificateTest : public testing::Test {
 protected:
  void SetUp() override { folder_ = *make_temporary_folder("/tmp", "mvm-ca-"); }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }
  std::filesystem::path folder_;
};

TEST_F(CertificateTest, TheFirstStartMakesAnAuthorityAndTheNextKeepsIt) {
  const auto first = CertificateAuthority::open(folder_ / "ca");
  ASSERT_TRUE(first) << first.error().describe();
  const auto second = CertificateAuthority::open(folder_ / "ca");
  ASSERT_TRUE(second);
  EXPECT_EQ(first->certificate(), second->certificate());
  struct stat info {};
  ASSERT_EQ(::stat((folder_ / "ca/ca.key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  ASSERT_EQ(::chmod((folder_ / "ca/ca.key").c_str(), 0644), 0);
  EXPECT_EQ(CertificateAuthority::open(folder_ / "ca").error().code(), ErrorCode::kRefused);
}

TEST_F(CertificateTest, ADamagedAuthorityIsTold) {
  ASSERT_TRUE(CertificateAuthority::open(folder_));
  ASSERT_TRUE(write_file_durably(folder_ / "ca.key", "rubbish", 0600));
  EXPECT_EQ(CertificateAuthority::open(folder_).error().code(), ErrorCode::kCorrupt);
}

TEST_F(CertificateTest, ItsCertificatesVerifyForTheirNames) {
  const auto authority = CertificateAuthority::open(folder_);
  const auto issued = authority->issue("host-a", {"10.1.2.3", "a.example", "::1"});
  ASSERT_TRUE(issued) << issued.error().describe();
  const auto certificate = parse(issued->certificate);
  const auto ca = parse(authority->certificate());
  ASSERT_TRUE(certificate && ca);
  EXPECT_EQ(X509_verify(certificate.get(), X509_get0_pubkey(ca.get())), 1);
  EXPECT_EQ(X509_check_host(certificate.get(), "host-a", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(certificate.get(), "a.example", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(certificate.get(), "b.example", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "10.1.2.3", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "::1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "10.1.2.4", 0), 0);
  EXPECT_EQ(X509_check_purpose(certificate.get(), X509_PURPOSE_SSL_SERVER, 0), 1);
  EXPECT_EQ(X509_check_purpose(certificate.get(), X509_PURPOSE_SSL_CLIENT, 0), 1);
  EXPECT_EQ(X509_check_ca(certificate.get()), 0) << "it may sign nothing";
}

TEST_F(CertificateTest, AKeyIsCertifiedWithoutBeingShown) {
  const auto authority = CertificateAuthority::open(folder_);
  const auto key = make_private_key();
  ASSERT_TRUE(key);
  const auto request = make_certificate_request(*key, "whatever-it-says");
  ASSERT_TRUE(request) << request.error().describe();
  EXPECT_EQ(request->find("PRIVATE"), std::string::npos);
  const auto issued = authority->certify(*request, "host-a", {"10.1.2.3"});
  ASSERT_TRUE(issued) << issued.error().describe();
  const auto certificate = parse(*issued);
  const auto ca = parse(authority->certificate());
  EXPECT_EQ(X509_verify(certificate.get(), X509_get0_pubkey(ca.get())), 1);
  EXPECT_EQ(X509_check_host(certificate.get(), "host-a", 0, 0, nullptr), 1) << "the authority says the name";
  EXPECT_EQ(X509_check_host(certificate.get(), "whatever-it-says", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "10.1.2.3", 0), 1);
  EXPECT_EQ(*key_of_request(*request), *key_of_request(*make_certificate_request(*key, "other")));
  const auto another = make_certificate_request(*make_private_key(), "other");
  EXPECT_NE(*key_of_request(*request), *key_of_request(*another));
}

TEST_F(CertificateTest, ARequestFromOutsideIsChecked) {
  const auto authority = CertificateAuthority::open(folder_);
  const auto good = make_certificate_request(*make_private_key(), "a");
  std::string forged = *good;
  const std::size_t at = forged.size() / 2;
  forged[at] = forged[at] == 'A' ? 'B' : 'A';
  for (const std::string& request :
       {std::string(), std::string("rubbish"), forged, std::string(1 << 20, 'A')})
    EXPECT_EQ(authority->certify(request, "a", {}).error().code(), ErrorCode::kInvalid);
  EVP_PKEY* rsa = EVP_RSA_gen(2048);
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(out, rsa, nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  const std::string pem(text, static_cast<std::size_t>(size));
  BIO_free(out);
  EVP_PKEY_free(rsa);
  EXPECT_EQ(authority->certify(*make_certificate_request(pem, "a"), "a", {}).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(authority->certify(*good, "a,DNS:b", {}).error().code(), ErrorCode::kInvalid);
}

TEST_F(CertificateTest, ACertificateForLinksIsOfOneLab) {
  const auto authority = CertificateAuthority::open(folder_);
  const auto issued = authority->issue_for_links("job-7-abc", "host:h2");
  ASSERT_TRUE(issued) << issued.error().describe();
  const auto certificate = parse(issued->certificate);
  char text[64] = {};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_organizationalUnitName, text,
                            sizeof text);
  EXPECT_STREQ(text, "job-7-abc");
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, text, sizeof text);
  EXPECT_STREQ(text, "host:h2");
  EXPECT_EQ(X509_check_host(certificate.get(), "h2", 0, 0, nullptr), 0) << "it stands for no machine";
  EXPECT_EQ(X509_check_ca(certificate.get()), 0);
  EXPECT_EQ(authority->issue_for_links("a/b", "host:h").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(authority->issue_for_links("a", "").error().code(), ErrorCode::kInvalid);
}

TEST_F(CertificateTest, NamesFromOutsideAreChecked) {
  const auto authority = CertificateAuthority::open(folder_);
  EXPECT_EQ(authority->issue("", {}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(authority->issue("a,DNS:evil", {}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(authority->issue("a", {"x\ny"}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(authority->ensure(folder_, "../up", {}).error().code(), ErrorCode::kInvalid);
}

TEST_F(CertificateTest, AGoodCertificateIsKeptAnotherNameMakesANewOne) {
  const auto authority = CertificateAuthority::open(folder_ / "ca");
  const auto files = authority->ensure(folder_ / "host", "host-a", {"127.0.0.1"});
  ASSERT_TRUE(files) << files.error().describe();
  const auto first = *read_file(files->certificate, 10'000);
  ASSERT_TRUE(authority->ensure(folder_ / "host", "host-a", {"127.0.0.1"}));
  EXPECT_EQ(*read_file(files->certificate, 10'000), first);
  ASSERT_TRUE(authority->ensure(folder_ / "host", "host-a", {"127.0.0.1", "10.0.0.7"}));
  EXPECT_NE(*read_file(files->certificate, 10'000), first);

  const auto other = CertificateAuthority::open(folder_ / "ca2");
  const auto now = *read_file(files->certificate, 10'000);
  ASSERT_TRUE(other->ensure(folder_ / "host", "host-a", {"127.0.0.1"}));
  EXPECT_NE(*read_file(files->certificate, 10'000), now) << "another authority does not vouch for it";
}

}  // namespace
}  // namespace mvm::soap
