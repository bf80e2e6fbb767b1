// Components in their child process: what they decide happens, and whatever they do wrong costs only the
// child.

#include <dirent.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "broker/world.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::vector<std::string> event_names(World& world) {
  std::vector<std::string> names;
  std::uint64_t cursor = 0;
  for (;;) {
    const auto page = *world.system().events(world.admin, cursor, {});
    if (page.events.empty()) return names;
    for (const auto& event : page.events) names.push_back(event.event + " " + event.detail);
    cursor = page.cursor;
  }
}

class PolicyChildTest : public ::testing::Test {
 protected:
  PolicyChildTest() : world({"alpha", "beta"}) {
    world.config.policies.command = {std::string(MVM_BINARY_DIR) + "/tests/policy_child"};
    world.config.policies.folder = std::string(MVM_BINARY_DIR) + "/lib/mvm/policies";
    world.config.policies.deadline = std::chrono::seconds(20);
  }
  void use_bad(int mode) {
    world.config.policies.folder = std::string(MVM_BINARY_DIR) + "/tests/policies-bad";
    world.config.policies.placement = "misbehaving-" + std::to_string(mode);
    world.config.policies.order = "";
  }
  World world;
};

TEST_F(PolicyChildTest, DecisionsComeFromTheComponent) {
  world.config.policies.placement = "placement-spread";
  world.config.policies.order = "order-fair";
  world.start();
  world.pump();
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE") << world.job(id).job.reason;
  EXPECT_THAT(world.job(id).job.where, ::testing::ElementsAre("alpha", "beta")) << "spread over both";
  EXPECT_EQ(world.job(id).processes[1].node, "node-1") << "and its processes around the nodes";
  EXPECT_THAT(event_names(world), Not(Contains(HasSubstr("policy.failed"))));
}

TEST_F(PolicyChildTest, AProfileMayNameItsOwnPlacement) {
  world.start();
  world.pump();
  const std::string policy =
      R"(<policy xmlns="urn:mvm:policy:1" name="mine" kind="placement" component="placement-spread"/>)";
  const auto id = world.submit(ring_job(4, 2, policy));
  world.pump();
  EXPECT_THAT(world.job(id).job.where, ::testing::ElementsAre("alpha", "beta"));
}

/// The chains of the links that a world's hosts carry, each once.
std::set<nlohmann::json> carried_codecs(const World& world) {
  std::set<nlohmann::json> chains;
  for (const auto& steps : world.state.steps)
    for (const auto& half : steps.value("proxies", nlohmann::json::array()))
      chains.insert(half.value("codecs", nlohmann::json::array()));
  return chains;
}

TEST_F(PolicyChildTest, CodecsAreAddedByTheJobsPolicyAndByEverybodys) {
  world.config.policies.placement = "placement-spread";
  world.config.policies.links = {{.component = "links-codecs", .options = {{"between-domains", "encrypt"}}}};
  world.start();
  world.pump();
  const std::string policy =
      R"(<policy xmlns="urn:mvm:policy:1" name="mine" kind="links" component="links-codecs">
           <option name="between-hosts" value="zstd:3 checksum"/></policy>)";
  const auto id = world.submit(ring_job(4, 2, policy));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE") << world.job(id).job.reason;
  EXPECT_THAT(carried_codecs(world), ::testing::ElementsAre(nlohmann::json{"zstd:3", "checksum", "encrypt"}));
}

TEST_F(PolicyChildTest, WhoseLinksCannotBeDecidedOnWaitsAndSaysWhy) {
  world.config.policies.placement = "placement-spread";
  world.config.policies.links = {{.component = "links-gone", .options = {}}};
  world.start();
  world.pump();
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.state_of(id), "SUBMITTED")
      << "links that should be encrypted are never carried in the clear";
  EXPECT_THAT(world.job(id).why, Contains(HasSubstr("policy component links-gone")));
  EXPECT_THAT(event_names(world), Contains(HasSubstr("policy.failed links-gone")));
  // All of it on one host needs nothing of that policy.
  const auto alone = world.submit(plain_job(2, 1));
  world.pump();
  EXPECT_EQ(world.state_of(alone), "DONE") << world.job(alone).job.reason;
}

TEST_F(PolicyChildTest, PackKeepsTogether) {
  world.start();
  world.pump();
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.job(id).job.where.size(), 1U);
  EXPECT_THAT(event_names(world), Not(Contains(HasSubstr("policy.failed"))));
}

TEST_F(PolicyChildTest, WhateverAComponentDoesWrongTheJobRuns) {
  const char* const words[] = {
      "", "", "", "no placement plan", "", "interface is version 99", "of kind order", "refuses"};
  for (const int mode : {1, 3, 5, 6, 7}) {
    World fresh({"alpha", "beta"});
    fresh.config = world.config;
    fresh.config.policies.folder = std::string(MVM_BINARY_DIR) + "/tests/policies-bad";
    fresh.config.policies.placement = "misbehaving-" + std::to_string(mode);
    fresh.config.policies.order = "";
    fresh.start();
    fresh.pump();
    const auto id = fresh.submit(ring_job(4, 2));
    fresh.pump();
    EXPECT_EQ(fresh.state_of(id), "DONE") << mode;
    EXPECT_THAT(event_names(fresh),
                Contains(AllOf(HasSubstr("policy.failed misbehaving"), HasSubstr(words[mode]))));
  }
}

TEST_F(PolicyChildTest, OneThatNeverAnswersMissesItsDeadline) {
  use_bad(2);
  world.config.policies.deadline = std::chrono::milliseconds(300);
  world.start();
  world.pump();
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_THAT(event_names(world), Contains(HasSubstr("policy.failed misbehaving-2")));
}

TEST_F(PolicyChildTest, OneThatDiesBeforeItSaysAWordIsNotWaitedFor) {
  world.config.policies.command = {"/bin/false"};
  world.start();
  world.pump();
  const auto began = std::chrono::steady_clock::now();
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_LT(std::chrono::steady_clock::now() - began, world.config.policies.deadline);
  EXPECT_THAT(event_names(world), Contains(HasSubstr("policy.failed")));
}

TEST_F(PolicyChildTest, APlanThatDoesNotFitIsRefused) {
  use_bad(4);  // everything on the last host
  world.host(1).info.vcpus = 1;
  world.host(1).info.memory = 1ULL << 30U;
  world.start();
  world.pump();
  const auto id = world.submit(ring_job(16, 16));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE") << world.job(id).job.reason;
  EXPECT_THAT(event_names(world), Contains(HasSubstr("more of a host than is free")));
}

TEST_F(PolicyChildTest, AComponentThatIsNotThereIsSaid) {
  world.config.policies.placement = "no-such";
  world.start();
  world.pump();
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_THAT(event_names(world), Contains(HasSubstr("policy.failed no-such")));
}

/// Children of ours that run `program`.
std::vector<pid_t> children_of(const std::string& program) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string pid, name, state, parent;
    if (stat >> pid >> name >> state >> parent && parent == std::to_string(::getpid()) &&
        name == "(" + program + ")")
      found.push_back(std::stoi(pid));
  }
  return found;
}

TEST_F(PolicyChildTest, OneThatIsKilledBetweenTwoQuestionsIsStartedAgain) {
  world.start();
  world.pump();
  world.submit(ring_job(4, 2));
  world.pump();
  const auto children = children_of("policy_child");
  ASSERT_THAT(children, SizeIs(2));
  for (const pid_t child : children) {
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    siginfo_t info{};  // dead, and left to whoever started it
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  }
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_THAT(children_of("policy_child"), SizeIs(2));
  EXPECT_THAT(event_names(world), Not(Contains(HasSubstr("policy.failed"))));
}

TEST_F(PolicyChildTest, AnIdleBrokerHasNoChildren) {
  world.start();
  world.pump();
  world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_THAT(children_of("policy_child"), SizeIs(2)) << "they stay for the next question";
  world.advance(std::chrono::seconds(15));
  EXPECT_THAT(children_of("policy_child"), IsEmpty());
  const auto id = world.submit(ring_job(4, 2));
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE") << "and come back when they are needed";
  world.kill();
  EXPECT_THAT(children_of("policy_child"), IsEmpty());
}

}  // namespace
}  // namespace mvm::broker
