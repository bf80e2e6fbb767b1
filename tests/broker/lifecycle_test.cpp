// A job's whole life on fake hosts.

#include <gmock/gmock.h>

#include "broker/world.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> states(const soap::JobDetail& detail) {
  std::vector<std::string> all;
  for (const auto& transition : detail.transitions) all.push_back(transition.to);
  return all;
}

class Lifecycle : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(world.state.violations, IsEmpty()); }
  World world;
};

TEST_F(Lifecycle, FromSubmissionToResults) {
  world.start();
  const auto id = world.submit(ring_job());
  EXPECT_EQ(world.state_of(id), "SUBMITTED");
  ASSERT_FALSE(world.pump());
  const auto detail = world.job(id);
  EXPECT_THAT(states(detail), ElementsAre("SUBMITTED", "PLANNED", "BUILDING", "BOOTING", "WIRING", "RUNNING",
                                          "COLLECTING", "DONE"))
      << detail.job.reason;
  EXPECT_EQ(detail.job.exit_code, 0);
  EXPECT_EQ(detail.job.nodes, 2U);
  EXPECT_THAT(detail.job.where, ElementsAre("alpha"));
  ASSERT_EQ(detail.processes.size(), 4U);
  EXPECT_EQ(detail.processes[0].process, "cell[0]");
  EXPECT_EQ(detail.processes[0].node, "node-0");
  EXPECT_EQ(detail.processes[3].node, "node-1");
  EXPECT_EQ(detail.processes[3].state, "exited");
  EXPECT_EQ(detail.processes[3].max_rss, 4096U);
  EXPECT_THAT(world.leftovers(), IsEmpty());

  const auto results = *world.jobs().results(world.user, id);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].name, "result.txt");
  EXPECT_EQ(*world.blobs.read_whole(results[0].digest, 1000), "result.txt of 1.1/cell[0]");
  EXPECT_THAT(world.log_of(id), HasSubstr("hello from 1.1/cell[3]"));
  EXPECT_THAT(world.log_of(id), HasSubstr("compiled"));
  const auto page = world.jobs().logs(world.user, {.job = id, .process = "cell[2]", .cursor = 0, .wait = {}});
  ASSERT_EQ(page->pieces.size(), 1U);
  EXPECT_EQ(page->pieces[0].node, "node-1");
  EXPECT_TRUE(page->ended);
}

TEST_F(Lifecycle, TheSecondJobFindsItsBinaryInTheCache) {
  world.start();
  const auto first = world.submit(ring_job());
  world.pump();
  const auto second = world.submit(ring_job());
  world.pump();
  EXPECT_EQ(world.state_of(second), "DONE");
  ASSERT_EQ(world.state.compiled.size(), 1U);
  EXPECT_EQ(world.state.compiled.begin()->second, 1);
  const auto builds = *world.blobs_api().builds(world.user);
  ASSERT_EQ(builds.size(), 1U);
  EXPECT_EQ(builds[0].hits, 2U);
  EXPECT_EQ(builds[0].state, "done");
  EXPECT_EQ(*world.blobs_api().drop_builds(world.admin, ""), 1U);
  EXPECT_THAT(*world.blobs_api().builds(world.user), IsEmpty());
  EXPECT_TRUE(world.jobs().remove(world.user, first));
  EXPECT_EQ(world.jobs().job(world.user, first).error().code(), ErrorCode::kNotFound);
}

TEST_F(Lifecycle, TwoJobsAtOnceCompileOneKeyOnce) {
  world.host().auto_build = false;
  world.start();
  const auto first = world.submit(ring_job());
  const auto second = world.submit(ring_job());
  world.pump();
  EXPECT_EQ(world.state_of(first), "BUILDING");
  EXPECT_EQ(world.state_of(second), "BUILDING");
  ASSERT_EQ(world.state.compiled.size(), 1U);
  const auto key = world.state.compiled.begin()->first;
  EXPECT_EQ(world.state.compiled[key], 1);
  world.host().finish_build(key, true);
  world.pump();
  EXPECT_EQ(world.state_of(first), "DONE");
  EXPECT_EQ(world.state_of(second), "DONE");
  EXPECT_EQ(world.state.compiled[key], 1);
  EXPECT_THAT(world.log_of(second), HasSubstr("compiled")) << "who waits sees the compiler's words too";
}

TEST_F(Lifecycle, WhoWaitsForABuildTakesItOverWhenItsJobIsCancelled) {
  world.host().auto_build = false;
  world.start();
  const auto first = world.submit(ring_job());
  const auto second = world.submit(ring_job());
  world.pump();
  ASSERT_TRUE(world.jobs().cancel(world.user, first));
  world.pump();
  EXPECT_EQ(world.state_of(first), "CANCELLED");
  const auto key = world.state.compiled.begin()->first;
  EXPECT_EQ(world.state.compiled[key], 2) << "the first compiler went with its node";
  world.host().finish_build(key, true);
  world.pump();
  EXPECT_EQ(world.state_of(second), "DONE");
  EXPECT_TRUE(world.jobs().cancel(world.user, first)) << "once more is no error";
  EXPECT_EQ(world.jobs().cancel(world.user, second).error().code(), ErrorCode::kConflict);
}

TEST_F(Lifecycle, AFailedBuildIsTheJobsOwnFailureInTheCompilersWords) {
  world.host().build_fails = true;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  const auto detail = world.job(id);
  EXPECT_EQ(detail.job.state, "FAILED");
  EXPECT_EQ(detail.job.attempt, 1U) << "not tried again";
  EXPECT_THAT(detail.why, Contains(HasSubstr("error: expected ';'")));
  EXPECT_THAT(world.log_of(id), HasSubstr("error: expected ';'"));
  EXPECT_THAT(world.leftovers(), IsEmpty());
  world.host().build_fails = false;
  const auto again = world.submit(ring_job());
  world.pump();
  EXPECT_EQ(world.state_of(again), "DONE") << "a failure is not cached";
}

TEST_F(Lifecycle, AProcessThatFailsFailsTheJobOnce) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job());
  world.pump();
  EXPECT_EQ(world.state_of(id), "RUNNING");
  for (const auto* cell : {"1.1/cell[0]", "1.1/cell[1]"}) world.host().exit_process(cell, 0);
  world.host().exit_process("1.1/cell[2]", 3);
  world.pump();
  EXPECT_EQ(world.state_of(id), "RUNNING") << "one is still running";
  world.host().exit_process("1.1/cell[3]", 0, 9);
  world.pump();
  const auto detail = world.job(id);
  EXPECT_EQ(detail.job.state, "FAILED");
  EXPECT_EQ(detail.job.exit_code, 137);
  EXPECT_EQ(detail.job.attempt, 1U);
  EXPECT_THAT(detail.why, Contains(HasSubstr("cell[3] was ended by signal 9")));
  EXPECT_EQ(detail.processes[3].state, "killed");
  EXPECT_EQ(world.jobs().results(world.user, id)->size(), 1U) << "what there is comes back";
  EXPECT_THAT(world.leftovers(), IsEmpty());
}

TEST_F(Lifecycle, AMissingResultFailsAnOptionalOneDoesNot) {
  world.start();
  const auto missing = world.submit(ring_job(4, 2, R"(<stage out="missing.txt" from="cell[1]"/>)"));
  const auto optional =
      world.submit(ring_job(4, 2, R"(<stage out="missing.txt" from="cell[1]" optional="true"/>)"));
  world.pump();
  EXPECT_EQ(world.state_of(missing), "FAILED");
  EXPECT_THAT(world.job(missing).why, Contains(HasSubstr("missing.txt")));
  EXPECT_EQ(world.state_of(optional), "DONE") << world.job(optional).job.reason;
}

TEST_F(Lifecycle, TheWallTimeLimitEndsAJob) {
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(ring_job(4, 2, R"(<limit walltime="60s"/>)"));
  world.pump();
  world.advance(std::chrono::seconds(40));
  EXPECT_EQ(world.state_of(id), "RUNNING");
  world.restart();
  world.pump();
  EXPECT_EQ(world.state_of(id), "RUNNING");
  world.advance(std::chrono::seconds(19));
  EXPECT_EQ(world.state_of(id), "RUNNING") << "a broker's restart takes nothing from it";
  world.advance(std::chrono::seconds(2));
  EXPECT_EQ(world.state_of(id), "FAILED") << "and gives nothing";
  EXPECT_THAT(world.job(id).why, Contains(HasSubstr("wall-time")));
  EXPECT_THAT(world.leftovers(), IsEmpty());
}

TEST_F(Lifecycle, TheSameRequestSubmitsOnce) {
  world.start();
  const auto first = world.submit(ring_job(), "r1");
  EXPECT_EQ(world.submit(ring_job(), "r1"), first);
  world.pump();
  world.restart();
  world.pump();
  EXPECT_EQ(world.submit(ring_job(), "r1"), first) << "after a restart too";
  EXPECT_NE(world.submit(ring_job(), "r2"), first);
}

TEST_F(Lifecycle, AJobWithoutRoomWaitsAndSaysWhyThenRuns) {
  world.host().auto_exit = false;
  world.start();
  const auto large = world.submit(ring_job(32, 32));
  world.pump();
  EXPECT_EQ(world.state_of(large), "RUNNING");
  const auto small = world.submit(ring_job(2, 2));
  world.pump();
  const auto waiting = world.job(small);
  EXPECT_EQ(waiting.job.state, "SUBMITTED");
  EXPECT_THAT(waiting.why, Contains(HasSubstr("host alpha")));
  EXPECT_THAT(waiting.why, Contains(HasSubstr("0 of 32 vcpus free, 1 asked")));
  ASSERT_TRUE(world.jobs().cancel(world.user, large));
  world.pump();
  EXPECT_EQ(world.state_of(small), "RUNNING");
}

TEST_F(Lifecycle, WhatNoHostCanDoIsExplainedAndHoldsNobodyUp) {
  world.start();
  world.pump();
  world.host().info.drivers[0] = {.driver = "lxc", .usable = false, .detail = "no cgroups"};
  world.restart();
  const auto stuck = world.submit(ring_job(2, 1));
  const auto next = world.submit(ring_job(2, 1, "", "qemu", "qemu-debian"));
  world.pump();
  EXPECT_THAT(world.job(stuck).why, Contains(HasSubstr("driver lxc does not work: no cgroups")));
  EXPECT_EQ(world.state_of(next), "DONE");
}

TEST_F(Lifecycle, EventsTellTheStoryToThoseItConcerns) {
  world.start();
  world.submit(ring_job());
  world.pump();
  std::vector<std::string> story;
  std::uint64_t cursor = 0;
  for (;;) {
    const auto page = *world.system().events(world.user, cursor, {});
    if (page.events.empty()) break;
    for (const auto& event : page.events) story.push_back(event.event + " " + event.detail);
    cursor = page.cursor;
  }
  EXPECT_THAT(story, Contains("job.state RUNNING -> COLLECTING"));
  EXPECT_THAT(story, Contains("process.exit cell[1] code 0"));
  const soap::Caller other{.user = "bob", .role = "user", .lab = {}};
  EXPECT_THAT(world.system().events(other, 0, {})->events, IsEmpty());
  EXPECT_EQ(world.jobs().job(other, "1").error().code(), ErrorCode::kRefused);
  EXPECT_EQ(world.jobs().cancel(other, "1").error().code(), ErrorCode::kRefused);
  EXPECT_THAT(*world.jobs().jobs(other, true), IsEmpty());
  EXPECT_EQ(world.jobs().jobs(world.admin, true)->size(), 1U);
}

}  // namespace
}  // namespace mvm::broker
