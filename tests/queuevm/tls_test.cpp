// Two hosts' proxies joined over TLS: what arrives, what the network sees, and who is turned away.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <random>
#include <thread>

#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/queuevm/tls/tls_stream.h"
#include "mvm/soap/certificate.h"
#include "queuevm/content.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;

const std::string kSecret = "0123456789abcdef0123";
const std::string kMarker = "a marker that nobody on the way may read";

template <class Condition>
bool eventually(Condition condition, std::chrono::seconds patience = 20s) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

UniqueFd loopback(std::uint16_t& port, bool listens) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  socklen_t size = sizeof at;
  auto* address = reinterpret_cast<sockaddr*>(&at);
  if (listens) {
    EXPECT_EQ(::bind(socket.get(), address, size), 0);
    EXPECT_EQ(::listen(socket.get(), 8), 0);
    EXPECT_EQ(::getsockname(socket.get(), address, &size), 0);
    port = ntohs(at.sin_port);
  } else {
    EXPECT_EQ(::connect(socket.get(), address, size), 0);
  }
  return socket;
}

/// Passes bytes on between who connects to it and a port, and keeps them all.
class Wiretap {
 public:
  explicit Wiretap(std::uint16_t to)
      : to_(to), listener_(loopback(port_, true)), thread_([this] { run(); }) {}
  ~Wiretap() {
    stop_ = true;
    thread_.join();
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  void run() {
    std::array<UniqueFd, 2> ends;
    while (!stop_) {
      std::array<pollfd, 3> items{
          {{listener_.get(), POLLIN, 0}, {ends[0].get(), POLLIN, 0}, {ends[1].get(), POLLIN, 0}}};
      if (::poll(items.data(), items.size(), 20) <= 0) continue;
      if (items[0].revents != 0) {
        ends[0].reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ends[1] = loopback(to_, false);
        continue;
      }
      for (std::size_t i = 0; i < 2; ++i) {
        if (items[i + 1].revents == 0) continue;
        std::array<char, 65536> bytes;
        const ssize_t got = ::read(ends[i].get(), bytes.data(), bytes.size());
        if (got <= 0 ||
            ::send(ends[1 - i].get(), bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) != got) {
          ends[0].reset();
          ends[1].reset();
          break;
        }
        const std::lock_guard lock(mutex_);
        seen_.append(bytes.data(), static_cast<std::size_t>(got));
      }
    }
  }
  std::uint16_t to_;
  std::uint16_t port_ = 0;
  UniqueFd listener_;
  mutable std::mutex mutex_;
  std::string seen_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

class TlsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { log::start("tls-test", log::Level::kError, ""); }
  void SetUp() override {
    folder_ = make_temporary_folder("/tmp", "mvm-tls-").value();
    authority_.emplace(soap::CertificateAuthority::open(folder_ / "ca").value());
  }
  void TearDown() override { ASSERT_TRUE(remove_tree(folder_)); }

  static StreamFactory streams(const soap::CertificateAuthority& authority, const std::string& lab,
                               const std::string& domain) {
    const auto issued = authority.issue_for_links(lab, domain).value();
    return tls::make_streams(
               {.certificate = issued.certificate, .key = issued.key, .authority = authority.certificate()})
        .value();
  }
  static std::unique_ptr<Proxy> start(const std::string& domain, StreamFactory secure) {
    auto proxy = Proxy::start({.domain = domain, .secret = kSecret, .redial = 2ms}).value();
    proxy->set_streams(Carrier::kSecure, std::move(secure));
    return proxy;
  }
  /// "host:b" listens, "host:a" is to dial.
  void make_pair(StreamFactory a, StreamFactory b) {
    a_ = start("host:a", std::move(a));
    b_ = start("host:b", std::move(b));
    port_ = b_->listen("127.0.0.1", 0, Carrier::kSecure).value();
    ASSERT_TRUE(b_->add_peer("host:a", "", 0, Carrier::kSecure));
  }
  void join(Queue& from, Queue& to, Carrier carrier = Carrier::kSecure, std::uint64_t link = 1) {
    LinkHalf out{.link = link,
                 .flow = LinkHalf::Flow::kOutgoing,
                 .peer = "host:b",
                 .carrier = carrier,
                 .descriptor = from.open_descriptor().value()};
    LinkHalf in{.link = link,
                .flow = LinkHalf::Flow::kIncoming,
                .peer = "host:a",
                .carrier = carrier,
                .descriptor = to.open_descriptor().value()};
    ASSERT_TRUE(a_->add_link(std::move(out)));
    ASSERT_TRUE(b_->add_link(std::move(in)));
  }
  /// Dials, and expects to be turned away again and again.
  void expect_refused() {
    ASSERT_TRUE(a_->add_peer("host:b", "127.0.0.1", port_, Carrier::kSecure));
    EXPECT_TRUE(eventually([&] { return a_->peers()[0].refused + b_->peers()[0].refused >= 3; }));
    EXPECT_FALSE(a_->peers()[0].connected);
    EXPECT_FALSE(b_->peers()[0].connected);
    EXPECT_EQ(b_->peers()[0].connections, 0U);
  }

  std::filesystem::path folder_;
  std::optional<soap::CertificateAuthority> authority_;
  std::unique_ptr<Proxy> a_;
  std::unique_ptr<Proxy> b_;
  std::uint16_t port_ = 0;
};

TEST_F(TlsTest, ManyCutsLoseAndDoubleNothing) {
  make_pair(streams(*authority_, "lab-1", "host:a"), streams(*authority_, "lab-1", "host:b"));
  ASSERT_TRUE(a_->add_peer("host:b", "127.0.0.1", port_, Carrier::kSecure));
  Queue from = Queue::create_in_memory({}, "tls-test").value();
  Queue to = Queue::create_in_memory({}, "tls-test").value();
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  std::atomic<bool> cut_enough = false;
  std::uint64_t sent = 0;
  std::thread writer([&] {
    std::mt19937 random(1);
    while (!cut_enough || sent < 5000) {
      const auto message = test::make_message(0, sent, test::some_size(random, 40000));
      ASSERT_EQ(producer.put(std::as_bytes(std::span(message)), 30s).value(), Outcome::kDone);
      ++sent;
    }
    ASSERT_TRUE(producer.close(EndState::kDone));
  });
  std::thread cutter([&] {
    for (std::uint64_t i = 0; i < 20; ++i) {
      EXPECT_TRUE(eventually([&] { return a_->peers()[0].connections > i && a_->peers()[0].connected; }));
      const std::uint64_t before = to.stats().enqueued;
      EXPECT_TRUE(eventually([&] { return to.stats().enqueued > before + 100; }));
      EXPECT_TRUE((i % 2 == 0 ? *a_ : *b_).disconnect(i % 2 == 0 ? "host:b" : "host:a", Carrier::kSecure));
    }
    cut_enough = true;
  });
  std::uint64_t received = 0;
  for (;; ++received) {
    MessageView view;
    const Outcome outcome = consumer.take(view, 30s).value();
    if (outcome == Outcome::kEndOfStream) break;
    ASSERT_EQ(outcome, Outcome::kDone);
    test::Stamp stamp;
    ASSERT_TRUE(test::check_message(view.data.data(), view.data.size(), stamp));
    ASSERT_EQ(stamp.number, received);
    ASSERT_TRUE(consumer.release(view));
  }
  writer.join();
  cutter.join();
  EXPECT_EQ(received, sent);
  EXPECT_GE(a_->peers()[0].connections, 20U);
  EXPECT_EQ(a_->links()[0].carrier, Carrier::kSecure);
}

TEST_F(TlsTest, TheNetworkSeesNothingOfTheMessages) {
  for (const Carrier carrier : {Carrier::kPlain, Carrier::kSecure}) {
    make_pair(streams(*authority_, "lab-1", "host:a"), streams(*authority_, "lab-1", "host:b"));
    const std::uint16_t plain = b_->listen("127.0.0.1", 0).value();
    ASSERT_TRUE(b_->add_peer("host:a", "", 0, carrier));
    const Wiretap tap(carrier == Carrier::kPlain ? plain : port_);
    ASSERT_TRUE(a_->add_peer("host:b", "127.0.0.1", tap.port(), carrier));
    Queue from = Queue::create_in_memory({}, "tls-test").value();
    Queue to = Queue::create_in_memory({}, "tls-test").value();
    join(from, to, carrier);
    Producer producer = from.producer(0).value();
    Consumer consumer = to.consumer(0).value();
    ASSERT_EQ(producer.put(std::as_bytes(std::span(kMarker)), 20s).value(), Outcome::kDone);
    MessageView view;
    ASSERT_EQ(consumer.take(view, 20s).value(), Outcome::kDone);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(view.data.data()), view.data.size()), kMarker);
    ASSERT_TRUE(consumer.release(view));
    const std::string seen = tap.seen();
    EXPECT_GT(seen.size(), kMarker.size());
    EXPECT_EQ(seen.find(kMarker) != std::string::npos, carrier == Carrier::kPlain);
    EXPECT_EQ(seen.find("MVMLINK1") != std::string::npos, carrier == Carrier::kPlain);
    a_.reset();
    b_.reset();
  }
}

/// Sends one message over a link and awaits it at the other end.
void pass_one(Producer& producer, Consumer& consumer, const std::string& words) {
  ASSERT_EQ(producer.put(std::as_bytes(std::span(words)), 20s).value(), Outcome::kDone);
  MessageView view;
  ASSERT_EQ(consumer.take(view, 20s).value(), Outcome::kDone);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(view.data.data()), view.data.size()), words);
  ASSERT_TRUE(consumer.release(view));
}

TEST_F(TlsTest, TwoDomainsHaveLinksInTheClearBesideOthersWithTls) {
  make_pair(streams(*authority_, "lab-1", "host:a"), streams(*authority_, "lab-1", "host:b"));
  const std::uint16_t plain = b_->listen("127.0.0.1", 0).value();
  ASSERT_TRUE(b_->add_peer("host:a"));
  const Wiretap plain_tap(plain);
  const Wiretap secure_tap(port_);
  ASSERT_TRUE(a_->add_peer("host:b", "127.0.0.1", plain_tap.port()));
  ASSERT_TRUE(a_->add_peer("host:b", "127.0.0.1", secure_tap.port(), Carrier::kSecure));
  std::vector<Queue> queues;
  for (int i = 0; i < 4; ++i) queues.push_back(Queue::create_in_memory({}, "tls-test").value());
  // The same number over both: they are links of two peers.
  join(queues[0], queues[1], Carrier::kPlain);
  join(queues[2], queues[3], Carrier::kSecure);
  Producer open = queues[0].producer(0).value();
  Consumer open_end = queues[1].consumer(0).value();
  Producer hidden = queues[2].producer(0).value();
  Consumer hidden_end = queues[3].consumer(0).value();
  pass_one(open, open_end, "for all to read");
  pass_one(hidden, hidden_end, kMarker);
  EXPECT_NE(plain_tap.seen().find("for all to read"), std::string::npos);
  EXPECT_EQ(plain_tap.seen().find(kMarker), std::string::npos);
  EXPECT_EQ(secure_tap.seen().find(kMarker), std::string::npos);
  ASSERT_EQ(a_->peers().size(), 2U);
  EXPECT_TRUE(eventually([&] {
    return std::ranges::all_of(a_->links(), [](const LinkStats& link) { return link.messages == 1; });
  }));

  // A cut of one does not touch the other.
  const auto connections = [&](Carrier carrier) {
    for (const PeerStats& peer : a_->peers())
      if (peer.carrier == carrier) return peer.connections;
    return std::uint64_t{0};
  };
  const std::uint64_t secure_before = connections(Carrier::kSecure);
  ASSERT_TRUE(a_->disconnect("host:b", Carrier::kPlain));
  EXPECT_TRUE(eventually([&] { return connections(Carrier::kPlain) >= 2; }));
  EXPECT_EQ(connections(Carrier::kSecure), secure_before);
  pass_one(open, open_end, "again");
  pass_one(hidden, hidden_end, "again");
  ASSERT_TRUE(a_->remove_link(1, LinkHalf::Flow::kOutgoing, "host:b", Carrier::kPlain));
  ASSERT_TRUE(a_->remove_peer("host:b", Carrier::kPlain));
  EXPECT_EQ(a_->remove_peer("host:b", Carrier::kSecure).error().code(), ErrorCode::kConflict);
  pass_one(hidden, hidden_end, "still");
}

TEST_F(TlsTest, AnotherAuthorityIsRefused) {
  const auto other = soap::CertificateAuthority::open(folder_ / "other").value();
  make_pair(streams(other, "lab-1", "host:a"), streams(*authority_, "lab-1", "host:b"));
  expect_refused();
}

TEST_F(TlsTest, ACertificateOfAnotherLabIsRefused) {
  make_pair(streams(*authority_, "lab-2", "host:a"), streams(*authority_, "lab-1", "host:b"));
  expect_refused();
}

TEST_F(TlsTest, ACertificateOfAnotherHostIsRefused) {
  make_pair(streams(*authority_, "lab-1", "host:c"), streams(*authority_, "lab-1", "host:b"));
  expect_refused();
}

TEST_F(TlsTest, AHostsOwnCertificateOpensNoLab) {
  const auto host = authority_->issue("host-a", {}).value();
  EXPECT_EQ(tls::make_streams(
                {.certificate = host.certificate, .key = host.key, .authority = authority_->certificate()})
                .error()
                .code(),
            ErrorCode::kInvalid);
}

TEST_F(TlsTest, WithoutACertificateNobodyIsHeard) {
  make_pair(streams(*authority_, "lab-1", "host:a"), streams(*authority_, "lab-1", "host:b"));
  std::uint16_t port = port_;
  const UniqueFd stranger = loopback(port, false);
  const std::string words = "GET / HTTP/1.0\r\n\r\n";
  ASSERT_EQ(::send(stranger.get(), words.data(), words.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(words.size()));
  std::string answer(4096, '\0');
  ssize_t got = 0;
  for (ssize_t one = 1; one > 0; got += std::max<ssize_t>(one, 0))
    one = ::recv(stranger.get(), answer.data() + got, answer.size() - static_cast<std::size_t>(got), 0);
  EXPECT_LT(got, 16) << "at most a TLS alert before it is closed";
  EXPECT_EQ(b_->peers()[0].connections, 0U);
}

TEST_F(TlsTest, ASecurePeerIsNotTakenInTheClear) {
  make_pair(streams(*authority_, "lab-1", "host:a"), streams(*authority_, "lab-1", "host:b"));
  const std::uint16_t plain = b_->listen("127.0.0.1", 0).value();
  ASSERT_TRUE(a_->add_peer("host:b", "127.0.0.1", plain, Carrier::kPlain));
  EXPECT_TRUE(eventually([&] { return b_->peers()[0].refused >= 3; }));
  EXPECT_FALSE(b_->peers()[0].connected);
}

TEST_F(TlsTest, NothingButACertificateAndItsKeyWillDo) {
  const auto issued = authority_->issue_for_links("lab-1", "host:a").value();
  const auto other = authority_->issue_for_links("lab-1", "host:a").value();
  EXPECT_FALSE(tls::make_streams(
      {.certificate = issued.certificate, .key = other.key, .authority = authority_->certificate()}));
  EXPECT_FALSE(tls::make_streams(
      {.certificate = "rubbish", .key = issued.key, .authority = authority_->certificate()}));
  EXPECT_FALSE(tls::make_streams({.certificate = issued.certificate, .key = issued.key, .authority = ""}));
}

}  // namespace
}  // namespace mvm::queuevm
