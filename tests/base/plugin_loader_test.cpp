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
    for (const char* name :
         {"good", "other_kind", "other_version", "other_compiler", "no_descriptor", "refuses"})
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
              testing::ElementsAre("good", "no_descriptor", "other_compiler", "other_kind", "other_version",
                                   "refuses", "sub/good"));
}

}  // namespace
}  // namespace mvm
