#include "mvm/broker/sqlite_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "broker/store_contract.h"
#include "mvm/base/file.h"

namespace mvm::broker {
namespace {

class Folder {
 public:
  Folder() : path_(*make_temporary_folder(std::filesystem::temp_directory_path(), "broker-store-")) {}
  ~Folder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::filesystem::path file() const { return path_ / "state.db"; }

 private:
  std::filesystem::path path_;
};

class SqliteFixture final : public StoreFixture {
 public:
  SqliteFixture() { reopen(); }
  Store& store() override { return *store_; }
  void reopen() override {
    store_.reset();
    auto opened = open_sqlite_store(folder_.file(), clock);
    ASSERT_TRUE(opened) << opened.error().describe();
    store_ = std::move(*opened);
  }

 private:
  Folder folder_;
  std::unique_ptr<Store> store_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract,
                         ::testing::Values(StoreFactory([] { return std::make_unique<SqliteFixture>(); })));

TEST(SqliteStore, IsForItsOwnerAlone) {
  const Folder folder;
  fakes::ManualClock clock;
  const auto store = open_sqlite_store(folder.file(), clock);
  ASSERT_TRUE(store);
  struct stat status {};
  ASSERT_EQ(::stat(folder.file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST(SqliteStore, OneProcessAtATime) {
  const Folder folder;
  fakes::ManualClock clock;
  const auto store = open_sqlite_store(folder.file(), clock);
  ASSERT_TRUE(store);
  const auto second = open_sqlite_store(folder.file(), clock);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kConflict);
}

TEST(SqliteStore, RefusesAFileThatIsNoStore) {
  const Folder folder;
  fakes::ManualClock clock;
  std::ofstream(folder.file()) << std::string(8192, 'x');
  const auto store = open_sqlite_store(folder.file(), clock);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), ErrorCode::kCorrupt) << store.error().describe();
}

// A child commits numbers and reports each one once it is answered; killed, it has lost none of those.
TEST(SqliteStore, WhatWasAnsweredSurvivesKill) {
  const Folder folder;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    fakes::ManualClock clock;
    auto store = open_sqlite_store(folder.file(), clock);
    for (std::uint32_t i = 0; store; ++i) {
      if (!(*store)->commit({put("n", std::to_string(i)), put("key" + std::to_string(i), "x")})) break;
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
  fakes::ManualClock clock;
  const auto store = open_sqlite_store(folder.file(), clock);
  ASSERT_TRUE(store) << store.error().describe();
  EXPECT_GE(last, 40U);
  EXPECT_GE(std::stoul((*store)->get("n")->value), last);
  const auto keys = *(*store)->list("key");
  EXPECT_EQ(keys.size(), std::stoul((*store)->get("n")->value) + 1) << "a batch happens whole or not at all";
}

}  // namespace
}  // namespace mvm::broker
