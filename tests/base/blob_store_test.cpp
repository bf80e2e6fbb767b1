#include "mvm/base/blob_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <thread>

#include "mvm/base/file.h"

namespace mvm {
namespace {

class BlobStoreTest : public testing::Test {
 protected:
  void SetUp() override { folder_ = *make_temporary_folder("/tmp", "mvm-blob-"); }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }
  BlobStore store(BlobLimits limits = {}) { return *BlobStore::open(folder_ / "blobs", limits); }
  std::size_t incoming() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_ / "blobs/incoming"))
      ++count;
    return count;
  }
  std::filesystem::path folder_;
};

TEST_F(BlobStoreTest, KeepsBytesUnderTheirDigest) {
  const auto blobs = store();
  const auto digest = blobs.put("hello");
  ASSERT_TRUE(digest);
  EXPECT_EQ(*digest, sha256_hex("hello"));
  EXPECT_TRUE(blobs.has(*digest));
  EXPECT_EQ(*blobs.size(*digest), 5U);
  EXPECT_EQ(*blobs.read_whole(*digest, 100), "hello");
  EXPECT_EQ(blobs.read_whole(*digest, 4).error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(blobs.path(*digest), folder_ / "blobs" / digest->substr(0, 2) / *digest);
  EXPECT_EQ(incoming(), 0U);
  EXPECT_EQ(*store().read_whole(*digest, 100), "hello") << "another opening sees it";
}

TEST_F(BlobStoreTest, RefusesOtherBytesThanPromised) {
  const auto blobs = store();
  auto writer = blobs.write(sha256_hex("good"));
  ASSERT_TRUE(writer && writer->append("evil"));
  EXPECT_EQ(writer->commit().error().code(), ErrorCode::kCorrupt);
  EXPECT_FALSE(blobs.has(sha256_hex("good")));
  EXPECT_FALSE(blobs.has(sha256_hex("evil")));
  EXPECT_EQ(incoming(), 0U);
  EXPECT_EQ(writer->append("more").error().code(), ErrorCode::kConflict);
}

TEST_F(BlobStoreTest, HoldsTheSizeLimit) {
  const auto blobs = store({.blob = 8});
  auto writer = blobs.write();
  ASSERT_TRUE(writer && writer->append("12345678"));
  EXPECT_EQ(writer->append("9").error().code(), ErrorCode::kExhausted);
  EXPECT_TRUE(writer->commit()) << "what fitted may be kept";
  EXPECT_EQ(blobs.put("123456789").error().code(), ErrorCode::kExhausted);
}

TEST_F(BlobStoreTest, RefusesWhereTheDiskIsNearlyFull) {
  EXPECT_EQ(store({.keep_free = ~0ULL}).put("x").error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(incoming(), 0U);
}

TEST_F(BlobStoreTest, AnAbandonedWriterLeavesNothing) {
  {
    auto writer = store().write();
    ASSERT_TRUE(writer->append("half"));
  }
  EXPECT_EQ(incoming(), 0U);
}

TEST_F(BlobStoreTest, OpeningClearsWhatACrashLeftButNoLiveWriter) {
  const auto blobs = store();
  std::ofstream(folder_ / "blobs/incoming/dead.tmp") << "rest of a crash";
  const std::array<timespec, 2> old{};  // 1970
  ASSERT_EQ(::utimensat(AT_FDCWD, (folder_ / "blobs/incoming/dead.tmp").c_str(), old.data(), 0), 0);
  auto writer = blobs.write();
  ASSERT_TRUE(writer->append("alive"));
  EXPECT_EQ(incoming(), 2U);
  const auto again = store();
  EXPECT_EQ(incoming(), 1U);
  EXPECT_EQ(*writer->commit(), sha256_hex("alive"));
  EXPECT_TRUE(again.has(sha256_hex("alive")));
}

TEST_F(BlobStoreTest, ABrokenUploadIsTakenUp) {
  const std::string digest = sha256_hex("first second");
  {
    auto writer = store().resume(digest);
    ASSERT_TRUE(writer && writer->append("first "));
    EXPECT_EQ(store().resume(digest).error().code(), ErrorCode::kConflict) << "one at a time";
  }
  const auto blobs = store();
  auto writer = blobs.resume(digest);
  ASSERT_TRUE(writer);
  EXPECT_EQ(writer->offset(), 6U);
  ASSERT_TRUE(writer->append("second"));
  EXPECT_TRUE(writer->commit());
  EXPECT_EQ(*blobs.read_whole(digest, 100), "first second");
  EXPECT_EQ(incoming(), 0U);
}

TEST_F(BlobStoreTest, AResumedUploadThatProvesWrongStartsAfresh) {
  const std::string digest = sha256_hex("right");
  {
    auto writer = store().resume(digest);
    ASSERT_TRUE(writer->append("wrong"));
    EXPECT_EQ(writer->commit().error().code(), ErrorCode::kCorrupt);
  }
  EXPECT_EQ(store().resume(digest)->offset(), 0U);
}

TEST_F(BlobStoreTest, ListsAndRemoves) {
  const auto blobs = store();
  const auto one = *blobs.put("one");
  const auto two = *blobs.put("three");
  auto all = *blobs.list();
  ASSERT_EQ(all.size(), 2U);
  for (const auto& blob : all) EXPECT_EQ(blob.size, blob.digest == one ? 3U : 5U);
  auto open = blobs.read(one);
  ASSERT_TRUE(blobs.remove(one));
  EXPECT_TRUE(blobs.remove(one)) << "gone is gone";
  EXPECT_FALSE(blobs.has(one));
  EXPECT_EQ(*read_all(open->get(), 10), "one") << "an open blob stays readable";
  EXPECT_EQ(blobs.list()->size(), 1U);
  EXPECT_TRUE(blobs.has(two));
}

TEST_F(BlobStoreTest, NamesFromOutsideAreChecked) {
  const auto blobs = store();
  for (const std::string bad : {"", "../../etc/passwd", "ABCDEF", "xyz"}) {
    EXPECT_FALSE(blobs.has(bad));
    EXPECT_EQ(blobs.read(bad).error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(blobs.remove(bad).error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(blobs.resume(bad).error().code(), ErrorCode::kInvalid);
  }
  EXPECT_EQ(blobs.write("nonsense").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(blobs.read(sha256_hex("absent")).error().code(), ErrorCode::kNotFound);
}

TEST_F(BlobStoreTest, TakesRegularFilesOnly) {
  const auto blobs = store();
  std::ofstream(folder_ / "file") << std::string(200'000, 'x');
  EXPECT_EQ(*blobs.put_file(folder_ / "file"), sha256_hex(std::string(200'000, 'x')));
  ASSERT_EQ(::symlink("file", (folder_ / "link").c_str()), 0);
  EXPECT_FALSE(blobs.put_file(folder_ / "link"));
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(blobs.put_file(folder_ / "fifo").error().code(), ErrorCode::kInvalid);
}

TEST_F(BlobStoreTest, ManyWritersOfOneBlobAgree) {
  const auto blobs = store();
  const std::string content(100'000, 'z');
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_TRUE(blobs.put(content)); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(blobs.list()->size(), 1U);
  EXPECT_EQ(blobs.read_whole(sha256_hex(content), 1 << 20)->size(), content.size());
  EXPECT_EQ(incoming(), 0U);
}

TEST_F(BlobStoreTest, WritersMove) {
  const auto blobs = store();
  auto first = *blobs.write();
  ASSERT_TRUE(first.append("one"));
  BlobWriter moved(std::move(first));
  auto second = *blobs.write();
  second = std::move(moved);
  EXPECT_EQ(incoming(), 1U) << "the one assigned over is thrown away";
  EXPECT_EQ(*second.commit(), sha256_hex("one"));
}

}  // namespace
}  // namespace mvm
