#include "componentvm/registry/contract.h"

#include <atomic>
#include <map>
#include <set>
#include <thread>

namespace mvm::registry {

TEST_P(RegistryContract, TheFourCallsOfThePaper) {
  Session alice(registry(), "alice");
  Session bob(registry(), "bob");
  ASSERT_EQ(alice.putinfo("dvm/hosts", text_item("one"), kPersistent | kMultiple).value(), 0U);
  ASSERT_EQ(bob.putinfo("dvm/hosts", text_item("two"), kPersistent | kMultiple).value(), 1U);
  ASSERT_EQ(alice.putinfo("dvm/name", text_item("lab"), kPersistent).value(), 0U);

  const auto second = bob.recvinfo("dvm/hosts", 1, 0);
  ASSERT_TRUE(second) << second.error().describe();
  EXPECT_EQ(text_of(second->item), "two");
  EXPECT_EQ(second->info.owner, "bob");
  EXPECT_EQ(second->info.flags, kPersistent | kMultiple);
  EXPECT_EQ(code(bob.recvinfo("dvm/hosts", 2, 0)), ErrorCode::kNotFound);
  EXPECT_EQ(code(bob.recvinfo("dvm/none", 0, 0)), ErrorCode::kNotFound);

  const auto found = alice.getreginfo("dvm/*");
  ASSERT_TRUE(found);
  ASSERT_EQ(found->infos.size(), 3U);
  EXPECT_EQ(found->infos[0].name, "dvm/hosts");
  EXPECT_EQ(found->infos[1].index, 1U);
  EXPECT_EQ(found->infos[1].size, second->item->size());
  EXPECT_EQ(found->infos[2].name, "dvm/name");
  EXPECT_LT(found->infos[0].revision, found->infos[1].revision);

  ASSERT_TRUE(alice.delinfo("dvm/hosts", 0));
  EXPECT_EQ(code(alice.delinfo("dvm/hosts", 0)), ErrorCode::kNotFound);
  EXPECT_EQ(bob.recvinfo("dvm/hosts", 0, kFirstAvailable)->info.index, 1U);
  ASSERT_EQ(alice.putinfo("dvm/hosts", text_item("three"), kPersistent | kMultiple).value(), 2U);
}

TEST_P(RegistryContract, OwnersRules) {
  Session alice(registry(), "alice");
  Session bob(registry(), "bob");
  ASSERT_TRUE(alice.putinfo("mine", text_item("1"), kPersistent));
  ASSERT_TRUE(alice.putinfo("all", text_item("1"), kPersistent | kAnyone));

  EXPECT_EQ(code(bob.putinfo("mine", text_item("2"), kPersistent)), ErrorCode::kExists);
  EXPECT_EQ(code(alice.putinfo("mine", text_item("2"), kPersistent)), ErrorCode::kExists) << "no kOverwrite";
  EXPECT_EQ(code(bob.putinfo("mine", text_item("2"), kPersistent | kOverwrite)), ErrorCode::kRefused);
  EXPECT_EQ(code(bob.delinfo("mine", 0)), ErrorCode::kRefused);
  EXPECT_EQ(code(bob.recvinfo("mine", 0, kReadAndDelete)), ErrorCode::kRefused);
  EXPECT_EQ(code(bob.putinfo("mine", text_item("2"), kPersistent | kMultiple)), ErrorCode::kExists);
  ASSERT_EQ(alice.putinfo("mine", text_item("2"), kPersistent | kOverwrite).value(), 0U);
  EXPECT_EQ(text_of(bob.recvinfo("mine", 0, 0)->item), "2");

  ASSERT_EQ(bob.putinfo("all", text_item("2"), kPersistent | kOverwrite).value(), 0U);
  EXPECT_EQ(alice.recvinfo("all", 0, 0)->info.owner, "bob") << "who overwrites owns";
  EXPECT_EQ(code(alice.delinfo("all", 0)), ErrorCode::kRefused) << "bob's put did not say anyone";

  ASSERT_TRUE(alice.putinfo("many", text_item("a"), kPersistent | kMultiple));
  ASSERT_TRUE(bob.putinfo("many", text_item("b"), kPersistent | kMultiple | kAnyone));
  EXPECT_EQ(code(bob.putinfo("many", text_item("c"), kPersistent)), ErrorCode::kExists);
  constexpr auto kReplace = kPersistent | kMultiple | kOverwrite;
  EXPECT_EQ(alice.putinfo("many", text_item("c"), kReplace, 1).value(), 1U);
  EXPECT_EQ(code(alice.putinfo("many", text_item("c"), kReplace, 7)), ErrorCode::kNotFound);
  EXPECT_EQ(code(bob.putinfo("many", text_item("c"), kReplace, 0)), ErrorCode::kRefused);
  EXPECT_EQ(bob.putinfo("fresh", text_item("x"), kPersistent | kOverwrite).value(), 0U);

  const auto taken = bob.recvinfo("fresh", 0, kReadAndDelete);
  ASSERT_TRUE(taken);
  EXPECT_EQ(text_of(taken->item), "x");
  EXPECT_EQ(code(bob.recvinfo("fresh", 0, kReadAndDelete)), ErrorCode::kNotFound);
}

TEST_P(RegistryContract, WhatIsNotPersistentGoesWithItsOwnersLease) {
  const auto before = revision();
  const auto lease = grant(registry(), "alice", std::chrono::hours(1));
  ASSERT_TRUE(lease) << lease.error().describe();
  Session alice(registry(), "alice", *lease);
  ASSERT_TRUE(alice.putinfo("here", text_item("1"), 0));
  ASSERT_TRUE(alice.putinfo("too", text_item("2"), kMultiple | kAnyone));
  ASSERT_TRUE(alice.putinfo("stays", text_item("3"), kPersistent));
  EXPECT_EQ(code(Session(registry(), "alice").putinfo("x", text_item("x"), 0)), ErrorCode::kInvalid);
  EXPECT_EQ(code(Session(registry(), "bob", *lease).putinfo("x", text_item("x"), 0)), ErrorCode::kRefused);
  EXPECT_EQ(code(revoke(registry(), "bob", *lease)), ErrorCode::kRefused);
  ASSERT_TRUE(registry().keep_alive(*lease));

  ASSERT_TRUE(revoke(registry(), "alice", *lease));
  ASSERT_TRUE(revoke(registry(), "alice", *lease)) << "no error where it has ended";
  EXPECT_EQ(code(registry().keep_alive(*lease)), ErrorCode::kNotFound);
  EXPECT_EQ(code(alice.putinfo("here", text_item("1"), 0)), ErrorCode::kNotFound);
  const auto left = registry().list("*");
  ASSERT_EQ(left->infos.size(), 1U);
  EXPECT_EQ(left->infos[0].name, "stays");
  const auto events = events_after(before, 5);
  ASSERT_EQ(events.size(), 5U);
  EXPECT_EQ(events[3].revision, events[4].revision) << "they go in one revision";
  EXPECT_EQ((std::set<std::string>{shown(events[3]), shown(events[4])}),
            (std::set<std::string>{"here[0]-", "too[0]-"}));
  EXPECT_EQ(Session(registry(), "bob").putinfo("here", text_item("b"), kPersistent).value(), 0U);
}

TEST_P(RegistryContract, ALeaseThatNobodyKeepsEnds) {
  // Whole seconds: etcd knows no shorter ones.
  const auto kept = *grant(registry(), "bob", std::chrono::seconds(60));
  const auto lease = *grant(registry(), "alice", std::chrono::seconds(1));
  const auto before = revision();
  ASSERT_TRUE(Session(registry(), "bob", kept).putinfo("kept", text_item("1"), 0));
  ASSERT_TRUE(Session(registry(), "alice", lease).putinfo("ends", text_item("1"), 0));
  const auto events = events_after(before, 2, "ends");
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(shown(events.back()), "ends[0]-");
  EXPECT_EQ(code(registry().keep_alive(lease)), ErrorCode::kNotFound);
  EXPECT_TRUE(registry().read("kept", 0, 0));
}

TEST_P(RegistryContract, AnUpdateHappensWholeOrNotAtAll) {
  ASSERT_TRUE(registry().update(update_of({put_operation("a", "1", kPersistent)})));
  const auto before = revision();
  Operation check{.kind = Operation::Kind::kCheck, .name = "a", .expect = 4711};
  Operation missing{.kind = Operation::Kind::kDelete, .name = "missing", .owner = "alice"};
  const Operation grant_too{
      .kind = Operation::Kind::kGrant, .owner = "alice", .ttl = std::chrono::seconds(10)};
  for (const auto& last : {check, missing, grant_too, put_operation("a", "2", kPersistent)}) {
    const auto result = registry().update(update_of(
        {put_operation("b", "x", kPersistent), put_operation("a", "9", kPersistent | kOverwrite), last}));
    EXPECT_FALSE(result);
  }
  EXPECT_EQ(revision(), before);
  EXPECT_FALSE(registry().read("b", 0, 0));
  EXPECT_EQ(text_of(registry().read("a", 0, 0)->item), "1");

  check.expect = registry().read("a", 0, 0)->info.revision;
  const Operation take{.kind = Operation::Kind::kTake, .name = "a", .owner = "alice"};
  const auto done = registry().update(update_of({check, put_operation("b", "x", kPersistent), take,
                                                 put_operation("c", "1", kPersistent | kMultiple),
                                                 put_operation("c", "2", kPersistent | kMultiple)}));
  ASSERT_TRUE(done) << done.error().describe();
  ASSERT_EQ(done->outcomes.size(), 5U);
  EXPECT_EQ(text_of(done->outcomes[2].taken->item), "1");
  EXPECT_EQ(done->outcomes[3].index, 0U);
  EXPECT_EQ(done->outcomes[4].index, 1U) << "later operations see what earlier ones did";
  EXPECT_GT(done->revision, before);
  const auto events = events_after(before, 4);
  ASSERT_EQ(events.size(), 4U);
  for (const auto& event : events) EXPECT_EQ(event.revision, done->revision);
  EXPECT_EQ(registry().read("c", 1, 0)->info.revision, done->revision);
}

TEST_P(RegistryContract, ExpectationsAreComparedWithTheInstance) {
  Operation first = put_operation("n", "1", kPersistent | kOverwrite);
  first.expect = 0;
  const auto made = registry().update(update_of({first}));
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ(code(registry().update(update_of({first}))), ErrorCode::kConflict);
  Operation second = put_operation("n", "2", kPersistent | kOverwrite);
  second.expect = made->revision;
  ASSERT_TRUE(registry().update(update_of({second})));
  EXPECT_EQ(code(registry().update(update_of({second}))), ErrorCode::kConflict);
  Operation gone{.kind = Operation::Kind::kDelete, .name = "n", .owner = "alice", .expect = made->revision};
  EXPECT_EQ(code(registry().update(update_of({gone}))), ErrorCode::kConflict);
  gone.expect.reset();
  EXPECT_TRUE(registry().update(update_of({gone})));
}

TEST_P(RegistryContract, ManyThreadsNeverBothWin) {
  ASSERT_TRUE(registry().update(update_of({put_operation("counter", "0", kPersistent | kAnyone)})));
  constexpr int kThreads = 4;
  constexpr int kEach = 8;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kEach;) {
        const auto now = registry().read("counter", 0, 0);
        if (!now) continue;
        Operation next = put_operation("counter", std::to_string(std::stoi(text_of(now->item)) + 1),
                                       kPersistent | kAnyone | kOverwrite);
        next.expect = now->info.revision;
        const auto done = registry().update(update_of({next}));
        if (done) ++i;
        if (!done && done.error().code() != ErrorCode::kConflict) {
          ADD_FAILURE() << done.error().describe();
          return;
        }
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(text_of(registry().read("counter", 0, 0)->item), std::to_string(kThreads * kEach));
}

TEST_P(RegistryContract, EveryInstanceIsTakenOnce) {
  constexpr int kCount = 24;
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      Session worker(registry(), "worker");
      while (taken < kCount) {
        const auto got = worker.recvinfo("work", 0, kReadAndDelete | kFirstAvailable | kWait,
                                         std::chrono::milliseconds(200));
        if (got) ++taken;
        if (!got && got.error().code() != ErrorCode::kTimeout) {
          ADD_FAILURE() << got.error().describe();
          return;
        }
      }
    });
  Session master(registry(), "master");
  for (int i = 0; i < kCount; ++i)
    EXPECT_TRUE(master.putinfo("work", text_item(std::to_string(i)), kPersistent | kMultiple | kAnyone));
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(taken, kCount);
  EXPECT_TRUE(registry().list("work")->infos.empty());
}

TEST_P(RegistryContract, WatchesAreResumedWithoutLossOrDoubling) {
  const auto start = revision();
  Session alice(registry(), "alice");
  ASSERT_TRUE(alice.putinfo("w/a", text_item("1"), kPersistent));
  ASSERT_TRUE(alice.putinfo("x", text_item("1"), kPersistent));
  EXPECT_FALSE(alice.putinfo("w/a", text_item("9"), kPersistent));
  ASSERT_TRUE(alice.putinfo("w/a", text_item("2"), kPersistent | kOverwrite));
  auto first = registry().watch(start, "w/*", kMaxPoll, 1);
  ASSERT_TRUE(first) << first.error().describe();
  ASSERT_EQ(shown_all(first->events), std::vector<std::string>{"w/a[0]=1"});
  ASSERT_TRUE(alice.delinfo("w/a", 0));
  ASSERT_TRUE(alice.putinfo("w/b", text_item("3"), kPersistent));
  Registry& other = fixture_->reopen();
  EXPECT_EQ(shown_all(events_after(other, first->cursor, 3, "w/*")),
            (std::vector<std::string>{"w/a[0]=2", "w/a[0]-", "w/b[0]=3"}));
  EXPECT_EQ(shown_all(events_after(other, start, 1, "x")), std::vector<std::string>{"x[0]=1"});

  const auto end = other.list("*")->revision;
  const auto nothing = other.watch(end, "*", std::chrono::milliseconds(1), 10);
  ASSERT_TRUE(nothing) << nothing.error().describe();
  EXPECT_TRUE(nothing->events.empty());
  EXPECT_EQ(nothing->cursor, end);
  EXPECT_EQ(code(other.watch(end + 1000000, "*", std::chrono::milliseconds(1), 10)), ErrorCode::kNotFound);
}

TEST_P(RegistryContract, EverybodySeesOneOrder) {
  const auto start = revision();
  constexpr int kThreads = 3;
  constexpr int kEach = 20;
  std::vector<Event> live;
  std::thread watcher([&] { live = events_after(start, std::size_t{kThreads} * kEach); });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      Session me(registry(), "writer" + std::to_string(t));
      for (int i = 0; i < kEach; ++i)
        EXPECT_TRUE(me.putinfo("k" + std::to_string(i % 5) + "/" + std::to_string(t),
                               text_item(std::to_string(i)), kPersistent | kOverwrite));
    });
  for (auto& thread : threads) thread.join();
  watcher.join();
  const auto later = events_after(start, std::size_t{kThreads} * kEach);
  EXPECT_EQ(shown_all(live), shown_all(later));
  std::map<std::string, std::string> replayed;
  std::uint64_t last = start;
  for (const auto& event : later) {
    EXPECT_GT(event.revision, last);
    last = event.revision;
    replayed[event.info.name] = text_of(event.item);
  }
  EXPECT_EQ(last, revision());
  const auto now = registry().list("*");
  EXPECT_EQ(now->infos.size(), replayed.size());
  for (const auto& info : now->infos)
    EXPECT_EQ(text_of(registry().read(info.name, info.index, 0)->item), replayed[info.name]);
}

TEST_P(RegistryContract, ListsPageByPage) {
  Session alice(registry(), "alice");
  for (const char* name : {"p/b", "p/a", "p", "q/a", "p/a/x"})
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(alice.putinfo(name, text_item("x"), kPersistent | kMultiple));
  std::vector<std::string> seen;
  std::optional<Position> after;
  for (int pages = 0; pages < 10; ++pages) {
    const auto page = registry().list("p/*", after, 3);
    ASSERT_TRUE(page) << page.error().describe();
    for (const auto& info : page->infos) seen.push_back(info.name + "#" + std::to_string(info.index));
    if (!page->more) break;
    after = Position{.name = page->infos.back().name, .index = page->infos.back().index};
  }
  EXPECT_EQ(seen, (std::vector<std::string>{"p/a#0", "p/a#1", "p/a/x#0", "p/a/x#1", "p/b#0", "p/b#1"}));
  EXPECT_EQ(registry().list("?/[a-a]")->infos.size(), 4U);
  EXPECT_EQ(code(registry().list("[")), ErrorCode::kInvalid);
}

TEST_P(RegistryContract, RefusesWhatBreaksALimit) {
  const auto before = revision();
  Session alice(registry(), "alice");
  EXPECT_EQ(code(alice.putinfo("", text_item("x"), kPersistent)), ErrorCode::kInvalid);
  EXPECT_EQ(code(alice.putinfo(std::string(kMaxName + 1, 'n'), text_item("x"), kPersistent)),
            ErrorCode::kInvalid);
  EXPECT_EQ(code(alice.putinfo("a\nb", text_item("x"), kPersistent)), ErrorCode::kInvalid);
  EXPECT_EQ(code(alice.putinfo("\xff", text_item("x"), kPersistent)), ErrorCode::kInvalid);
  EXPECT_EQ(code(alice.putinfo("a", make_item("\x7f"), kPersistent)), ErrorCode::kInvalid)
      << "no packed item";
  EXPECT_EQ(code(alice.putinfo("a", text_item(std::string(kMaxItem, 'x')), kPersistent)),
            ErrorCode::kInvalid);
  EXPECT_EQ(code(alice.putinfo("a", nullptr, kPersistent)), ErrorCode::kInvalid);
  EXPECT_EQ(code(alice.putinfo("a", text_item("x"), 1U << 20U)), ErrorCode::kInvalid);
  EXPECT_EQ(code(registry().update(Update{})), ErrorCode::kInvalid);
  EXPECT_EQ(code(grant(registry(), "alice", std::chrono::milliseconds(0))), ErrorCode::kInvalid);
  EXPECT_EQ(code(grant(registry(), "", std::chrono::seconds(10))), ErrorCode::kInvalid);
  EXPECT_EQ(revision(), before);
  const std::string large(kMaxItem - 5, 'x');
  ASSERT_TRUE(alice.putinfo(std::string(kMaxName, 'n'), text_item(large), kPersistent));
  EXPECT_EQ(text_of(registry().read(std::string(kMaxName, 'n'), 0, 0)->item), large);
  EXPECT_EQ(events_after(before, 1).at(0).item->size(), kMaxItem);
}

TEST_P(RegistryContract, ARequestThatIsSentAgainHappensOnce) {
  Update update = update_of({put_operation("once", "1", kPersistent | kMultiple | kAnyone)});
  update.request = "request-1";
  const auto first = registry().update(update);
  ASSERT_TRUE(first) << first.error().describe();
  const auto again = fixture_->reopen().update(update);
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_EQ(again->revision, first->revision);
  EXPECT_EQ(again->outcomes.at(0).index, 0U);
  EXPECT_EQ(registry().list("once")->infos.size(), 1U);
  Update take = update_of({Operation{.kind = Operation::Kind::kTake, .name = "once", .owner = "bob"}});
  take.request = "request-2";
  ASSERT_TRUE(registry().update(take));
  const auto taken = registry().update(take);
  ASSERT_TRUE(taken) << taken.error().describe();
  EXPECT_EQ(text_of(taken->outcomes.at(0).taken->item), "1");
}

TEST_P(RegistryContract, KeepsWhatWasAnswered) {
  const auto lease = *grant(registry(), "alice", std::chrono::hours(1));
  Session alice(registry(), "alice", lease);
  ASSERT_TRUE(alice.putinfo("a", text_item("1"), kPersistent | kAnyone));
  ASSERT_TRUE(alice.putinfo("b", text_item("2"), kMultiple));
  const auto before = registry().list("*");
  Registry& other = fixture_->reopen();
  const auto after = other.list("*");
  ASSERT_TRUE(after) << after.error().describe();
  EXPECT_EQ(after->infos, before->infos);
  EXPECT_EQ(after->revision, before->revision);
  EXPECT_TRUE(other.keep_alive(lease));
  ASSERT_TRUE(revoke(other, "alice", lease));
  EXPECT_EQ(other.list("*")->infos.size(), 1U);
}

TEST_P(RegistryContract, WaitsForWhatIsNotThereYet) {
  Session bob(registry(), "bob");
  EXPECT_EQ(code(bob.recvinfo("soon", 0, kWait, std::chrono::milliseconds(20))), ErrorCode::kTimeout);
  std::thread putter([&] {
    Session alice(registry(), "alice");
    EXPECT_TRUE(alice.putinfo("other", text_item("x"), kPersistent));
    EXPECT_TRUE(alice.putinfo("soon", text_item("yes"), kPersistent));
  });
  const auto found = bob.recvinfo("soon", 0, kWait);
  putter.join();
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(text_of(found->item), "yes");
}

TEST_P(RegistryContract, StopEndsWhatWaits) {
  const auto now = revision();
  std::thread watcher([&] {
    const auto result = registry().watch(now, "*", kMaxPoll, 10);
    EXPECT_EQ(code(result), ErrorCode::kCancelled);
  });
  registry().stop();
  watcher.join();
}

}  // namespace mvm::registry
