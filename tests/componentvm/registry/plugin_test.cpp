// The registry as a plug-in of a real kernel.
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
