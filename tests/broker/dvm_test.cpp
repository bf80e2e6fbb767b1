// The distributed virtual machines of a lab, over kernels that only remember what they belong to.

#include <mutex>
#include <set>

#include "broker/profiles.h"
#include "broker/world.h"
#include "mvm/soap/dvm_api.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// Kernels with the plug-in's operations for the host; who is a member, the others see at once.
class Kernels {
 public:
  struct Kernel {
    bool loaded = false, silent = false, dead = false;
    json configured;  ///< what it was told; null: nothing
  };
  explicit Kernels(fakes::FakeHostAgent& host) {
    host.kernels = [this](const std::string& node, const std::string& op, const json& args) {
      const std::lock_guard lock(mutex_);
      return answer(node, op, args);
    };
  }
  std::map<std::string, Kernel> all;
  std::set<std::string> removed, fails;  ///< nodes; "NODE OP"

 private:
  static std::string vm(const Kernel& kernel) {
    return kernel.configured.is_null() ? "" : kernel.configured["settings"].value("vm", "");
  }
  Result<host::CallReply> answer(const std::string& node, const std::string& op, const json& args) {
    Kernel& kernel = all[node];
    if (kernel.silent) return Error(ErrorCode::kTimeout, "silence");
    if (fails.contains(node + " " + op)) return Error(ErrorCode::kFailed, "told to fail");
    if (op == "kernel.load") kernel.loaded = true;
    if (op == "kernel.unload") kernel.loaded = false;
    if (op.starts_with("kernel.")) return host::CallReply{json::object(), {}};
    if (!kernel.loaded) return Error(ErrorCode::kUnsupported, "no plug-in of this node offers " + op);
    if (op == "dvm.configure") {
      if (!kernel.configured.is_null()) return Error(ErrorCode::kConflict, "another's already");
      kernel.configured = args;
    }
    if (op == "dvm.forget") kernel.configured = json();
    if (op == "dvm.invite")
      return host::CallReply{
          {{"vm", vm(kernel)}, {"secret", kernel.configured["secret"]}, {"users", "ada ..."}}, {}};
    if (op == "dvm.self")
      return host::CallReply{{{"vm", vm(kernel)},
                              {"live", !kernel.dead},
                              {"reason", kernel.dead ? "cut off" : ""},
                              {"server", "node-0"},
                              {"term", 2},
                              {"number", -1},
                              {"address", node + ":1"}},
                             {}};
    if (op == "dvm.command") return host::CallReply{told(vm(kernel), node, args["argv"]), {}};
    return host::CallReply{json::object(), {}};
  }
  json told(const std::string& name, const std::string& node, const json& words) {
    if (words[0] == "leave") removed.insert(node);
    if (words[0] == "remove") removed.insert(words[1].get<std::string>());
    if (words[0] != "getvminfo") return {{"code", 0}, {"message", "done"}, {"answer", json()}};
    json answer = json::array();
    const std::string key = words[1];
    if (key.ends_with("members"))
      for (const auto& [member, kernel] : all)
        if (vm(kernel) == name && !removed.contains(member))
          answer.push_back({{"kernel", member},
                            {"address", member + ":1"},
                            {"state", kernel.silent ? "lost" : "present"},
                            {"holds-log", true},
                            {"server", member == "node-0"},
                            {"attributes", {{"arch", "x86_64"}}}});
    if (key.ends_with("services")) answer = {{"post", {"node-0", 7}}, {"odd", "no list"}};
    if (key.ends_with("baseline")) answer = {{"loader", "1.0.0"}, {"odd", 7}};
    return {{"code", 0}, {"message", ""}, {"answer", answer}};
  }
  std::mutex mutex_;
};

class DvmTest : public testing::Test {
 public:
  void SetUp() override {
    world.start();
    world.pump();
    lab = world.lab_of_three();
    ASSERT_FALSE(lab.empty());
  }
  soap::DvmApi& api() { return world.broker->api().dvm; }
  soap::DvmOutcome create(const std::vector<std::string>& nodes = {}) {
    auto outcome = api().create(world.user, {lab, "blue"}, nodes);
    EXPECT_TRUE(outcome) << outcome.error().describe();
    return outcome ? *outcome : soap::DvmOutcome{};
  }
  ErrorCode code(const Result<soap::DvmOutcome>& outcome) {
    return outcome ? ErrorCode::kFailed : outcome.error().code();
  }
  json told(const std::string& node) { return kernels.all[node].configured; }
  World world;
  Kernels kernels{world.host()};
  std::string lab;
};

TEST_F(DvmTest, TheFirstFoundsItAndTheOthersAreToldWhereItIs) {
  const auto made = create();
  EXPECT_TRUE(made.committed);
  EXPECT_THAT(made.answers, SizeIs(3));
  for (const auto& answer : made.answers) EXPECT_TRUE(answer.done) << answer.node << ": " << answer.reason;
  EXPECT_EQ(told("node-0")["settings"]["found"], "now");
  EXPECT_EQ(told("node-0")["settings"]["multicast"], false);
  EXPECT_EQ(told("node-0")["user"], made.user);
  EXPECT_EQ(told("node-0")["password"], made.password);
  EXPECT_GE(made.password.size(), 16U);
  EXPECT_EQ(told("node-1")["settings"]["found"], "never");
  EXPECT_EQ(told("node-1")["settings"]["seeds"], json({"node-0:1"}));
  EXPECT_EQ(told("node-1")["secret"], told("node-0")["secret"]);
  EXPECT_GE(told("node-0")["secret"].get<std::string>().size(), 16U);
  EXPECT_EQ(told("node-2")["users"], "ada ...");
  EXPECT_FALSE(told("node-2").contains("password"));
  const std::string listen = told("node-2")["settings"]["listen"].get<std::string>();
  EXPECT_THAT(listen, testing::EndsWith(":0"));
  EXPECT_NE(listen, told("node-1")["settings"]["listen"].get<std::string>()) << "each in the lab's network";
  EXPECT_EQ(code(api().create(world.user, {lab, "blue"}, {})), ErrorCode::kConflict);
  const auto events = *world.broker->api().system.events(world.user, 0, std::chrono::milliseconds(0));
  EXPECT_THAT(events.events.back().detail, HasSubstr("blue: created"));
  EXPECT_THAT(events.events.back().detail, testing::Not(HasSubstr(made.password)));
}

TEST_F(DvmTest, ConfShowsWhatKernelsSayAndBelievesNothing) {
  EXPECT_THAT(*api().conf(world.user, {lab, ""}), IsEmpty());
  EXPECT_EQ(api().conf(world.user, {lab, "blue"}).error().code(), ErrorCode::kNotFound);
  create({"node-0", "node-1"});
  const auto views = api().conf(world.user, {lab, ""});
  ASSERT_TRUE(views) << views.error().describe();
  ASSERT_THAT(*views, SizeIs(1));
  const soap::DvmView& view = views->front();
  EXPECT_EQ(view.name, "blue");
  EXPECT_EQ(view.server, "node-0");
  EXPECT_EQ(view.term, 2U);
  EXPECT_EQ(view.number, 0U);
  EXPECT_THAT(view.baseline, ElementsAre("loader/1.0.0"));
  ASSERT_THAT(view.members, SizeIs(2));
  EXPECT_TRUE(view.members[0].server && view.members[0].voter);
  EXPECT_THAT(view.members[0].services, ElementsAre("post"));
  EXPECT_THAT(view.members[1].services, IsEmpty());
  for (auto& [node, kernel] : kernels.all) kernel.dead = true;
  const auto cut = api().conf(world.user, {lab, "blue"});
  ASSERT_TRUE(cut);
  EXPECT_THAT(cut->front().trouble, HasSubstr("no status server: cut off"));
  EXPECT_THAT(cut->front().members, SizeIs(2)) << "what the kernels know by themselves";
  EXPECT_EQ(cut->front().server, "");
  const soap::Caller stranger{.user = "eve", .role = "user", .lab = {}};
  EXPECT_EQ(api().conf(stranger, {lab, ""}).error().code(), ErrorCode::kRefused);
}

TEST_F(DvmTest, WhereOneIsUnableNothingIsLeft) {
  kernels.fails = {"node-1 dvm.configure"};
  const auto failed = create();
  EXPECT_FALSE(failed.committed);
  EXPECT_THAT(failed.answers[1].reason, HasSubstr("told to fail"));
  EXPECT_EQ(failed.password, "");
  for (const auto& [node, kernel] : kernels.all) {
    EXPECT_TRUE(kernel.configured.is_null()) << node;
    EXPECT_FALSE(kernel.loaded) << node;
  }
  kernels.fails.clear();
  kernels.all["node-2"].silent = true;
  EXPECT_FALSE(create().committed);
  EXPECT_FALSE(kernels.all["node-0"].loaded) << "not begun where somebody is silent from the start";
  EXPECT_TRUE(create({"node-0", "node-1"}).committed);
}

TEST_F(DvmTest, AnothersMachineIsNotTouched) {
  ASSERT_TRUE(create({"node-1"}).committed);
  const auto refused = api().create(world.user, {lab, "red"}, {"node-0", "node-1"});
  ASSERT_TRUE(refused);
  EXPECT_FALSE(refused->committed);
  EXPECT_THAT(refused->answers[1].reason, HasSubstr("machine blue already"));
  EXPECT_FALSE(kernels.all["node-0"].loaded);
  EXPECT_EQ(told("node-1")["settings"]["vm"], "blue");
}

TEST_F(DvmTest, NodesJoinAndLeave) {
  create({"node-0", "node-1"});
  const auto joined = api().add(world.user, {lab, "blue"}, "node-2");
  ASSERT_TRUE(joined) << joined.error().describe();
  EXPECT_TRUE(joined->committed) << joined->answers[0].reason;
  EXPECT_EQ(told("node-2")["settings"]["seeds"], json({"node-0:1", "node-1:1"}));
  EXPECT_EQ(told("node-2")["secret"], told("node-0")["secret"]);
  EXPECT_EQ(code(api().add(world.user, {lab, "blue"}, "node-2")), ErrorCode::kConflict);
  EXPECT_EQ(code(api().add(world.user, {lab, "blue"}, "none")), ErrorCode::kNotFound);
  ASSERT_TRUE(api().remove(world.user, {lab, "blue"}, "node-2")->committed);
  EXPECT_TRUE(kernels.removed.contains("node-2"));
  EXPECT_FALSE(kernels.all["node-2"].loaded);
  EXPECT_EQ(code(api().remove(world.user, {lab, "blue"}, "node-2")), ErrorCode::kNotFound);
  kernels.all["node-1"].silent = true;
  ASSERT_TRUE(api().remove(world.user, {lab, "blue"}, "node-1")->committed) << "dead: the others are told";
  EXPECT_TRUE(kernels.removed.contains("node-1"));
  EXPECT_EQ(code(api().remove(world.user, {lab, "blue"}, "node-0")), ErrorCode::kConflict) << "the last one";
}

TEST_F(DvmTest, HaltEndsItEverywhere) {
  create();
  kernels.all["node-1"].silent = true;
  const auto part = api().halt(world.user, {lab, "blue"});
  ASSERT_TRUE(part);
  EXPECT_THAT(part->answers, SizeIs(3));
  EXPECT_THAT(part->answers[2].reason, HasSubstr("silence"));
  EXPECT_EQ(code(api().halt(world.user, {lab, "blue"})), ErrorCode::kUnavailable);
  kernels.all["node-1"].silent = false;
  EXPECT_TRUE(api().halt(world.user, {lab, "blue"})->committed);
  for (const auto& [node, kernel] : kernels.all) EXPECT_FALSE(kernel.loaded) << node;
  EXPECT_EQ(code(api().halt(world.user, {lab, "blue"})), ErrorCode::kNotFound);
}

TEST_F(DvmTest, WhatMakesNoSenseIsRefused) {
  EXPECT_EQ(code(api().create(world.user, {lab, "Blue!"}, {})), ErrorCode::kInvalid);
  EXPECT_EQ(code(api().create(world.user, {lab, std::string(33, 'a')}, {})), ErrorCode::kInvalid);
  EXPECT_EQ(code(api().create(world.user, {"", "blue"}, {})), ErrorCode::kInvalid);
  EXPECT_EQ(code(api().halt(world.user, {lab, ""})), ErrorCode::kInvalid);
  EXPECT_EQ(code(api().create(world.user, {"none", "blue"}, {})), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace mvm::broker
