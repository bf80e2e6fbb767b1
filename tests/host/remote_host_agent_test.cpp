// RemoteHostAgent over the Host service over a HostAgent: what goes in at one end comes out at the other.
#include "mvm/host/remote_host_agent.h"

#include <gmock/gmock.h>

#include "mvm/base/file.h"

namespace mvm::host {
namespace {

using nlohmann::json;
using ::testing::_;
using ::testing::Return;

class MockAgent : public HostAgent {
 public:
  MOCK_METHOD(Result<HostInfo>, describe, (), (override));
  MOCK_METHOD(Result<LabInfo>, ensure_lab, (const LabSpec&), (override));
  MOCK_METHOD(Status, destroy_lab, (const std::string&), (override));
  MOCK_METHOD(Result<NodeInfo>, ensure_node, (const NodeSpec&, std::chrono::milliseconds), (override));
  MOCK_METHOD(Status, destroy_node, (const std::string&, const std::string&), (override));
  MOCK_METHOD(Status, suspend_node, (const std::string&, const std::string&, bool), (override));
  MOCK_METHOD(Result<CallReply>, call,
              (const std::string&, const std::string&, const std::string&, const json&, std::string,
               std::chrono::milliseconds),
              (override));
  MOCK_METHOD(Status, send_blob, (const std::string&, const std::string&, const std::string&), (override));
  MOCK_METHOD(Status, fetch_blob, (const std::string&, const std::string&, const std::string&), (override));
  MOCK_METHOD(Status, wire, (const std::string&, const std::string&, const DomainWiring&), (override));
  MOCK_METHOD(Status, unwire, (const std::string&, const std::string&), (override));
  MOCK_METHOD(Result<HostEvents>, events, (const std::string&, std::uint64_t, std::chrono::milliseconds),
              (override));
  MOCK_METHOD(Result<Inventory>, inventory, (), (override));
  MOCK_METHOD(Result<std::string>, console, (const std::string&, const std::string&, std::uint64_t),
              (override));
};

/// The service as the broker with this certificate reaches it, without the wire between.
class AsBroker final : public soap::HostService {
 public:
  AsBroker(soap::HostService& inner, std::string user) : inner_(inner) { caller_.user = std::move(user); }
  Result<soap::HostReply> call(const soap::Caller&, const std::string& op, const std::string& arguments,
                               std::string blob, std::chrono::milliseconds timeout) override {
    return inner_.call(caller_, op, arguments, std::move(blob), timeout);
  }
  Result<soap::HostReply> poll(const soap::Caller&, const std::string& op, const std::string& arguments,
                               std::chrono::milliseconds wait) override {
    return inner_.poll(caller_, op, arguments, wait);
  }
  Status put_blob(const soap::Caller&, const std::string& digest, const soap::PieceReader& reader) override {
    return inner_.put_blob(caller_, digest, reader);
  }
  Status get_blob(const soap::Caller&, const std::string& digest, const soap::PieceWriter& writer) override {
    return inner_.get_blob(caller_, digest, writer);
  }

 private:
  soap::HostService& inner_;
  soap::Caller caller_;
};

class RemoteHostAgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = make_temporary_folder("/tmp", "mvm-remote-").value();
    broker_blobs_.emplace(BlobStore::open(folder_ / "broker").value());
    host_blobs_.emplace(BlobStore::open(folder_ / "host").value());
    service_ = make_host_service(agent_, *host_blobs_, "broker-1");
    wire_ = std::make_unique<AsBroker>(*service_, "broker-1");
    remote_ = make_remote_host_agent(*wire_, *broker_blobs_);
  }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }

  std::filesystem::path folder_;
  std::optional<BlobStore> broker_blobs_;
  std::optional<BlobStore> host_blobs_;
  MockAgent agent_;
  std::unique_ptr<soap::HostService> service_;
  std::unique_ptr<AsBroker> wire_;
  std::unique_ptr<HostAgent> remote_;
};

TEST_F(RemoteHostAgentTest, DescriptionsArriveWhole) {
  const HostInfo info{.name = "a",
                      .architecture = "x86_64",
                      .vcpus = 2,
                      .memory = 1ULL << 40,
                      .disk = 7,
                      .drivers = {{.driver = "lxc", .usable = true, .detail = "9.0"}},
                      .images = {{.name = "host",
                                  .kind = "host",
                                  .architecture = "x86_64",
                                  .digest = "d",
                                  .toolchains = {"g++ 12.2.0"},
                                  .drivers = {"lxc"}}}};
  EXPECT_CALL(agent_, describe()).WillOnce(Return(Result<HostInfo>(info)));
  auto answer = remote_->describe();
  ASSERT_TRUE(answer) << answer.error().describe();
  EXPECT_EQ(*answer, info);
}

TEST_F(RemoteHostAgentTest, ErrorsKeepTheirCode) {
  EXPECT_CALL(agent_, ensure_node(_, _))
      .WillOnce(Return(Result<NodeInfo>(Error(ErrorCode::kTimeout, "slow"))));
  EXPECT_EQ(remote_->ensure_node({.lab = "l", .node = "n"}, std::chrono::seconds(1)).error().code(),
            ErrorCode::kTimeout);
}

TEST_F(RemoteHostAgentTest, OnlyItsOwnBrokerIsServed) {
  AsBroker stranger(*service_, "broker-2");
  auto remote = make_remote_host_agent(stranger, *broker_blobs_);
  EXPECT_CALL(agent_, destroy_lab(_)).Times(0);
  EXPECT_EQ(remote->destroy_lab("l").error().code(), ErrorCode::kRefused);
  EXPECT_EQ(remote->events("", 0, std::chrono::seconds(0)).error().code(), ErrorCode::kRefused);
}

TEST_F(RemoteHostAgentTest, ABlobTheHostLacksIsBroughtThereFirst) {
  const std::string digest = broker_blobs_->put(std::string(1'000'000, 'b')).value();
  EXPECT_CALL(agent_, send_blob("l", "n", digest)).Times(2).WillRepeatedly([&](auto&&...) {
    EXPECT_TRUE(host_blobs_->has(digest));
    return ok();
  });
  EXPECT_TRUE(remote_->send_blob("l", "n", digest));
  EXPECT_TRUE(remote_->send_blob("l", "n", digest));
}

TEST_F(RemoteHostAgentTest, ANodesBlobReachesTheBrokersStore) {
  std::string digest;
  EXPECT_CALL(agent_, fetch_blob("l", "n", _)).WillOnce([&](auto&&...) {
    EXPECT_TRUE(host_blobs_->put("result"));
    return ok();
  });
  digest = sha256_hex("result");
  ASSERT_TRUE(remote_->fetch_blob("l", "n", digest));
  EXPECT_EQ(broker_blobs_->read_whole(digest, 100).value(), "result");
}

TEST_F(RemoteHostAgentTest, EventsKeepTheirBlobsApart) {
  const HostEvents page{
      .epoch = "e",
      .events = {
          {.seq = 4, .lab = "l", .node = "n", .event = "proc.output", .args = {{"a", 1}}, .blob = "one"},
          {.seq = 5, .lab = "l", .node = "n", .event = "proc.output", .args = {}, .blob = ""},
          {.seq = 6, .lab = "l", .node = "n", .event = "proc.output", .args = {}, .blob = "two"}}};
  EXPECT_CALL(agent_, events("e", 3, _)).WillOnce(Return(Result<HostEvents>(page)));
  auto answer = remote_->events("e", 3, std::chrono::seconds(1));
  ASSERT_TRUE(answer) << answer.error().describe();
  ASSERT_EQ(answer->events.size(), 3U);
  EXPECT_EQ(answer->events[0].blob, "one");
  EXPECT_EQ(answer->events[1].blob, "");
  EXPECT_EQ(answer->events[2].blob, "two");
  EXPECT_EQ(answer->events[2].seq, 6U);
}

TEST_F(RemoteHostAgentTest, MistypedArgumentsAreAnErrorNotACrash) {
  EXPECT_EQ(wire_->call({}, "ensure_node", R"({"lab":7})", {}, std::chrono::seconds(1)).error().code(),
            ErrorCode::kCorrupt);
  EXPECT_EQ(wire_->call({}, "destroy_lab", "{}", {}, std::chrono::seconds(1)).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(wire_->call({}, "no-such", "{}", {}, std::chrono::seconds(1)).error().code(),
            ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace mvm::host
