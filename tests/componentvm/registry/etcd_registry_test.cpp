#include "mvm/registry/etcd/etcd_registry.h"

#include <atomic>
#include <csignal>
#include <thread>

#include "componentvm/registry/contract.h"
#include "componentvm/registry/etcd_cluster.h"
#include "mvm/base/digest.h"

namespace mvm::registry {
namespace {

constexpr std::chrono::seconds kLong{60};

std::unique_ptr<Registry> open_cluster(const std::string& prefix, std::chrono::milliseconds timeout = kLong) {
  auto opened = open_etcd_registry(
      EtcdOptions{.endpoints = shared_cluster().endpoints(), .prefix = prefix, .timeout = timeout});
  EXPECT_TRUE(opened) << opened.error().describe();
  return std::move(*opened);
}

class EtcdFixture final : public RegistryFixture {
 public:
  EtcdFixture() { EtcdFixture::reopen(); }
  Registry& registry() override { return *registry_; }
  Registry& reopen() override {
    registry_ = open_cluster(prefix_);
    return *registry_;
  }

 private:
  std::string prefix_ = "test/" + random_hex(8) + "/";
  std::unique_ptr<Registry> registry_;
};

INSTANTIATE_TEST_SUITE_P(Etcd, RegistryContract,
                         ::testing::Values(RegistryFactory([] { return std::make_unique<EtcdFixture>(); })));

TEST(EtcdRegistry, RefusesWrongOptions) {
  for (const EtcdOptions& options :
       {EtcdOptions{}, EtcdOptions{.endpoints = {"127.0.0.1:2379"}},
        EtcdOptions{.endpoints = {"http://x"}, .prefix = ""},
        EtcdOptions{.endpoints = {"http://x"}, .timeout = std::chrono::milliseconds(0)}})
    EXPECT_EQ(open_etcd_registry(options).error().code(), ErrorCode::kInvalid);
}

TEST(EtcdRegistry, SaysWhoDoesNotAnswer) {
  const auto registry =
      *open_etcd_registry({.endpoints = {"http://127.0.0.1:1"}, .timeout = std::chrono::milliseconds(300)});
  const auto listed = registry->list("*");
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().code(), ErrorCode::kUnavailable);
  EXPECT_NE(listed.error().message().find("http://127.0.0.1:1"), std::string::npos)
      << listed.error().message();
  EXPECT_EQ(registry->update(update_of({put_operation("a", "1", kPersistent)})).error().code(),
            ErrorCode::kUnavailable)
      << "nothing was sent, so nothing happened";
}

TEST(EtcdRegistry, AMemberThatHangsIsPassedOver) {
  const std::string prefix = "test/" + random_hex(8) + "/";
  auto& cluster = shared_cluster();
  const auto registry = open_cluster(prefix);
  Session me(*registry, "me");
  ASSERT_TRUE(me.putinfo("a", text_item("1"), kPersistent));
  cluster.signal(0, SIGSTOP);
  EXPECT_TRUE(me.recvinfo("a", 0, 0));
  EXPECT_TRUE(me.putinfo("b", text_item("1"), kPersistent));
  cluster.signal(0, SIGCONT);
}

// A writer goes on while a member is lost, then the majority, and then all come back. What was acknowledged
// is there, once and in order; nothing was acknowledged without a majority; a watch has missed nothing.
TEST(EtcdRegistry, LosesAMemberThenTheMajorityAndNoUpdate) {
  const std::string prefix = "test/" + random_hex(8) + "/";
  auto& cluster = shared_cluster();
  const auto registry = open_cluster(prefix, std::chrono::milliseconds(2'500));
  const std::uint64_t start = open_cluster(prefix)->list("*")->revision;

  std::atomic<int> acknowledged{0};
  std::atomic<int> failed{0};
  std::atomic<bool> enough{false};
  std::thread writer([&] {
    for (int i = 0; !enough;) {
      Update update = update_of({put_operation("log", std::to_string(i), kPersistent | kMultiple)});
      update.request = prefix + std::to_string(i);
      const auto done = registry->update(update);
      if (done) {
        EXPECT_EQ(done->outcomes.at(0).index, static_cast<std::uint64_t>(i)) << "once, and in order";
        acknowledged = ++i;
        continue;
      }
      const auto code = done.error().code();
      EXPECT_TRUE(code == ErrorCode::kUnavailable || code == ErrorCode::kTimeout) << done.error().describe();
      ++failed;
    }
  });
  std::vector<std::string> seen;
  std::atomic<bool> written{false};
  std::thread watcher([&] {
    const auto follower = open_cluster(prefix);
    std::uint64_t cursor = start;
    const auto ends = std::chrono::steady_clock::now() + 2 * kLong;
    while (std::chrono::steady_clock::now() < ends) {
      const auto events = follower->watch(cursor, "log", std::chrono::milliseconds(200), 5);
      if (!events) continue;  // without a majority
      for (const auto& event : events->events) seen.push_back(shown(event));
      cursor = events->cursor;
      if (written && static_cast<int>(seen.size()) >= acknowledged) return;
    }
  });
  const auto until = [&](const std::atomic<int>& number, int value) {
    const auto ends = std::chrono::steady_clock::now() + kLong;
    while (number < value && std::chrono::steady_clock::now() < ends)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return number >= value;
  };
  EXPECT_TRUE(until(acknowledged, 10));
  cluster.kill(0);
  EXPECT_TRUE(until(acknowledged, acknowledged + 10)) << "two of three go on";
  const int failed_before = failed;
  cluster.kill(1);
  EXPECT_TRUE(until(failed, failed_before + 1)) << "one of three says so";
  const int at_loss = acknowledged;
  const auto listed = registry->list("*");
  EXPECT_FALSE(listed) << "one of three may be behind: it answers nothing";
  EXPECT_TRUE(until(failed, failed_before + 2));
  EXPECT_EQ(acknowledged, at_loss) << "nothing is acknowledged without a majority";
  cluster.start(0);
  EXPECT_TRUE(until(acknowledged, at_loss + 10)) << "and it goes on when they are back";
  cluster.start(1);
  enough = true;
  writer.join();
  written = true;
  watcher.join();

  const auto reader = open_cluster(prefix);
  std::vector<std::string> expected;
  for (int i = 0; i < acknowledged; ++i) {
    const auto found = reader->read("log", static_cast<std::uint64_t>(i), 0);
    ASSERT_TRUE(found) << found.error().describe();
    EXPECT_EQ(text_of(found->item), std::to_string(i));
    expected.push_back("log[" + std::to_string(i) + "]=" + std::to_string(i));
  }
  seen.resize(std::min(seen.size(), expected.size()));
  EXPECT_EQ(seen, expected);
  EXPECT_LE(reader->list("*")->infos.size(), expected.size() + 1) << "at most one that nobody was told of";
}

}  // namespace
}  // namespace mvm::registry
