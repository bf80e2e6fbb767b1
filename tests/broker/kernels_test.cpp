// Commands to the kernels of a lab: everywhere or nowhere, or where it can be.

#include <mutex>

#include "broker/profiles.h"
#include "broker/world.h"
#include "mvm/soap/kernel_api.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using soap::KernelCommand;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// Kernels that remember what they were told, and fail as a test says.
class Kernels {
 public:
  explicit Kernels(fakes::FakeHostAgent& host) {
    host.kernels = [this](const std::string& node, const std::string& op, const json& args) {
      return answer(node, op, args);
    };
  }
  std::map<std::string, Error> fails;  ///< "NODE OP"

  std::vector<std::string> of(const std::string& op) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> nodes;
    for (const auto& [node, what] : told_)
      if (what == op) nodes.push_back(node);
    std::sort(nodes.begin(), nodes.end());
    return nodes;
  }
  json last(const std::string& op) {
    const std::lock_guard lock(mutex_);
    return args_[op];
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    told_.clear();
  }

 private:
  Result<host::CallReply> answer(const std::string& node, const std::string& op, const json& args) {
    const std::lock_guard lock(mutex_);
    told_.emplace_back(node, op);
    args_[op] = args;
    if (const auto found = fails.find(node + " " + op); found != fails.end()) return found->second;
    if (op == "kernel.plugins")
      return host::CallReply{{{"plugins", {{{"name", "post"}, {"owners", {"kernel"}}, {"core", true}}, 7}}},
                             {}};
    if (op == "kernel.runs") return host::CallReply{{{"runs", {{{"run", "r"}, {"began_ms", -3}}}}}, {}};
    if (op == "kernel.pool") return host::CallReply{{{"maximum", 16}, {"minimum", "hostile"}}, {}};
    return host::CallReply{{{"run", "post/1"}}, {}};
  }
  std::mutex mutex_;
  std::vector<std::pair<std::string, std::string>> told_;
  std::map<std::string, json> args_;
};

class KernelsTest : public testing::Test {
 public:
  void SetUp() override {
    world.start();
    world.pump();
    lab = world.lab_of_three();
    ASSERT_FALSE(lab.empty());
  }
  soap::KernelApi& api() { return world.broker->api().kernels; }
  soap::KernelOutcome must(const KernelCommand& command) {
    auto outcome = api().command(world.user, command);
    EXPECT_TRUE(outcome) << outcome.error().describe();
    return outcome ? *outcome : soap::KernelOutcome{};
  }
  KernelCommand load(bool all_or_none) {
    KernelCommand command;
    command.targets.lab = lab;
    command.all_or_none = all_or_none;
    command.plugins = {"post"};
    return command;
  }
  World world;
  Kernels kernels{world.host()};
  std::string lab;
};

TEST_F(KernelsTest, ShowsWhatKernelsSayAndBelievesNothing) {
  kernels.fails.emplace("node-1 kernel.runs", Error(ErrorCode::kTimeout, "silence"));
  const auto views = api().kernels(world.user, {});
  ASSERT_TRUE(views) << views.error().describe();
  ASSERT_THAT(*views, SizeIs(3));
  ASSERT_THAT((*views)[0].plugins, SizeIs(1));
  EXPECT_EQ((*views)[0].plugins[0].name, "post");
  EXPECT_TRUE((*views)[0].plugins[0].core);
  EXPECT_EQ((*views)[0].runs[0].began_ms, 0);
  EXPECT_EQ((*views)[0].pool.maximum, 16U);
  EXPECT_EQ((*views)[0].trouble, "");
  EXPECT_THAT((*views)[1].trouble, HasSubstr("silence"));
  EXPECT_THAT(*api().kernels(world.user, {.lab = lab, .nodes = {"node-2", "node-2"}}), SizeIs(1));
  EXPECT_EQ(api().kernels(world.user, {.lab = lab, .nodes = {"none"}}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(api().kernels(world.user, {.lab = "none", .nodes = {}}).error().code(), ErrorCode::kNotFound);
  const soap::Caller stranger{.user = "eve", .role = "user", .lab = {}};
  EXPECT_THAT(*api().kernels(stranger, {}), IsEmpty());
  EXPECT_EQ(api().command(stranger, load(true)).error().code(), ErrorCode::kRefused);
}

TEST_F(KernelsTest, AllOrNoneIsPreparedEverywhereAndThenDone) {
  const auto outcome = must(load(true));
  EXPECT_TRUE(outcome.committed);
  EXPECT_THAT(kernels.of("kernel.prepare"), ElementsAre("node-0", "node-1", "node-2"));
  EXPECT_THAT(kernels.of("kernel.commit"), ElementsAre("node-0", "node-1", "node-2"));
  EXPECT_THAT(kernels.of("kernel.abort"), IsEmpty());
  EXPECT_EQ(kernels.last("kernel.prepare")["op"], "kernel.load");
  EXPECT_EQ(kernels.last("kernel.prepare")["args"]["plugins"], json({"post"}));
  for (const auto& answer : outcome.answers) EXPECT_TRUE(answer.able && answer.done) << answer.node;
  const auto events = *world.broker->api().system.events(world.user, 0, std::chrono::milliseconds(0));
  EXPECT_THAT(events.events.back().detail, HasSubstr("load post: on 3 of 3 kernels"));
}

TEST_F(KernelsTest, OneThatIsUnableTakesItBackEverywhere) {
  kernels.fails.emplace("node-1 kernel.prepare", Error(ErrorCode::kNotFound, "no plug-in post"));
  const auto outcome = must(load(true));
  EXPECT_FALSE(outcome.committed);
  EXPECT_THAT(kernels.of("kernel.commit"), IsEmpty());
  EXPECT_THAT(kernels.of("kernel.abort"), ElementsAre("node-0", "node-1", "node-2"));
  EXPECT_TRUE(outcome.answers[0].able);
  EXPECT_FALSE(outcome.answers[0].done);
  EXPECT_FALSE(outcome.answers[1].able);
  EXPECT_THAT(outcome.answers[1].reason, HasSubstr("no plug-in post"));
}

TEST_F(KernelsTest, BestEffortIsDoneWhereItCanBe) {
  kernels.fails.emplace("node-1 kernel.load", Error(ErrorCode::kNotFound, "no plug-in post"));
  const auto outcome = must(load(false));
  EXPECT_TRUE(outcome.committed);
  EXPECT_THAT(kernels.of("kernel.prepare"), IsEmpty());
  EXPECT_TRUE(outcome.answers[0].done);
  EXPECT_FALSE(outcome.answers[1].done);
}

TEST_F(KernelsTest, AKernelThatForgotWhatItPreparedIsTold) {
  kernels.fails.emplace("node-2 kernel.commit", Error(ErrorCode::kNotFound, "not prepared here"));
  const auto outcome = must(load(true));
  EXPECT_TRUE(outcome.committed);
  EXPECT_FALSE(outcome.answers[2].done);
  EXPECT_THAT(outcome.answers[2].reason, HasSubstr("decided, but"));
}

TEST_F(KernelsTest, LostNodesAreUnableAtOnce) {
  world.host().lose_silently(lab, "node-1");
  world.kill();
  world.start();
  world.pump();
  kernels.fails.emplace("node-1 kernel.prepare", Error(ErrorCode::kUnavailable, "node node-1 is lost"));
  const auto outcome = must(load(true));
  EXPECT_FALSE(outcome.committed);
}

TEST_F(KernelsTest, CommandsThatMakeNoSenseAreRefused) {
  const auto code = [&](const KernelCommand& command) {
    const auto outcome = api().command(world.user, command);
    return outcome ? ErrorCode::kFailed : outcome.error().code();
  };
  auto command = load(true);
  command.plugins.clear();
  EXPECT_EQ(code(command), ErrorCode::kInvalid);
  command.verb = KernelCommand::Verb::kStop;
  EXPECT_EQ(code(command), ErrorCode::kInvalid);
  command.run = "r";
  command.plugins = {"post"};
  EXPECT_EQ(code(command), ErrorCode::kInvalid);
  command.verb = KernelCommand::Verb::kRun;
  command.plugins = {"a", "b"};
  EXPECT_EQ(code(command), ErrorCode::kInvalid);
  command.plugins = {"a"};
  command.arguments.assign(1, std::string(65 << 10, 'x'));
  EXPECT_EQ(code(command), ErrorCode::kInvalid);
  command = load(true);
  command.targets.lab.clear();
  EXPECT_EQ(code(command), ErrorCode::kInvalid);
}

TEST_F(KernelsTest, PoolsGetNewBounds) {
  const auto views = api().adjust_pools(world.user, {.lab = lab, .nodes = {"node-0"}},
                                        {.minimum = -1, .maximum = 32, .queue = -1, .idle_ms = 5});
  ASSERT_TRUE(views) << views.error().describe();
  EXPECT_EQ(kernels.last("kernel.pool"), json({{"maximum", 32}, {"idle_ms", 5}}));
  EXPECT_EQ((*views)[0].pool.maximum, 16U);
}

}  // namespace
}  // namespace mvm::broker
