#include "names.h"

#include <gmock/gmock.h>

#include "mvm/base/digest.h"

namespace mvm::host {
namespace {

TEST(NamesTest, IdsThatCouldLeaveTheirPlaceAreRefused) {
  for (const char* id : {"", "..", "a/b", "A", "-a", "a b", "a\n", "a.b"})
    EXPECT_EQ(check_id("lab", id, 32).error().code(), ErrorCode::kInvalid) << id;
  EXPECT_FALSE(check_id("lab", std::string(33, 'a'), 32));
  EXPECT_TRUE(check_id("lab", "l-01", 32));
}

TEST(NamesTest, BridgesFitTheKernelsLimitAndDifferByLab) {
  EXPECT_EQ(network_name("l1"), "mvm-l1");
  EXPECT_LE(network_name(std::string(32, 'a')).size(), 15U);
  EXPECT_NE(network_name("a-very-long-lab-name-1"), network_name("a-very-long-lab-name-2"));
}

TEST(NamesTest, TheHostHasTheFirstAddressOfItsSubnet) {
  EXPECT_EQ(bridge_address("10.181.7.0/24").value(), "10.181.7.1");
  EXPECT_FALSE(bridge_address("10.181.7.0"));
  EXPECT_FALSE(bridge_address("10.181.7.9/24"));
}

TEST(NamesTest, TheNodesTokenTellsNothingAboutTheLabsSecretOrAnotherLab) {
  const LabSpec one{.lab = "l", .owner = "u", .secret = sha256_hex("s"), .subnet = ""};
  const LabSpec two{.lab = "l", .owner = "u", .secret = sha256_hex("t"), .subnet = ""};
  EXPECT_NE(node_token(one), node_token(two));
  EXPECT_NE(node_token(one), one.secret);
  EXPECT_TRUE(is_sha256(node_token(one)));
}

}  // namespace
}  // namespace mvm::host
