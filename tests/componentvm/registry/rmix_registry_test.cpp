#include "mvm/registry/rmix/rmix_registry.h"

#include <unistd.h>

#include "componentvm/registry/contract.h"
#include "mvm/base/file.h"
#include "mvm/registry/sqlite/sqlite_registry.h"
#include "mvm/rmix/native.h"

namespace mvm::registry {
namespace {

rmix::Providers native() {
  rmix::Providers providers;
  providers.add(rmix::make_native_provider());
  return providers;
}

/// An embedded registry behind shared memory; reopening it binds a new reference.
class RmixFixture final : public RegistryFixture {
 public:
  RmixFixture()
      : folder_(*make_temporary_folder("/tmp", "registry-rmix-")),
        local_(std::move(*open_sqlite_registry(folder_ / "db", clock_))),
        server_(rmix::Server::create(providers_, {.threads = {.minimum = 0, .maximum = 32, .queue = 1024}})),
        client_(rmix::Client::create(providers_, {})) {
    const auto as_said = [](const rmix::Caller& caller, const std::string& said) -> Result<std::string> {
      EXPECT_EQ(caller.uid, ::geteuid());
      return said;
    };
    EXPECT_TRUE(server_->add(kService, make_rmix_service(*local_, as_said)));
    EXPECT_TRUE(server_->listen("native+shm:" + (folder_ / "s").string()));
    RmixFixture::reopen();
  }
  ~RmixFixture() override {
    remote_.reset();
    client_.reset();
    local_->stop();
    server_.reset();
    local_.reset();
    std::filesystem::remove_all(folder_);
  }
  Registry& registry() override { return *remote_; }
  Registry& reopen() override {
    auto bound = bind_rmix_registry(*client_, *server_->reference(kService));
    EXPECT_TRUE(bound) << bound.error().describe();
    remote_ = std::move(*bound);
    return *remote_;
  }

 private:
  std::filesystem::path folder_;
  SystemClock clock_;
  rmix::Providers providers_ = native();
  std::unique_ptr<Registry> local_;
  std::unique_ptr<rmix::Server> server_;
  std::unique_ptr<rmix::Client> client_;
  std::unique_ptr<Registry> remote_;
};

INSTANTIATE_TEST_SUITE_P(Rmix, RegistryContract,
                         ::testing::Values(RegistryFactory([] { return std::make_unique<RmixFixture>(); })));

TEST(RmixRegistry, TheOwnerIsWhomTheServerTakesTheCallerFor) {
  const auto folder = *make_temporary_folder("/tmp", "registry-rmix-");
  SystemClock clock;
  const auto providers = native();
  const auto local = *open_sqlite_registry(folder / "db", clock);
  auto server = rmix::Server::create(providers, {});
  const auto rule = [](const rmix::Caller&, const std::string& said) -> Result<std::string> {
    if (said == "nobody") return Error(ErrorCode::kRefused, "not you");
    return "uid/7/" + said;
  };
  ASSERT_TRUE(server->add(kService, make_rmix_service(*local, rule)));
  ASSERT_TRUE(server->listen("native+shm:" + (folder / "s").string()));
  const auto client = rmix::Client::create(providers, {});
  const auto remote = *bind_rmix_registry(*client, *server->reference(kService));
  ASSERT_TRUE(Session(*remote, "me").putinfo("a", text_item("1"), kPersistent));
  EXPECT_EQ(remote->read("a", 0, 0)->info.owner, "uid/7/me");
  EXPECT_EQ(Session(*remote, "nobody").putinfo("b", text_item("1"), kPersistent).error().code(),
            ErrorCode::kRefused);
  EXPECT_TRUE(Session(*remote, "me").delinfo("a", 0));
  server.reset();
  EXPECT_FALSE(remote->read("a", 0, 0));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace mvm::registry
