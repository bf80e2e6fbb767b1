// Faults and cancellations at every state, hosts that are lost and come back, things that nobody knows.

#include <gmock/gmock.h>

#include "broker/world.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Faults : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(world.state.violations, IsEmpty()); }
  World world;
};

// What is asked of the host at each state, and the moment to strike.
const char* const kMoments[] = {"ensure_lab", "ensure_node", "build.start", "send_blob",  "fetch_blob",
                                "wire",       "proc.start",  "file.get",    "destroy_lab"};

TEST_F(Faults, AHostThatFailsOnceIsTriedAgain) {
  for (const auto* moment : kMoments) {
    World fresh;
    fresh.host().fail[moment].push_back(Error(ErrorCode::kUnavailable, "not now"));
    fresh.start();
    const auto id = fresh.submit(ring_job());
    ASSERT_FALSE(fresh.advance(std::chrono::seconds(30)));
    const auto detail = fresh.job(id);
    EXPECT_EQ(detail.job.state, "DONE") << moment << ": " << detail.job.reason;
    EXPECT_EQ(detail.job.attempt, std::string(moment) == "destroy_lab" ? 1U : 2U) << moment;
    EXPECT_THAT(fresh.state.violations, IsEmpty()) << moment;
    EXPECT_THAT(fresh.leftovers(), IsEmpty()) << moment;
  }
}

TEST_F(Faults, OneThatFailsForEverIsGivenUpAfterTheLimit) {
  for (int i = 0; i < 10; ++i) world.host().fail["wire"].push_back(Error(ErrorCode::kIo, "broken"));
  world.start();
  const auto id = world.submit(ring_job(4, 2, R"(<limit retries="3"/>)"));
  world.pump();
  EXPECT_EQ(world.state_of(id), "SUBMITTED") << "it is not tried again at once";
  EXPECT_THAT(world.job(id).why, Contains(HasSubstr("attempt 2 follows in 500 ms")));
  EXPECT_THAT(world.job(id).why, Contains(HasSubstr("broken")));
  world.advance(std::chrono::seconds(10));
  const auto detail = world.job(id);
  EXPECT_EQ(detail.job.state, "FAILED");
  EXPECT_EQ(detail.job.attempt, 4U);
  EXPECT_THAT(detail.why, Contains(HasSubstr("broken")));
  EXPECT_THAT(world.leftovers(), IsEmpty());
}

TEST_F(Faults, TheJobsOwnFaultIsNotTriedAgain) {
  world.host().fail["proc.start"].push_back(Error(ErrorCode::kNotFound, "no program ./cell"));
  world.start();
  const auto id = world.submit(ring_job());
  // Its teardown is repeated until the calls of its earlier state that were under way have ended.
  ASSERT_FALSE(world.advance(std::chrono::seconds(2)));
  EXPECT_EQ(world.state_of(id), "FAILED");
  EXPECT_EQ(world.job(id).job.attempt, 1U);
  EXPECT_THAT(world.job(id).why, Contains(HasSubstr("no program ./cell")));
}

TEST_F(Faults, CancelAtEveryMoment) {
  for (const auto* moment : kMoments) {
    World fresh;
    std::string id;
    fresh.host().on_call = [&](const std::string& call) {
      if (call == moment && !id.empty() && fresh.state_of(id) != "COLLECTING")
        (void)fresh.jobs().cancel(fresh.user, id);
    };
    fresh.start();
    fresh.pump();
    id = fresh.submit(ring_job());
    ASSERT_FALSE(fresh.advance(std::chrono::seconds(5)));
    const auto detail = fresh.job(id);
    const bool late = std::string(moment) == "file.get" || std::string(moment) == "destroy_lab";
    EXPECT_EQ(detail.job.state, late ? "DONE" : "CANCELLED") << moment;
    EXPECT_THAT(fresh.state.violations, IsEmpty()) << moment;
    EXPECT_THAT(fresh.leftovers(), IsEmpty()) << moment;
    fresh.host().on_call = nullptr;
  }
}

TEST_F(Faults, ANodeLostAtEveryMoment) {
  for (const auto* moment : kMoments) {
    World fresh;
    int strikes = 1;
    fresh.host().on_call = [&](const std::string& call) {
      if (call != moment || strikes == 0) return;
      const auto nodes = fresh.host().nodes();
      if (nodes.empty()) return;
      --strikes;
      fresh.host().lose_node(nodes.front().lab, nodes.front().node);
    };
    fresh.start();
    const auto id = fresh.submit(ring_job());
    ASSERT_FALSE(fresh.advance(std::chrono::seconds(30)));
    const auto detail = fresh.job(id);
    EXPECT_EQ(detail.job.state, "DONE") << moment << ": " << detail.job.reason;
    EXPECT_THAT(fresh.state.violations, IsEmpty()) << moment;
    EXPECT_THAT(fresh.leftovers(), IsEmpty()) << moment;
    fresh.host().on_call = nullptr;
  }
}

TEST_F(Faults, ANodeLostWhileTheBrokerWasDead) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  ASSERT_EQ(world.state_of(id), "RUNNING");
  world.kill();
  world.host().lose_silently(world.host().nodes().front().lab, "node-0");
  world.host().auto_exit = true;
  world.start();
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(world.state_of(id), "DONE") << world.job(id).job.reason;
  EXPECT_EQ(world.job(id).job.attempt, 2U);
  EXPECT_THAT(world.leftovers(), IsEmpty());
}

TEST_F(Faults, ProcessesThatEndedWhileTheBrokerWasDeadCount) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  world.host().exit_process("1.1/cell[0]", 0);
  world.pump();
  world.kill();
  for (int i = 1; i < 4; ++i) world.host().exit_process("1.1/cell[" + std::to_string(i) + "]", 0);
  world.start();
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE") << world.job(id).job.reason;
  EXPECT_EQ(world.job(id).job.attempt, 1U) << "nothing was started again";
}

TEST_F(Faults, AHostDaemonThatForgotRepeatsItselfWithoutHarm) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  world.kill();
  world.host().exit_process("1.1/cell[0]", 0);
  world.host().restart();
  world.start();
  world.pump();
  world.host().restart();  // while the broker looks, too
  for (int i = 1; i < 4; ++i) world.host().exit_process("1.1/cell[" + std::to_string(i) + "]", 0);
  world.advance(std::chrono::seconds(3));
  EXPECT_EQ(world.state_of(id), "DONE");
  const auto log = world.log_of(id);
  EXPECT_EQ(log.find("compiled"), log.rfind("compiled")) << "no line twice";
}

TEST_F(Faults, AHostThatIsAwayForAShortWhileCostsNothing) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  world.host().down = true;
  world.advance(std::chrono::seconds(20));
  EXPECT_EQ(world.state_of(id), "RUNNING") << "silence is not death";
  world.host().down = false;
  world.advance(std::chrono::seconds(20));
  for (int i = 0; i < 4; ++i) world.host().exit_process("1.1/cell[" + std::to_string(i) + "]", 0);
  world.advance(std::chrono::seconds(2));
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_EQ(world.job(id).job.attempt, 1U);
}

TEST_F(Faults, ACancelledJobOfASilentHostWaitsUntilItsEndIsSure) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  world.host().down = true;
  world.pump();
  ASSERT_TRUE(world.jobs().cancel(world.user, id));
  world.advance(std::chrono::minutes(5), std::chrono::seconds(10));
  EXPECT_EQ(world.state_of(id), "COLLECTING");
  EXPECT_THAT(world.leftovers(), Not(IsEmpty()));
  world.host().down = false;
  world.advance(std::chrono::seconds(30));
  EXPECT_EQ(world.state_of(id), "CANCELLED");
  EXPECT_THAT(world.leftovers(), IsEmpty());
}

TEST_F(Faults, AnotherHostTakesOverOnlyAfterTheFirstOneIsSurelyDone) {
  World two({"alpha", "beta"});
  for (auto& host : two.hosts) host->auto_exit = false;
  two.start();
  const auto id = two.submit(ring_job(4, 2));
  two.pump();
  ASSERT_EQ(two.state_of(id), "RUNNING");
  const auto first = two.job(id).job.where.front();
  auto& lost = first == "alpha" ? two.host(0) : two.host(1);
  auto& other = first == "alpha" ? two.host(1) : two.host(0);
  lost.lose_node(two.job(id).job.lab, "node-0");
  lost.down = true;
  two.pump();
  lost.down = true;
  two.advance(std::chrono::minutes(2), std::chrono::seconds(5));
  EXPECT_EQ(other.node_count(), 0U) << "not while the first attempt may be alive";
  lost.down = false;
  two.advance(std::chrono::minutes(1), std::chrono::seconds(5));
  EXPECT_EQ(two.state_of(id), "RUNNING");
  EXPECT_EQ(two.job(id).job.attempt, 2U);
  EXPECT_THAT(two.state.violations, IsEmpty());
}

TEST_F(Faults, WhatNobodyKnowsIsReaped) {
  world.host().add_stranger("ghost-town");
  world.start();
  world.pump();
  EXPECT_THAT(world.leftovers(), IsEmpty());
}

/// Two guests with a link each way over a transport.
std::string two_guests(const std::string& transport) {
  auto job = ring_job(2, 2, "", "qemu", "qemu-debian");
  const auto begin = job.find("<topology");
  const auto end = job.find("</topology>");
  return job.replace(begin, end - begin,
                     "<topology xmlns=\"urn:mvm:topology:1\" name=\"two\"><role name=\"cell\" count=\"2\">"
                     "<port name=\"in\" direction=\"in\"/><port name=\"out\" direction=\"out\"/></role>"
                     "<link from=\"cell[0].out\" to=\"cell[1].in\" transport=\"" +
                         transport + "\"/><link from=\"cell[1].out\" to=\"cell[0].in\" transport=\"" +
                         transport + "\"/>");
}

/// Two guests whose links pass their host's proxy.
std::string guests_over_their_host() { return two_guests("tcp"); }

TEST_F(Faults, ALostProxyIsAFaultOfThoseWhoNeedIt) {
  world.host().auto_exit = false;
  world.start();
  const auto guests = world.submit(guests_over_their_host());
  const auto direct = world.submit(two_guests("ivshmem"));
  const auto containers = world.submit(ring_job(4, 2));
  world.pump();
  ASSERT_EQ(world.state_of(guests), "RUNNING");
  ASSERT_EQ(world.state_of(containers), "RUNNING");
  for (const auto& id : {guests, direct, containers}) world.host().emit_child_lost(world.job(id).job.lab);
  world.advance(std::chrono::seconds(2));
  EXPECT_EQ(world.job(guests).job.attempt, 2U);
  EXPECT_EQ(world.job(direct).job.attempt, 1U) << "they share memory";
  EXPECT_EQ(world.job(containers).job.attempt, 1U);
}

TEST_F(Faults, AProxyLostAfterTheBrokersOwnDeathIsAFaultToo) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(guests_over_their_host());
  world.pump();
  ASSERT_EQ(world.state_of(id), "RUNNING");
  world.restart();
  world.pump();
  world.host().emit_child_lost(world.job(id).job.lab, 0);
  world.host().auto_exit = true;
  world.advance(std::chrono::seconds(2));
  EXPECT_EQ(world.job(id).job.attempt, 2U);
  EXPECT_EQ(world.state_of(id), "DONE");
}

TEST_F(Faults, TheDeathOfAProxyThatWasReplacedSinceIsNoFault) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(guests_over_their_host());
  world.pump();
  ASSERT_EQ(world.state_of(id), "RUNNING");
  world.host().emit_child_lost(world.job(id).job.lab, fakes::FakeHostAgent::kProxyPort + 1);
  world.advance(std::chrono::seconds(2));
  EXPECT_EQ(world.state_of(id), "RUNNING");
  EXPECT_EQ(world.job(id).job.attempt, 1U);
}

TEST_F(Faults, AProxyLostBeforeTheLinksAreMadeIsAFault) {
  int strikes = 1;
  world.host().on_call = [&](const std::string& call) {
    if (call == "ensure_node" && strikes-- == 1)
      world.host().emit_child_lost(world.host().inventory()->labs.front());
  };
  world.start();
  const auto id = world.submit(guests_over_their_host());
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_EQ(world.job(id).job.attempt, 2U) << "guests would have dialled a proxy that is no more";
  world.host().on_call = nullptr;
}

TEST_F(Faults, AnotherAttemptTakesAnotherSubnet) {
  world.host().fail["ensure_lab"].push_back(Error(ErrorCode::kIo, "that network is in use"));
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.advance(std::chrono::seconds(2));
  ASSERT_EQ(world.state_of(id), "RUNNING");
  EXPECT_EQ(world.host().nodes().front().address, "10.181.2.2");
}

TEST_F(Faults, ANodeThatItsHostAdoptedIsAskedWhatItIs) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  const auto lab = world.job(id).job.lab;
  int asked = 0;
  world.host().on_call = [&](const std::string& call) { asked += call == "ensure_node" ? 1 : 0; };
  world.host().emit_raw(lab, "node-0", "node.up", {{"boot", "b"}, {"adopted", true}});
  world.host().emit_raw(lab, "nobody", "node.up", {{"boot", "b"}, {"adopted", true}});
  world.pump();
  EXPECT_EQ(asked, 1);
  EXPECT_EQ((*world.labs().vms(world.user, lab))[0].state, "up");
  EXPECT_EQ(world.state_of(id), "RUNNING");
  world.host().on_call = nullptr;
}

TEST_F(Faults, HostileEventsAreNoHarm) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  const auto lab = world.job(id).job.lab;
  using nlohmann::json;
  const std::pair<std::string, json> events[] = {
      {"proc.exit", json::array()},
      {"proc.exit", {{"proc", 7}}},
      {"proc.exit", {{"proc", "1.1/nobody[9]"}, {"code", 0}}},
      {"proc.exit", {{"proc", "99.1/cell[0]"}, {"code", 0}}},
      {"proc.exit", {{"proc", "1.2/cell[0]"}, {"code", 0}}},
      {"proc.exit", {{"proc", "exec/99"}, {"code", "x"}}},
      {"proc.output", {{"proc", "1.1/cell[0]"}, {"stream", 3}, {"offset", -5}}},
      {"build.done", {{"key", "x"}, {"ok", "yes"}}},
      {"build.done", {{"key", {1, 2}}, {"ok", true}, {"output", 3}}},
      {"build.output", {{"key", nullptr}}},
      {"node.lost", {{"reason", 1}}},
      {"nonsense", {{"deep", {{"deep", 1}}}}},
  };
  for (const auto& [name, args] : events) world.host().emit_raw(lab, "nobody", name, args);
  world.pump();
  EXPECT_EQ(world.state_of(id), "RUNNING");
  EXPECT_EQ(world.job(id).job.attempt, 1U);
}

}  // namespace
}  // namespace mvm::broker
