// The catalog as a plug-in of real kernels: one serves, another asks.
#include "componentvm/kernel/node.h"
#include "mvm/base/base64.h"

namespace mvm::catalog {
namespace {

using kernel::Node;
using nlohmann::json;

TEST(CatalogPlugin, KernelsSayAndAskOverOneServer) {
  const auto folder = *make_temporary_folder("/tmp", "mvm-catalog-");
  std::filesystem::copy_file(MVM_BINARY_DIR "/lib/mvm/plugins/catalog.so", folder / "catalog.so");
  const auto arguments = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--plugins", folder.string(), "--plugin", "catalog"});
    return more;
  };
  {
    Node server({.arguments = arguments({"--set", "catalog.listen=native+tcp://127.0.0.1:0"})});
    const std::string endpoint = server.must("catalog.info").at("endpoint");
    Node other({.arguments = arguments({"--set", "catalog.servers=catalog " + endpoint})});
    const json statement = {{"uri", "urn:mvm:host:a"}, {"name", "arch"}};
    EXPECT_EQ(server.must("catalog.say", statement, "x86_64").at("serial"), 1);
    EXPECT_EQ(other.must("catalog.say", statement, "s390x").at("serial"), 1);
    EXPECT_EQ(other.must("catalog.say", statement, "s390").at("serial"), 2);
    const json found = server.must("catalog.query", {{"uri", "urn:mvm:host:a"}}).at("assertions");
    ASSERT_EQ(found.size(), 2U);
    const std::string party = server.must("catalog.info").at("party");
    for (const auto& one : found)
      EXPECT_EQ(one.at("value"), base64(one.at("party") == party ? "x86_64" : "s390"));
    EXPECT_EQ(other.must("catalog.resources").at("resources"), json::array({"urn:mvm:host:a"}));
    EXPECT_FALSE(server.call("catalog.say", {{"uri", "nothing"}, {"name", "x"}}));
    // The key and what was said outlive a kernel.
    EXPECT_TRUE(other.stop_kernel().success());
    other.start_kernel();
    EXPECT_EQ(other.must("catalog.say", statement, "aarch64").at("serial"), 3);
  }
  EXPECT_TRUE(remove_tree(folder));
}

}  // namespace
}  // namespace mvm::catalog
