#pragma once
// A broker on fake hosts, stepped by hand, that can be killed at a crash point and started again over the
// same store.

#include <gmock/gmock.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fakes/fake_host_agent.h"
#include "fakes/manual_clock.h"
#include "fakes/manual_loop.h"
#include "mvm/base/file.h"
#include "mvm/broker/broker.h"
#include "mvm/broker/crash_point.h"
#include "mvm/broker/sqlite_store.h"

namespace mvm::broker {

/// Thrown at the armed crash point: everything of the broker's process ends there.
struct Died {};

class World {
 public:
  explicit World(std::vector<std::string> host_names = {"alpha"})
      // In memory: hundreds of lives need not wait for a disk.
      : folder(*make_temporary_folder("/dev/shm", "broker-world-")),
        blobs(*BlobStore::open(folder / "blobs")),
        loop(clock) {
    for (auto& name : host_names) hosts.push_back(std::make_unique<fakes::FakeHostAgent>(name, state, blobs));
  }
  ~World() {
    broker.reset();
    store.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  /// Starts a broker; it dies at `crash_at`.
  void start(const std::string& crash_at = {}) {
    auto opened = open_sqlite_store(folder / "state.db", clock);
    ASSERT_TRUE(opened) << opened.error().describe();
    store = std::move(*opened);
    config.crash_at = crash_at;
    config.crash_death = [] { throw Died{}; };
    std::vector<host::HostAgent*> agents;
    for (auto& host : hosts) {
      host->forget_served();
      agents.push_back(host.get());
    }
    auto made = Broker::create(config, *store, agents, blobs, clock, loop, executor);
    ASSERT_TRUE(made) << made.error().describe();
    broker = std::move(*made);
    broker->start();
    polls_due_ = true;
  }

  /// As SIGKILL: what was under way is gone, the store and the hosts stay.
  void kill() {
    loop.clear();
    executor.clear();
    broker.reset();
    loop.clear();
    executor.clear();
    store.reset();
  }
  void restart(const std::string& crash_at = {}) {
    kill();
    start(crash_at);
  }

  /// Runs until nothing is left to do now. True: it died at its crash point.
  bool pump() {
    try {
      int idle = 0;  // rounds of polls that brought nothing: a host's news may have nobody to ask for it yet
      for (int steps = 0; steps < 200'000; ++steps) {
        if (loop.step() || executor.step()) continue;
        if (!executor.polls() || idle > 2 || (!polls_due_ && !news())) return false;
        polls_due_ = false;
        const auto before = served();
        executor.step_long();
        idle = served() == before ? idle + 1 : 0;
      }
    } catch (const Died&) {
      return true;
    }
    ADD_FAILURE() << "it never comes to rest";
    return false;
  }
  /// So many steps and no more; where nothing is to be done now, a step lets 5 ms pass.
  void tick(int steps) {
    for (; steps > 0; --steps)
      if (!loop.step() && !executor.step()) clock.advance(std::chrono::milliseconds(5));
  }
  /// Lets time pass, in steps, and everything happen meanwhile.
  bool advance(std::chrono::milliseconds by,
               std::chrono::milliseconds step = std::chrono::milliseconds(1000)) {
    for (auto left = by; left.count() > 0; left -= step) {
      clock.advance(std::min(left, step));
      if (pump()) return true;
    }
    return false;
  }

  soap::JobApi& jobs() { return broker->api().jobs; }
  soap::LabApi& labs() { return broker->api().labs; }
  soap::StoreApi& blobs_api() { return broker->api().store; }
  soap::SystemApi& system() { return broker->api().system; }

  /// A lab of the three nodes node-0 to node-2, which are up.
  std::string lab_of_three() {
    const auto made = labs().create_lab(
        user, {.profile = "<lab xmlns=\"urn:mvm:lab:1\" name=\"k\"><machines name=\"node\" driver=\"lxc\" "
                          "image=\"host\" count=\"3\"/></lab>",
               .settings = {},
               .lab = {},
               .request = {},
               .file = "lab.xml"});
    EXPECT_TRUE(made) << made.error().describe();
    pump();
    return made ? *made : std::string();
  }
  std::string submit(const std::string& profile, const std::string& request = {},
                     const std::string& lab = {}) {
    auto id = jobs().submit(
        user, {.profile = profile, .settings = {}, .lab = lab, .request = request, .file = "job.xml"});
    EXPECT_TRUE(id) << id.error().describe();
    return id ? *id : std::string();
  }
  soap::JobDetail job(const std::string& id) {
    auto found = jobs().job(user, id);
    EXPECT_TRUE(found) << found.error().describe();
    return found ? *found : soap::JobDetail{};
  }
  std::string state_of(const std::string& id) { return job(id).job.state; }
  std::string log_of(const std::string& id) {
    std::string text;
    std::uint64_t cursor = 0;
    for (;;) {
      const auto page = jobs().logs(user, {.job = id, .process = {}, .cursor = cursor, .wait = {}});
      if (!page || page->pieces.empty()) return text;
      for (const auto& piece : page->pieces) text += piece.text;
      cursor = page->cursor;
    }
  }
  std::vector<std::string> leftovers() const {
    std::vector<std::string> all;
    for (const auto& host : hosts) {
      const auto some = host->leftovers();
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }
  fakes::FakeHostAgent& host(std::size_t n = 0) { return *hosts[n]; }

  const soap::Caller user{.user = "ada", .role = "user", .lab = {}};
  const soap::Caller admin{.user = "root", .role = "admin", .lab = {}};
  BrokerConfig config;
  fakes::ManualClock clock;
  std::filesystem::path folder;
  BlobStore blobs;
  fakes::FakeWorld state;
  fakes::ManualLoop loop;
  fakes::ManualExecutor executor;
  std::vector<std::unique_ptr<fakes::FakeHostAgent>> hosts;
  std::unique_ptr<Store> store;
  std::unique_ptr<Broker> broker;

 private:
  [[nodiscard]] bool news() const {
    return std::any_of(hosts.begin(), hosts.end(), [](const auto& host) { return host->news(); });
  }
  [[nodiscard]] std::uint64_t served() const {
    std::uint64_t sum = 0;
    for (const auto& host : hosts) sum += host->served();
    return sum;
  }
  bool polls_due_ = false;
};

/// A ring without anything to compile.
inline std::string plain_job(int n = 4, int machines = 2, const std::string& more = {}) {
  return R"(<job xmlns="urn:mvm:job:1" name="plain">
  <topology ref="ring"><set param="n" value=")" +
         std::to_string(n) + R"("/></topology>
  <program role="cell">
    <source name="cell.sh">echo hello</source>
    <run>/bin/sh cell.sh</run>
  </program>
  <machines name="node" role="cell" driver="lxc" image="host" count=")" +
         std::to_string(machines) + R"(" vcpus="1" memory="256MiB"/>
  <stage out="result.txt" from="cell[0]"/>
  )" + more +
         "\n</job>";
}

/// A ring of `n` cells on `machines` nodes, compiled from a source in line, with a result of the first cell.
inline std::string ring_job(int n = 4, int machines = 2, const std::string& more = {},
                            const std::string& driver = "lxc", const std::string& image = "host") {
  return R"(<job xmlns="urn:mvm:job:1" name="ring">
  <topology ref="ring"><set param="n" value=")" +
         std::to_string(n) + R"("/></topology>
  <program role="cell">
    <source name="main.cpp">int main() {}</source>
    <build command="g++ main.cpp -o cell"/>
    <run>./cell</run>
  </program>
  <machines name="node" role="cell" driver=")" +
         driver + R"(" image=")" + image + R"(" count=")" + std::to_string(machines) +
         R"(" vcpus="1" memory="256MiB"/>
  <stage out="result.txt" from="cell[0]"/>
  )" + more +
         "\n</job>";
}

}  // namespace mvm::broker
