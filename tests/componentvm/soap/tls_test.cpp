// The host service over mutual TLS, the broker over https, and the node service.

#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "componentvm/soap/fixture.h"
#include "mvm/soap/join.h"

namespace mvm::soap {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

/// A host that echoes calls and keeps blobs.
class FakeHost final : public HostService {
 public:
  Result<HostReply> call(const Caller& caller, const std::string& op, const std::string& arguments,
                         std::string blob, milliseconds timeout) override {
    if (op == "fail") return Error(ErrorCode::kNoPlacement, "no room");
    return HostReply{.result = R"({"op":")" + op + R"(","from":")" + caller.user + R"(","args":)" +
                               arguments + R"(,"ms":)" + std::to_string(timeout.count()) + "}",
                     .blob = blob + blob};
  }
  Result<HostReply> poll(const Caller&, const std::string&, const std::string&, milliseconds wait) override {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, wait, [&] { return event_; });
    return HostReply{.result = event_ ? R"({"events":1})" : R"({"events":0})", .blob = {}};
  }
  Status put_blob(const Caller&, const std::string& digest, const PieceReader& reader) override {
    std::string content;
    for (;;) {
      MVM_ASSIGN(const std::string piece, reader());
      if (piece.empty()) break;
      content += piece;
    }
    if (sha256_hex(content) != digest) return Error(ErrorCode::kCorrupt, "wrong digest");
    const std::lock_guard lock(mutex_);
    blobs_[digest] = content;
    return ok();
  }
  Status get_blob(const Caller&, const std::string& digest, const PieceWriter& writer) override {
    const std::lock_guard lock(mutex_);
    if (!blobs_.contains(digest)) return Error(ErrorCode::kNotFound, "no blob " + digest);
    return writer(blobs_[digest]);
  }
  void happen() {
    const std::lock_guard lock(mutex_);
    event_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool event_ = false;
  std::map<std::string, std::string> blobs_;
};

class TlsTest : public SoapServerTest {
 protected:
  void SetUp() override {
    SoapServerTest::SetUp();
    auto authority = CertificateAuthority::open(folder_ / "ca");
    ASSERT_TRUE(authority) << authority.error().describe();
    server_tls_ = *authority->ensure(folder_ / "tls", "host-a", {"127.0.0.1", "localhost"});
    broker_tls_ = *authority->ensure(folder_ / "tls", "broker-1", {});
    ServerOptions options;
    options.tls = server_tls_;
    options.spool = folder_;
    options.limits.header_time = milliseconds(500);
    auto started = SoapServer::start(std::move(options),
                                     {.identity = &identity_, .broker = broker_.get(), .host = &host_});
    ASSERT_TRUE(started) << started.error().describe();
    server_ = std::move(*started);
  }
  [[nodiscard]] std::unique_ptr<HostClient> host_client(const TlsFiles& tls) const {
    auto client = HostClient::create({.url = server_->url(), .tls = tls});
    EXPECT_TRUE(client) << client.error().describe();
    return std::move(*client);
  }
  FakeHost host_;
  TlsFiles server_tls_, broker_tls_;
};

TEST_F(TlsTest, CallsPollsAndBlobs) {
  const auto client = host_client(broker_tls_);
  const auto reply =
      client->call({}, "node.boot", R"({"a":"<&>"})", std::string("\0x", 2), milliseconds(1500));
  ASSERT_TRUE(reply) << reply.error().describe();
  EXPECT_EQ(reply->result, R"({"op":"node.boot","from":"broker-1","args":{"a":"<&>"},"ms":1500})");
  EXPECT_EQ(reply->blob, std::string("\0x\0x", 4));
  const auto failed = client->call({}, "fail", "{}", {}, milliseconds(1));
  EXPECT_EQ(failed.error().code(), ErrorCode::kNoPlacement);
  EXPECT_EQ(failed.error().message(), "no room");
  EXPECT_EQ(client->poll({}, "events", "{}", milliseconds(1))->result, R"({"events":0})");
  std::thread poller(
      [&] { EXPECT_EQ(client->poll({}, "events", "{}", milliseconds(20'000))->result, R"({"events":1})"); });
  host_.happen();
  poller.join();
  const std::string content(3'000'000, 'c');
  const std::string digest = sha256_hex(content);
  bool sent = false;
  const auto put = client->put_blob({}, digest, [&]() -> Result<std::string> {
    return std::exchange(sent, true) ? std::string() : content;
  });
  ASSERT_TRUE(put) << put.error().describe();
  std::string back;
  const auto got = client->get_blob({}, digest, [&](std::string_view piece) {
    back += piece;
    return ok();
  });
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(back, content);
}

TEST_F(TlsTest, StoppedCallsEndAtOnce) {
  const auto client = host_client(broker_tls_);
  ASSERT_TRUE(client->poll({}, "events", "{}", milliseconds(1)));
  std::thread poller([&] {
    const auto cut = client->poll({}, "events", "{}", milliseconds(20'000));
    EXPECT_FALSE(cut);
  });
  while (server_->stats().long_polls == 0) std::this_thread::yield();
  const auto began = std::chrono::steady_clock::now();
  client->stop();
  poller.join();
  EXPECT_LT(std::chrono::steady_clock::now() - began, milliseconds(10'000));
  EXPECT_FALSE(client->poll({}, "events", "{}", milliseconds(1))) << "and no other begins";
  host_.happen();
}

/// A broker's own server, with the certificate that machines which join look for.
class JoinTest : public TlsTest {
 protected:
  void SetUp() override {
    TlsTest::SetUp();
    auto authority = CertificateAuthority::open(folder_ / "ca");
    ServerOptions options;
    options.tls = *authority->ensure(folder_ / "tls", std::string(kBrokerName), {"127.0.0.1"});
    options.spool = folder_;
    auto started = SoapServer::start(std::move(options), {.identity = &identity_, .broker = broker_.get()});
    ASSERT_TRUE(started) << started.error().describe();
    broker_server_ = std::move(*started);
    authority_ = authority->certificate();
    fake_.join_answer =
        JoinedHost{.certificate = "a certificate", .authority = authority_, .broker = "local"};
    options_ = {.broker = broker_server_->url(),
                .token = {.secret = std::string(32, '5'), .authority = *fingerprint_of(authority_)},
                .name = "h2",
                .address = "192.0.2.2:7780",
                .key = *make_private_key()};
  }
  std::unique_ptr<SoapServer> broker_server_;
  std::string authority_;
  JoinOptions options_;
};

TEST_F(JoinTest, NeedsTheBrokersAddressAndATokenOnly) {
  const auto joined = join_broker(options_);
  ASSERT_TRUE(joined) << joined.error().describe();
  EXPECT_EQ(joined->certificate, "a certificate");
  EXPECT_EQ(joined->authority, authority_);
  EXPECT_THAT(fake_.hosts_asked,
              testing::ElementsAre("join " + options_.token.secret + " h2 192.0.2.2:7780"));
}

TEST_F(JoinTest, AnotherAuthorityIsToldNothing) {
  options_.token.authority = sha256_hex("another");
  EXPECT_EQ(join_broker(options_).error().code(), ErrorCode::kRefused);
  EXPECT_THAT(fake_.hosts_asked, testing::IsEmpty());
}

TEST_F(JoinTest, AHostOfTheSameAuthorityIsNotTheBroker) {
  options_.broker = server_->url();
  EXPECT_EQ(join_broker(options_).error().code(), ErrorCode::kRefused);
  EXPECT_THAT(fake_.hosts_asked, testing::IsEmpty());
}

TEST_F(JoinTest, ItsRefusalsArriveWithTheirWords) {
  fake_.join_answer.reset();
  const auto refused = join_broker(options_);
  EXPECT_EQ(refused.error().code(), ErrorCode::kRefused);
  EXPECT_THAT(refused.error().message(), HasSubstr("not known here"));
  fake_.join_answer = JoinedHost{.certificate = "c", .authority = "no certificate", .broker = "local"};
  EXPECT_FALSE(join_broker(options_));
  broker_server_->stop();
  EXPECT_EQ(join_broker(options_).error().code(), ErrorCode::kUnavailable);
}

TEST(JoinTokenTest, IsReadStrictlyAndNeverRepeated) {
  const JoinToken token{.secret = std::string(32, 'a'), .authority = sha256_hex("x")};
  const std::string text = to_text(token);
  ASSERT_TRUE(parse_join_token(text));
  EXPECT_EQ(parse_join_token(text)->secret, token.secret);
  EXPECT_EQ(parse_join_token(text)->authority, token.authority);
  for (const std::string& bad :
       {std::string(), text + "0", text.substr(1), text.substr(0, text.size() - 1), "mvm2" + text.substr(4),
        std::string(text.size(), 'a'), text.substr(0, 5) + "G" + text.substr(6)}) {
    const auto parsed = parse_join_token(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code(), ErrorCode::kInvalid);
    EXPECT_EQ(parsed.error().message().find("aaaa"), std::string::npos);
  }
}

TEST_F(TlsTest, TheBrokerByTokenOverHttps) {
  auto client = BrokerClient::create({.url = server_->url(), .token = user_.secret, .ca = server_tls_.ca});
  ASSERT_TRUE(client) << client.error().describe();
  const auto who = (*client)->whoami({});
  ASSERT_TRUE(who) << who.error().describe();
  EXPECT_EQ(who->caller.user, "ada");
  auto stranger = BrokerClient::create({.url = server_->url(), .token = "wrong", .ca = server_tls_.ca});
  EXPECT_EQ((*stranger)->whoami({}).error().code(), ErrorCode::kRefused);
}

TEST_F(TlsTest, NoCertificateNoHostService) {
  const auto client = host_client({.certificate = {}, .key = {}, .ca = server_tls_.ca});
  EXPECT_EQ(client->call({}, "x", "{}", {}, milliseconds(1)).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(client->poll({}, "x", "{}", milliseconds(1)).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(client->get_blob({}, sha256_hex("x"), [](std::string_view) { return ok(); }).error().code(),
            ErrorCode::kRefused);
  EXPECT_EQ(client->put_blob({}, sha256_hex("x"), []() -> Result<std::string> { return std::string(); })
                .error()
                .code(),
            ErrorCode::kRefused);
}

TEST_F(TlsTest, AnotherAuthoritysCertificateEndsTheHandshake) {
  const auto other = CertificateAuthority::open(folder_ / "other");
  TlsFiles files = *other->ensure(folder_ / "tls", "broker-2", {});
  files.ca = server_tls_.ca;
  const auto client = host_client(files);
  EXPECT_FALSE(client->call({}, "x", "{}", {}, milliseconds(1)));
  // And the other way round: a server that our authority does not vouch for.
  const auto wary = host_client({.certificate = {}, .key = {}, .ca = other->file()});
  const auto refused = wary->call({}, "x", "{}", {}, milliseconds(1));
  EXPECT_EQ(refused.error().code(), ErrorCode::kRefused) << refused.error().describe();
  EXPECT_THAT(refused.error().message(), HasSubstr("certificate"));
}

TEST_F(TlsTest, ACertificateForAnotherNameIsRefused) {
  const auto authority = CertificateAuthority::open(folder_ / "ca");
  ServerOptions options;
  options.tls = *authority->ensure(folder_ / "tls2", "elsewhere", {"10.9.9.9"});
  options.spool = folder_;
  const auto server = SoapServer::start(std::move(options), {.host = &host_});
  ASSERT_TRUE(server) << server.error().describe();
  const auto client = HostClient::create({.url = (*server)->url(), .tls = broker_tls_});
  EXPECT_EQ((*client)->call({}, "x", "{}", {}, milliseconds(1)).error().code(), ErrorCode::kRefused);
}

TEST_F(TlsTest, PlainTalkToATlsPortGetsNothing) {
  RawSocket socket(server_->port());
  socket.send("GET /?wsdl HTTP/1.1\r\n\r\n");
  EXPECT_THAT(socket.receive(milliseconds(3000)), testing::Not(HasSubstr("wsdl")));
  RawSocket silent(server_->port());
  EXPECT_EQ(silent.receive(milliseconds(5000)), "");
  EXPECT_TRUE(silent.closed()) << "a handshake has a deadline";
  EXPECT_TRUE(host_client(broker_tls_)->call({}, "x", "{}", {}, milliseconds(1)));
}

TEST_F(TlsTest, HostsNeedTls) {
  EXPECT_EQ(SoapServer::start({}, {.host = &host_}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(HostClient::create({.url = "http://127.0.0.1:1"}).error().code(), ErrorCode::kRefused);
}

// ---- nodes ---------------------------------------------------------------------------------------------

/// A node that knows others and calls them.
class FakeNode final : public NodeApi {
 public:
  explicit FakeNode(std::string name) : name_(std::move(name)) {}
  Result<NodeInfoView> info(const Caller&) override {
    return NodeInfoView{.node = name_,
                        .lab = "l1",
                        .boot = "b",
                        .architecture = "x86_64",
                        .version = "0.1.0",
                        .uptime_ms = 1LL << 40,
                        .processes = 3,
                        .toolchains = {"g++ 12.2.0"},
                        .peers = {{"n2", "10.0.0.3"}}};
  }
  Result<std::vector<NodeProcessView>> processes(const Caller&) override {
    return std::vector<NodeProcessView>{
        {.process = "1.1/cell[0]", .pid = 42, .state = "exited", .code = -1, .signal = 9}};
  }
  Result<std::vector<QueueView>> queues(const Caller&) override {
    return std::vector<QueueView>{{.lab = "l1", .depth = 5}};
  }
  Result<std::vector<NodePluginView>> plugins(const Caller&) override {
    return std::vector<NodePluginView>{{"node", "1.0.0", "kernel", "running"}};
  }
  Result<std::vector<std::string>> visit(const Caller& caller,
                                         const std::vector<std::string>& route) override {
    std::vector<std::string> visited{name_};
    if (route.empty()) return visited;
    const auto peer = peers.find(route[0]);
    if (peer == peers.end()) return Error(ErrorCode::kNotFound, "no node " + route[0]);
    MVM_ASSIGN(auto rest, peer->second->visit(caller, {route.begin() + 1, route.end()}));
    visited.insert(visited.end(), rest.begin(), rest.end());
    return visited;
  }
  std::map<std::string, std::unique_ptr<NodeClient>> peers;

 private:
  std::string name_;
};

TEST_F(SoapServerTest, NodesServeAndCallEachOther) {
  FakeNode first("n1"), second("n2");
  const Token lab = identity_.issue({.user = "ada", .role = "lab", .lab = "l1"});
  const auto start = [&](FakeNode& node) {
    ServerOptions options;
    options.address = "0.0.0.0";
    options.plain_in_lab = true;
    options.limits.workers = 1;
    return std::move(*SoapServer::start(std::move(options), {.identity = &identity_, .node = &node}));
  };
  const auto one = start(first), two = start(second);
  const auto client = [&](const SoapServer& server, const std::string& token) {
    return std::move(
        *NodeClient::create({.url = "http://127.0.0.1:" + std::to_string(server.port()), .token = token}));
  };
  first.peers["n2"] = client(*two, lab.secret);
  second.peers["n1"] = client(*one, lab.secret);
  const auto node = client(*one, lab.secret);
  const auto info = node->info();
  ASSERT_TRUE(info) << info.error().describe();
  EXPECT_EQ(info->node, "n1");
  EXPECT_EQ(info->uptime_ms, 1LL << 40);
  EXPECT_EQ(info->peers.at(0).address, "10.0.0.3");
  EXPECT_EQ(info->toolchains.at(0), "g++ 12.2.0");
  EXPECT_EQ(node->processes()->at(0).pid, 42);
  EXPECT_EQ(node->processes()->at(0).code, -1);
  EXPECT_EQ(node->queues()->at(0).depth, 5U);
  EXPECT_EQ(node->plugins()->at(0).name, "node");
  EXPECT_THAT(*node->visit({}, {"n2", "n1", "n2"}), testing::ElementsAre("n1", "n2", "n1", "n2"));
  EXPECT_EQ(node->visit({}, {"n2", "nowhere"}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(client(*one, "wrong")->info().error().code(), ErrorCode::kRefused);
  RawSocket socket(one->port());
  socket.send("GET /?wsdl HTTP/1.0\r\nHost: 10.0.0.2:7781\r\n\r\n");
  EXPECT_THAT(socket.receive(milliseconds(2000)), HasSubstr("location=\"http://10.0.0.2:7781/node\""));
}

}  // namespace
}  // namespace mvm::soap
