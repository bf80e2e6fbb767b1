#include "mvm/build/build_key.h"

#include <gmock/gmock.h>

#include "mvm/build/recipe.h"

namespace mvm::build {
namespace {

using Parameters = std::map<std::string, std::string>;

TEST(BuildKeyTest, OnlyParametersThatTheCommandNamesCount) {
  const Parameters parameters{{"n", "4"}, {"nn", "5"}, {"grid-size", "6"}, {"steps", "7"}};
  EXPECT_EQ(parameters_named("make N=$MVM_PARAM_n SIZE=${MVM_PARAM_grid_size}", parameters),
            (Parameters{{"n", "4"}, {"grid-size", "6"}}));
  EXPECT_TRUE(parameters_named("make XMVM_PARAM_n MVM_PARAM_ns", parameters).empty());
}

TEST(BuildKeyTest, EachInputChangesTheKeyAndNothingElseDoes) {
  const BuildInputs inputs{"s", "g++ $MVM_PARAM_n", {{"n", "1"}, {"steps", "9"}}, "image", "1.0", "x86_64"};
  const std::string key = build_key(inputs);
  std::set<std::string> keys{key};
  const auto changed = [&](auto change) {
    BuildInputs other = inputs;
    change(other);
    return keys.insert(build_key(other)).second;
  };
  EXPECT_TRUE(changed([](BuildInputs& i) { i.source = "t"; }));
  EXPECT_TRUE(changed([](BuildInputs& i) { i.command += " "; }));
  EXPECT_TRUE(changed([](BuildInputs& i) { i.parameters["n"] = "2"; }));
  EXPECT_TRUE(changed([](BuildInputs& i) { i.image = "other"; }));
  EXPECT_TRUE(changed([](BuildInputs& i) { i.libmvm = "1.1"; }));
  EXPECT_TRUE(changed([](BuildInputs& i) { i.architecture = "aarch64"; }));
  EXPECT_FALSE(changed([](BuildInputs& i) { i.parameters["steps"] = "10"; }));
  // Text moved from one field to the next is another build.
  EXPECT_TRUE(changed([](BuildInputs& i) {
    i.image = "image1";
    i.libmvm = ".0";
  }));
}

TEST(RecipeTest, TheCommandIsOneArgumentAndParametersAreVariables) {
  EXPECT_THAT(build_argv("a; b"), testing::ElementsAre("/bin/sh", "-c", "a; b"));
  const auto environment =
      build_environment({"/w/s", "/w/h", "/w/t"}, "/opt/mvm", {{"grid-size", "$(rm -rf /)"}});
  EXPECT_THAT(environment,
              testing::Contains(std::pair<std::string, std::string>("MVM_PARAM_grid_size", "$(rm -rf /)")));
  EXPECT_THAT(environment, testing::Contains(std::pair<std::string, std::string>("PKG_CONFIG_PATH",
                                                                                 "/opt/mvm/lib/pkgconfig")));
}

}  // namespace
}  // namespace mvm::build
