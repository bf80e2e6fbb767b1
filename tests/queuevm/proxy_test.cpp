// Two domains in one process, joined over loopback TCP, a local socket, message queues, and memory that they
// share.
#include "mvm/queuevm/proxy.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "mvm/base/digest.h"
#include "mvm/base/log.h"
#include "mvm/queuevm/mq/mq_streams.h"
#include "mvm/queuevm/region.h"
#include "queuevm/content.h"
#include "queuevm/node.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;

const std::string kWorker = std::string(MVM_BINARY_DIR) + "/tests/queuevm_worker";
const std::string kSecret = "0123456789abcdef0123";

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

template <class Condition>
bool eventually(Condition condition, std::chrono::seconds patience = 20s) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// One way to join two proxies.
struct Way {
  const char* name;
  Carrier carrier;
  bool local;  ///< over a UNIX socket
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class ProxyTest : public ::testing::TestWithParam<Way> {
 protected:
  static void SetUpTestSuite() { log::start("proxy-test", log::Level::kError, ""); }
  void SetUp() override {
    if (carrier_ == Carrier::kPosixMq) streams_ = mq::make_posix_streams(random_hex(16)).value();
    if (carrier_ == Carrier::kBoostMq) streams_ = mq::make_boost_streams(random_hex(16)).value();
    region_.reset(::memfd_create("proxy-test", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(region_.get(), 1 << 20), 0);
    a_ = start("a");
    b_ = start("b");
    port_ = b_->listen(address_, 0, carrier_).value();
    ASSERT_TRUE(a_->add_peer("b", address_, port_, carrier_));
    ASSERT_TRUE(b_->add_peer("a", "", 0, carrier_));
  }
  [[nodiscard]] std::unique_ptr<Proxy> start(const std::string& domain,
                                             const std::string& secret = kSecret) const {
    Proxy::Options options;
    options.domain = domain;
    options.secret = secret;
    options.redial = 2ms;
    auto proxy = Proxy::start(std::move(options)).value();
    if (streams_) proxy->set_streams(carrier_, streams_);
    if (carrier_ != Carrier::kRegion) return proxy;
    // Each maps it for itself, as on two machines.
    RegionStreams streams(Region::map(region_).value());
    for (const char* peer : {"a", "b"}) EXPECT_TRUE(streams.give(peer, {.offset = 65536, .bytes = 524288}));
    proxy->set_streams(carrier_, streams.factory());
    return proxy;
  }
  [[nodiscard]] LinkHalf half(LinkHalf::Flow flow, std::uint64_t link, const std::string& peer,
                              const Queue& queue, std::uint32_t slot = 0) const {
    LinkHalf made;
    made.link = link;
    made.flow = flow;
    made.peer = peer;
    made.carrier = carrier_;
    made.descriptor = queue.open_descriptor().value();
    made.slot = slot;
    return made;
  }
  /// Joins two queues: what enters `from` in domain a leaves `to` in domain b.
  void join(const Queue& from, const Queue& to, std::uint64_t link = 1) {
    ASSERT_TRUE(a_->add_link(half(LinkHalf::Flow::kOutgoing, link, "b", from)));
    ASSERT_TRUE(b_->add_link(half(LinkHalf::Flow::kIncoming, link, "a", to)));
  }
  static Queue make(QueueSpec spec = {}) { return Queue::create_in_memory(spec, "proxy-test").value(); }
  static std::string get(Consumer& consumer) {
    MessageView view;
    switch (consumer.take(view, 20s).value()) {
      case Outcome::kDone:
        break;
      case Outcome::kEndOfStream:
        return "<end>";
      case Outcome::kPeerDead:
        return "<dead>";
      default:
        return "<timeout>";
    }
    std::string text(reinterpret_cast<const char*>(view.data.data()), view.data.size());
    EXPECT_TRUE(consumer.release(view));
    return text;
  }
  /// Somebody who connects to where `b` listens.
  [[nodiscard]] UniqueFd connect_stranger() const {
    UniqueFd socket(::socket(GetParam().local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in inet{};
    inet.sin_family = AF_INET;
    inet.sin_port = htons(port_);
    inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    address_.copy(local.sun_path + 1, sizeof local.sun_path - 1, 1);
    const int done =
        GetParam().local
            ? ::connect(socket.get(), reinterpret_cast<sockaddr*>(&local),
                        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size()))
            : ::connect(socket.get(), reinterpret_cast<sockaddr*>(&inet), sizeof inet);
    EXPECT_EQ(done, 0);
    return socket;
  }

  const Carrier carrier_ = GetParam().carrier;
  const std::string address_ = GetParam().local ? "@mvm-proxy-test-" + random_hex(8) : "127.0.0.1";
  StreamFactory streams_;
  UniqueFd region_;
  std::unique_ptr<Proxy> a_;
  std::unique_ptr<Proxy> b_;
  std::uint16_t port_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Ways, ProxyTest,
                         ::testing::Values(Way{"tcp", Carrier::kPlain, false},
                                           Way{"local", Carrier::kPlain, true},
                                           Way{"ivshmem", Carrier::kRegion, false},
                                           Way{"posix_mq", Carrier::kPosixMq, true},
                                           Way{"boost_mq", Carrier::kBoostMq, true}),
                         [](const auto& one) { return one.param.name; });

/// Puts `count` stamped messages of mixed sizes.
void produce(Producer& producer, std::uint64_t count, std::size_t most) {
  std::mt19937 random(1);
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto message = test::make_message(0, i, test::some_size(random, most));
    ASSERT_EQ(producer.put(std::as_bytes(std::span(message)), 30s).value(), Outcome::kDone) << i;
  }
  ASSERT_TRUE(producer.close(EndState::kDone));
}

/// Reads to the end; everything in order, nothing torn. How many there were.
std::uint64_t consume(Consumer& consumer) {
  for (std::uint64_t i = 0;; ++i) {
    MessageView view;
    const Outcome outcome = consumer.take(view, 30s).value();
    if (outcome == Outcome::kEndOfStream) return i;
    test::Stamp stamp;
    if (outcome != Outcome::kDone || !test::check_message(view.data.data(), view.data.size(), stamp) ||
        stamp.number != i || !consumer.release(view)) {
      ADD_FAILURE() << "at message " << i << " outcome " << static_cast<int>(outcome) << " number "
                    << stamp.number;
      return i;
    }
  }
}

TEST_P(ProxyTest, CarriesMessagesAndTheEnd) {
  Queue from = make();
  Queue to = make();
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  std::thread writer([&] { produce(producer, 20000, 30000); });
  EXPECT_EQ(consume(consumer), 20000U);
  writer.join();
  EXPECT_TRUE(eventually([&] { return a_->links()[0].messages == 20000 && a_->links()[0].ended; }));
  EXPECT_EQ(b_->links()[0].messages, 20000U);
  EXPECT_EQ(b_->links()[0].duplicates, 0U);
  EXPECT_EQ(from.stats().dequeued, 20000U);
  EXPECT_EQ(to.stats().enqueued, 20000U);
}

TEST_P(ProxyTest, ALoneMessageArrivesAtOnceAndBothWays) {
  Queue there_a = make();
  Queue there_b = make();
  Queue back_b = make();
  Queue back_a = make();
  join(there_a, there_b, 1);
  ASSERT_TRUE(b_->add_link(half(LinkHalf::Flow::kOutgoing, 1, "a", back_b)));
  ASSERT_TRUE(a_->add_link(half(LinkHalf::Flow::kIncoming, 1, "b", back_a)));
  Producer ask = there_a.producer(0).value();
  Consumer hear = there_b.consumer(0).value();
  Producer answer = back_b.producer(0).value();
  Consumer listen = back_a.consumer(0).value();
  for (int i = 0; i < 200; ++i) {
    const std::string text = i == 0 ? "" : "ping " + std::to_string(i);
    ASSERT_EQ(ask.try_put(bytes_of(text)).value(), Outcome::kDone);
    ASSERT_EQ(get(hear), text);
    ASSERT_EQ(answer.try_put(bytes_of("pong")).value(), Outcome::kDone);
    ASSERT_EQ(get(listen), "pong");
    if (i % 50 == 49) std::this_thread::sleep_for(5ms);  // lets the proxies fall asleep
  }
}

TEST_P(ProxyTest, ACutConnectionIsResumedExactlyOnce) {
  Queue from = make({.bytes = 262144});
  Queue to = make({.bytes = 65536});
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  std::atomic<bool> cut_enough{false};
  std::atomic<std::uint64_t> sent{0};
  std::thread writer([&] {
    std::mt19937 random(1);
    while (!cut_enough || sent < 30000) {
      const auto message = test::make_message(0, sent, test::some_size(random, 20000));
      ASSERT_EQ(producer.put(std::as_bytes(std::span(message)), 30s).value(), Outcome::kDone);
      ++sent;
    }
    ASSERT_TRUE(producer.close(EndState::kDone));
  });
  std::thread cutter([&] {
    for (std::uint64_t i = 0; i < 50; ++i) {
      // The connection after the last cut is up, and carries messages.
      EXPECT_TRUE(eventually([&] { return a_->peers()[0].connections > i && a_->peers()[0].connected; }));
      const std::uint64_t before = to.stats().enqueued;
      EXPECT_TRUE(eventually([&] { return to.stats().enqueued > before + 100; }));
      EXPECT_TRUE((i % 2 == 0 ? *a_ : *b_).disconnect(i % 2 == 0 ? "b" : "a", carrier_));
    }
    cut_enough = true;
  });
  const std::uint64_t received = consume(consumer);
  writer.join();
  cutter.join();
  EXPECT_EQ(received, sent);
  EXPECT_TRUE(eventually([&] { return a_->links()[0].ended; }));
  EXPECT_EQ(to.stats().enqueued, sent);
  EXPECT_EQ(a_->links()[0].messages, sent);
  EXPECT_GE(a_->peers()[0].connections, 50U);
  std::printf("%llu connections, %llu messages sent again, %llu thrown away as duplicates\n",
              static_cast<unsigned long long>(a_->peers()[0].connections),
              static_cast<unsigned long long>(a_->links()[0].resent),
              static_cast<unsigned long long>(b_->links()[0].duplicates));
}

TEST_P(ProxyTest, AProxyThatIsReplacedGoesOnWhereTheOldOneWas) {
  Queue from = make();
  Queue to = make();
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  std::atomic<bool> replaced{false};
  std::atomic<std::uint64_t> sent{0};
  std::thread writer([&] {
    while (!replaced) {
      const auto message = test::make_message(0, sent, 16 + sent % 3000);
      ASSERT_EQ(producer.put(std::as_bytes(std::span(message)), 30s).value(), Outcome::kDone);
      ++sent;
    }
    ASSERT_TRUE(producer.close(EndState::kDone));
  });
  std::thread replacer([&] {
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t before = to.stats().enqueued;
      EXPECT_TRUE(eventually([&] { return to.stats().enqueued > before + 500; }));
      if (i % 2 == 0) {
        a_ = start("a");
        EXPECT_TRUE(a_->add_peer("b", address_, port_, carrier_));
        EXPECT_TRUE(a_->add_link(half(LinkHalf::Flow::kOutgoing, 1, "b", from)));
      } else {
        b_.reset();
        b_ = start("b");
        EXPECT_EQ(b_->listen(address_, port_, carrier_).value(), port_);
        EXPECT_TRUE(b_->add_peer("a", "", 0, carrier_));
        EXPECT_TRUE(b_->add_link(half(LinkHalf::Flow::kIncoming, 1, "a", to)));
      }
    }
    replaced = true;
  });
  const std::uint64_t received = consume(consumer);
  writer.join();
  replacer.join();
  EXPECT_EQ(received, sent);
  EXPECT_EQ(to.stats().enqueued, sent);
}

TEST_P(ProxyTest, AFullQueueThereHoldsTheProducerHere) {
  Queue from = make({.capacity = 8, .bytes = 4096});
  Queue to = make({.capacity = 4, .bytes = 4096});
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  std::uint64_t sent = 0;
  const std::string kilobyte(1000, 'x');
  while (producer.put(bytes_of(kilobyte), 300ms).value() == Outcome::kDone) ++sent;
  EXPECT_LE(sent, 20U) << "two queues of four kilobytes and one window between";
  EXPECT_GE(sent, 6U);
  ASSERT_EQ(get(consumer), kilobyte);
  EXPECT_EQ(producer.put(bytes_of(kilobyte), 20s).value(), Outcome::kDone) << "room there makes room here";
}

TEST_P(ProxyTest, ADeathHereIsLearntThere) {
  Queue from = make();
  Queue to = make();
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  ASSERT_EQ(producer.try_put(bytes_of("last words")).value(), Outcome::kDone);
  ASSERT_TRUE(from.close_end({Side::kProducer, 0}, EndState::kDead));
  EXPECT_EQ(get(consumer), "last words");
  EXPECT_EQ(get(consumer), "<dead>");
}

TEST_P(ProxyTest, WhoStopsReadingThereIsLearntHere) {
  for (const EndState how : {EndState::kDone, EndState::kDead}) {
    Queue from = make();
    Queue to = make();
    join(from, to, how == EndState::kDone ? 5 : 6);
    Producer producer = from.producer(0).value();
    ASSERT_TRUE(to.close_end({Side::kConsumer, 0}, how));
    EXPECT_TRUE(eventually([&] { return from.end_states(Side::kConsumer)[0] == how; }))
        << "without a single message being sent";
    EXPECT_EQ(producer.try_put(bytes_of("x")).value(),
              how == EndState::kDone ? Outcome::kEndOfStream : Outcome::kPeerDead);
  }
}

TEST_P(ProxyTest, PrioritiesArriveAndKeysToo) {
  QueueSpec spec;
  spec.kind = QueueKind::kPriority;
  Queue from = make(spec);
  Queue to = make(spec);
  Producer producer = from.producer(0).value();
  for (std::uint32_t i = 0; i < 10; ++i) {
    ASSERT_EQ(producer.try_put(bytes_of(std::to_string(i)), i, 100 + i).value(), Outcome::kDone);
  }
  join(from, to);
  ASSERT_TRUE(eventually([&] { return to.stats().depth == 10; }));
  Consumer consumer = to.consumer(0).value();
  for (std::uint32_t i = 10; i-- > 0;) {
    MessageView view;
    ASSERT_EQ(consumer.take(view, 10s).value(), Outcome::kDone);
    EXPECT_EQ(view.priority, i);
    EXPECT_EQ(view.key, 100 + i);
    ASSERT_TRUE(consumer.release(view));
  }
}

TEST_P(ProxyTest, ShortMessagesKeepTheirPlaceAmongOthers) {
  Queue from = make({.bytes = 262144});
  Queue to = make({.capacity = 64, .bytes = 8192});  // the short ones wait for room, too
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  // What a frame of several takes and what it does not, side by side.
  const std::array<std::size_t, 9> sizes = {0, 1, 8, 8, 1024, 1025, 0, 4000, 7};
  const auto text = [&](std::size_t i) {
    return std::string(sizes.at(i % sizes.size()), static_cast<char>('a' + i % 26));
  };
  constexpr std::size_t kCount = 20000;
  std::thread writer([&] {
    for (std::size_t i = 0; i < kCount; ++i)
      ASSERT_EQ(producer.put(bytes_of(text(i)), 30s).value(), Outcome::kDone);
    ASSERT_TRUE(producer.close(EndState::kDone));
  });
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < kCount; ++i) wrong += get(consumer) == text(i) ? 0U : 1U;
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(get(consumer), "<end>");
  writer.join();
  EXPECT_EQ(b_->links()[0].messages, kCount);
}

TEST_P(ProxyTest, ConsumersCompeteAcrossDomains) {
  // One consumer here, two there; the proxy takes the second slot and may hold little.
  Queue from = make({.capacity = 16, .consumers = 2});
  Queue to = make({.capacity = 4, .consumers = 2});
  ASSERT_TRUE(a_->add_link(half(LinkHalf::Flow::kOutgoing, 1, "b", from, 1)));
  LinkHalf there = half(LinkHalf::Flow::kIncoming, 1, "a", to);
  there.window = 200;
  ASSERT_TRUE(b_->add_link(std::move(there)));
  Producer producer = from.producer(0).value();
  std::vector<Consumer> consumers;
  consumers.push_back(from.consumer(0).value());
  consumers.push_back(to.consumer(0).value());
  consumers.push_back(to.consumer(1).value());
  std::vector<std::vector<std::string>> got(3);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (std::string text; (text = get(consumers[i])) != "<end>";) {
        ASSERT_NE(text, "<timeout>");
        got[i].push_back(text);
        std::this_thread::sleep_for(100us);
      }
    });
  }
  for (int i = 0; i < 2000; ++i)
    ASSERT_EQ(producer.put(bytes_of(std::to_string(i)), 20s).value(), Outcome::kDone);
  ASSERT_TRUE(producer.close(EndState::kDone));
  for (auto& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& one : got) all.insert(one.begin(), one.end());
  EXPECT_EQ(all.size(), 2000U);
  EXPECT_EQ(got[0].size() + got[1].size() + got[2].size(), 2000U);
  for (const auto& one : got) EXPECT_FALSE(one.empty());
}

TEST_P(ProxyTest, ManyLinksShareOneConnection) {
  constexpr std::uint64_t kLinks = 200;
  std::vector<Queue> from;
  std::vector<Queue> to;
  for (std::uint64_t i = 0; i < kLinks; ++i) {
    from.push_back(make({.capacity = 16, .bytes = 4096}));
    to.push_back(make({.capacity = 16, .bytes = 4096}));
    join(from.back(), to.back(), i);
  }
  std::vector<Producer> producers;
  std::vector<Consumer> consumers;
  for (std::uint64_t i = 0; i < kLinks; ++i) {
    producers.push_back(from[i].producer(0).value());
    consumers.push_back(to[i].consumer(0).value());
  }
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t i = 0; i < kLinks; ++i) {
      ASSERT_EQ(producers[i].put(bytes_of(std::to_string(i)), 20s).value(), Outcome::kDone);
    }
    for (std::uint64_t i = 0; i < kLinks; ++i) ASSERT_EQ(get(consumers[i]), std::to_string(i));
    std::this_thread::sleep_for(2ms);  // asleep, the proxies must be woken by the last link as by the first
  }
  EXPECT_EQ(a_->peers()[0].connections, 1U);
  for (std::uint64_t i = 0; i < kLinks; ++i) {
    ASSERT_TRUE(a_->remove_link(i, LinkHalf::Flow::kOutgoing, "b", carrier_));
    ASSERT_TRUE(b_->remove_link(i, LinkHalf::Flow::kIncoming, "a", carrier_));
  }
  EXPECT_TRUE(a_->remove_peer("b", carrier_));
}

TEST_P(ProxyTest, HalfOfAQueueGoesThroughInOnePiece) {
  Queue from = make({.bytes = 65536});
  Queue to = make({.bytes = 65536});
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  const std::string half_of_it(32768, 'h');
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(producer.put(bytes_of(half_of_it), 20s).value(), Outcome::kDone);
    ASSERT_EQ(get(consumer), half_of_it);
  }
}

TEST_P(ProxyTest, MessagesLargerThanTheQueuesAreStreamedThrough) {
  test::Node node;
  const auto from = node.add_queue({.bytes = 65536});
  const auto to = node.add_queue({.bytes = 32768});
  join(node.queue(from), node.queue(to));
  auto& writer =
      node.start({kWorker, "big", "3000000", "4"}, test::wiring("p", {test::out_port("out", {{from, 0}})}));
  auto& reader = node.start({kWorker, "consume"}, test::wiring("c", {test::in_port("in", {{to, 0}})}));
  EXPECT_TRUE(node.finish(writer).success()) << writer.text;
  EXPECT_TRUE(node.finish(reader).success()) << reader.text;
  EXPECT_EQ(reader.text, "0:0\n0:1\n0:2\n0:3\n");
}

TEST_P(ProxyTest, AMessageTooBigForTheOtherQueueEndsTheLinkAsDead) {
  Queue from = make({.bytes = 65536});
  Queue to = make({.bytes = 4096});
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  ASSERT_EQ(producer.put(bytes_of(std::string(30000, 'x')), 5s).value(), Outcome::kDone);
  EXPECT_EQ(get(consumer), "<dead>");
  EXPECT_TRUE(eventually([&] { return from.end_states(Side::kConsumer)[0] == EndState::kDead; }));
  EXPECT_EQ(b_->links()[0].undeliverable, 1U);
}

TEST_P(ProxyTest, WhoDoesNotKnowTheSecretIsRefused) {
  auto stranger = start("a", "another secret of the same length");
  a_.reset();
  ASSERT_TRUE(stranger->add_peer("b", address_, port_, carrier_));
  EXPECT_TRUE(eventually([&] { return b_->peers()[0].refused > 0; }));
  EXPECT_FALSE(stranger->peers()[0].connected);
  EXPECT_EQ(stranger->peers()[0].connections, 0U);
}

TEST_P(ProxyTest, GarbageOnThePortHarmsNobody) {
  Queue from = make();
  Queue to = make();
  join(from, to);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  std::mt19937 random(3);
  std::vector<UniqueFd> idle;
  for (int i = 0; i < 150; ++i) {
    UniqueFd fd = connect_stranger();
    std::string garbage(random() % 3000, '\0');
    for (char& letter : garbage) letter = static_cast<char>(i % 3 == 0 ? random() % 4 : random());
    if (!garbage.empty()) static_cast<void>(::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL));
    if (i % 2 == 0) {
      idle.push_back(std::move(fd));  // stays, and says nothing more
    }
    if (i % 10 == 0) {
      ASSERT_EQ(producer.put(bytes_of(std::to_string(i)), 20s).value(), Outcome::kDone);
      ASSERT_EQ(get(consumer), std::to_string(i));
    }
  }
  idle.clear();
  EXPECT_EQ(a_->peers()[0].connections, 1U);
}

TEST_P(ProxyTest, WrongUseIsRefused) {
  Queue queue = make();
  EXPECT_EQ(a_->add_link(half(LinkHalf::Flow::kOutgoing, 1, "nobody", queue)).error().code(),
            ErrorCode::kNotFound);
  ASSERT_TRUE(a_->add_link(half(LinkHalf::Flow::kOutgoing, 1, "b", queue)));
  EXPECT_EQ(a_->add_link(half(LinkHalf::Flow::kOutgoing, 1, "b", queue)).error().code(), ErrorCode::kExists);
  EXPECT_EQ(a_->add_link(half(LinkHalf::Flow::kOutgoing, 2, "b", queue)).error().code(),
            ErrorCode::kConflict);
  EXPECT_EQ(a_->add_link(half(LinkHalf::Flow::kIncoming, 2, "b", queue, 7)).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(a_->remove_peer("b", carrier_).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(a_->add_peer("c", "not an address", 1).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(a_->add_peer("c", "@" + std::string(200, 'x')).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(a_->listen("127.0.0.1", 0, Carrier::kSecure).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(a_->add_peer("a").error().code(), ErrorCode::kInvalid);
  EXPECT_FALSE(Proxy::start({.domain = "x", .secret = "short"}));
}

}  // namespace
}  // namespace mvm::queuevm
