// Hosts that join, rest, go, and are gone.

#include <gmock/gmock.h>

#include "broker/world.h"
#include "mvm/soap/certificate.h"
#include "mvm/soap/join.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// The connection to a host, which the broker owns, while the host itself is the test's.
class Line final : public host::HostAgent {
 public:
  explicit Line(host::HostAgent& to) : to_(to) {}
  Result<host::HostInfo> describe() override { return to_.describe(); }
  Result<host::LabInfo> ensure_lab(const host::LabSpec& spec) override { return to_.ensure_lab(spec); }
  Status destroy_lab(const std::string& lab) override { return to_.destroy_lab(lab); }
  Result<host::NodeInfo> ensure_node(const host::NodeSpec& spec, std::chrono::milliseconds time) override {
    return to_.ensure_node(spec, time);
  }
  Status destroy_node(const std::string& lab, const std::string& node) override {
    return to_.destroy_node(lab, node);
  }
  Status suspend_node(const std::string& lab, const std::string& node, bool suspend) override {
    return to_.suspend_node(lab, node, suspend);
  }
  Result<host::CallReply> call(const std::string& lab, const std::string& node, const std::string& op,
                               const nlohmann::json& args, std::string blob,
                               std::chrono::milliseconds time) override {
    return to_.call(lab, node, op, args, std::move(blob), time);
  }
  Status send_blob(const std::string& lab, const std::string& node, const std::string& digest) override {
    return to_.send_blob(lab, node, digest);
  }
  Status fetch_blob(const std::string& lab, const std::string& node, const std::string& digest) override {
    return to_.fetch_blob(lab, node, digest);
  }
  Status wire(const std::string& lab, const std::string& attempt, const host::DomainWiring& wiring) override {
    return to_.wire(lab, attempt, wiring);
  }
  Status unwire(const std::string& lab, const std::string& attempt) override {
    return to_.unwire(lab, attempt);
  }
  Result<host::HostEvents> events(const std::string& epoch, std::uint64_t seq,
                                  std::chrono::milliseconds time) override {
    return to_.events(epoch, seq, time);
  }
  Result<host::Inventory> inventory() override { return to_.inventory(); }
  Result<std::string> console(const std::string& lab, const std::string& node,
                              std::uint64_t offset) override {
    return to_.console(lab, node, offset);
  }

 private:
  host::HostAgent& to_;
};

class HostsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    authority.emplace(soap::CertificateAuthority::open(world.folder / "ca").value());
    world.config.gate.authority = &*authority;
    world.config.gate.url = "https://192.0.2.1:7780";
    world.config.gate.connect = [this](const std::string& url) -> Result<std::unique_ptr<host::HostAgent>> {
      urls.push_back(url);
      return std::make_unique<Line>(beta);
    };
    world.start();
    world.pump();
    key = soap::make_private_key().value();
  }
  void TearDown() override { EXPECT_THAT(world.state.violations, IsEmpty()); }

  soap::HostsApi& hosts() { return world.broker->api().hosts; }
  std::string invite(const std::string& name = {}, std::chrono::seconds valid = std::chrono::seconds(60)) {
    const auto made = hosts().invite(world.admin, name, valid);
    EXPECT_TRUE(made) << made.error().describe();
    return soap::parse_join_token(made->token).value().secret;
  }
  Result<soap::JoinedHost> join(const std::string& secret, const std::string& with_key,
                                const std::string& name = "beta",
                                const std::string& address = "192.0.2.2:7780") {
    return hosts().join({.secret = secret,
                         .name = name,
                         .address = address,
                         .request = soap::make_certificate_request(with_key, "somebody").value()});
  }
  void join_beta() {
    const auto joined = join(invite(), key);
    ASSERT_TRUE(joined) << joined.error().describe();
    watch_beta();
  }
  /// The world steps beta's polls too, but the broker was not made with it.
  void watch_beta() {
    world.pump();
    world.executor.step_long();
    world.pump();
  }
  /// Lets beta's news arrive.
  void settle() {
    for (int i = 0; i < 20; ++i) {
      world.executor.step_long();
      world.advance(std::chrono::seconds(1));
    }
  }
  std::map<std::string, std::string> states() {
    std::map<std::string, std::string> found;
    const auto views = world.system().hosts(world.admin);
    for (const auto& host : *views) found[host.name] = host.state;
    return found;
  }

  World world;
  fakes::FakeHostAgent beta{"beta", world.state, world.blobs};
  std::optional<soap::CertificateAuthority> authority;
  std::vector<std::string> urls;
  std::string key;
};

TEST_F(HostsTest, AnInvitationIsGoodOnceButForTheSameKey) {
  const auto secret = invite();
  const auto joined = join(secret, key);
  ASSERT_TRUE(joined) << joined.error().describe();
  EXPECT_EQ(joined->authority, authority->certificate());
  EXPECT_THAT(joined->certificate, HasSubstr("BEGIN CERTIFICATE"));
  watch_beta();
  EXPECT_THAT(urls, ElementsAre("https://192.0.2.2:7780"));
  EXPECT_EQ(states()["beta"], "up");
  EXPECT_TRUE(join(secret, key)) << "its answer may have been lost";
  EXPECT_EQ(join(secret, soap::make_private_key().value(), "gamma").error().code(), ErrorCode::kRefused);
  EXPECT_FALSE(states().contains("gamma"));
  EXPECT_TRUE(world.store->list("invites/" + secret)->empty()) << "the secret itself is kept nowhere";
}

TEST_F(HostsTest, WhoMayNotJoin) {
  EXPECT_EQ(join(std::string(32, '0'), key).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(join(invite("gamma"), key).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(join(invite(), key, "alpha").error().code(), ErrorCode::kExists) << "the broker's own";
  for (const char* name : {"", "broker", "Beta", "be/ta", "-beta", "host:beta"})
    EXPECT_EQ(join(invite(), key, name).error().code(), ErrorCode::kInvalid) << name;
  for (const char* address : {"", "192.0.2.2", ":1", "192.0.2.2:0", "192.0.2.2:99999", "a,DNS:broker:1"})
    EXPECT_EQ(join(invite(), key, "beta", address).error().code(), ErrorCode::kInvalid) << address;
  EXPECT_EQ(hosts()
                .join({.secret = invite(), .name = "beta", .address = "192.0.2.2:1", .request = "rubbish"})
                .error()
                .code(),
            ErrorCode::kInvalid);
  const auto late = invite({}, std::chrono::seconds(10));
  world.clock.advance(std::chrono::seconds(11));
  EXPECT_THAT(join(late, key).error().message(), HasSubstr("expired"));
  join_beta();
  EXPECT_EQ(join(invite(), soap::make_private_key().value()).error().code(), ErrorCode::kExists);
  EXPECT_THAT(states(), SizeIs(2));
}

TEST_F(HostsTest, OnlyAdministratorsHandleHosts) {
  EXPECT_EQ(hosts().invite(world.user, "", std::chrono::seconds(60)).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(hosts().drain(world.user, "alpha", true).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(hosts().remove_host(world.user, "alpha", true).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(hosts().invite(world.admin, "", std::chrono::seconds(1)).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(hosts().drain(world.admin, "nowhere", true).error().code(), ErrorCode::kNotFound);
}

TEST_F(HostsTest, NobodyJoinsABrokerThatDoesNotListen) {
  world.config.gate.url = "";
  world.restart();
  world.pump();
  EXPECT_EQ(hosts().invite(world.admin, "", std::chrono::seconds(60)).error().code(),
            ErrorCode::kUnsupported);
  EXPECT_EQ(join(std::string(32, '0'), key).error().code(), ErrorCode::kUnsupported);
}

TEST_F(HostsTest, WhatJoinedOrWasDrainedIsKnownAfterARestart) {
  join_beta();
  ASSERT_TRUE(hosts().drain(world.admin, "beta", true));
  ASSERT_TRUE(hosts().drain(world.admin, "alpha", true));
  EXPECT_EQ(states(), (std::map<std::string, std::string>{{"alpha", "drained"}, {"beta", "drained"}}));
  beta.forget_served();
  world.restart();
  watch_beta();
  EXPECT_EQ(states(), (std::map<std::string, std::string>{{"alpha", "drained"}, {"beta", "drained"}}));
  const auto id = world.submit(plain_job());
  world.pump();
  EXPECT_EQ(world.state_of(id), "SUBMITTED");
  EXPECT_THAT(world.job(id).why, Contains(HasSubstr("drained")));
  ASSERT_TRUE(hosts().drain(world.admin, "alpha", false));
  settle();
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_THAT(world.job(id).job.where, ElementsAre("alpha"));
}

TEST_F(HostsTest, AnAddressChangesByJoiningAgain) {
  join_beta();
  ASSERT_TRUE(join(invite("beta"), key, "beta", "192.0.2.3:7781"));
  watch_beta();
  EXPECT_THAT(urls, ElementsAre("https://192.0.2.2:7780", "https://192.0.2.3:7781"));
  EXPECT_EQ(states()["beta"], "up");
}

TEST_F(HostsTest, AHostIsRemovedOnceItIsDrainedAndEmpty) {
  join_beta();
  EXPECT_EQ(hosts().remove_host(world.admin, "alpha", true).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(hosts().remove_host(world.admin, "beta", false).error().code(), ErrorCode::kConflict);
  ASSERT_TRUE(hosts().drain(world.admin, "alpha", true));
  beta.auto_exit = false;
  const auto id = world.submit(plain_job());
  settle();
  ASSERT_EQ(world.state_of(id), "RUNNING");
  ASSERT_TRUE(hosts().drain(world.admin, "beta", true));
  EXPECT_THAT(hosts().remove_host(world.admin, "beta", false).error().message(), HasSubstr("not empty"));
  EXPECT_EQ(world.state_of(id), "RUNNING") << "what runs goes on";
  ASSERT_TRUE(world.jobs().cancel(world.user, id));
  settle();
  ASSERT_EQ(world.state_of(id), "CANCELLED");
  ASSERT_TRUE(hosts().remove_host(world.admin, "beta", false));
  world.pump();
  EXPECT_FALSE(states().contains("beta"));
  EXPECT_EQ(hosts().drain(world.admin, "beta", true).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(world.store->list("hosts/beta")->empty());
  EXPECT_THAT(beta.leftovers(), IsEmpty());
  // Another machine may have the name now.
  key = soap::make_private_key().value();
  join_beta();
  EXPECT_EQ(states()["beta"], "up");
}

TEST_F(HostsTest, AJobGoesOnElsewhereWhenItsHostIsRemovedByForce) {
  join_beta();
  ASSERT_TRUE(hosts().drain(world.admin, "alpha", true));
  beta.auto_exit = false;
  const auto id = world.submit(plain_job());
  settle();
  ASSERT_EQ(world.state_of(id), "RUNNING");
  ASSERT_THAT(world.job(id).job.where, ElementsAre("beta"));
  ASSERT_TRUE(hosts().drain(world.admin, "alpha", false));
  beta.down = true;
  ASSERT_TRUE(hosts().remove_host(world.admin, "beta", true));
  settle();
  EXPECT_EQ(world.state_of(id), "DONE") << world.job(id).job.reason;
  EXPECT_THAT(world.job(id).job.where, ElementsAre("alpha"));
  EXPECT_EQ(world.job(id).job.attempt, 2U);
  EXPECT_THAT(*world.labs().labs(world.admin), IsEmpty());
  EXPECT_THAT(world.leftovers(), IsEmpty());
  world.restart();
  world.pump();
  EXPECT_FALSE(states().contains("beta"));
  EXPECT_TRUE(world.store->list("hosts/")->empty()) << "no lab names it any more";
}

}  // namespace
}  // namespace mvm::broker
