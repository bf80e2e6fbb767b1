// Groups of members in one process, on loopback: what is acknowledged stays, whoever dies, down to the last.

#include "mvm/replica/replica.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "chaos/journal.h"
#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"

namespace mvm::replica {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Journal;

constexpr auto kPatience = seconds(60);  // of the tests; a busy machine is slow

std::vector<std::uint64_t> ids(std::initializer_list<std::uint64_t> numbers) { return numbers; }

struct One {
  Journal journal;
  std::unique_ptr<Replica> replica;
  std::uint64_t terms_led = 0;
};

class ReplicaTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-replica-").value();
  }
  void TearDown() override {
    ones_.clear();
    EXPECT_TRUE(remove_tree(folder_).has_value());
  }

  Options options(std::uint64_t id) const {
    Options options;
    options.group = "test";
    options.self = Member{id, addresses_.contains(id) ? addresses_.at(id) : "127.0.0.1:0"};
    options.folder = folder_ / std::to_string(id);
    options.secret = "0123456789abcdef0123456789abcdef";
    options.beat = milliseconds(100);
    options.limits = limits_;
    return options;
  }

  Status open(std::uint64_t id) {
    auto one = std::make_unique<One>();
    auto replica = Replica::open(options(id), one->journal, {});
    if (!replica) return std::move(replica).error();
    one->replica = std::move(*replica);
    addresses_[id] = one->replica->self().address;
    ones_[id] = std::move(one);
    return ok();
  }

  std::vector<Member> group(const std::set<std::uint64_t>& numbers) const {
    std::vector<Member> members;
    for (const std::uint64_t id : numbers) members.push_back(Member{id, addresses_.at(id)});
    return members;
  }

  void start(const std::set<std::uint64_t>& numbers) {
    for (const std::uint64_t id : numbers) ASSERT_TRUE(open(id).has_value());
    for (const std::uint64_t id : numbers) ASSERT_TRUE(at(id).bootstrap(group(numbers)).has_value());
  }

  Replica& at(std::uint64_t id) { return *ones_.at(id)->replica; }

  template <class Condition>
  bool eventually(Condition condition, std::chrono::milliseconds limit = kPatience) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return true;
  }

  Result<Applied> propose(std::uint64_t id, const std::string& command, milliseconds limit = kPatience) {
    std::promise<Result<Applied>> answered;
    at(id).propose(
        command, [&](Result<Applied> result) { answered.set_value(std::move(result)); }, limit);
    return answered.get_future().get();
  }

  /// Until it is surely done, however many leaders that takes. Each try is a command of its own.
  std::string must(std::uint64_t id, const std::string& command) {
    for (int i = 0; i < 100; ++i) {
      std::string tried = command + "#" + std::to_string(tries_++);
      if (propose(id, tried, seconds(20))) return tried;
      unsure_.insert(tried);
    }
    ADD_FAILURE() << "never acknowledged: " << command;
    return command;
  }

  std::vector<std::string> read(std::uint64_t id) {
    std::promise<Status> done;
    std::vector<std::string> commands;
    at(id).barrier(
        [&](Status status) {
          for (const auto& [index, command] : ones_.at(id)->journal.entries()) commands.push_back(command);
          done.set_value(std::move(status));
        },
        kPatience);
    const Status status = done.get_future().get();
    EXPECT_TRUE(status.has_value()) << status.error().describe();
    std::erase_if(commands, [this](const std::string& command) { return unsure_.contains(command); });
    return commands;
  }

  std::uint64_t leader() {
    std::uint64_t found = 0;
    EXPECT_TRUE(eventually([&] {
      for (const auto& [id, one] : ones_) {
        if (one->replica->info().leads) found = id;
      }
      return found != 0;
    }));
    return found;
  }

  Life life(std::uint64_t id) { return Life{id, at(id).info().life}; }

  /// As kill -9 does: nothing is said, and only what was on disk stays.
  void kill(std::uint64_t id) { ones_.erase(id); }

  std::filesystem::path folder_;
  std::map<std::uint64_t, std::string> addresses_;
  std::map<std::uint64_t, std::unique_ptr<One>> ones_;
  Limits limits_;
  std::set<std::string> unsure_;  ///< tried, and nobody knows
  int tries_ = 0;
};

TEST_F(ReplicaTest, OneMemberAloneOrdersAppliesAndRemembers) {
  start({1});
  const std::string a = must(1, "a 1");
  const std::string b = must(1, "b 2");
  EXPECT_EQ(read(1), (std::vector{a, b}));
  kill(1);
  ASSERT_TRUE(open(1).has_value());
  EXPECT_EQ(read(1), (std::vector{a, b}));
  EXPECT_EQ(at(1).info().life, 2U);
}

TEST_F(ReplicaTest, ThreeMembersAgreeWhoeverIsAsked) {
  start({1, 2, 3});
  std::vector<std::string> said;
  for (std::uint64_t i = 0; i < 30; ++i) said.push_back(must(1 + i % 3, "k " + std::to_string(i)));
  for (const std::uint64_t id : ids({1, 2, 3})) EXPECT_EQ(read(id), said) << id;
}

TEST_F(ReplicaTest, TheLeadersDeathCostsNothingAcknowledged) {
  start({1, 2, 3});
  std::vector<std::string> said{must(1, "a 1")};
  const std::uint64_t first = leader();
  const std::uint64_t term = at(first).info().term;
  kill(first);
  const std::uint64_t other = first == 1 ? 2 : 1;
  said.push_back(must(other, "b 2"));
  const std::uint64_t second = leader();
  EXPECT_NE(second, first);
  EXPECT_GT(at(second).info().term, term);
  ASSERT_TRUE(open(first).has_value());
  EXPECT_EQ(read(first), said);
}

TEST_F(ReplicaTest, ConfirmedDeathsShrinkTheGroupDownToTheLastMember) {
  start({1, 2, 3});
  std::vector<std::string> said{must(1, "a 1")};
  // One after the other, and each time the rest go on.
  const Life third = life(3);
  kill(3);
  at(1).confirm_death(third);
  said.push_back(must(1, "b 2"));
  EXPECT_TRUE(eventually([&] {
    const auto members = at(1).members();
    return std::count_if(members.begin(), members.end(),
                         [](const MemberState& one) { return one.role == Role::kVoter; }) == 2;
  }));
  const Life first = life(1);
  kill(1);
  at(2).confirm_death(first);
  said.push_back(must(2, "c 3"));
  EXPECT_EQ(read(2), said);
  EXPECT_TRUE(at(2).info().leads);
}

TEST_F(ReplicaTest, AMajorityThatDiesAtOnceLeavesAllThatWasAcknowledged) {
  start({1, 2, 3, 4, 5});
  std::vector<std::string> said;
  for (int i = 0; i < 20; ++i) said.push_back(must(1, "k " + std::to_string(i)));
  const Life one = life(1);
  const Life two = life(2);
  const Life three = life(3);
  for (const std::uint64_t id : ids({1, 2, 3})) kill(id);
  // Silence is no death: the two that are left do not go on by themselves.
  EXPECT_FALSE(propose(4, "no 1", milliseconds(800)).has_value());
  EXPECT_EQ(at(4).info().epoch, 0U);
  for (const std::uint64_t id : ids({4, 5})) {
    at(id).confirm_death(one);
    at(id).confirm_death(two);
    at(id).confirm_death(three);
  }
  said.push_back(must(5, "yes 1"));
  auto all = read(4);
  std::erase_if(all, [](const std::string& command) {
    return command.starts_with("no ");
  });  // it may have been decided after all
  EXPECT_EQ(all, said);
  EXPECT_EQ(read(5).size(), read(4).size());
  EXPECT_EQ(at(4).info().epoch, 1U);
  EXPECT_GE(at(4).info().term, std::uint64_t{1} << 32U);
}

TEST_F(ReplicaTest, ASurvivorThatIsOnlySilentBlocksTheRecovery) {
  start({1, 2, 3, 4, 5});
  must(1, "a 1");
  std::vector<Life> dead;
  for (const std::uint64_t id : ids({2, 3, 4})) dead.push_back(life(id));
  for (const std::uint64_t id : ids({2, 3, 4, 5})) kill(id);  // but nobody says so of 5
  for (const Life& one : dead) at(1).confirm_death(one);
  EXPECT_FALSE(propose(1, "b 2", seconds(1)).has_value());
  EXPECT_EQ(at(1).info().epoch, 0U);
  ASSERT_TRUE(open(5).has_value());
  must(1, "c 3");
  EXPECT_EQ(at(1).info().epoch, 1U);
  EXPECT_EQ(read(5), read(1));
}

TEST_F(ReplicaTest, TheDeadThatComeBackFormNoSecondGroup) {
  start({1, 2, 3});
  must(1, "a 1");
  const Life two = life(2);
  const Life three = life(3);
  kill(2);
  kill(3);
  at(1).confirm_death(two);
  at(1).confirm_death(three);
  const std::string alone = must(1, "alone 1");
  const Life one = life(1);
  kill(1);
  // They are a majority of the group they knew, and the only one that knows better is away.
  ASSERT_TRUE(open(2).has_value());
  ASSERT_TRUE(open(3).has_value());
  at(2).confirm_death(one);  // true, and still not enough: its copy may come back
  EXPECT_FALSE(propose(2, "b 2", seconds(1)).has_value());
  EXPECT_FALSE(at(2).info().active);
  ASSERT_TRUE(open(1).has_value());
  const std::string after = must(2, "after 1");
  for (const std::uint64_t id : ids({1, 2, 3})) {
    const auto all = read(id);
    EXPECT_EQ(std::count(all.begin(), all.end(), alone), 1) << id;
    EXPECT_EQ(all.back(), after) << id;
    EXPECT_EQ(all, read(1));
  }
  EXPECT_EQ(at(3).info().epoch, 1U);
}

TEST_F(ReplicaTest, AllStopAndAllComeBack) {
  start({1, 2, 3});
  std::vector<std::string> said{must(1, "a 1"), must(2, "b 2")};
  for (const std::uint64_t id : ids({1, 2, 3})) kill(id);
  ASSERT_TRUE(open(1).has_value());
  ASSERT_TRUE(open(2).has_value());
  EXPECT_FALSE(propose(1, "no 1", milliseconds(500)).has_value());
  at(1).confirm_lost(3);  // the operator's word; 2 hears of it
  said.push_back(must(2, "c 3"));
  EXPECT_EQ(read(1), said);
}

TEST_F(ReplicaTest, NewcomersCatchUpAndVote) {
  limits_.snapshot_every = 64;
  start({1, 2});
  std::vector<std::string> said;
  for (int i = 0; i < 400; ++i) said.push_back(must(1, "k " + std::to_string(i)));  // several snapshots
  ASSERT_TRUE(open(3).has_value());
  ASSERT_TRUE(at(3).join(group({1})).has_value());
  EXPECT_TRUE(eventually([&] {
    const auto members = at(1).members();
    return std::any_of(members.begin(), members.end(),
                       [](const MemberState& one) { return one.member.id == 3 && one.role == Role::kVoter; });
  }));
  EXPECT_EQ(read(3), said);
  const Life one = life(1);
  const Life two = life(2);
  kill(1);
  kill(2);
  at(3).confirm_death(one);
  at(3).confirm_death(two);
  said.push_back(must(3, "last 1"));
  EXPECT_EQ(read(3), said);
}

TEST_F(ReplicaTest, ThereAreOnlySoManyVoters) {
  limits_.voters = 3;
  start({1, 2, 3, 4});
  must(4, "a 1");
  const auto roles = [this] {
    std::size_t voters = 0;
    for (const MemberState& one : at(4).members()) voters += one.role == Role::kVoter && !one.dead ? 1U : 0U;
    return voters;
  };
  EXPECT_TRUE(eventually([&] { return roles() == 3; }));
  const Life one = life(1);
  kill(1);
  at(2).confirm_death(one);
  must(4, "b 2");
  EXPECT_TRUE(eventually([&] {
    const auto members = at(4).members();
    return std::any_of(members.begin(), members.end(), [](const MemberState& state) {
      return state.member.id == 4 && state.role == Role::kVoter;
    });
  }));
}

TEST_F(ReplicaTest, OneLeavesInGoodOrder) {
  start({1, 2, 3});
  must(1, "a 1");
  std::promise<Status> left;
  at(2).leave([&](Status status) { left.set_value(std::move(status)); });
  EXPECT_TRUE(left.get_future().get().has_value());
  kill(2);
  must(1, "b 2");
  EXPECT_EQ(open(2).error().code(), ErrorCode::kRefused);
}

TEST_F(ReplicaTest, StrangersAreRefused) {
  start({1});
  must(1, "a 1");
  auto wrong = options(9);
  wrong.secret = "another secret, of nobody's";
  Journal journal;
  auto stranger = Replica::open(wrong, journal, {}).value();
  ASSERT_TRUE(stranger->join(group({1})).has_value());
  auto other = options(8);
  other.group = "other";
  Journal second;
  auto elsewhere = Replica::open(other, second, {}).value();
  ASSERT_TRUE(elsewhere->join(group({1})).has_value());
  EXPECT_FALSE(eventually([&] { return stranger->info().active || elsewhere->info().active; }, seconds(1)));
  EXPECT_EQ(at(1).members().size(), 1U);
}

TEST_F(ReplicaTest, WhereSomebodyElseAnswersAMemberIsGone) {
  start({1, 2, 3});
  must(1, "a 1");
  const auto displaced = [&](std::uint64_t id) {
    const auto members = at(1).members();
    return std::any_of(members.begin(), members.end(), [&](const MemberState& one) {
      return one.member.id == id && one.displaced && !one.connected;
    });
  };
  const std::string address = addresses_.at(2);
  kill(2);
  kill(3);
  EXPECT_FALSE(eventually([&] { return displaced(2) || displaced(3); }, seconds(1)))
      << "silence proves nothing";

  // A server that knows nothing of the group took the port of one,
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  place.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&place), sizeof place), 0);
  ASSERT_EQ(::listen(socket.get(), 8), 0);
  std::atomic<bool> over = false;
  std::thread greeter([&] {
    while (!over) {
      const UniqueFd caller(::accept(socket.get(), nullptr, nullptr));
      if (!caller) break;
      (void)::send(caller.get(), "220 mail\r\n", 10, MSG_NOSIGNAL);
      std::array<char, 4096> hello{};
      (void)::recv(caller.get(), hello.data(), hello.size(), 0);
    }
  });
  EXPECT_TRUE(eventually([&] { return displaced(2); }));
  EXPECT_FALSE(displaced(3));

  // and another member that of the other.
  addresses_[4] = addresses_.at(3);
  ASSERT_TRUE(open(4).has_value());
  EXPECT_TRUE(eventually([&] { return displaced(3); }));
  over = true;
  ::shutdown(socket.get(), SHUT_RDWR);
  greeter.join();
}

TEST_F(ReplicaTest, AFolderHasOneOwner) {
  start({1});
  EXPECT_EQ(open(1).error().code(), ErrorCode::kExists);
}

TEST_F(ReplicaTest, TooMuchIsRefusedAtOnce) {
  limits_.command_bytes = 1000;
  start({1});
  EXPECT_EQ(propose(1, std::string(1001, 'x')).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(propose(1, "").error().code(), ErrorCode::kInvalid);
  EXPECT_TRUE(propose(1, std::string(1000, 'x')).has_value());
}

TEST_F(ReplicaTest, ALedgerThatIsBrokenIsNotGuessedAt) {
  start({1});
  must(1, "a 1");
  kill(1);
  std::ofstream(folder_ / "1" / "group", std::ios::trunc) << "nonsense";
  EXPECT_EQ(open(1).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace mvm::replica
