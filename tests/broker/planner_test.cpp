#include "mvm/broker/planner.h"

#include <gmock/gmock.h>

#include <chrono>
#include <set>

#include "broker/profiles.h"

namespace mvm::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

HostSnapshot host(const std::string& name, std::uint32_t vcpus = 4, std::uint64_t gib = 8) {
  HostSnapshot snapshot;
  snapshot.info = {.name = name,
                   .architecture = "x86_64",
                   .vcpus = vcpus,
                   .memory = gib << 30U,
                   .disk = 0,
                   .drivers = {{"lxc", true, ""}, {"qemu", true, "tcg"}, {"process", true, ""}},
                   .images = {{"host", "host", "x86_64", "h", {"g++ 12"}, {"lxc", "process"}},
                              {"qemu-debian", "disk", "x86_64", "d", {}, {"qemu"}}}};
  return snapshot;
}

topologies::Profile cells(int n, const std::string& machines) {
  return lab_of("<role name=\"cell\" count=\"" + std::to_string(n) + "\"/>", machines, {"cell"});
}

std::string machines(int count, const std::string& more = {}) {
  return "<machines name=\"m\" role=\"cell\" driver=\"lxc\" count=\"" + std::to_string(count) +
         "\" memory=\"256MiB\" " + more + "/>";
}

Snapshot on(std::vector<HostSnapshot> hosts) {
  Snapshot snapshot;
  snapshot.hosts = std::move(hosts);
  return snapshot;
}

TEST(Planner, ProcessesFillMachinesInBlocks) {
  const auto outcome = plan(on({host("a")}), cells(7, machines(3)));
  ASSERT_TRUE(outcome.plan) << outcome.reasons.front();
  EXPECT_THAT(outcome.plan->node_of, ElementsAre(0, 0, 0, 1, 1, 2, 2));
  EXPECT_EQ(outcome.plan->nodes[2].node, "m-2");
  EXPECT_EQ(outcome.plan->nodes[2].toolchain, "g++ 12");
  EXPECT_THAT(plan(on({host("a")}), cells(2, machines(3))).plan->node_of, ElementsAre(0, 1));
}

TEST(Planner, RolesOfTheSameMachinesAreLaidTogether) {
  const auto profile =
      lab_of("<role name=\"a\"/><role name=\"b\" count=\"4\"/><role name=\"c\"/>",
             "<machines name=\"m\" role=\"a b c\" driver=\"lxc\" count=\"3\"/>", {"a", "b", "c"});
  EXPECT_THAT(plan(on({host("a")}), profile).plan->node_of, ElementsAre(0, 0, 1, 1, 2, 2));
}

TEST(Planner, ARoleMaySpanSeveralSetsOfMachines) {
  const auto profile =
      cells(8,
            "<machines name=\"c\" role=\"cell\" driver=\"lxc\" count=\"3\"/>"
            "<machines name=\"v\" role=\"cell\" driver=\"qemu\" image=\"qemu-debian\" count=\"1\"/>");
  const auto outcome = plan(on({host("a")}), profile);
  ASSERT_TRUE(outcome.plan) << outcome.reasons.front();
  EXPECT_THAT(outcome.plan->node_of, ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
  EXPECT_EQ(outcome.plan->nodes[3].driver, "qemu");
}

TEST(Planner, EveryHostSaysWhyNot) {
  auto without = host("b");
  without.info.drivers[0] = {"lxc", false, "no cgroups"};
  auto foreign = host("c");
  foreign.info.images[0].architecture = "aarch64";
  auto bare = host("d");
  bare.info.images.clear();
  auto silent = host("e");
  silent.usable = false;
  silent.unusable_why = "does not answer";
  auto full = host("f");
  full.memory_used = 8ULL << 30U;
  auto old = host("g");
  old.info.drivers.erase(old.info.drivers.begin());
  auto busy = host("h");
  busy.container_vcpus = 30;
  const auto outcome = plan(on({without, foreign, bare, silent, full, old, busy}),
                            cells(1, machines(1, "vcpus=\"3\" architecture=\"x86_64\"")));
  EXPECT_FALSE(outcome.plan);
  EXPECT_THAT(outcome.reasons,
              ElementsAre(HasSubstr("host b, machines m: driver lxc does not work: no cgroups"),
                          HasSubstr("host c, machines m: image host is aarch64, x86_64 asked"),
                          HasSubstr("host d, machines m: has no image host"),
                          HasSubstr("host e, machines m: does not answer"),
                          HasSubstr("host f, machines m: 0 MiB of 8192 MiB memory free, 256 MiB asked"),
                          HasSubstr("host g, machines m: has no driver lxc"),
                          HasSubstr("host h, machines m: 2 of 32 vcpus free, 3 asked")));
}

TEST(Planner, TheHostAskedForIsTheHostTaken) {
  const auto pinned = cells(1, machines(1, "host=\"b\""));
  EXPECT_EQ(plan(on({host("a"), host("b")}), pinned).plan->nodes[0].host, "b");
  EXPECT_THAT(plan(on({host("a")}), pinned).reasons, ElementsAre(HasSubstr("not the host asked for (b)")));
  EXPECT_THAT(plan(on({}), pinned).reasons, ElementsAre(HasSubstr("there is no host")));
}

TEST(Planner, MemoryIsNeverPromisedTwiceProcessorsAre) {
  // 4 vcpus shared 8 ways carry 32; 8 GiB carry 32 of 256 MiB.
  EXPECT_TRUE(plan(on({host("a")}), cells(32, machines(32))).plan);
  const auto too_many = plan(on({host("a")}), cells(33, machines(33)));
  EXPECT_FALSE(too_many.plan);
  EXPECT_THAT(too_many.reasons, ElementsAre(HasSubstr("host a, machines m: room for 32 of 33")));
  auto snapshot = on({host("a", 4, 64)});
  snapshot.overcommit.container = 1;
  EXPECT_TRUE(plan(snapshot, cells(4, machines(4))).plan);
  EXPECT_FALSE(plan(snapshot, cells(5, machines(5))).plan);
}

TEST(Planner, PackingFillsTheUsedHostFirst) {
  auto used = host("b");
  used.container_vcpus = 4;
  const auto outcome = plan(on({host("a"), used}), cells(4, machines(4)));
  ASSERT_TRUE(outcome.plan);
  for (const auto& node : outcome.plan->nodes) EXPECT_EQ(node.host, "b");
}

TEST(Planner, APlacementIsCheckedWhoeverMadeIt) {
  const auto preparation = prepare(on({host("a"), host("b")}), cells(4, machines(2)));
  const auto& problem = preparation.problem;
  EXPECT_TRUE(check_placement(problem, {.host_of = {0, 1}}));
  EXPECT_FALSE(check_placement(problem, {.host_of = {0}}));
  EXPECT_FALSE(check_placement(problem, {.host_of = {0, 1, 1}}));
  EXPECT_FALSE(check_placement(problem, {.host_of = {0, 2}}));
  auto tight = problem;
  tight.hosts[0].memory = 300ULL << 20U;
  EXPECT_FALSE(check_placement(tight, {.host_of = {0, 0}}));
}

TEST(Planner, ALabsNodesAreTakenAsTheyAre) {
  Snapshot snapshot;
  snapshot.in_lab = true;
  for (int i = 0; i < 3; ++i)
    snapshot.nodes.push_back({.node = "m-" + std::to_string(i),
                              .host = "a",
                              .driver = "lxc",
                              .image = "host",
                              .image_digest = {},
                              .architecture = "x86_64",
                              .address = "10.0.0.2",
                              .toolchain = {},
                              .vcpus = 1,
                              .memory = 1,
                              .machines = "m",
                              .up = true});
  const auto any = lab_of("<role name=\"cell\" count=\"6\"/>", "", {"cell"});
  auto outcome = plan(snapshot, any);
  ASSERT_TRUE(outcome.plan) << outcome.reasons.front();
  EXPECT_THAT(outcome.plan->node_of, ElementsAre(0, 0, 1, 1, 2, 2));
  EXPECT_TRUE(outcome.plan->nodes[0].existing);
  EXPECT_THAT(plan(snapshot, cells(2, machines(2))).plan->nodes, SizeIs(2));
  EXPECT_THAT(plan(snapshot, cells(4, machines(4))).reasons, ElementsAre("the lab has no node m-3"));
  snapshot.nodes[1].up = false;
  EXPECT_THAT(plan(snapshot, any).reasons, ElementsAre("node m-1 of the lab is not up"));
}

TEST(Planner, TenThousandNodesInLessThanASecond) {
  std::vector<HostSnapshot> hosts;
  for (int i = 0; i < 400; ++i) hosts.push_back(host("host" + std::to_string(i)));
  const auto profile = cells(20'000, machines(10'000));
  const auto snapshot = on(std::move(hosts));
  const auto begun = std::chrono::steady_clock::now();
  const auto outcome = plan(snapshot, profile);
  const auto took = std::chrono::steady_clock::now() - begun;
  ASSERT_TRUE(outcome.plan) << outcome.reasons.front();
  EXPECT_THAT(outcome.plan->nodes, SizeIs(10'000));
  // The promise is a second; a busy machine gets ten times that before the test calls it broken.
  EXPECT_LT(took, std::chrono::seconds(10));
  RecordProperty("milliseconds",
                 static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
}

}  // namespace
}  // namespace mvm::broker
