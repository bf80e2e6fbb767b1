// A kernel's functions over RMIX, from its start on.
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "componentvm/rmix/ways.h"
#include "kernel.rmix.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"

namespace mvm::plugins::rmix_kernel {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::IsSupersetOf;

/// A kernel that is alone, with RMIX as the command line says.
class KernelOverRmix : public testing::Test {
 protected:
  void start(const std::vector<std::string>& settings) {
    folder_ = *make_temporary_folder("/tmp", "mvm-rmix.");
    std::filesystem::permissions(folder_, std::filesystem::perms(0711));  // processes have another user
    for (const char* part : {"work", "run"}) ASSERT_TRUE(make_folders(folder_ / part));
    std::vector<std::string> argv{std::string(MVM_BINARY_DIR) + "/bin/mvm-kernel",
                                  "--node",
                                  "alone/rmix-test",
                                  "--work",
                                  (folder_ / "work").string(),
                                  "--run",
                                  (folder_ / "run").string(),
                                  "--no-default-plugins",
                                  "--plugin",
                                  "rmix-kernel"};
    for (const std::string& setting : settings) argv.insert(argv.end(), {"--set", setting});
    auto started = Subprocess::spawn({.argv = argv});
    ASSERT_TRUE(started);
    kernel_ = std::move(*started);
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!std::filesystem::exists(folder_ / "run/rmix.reference")) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      ASSERT_FALSE(kernel_->wait_for(2ms)) << "the kernel ended";
    }
    reference_ = *read_file(folder_ / "run/rmix.reference", 4096);
    reference_.pop_back();
  }
  void TearDown() override {
    if (kernel_) (void)kernel_->stop(10s);
    EXPECT_TRUE(remove_tree(folder_));
  }
  Result<KernelClient> bind(const std::string& token = {}, const std::string& scheme = {}) {
    client_ = rmix::Client::create(rmix::test::providers(), {.token = token, .tls = {}});
    return KernelClient::bind(*client_, *rmix::Address::read(reference_), {.scheme = scheme});
  }

  std::filesystem::path folder_;
  std::optional<Subprocess> kernel_;
  std::string reference_;
  std::unique_ptr<rmix::Client> client_;
};

TEST_F(KernelOverRmix, ServesItsFunctionsFromTheStart) {
  start({});
  auto kernel = bind();
  ASSERT_TRUE(kernel) << kernel.error().describe();
  const auto info = kernel->info();
  ASSERT_TRUE(info);
  EXPECT_EQ(info->node, "alone/rmix-test");
  EXPECT_THAT(info->plugins, IsSupersetOf({"rmix", "rmix-kernel"}));

  EXPECT_TRUE(kernel->load({"job"}));
  EXPECT_THAT(kernel->info()->plugins, Contains("job"));
  bool listed = false;
  const auto plugins = kernel->plugins();
  for (const PluginInfo& plugin : *plugins) listed |= plugin.name == "job" && !plugin.file.empty();
  EXPECT_TRUE(listed);
  EXPECT_TRUE(kernel->unload("job"));
  EXPECT_THAT(kernel->info()->plugins, testing::Not(Contains("job")));

  const auto missing = kernel->load({"no-such-plugin"});
  ASSERT_TRUE(missing.as<KernelError>());
  EXPECT_THAT(missing.as<KernelError>()->message, testing::HasSubstr("no-such-plugin"));
  EXPECT_EQ(kernel->unload("rmix-kernel").as<KernelError>()->code, "conflict");

  EXPECT_EQ(kernel->pool({.maximum = 9})->maximum, 9U);
  const auto answer = kernel->operation("node.info", "{}", {});
  ASSERT_TRUE(answer);
  EXPECT_THAT(answer->result, testing::HasSubstr("alone/rmix-test"));
  EXPECT_EQ(kernel->operation("node.info", "[", {}).as<KernelError>()->code, "invalid");
  EXPECT_EQ(kernel->operation("no.such", "{}", {}).as<KernelError>()->code, "unsupported");
}

TEST_F(KernelOverRmix, StartsProcesses) {
  start({});
  auto kernel = bind();
  ASSERT_TRUE(kernel) << kernel.error().describe();
  const auto started = kernel->start_process("sleeper", {"sleep", "600"});
  ASSERT_TRUE(started) << started.as<KernelError>()->message;
  EXPECT_EQ(started->id, "sleeper");
  EXPECT_TRUE(kernel->process("sleeper")->running);
  EXPECT_TRUE(kernel->signal_process("sleeper", SIGTERM));
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (kernel->process("sleeper")->running) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  EXPECT_EQ(kernel->process("sleeper")->signal, SIGTERM);
  EXPECT_TRUE(kernel->forget_process("sleeper"));
  EXPECT_EQ(kernel->process("sleeper").as<KernelError>()->code, "not-found");
}

TEST_F(KernelOverRmix, RefusesWhomItDoesNotKnow) {
  start({"rmix.listen=native+tcp://127.0.0.1:0"});
  const auto stranger = bind();
  ASSERT_FALSE(stranger);
  EXPECT_EQ(stranger.error().code(), ErrorCode::kRefused);
  EXPECT_EQ(bind("0123456789abcdef0123456789abcdef").error().code(), ErrorCode::kRefused);

  const auto tokens = folder_ / "run/rmix.token";
  EXPECT_EQ(std::filesystem::status(tokens).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::string token = *read_file(tokens, 4096);
  token.pop_back();
  auto friendly = bind(token);
  ASSERT_TRUE(friendly) << friendly.error().describe();
  EXPECT_EQ(friendly->remote().protocol(), "native+tcp");
  EXPECT_EQ(friendly->info()->node, "alone/rmix-test");
}

}  // namespace
}  // namespace mvm::plugins::rmix_kernel
