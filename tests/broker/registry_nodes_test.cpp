// Which nodes of a lab serve a registry, over kernels that only remember what they were told.

#include <mutex>
#include <set>

#include "broker/profiles.h"
#include "broker/world.h"
#include "mvm/soap/registry_api.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

/// Kernels with the plug-in's operations for the host; who is told to join, is in.
class RegistryKernels {
 public:
  struct Kernel {
    bool loaded = false, silent = false, stuck = false;
    json settings;  ///< what it was told; null: nothing
    std::string secret;
  };
  explicit RegistryKernels(fakes::FakeHostAgent& host) {
    host.kernels = [this](const std::string& node, const std::string& op, const json& args) {
      const std::lock_guard lock(mutex_);
      return answer(node, op, args);
    };
  }
  std::map<std::string, Kernel> all;
  std::set<std::string> fails;  ///< "NODE OP"
  std::vector<std::uint64_t> lost;

 private:
  static std::uint64_t id_of(const Kernel& kernel) {
    return kernel.settings.is_null() ? 0 : std::stoull(kernel.settings.value("registry.raft.id", "0"));
  }
  Result<host::CallReply> answer(const std::string& node, const std::string& op, const json& args) {
    Kernel& kernel = all[node];
    if (kernel.silent) return Error(ErrorCode::kTimeout, "silence");
    if (fails.contains(node + " " + op)) return Error(ErrorCode::kFailed, "told to fail");
    if (op == "kernel.load") kernel.loaded = true;
    if (op == "kernel.unload") kernel.loaded = false;
    if (op.starts_with("kernel.")) return host::CallReply{json::object(), {}};
    if (!kernel.loaded) return Error(ErrorCode::kUnsupported, "no plug-in of this node offers " + op);
    if (op == "registry.configure") {
      if (!kernel.settings.is_null()) return Error(ErrorCode::kConflict, "chosen already");
      kernel.settings = args["settings"];
      kernel.secret = args["secret"];
    }
    if (op == "registry.forget") kernel.settings = json();
    if (op == "registry.confirm-lost") lost.push_back(args["id"]);
    if (op == "registry.invite")
      return host::CallReply{
          {{"secret", kernel.secret}, {"join", std::to_string(id_of(kernel)) + "=127.0.0.1:1"}}, {}};
    return host::CallReply{members(kernel), {}};
  }
  json members(const Kernel& kernel) {
    const bool chosen = !kernel.settings.is_null();
    json told{{"configured", chosen},
              {"provider", chosen ? kernel.settings.value("registry.provider", "") : "sqlite"},
              {"members", json::array()}};
    if (told["provider"] != "raft") return told;
    told.update({{"self", id_of(kernel)}, {"active", !kernel.stuck}, {"leader", id_of(kernel)}});
    for (const auto& [node, other] : all)
      if (id_of(other) != 0)
        told["members"].push_back({{"id", id_of(other)},
                                   {"address", node + ":1"},
                                   {"role", "voter"},
                                   {"dead", false},
                                   {"connected", !other.silent}});
    return told;
  }
  std::mutex mutex_;
};

class RegistryNodes : public testing::Test {
 public:
  void SetUp() override {
    world.start();
    world.pump();
    lab = world.lab_of_three();
    ASSERT_FALSE(lab.empty());
  }
  soap::RegistryApi& api() { return world.broker->api().registry; }
  soap::RegistryOutcome serve(const std::vector<std::string>& nodes = {},
                              const soap::RegistryChoice& choice = {}) {
    auto outcome = api().serve(world.user, lab, nodes, choice);
    EXPECT_TRUE(outcome) << outcome.error().describe();
    return outcome ? *outcome : soap::RegistryOutcome{};
  }
  std::string refused(const soap::RegistryChoice& choice) {
    const auto outcome = api().serve(world.user, lab, {}, choice);
    EXPECT_FALSE(outcome);
    return outcome ? "" : outcome.error().describe();
  }
  std::string setting(const std::string& node, const char* name) {
    const json& settings = kernels.all[node].settings;
    return settings.is_null() ? "" : settings.value(name, "");
  }
  World world;
  RegistryKernels kernels{world.host()};
  std::string lab;
};

TEST_F(RegistryNodes, TheFirstMakesTheGroupAndTheOthersJoin) {
  const auto outcome = serve();
  EXPECT_TRUE(outcome.committed);
  EXPECT_THAT(outcome.answers, SizeIs(3));
  const std::string id = setting("node-0", "registry.raft.id");
  EXPECT_THAT(setting("node-0", "registry.raft.members"), AllOf(StartsWith(id + "="), HasSubstr(":0")));
  std::set<std::string> ids{id};
  for (const char* node : {"node-1", "node-2"}) {
    EXPECT_EQ(setting(node, "registry.raft.join"), id + "=127.0.0.1:1");
    EXPECT_EQ(kernels.all[node].secret, kernels.all["node-0"].secret);
    ids.insert(setting(node, "registry.raft.id"));
  }
  EXPECT_THAT(ids, SizeIs(3)) << "no number twice";
  EXPECT_GE(kernels.all["node-0"].secret.size(), 64U);
  EXPECT_TRUE(serve().committed) << "again changes nothing";
  EXPECT_EQ(setting("node-0", "registry.raft.id"), id);
}

TEST_F(RegistryNodes, OneThatComesLaterJoinsWhoIsThere) {
  EXPECT_TRUE(serve({"node-1"}).committed);
  EXPECT_FALSE(kernels.all["node-0"].loaded);
  EXPECT_TRUE(serve({"node-0"}).committed);
  EXPECT_EQ(setting("node-0", "registry.raft.join"), setting("node-1", "registry.raft.id") + "=127.0.0.1:1");
}

TEST_F(RegistryNodes, ThereIsNeverASecondOne) {
  EXPECT_TRUE(serve({"node-1"}).committed);
  kernels.all["node-1"].stuck = true;
  const auto outcome = serve({"node-0"});
  EXPECT_FALSE(outcome.committed);
  EXPECT_THAT(outcome.answers[0].reason, HasSubstr("majority"));
  EXPECT_FALSE(kernels.all["node-0"].loaded);
  EXPECT_EQ((*api().members(world.user, lab))[1].state, "joins");
}

TEST_F(RegistryNodes, AllOrNone) {
  kernels.fails.insert("node-2 registry.configure");
  const auto outcome = serve();
  EXPECT_FALSE(outcome.committed);
  EXPECT_THAT(outcome.answers[2].reason, HasSubstr("told to fail"));
  for (const auto& [node, kernel] : kernels.all) {
    EXPECT_FALSE(kernel.loaded) << node;
    EXPECT_TRUE(kernel.settings.is_null()) << node;
  }
  kernels.all["node-1"].silent = true;
  EXPECT_THAT(serve().answers[1].reason, HasSubstr("silence"));
  EXPECT_FALSE(kernels.all["node-0"].loaded) << "nothing is begun";
}

TEST_F(RegistryNodes, OtherProviders) {
  EXPECT_TRUE(serve({"node-0"}, {.provider = "sqlite", .endpoints = {}, .prefix = {}}).committed);
  EXPECT_TRUE(kernels.all["node-0"].loaded);
  EXPECT_TRUE(kernels.all["node-0"].settings.is_null());
  const soap::RegistryChoice etcd{
      .provider = "etcd", .endpoints = {"http://a:1", "http://b:1"}, .prefix = "p/"};
  EXPECT_TRUE(serve({"node-1"}, etcd).committed);
  EXPECT_EQ(setting("node-1", "registry.etcd.endpoints"), "http://a:1,http://b:1");
  EXPECT_EQ(setting("node-1", "registry.etcd.prefix"), "p/");
  EXPECT_THAT(serve({"node-1"}).answers[0].reason, HasSubstr("mvm reg leave")) << "it has another one";
  EXPECT_THAT(refused({.provider = "paper", .endpoints = {}, .prefix = {}}), HasSubstr("paper"));
  EXPECT_THAT(refused({.provider = "etcd", .endpoints = {}, .prefix = {}}), HasSubstr("HOST:PORT"));
  EXPECT_THAT(refused({.provider = "raft", .endpoints = {"http://a:1"}, .prefix = {}}), HasSubstr("etcd's"));
  EXPECT_THAT(refused({.provider = "etcd", .endpoints = {"http://a:1,http://b"}, .prefix = {}}),
              HasSubstr("http://a:1"));
  EXPECT_THAT(refused({.provider = "etcd", .endpoints = {"file:///etc"}, .prefix = {}}), HasSubstr("file:"));
}

TEST_F(RegistryNodes, WhoIsThereAndWhoIsLost) {
  EXPECT_TRUE(serve().committed);
  const std::uint64_t gone = std::stoull(setting("node-2", "registry.raft.id"));
  EXPECT_EQ(api().confirm_lost(world.user, lab, gone).error().code(), ErrorCode::kConflict) << "it is there";
  kernels.all["node-2"].silent = true;
  const auto members = api().members(world.user, lab);
  ASSERT_TRUE(members);
  ASSERT_THAT(*members, SizeIs(4));
  EXPECT_EQ((*members)[0].state, "serves");
  EXPECT_EQ((*members)[0].role, "voter");
  EXPECT_EQ((*members)[0].address, "node-0:1");
  EXPECT_EQ((*members)[2].state, "failed");
  EXPECT_THAT((*members)[2].trouble, HasSubstr("silence"));
  EXPECT_EQ((*members)[3].node, "");
  EXPECT_EQ((*members)[3].state, "silent");
  EXPECT_EQ((*members)[3].id, gone);
  EXPECT_TRUE(api().confirm_lost(world.user, lab, gone));
  EXPECT_THAT(kernels.lost, testing::ElementsAre(gone));

  EXPECT_TRUE(api().leave(world.user, lab, "node-1", false));
  EXPECT_FALSE(kernels.all["node-1"].loaded);
  EXPECT_EQ(api().leave(world.user, lab, "node-1", false).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(api().leave(world.user, lab, "node-9", false));
  EXPECT_FALSE(api().serve(world.user, lab, {"node-9"}, {}));
  EXPECT_FALSE(api().members(world.user, "no-such"));
}

}  // namespace
}  // namespace mvm::broker
