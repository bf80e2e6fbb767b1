#include "mvm/soap/identity.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "mvm/base/file.h"

namespace mvm::soap {
namespace {

class IdentityTest : public testing::Test {
 protected:
  void SetUp() override { folder_ = *make_temporary_folder("/tmp", "mvm-identity-"); }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }
  std::filesystem::path folder_;
};

TEST_F(IdentityTest, ATokenFileTellsWhoItsHolderIs) {
  const auto made = create_token_file(folder_ / "a.token", {.user = "ada", .role = "user"});
  ASSERT_TRUE(made);
  EXPECT_EQ(made->secret.size(), 64U);
  struct stat info {};
  ASSERT_EQ(::stat((folder_ / "a.token").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(read_token_file(folder_ / "a.token")->secret, made->secret);

  Identity identity;
  EXPECT_EQ(*identity.load(folder_), 1U);
  const auto caller = identity.authenticate(made->secret);
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->user, "ada");
  EXPECT_EQ(caller->role, "user");
  EXPECT_EQ(caller->lab, "");
}

TEST_F(IdentityTest, WrongSecretsAreRefused) {
  Identity identity;
  const Token token = identity.issue({.user = "ada", .role = "admin"});
  for (const std::string& wrong : {std::string(), std::string("x"), token.secret.substr(1),
                                   token.secret + "0", std::string(10'000, 'a')})
    EXPECT_EQ(identity.authenticate(wrong).error().code(), ErrorCode::kRefused);
  std::string close = token.secret;
  close.back() = close.back() == '0' ? '1' : '0';
  EXPECT_EQ(identity.authenticate(close).error().code(), ErrorCode::kRefused);
  EXPECT_TRUE(identity.authenticate(token.secret));
}

TEST_F(IdentityTest, AFileThatOthersCanReadIsRefused) {
  ASSERT_TRUE(create_token_file(folder_ / "a.token", {.user = "ada", .role = "user"}));
  Identity identity;
  for (const mode_t mode : {0640U, 0604U, 0620U, 0666U}) {
    ASSERT_EQ(::chmod((folder_ / "a.token").c_str(), mode), 0);
    EXPECT_EQ(read_token_file(folder_ / "a.token").error().code(), ErrorCode::kRefused);
    EXPECT_EQ(identity.load(folder_).error().code(), ErrorCode::kRefused);
  }
  ASSERT_EQ(::chmod((folder_ / "a.token").c_str(), 0400), 0);
  EXPECT_TRUE(read_token_file(folder_ / "a.token"));
}

TEST_F(IdentityTest, DamagedFilesAreTold) {
  const auto write = [&](const std::string& text) {
    ASSERT_TRUE(write_file_durably(folder_ / "b.token", text, 0600));
  };
  const std::string secret(64, 'a');
  write("not json");
  EXPECT_EQ(read_token_file(folder_ / "b.token").error().code(), ErrorCode::kCorrupt);
  write(R"({"token":"short","user":"ada","role":"user"})");
  EXPECT_EQ(read_token_file(folder_ / "b.token").error().code(), ErrorCode::kCorrupt);
  write(R"({"token":")" + secret + R"(","user":"ada","role":"emperor"})");
  EXPECT_EQ(read_token_file(folder_ / "b.token").error().code(), ErrorCode::kInvalid);
  write(R"({"token":")" + secret + R"(","user":"ada","role":"lab"})");
  EXPECT_EQ(read_token_file(folder_ / "b.token").error().code(), ErrorCode::kInvalid);
  write(std::string(100'000, ' '));
  EXPECT_EQ(read_token_file(folder_ / "b.token").error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(read_token_file(folder_ / "absent.token").error().code(), ErrorCode::kNotFound);
}

TEST_F(IdentityTest, AnExistingFileIsKept) {
  const auto first = create_token_file(folder_ / "a.token", {.user = "ada", .role = "user"});
  EXPECT_EQ(create_token_file(folder_ / "a.token", {.user = "eve", .role = "admin"}).error().code(),
            ErrorCode::kExists);
  EXPECT_EQ(read_token_file(folder_ / "a.token")->secret, first->secret);
  EXPECT_EQ(create_token_file(folder_ / "b.token", {.user = "", .role = "user"}).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(create_token_file(folder_ / "b.token", {.user = "a", .role = "lab"}).error().code(),
            ErrorCode::kInvalid);
}

TEST_F(IdentityTest, RemovedFilesAreForgottenIssuedTokensAreNot) {
  const auto file = create_token_file(folder_ / "a.token", {.user = "ada", .role = "user"});
  Identity identity;
  ASSERT_TRUE(identity.load(folder_));
  const Token issued = identity.issue({.user = "ada", .role = "lab", .lab = "l1"});
  std::filesystem::remove(folder_ / "a.token");
  EXPECT_EQ(*identity.load(folder_), 0U);
  EXPECT_FALSE(identity.authenticate(file->secret));
  EXPECT_EQ(identity.authenticate(issued.secret)->lab, "l1");
}

TEST_F(IdentityTest, ALabsTokensGoWithIt) {
  Identity identity;
  const Token one = identity.issue({.user = "ada", .role = "lab", .lab = "l1"});
  const Token two = identity.issue({.user = "ada", .role = "lab", .lab = "l2"});
  identity.revoke_lab("l1");
  EXPECT_FALSE(identity.authenticate(one.secret));
  EXPECT_TRUE(identity.authenticate(two.secret));
  identity.revoke(two.secret);
  EXPECT_FALSE(identity.authenticate(two.secret));
}

}  // namespace
}  // namespace mvm::soap
