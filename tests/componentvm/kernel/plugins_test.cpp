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
  void prepare(const std::string& transaction, const std::string& name) {
    node_->must("kernel.prepare",
                {{"transaction", transaction}, {"op", "kernel.load"}, {"args", {{"plugins", {name}}}}});
  }
  /// Version, owners and sharing of each.
  std::map<std::string, nlohmann::json> shape() {
    std::map<std::string, nlohmann::json> found;
    const nlohmann::json plugins = node_->must("kernel.plugins").at("plugins");
    for (const auto& one : plugins)
      found[one.at("name")] = {one.at("version"), one.at("owners"), one.at("sharing")};
    return found;
  }
  nlohmann::json run_of(const std::string& name) {
    const nlohmann::json runs = node_->must("kernel.runs").at("runs");
    for (const auto& one : runs)
      if (one.at("run") == name) return one;
    return nullptr;
  }
  bool run_ends(const std::string& name) {
    return Node::eventually([&] { return run_of(name).at("state") == "ended"; });
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

TEST_F(PluginsTest, WhatUsersLoadedIsThereAgainWhenTheKernelIs) {
  boot({"--plugin", "untidy", "--plugin", "post"});
  node_->must("kernel.unload", {{"plugin", "post"}});
  load({"mail", "post"}, "kernel");
  load({"post"}, "kernel");
  load({"plain@2"});
  node_->must("kernel.unload", {{"plugin", "untidy"}});  // plain is the kernel's twice from here on
  node_->must("kernel.share", {{"plugin", "plain"}, {"sharing", "owners"}});
  prepare("t1", "lonely");
  prepare("t2", "tidy");
  node_->must("kernel.commit", {{"transaction", "t2"}});
  node_->start_script("s", "echo on; sleep 100; echo off");
  ASSERT_TRUE(node_->wait_output("j.1/s", "on"));
  auto before = shape();
  EXPECT_EQ(before.erase("lonely"), 1U);  // nobody decided
  EXPECT_EQ(before.size(), 8U);           // with the core services
  EXPECT_EQ(before.at("post"), nlohmann::json({"1.0.0", {"kernel", "kernel"}, "kernel"}));
  EXPECT_EQ(before.at("plain"), nlohmann::json({"2.1.0", {"kernel", "kernel", "tidy"}, "owners"}));
  for (int round = 1; round <= 2; ++round) {
    node_->kill_kernel(round);
    EXPECT_EQ(shape(), before) << node_->log();
  }
  for (const char* name : {"mail", "post", "post"}) node_->must("kernel.unload", {{"plugin", name}});
  // Upgraded by its file, as core services are.
  fs::rename(folder_ / "mail.so", folder_ / "mail.old");
  fs::remove(folder_ / "plain.2.1.0.so");
  node_->kill_kernel(3);
  EXPECT_THAT(loaded(), ElementsAre("plain", "tidy"));
  EXPECT_EQ(shape().at("plain"), nlohmann::json({"1.0.0", {"kernel", "tidy"}, "owners"}));  // plain@2 is lost
  EXPECT_EQ(node_->events_named("plugin.lost"), 1);
  node_->must("proc.signal", {{"proc", "j.1/s"}, {"signal", 9}});
  EXPECT_EQ(node_->wait_end("j.1/s").ends, 1);
}

TEST_F(PluginsTest, APluginThatEndsTheKernelEachTimeIsGivenUp) {
  boot();
  load({"fatal"});
  load({"post"});
  ASSERT_TRUE(write_file_durably(node_->folder / "work/end-kernel", ""));
  node_->kill_kernel(4);  // by us, and three times by the plug-in
  EXPECT_THAT(loaded(), ElementsAre("post"));
  EXPECT_EQ(node_->events_named("plugin.lost"), 1);
  node_->kill_kernel(5);
  EXPECT_THAT(loaded(), ElementsAre("post"));
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

// ---- threads of plug-in code ------------------------------------------------------------------------------

TEST_F(PluginsTest, PluginCodeRunsOnAThreadUntilItIsStopped) {
  boot();
  load({"post"});
  EXPECT_EQ(plugin("post").at("functions"), nlohmann::json({"fail", "main"}));
  const std::string run =
      node_->must("kernel.run", {{"plugin", "post"}, {"arguments", {"a", "b"}}}).at("run");
  EXPECT_EQ(run_of(run).at("state"), "running");
  EXPECT_EQ(run_of(run).at("arguments"), nlohmann::json({"a", "b"}));
  node_->must("kernel.stop", {{"run", run}});
  EXPECT_TRUE(run_ends(run));
  EXPECT_TRUE(run_of(run).at("ok"));
  // It tells who asked to hear of it, and the name is the caller's where he gives one; twice is once.
  const nlohmann::json order{{"run", "mine"},
                             {"plugin", "post"},
                             {"function", "fail"},
                             {"arguments", {"no luck"}},
                             {"notify", "post.note"}};
  node_->must("kernel.run", order);
  EXPECT_EQ(node_->must("kernel.run", order).at("run"), "mine");
  EXPECT_TRUE(run_ends("mine"));
  EXPECT_THAT(run_of("mine").at("reason").get<std::string>(), HasSubstr("no luck"));
  EXPECT_TRUE(Node::eventually([&] { return node_->must("post.noted").value("run", "") == "mine"; }));
  EXPECT_EQ(failure("kernel.run", {{"plugin", "post"}, {"function", "none"}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("kernel.run", {{"plugin", "mail"}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("kernel.stop", {{"run", "none"}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("kernel.stop", {}).code(), ErrorCode::kInvalid);
  node_->must("kernel.share", {{"plugin", "post"}, {"sharing", "kernel"}});
  EXPECT_EQ(failure("kernel.run", {{"plugin", "post"}}).code(), ErrorCode::kRefused);
}

TEST_F(PluginsTest, ThreadsEndWithTheirPlugin) {
  boot();
  load({"post"});
  for (int i = 0; i < 3; ++i)
    node_->must("kernel.run", {{"plugin", "post"}, {"run", "r" + std::to_string(i)}});
  node_->must("kernel.unload", {{"plugin", "post"}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run_of("r" + std::to_string(i)).at("state"), "ended");
  load({"post"});
  for (int i = 3; i < 6; ++i)
    node_->must("kernel.run", {{"plugin", "post"}, {"run", "r" + std::to_string(i)}});
  EXPECT_EQ(node_->must("kernel.stop", {{"plugin", "post"}}).at("stopped"), 3);
  for (int i = 3; i < 6; ++i) EXPECT_TRUE(run_ends("r" + std::to_string(i)));
}

TEST_F(PluginsTest, ThreadsOfPluginsNeverTakeAllOfThePool) {
  boot({"--threads-max", "6"});
  load({"post"});
  node_->must("kernel.run", {{"plugin", "post"}});
  node_->must("kernel.run", {{"plugin", "post"}});
  const Error full = failure("kernel.run", {{"plugin", "post"}});
  EXPECT_EQ(full.code(), ErrorCode::kExhausted);
  EXPECT_THAT(full.message(), HasSubstr("kernel.pool"));
  node_->must("kernel.pool", {{"maximum", 7}});
  node_->must("kernel.run", {{"plugin", "post"}});
}

// ---- commands that are prepared first ---------------------------------------------------------------------

TEST_F(PluginsTest, APreparedLoadIsKeptOrTakenBack) {
  boot();
  const auto prepare = [&](const std::string& id, std::vector<std::string> names, int hold = 60'000) {
    return nlohmann::json{
        {"transaction", id}, {"op", "kernel.load"}, {"args", {{"plugins", names}}}, {"hold_ms", hold}};
  };
  node_->must("kernel.prepare", prepare("1", {"lonely", "mail", "post"}));
  node_->must("kernel.prepare", prepare("1", {"lonely", "mail", "post"}));  // again
  EXPECT_THAT(loaded(), ElementsAre("post", "mail", "lonely"));
  node_->must("kernel.abort", {{"transaction", "1"}});
  EXPECT_TRUE(loaded().empty());
  EXPECT_EQ(failure("kernel.commit", {{"transaction", "1"}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("kernel.prepare", prepare("1", {"post"})).code(), ErrorCode::kAborted);
  node_->must("kernel.prepare", prepare("2", {"post"}));
  node_->must("kernel.commit", {{"transaction", "2"}});
  node_->must("kernel.commit", {{"transaction", "2"}});
  EXPECT_EQ(failure("kernel.abort", {{"transaction", "2"}}).code(), ErrorCode::kConflict);
  EXPECT_THAT(loaded(), ElementsAre("post"));
  // Unable: nothing is left.
  EXPECT_EQ(failure("kernel.prepare", prepare("3", {"mail", "hungry"})).code(), ErrorCode::kNotFound);
  EXPECT_THAT(loaded(), ElementsAre("post"));
  // An abort that overtakes its prepare.
  node_->must("kernel.abort", {{"transaction", "4"}});
  EXPECT_EQ(failure("kernel.prepare", prepare("4", {"mail"})).code(), ErrorCode::kAborted);
  // A decision that never comes.
  node_->must("kernel.prepare", prepare("5", {"mail"}, 1));
  EXPECT_TRUE(Node::eventually([&] { return loaded().size() == 1; }));
  EXPECT_EQ(failure("kernel.commit", {{"transaction", "5"}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("kernel.commit", {{"transaction", "none"}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure("kernel.prepare", {{"transaction", "6"}, {"op", "node.info"}}).code(),
            ErrorCode::kUnsupported);
}

TEST_F(PluginsTest, APreparedUnloadingLetsNobodyComeBetween) {
  boot();
  load({"post"});
  const nlohmann::json unload{{"op", "kernel.unload"}, {"args", {{"plugin", "post"}}}, {"transaction", "1"}};
  node_->must("kernel.prepare", unload);
  EXPECT_EQ(node_->must("post.who").at("name"), "post");
  EXPECT_EQ(not_loaded({"mail"}).code(), ErrorCode::kUnsupported);  // it needs post
  EXPECT_EQ(failure("kernel.unload", {{"plugin", "post"}}).code(), ErrorCode::kConflict);
  node_->must("kernel.abort", {{"transaction", "1"}});
  load({"mail"});
  nlohmann::json again = unload;
  again["transaction"] = "2";
  EXPECT_EQ(failure("kernel.prepare", again).code(), ErrorCode::kConflict);  // mail needs it
  node_->must("kernel.unload", {{"plugin", "mail"}});
  again["transaction"] = "3";
  node_->must("kernel.prepare", again);
  node_->must("kernel.commit", {{"transaction", "3"}});
  EXPECT_TRUE(loaded().empty());
}

TEST_F(PluginsTest, APreparedRunHasItsThreadAndWaits) {
  boot();
  load({"post"});
  const auto prepare = [&](const std::string& id) {
    node_->must("kernel.prepare", {{"transaction", id},
                                   {"op", "kernel.run"},
                                   {"args", {{"plugin", "post"}, {"function", "fail"}, {"run", "r" + id}}}});
  };
  prepare("1");
  EXPECT_EQ(run_of("r1").at("state"), "prepared");
  node_->must("kernel.commit", {{"transaction", "1"}});
  EXPECT_TRUE(run_ends("r1"));
  prepare("2");
  node_->must("kernel.abort", {{"transaction", "2"}});
  EXPECT_TRUE(Node::eventually([&] { return run_of("r2").is_null(); }));
  prepare("3");
  node_->must("kernel.unload", {{"plugin", "post"}});
  EXPECT_EQ(failure("kernel.commit", {{"transaction", "3"}}).code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace mvm::kernel
