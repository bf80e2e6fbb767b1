// The registry as a plug-in of a real kernel.
#include <unistd.h>

#include "componentvm/kernel/node.h"
#include "componentvm/registry/etcd_cluster.h"
#include "mvm/registry/packing.h"
#include "mvm/registry/rmix/rmix_registry.h"
#include "mvm/rmix/native.h"

namespace mvm::registry {
namespace {

using kernel::Node;
using kernel::NodeOptions;
using nlohmann::json;

std::string packed(const std::string& text) { return PackWriter().text(text).take(); }

class RegistryPlugin : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-registry-");
    std::filesystem::copy_file(MVM_BINARY_DIR "/lib/mvm/plugins/registry.so", folder_ / "registry.so");
    std::filesystem::copy_file(MVM_BINARY_DIR "/tests/registry-user/user.so", folder_ / "user.so");
  }
  void TearDown() override {
    node_.reset();
    EXPECT_TRUE(remove_tree(folder_));
  }
  void boot(std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.end(), {"--plugins", folder_.string(), "--plugin", "registry"});
    node_.emplace(NodeOptions{.arguments = std::move(arguments)});
  }
  ErrorCode refused(const std::string& op, const json& args, std::string blob = {}) {
    const auto reply = node_->call(op, args, std::move(blob));
    EXPECT_FALSE(reply) << op << args;
    return reply ? ErrorCode::kFailed : reply.error().code();
  }

  std::filesystem::path folder_;
  std::optional<Node> node_;
};

TEST_F(RegistryPlugin, ServesTheHost) {
  boot();
  const json put = {{"name", "dvm/hosts"}, {"flags", {"persistent", "multiple"}}, {"owner", "alice"}};
  EXPECT_EQ(node_->must("registry.put", put, packed("one")).at("index"), 0);
  EXPECT_EQ(node_->must("registry.put", put, packed("two")).at("index"), 1);
  EXPECT_EQ(refused("registry.put", put, "\x7f"), ErrorCode::kInvalid);
  EXPECT_EQ(refused("registry.put", {{"name", "x"}, {"flags", {"wait"}}}), ErrorCode::kInvalid);

  const auto found = node_->call("registry.recv", {{"name", "dvm/hosts"}, {"index", 1}});
  ASSERT_TRUE(found) << found.error().describe();
  EXPECT_EQ(found->blob, packed("two"));
  EXPECT_EQ(found->result.at("info").at("owner"), "user/alice");
  EXPECT_EQ(refused("registry.recv", {{"name", "none"}}), ErrorCode::kNotFound);
  EXPECT_EQ(refused("registry.recv", {{"name", "none"}, {"flags", {"wait"}}, {"wait_ms", 1}}),
            ErrorCode::kTimeout);
  const json listing = node_->must("registry.list", {{"pattern", "dvm/*"}});
  EXPECT_EQ(listing.at("infos").size(), 2U);

  EXPECT_EQ(refused("registry.del", {{"name", "dvm/hosts"}, {"owner", "bob"}}), ErrorCode::kRefused);
  node_->must("registry.del", {{"name", "dvm/hosts"}, {"owner", "alice"}});
  const json events = node_->must("registry.watch", {{"after", 0}, {"items", true}, {"wait_ms", 1000}});
  ASSERT_EQ(events.at("events").size(), 3U);
  EXPECT_EQ(events.at("events")[2].at("deleted"), true);
  EXPECT_EQ(events.at("cursor"), 3);
  EXPECT_TRUE(events.at("events")[0].contains("item"));

  const std::string large(1000000, 'x');
  node_->must("registry.put", {{"name", "large"}, {"flags", {"persistent"}}, {"encoding", "bytes"}}, large);
  const auto whole = node_->call("registry.recv", {{"name", "large"}});
  ASSERT_TRUE(whole) << whole.error().describe();
  EXPECT_EQ(whole->blob.size(), large.size() + 5);
}

TEST_F(RegistryPlugin, LeasesOfOwnersAndOfTheKernel) {
  boot();
  const json lease = node_->must("registry.grant", {{"owner", "alice"}, {"ttl_ms", 60000}});
  json put = {{"name", "mine"}, {"owner", "alice"}, {"lease", lease.at("lease")}};
  node_->must("registry.put", put, packed("x"));
  node_->must("registry.keep", lease);
  json wrong = lease;
  wrong["owner"] = "bob";
  EXPECT_EQ(refused("registry.revoke", wrong), ErrorCode::kRefused);
  json mine = lease;
  mine["owner"] = "alice";
  node_->must("registry.revoke", mine);
  EXPECT_EQ(refused("registry.recv", {{"name", "mine"}}), ErrorCode::kNotFound);
  EXPECT_EQ(refused("registry.keep", lease), ErrorCode::kNotFound);

  node_->must("registry.put", {{"name", "session"}, {"owner", "alice"}}, packed("x"));
  node_->must("registry.put", {{"name", "stays"}, {"owner", "alice"}, {"flags", {"persistent"}}},
              packed("y"));
  EXPECT_TRUE(node_->stop_kernel().success());
  node_->start_kernel();
  // Nobody keeps its lease alive any more.
  json after;
  for (int tries = 0; tries < 60; ++tries) {
    after = node_->must("registry.list");
    if (after.at("infos").size() < 2) break;
    node_->must("registry.watch", {{"after", after.at("revision")}, {"wait_ms", 1000}});
  }
  ASSERT_EQ(after.at("infos").size(), 1U) << after << node_->log();
  EXPECT_EQ(after.at("infos")[0].at("name"), "stays");
}

TEST_F(RegistryPlugin, PlugInsHaveTheirOwnNamesAndPermissions) {
  boot();
  node_->must("kernel.load", {{"plugins", {"user"}}});
  node_->must("user.put", {{"name", "theirs"}, {"flags", {"persistent"}}}, packed("x"));
  node_->must("user.direct");
  EXPECT_EQ(node_->must("registry.recv", {{"name", "theirs"}}).at("info").at("owner"), "lab/a/user");
  EXPECT_EQ(node_->must("registry.recv", {{"name", "direct"}}).at("info").at("owner"), "user-plugin");
  EXPECT_EQ(refused("registry.del", {{"name", "theirs"}, {"owner", "lab/a/user"}}), ErrorCode::kRefused)
      << "nobody outside takes a plug-in's name";
  // Permission attributes [Harness 000, §2.3].
  node_->must("kernel.share", {{"plugin", "registry"}, {"sharing", "kernel"}});
  EXPECT_EQ(refused("registry.recv", {{"name", "theirs"}}), ErrorCode::kRefused);
  node_->must("user.put", {{"name", "theirs too"}, {"flags", {"persistent"}}}, packed("x"));
  node_->must("kernel.share", {{"plugin", "registry"}, {"sharing", "everyone"}});
  EXPECT_EQ(node_->must("registry.list").at("infos").size(), 3U);
}

TEST_F(RegistryPlugin, ServesOtherProcessesOverSharedMemory) {
  boot();
  node_->must("registry.put", {{"name", "a"}, {"flags", {"persistent"}}}, packed("x"));
  rmix::Providers providers;
  providers.add(rmix::make_native_provider());
  const auto client = rmix::Client::create(providers, {});
  const auto remote = bind_rmix_registry(
      *client, std::string(kService) + " native+shm:" + (node_->folder / "run/registry.sock").string());
  ASSERT_TRUE(remote) << remote.error().describe() << node_->log();
  EXPECT_EQ(*(*remote)->read("a", 0, 0)->item, packed("x"));
  Session session(**remote, "process");
  ASSERT_TRUE(session.putinfo("b", make_item(packed("y")), kPersistent));
  EXPECT_EQ(node_->call("registry.recv", {{"name", "b"}})->blob, packed("y"));
}

TEST_F(RegistryPlugin, TellsWhatAKernelHolds) {
  boot();
  const json components = node_->must("registry.getvminfo", {{"key", "components"}});
  EXPECT_EQ(components.at("plugins")[0].at("name"), "registry");
  EXPECT_EQ(node_->must("registry.getvminfo", {{"key", "node"}}).at("node"), "lab/a");
  node_->must("registry.put", {{"name", "dvm/name"}, {"flags", {"persistent"}}}, packed("x"));
  EXPECT_EQ(node_->call("registry.getvminfo", {{"key", "dvm/name"}})->blob, packed("x"));
  EXPECT_EQ(refused("registry.getvminfo", {{"key", "nothing"}}), ErrorCode::kNotFound);
}

/// Kernels that replicate their registry among themselves.
class ReplicatedRegistry : public RegistryPlugin {
 protected:
  void SetUp() override {
    RegistryPlugin::SetUp();
    secret_ = folder_ / "secret";
    ASSERT_TRUE(write_file_durably(secret_, "a secret of the group's members\n", 0600));
    // Ports of an address of loopback that no other process listens at, or connects from.
    const auto own = static_cast<unsigned>(::getpid());
    const std::string host = "127.77." + std::to_string(own >> 8U & 255U) + "." + std::to_string(own & 255U);
    for (int i = 1; i <= 4; ++i)
      members_.push_back(std::to_string(i) + "=" + host + ":" + std::to_string(7800 + i));
  }
  Node& start(std::uint64_t id, std::vector<std::string> more) {
    std::vector<std::string> arguments{"--plugins", folder_.string(),
                                       "--plugin",  "registry",
                                       "--set",     "registry.provider=raft",
                                       "--set",     "registry.raft.id=" + std::to_string(id),
                                       "--set",     "registry.raft.beat-ms=100",
                                       "--set",     "registry.raft.secret=" + secret_.string()};
    for (auto& one : more) arguments.insert(arguments.end(), {"--set", std::move(one)});
    return *(nodes_[id] = std::make_unique<Node>(NodeOptions{.arguments = std::move(arguments)}));
  }
  std::string first_members() const { return members_[0] + "," + members_[1] + "," + members_[2]; }
  /// As a client does that must not put twice, while another leader is chosen.
  static void put(Node& node, const std::string& name) {
    const json args = {{"name", name}, {"flags", {"persistent"}}, {"request", name}};
    Result<channel::Reply> reply = Error(ErrorCode::kFailed, "not tried");
    for (int i = 0; i < 100 && !reply; ++i) reply = node.call("registry.put", args, packed(name));
    ASSERT_TRUE(reply) << name << ": " << reply.error().describe() << node.log();
  }
  static json member(const json& shown, std::uint64_t id) {
    for (const auto& one : shown.at("members"))
      if (one.at("id") == id) return one;
    return {};
  }

  std::filesystem::path secret_;
  std::vector<std::string> members_;
  std::map<std::uint64_t, std::unique_ptr<Node>> nodes_;
};

TEST_F(ReplicatedRegistry, SurvivesItsKernelsDownToTheLast) {
  for (std::uint64_t id = 1; id <= 3; ++id) start(id, {"registry.raft.members=" + first_members()});
  put(*nodes_[1], "one");
  put(*nodes_[3], "three");
  for (auto& [id, node] : nodes_) EXPECT_EQ(node->must("registry.list").at("infos").size(), 2U) << id;
  // A fourth is taken in, and holds all of it.
  start(4, {"registry.raft.join=" + members_[0], "registry.raft.address=" + members_[3].substr(2)});
  put(*nodes_[4], "four");
  EXPECT_EQ(nodes_[2]->must("registry.list").at("infos").size(), 3U);
  nodes_[4]->must("registry.leave");
  nodes_.erase(4);
  // One after the other ends; of the last two, silence alone would leave nobody who may act.
  for (const std::uint64_t dead : {std::uint64_t{1}, std::uint64_t{2}}) {
    const json life = member(nodes_[3]->must("registry.members"), dead);
    nodes_.erase(dead);
    nodes_[3]->must("registry.confirm-death", {{"id", dead}, {"life", life.at("life")}});
    put(*nodes_[3], "without " + std::to_string(dead));
  }
  EXPECT_EQ(nodes_[3]->must("registry.list").at("infos").size(), 5U);
  EXPECT_FALSE(nodes_[3]->call("registry.confirm-death", {{"id", 9}, {"life", 1}}));
  EXPECT_FALSE(nodes_[3]->call("registry.confirm-death", {{"id", 3}, {"life", 1}}));
}

/// What the host of a lab's nodes does: nothing is said when the kernels begin.
class ChosenRegistry : public ReplicatedRegistry {
 protected:
  Node& plain(std::uint64_t id) {
    return *(nodes_[id] = std::make_unique<Node>(
                 NodeOptions{.arguments = {"--plugins", folder_.string(), "--plugin", "registry"}}));
  }
  static json found(std::uint64_t id) {
    const std::string number = std::to_string(id);
    return {{"secret", "a secret of the group's members"},
            {"settings",
             {{"registry.provider", "raft"},
              {"registry.raft.beat-ms", "100"},
              {"registry.raft.id", number},
              {"registry.raft.members", number + "=127.0.0.1:0"},
              {"registry.raft.address", "127.0.0.1:0"}}}};
  }
  static json join(Node& inside, std::uint64_t id) {
    const json invitation = inside.must("registry.invite");
    return {{"secret", invitation.at("secret")},
            {"settings",
             {{"registry.provider", "raft"},
              {"registry.raft.beat-ms", "100"},
              {"registry.raft.id", std::to_string(id)},
              {"registry.raft.join", invitation.at("join")},
              {"registry.raft.address", "127.0.0.1:0"}}}};
  }
  static void wait_active(Node& node) {
    json shown = json::object();
    for (int i = 0; i < 600 && !shown.value("active", false); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      shown = node.must("registry.members");
    }
    ASSERT_TRUE(shown.value("active", false)) << shown << node.log();
  }
};

TEST_F(ChosenRegistry, TheHostMakesAGroupAndEndsIt) {
  Node& first = plain(1);
  EXPECT_EQ(first.must("registry.members").at("provider"), "sqlite");
  EXPECT_FALSE(first.call("registry.invite", {}));
  EXPECT_EQ(first.must("registry.configure", found(11)).at("provider"), "raft");
  put(first, "one");
  for (const std::uint64_t id : {std::uint64_t{2}, std::uint64_t{3}}) {
    Node& node = plain(id);
    node.must("registry.configure", join(first, 10 + id));
    wait_active(node);
    put(node, "from " + std::to_string(id));
  }
  EXPECT_EQ(first.must("registry.list").at("infos").size(), 3U);
  EXPECT_FALSE(first.call("registry.configure", found(15))) << "chosen before";
  // Its kernel is started again and finds its group by itself, at the port that it had.
  const json before = member(first.must("registry.members"), 12);
  EXPECT_TRUE(nodes_[2]->stop_kernel().success());
  nodes_[2]->start_kernel();
  wait_active(*nodes_[2]);
  EXPECT_EQ(member(nodes_[2]->must("registry.members"), 12).at("address"), before.at("address"));
  EXPECT_EQ(nodes_[2]->must("registry.list").at("infos").size(), 3U);
  // Who leaves has nothing of it left, and may be taken in as another member.
  EXPECT_EQ(nodes_[3]->must("registry.forget").at("changed"), true);
  EXPECT_EQ(nodes_[3]->must("registry.forget").at("changed"), false);
  EXPECT_EQ(nodes_[3]->must("registry.members").at("provider"), "sqlite");
  EXPECT_TRUE(nodes_[3]->must("registry.list").at("infos").empty());
  EXPECT_FALSE(std::filesystem::exists(nodes_[3]->folder / "run/registry.raft"));
  nodes_[3]->must("registry.configure", join(*nodes_[2], 21));
  wait_active(*nodes_[3]);
  EXPECT_EQ(nodes_[3]->must("registry.list").at("infos").size(), 3U);
  // Down to the last, who need not ask anybody.
  for (const std::uint64_t id : {std::uint64_t{1}, std::uint64_t{2}}) nodes_[id]->must("registry.forget");
  put(*nodes_[3], "alone");
  EXPECT_EQ(nodes_[3]->must("registry.list").at("infos").size(), 4U);
  nodes_[3]->must("registry.forget");
}

TEST_F(ChosenRegistry, WhatCannotBeChosenIsRefusedAndNothingChanges) {
  Node& node = plain(1);
  const auto refused = [&](const json& args) {
    const auto reply = node.call("registry.configure", args);
    EXPECT_FALSE(reply) << args;
    return reply ? std::string() : reply.error().describe();
  };
  json reaches_files = found(11);
  reaches_files["settings"]["registry.file"] = "/etc/passwd";
  EXPECT_THAT(refused(reaches_files), ::testing::HasSubstr("registry.file"));
  json unknown = found(11);
  unknown["settings"]["registry.provider"] = "paper";
  EXPECT_THAT(refused(unknown), ::testing::HasSubstr("paper"));
  json secret = found(11);
  secret["secret"] = "short";
  EXPECT_THAT(refused(secret), ::testing::HasSubstr("secret"));
  put(node, "a");
  EXPECT_THAT(refused(found(11)), ::testing::HasSubstr("holds a"));
  EXPECT_EQ(node.must("registry.list").at("infos").size(), 1U);
  EXPECT_EQ(node.must("registry.members").at("provider"), "sqlite");
  EXPECT_FALSE(node.call("registry.leave", {}));
}

TEST_F(ChosenRegistry, AChoiceThatCannotBeHadAnyMoreIsToldAndTakenBack) {
  Node& node = plain(1);
  node.must("registry.configure", found(11));
  put(node, "a");
  EXPECT_TRUE(node.stop_kernel().success());
  ASSERT_TRUE(write_file_durably(node.folder / "run/registry.json", "{\"registry.provider\":7}", 0600));
  node.start_kernel();
  EXPECT_NE(node.must("registry.members").value("trouble", ""), "");
  const auto asked = node.call("registry.list", {});
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code(), ErrorCode::kUnavailable);
  node.must("registry.forget", {{"force", true}});
  EXPECT_TRUE(node.must("registry.list").at("infos").empty());
}

TEST_F(ReplicatedRegistry, WhatAMemberIsNotToldIsNamed) {
  using Strings = std::vector<std::string>;
  const std::string all = "registry.raft.members=" + first_members();
  const std::string secret = "registry.raft.secret=" + secret_.string();
  const std::vector<std::pair<Strings, std::string>> cases{
      {{}, "registry.raft.members"},
      {{all, secret}, "registry.raft.id: found"},
      {{all, secret, "registry.raft.id=7"}, "7 is none of registry.raft.members"},
      {{all, "registry.raft.id=1"}, "registry.raft.secret"},
      {{"registry.raft.members=1", secret, "registry.raft.id=1"}, "NUMBER=HOST:PORT"},
      {{"registry.raft.join=" + members_[0], secret, "registry.raft.id=4"}, "registry.raft.address"},
      {{all, secret, "registry.raft.id=1", "registry.raft.beat-ms=soon"}, "milliseconds"},
      {{all, secret, "registry.raft.id=1", "registry.raft.colour=red"}, "knows no such setting"}};
  for (const auto& [settings, expected] : cases) {
    Strings arguments{"--plugins", folder_.string(), "--set", "registry.provider=raft"};
    for (const auto& one : settings) arguments.insert(arguments.end(), {"--set", one});
    Node node({.arguments = std::move(arguments)});
    const auto loaded = node.call("kernel.load", {{"plugins", {"registry"}}});
    ASSERT_FALSE(loaded) << expected;
    EXPECT_THAT(loaded.error().describe(), ::testing::HasSubstr(expected));
  }
}

TEST_F(RegistryPlugin, TheProviderIsASetting) {
  EtcdCluster& cluster = shared_cluster();
  std::string endpoints;
  for (const auto& one : cluster.endpoints()) endpoints += (endpoints.empty() ? "" : ",") + one;
  boot({"--set", "registry.provider=etcd", "--set", "registry.etcd.endpoints=" + endpoints, "--set",
        "registry.etcd.timeout-ms=60000", "--set", "registry.etcd.prefix=test/plugin/"});
  node_->must("registry.put", {{"name", "a"}, {"flags", {"persistent"}}}, packed("x"));
  EXPECT_EQ(node_->must("registry.list").at("infos").size(), 1U);
  EXPECT_TRUE(node_->stop_kernel().success());
  node_->start_kernel();
  EXPECT_EQ(node_->must("registry.list").at("infos").size(), 1U);
}

}  // namespace
}  // namespace mvm::registry
