// The table of a pluglet's life, and the provider's policy.

#include "mvm/pluglets/lifecycle.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "mvm/base/digest.h"
#include "mvm/pluglets/policy.h"

namespace mvm::pluglets {
namespace {

using testing::HasSubstr;

constexpr State kStates[] = {State::kDeployed, State::kInitialised, State::kStarted,  State::kSuspended,
                             State::kStopped,  State::kFailed,      State::kDestroyed};

TEST(LifecycleTest, EveryStateIsReachedAndEveryOneCanEnd) {
  std::set<State> reached{State::kDeployed};
  for (std::size_t i = 0; i < std::size(kStates); ++i)
    for (const Step& step : life_steps())
      if (reached.contains(step.from)) reached.insert(step.to);
  EXPECT_EQ(reached.size(), std::size(kStates));
  for (const State state : kStates) {
    std::set<State> ahead{state};
    for (std::size_t i = 0; i < std::size(kStates); ++i)
      for (const Step& step : life_steps())
        if (ahead.contains(step.from)) ahead.insert(step.to);
    EXPECT_TRUE(ahead.contains(State::kDestroyed)) << to_string(state);
  }
}

TEST(LifecycleTest, EachEventHasOneOutcomeAndOnlyAServingPlugletIsSuspended) {
  std::map<std::pair<State, Event>, int> rows;
  for (const Step& step : life_steps()) {
    EXPECT_EQ((++rows[{step.from, step.event}]), 1);
    EXPECT_EQ(next_state(step.from, step.event), step.to);
  }
  for (const State state : kStates) {
    EXPECT_EQ(next_state(state, Event::kSuspend).has_value(), state == State::kStarted);
    EXPECT_EQ(next_state(state, Event::kResume).has_value(), state == State::kSuspended);
    EXPECT_EQ(next_state(state, Event::kInit).has_value(), state == State::kDeployed);
    EXPECT_FALSE(next_state(State::kDestroyed, Event::kStart));
    EXPECT_FALSE(next_state(State::kStarted, Event::kDestroy)) << "it is stopped first";
  }
  EXPECT_EQ(event_from("resume"), Event::kResume);
  EXPECT_FALSE(event_from("init"));
  EXPECT_FALSE(event_from("fail"));
}

Actor somebody(std::set<std::string> names) { return {.provider = false, .names = std::move(names)}; }

TEST(PolicyTest, OutsidersMayNothingAndTheProviderAll) {
  const Policy none;
  EXPECT_EQ(none.may(somebody({"user:ada"}), "call", "quotes", "provider").error().code(),
            ErrorCode::kRefused);
  EXPECT_EQ(none.may(somebody({}), "look", "quotes", "provider").error().code(), ErrorCode::kRefused);
  EXPECT_TRUE(none.may({.provider = true, .names = {}}, "destroy", "quotes", "user:ada"));
}

TEST(PolicyTest, RulesSayWhoMayWhat) {
  const auto policy = Policy::read(R"({"rules": [
    {"who": ["user:ada", "uid:7"], "may": ["deploy", "look"], "pluglets": ["quote*"]},
    {"who": ["owner"], "may": ["all"], "pluglets": ["*"]},
    {"who": ["anyone"], "may": ["call"], "pluglets": ["free"]}],
    "tokens": {")" + sha256_hex("secret") +
                                   R"(": "ada"}})");
  ASSERT_TRUE(policy) << policy.error().describe();
  const Actor ada = somebody({"user:ada"}), bob = somebody({"user:bob"}), nobody = somebody({});
  EXPECT_TRUE(policy->may(ada, "deploy", "quotes", ""));
  EXPECT_TRUE(policy->may(somebody({"uid:7"}), "deploy", "quotes", ""));
  EXPECT_FALSE(policy->may(ada, "deploy", "other", ""));
  EXPECT_FALSE(policy->may(bob, "deploy", "quotes", ""));
  EXPECT_FALSE(policy->may(ada, "start", "quotes-1", "user:bob"));
  EXPECT_TRUE(policy->may(ada, "start", "quotes-1", ada.text()));
  EXPECT_TRUE(policy->may(bob, "call", "free", ""));
  EXPECT_TRUE(policy->may(nobody, "call", "free", ""));
  EXPECT_FALSE(policy->may(nobody, "start", "x", "somebody")) << "nobody owns nothing";
  EXPECT_EQ(policy->user_of("secret"), "ada");
  EXPECT_EQ(policy->user_of("other"), "");
  EXPECT_EQ(policy->user_of(""), "");
}

TEST(PolicyTest, WhatIsWrongIsSaid) {
  const auto wrong = [](const std::string& text) {
    const auto policy = Policy::read(text);
    return policy ? std::string("nothing") : policy.error().message();
  };
  EXPECT_THAT(wrong("{"), HasSubstr("no JSON object"));
  EXPECT_THAT(wrong("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(wrong(R"({"rule": []})"), HasSubstr("\"rule\""));
  EXPECT_THAT(wrong(R"({"rules": [{"who": ["anyone"], "may": ["fly"], "pluglets": ["*"]}]})"),
              HasSubstr("\"fly\""));
  EXPECT_THAT(wrong(R"({"rules": [{"who": ["ada"], "may": ["call"], "pluglets": ["*"]}]})"),
              HasSubstr("\"ada\""));
  EXPECT_THAT(wrong(R"({"rules": [{"who": ["anyone"], "may": ["call"]}]})"), HasSubstr("rule 1"));
  EXPECT_THAT(wrong(R"({"tokens": {"abc": "ada"}})"), HasSubstr("SHA-256"));
  EXPECT_THAT(wrong(R"({"rules": [7]})"), HasSubstr("rule 1"));
}

}  // namespace
}  // namespace mvm::pluglets
