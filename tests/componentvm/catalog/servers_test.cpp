// Three servers of the catalog over real connections, which are cut and mended.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <list>
#include <thread>

#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"
#include "mvm/catalog/client.h"
#include "mvm/catalog/server.h"
#include "mvm/rmix/native.h"

namespace mvm::catalog {
namespace {

constexpr std::chrono::seconds kLong{40};

bool eventually(const std::function<bool()>& so) {
  const auto ends = std::chrono::steady_clock::now() + kLong;
  while (!so()) {
    if (std::chrono::steady_clock::now() > ends) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// A cable between two: a port of its own that leads to another one, and can be cut.
class Cable {
 public:
  explicit Cable(std::uint16_t to) : to_(to), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 64), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~Cable() {
    stop_ = true;
    thread_.join();
  }
  Cable(const Cable&) = delete;
  Cable& operator=(const Cable&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }
  void cut(bool whether) { cut_ = whether; }

 private:
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return address;
  }
  void accept_one() {
    UniqueFd near(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    UniqueFd far(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = loopback(to_);
    if (cut_ || ::connect(far.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      return;
    pairs_.emplace_back(std::move(near), std::move(far));
  }
  static bool carry(int from, int to) {
    char bytes[16384];
    const ssize_t count = ::recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count < 0) return errno == EAGAIN;
    for (ssize_t done = 0; done < count;) {
      const ssize_t sent = ::send(to, bytes + done, static_cast<std::size_t>(count - done), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      done += sent;
    }
    return count > 0;
  }
  void run() {
    while (!stop_) {
      if (cut_) pairs_.clear();
      std::vector<pollfd> polled{{listener_.get(), POLLIN, 0}};
      for (const auto& [near, far] : pairs_)
        for (const int fd : {near.get(), far.get()}) polled.push_back({fd, POLLIN, 0});
      ::poll(polled.data(), polled.size(), 10);
      if ((polled[0].revents & POLLIN) != 0) accept_one();
      for (auto pair = pairs_.begin(); pair != pairs_.end();) {
        const bool good =
            carry(pair->first.get(), pair->second.get()) && carry(pair->second.get(), pair->first.get());
        pair = good ? std::next(pair) : pairs_.erase(pair);
      }
    }
  }

  std::uint16_t to_;
  std::uint16_t port_ = 0;
  UniqueFd listener_;
  std::list<std::pair<UniqueFd, UniqueFd>> pairs_;
  std::atomic<bool> cut_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::string reference(std::uint16_t port) {
  return std::string(kService) + " native+tcp://127.0.0.1:" + std::to_string(port);
}

/// One server with all that it stands on.
struct Site {
  std::unique_ptr<rmix::Server> rmix;
  std::unique_ptr<Server> server;
  std::vector<std::unique_ptr<Cable>> cables;  // to the other sites
  std::uint16_t port = 0;
};

class CatalogServers : public ::testing::Test {
 protected:
  static constexpr std::size_t kSites = 3;

  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-catalog-");
    providers_.add(rmix::make_native_provider());
    for (auto& site : sites_) {
      site.rmix = rmix::Server::create(providers_, {});
      const auto endpoint = site.rmix->listen("native+tcp://127.0.0.1:0");
      ASSERT_TRUE(endpoint) << endpoint.error().describe();
      site.port = static_cast<std::uint16_t>(std::stoi(endpoint->substr(endpoint->rfind(':') + 1)));
    }
    for (auto& site : sites_)
      for (auto& other : sites_)
        if (&other != &site) site.cables.push_back(std::make_unique<Cable>(other.port));
    for (std::size_t i = 0; i < kSites; ++i) start(i);
  }
  void TearDown() override {
    for (std::size_t i = 0; i < kSites; ++i) stop(i);
    for (auto& site : sites_) {
      site.rmix.reset();
      site.cables.clear();
    }
    EXPECT_TRUE(remove_tree(folder_));
  }
  void start(std::size_t i) {
    ServerOptions options{
        .file = folder_ / ("catalog" + std::to_string(i)), .peers = {}, .token = "servers only"};
    for (const auto& cable : sites_[i].cables) options.peers.push_back(reference(cable->port()));
    options.interval = std::chrono::milliseconds(20);
    options.timeout = std::chrono::seconds(5);
    auto opened = Server::open(std::move(options), clock_, providers_);
    ASSERT_TRUE(opened) << opened.error().describe();
    sites_[i].server = std::move(*opened);
    ASSERT_TRUE(sites_[i].rmix->add(kService, sites_[i].server->service()));
  }
  void stop(std::size_t i) {
    if (!sites_[i].server) return;
    (void)sites_[i].rmix->remove(kService);
    sites_[i].server.reset();
  }
  /// Nothing passes between site 0 and the others, in either direction.
  void split(bool whether) {
    for (const auto& cable : sites_[0].cables) cable->cut(whether);
    for (std::size_t i = 1; i < kSites; ++i) sites_[i].cables[0]->cut(whether);
  }
  std::unique_ptr<Client> client(const std::vector<std::size_t>& sites) {
    ClientOptions options;
    for (const auto site : sites) options.servers.push_back(reference(sites_[site].port));
    options.timeout = std::chrono::seconds(5);
    return std::move(*Client::open(std::move(options), clock_, providers_));
  }
  std::string seen_at(std::size_t site, const std::string& name = "") {
    const auto answer = client({site})->query("urn:mvm:dvm:lab", name);
    EXPECT_TRUE(answer) << answer.error().describe();
    std::string text;
    if (answer)
      for (const auto& a : *answer) text += a.name + "=" + a.value + ";";
    return text;
  }
  static Statement statement(const std::string& name, const std::string& value) {
    Statement made;
    made.uri = "urn:mvm:dvm:lab";
    made.name = name;
    made.value = value;
    return made;
  }

  std::filesystem::path folder_;
  SystemClock clock_;
  rmix::Providers providers_;
  Site sites_[kSites];
};

TEST_F(CatalogServers, AnyMayBeUpdatedAndAllComeToKnow) {
  const Key alice = Key::make();
  const Key bob = Key::make();
  ASSERT_TRUE(client({0})->say(alice, statement("hosts", "3")));
  const auto said = client({2})->say(bob, statement("hosts", "4"));
  ASSERT_TRUE(said) << said.error().describe();
  EXPECT_EQ(said->serial, 1U);
  for (std::size_t i = 0; i < kSites; ++i)
    EXPECT_TRUE(eventually([&] { return seen_at(i).size() == 2 * std::string("hosts=3;").size(); })) << i;
  const auto both = client({1})->query("urn:mvm:dvm:lab", "hosts");
  ASSERT_EQ(both->size(), 2U);
  for (const auto& one : *both) EXPECT_EQ(one.value, one.party == alice.party() ? "3" : "4");
  EXPECT_EQ(client({1})->resources("urn:mvm:", "", 10).value(), std::vector<std::string>{"urn:mvm:dvm:lab"});
}

TEST_F(CatalogServers, APartitionHeals) {
  const Key alice = Key::make();
  const Key bob = Key::make();
  const auto left = client({0});
  const auto right = client({1, 2});
  ASSERT_TRUE(left->say(alice, statement("a", "before")));
  ASSERT_TRUE(eventually([&] { return seen_at(1) == "a=before;" && seen_at(2) == "a=before;"; }));
  split(true);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(left->say(alice, statement("a", std::to_string(i))));
    ASSERT_TRUE(right->say(bob, statement("b" + std::to_string(i % 3), std::to_string(i))));
  }
  EXPECT_EQ(seen_at(0), "a=9;");
  EXPECT_TRUE(eventually([&] { return seen_at(2) == "a=before;b0=9;b1=7;b2=8;"; }));
  EXPECT_FALSE(sites_[0].server->level()) << "it cannot reach the others";
  split(false);
  for (std::size_t i = 0; i < kSites; ++i)
    EXPECT_TRUE(eventually([&] { return seen_at(i) == "a=9;b0=9;b1=7;b2=8;"; })) << i << seen_at(i);
  EXPECT_EQ(sites_[0].server->versions(), sites_[1].server->versions());
}

// Clients go from server to server while a party speaks: none ever sees it go back.
TEST_F(CatalogServers, EveryClientSeesAPartysUpdatesInTheirOrder) {
  const Key alice = Key::make();
  std::atomic<bool> done{false};
  std::thread party([&] {
    const auto speaker = client({0, 1, 2});
    for (int i = 1; i <= 40; ++i) {
      EXPECT_TRUE(speaker->say(alice, statement(i % 2 == 0 ? "even" : "odd", std::to_string(i))));
      if (i == 15) split(true);
      if (i == 25) split(false);
    }
    done = true;
  });
  const std::vector<std::unique_ptr<Client>> clients = [&] {
    std::vector<std::unique_ptr<Client>> made;
    made.push_back(client({0, 1, 2}));
    made.push_back(client({2, 1, 0}));
    return made;
  }();
  std::vector<std::map<std::string, int>> last(clients.size());
  const auto look = [&](std::size_t i) {
    const auto answer = clients[i]->query("urn:mvm:dvm:lab", "");
    if (!answer) return;
    std::map<std::string, int> now;
    for (const auto& one : *answer) now[one.name] = std::stoi(one.value);
    for (const auto& [name, value] : last[i]) EXPECT_GE(now[name], value) << name;
    // Updates alternate: with one of them all before it are there.
    EXPECT_LE(std::abs(now["odd"] - now["even"]), 1);
    last[i] = now;
  };
  while (!done)
    for (std::size_t i = 0; i < clients.size(); ++i) look(i);
  party.join();
  for (std::size_t i = 0; i < clients.size(); ++i)
    EXPECT_TRUE(eventually([&] {
      look(i);
      return last[i]["even"] == 40 && last[i]["odd"] == 39;
    }));
}

TEST_F(CatalogServers, KnowsAfterARestartWhatItAnswered) {
  const Key alice = Key::make();
  split(true);
  ASSERT_TRUE(client({0})->say(alice, statement("a", "1")));
  ASSERT_TRUE(client({0})->say(alice, statement("a", "2")));
  stop(0);
  const auto nobody = client({0})->query("urn:mvm:dvm:lab", "");
  ASSERT_FALSE(nobody);
  start(0);
  EXPECT_EQ(seen_at(0), "a=2;");
  EXPECT_EQ(client({0})->say(alice, statement("a", "3"))->serial, 3U);
}

TEST_F(CatalogServers, RefusesThoseWhoAreNotServersOrParties) {
  EXPECT_EQ(sites_[0].server->handle(SyncRequest{}, false).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(sites_[0].server->handle(PushRequest{}, false).error().code(), ErrorCode::kRefused);
  EXPECT_TRUE(sites_[0].server->handle(SyncRequest{}, true));
  const Key alice = Key::make();
  stop(1);
  auto strict = Server::open(
      {.file = folder_ / "strict", .peers = {}, .token = "", .parties = {alice.party()}}, clock_, providers_);
  ASSERT_TRUE(strict);
  ASSERT_TRUE(sites_[1].rmix->add(kService, (*strict)->service()));
  EXPECT_TRUE(client({1})->say(alice, statement("a", "1")));
  EXPECT_EQ(client({1})->say(Key::make(), statement("a", "1")).error().code(), ErrorCode::kRefused);
  EXPECT_FALSE(Server::open({.file = folder_ / "x", .peers = {reference(1)}}, clock_, providers_))
      << "no token";
  (void)sites_[1].rmix->remove(kService);
}

}  // namespace
}  // namespace mvm::catalog
