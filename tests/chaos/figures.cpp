// Figures of a replicated group on loopback, its members in this process: latency and rate of commits for 1,
// 3 and 5 members, the time from a leader's sudden end to the next commit, and the time until the last member
// goes on alone. Not a test: it asserts nothing.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <future>
#include <thread>

#include "chaos/journal.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/replica/replica.h"

namespace {

using Clock = std::chrono::steady_clock;
using mvm::replica::Life;
using mvm::replica::Member;
using mvm::replica::Replica;

/// Takes commands and keeps nothing, so that the group alone is measured.
class Nothing final : public mvm::replica::StateMachine {
 public:
  std::string apply(std::uint64_t, std::string_view) override { return {}; }
  std::string snapshot() override { return "x"; }
  mvm::Status restore(std::string_view) override { return mvm::ok(); }
};

struct Group {
  explicit Group(std::uint64_t count)
      : folder(mvm::make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-figures-").value()) {
    std::vector<Member> members;
    for (std::uint64_t id = 1; id <= count; ++id) {
      mvm::replica::Options options;
      options.group = "figures";
      options.self = Member{id, "127.0.0.1:0"};
      options.folder = folder / std::to_string(id);
      options.secret = "0123456789abcdef";
      replicas[id] = Replica::open(options, machine[id], {}).value();
      members.push_back(replicas[id]->self());
    }
    for (auto& [id, replica] : replicas) (void)replica->bootstrap(members);
  }
  ~Group() {
    replicas.clear();
    (void)mvm::remove_tree(folder);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  std::uint64_t leader() {
    while (true) {
      for (auto& [id, replica] : replicas) {
        if (replica->info().leads) return id;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  bool commit(std::uint64_t at) {
    std::promise<bool> done;
    replicas[at]->propose(
        "k 1", [&](mvm::Result<mvm::replica::Applied> result) { done.set_value(result.has_value()); });
    return done.get_future().get();
  }

  std::filesystem::path folder;
  std::map<std::uint64_t, Nothing> machine;
  std::map<std::uint64_t, std::unique_ptr<Replica>> replicas;
};

double ms(Clock::duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void commits(std::uint64_t members) {
  Group group(members);
  const std::uint64_t leader = group.leader();
  std::vector<double> times;
  for (int i = 0; i < 200; ++i) {
    const auto begun = Clock::now();
    if (group.commit(leader)) times.push_back(ms(Clock::now() - begun));
  }
  std::atomic<int> left{5000};
  std::atomic<int> open{0};
  const auto begun = Clock::now();
  for (int i = 0; i < 5000; ++i) {
    while (open >= 256) std::this_thread::yield();
    ++open;
    group.replicas[leader]->propose("k 1", [&](mvm::Result<mvm::replica::Applied>) {
      --open;
      --left;
    });
  }
  while (left > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::printf("%llu members: commit %.2f ms (median), %.0f a second with 256 at once\n",
              static_cast<unsigned long long>(members), median(times),
              5000.0 / std::chrono::duration<double>(Clock::now() - begun).count());
}

void failover() {
  std::vector<double> times;
  for (int i = 0; i < 9; ++i) {
    Group group(3);
    const std::uint64_t leader = group.leader();
    (void)group.commit(leader);
    const std::uint64_t other = leader % 3 + 1;
    group.replicas.erase(leader);  // its links break as a killed process's do
    const auto begun = Clock::now();
    while (!group.commit(other)) {
    }
    times.push_back(ms(Clock::now() - begun));
  }
  std::printf(
      "leader's end to the next commit, 3 members, beat 250 ms: %.0f ms (median), %.0f ms (worst of 9)\n",
      median(times), *std::max_element(times.begin(), times.end()));
}

void last() {
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) {
    Group group(5);
    (void)group.commit(group.leader());
    std::vector<Life> dead;
    for (std::uint64_t id = 2; id <= 5; ++id) dead.push_back(Life{id, group.replicas[id]->info().life});
    for (const Life& life : dead) group.replicas.erase(life.id);
    const auto begun = Clock::now();
    for (const Life& life : dead) group.replicas[1]->confirm_death(life);
    while (!group.commit(1)) {
    }
    times.push_back(ms(Clock::now() - begun));
  }
  std::printf(
      "four deaths of five confirmed to the last one's next commit: %.0f ms (median), %.0f ms (worst of 5)\n",
      median(times), *std::max_element(times.begin(), times.end()));
}

}  // namespace

int main() {
  mvm::log::start("replica_figures", mvm::log::Level::kError, "");
  for (const std::uint64_t members : {std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{5}}) commits(members);
  failover();
  last();
  return 0;
}
