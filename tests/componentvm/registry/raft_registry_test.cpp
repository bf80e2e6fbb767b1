#include "mvm/registry/raft/raft_registry.h"

#include <set>
#include <thread>

#include "componentvm/registry/contract.h"
#include "mvm/base/file.h"

namespace mvm::registry {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Members of one group in this process, on loopback.
class Group {
 public:
  Group() : folder_(*make_temporary_folder(std::filesystem::temp_directory_path(), "registry-")) {}
  ~Group() {
    members_.clear();
    EXPECT_TRUE(remove_tree(folder_));
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  RaftRegistry& open(std::uint64_t id) {
    replica::Options options;
    options.group = "registry";
    options.self = {id, addresses_.contains(id) ? addresses_[id] : "127.0.0.1:0"};
    options.folder = folder_ / std::to_string(id);
    options.secret = "a secret of the group's members";
    options.beat = milliseconds(100);
    auto opened = open_raft_registry(std::move(options), {}, clock_);
    EXPECT_TRUE(opened) << opened.error().describe();
    members_[id] = std::move(*opened);
    addresses_[id] = members_[id]->replica().self().address;
    return *members_[id];
  }
  void start(std::uint64_t count) {
    std::vector<replica::Member> all;
    for (std::uint64_t id = 1; id <= count; ++id) open(id);
    for (const auto& [id, address] : addresses_) all.push_back({id, address});
    for (const auto& [id, member] : members_) EXPECT_TRUE(member->replica().bootstrap(all));
  }
  void kill(std::uint64_t id) { members_.erase(id); }  // nothing is said to the others
  RaftRegistry& at(std::uint64_t id) { return *members_.at(id); }
  std::uint64_t leader() {
    const auto ends = std::chrono::steady_clock::now() + seconds(30);
    while (std::chrono::steady_clock::now() < ends) {
      for (const auto& [id, member] : members_) {
        if (member->replica().info().leads) return id;
      }
      std::this_thread::sleep_for(milliseconds(5));
    }
    ADD_FAILURE() << "nobody leads";
    return 0;
  }

 private:
  SystemClock clock_;
  std::filesystem::path folder_;
  std::map<std::uint64_t, std::string> addresses_;
  std::map<std::uint64_t, std::unique_ptr<RaftRegistry>> members_;
};

class RaftFixture final : public RegistryFixture {
 public:
  RaftFixture() { group_.start(3); }
  Registry& registry() override { return group_.at(asked_); }
  /// Another member's view.
  Registry& reopen() override {
    asked_ = asked_ % 3 + 1;
    return group_.at(asked_);
  }

 private:
  Group group_;
  std::uint64_t asked_ = 1;
};

INSTANTIATE_TEST_SUITE_P(Raft, RegistryContract,
                         ::testing::Values(RegistryFactory([] { return std::make_unique<RaftFixture>(); })));

/// Puts under a request's name until it is surely done, as a client does that must not put twice.
void put_for_sure(Registry& registry, const std::string& name, const std::string& text) {
  auto update = update_of({put_operation(name, text, kPersistent | kMultiple)});
  update.request = name + "/" + text;
  for (int i = 0; i < 100; ++i) {
    const auto done = registry.update(update);
    if (done) return;
    ASSERT_TRUE(done.error().code() == ErrorCode::kUnavailable || done.error().code() == ErrorCode::kTimeout)
        << done.error().describe();
  }
  FAIL() << "never acknowledged";
}

std::vector<std::string> texts(Registry& registry, const std::string& name) {
  std::vector<std::string> all;
  const auto listing = registry.list(name);
  EXPECT_TRUE(listing) << listing.error().describe();
  if (!listing) return all;
  for (const Info& info : listing->infos)
    all.push_back(text_of(registry.read(info.name, info.index, 0)->item));
  return all;
}

TEST(RaftRegistry, WhatWasAcknowledgedSurvivesItsLeadersOneAfterTheOther) {
  Group group;
  group.start(5);
  std::vector<std::string> said;
  std::set<std::uint64_t> living{1, 2, 3, 4, 5};
  while (true) {
    for (const std::uint64_t id : living) {
      said.push_back(std::to_string(said.size()));
      put_for_sure(group.at(id), "n", said.back());
    }
    for (const std::uint64_t id : living) ASSERT_EQ(texts(group.at(id), "n"), said) << "one order everywhere";
    if (living.size() == 1) break;
    const std::uint64_t leader = group.leader();
    const replica::Life life{leader, group.at(leader).replica().info().life};
    group.kill(leader);
    living.erase(leader);
    for (const std::uint64_t id : living) group.at(id).replica().confirm_death(life);
  }
}

TEST(RaftRegistry, WatchesGoOnAtAnotherMember) {
  Group group;
  group.start(3);
  put_for_sure(group.at(1), "w", "1");
  const auto first = group.at(1).watch(0, "w", seconds(20));
  ASSERT_TRUE(first) << first.error().describe();
  put_for_sure(group.at(2), "w", "2");
  const auto second = group.at(3).watch(first->cursor, "w", seconds(20));
  ASSERT_TRUE(second) << second.error().describe();
  ASSERT_EQ(second->events.size(), 1U);
  EXPECT_EQ(text_of(second->events[0].item), "2");
}

TEST(RaftRegistry, LeasesEndUnderANewLeader) {
  Group group;
  group.start(3);
  const std::uint64_t leader = group.leader();
  const auto lease = grant(group.at(leader), "alice", seconds(1));
  ASSERT_TRUE(lease) << lease.error().describe();
  ASSERT_TRUE(Session(group.at(leader), "alice", *lease).putinfo("x", text_item("1"), 0));
  group.kill(leader);
  Registry& other = group.at(leader % 3 + 1);
  const auto ends = std::chrono::steady_clock::now() + seconds(60);
  while (other.read("x", 0, 0) && std::chrono::steady_clock::now() < ends)
    std::this_thread::sleep_for(milliseconds(20));
  const auto gone = other.read("x", 0, 0);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::kNotFound) << gone.error().describe();
}

}  // namespace
}  // namespace mvm::registry
