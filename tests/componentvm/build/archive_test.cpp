#include "mvm/build/archive.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"

namespace mvm::build {
namespace {

namespace fs = std::filesystem;

/// One tar entry, written by hand: archives that no packer would make.
std::string tar_entry(const std::string& name, char type, const std::string& content = {},
                      const std::string& link = {}, unsigned mode = 0644) {
  std::string header(512, '\0');
  const auto put = [&](std::size_t at, const std::string& text) { header.replace(at, text.size(), text); };
  const auto octal = [](std::uint64_t value, int width) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llo", width - 1, static_cast<unsigned long long>(value));
    return std::string(text);
  };
  put(0, name.substr(0, 100));
  put(100, octal(mode, 8));
  put(108, octal(0, 8));
  put(116, octal(0, 8));
  put(124, octal(content.size(), 12));
  put(136, octal(0, 12));
  put(148, "        ");
  header[156] = type;
  put(157, link.substr(0, 100));
  put(257, std::string("ustar\0", 6) + "00");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, octal(sum, 7) + '\0');
  std::string padded = content;
  padded.resize((content.size() + 511) / 512 * 512, '\0');
  return header + padded;
}
std::string tar_of(const std::vector<std::string>& entries) {
  std::string bytes;
  for (const std::string& entry : entries) bytes += entry;
  return bytes + std::string(1024, '\0');
}

class ArchiveTest : public testing::Test {
 protected:
  void SetUp() override { folder_ = *make_temporary_folder("/tmp", "mvm-archive-"); }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }

  Result<ArchiveContent> unpack_bytes(const std::string& bytes, const ArchiveLimits& limits = {}) {
    std::ofstream(folder_ / "archive", std::ios::binary) << bytes;
    const UniqueFd fd(::open((folder_ / "archive").c_str(), O_RDONLY | O_CLOEXEC));
    return unpack(fd.get(), folder_ / "out", limits);
  }
  /// Nothing but the archive itself is there.
  bool clean() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_)) ++count;
    return count == 1;
  }
  std::string shell(const std::string& script) {
    auto done = run_captured({.argv = {"sh", "-c", "cd " + folder_.string() + " && " + script}},
                             std::chrono::seconds(60));
    EXPECT_TRUE(done && done->status.success()) << script << (done ? done->errors : done.error().describe());
    return done ? done->output : "";
  }
  std::string pack(const fs::path& folder) {
    std::string bytes;
    auto packed = pack_directory(folder, [&](std::string_view piece) {
      bytes += piece;
      return ok();
    });
    EXPECT_TRUE(packed) << packed.error().describe();
    return bytes;
  }
  fs::path folder_;
};

TEST_F(ArchiveTest, EqualTreesPackToEqualBytesWhateverTheirTimesAndOrder) {
  shell(
      "mkdir -p a/sub b/sub && echo one > a/x && echo two > a/sub/y && ln -s ../x a/sub/l && chmod 700 a/x");
  shell(
      "ln -s ../x b/sub/l && echo two > b/sub/y && echo one > b/x && chmod 755 b/x && touch -d 2001-01-01 "
      "b/x b/sub");
  const std::string first = pack(folder_ / "a");
  EXPECT_EQ(first, pack(folder_ / "b"));
  shell("chmod 644 b/x");
  EXPECT_NE(first, pack(folder_ / "b"));
}

TEST_F(ArchiveTest, WhatIsPackedComesBack) {
  shell(
      "mkdir -p in/deep/er in/empty && seq 1 100000 > in/numbers && printf '#!/bin/sh\\n' > in/deep/run && "
      "chmod +x in/deep/run"
      " && ln -s deep/run in/link && printf x > \"in/na me\\303\\244\" && mkfifo in/pipe");
  std::ofstream(folder_ / "archive", std::ios::binary) << pack(folder_ / "in");
  const UniqueFd fd(::open((folder_ / "archive").c_str(), O_RDONLY | O_CLOEXEC));
  auto content = unpack(fd.get(), folder_ / "out");
  ASSERT_TRUE(content) << content.error().describe();
  shell("rm in/pipe && diff -r in out && test -x out/deep/run && test -L out/link && test -d out/empty");
}

TEST_F(ArchiveTest, ReadsWhatOthersPack) {
  shell("mkdir in && seq 1 1000 > in/n && mkdir in/d && echo x > in/d/x");
  for (const char* make :
       {"tar cf archive -C in .", "tar czf archive -C in .", "tar cjf archive -C in .",
        "tar cJf archive -C in .", "tar --zstd -cf archive -C in .",
        "python3 -c 'import shutil; shutil.make_archive(\"a\", \"zip\", \"in\")' && mv a.zip archive"}) {
    shell(std::string(make));
    const UniqueFd fd(::open((folder_ / "archive").c_str(), O_RDONLY | O_CLOEXEC));
    auto content = unpack(fd.get(), folder_ / "out");
    ASSERT_TRUE(content) << make << ": " << content.error().describe();
    shell("diff -r in out && rm -r out");
  }
}

TEST_F(ArchiveTest, HostileArchivesAreRefusedAndLeaveNothing) {
  const std::string deep = [] {
    std::string path;
    for (int i = 0; i < 40; ++i) path += "d/";
    return path + "f";
  }();
  const std::map<std::string, std::string> archives{
      {"traversal", tar_of({tar_entry("../evil", '0', "x")})},
      {"traversal inside", tar_of({tar_entry("a/../../evil", '0', "x")})},
      {"absolute", tar_of({tar_entry("/tmp/mvm-evil", '0', "x")})},
      {"link out", tar_of({tar_entry("l", '2', "", "/etc")})},
      {"link up", tar_of({tar_entry("a/l", '2', "", "../../x")})},
      {"link down and up", tar_of({tar_entry("l", '2', "", "a/../../x")})},
      {"file behind a link",
       tar_of({tar_entry("d", '5'), tar_entry("l", '2', "", "d"), tar_entry("l/f", '0', "x")})},
      {"hard link out", tar_of({tar_entry("h", '1', "", "../../etc/passwd")})},
      {"hard link absolute", tar_of({tar_entry("h", '1', "", "/etc/passwd")})},
      {"hard link to a link", tar_of({tar_entry("d/l", '2', "", "../x"), tar_entry("h", '1', "", "d/l")})},
      {"device", tar_of({tar_entry("null", '3')})},
      {"pipe", tar_of({tar_entry("p", '6')})},
      {"folder becomes file", tar_of({tar_entry("d/f", '0', "x"), tar_entry("d", '0', "x")})},
      {"file becomes folder", tar_of({tar_entry("f", '0', "x"), tar_entry("f/g", '0', "x")})},
      {"control characters", tar_of({tar_entry("a\nb", '0', "x")})},
      {"cut off", tar_of({tar_entry("f", '0', std::string(5000, 'x'))}).substr(0, 3000)},
      {"not an archive", "hello"},
      {"nothing", ""},
  };
  for (const auto& [name, bytes] : archives) {
    auto result = unpack_bytes(bytes);
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt) << name << ": " << result.error().describe();
    EXPECT_TRUE(clean()) << name;
  }
  EXPECT_EQ(unpack_bytes(tar_of({tar_entry(deep, '0', "x")}), {.depth = 30}).error().code(),
            ErrorCode::kExhausted);
  EXPECT_TRUE(clean());
}

TEST_F(ArchiveTest, BombsAreCutOff) {
  shell("head -c 300M /dev/zero > zeros && tar --zstd -cf archive zeros && rm zeros");
  const std::string bomb = *read_file(folder_ / "archive", 1 << 20);
  auto by_ratio = unpack_bytes(bomb);
  ASSERT_FALSE(by_ratio);
  EXPECT_EQ(by_ratio.error().code(), ErrorCode::kExhausted);
  EXPECT_THAT(by_ratio.error().describe(), testing::HasSubstr("a bomb"));
  EXPECT_EQ(unpack_bytes(bomb, {.bytes = 1 << 20}).error().code(), ErrorCode::kExhausted);
  std::vector<std::string> many;
  for (int i = 0; i < 200; ++i) many.push_back(tar_entry("f" + std::to_string(i), '0'));
  EXPECT_EQ(unpack_bytes(tar_of(many), {.entries = 100}).error().code(), ErrorCode::kExhausted);
  EXPECT_TRUE(clean());
}

TEST_F(ArchiveTest, NoSpecialBitsComeThrough) {
  ASSERT_TRUE(unpack_bytes(tar_of({tar_entry("s", '0', "x", "", 06777), tar_entry("r", '0', "x", "", 0)})));
  struct stat info {};
  ASSERT_EQ(::stat((folder_ / "out/s").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0755U);
  ASSERT_EQ(::stat((folder_ / "out/r").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0600U);
}

TEST_F(ArchiveTest, GivesTheFilesToTheirOwner) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  std::ofstream(folder_ / "archive", std::ios::binary)
      << tar_of({tar_entry("d/f", '0', "x"), tar_entry("d/l", '2', "", "f"), tar_entry("h", '1', "", "d/f")});
  const UniqueFd fd(::open((folder_ / "archive").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(unpack(fd.get(), folder_ / "out", {}, FileOwner{1234, 1235}));
  for (const char* name : {"out", "out/d", "out/d/f", "out/d/l", "out/h"}) {
    struct stat info {};
    ASSERT_EQ(::lstat((folder_ / name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_uid, 1234U) << name;
    EXPECT_EQ(info.st_gid, 1235U) << name;
  }
}

TEST_F(ArchiveTest, AnExistingTargetIsLeftAlone) {
  ASSERT_TRUE(make_folders(folder_ / "out"));
  EXPECT_EQ(unpack_bytes(tar_of({tar_entry("f", '0', "x")})).error().code(), ErrorCode::kExists);
  EXPECT_TRUE(fs::is_empty(folder_ / "out"));
}

TEST_F(ArchiveTest, PackingRefusesOrLeavesOutWhatLeadsAway) {
  shell("mkdir in && ln -s /etc/passwd in/l && echo x > in/x");
  const ArchiveSink drop = [](std::string_view) { return ok(); };
  auto refused = pack_directory(folder_ / "in", drop);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("link l leads out"));
  auto without = pack_directory(folder_ / "in", drop, {}, false);
  ASSERT_TRUE(without);
  EXPECT_EQ(without->entries, 1U);
  EXPECT_EQ(pack_directory(folder_ / "in", drop, {.bytes = 1}, false).error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(pack_directory(
                folder_ / "in", [](std::string_view) { return Status(Error(ErrorCode::kExhausted, "full")); },
                {}, false)
                .error()
                .message(),
            "full");
}

TEST_F(ArchiveTest, InlineTextIsAnArchiveOfOneFile) {
  auto bytes = pack_text("main.cpp", "int main() {}\n");
  ASSERT_TRUE(bytes);
  ASSERT_TRUE(unpack_bytes(*bytes));
  EXPECT_EQ(*read_file(folder_ / "out/main.cpp", 100), "int main() {}\n");
  EXPECT_FALSE(pack_text("../main.cpp", "x"));
  EXPECT_FALSE(pack_text("", "x"));
}

}  // namespace
}  // namespace mvm::build
