// How a proxy moves bytes: lent ones out of a queue's memory, long messages straight into one, however the
// stream cuts them.
#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "mvm/base/log.h"
#include "mvm/queuevm/proxy.h"
#include "out_bytes.h"
#include "queuevm/content.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;

template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// ---- OutBytes ----

/// Takes a few bytes at a time, and now and then none.
class Reluctant final : public ByteStream {
 public:
  explicit Reluctant(unsigned seed) : random_(seed) {}
  Result<std::size_t> read(std::span<std::byte>) override { return std::size_t{0}; }
  Result<std::size_t> write(std::span<const std::byte> bytes) override {
    return write_pieces(std::span(&bytes, 1));
  }
  Result<std::size_t> write_pieces(std::span<const std::span<const std::byte>> pieces) override {
    std::size_t left = random_() % 4 == 0 ? 0 : random_() % 30000;
    std::size_t total = 0;
    for (const auto& piece : pieces) {
      EXPECT_FALSE(piece.empty());
      const auto now = piece.first(std::min(left, piece.size()));
      taken.insert(taken.end(), now.begin(), now.end());
      total += now.size();
      left -= now.size();
    }
    return total;
  }
  [[nodiscard]] int fd() const override { return -1; }
  std::vector<std::byte> taken;

 private:
  std::mt19937 random_;
};

std::vector<std::byte> noise(std::mt19937& random, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

TEST(OutBytes, KeepTheirOrderAndOutliveWhatWasLent) {
  std::mt19937 random(7);
  Reluctant stream(8);
  link::OutBytes out;
  std::vector<std::byte> all;
  for (int round = 0; round < 400; ++round) {
    std::vector<std::vector<std::byte>> lent;
    for (auto i = random() % 100; i > 0; --i) {  // more than one writing gathers
      const auto bytes = noise(random, random() % 3 == 0 ? random() % 9000 : random() % 60);
      all.insert(all.end(), bytes.begin(), bytes.end());
      if (random() % 3 == 0) {
        out.tail().append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      } else {
        lent.push_back(bytes);
        out.lend(lent.back());
      }
    }
    ASSERT_EQ(out.size(), all.size() - stream.taken.size());
    ASSERT_TRUE(out.write(stream));
    for (auto& bytes : lent) std::fill(bytes.begin(), bytes.end(), std::byte{0});
  }
  while (out.size() > 0) ASSERT_TRUE(out.write(stream));
  EXPECT_TRUE(stream.taken == all);
}

// ---- proxies over streams that cut anywhere ----

/// Moves at most so many bytes at a time, in small and large steps; stops reading where told.
class Choppy final : public ByteStream {
 public:
  Choppy(std::unique_ptr<ByteStream> inner, std::shared_ptr<std::atomic<std::uint64_t>> may_read)
      : inner_(std::move(inner)), may_read_(std::move(may_read)) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    const std::uint64_t most = std::min<std::uint64_t>(some(), may_read_->load());
    if (most == 0) return std::size_t{0};
    auto got = inner_->read(buffer.first(std::min<std::size_t>(buffer.size(), most)));
    if (got) may_read_->fetch_sub(*got);
    return got;
  }
  Result<std::size_t> write(std::span<const std::byte> bytes) override {
    return inner_->write(bytes.first(std::min(bytes.size(), some())));
  }
  [[nodiscard]] int fd() const override { return inner_->fd(); }

 private:
  std::size_t some() {
    const auto roll = random_() % 3;
    return roll == 0 ? 1 + random_() % 100 : 1 + random_() % (roll == 1 ? 5000 : 200000);
  }
  std::unique_ptr<ByteStream> inner_;
  std::shared_ptr<std::atomic<std::uint64_t>> may_read_;
  std::mt19937 random_{3};
};

class ChoppyProxyTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { log::start("proxy-bytes-test", log::Level::kError, ""); }
  void SetUp() override {
    a_ = start("a", std::make_shared<std::atomic<std::uint64_t>>(~std::uint64_t{0} >> 1));
    b_ = start("b", b_may_read_);
    const std::uint16_t port = b_->listen("127.0.0.1", 0).value();
    ASSERT_TRUE(a_->add_peer("b", "127.0.0.1", port));
    ASSERT_TRUE(b_->add_peer("a"));
  }
  static std::unique_ptr<Proxy> start(const std::string& domain,
                                      const std::shared_ptr<std::atomic<std::uint64_t>>& may_read) {
    Proxy::Options options;
    options.domain = domain;
    options.secret = "0123456789abcdef0123";
    options.redial = 2ms;
    options.stream = [may_read](UniqueFd socket, bool dialled) -> std::unique_ptr<ByteStream> {
      return std::make_unique<Choppy>(make_tcp_stream(std::move(socket), dialled), may_read);
    };
    return Proxy::start(std::move(options)).value();
  }
  static Queue make(QueueSpec spec) { return Queue::create_in_memory(spec, "bytes-test").value(); }
  static LinkHalf half(LinkHalf::Flow flow, std::uint64_t link, const std::string& peer, const Queue& queue) {
    LinkHalf made;
    made.link = link;
    made.flow = flow;
    made.peer = peer;
    made.descriptor = queue.open_descriptor().value();
    return made;
  }
  void join(const Queue& from, const Queue& to, std::uint64_t link) {
    ASSERT_TRUE(a_->add_link(half(LinkHalf::Flow::kOutgoing, link, "b", from)));
    ASSERT_TRUE(b_->add_link(half(LinkHalf::Flow::kIncoming, link, "a", to)));
  }
  static void put(Producer& producer, std::uint64_t number, std::size_t size) {
    const auto message = test::make_message(0, number, size);
    ASSERT_EQ(producer.put(std::as_bytes(std::span(message)), 30s).value(), Outcome::kDone);
  }
  /// The next message's number; it is whole.
  static std::uint64_t get(Consumer& consumer) {
    MessageView view;
    test::Stamp stamp;
    EXPECT_EQ(consumer.take(view, 30s).value(), Outcome::kDone);
    EXPECT_TRUE(test::check_message(view.data.data(), view.data.size(), stamp)) << stamp.number;
    EXPECT_TRUE(consumer.release(view));
    return stamp.number;
  }
  std::shared_ptr<std::atomic<std::uint64_t>> b_may_read_ =
      std::make_shared<std::atomic<std::uint64_t>>(~std::uint64_t{0} >> 1);
  std::unique_ptr<Proxy> a_;
  std::unique_ptr<Proxy> b_;
};

TEST_F(ChoppyProxyTest, LongMessagesArriveWholeHoweverTheyAreCutAndTheConnectionToo) {
  Queue from = make({.bytes = 1 << 20});
  Queue to = make({.bytes = 1 << 20});
  join(from, to, 1);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  constexpr std::uint64_t kMessages = 1500;
  std::thread writer([&] {
    std::mt19937 random(1);
    for (std::uint64_t i = 0; i < kMessages; ++i) put(producer, i, test::some_size(random, 400000));
  });
  std::atomic<bool> done{false};
  std::thread cutter([&] {
    for (int i = 0; !done; ++i) {
      const std::uint64_t before = to.stats().enqueued;
      EXPECT_TRUE(eventually([&] { return done || to.stats().enqueued > before + 40; }));
      static_cast<void>((i % 2 == 0 ? *a_ : *b_).disconnect(i % 2 == 0 ? "b" : "a"));
    }
  });
  for (std::uint64_t i = 0; i < kMessages; ++i) ASSERT_EQ(get(consumer), i);
  done = true;
  writer.join();
  cutter.join();
  EXPECT_EQ(to.stats().enqueued, kMessages);
  EXPECT_GE(a_->peers()[0].connections, 10U);
}

TEST_F(ChoppyProxyTest, ALinkThatIsTakenAwayInTheMiddleOfAMessageHarmsNoOther) {
  Queue from = make({.bytes = 1 << 20});
  Queue to = make({.bytes = 1 << 20});
  Queue other_from = make({});
  Queue other_to = make({});
  join(from, to, 1);
  join(other_from, other_to, 2);
  Producer producer = from.producer(0).value();
  Producer other = other_from.producer(0).value();
  Consumer other_consumer = other_to.consumer(0).value();
  put(other, 0, 100);
  EXPECT_EQ(get(other_consumer), 0U);
  b_may_read_->store(40000);
  put(producer, 0, 400000);
  ASSERT_TRUE(eventually([&] { return b_may_read_->load() == 0; }));
  ASSERT_TRUE(b_->remove_link(1, LinkHalf::Flow::kIncoming, "a"));
  put(other, 1, 100);
  b_may_read_->store(~std::uint64_t{0} >> 1);
  EXPECT_EQ(get(other_consumer), 1U);
  EXPECT_EQ(a_->peers()[0].connections, 1U);
  EXPECT_EQ(to.stats().enqueued, 0U);
  // It comes again to whoever takes its place.
  ASSERT_TRUE(b_->add_link(half(LinkHalf::Flow::kIncoming, 1, "a", to)));
  Consumer consumer = to.consumer(0).value();
  EXPECT_EQ(get(consumer), 0U);
}

TEST_F(ChoppyProxyTest, AReaderThatLeavesInTheMiddleOfAMessageIsLearntThere) {
  Queue from = make({.bytes = 1 << 20});
  Queue to = make({.bytes = 1 << 20});
  join(from, to, 1);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  ASSERT_TRUE(eventually([&] { return a_->links()[0].connected; }));
  b_may_read_->store(40000);
  put(producer, 0, 400000);
  ASSERT_TRUE(eventually([&] { return b_may_read_->load() == 0; }));
  ASSERT_TRUE(consumer.close(EndState::kDone));
  ASSERT_TRUE(eventually([&] { return b_->links()[0].ended; }));
  b_may_read_->store(~std::uint64_t{0} >> 1);
  EXPECT_TRUE(eventually([&] { return a_->links()[0].ended; }));
  const auto message = test::make_message(0, 1, 100);
  EXPECT_EQ(producer.put(std::as_bytes(std::span(message)), 30s).value(), Outcome::kEndOfStream);
  EXPECT_EQ(a_->peers()[0].connections, 1U);
}

}  // namespace
}  // namespace mvm::queuevm
