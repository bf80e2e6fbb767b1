#include "mvm/registry/sqlite/sqlite_registry.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "componentvm/registry/contract.h"
#include "mvm/base/file.h"

namespace mvm::registry {
namespace {

class Folder {
 public:
  Folder() : path_(*make_temporary_folder(std::filesystem::temp_directory_path(), "registry-")) {}
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::filesystem::path file() const { return path_ / "registry.db"; }

 private:
  std::filesystem::path path_;
};

class SqliteFixture final : public RegistryFixture {
 public:
  SqliteFixture() { SqliteFixture::reopen(); }
  Registry& registry() override { return *registry_; }
  Registry& reopen() override {
    registry_.reset();
    auto opened = open_sqlite_registry(folder_.file(), clock_);
    EXPECT_TRUE(opened) << opened.error().describe();
    registry_ = std::move(*opened);
    return *registry_;
  }

 private:
  Folder folder_;
  SystemClock clock_;
  std::unique_ptr<Registry> registry_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, RegistryContract, ::testing::Values(RegistryFactory([] {
                           return std::make_unique<SqliteFixture>();
                         })));

TEST(SqliteRegistry, RefusesAFileThatIsNoRegistry) {
  const Folder folder;
  SystemClock clock;
  std::ofstream(folder.file()) << std::string(8192, 'x');
  const auto opened = open_sqlite_registry(folder.file(), clock);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::kCorrupt) << opened.error().describe();
}

TEST(SqliteRegistry, OneProcessAtATime) {
  const Folder folder;
  SystemClock clock;
  const auto first = open_sqlite_registry(folder.file(), clock);
  ASSERT_TRUE(first);
  const auto second = open_sqlite_registry(folder.file(), clock);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
}

TEST(SqliteRegistry, WritesItselfAnewWhenTheLogOutgrowsIt) {
  const Folder folder;
  SystemClock clock;
  std::string expected;
  {
    const auto registry = *open_sqlite_registry(folder.file(), clock);
    Session me(*registry, "me");
    for (int i = 0; i < 24; ++i) {
      expected = std::string(1U << 19U, static_cast<char>('a' + i));
      ASSERT_TRUE(me.putinfo("large", text_item(expected), kPersistent | kOverwrite));
    }
  }
  EXPECT_LT(std::filesystem::file_size(folder.file()), 10U << 20U) << "24 times 0.5 MiB were written";
  const auto registry = *open_sqlite_registry(folder.file(), clock);
  EXPECT_EQ(text_of(registry->read("large", 0, 0)->item), expected);
  EXPECT_EQ(registry->list("*")->revision, 24U);
  const auto old = registry->watch(1, "*", std::chrono::milliseconds(0), 10);
  ASSERT_FALSE(old) << "the events before the snapshot are gone, and it says so";
  EXPECT_EQ(old.error().code(), ErrorCode::kNotFound);
}

// A child puts numbers and reports each one once it is answered; killed, it has lost none of those.
TEST(SqliteRegistry, WhatWasAnsweredSurvivesKill) {
  const Folder folder;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    SystemClock clock;
    auto registry = open_sqlite_registry(folder.file(), clock);
    for (std::uint32_t i = 0; registry; ++i) {
      if (!(*registry)->update(update_of({put_operation("n", std::to_string(i), kPersistent | kOverwrite),
                                          put_operation("key" + std::to_string(i), "x", kPersistent)})))
        break;
      if (::write(ends[1], &i, sizeof i) != static_cast<ssize_t>(sizeof i)) break;
    }
    ::_exit(1);
  }
  ::close(ends[1]);
  std::uint32_t last = 0;
  while (last < 40 && ::read(ends[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  while (::read(ends[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
  }
  ::close(ends[0]);
  SystemClock clock;
  const auto registry = open_sqlite_registry(folder.file(), clock);
  ASSERT_TRUE(registry) << registry.error().describe();
  EXPECT_GE(last, 40U);
  const auto found = std::stoul(text_of((*registry)->read("n", 0, 0)->item));
  EXPECT_GE(found, last);
  EXPECT_EQ((*registry)->list("key*", {}, 100000)->infos.size(), found + 1)
      << "an update happens whole or not";
}

}  // namespace
}  // namespace mvm::registry
