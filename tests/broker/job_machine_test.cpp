#include "mvm/broker/job_machine.h"

#include <gmock/gmock.h>

#include <random>
#include <set>

#include "mvm/broker/crash_point.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

std::vector<JobCore> all_cores() {
  std::vector<JobCore> cores;
  for (std::size_t s = 0; s < kJobStates; ++s)
    for (std::size_t o = 0; o < kOutcomes; ++o)
      for (const std::uint32_t retries : {0U, 1U, 2U})
        cores.push_back({static_cast<JobState>(s), static_cast<Outcome>(o), 1, retries});
  return cores;
}

std::vector<JobEvent> all_events() {
  std::vector<JobEvent> events;
  for (std::size_t e = 0; e < kJobEvents; ++e) events.push_back(static_cast<JobEvent>(e));
  return events;
}

TEST(JobMachine, FinalStatesAbsorbEverything) {
  for (const auto& core : all_cores()) {
    if (!is_terminal(core.state)) continue;
    for (const auto event : all_events()) {
      const auto answer = step(core, event);
      EXPECT_FALSE(answer.changed);
      EXPECT_EQ(answer.next, core);
      EXPECT_TRUE(answer.effects.empty());
    }
    EXPECT_TRUE(entry_effects(core).empty());
  }
}

TEST(JobMachine, EveryAnswerIsConsistent) {
  for (const auto& core : all_cores())
    for (const auto event : all_events()) {
      const auto answer = step(core, event);
      if (!answer.changed) {
        EXPECT_EQ(answer.next, core);
        EXPECT_TRUE(answer.effects.empty());
        continue;
      }
      EXPECT_TRUE(std::ranges::equal(answer.effects, entry_effects(answer.next)));
      EXPECT_EQ(answer.next.state == JobState::kCollecting || is_terminal(answer.next.state),
                answer.next.outcome != Outcome::kNone);
      EXPECT_LE(answer.next.retries_left, core.retries_left);
    }
}

TEST(JobMachine, CancelAlwaysLeadsOut) {
  for (const auto& core : all_cores()) {
    if (is_terminal(core.state)) continue;
    if (core.state == JobState::kCollecting && core.outcome != Outcome::kRetry) continue;  // it ends anyway
    const auto answer = step(core, JobEvent::kCancel);
    ASSERT_TRUE(answer.changed) << to_string(core.state);
    EXPECT_EQ(answer.next.outcome, Outcome::kCancelled);
  }
}

TEST(JobMachine, AnAttemptEndsByTeardownOnly) {
  // From a state in which something may be alive only COLLECTING's end leads to where nothing is.
  for (const auto& core : all_cores())
    for (const auto event : all_events()) {
      const auto answer = step(core, event);
      if (!answer.changed || !may_be_alive(core.state) || may_be_alive(answer.next.state)) continue;
      EXPECT_EQ(core.state, JobState::kCollecting);
      EXPECT_EQ(event, JobEvent::kEffectsDone);
      const auto effects = entry_effects(core);
      ASSERT_FALSE(effects.empty());
      EXPECT_EQ(effects.back(), Effect::kTeardown);
    }
}

TEST(JobMachine, RandomLivesNeverHaveTwoAttemptsAliveAndEnd) {
  std::mt19937 random(7);
  for (int life = 0; life < 20'000; ++life) {
    JobCore core{.state = JobState::kSubmitted,
                 .outcome = Outcome::kNone,
                 .attempt = 1,
                 .retries_left = static_cast<std::uint32_t>(random() % 4)};
    const auto first_retries = core.retries_left;
    std::uint32_t alive = 0;  // attempt that may exist; 0: none
    for (int i = 0; i < 200 && !is_terminal(core.state); ++i) {
      const auto event = static_cast<JobEvent>(random() % kJobEvents);
      const auto answer = step(core, event);
      if (!answer.changed) continue;
      if (may_be_alive(answer.next.state)) {
        EXPECT_TRUE(alive == 0 || alive == answer.next.attempt) << "two attempts alive";
        alive = answer.next.attempt;
      } else {
        alive = 0;
      }
      core = answer.next;
      EXPECT_LE(core.attempt, first_retries + 1);
    }
  }
}

TEST(JobMachine, ThePlainWay) {
  JobCore core{.state = JobState::kSubmitted, .outcome = Outcome::kNone, .attempt = 1, .retries_left = 0};
  std::vector<std::string> way;
  for (const auto event :
       {JobEvent::kPlanned, JobEvent::kEffectsDone, JobEvent::kEffectsDone, JobEvent::kEffectsDone,
        JobEvent::kEffectsDone, JobEvent::kEndedWell, JobEvent::kEffectsDone}) {
    const auto answer = step(core, event);
    ASSERT_TRUE(answer.changed);
    core = answer.next;
    std::string text(to_string(core.state));
    for (const auto effect : answer.effects) text += " " + std::string(to_string(effect));
    way.push_back(text);
  }
  EXPECT_THAT(way,
              ElementsAre("PLANNED ensure-lab", "BUILDING boot-builders build", "BOOTING boot-nodes deliver",
                          "WIRING wire prepare", "RUNNING start", "COLLECTING collect teardown", "DONE"));
}

TEST(JobMachine, FaultsAreRetriedUntilTheLimitTheJobsOwnAreNot) {
  JobCore core{.state = JobState::kRunning, .outcome = Outcome::kNone, .attempt = 1, .retries_left = 1};
  auto answer = step(step(core, JobEvent::kFault).next, JobEvent::kEffectsDone);
  EXPECT_EQ(answer.next, (JobCore{JobState::kSubmitted, Outcome::kNone, 2, 0}));
  EXPECT_THAT(answer.effects, ElementsAre(Effect::kPlan));
  core = {JobState::kBooting, Outcome::kNone, 2, 0};
  answer = step(step(core, JobEvent::kFault).next, JobEvent::kEffectsDone);
  EXPECT_EQ(answer.next.state, JobState::kFailed);
  core = {JobState::kRunning, Outcome::kNone, 1, 5};
  EXPECT_EQ(step(step(core, JobEvent::kEndedBadly).next, JobEvent::kEffectsDone).next.state,
            JobState::kFailed);
}

TEST(JobMachine, NamesAreUniqueAndReadBack) {
  for (std::size_t s = 0; s < kJobStates; ++s) {
    const auto state = static_cast<JobState>(s);
    EXPECT_EQ(job_state_from(to_string(state)), state);
  }
  for (std::size_t o = 0; o < kOutcomes; ++o) {
    const auto outcome = static_cast<Outcome>(o);
    EXPECT_EQ(outcome_from(to_string(outcome)), outcome);
  }
  EXPECT_FALSE(job_state_from("RUNNIN"));
}

TEST(CrashPoints, EveryEffectAndTransitionHasItsOwn) {
  const auto points = list_crash_points();
  EXPECT_EQ(std::set<std::string>(points.begin(), points.end()).size(), points.size());
  for (const auto& row : effect_table())
    for (const auto* phase : {":before", ":partial", ":after"})
      EXPECT_THAT(points, Contains(std::string(row.name) + phase));
  for (const auto& row : transition_table())
    for (const auto* phase : {":uncommitted", ":committed"})
      EXPECT_THAT(points,
                  Contains(std::string(to_string(row.from)) + ">" + std::string(to_string(row.to)) + phase));
}

TEST(CrashPoints, DiesAtTheNthPassOfItsOwnPlaceOnly) {
  int deaths = 0;
  auto points = CrashPoints::parse("boot-nodes:before:2", [&] { ++deaths; });
  ASSERT_TRUE(points);
  points->pass("boot-nodes", "after");
  points->pass("boot-nodes", "before");
  EXPECT_EQ(deaths, 0);
  points->pass("boot-nodes", "before");
  EXPECT_EQ(deaths, 1);
  points->pass("boot-nodes", "before");
  EXPECT_EQ(deaths, 1);
}

TEST(CrashPoints, RefusesUnknownPlaces) {
  for (const auto* where : {"boot-nodes", "boot-nodes:never", "boot:before", "boot-nodes:before:0", "a:b:c",
                            "boot-nodes:before:1x"})
    EXPECT_FALSE(CrashPoints::parse(where)) << where;
  EXPECT_TRUE(CrashPoints::parse(""));
  EXPECT_TRUE(CrashPoints::parse("none"));
  for (const auto& where : list_crash_points()) EXPECT_TRUE(CrashPoints::parse(where)) << where;
}

}  // namespace
}  // namespace mvm::broker
