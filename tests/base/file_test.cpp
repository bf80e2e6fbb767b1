#include "mvm/base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "mvm/base/digest.h"
#include "mvm/base/secret_file.h"

namespace mvm {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = make_temporary_folder("/tmp", "mvm-file-").value(); }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }
  std::filesystem::path folder_;
};

TEST_F(FileTest, WritesAreReplacedWholeAndKeepTheirMode) {
  const auto path = folder_ / "a";
  ASSERT_TRUE(write_file_durably(path, "one", 0600));
  ASSERT_TRUE(write_file_durably(path, "two", 0600));
  EXPECT_EQ(read_file(path, 100).value(), "two");
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1)
      << "a temporary file was left";
}

TEST_F(FileTest, ReadStopsAtTheLimit) {
  ASSERT_TRUE(write_file_durably(folder_ / "a", std::string(1000, 'x')));
  EXPECT_EQ(read_file(folder_ / "a", 999).error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(read_file(folder_ / "none", 999).error().code(), ErrorCode::kNotFound);
}

TEST_F(FileTest, APrivateFileIsClosedToOthersAndItself) {
  const auto path = folder_ / "secret";
  EXPECT_EQ(read_private_file(path, 10).error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(write_file_durably(path, "hidden", 0600));
  EXPECT_EQ(read_private_file(path, 10).value(), "hidden");
  EXPECT_EQ(read_private_file(path, 5).error().code(), ErrorCode::kExhausted);
  for (const mode_t mode : {0640U, 0604U, 0620U, 0601U}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    const auto refused = read_private_file(path, 10, {.lent = true, .linked = true});
    ASSERT_EQ(refused.error().code(), ErrorCode::kRefused) << mode;
    EXPECT_THAT(refused.error().message(), ::testing::HasSubstr("secret: found a file that others"));
    EXPECT_THAT(refused.error().message(), ::testing::HasSubstr("chmod 600 it"));
  }
  ASSERT_EQ(::chmod(path.c_str(), 0400), 0);
  std::filesystem::create_symlink("secret", folder_ / "link");
  EXPECT_EQ(read_private_file(folder_ / "link", 10).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(read_private_file(folder_ / "link", 10, {.linked = true}).value(), "hidden");
}

TEST_F(FileTest, APipeIsNotWaitedForWhereAPrivateFileIsExpected) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_private_file(folder_ / "pipe", 10).error().code(), ErrorCode::kRefused);
  UniqueFd ends[2];
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  ends[0].reset(fds[0]);
  ends[1].reset(fds[1]);
  ASSERT_TRUE(write_all(ends[1].get(), "key"));
  ends[1].reset();
  const auto path = "/proc/self/fd/" + std::to_string(ends[0].get());
  EXPECT_EQ(read_private_file(path, 10, {.linked = true}).value(), "key");
}

TEST_F(FileTest, APrivateFileOfAnotherIsLentToRootOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const auto path = folder_ / "secret";
  ASSERT_TRUE(write_file_durably(path, "hidden", 0600));
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  EXPECT_THAT(read_private_file(path, 10).error().message(), ::testing::HasSubstr("user 65534"));
  EXPECT_EQ(read_private_file(path, 10, {.lent = true}).value(), "hidden");
}

TEST_F(FileTest, RemovingATreeDoesNotFollowLinks) {
  ASSERT_TRUE(make_folders(folder_ / "outside"));
  ASSERT_TRUE(write_file_durably(folder_ / "outside/kept", "x"));
  ASSERT_TRUE(make_folders(folder_ / "tree/deep/er"));
  std::filesystem::create_directory_symlink(folder_ / "outside", folder_ / "tree/deep/link");
  ASSERT_TRUE(remove_tree(folder_ / "tree"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "tree"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "outside/kept"));
  EXPECT_TRUE(remove_tree(folder_ / "tree")) << "removing what is gone is no error";
}

TEST_F(FileTest, RemovesATreeDeeperThanAnyPath) {
  // As a hostile job makes one: 1,000 folders deep, each name 200 bytes.
  const std::string name(200, 'd');
  ASSERT_TRUE(make_folders(folder_ / "tree"));
  UniqueFd at(::open((folder_ / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0700), 0);
    ASSERT_EQ(::mkdirat(at.get(), "side", 0), 0);
    at.reset(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at);
  }
  at.reset();
  const Status removed = remove_tree(folder_ / "tree");
  ASSERT_TRUE(removed) << removed.error().describe();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "tree"));
}

TEST_F(FileTest, ALockIsHeldUntilTheLastCopyOfItIsClosed) {
  auto lock = lock_file(folder_ / "lock");
  ASSERT_TRUE(lock) << lock.error().describe();
  EXPECT_EQ(lock_file(folder_ / "lock").error().code(), ErrorCode::kExists);
  UniqueFd copy(::fcntl(lock->get(), F_DUPFD_CLOEXEC, 3));
  lock->reset();
  EXPECT_EQ(lock_file(folder_ / "lock", std::chrono::milliseconds(20)).error().code(), ErrorCode::kExists);
  std::thread closes([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    copy.reset();
  });
  EXPECT_TRUE(lock_file(folder_ / "lock", std::chrono::seconds(60)));
  closes.join();
  EXPECT_EQ(lock_file(folder_ / "none" / "lock").error().code(), ErrorCode::kNotFound);
}

TEST_F(FileTest, DigestOfAFileIsTheDigestOfItsBytes) {
  const std::string bytes(200'000, 'q');
  ASSERT_TRUE(write_file_durably(folder_ / "a", bytes));
  EXPECT_EQ(sha256_of_file(folder_ / "a").value(), sha256_hex(bytes));
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(is_sha256(sha256_hex("")));
  EXPECT_FALSE(is_sha256("abc"));
}

}  // namespace
}  // namespace mvm
