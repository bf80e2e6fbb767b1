#include "mvm/base/plugin_loader.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/plugins/sample.h"
#include "mvm/base/file.h"

namespace mvm {
namespace {

namespace fs = std::filesystem;

class PluginLoaderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-plugins-");
    ASSERT_TRUE(make_folders(folder_ / "plugins/sub"));
    for (const char* name : {"good", "other_kind", "other_version", "other_compiler", "no_descriptor",
                             "refuses", "by_name", "by_name_refuses"})
      fs::copy_file(fs::path(MVM_BINARY_DIR "/tests/plugins") / (std::string(name) + ".so"),
                    folder_ / "plugins" / (std::string(name) + ".so"));
    fs::copy_file(folder_ / "plugins/good.so", folder_ / "plugins/sub/good.so");
    fs::copy_file(folder_ / "plugins/good.so", folder_ / "outside.so");
  }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }
  ErrorCode failure(const std::string& name) {
    auto loaded = loader().load(name, "test");
    EXPECT_FALSE(loaded) << name;
    return loaded ? ErrorCode::kFailed : loaded.error().code();
  }
  PluginLoader loader() const { return PluginLoader({folder_ / "plugins", "sample", 3}); }
  fs::path folder_;
};

TEST_F(PluginLoaderTest, LoadsAnObjectAndKeepsTheLibraryWhileItLives) {
  std::shared_ptr<tests::Sample> object;
  int finished = 0;
  {
    auto plugin = loader().load("good", "me");
    ASSERT_TRUE(plugin) << plugin.error().describe();
    EXPECT_EQ((*plugin)->info().name, "good");
    EXPECT_EQ((*plugin)->info().version, "1.2.3");
    EXPECT_EQ((*plugin)->info().owner, "me");
    const auto set_counter = reinterpret_cast<void (*)(int*)>((*plugin)->symbol("sample_count_fini"));
    ASSERT_NE(set_counter, nullptr);
    set_counter(&finished);
    EXPECT_EQ((*plugin)->symbol("no_such_symbol"), nullptr);
    object = LoadedPlugin::make<tests::Sample>(*plugin);
  }
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(object->answer(), 42);
  EXPECT_EQ(finished, 0);
  object.reset();
  EXPECT_EQ(finished, 1);  // fini ran once, after the last object
}

/// As paper and users' C code name them: NAME.init() and NAME.fini().
TEST_F(PluginLoaderTest, InitAndFiniAreFoundByTheirNames) {
  int finished = 0;
  {
    auto plugin = loader().load("by_name", "me");
    ASSERT_TRUE(plugin) << plugin.error().describe();
    EXPECT_EQ(*static_cast<int*>((*plugin)->symbol("sample_init_calls")), 1);
    reinterpret_cast<void (*)(int*)>((*plugin)->symbol("sample_count_fini"))(&finished);
  }
  EXPECT_EQ(finished, 1);
  EXPECT_EQ(failure("by_name_refuses"), ErrorCode::kFailed);
}

TEST_F(PluginLoaderTest, SymbolsStayPrivate) {
  auto plugin = loader().load("good", "me");
  ASSERT_TRUE(plugin);
  EXPECT_EQ(::dlsym(RTLD_DEFAULT, "mvm_plugin"), nullptr);
}

TEST_F(PluginLoaderTest, LoadsFromFoldersBelow) { EXPECT_TRUE(loader().load("sub/good", "me")); }

TEST_F(PluginLoaderTest, WhatDoesNotFitIsRefusedBeforeItRuns) {
  EXPECT_EQ(failure("other_kind"), ErrorCode::kUnsupported);
  EXPECT_EQ(failure("other_version"), ErrorCode::kUnsupported);
  EXPECT_EQ(failure("other_compiler"), ErrorCode::kUnsupported);
  EXPECT_EQ(failure("no_descriptor"), ErrorCode::kCorrupt);
  EXPECT_EQ(failure("refuses"), ErrorCode::kFailed);
  EXPECT_EQ(failure("missing"), ErrorCode::kNotFound);
  // Each of them would have created this file.
  EXPECT_FALSE(fs::exists("/tmp/mvm-sample-plugin-ran"));
}

TEST_F(PluginLoaderTest, NothingOutsideThePresetFolderIsLoaded) {
  fs::create_symlink(folder_ / "outside.so", folder_ / "plugins/link.so");
  fs::create_symlink(folder_, folder_ / "plugins/linked");
  EXPECT_EQ(failure("../outside"), ErrorCode::kRefused);
  EXPECT_EQ(failure("sub/../../outside"), ErrorCode::kRefused);
  EXPECT_EQ(failure("link"), ErrorCode::kRefused);
  EXPECT_EQ(failure("linked/outside"), ErrorCode::kRefused);
  EXPECT_EQ(failure((folder_ / "outside").string()), ErrorCode::kInvalid);
  EXPECT_EQ(failure("a b"), ErrorCode::kInvalid);
  EXPECT_EQ(failure(""), ErrorCode::kInvalid);
}

TEST_F(PluginLoaderTest, AFileThatOthersMayWriteIsRefused) {
  ASSERT_EQ(::chmod((folder_ / "plugins/good.so").c_str(), 0666), 0);
  EXPECT_EQ(failure("good"), ErrorCode::kRefused);
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chmod((folder_ / "plugins/good.so").c_str(), 0644), 0);
  ASSERT_EQ(::chown((folder_ / "plugins/good.so").c_str(), 1234, 0), 0);
  EXPECT_EQ(failure("good"), ErrorCode::kRefused);
}

TEST_F(PluginLoaderTest, ListsWhatIsThere) {
  fs::create_symlink(folder_ / "outside.so", folder_ / "plugins/link.so");
  EXPECT_THAT(loader().available(),
              testing::ElementsAre("by_name", "by_name_refuses", "good", "no_descriptor", "other_compiler",
                                   "other_kind", "other_version", "refuses", "sub/good"));
}

// ---- versions, debug variants, interfaces [§2.3] ----

class VersionsTest : public PluginLoaderTest {
 protected:
  void SetUp() override {
    PluginLoaderTest::SetUp();
    for (const auto& file : fs::directory_iterator(MVM_BINARY_DIR "/tests/plugins"))
      if (file.path().filename().string().starts_with("good.2") || file.path().stem() == "needy" ||
          file.path().stem() == "nameless")
        fs::copy_file(file.path(), folder_ / "plugins" / file.path().filename());
  }
  int answer(const std::string& wish, bool debug = false) {
    auto plugin = PluginLoader({folder_ / "plugins", "sample", 3, debug}).load(wish, "me");
    EXPECT_TRUE(plugin) << plugin.error().describe();
    return plugin ? LoadedPlugin::make<tests::Sample>(*plugin)->answer() : -1;
  }
};

TEST_F(VersionsTest, TheMostRecentThatSpeaksTheVersionIsChosen) {
  EXPECT_EQ(answer("good"), 214);
  EXPECT_EQ(answer("good@2"), 214);
  EXPECT_EQ(answer("good@3"), 214);
  EXPECT_EQ(answer("good@2.1"), 214);
  EXPECT_EQ(answer("good@2.1.0"), 210);
  EXPECT_EQ(answer("good@2.0"), 200);
  EXPECT_EQ(answer("sub/good"), 42);
  EXPECT_EQ(failure("good@1"), ErrorCode::kNotFound);  // a file without a version
  EXPECT_EQ(failure("good@4"), ErrorCode::kNotFound);
  EXPECT_EQ(failure("good@2.2"), ErrorCode::kNotFound);
  EXPECT_EQ(failure("sub/good@1.2.3"), ErrorCode::kNotFound);
  fs::remove(folder_ / "plugins/good.2.1.4.so");
  EXPECT_EQ(answer("good"), 210);
}

TEST_F(VersionsTest, WhatIsNoVersionIsSaid) {
  for (const char* wish : {"good@", "good@x", "good@1.", "good@1.2.3.4", "good@-1", "good@99999999999", "@1"})
    EXPECT_EQ(failure(wish), ErrorCode::kInvalid) << wish;
  fs::rename(folder_ / "plugins/good.2.1.4.so", folder_ / "plugins/good.9.0.0.so");
  EXPECT_EQ(failure("good"), ErrorCode::kCorrupt);  // says that it is 2.1.4
}

TEST_F(VersionsTest, ADebugProgramPrefersDebugVariantsOfEqualVersions) {
  EXPECT_EQ(answer("good", true), 1);
  EXPECT_EQ(answer("good@2.0", true), 2);
  EXPECT_EQ(answer("good@2.1.0", true), 210);
  fs::remove(folder_ / "plugins/good.2.1.4.debug.so");
  EXPECT_EQ(answer("good", true), 214);  // newer, if not for debugging
}

TEST_F(VersionsTest, InterfacesAreReadWithoutRunningAnything) {
  auto info = loader().inspect("needy");
  ASSERT_TRUE(info) << info.error().describe();
  EXPECT_THAT(info->offers, testing::ElementsAre("sample/1", "sample/2"));
  EXPECT_THAT(info->needs, testing::ElementsAre("other/3"));
  EXPECT_FALSE(fs::exists("/tmp/mvm-sample-plugin-ran"));
  auto damaged = loader().inspect("nameless");
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(loader().inspect("good")->needs.empty());
}

}  // namespace
}  // namespace mvm
