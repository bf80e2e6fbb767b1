// The kernel's plug-in loader, by plug-ins that are loaded into a real kernel.
#include <future>

#include "componentvm/kernel/node.h"

namespace mvm::kernel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;

namespace fs = std::filesystem;

class PluginsTest : public testing::Test {
 protected:
  /// A kernel whose plug-in folder holds the actors and the kernel's own plug-ins.
  void boot(std::vector<std::string> arguments = {}) {
    folder_ = *make_temporary_folder("/tmp", "mvm-actors-");
    for (const char* from : {MVM_BINARY_DIR "/tests/actors", MVM_BINARY_DIR "/lib/mvm/plugins"})
      for (const auto& file : fs::directory_iterator(from))
        if (file.path().extension() == ".so") fs::copy_file(file.path(), folder_ / file.path().filename());
    arguments.insert(arguments.end(), {"--plugins", folder_.string()});
    node_.emplace(NodeOptions{.arguments = std::move(arguments)});
  }
  void TearDown() override {
    node_.reset();
    EXPECT_TRUE(folder_.empty() || remove_tree(folder_));
  }
  nlohmann::json plugin(const std::string& name) {
    const nlohmann::json plugins = node_->must("kernel.plugins").at("plugins");
    for (const auto& one : plugins)
      if (one.at("name") == name) return one;
    return nullptr;
  }
  std::vector<std::string> loaded() {
    std::vector<std::string> names;
    const nlohmann::json plugins = node_->must("kernel.plugins").at("plugins");
    for (const auto& one : plugins)
      if (!one.at("core").get<bool>()) names.push_back(one.at("name"));
    return names;
  }
  void load(const std::vector<std::string>& names, const std::string& sharing = "everyone") {
    node_->must("kernel.load", {{"plugins", names}, {"sharing", sharing}});
  }
  Error failure(const std::string& op, const nlohmann::json& args) {
    auto reply = node_->call(op, args);
    EXPECT_FALSE(reply) << op << args;
    return reply ? Error(ErrorCode::kFailed, "") : reply.error();
  }
  Error not_loaded(const std::vector<std::string>& names) {
    return failure("kernel.load", {{"plugins", names}});
  }
  fs::path folder_;
  std::optional<Node> node_;
};

TEST_F(PluginsTest, APluginComesAndGoes) {
  boot();
  EXPECT_EQ(node_->call("post.who").error().code(), ErrorCode::kUnsupported);
  load({"post"});
  EXPECT_EQ(node_->must("post.who").at("name"), "post");
  const nlohmann::json post = plugin("post");
  EXPECT_EQ(post.at("owners"), nlohmann::json({"kernel"}));
  EXPECT_EQ(post.at("offers"), nlohmann::json({"post/1"}));
  EXPECT_EQ(post.at("state"), "running");
  EXPECT_THAT(post.at("operations").get<std::vector<std::string>>(), IsSupersetOf({"post.who", "post.call"}));
  node_->must("kernel.unload", {{"plugin", "post"}});
  EXPECT_EQ(node_->call("post.who").error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(failure("kernel.unload", {{"plugin", "post"}}).code(), ErrorCode::kNotFound);
  load({"post"});  // and again
  EXPECT_EQ(node_->must("post.who").at("name"), "post");
}

TEST_F(PluginsTest, TheMostRecentVersionThatIsWantedIsLoaded) {
  boot();
  load({"plain"});
  EXPECT_EQ(node_->must("plain.who").at("version"), "2.1.0");
  EXPECT_EQ(node_->must("plain.who").at("number"), 2);
  load({"plain@3.1"});  // the same one
  const Error other = not_loaded({"plain@7"});
  EXPECT_EQ(other.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(other.message(), HasSubstr("version 7"));
  EXPECT_EQ(not_loaded({"plain@x"}).code(), ErrorCode::kUnsupported);
  EXPECT_EQ(plugin("plain").at("owners"), nlohmann::json({"kernel", "kernel"}));
}

TEST_F(PluginsTest, TheDebugKernelPrefersDebugVariants) {
  boot({"--debug"});
  load({"plain"});
  EXPECT_EQ(node_->must("plain.who").at("number"), 3);
}

TEST_F(PluginsTest, AStackIsLoadedWholeInItsOrderOrNotAtAll) {
  boot();
  load({"lonely", "mail", "post"});
  EXPECT_THAT(loaded(), ElementsAre("post", "mail", "lonely"));
  const Error needed = failure("kernel.unload", {{"plugin", "post"}});
  EXPECT_EQ(needed.code(), ErrorCode::kConflict);
  EXPECT_THAT(needed.message(), HasSubstr("mail needs post/1"));
  for (const char* name : {"lonely", "mail", "post"}) node_->must("kernel.unload", {{"plugin", name}});
  EXPECT_TRUE(loaded().empty());
  const Error missing = not_loaded({"lonely", "no-such-plugin", "plain"});
  EXPECT_EQ(missing.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(missing.message(), HasSubstr("lonely needs mail/1"));
  EXPECT_THAT(missing.message(), HasSubstr("no plug-in no-such-plugin"));
  EXPECT_THAT(not_loaded({"egg", "hen"}).message(), HasSubstr("circle"));
  // One that fits and does not start takes the others with it.
  EXPECT_THAT(not_loaded({"post", "hungry"}).message(), HasSubstr("no-such-plugin"));
  EXPECT_TRUE(loaded().empty());
}

TEST_F(PluginsTest, WhoLoadsAPluginOwnsIt) {
  boot();
  load({"post", "mail"});
  const auto handle = node_->must("mail.load", {{"wish", "plain"}}).at("handle");
  EXPECT_EQ(plugin("plain").at("owners"), nlohmann::json({"mail"}));
  EXPECT_EQ(plugin("plain").at("owner"), "mail");
  EXPECT_EQ(node_->must("mail.number", {{"handle", handle}}).at("number"), 2);
  // Its handle is nobody else's, and the plug-in not the kernel's to unload.
  EXPECT_EQ(failure("post.number", {{"handle", handle}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("post.unload", {{"handle", handle}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("kernel.unload", {{"plugin", "plain"}}).code(), ErrorCode::kRefused);
  // Loaded once more by another one, it stays until both have unloaded it.
  const auto second = node_->must("post.load", {{"wish", "plain"}}).at("handle");
  node_->must("mail.unload", {{"handle", handle}});
  EXPECT_EQ(plugin("plain").at("owners"), nlohmann::json({"post"}));
  EXPECT_EQ(failure("mail.number", {{"handle", handle}}).code(), ErrorCode::kNotFound);
  node_->must("post.unload", {{"handle", second}});
  EXPECT_EQ(plugin("plain"), nullptr);
}

TEST_F(PluginsTest, OrphansAreTheKernels) {
  boot();
  load({"untidy"});
  EXPECT_EQ(plugin("plain").at("owners"), nlohmann::json({"untidy"}));
  node_->must("kernel.unload", {{"plugin", "untidy"}});
  EXPECT_EQ(plugin("plain").at("owners"), nlohmann::json({"kernel"}));
  EXPECT_EQ(node_->must("plain.who").at("name"), "plain");
  node_->must("kernel.unload", {{"plugin", "plain"}});
  load({"tidy"});
  node_->must("kernel.unload", {{"plugin", "tidy"}});
  EXPECT_TRUE(loaded().empty());
}

TEST_F(PluginsTest, PluginsThatLoadEachOtherAreRefusedAndDoNotHang) {
  boot();
  EXPECT_THAT(not_loaded({"left"}).message(), HasSubstr("wait for each other"));
  EXPECT_TRUE(loaded().empty());
  // From both sides at once: neither waits for ever, whoever is first.
  for (int round = 0; round < 20; ++round) {
    auto other = std::async(std::launch::async, [&] {
      return node_->call("kernel.load", {{"plugins", {"right"}}}).has_value();
    });
    EXPECT_FALSE(node_->call("kernel.load", {{"plugins", {"left"}}}));
    EXPECT_FALSE(other.get());
  }
  EXPECT_TRUE(loaded().empty());
}

TEST_F(PluginsTest, ManyLoadAndUnloadAtTheSameTime) {
  boot();
  load({"post", "mail", "lonely"});
  std::vector<std::future<int>> all;
  for (const char* who : {"post", "mail", "lonely"})
    all.push_back(std::async(std::launch::async, [this, who] {
      int wrong = 0;
      for (int i = 0; i < 100; ++i) {
        const auto handle = node_->call(std::string(who) + ".load", {{"wish", "plain"}});
        if (!handle || !node_->call("plain.who") ||
            !node_->call(std::string(who) + ".unload", {{"handle", handle->result.at("handle")}}))
          ++wrong;
      }
      return wrong;
    }));
  for (auto& one : all) EXPECT_EQ(one.get(), 0);
  EXPECT_EQ(plugin("plain"), nullptr);
}

TEST_F(PluginsTest, CoreServicesGoWithTheKernelOnly) {
  boot();
  EXPECT_TRUE(plugin("job").at("core"));
  const Error core = failure("kernel.unload", {{"plugin", "job"}});
  EXPECT_EQ(core.code(), ErrorCode::kRefused);
  EXPECT_THAT(core.message(), HasSubstr("core service"));
  EXPECT_EQ(failure("kernel.share", {{"plugin", "job"}, {"sharing", "kernel"}}).code(), ErrorCode::kRefused);
  node_->start_script("s", "echo on; sleep 1; echo off");
  ASSERT_TRUE(node_->wait_output("j.1/s", "on"));
  // Upgraded by its file: the kernel that is started again takes the new one, and the job lives on.
  fs::copy_file(folder_ / "job.so", folder_ / "job.new");
  fs::rename(folder_ / "job.new", folder_ / "job.so");
  ::kill(node_->kernel_pid(), SIGKILL);
  EXPECT_EQ(node_->wait_end("j.1/s").output.at("out"), "on\noff\n");
  EXPECT_TRUE(plugin("job").at("core"));
}

TEST_F(PluginsTest, WhatAPluginOffersIsSharedAsItsAttributeSays) {
  boot();
  load({"post"}, "kernel");
  load({"mail"});
  const Error refused = failure("post.who", {});
  EXPECT_EQ(refused.code(), ErrorCode::kRefused);
  EXPECT_THAT(refused.message(), HasSubstr("does not share"));
  EXPECT_EQ(node_->must("mail.call", {{"op", "post.who"}}).at("name"), "post");
  node_->must("kernel.share", {{"plugin", "post"}, {"sharing", "owners"}});
  EXPECT_EQ(failure("mail.call", {{"op", "post.who"}}).code(), ErrorCode::kRefused);
  const auto handle = node_->must("mail.load", {{"wish", "post"}}).at("handle");
  EXPECT_EQ(node_->must("mail.call", {{"op", "post.who"}}).at("name"), "post");
  node_->must("mail.unload", {{"handle", handle}});
  node_->must("kernel.share", {{"plugin", "post"}, {"sharing", "everyone"}});
  EXPECT_EQ(node_->must("post.who").at("name"), "post");
  EXPECT_EQ(failure("kernel.share", {{"plugin", "post"}, {"sharing", "nobody"}}).code(), ErrorCode::kInvalid);
}

TEST_F(PluginsTest, APluginIsNotUnloadedByItsOwnOperation) {
  boot();
  load({"post", "mail"});
  const auto handle = node_->must("mail.load", {{"wish", "plain"}}).at("handle");
  // plain runs mail.unload, which would end plain.
  EXPECT_EQ(failure("plain.call", {{"op", "mail.unload"}, {"handle", handle}}).code(), ErrorCode::kConflict);
  EXPECT_EQ(node_->must("plain.who").at("name"), "plain");
  node_->must("mail.unload", {{"handle", handle}});
}

}  // namespace
}  // namespace mvm::kernel
