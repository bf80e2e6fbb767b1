// Two domains whose link encodes: what is on the cable, what arrives, and what happens to hostile bytes.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "mvm/base/log.h"
#include "mvm/queuevm/codecs/builtin.h"
#include "mvm/queuevm/proxy.h"
#include "queuevm/content.h"
#include "queuevm/node.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const std::string kSecret = "0123456789abcdef0123";
const std::string kKey(kCodecKeySize, 'k');

/// A stream that shows and may change what is written to it.
class Tapped final : public ByteStream {
 public:
  using Tap = std::function<void(std::span<std::byte>)>;
  Tapped(std::unique_ptr<ByteStream> inner, Tap tap) : inner_(std::move(inner)), tap_(std::move(tap)) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override { return inner_->read(buffer); }
  Result<std::size_t> write(std::span<const std::byte> bytes) override {
    std::vector<std::byte> changed(bytes.begin(), bytes.end());
    tap_(changed);
    return inner_->write(changed);
  }
  [[nodiscard]] int fd() const override { return inner_->fd(); }
  [[nodiscard]] bool wants_write() const override { return inner_->wants_write(); }
  [[nodiscard]] bool ready() const override { return inner_->ready(); }

 private:
  std::unique_ptr<ByteStream> inner_;
  Tap tap_;
};

bool contains(std::span<const std::byte> bytes, std::string_view text) {
  const auto wanted = std::as_bytes(std::span<const char>(text));
  return std::search(bytes.begin(), bytes.end(), wanted.begin(), wanted.end()) != bytes.end();
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

class ProxyCodecTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { log::start("proxy-codec-test", log::Level::kError, "/dev/null"); }
  void SetUp() override {
    a_ = start("a");
    b_ = start("b");
    const std::uint16_t port = b_->listen("127.0.0.1", 0).value();
    ASSERT_TRUE(a_->add_peer("b", "127.0.0.1", port));
    ASSERT_TRUE(b_->add_peer("a"));
  }
  std::unique_ptr<Proxy> start(const std::string& domain) {
    Proxy::Options options;
    options.domain = domain;
    options.secret = kSecret;
    options.redial = 2ms;
    options.codecs = codecs::builtin();
    options.on_failure = [this, domain](const LinkFailure& failure) {
      const std::lock_guard lock(mutex_);
      told_.push_back(domain + " of " + failure.peer + ": " + failure.codecs + " at " +
                      std::to_string(failure.message) + ": " + failure.why);
    };
    if (domain == "a")
      options.stream = [this](UniqueFd socket, bool dialled) -> std::unique_ptr<ByteStream> {
        return std::make_unique<Tapped>(make_tcp_stream(std::move(socket), dialled),
                                        [this](std::span<std::byte> bytes) { tap(bytes); });
      };
    return Proxy::start(std::move(options)).value();
  }
  /// On a's thread.
  void tap(std::span<std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    sent_ += bytes.size();
    plain_ = plain_ || contains(bytes, "MARKER");
    if (change_ && bytes.size() > 60) change_(bytes);
  }
  static Queue make(QueueSpec spec = {}) { return Queue::create_in_memory(spec, "codec-test").value(); }
  Status add(Proxy& proxy, LinkHalf::Flow flow, const std::string& peer, const Queue& queue,
             std::vector<std::string> specs, std::uint64_t link = 1) {
    LinkHalf half;
    half.link = link;
    half.flow = flow;
    half.peer = peer;
    half.descriptor = queue.open_descriptor().value();
    half.codecs = std::move(specs);
    half.key = kKey;
    return proxy.add_link(std::move(half));
  }
  void join(const Queue& from, const Queue& to, const std::vector<std::string>& specs,
            std::uint64_t link = 1) {
    ASSERT_TRUE(add(*a_, LinkHalf::Flow::kOutgoing, "b", from, specs, link));
    ASSERT_TRUE(add(*b_, LinkHalf::Flow::kIncoming, "a", to, specs, link));
  }
  std::vector<std::string> told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  std::mutex mutex_;
  std::vector<std::string> told_;
  std::uint64_t sent_ = 0;
  bool plain_ = false;
  std::function<void(std::span<std::byte>)> change_;
  std::unique_ptr<Proxy> a_;
  std::unique_ptr<Proxy> b_;
};

/// Sends stamped messages of mixed sizes while connections break, and has every one arrive once and in order.
class ProxyCodecChains : public ProxyCodecTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(ProxyCodecChains, CarryEverythingOnceAcrossCuts) {
  std::vector<std::string> specs;
  std::istringstream words(GetParam());
  for (std::string word; words >> word;) specs.push_back(word);
  Queue from = make({.bytes = 262144});
  Queue to = make({.bytes = 131072});
  join(from, to, specs);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  constexpr std::uint64_t kMessages = 6000;
  std::thread writer([&] {
    std::mt19937 random(1);
    for (std::uint64_t i = 0; i < kMessages; ++i) {
      const auto message = test::make_message(0, i, test::some_size(random, 20000));
      ASSERT_EQ(producer.put(std::as_bytes(std::span(message)), 30s).value(), Outcome::kDone);
    }
    ASSERT_TRUE(producer.close(EndState::kDone));
  });
  std::uint64_t received = 0;
  for (;; ++received) {
    MessageView view;
    const Outcome outcome = consumer.take(view, 30s).value();
    if (outcome == Outcome::kEndOfStream) break;
    test::Stamp stamp;
    const bool good = outcome == Outcome::kDone &&
                      test::check_message(view.data.data(), view.data.size(), stamp) &&
                      stamp.number == received;
    EXPECT_TRUE(good) << "message " << received;
    if (!good || !consumer.release(view)) break;
    if (received % 1000 == 500) {
      EXPECT_TRUE(a_->disconnect("b"));
    }
  }
  writer.join();
  EXPECT_EQ(received, kMessages);
  EXPECT_EQ(b_->links()[0].codecs, GetParam());
  EXPECT_EQ(b_->links()[0].failure, "");
}

INSTANTIATE_TEST_SUITE_P(All, ProxyCodecChains,
                         ::testing::Values("zstd", "checksum", "encrypt",
                                           "zstd:3 checksum encrypt:chacha20-poly1305"));

TEST_F(ProxyCodecTest, NothingPlainIsOnTheCable) {
  for (const std::uint64_t link : {1U, 2U}) {
    Queue from = make();
    Queue to = make();
    if (link == 1)
      join(from, to, {"zstd", "encrypt"}, link);
    else
      join(from, to, {}, link);
    Producer producer = from.producer(0).value();
    Consumer consumer = to.consumer(0).value();
    std::string text;
    while (text.size() < 100000) text += "MARKER of a secret. ";
    ASSERT_EQ(producer.try_put(bytes_of(text)).value(), Outcome::kDone);
    MessageView view;
    ASSERT_EQ(consumer.take(view, 20s).value(), Outcome::kDone);
    EXPECT_TRUE(std::equal(view.data.begin(), view.data.end(), bytes_of(text).begin(), bytes_of(text).end()));
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(plain_, link == 2) << "the second link has no codec, and shows that the tap sees";
    EXPECT_EQ(sent_ < 5000, link == 1) << "compressed before it was encrypted";
  }
}

TEST_F(ProxyCodecTest, TheLargestMessageArrivesThoughItsEncodingIsLonger) {
  Queue from = make({.bytes = 65536});
  Queue to = make({.bytes = 65536});
  join(from, to, {"zstd", "checksum"});
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  std::string noise(32768, ' ');
  std::mt19937 random(1);
  for (char& c : noise) c = static_cast<char>(random());
  ASSERT_EQ(producer.put(bytes_of(noise), 20s).value(), Outcome::kDone);
  MessageView view;
  ASSERT_EQ(consumer.take(view, 20s).value(), Outcome::kDone);
  EXPECT_TRUE(std::equal(view.data.begin(), view.data.end(), bytes_of(noise).begin(), bytes_of(noise).end()));
}

TEST_F(ProxyCodecTest, MessagesCutIntoFragmentsAreEncodedPartByPart) {
  test::Node node;
  const auto from = node.add_queue({.bytes = 65536});
  const auto to = node.add_queue({.bytes = 65536});
  join(node.queue(from), node.queue(to), {"zstd", "checksum", "encrypt"});
  const std::string worker = std::string(MVM_BINARY_DIR) + "/tests/queuevm_worker";
  auto& writer =
      node.start({worker, "big", "3000000", "4"}, test::wiring("p", {test::out_port("out", {{from, 0}})}));
  auto& reader = node.start({worker, "consume"}, test::wiring("c", {test::in_port("in", {{to, 0}})}));
  EXPECT_TRUE(node.finish(writer).success()) << writer.text;
  EXPECT_TRUE(node.finish(reader).success()) << reader.text;
  EXPECT_EQ(reader.text, "0:0\n0:1\n0:2\n0:3\n");
  EXPECT_EQ(b_->links()[0].messages, 4U);
  EXPECT_EQ(b_->links()[0].failure, "");
}

TEST_F(ProxyCodecTest, AChangedByteEndsTheLinkOnBothSidesAndNoOther) {
  Queue from = make();
  Queue to = make();
  Queue other_from = make();
  Queue other_to = make();
  join(from, to, {"checksum"}, 1);
  join(other_from, other_to, {"checksum"}, 2);
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  Producer other = other_from.producer(0).value();
  Consumer other_consumer = other_to.consumer(0).value();
  MessageView view;
  ASSERT_EQ(producer.try_put(bytes_of("first")).value(), Outcome::kDone);
  ASSERT_EQ(consumer.take(view, 20s).value(), Outcome::kDone);
  ASSERT_TRUE(consumer.release(view));
  {
    const std::lock_guard lock(mutex_);
    change_ = [this](std::span<std::byte> bytes) {
      const auto wanted = bytes_of("second message");
      const auto found = std::search(bytes.begin(), bytes.end(), wanted.begin(), wanted.end());
      if (found == bytes.end()) return;
      *found ^= std::byte{1};
      change_ = {};
    };
  }
  ASSERT_EQ(producer.try_put(bytes_of("second message, long enough to be seen")).value(), Outcome::kDone);
  EXPECT_EQ(consumer.take(view, 20s).value(), Outcome::kPeerDead) << "a torn message is never delivered";
  Outcome outcome = Outcome::kDone;
  for (int i = 0; i < 2000 && outcome != Outcome::kPeerDead; ++i) {
    outcome = producer.try_put(bytes_of("more")).value();
    if (outcome != Outcome::kPeerDead) std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(outcome, Outcome::kPeerDead) << "the producers learn it";
  EXPECT_THAT(b_->links()[0].failure, HasSubstr("changed on the way"));
  EXPECT_THAT(told(),
              ::testing::ElementsAre("b of a: checksum at 1: checksum: the bytes changed on the way"));
  ASSERT_EQ(other.try_put(bytes_of("unharmed")).value(), Outcome::kDone);
  EXPECT_EQ(other_consumer.take(view, 20s).value(), Outcome::kDone);
  EXPECT_TRUE(a_->peers()[0].connected);
}

TEST_F(ProxyCodecTest, EndsThatDisagreeFailClearly) {
  Queue from = make();
  Queue to = make();
  ASSERT_TRUE(add(*a_, LinkHalf::Flow::kOutgoing, "b", from, {"zstd"}));
  ASSERT_TRUE(add(*b_, LinkHalf::Flow::kIncoming, "a", to, {}));
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  ASSERT_EQ(producer.try_put(bytes_of("hello")).value(), Outcome::kDone);
  MessageView view;
  EXPECT_EQ(consumer.take(view, 20s).value(), Outcome::kPeerDead);
  EXPECT_THAT(b_->links()[0].failure, HasSubstr("another chain"));
}

TEST_F(ProxyCodecTest, WhatNeutralRefusesEndsTheLinkBehindWhatItLetPass) {
  Queue from = make();
  Queue to = make();
  join(from, to, {"neutral"});
  Producer producer = from.producer(0).value();
  Consumer consumer = to.consumer(0).value();
  const std::string typed("\x21\x07", 2);
  ASSERT_EQ(producer.try_put(bytes_of(typed)).value(), Outcome::kDone);
  ASSERT_EQ(producer.try_put(bytes_of("raw")).value(), Outcome::kDone);
  MessageView view;
  ASSERT_EQ(consumer.take(view, 20s).value(), Outcome::kDone);
  EXPECT_EQ(view.data.size(), 2U);
  ASSERT_TRUE(consumer.release(view));
  EXPECT_EQ(consumer.take(view, 20s).value(), Outcome::kPeerDead);
  Outcome outcome = Outcome::kDone;
  for (int i = 0; i < 2000 && outcome != Outcome::kPeerDead; ++i) {
    outcome = producer.try_put(bytes_of(typed)).value();
    if (outcome != Outcome::kPeerDead) std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(outcome, Outcome::kPeerDead);
  EXPECT_THAT(a_->links()[0].failure, HasSubstr("typed encoding"));
  EXPECT_THAT(told(), ::testing::ElementsAre(HasSubstr("a of b: neutral at 1: ")));
}

TEST_F(ProxyCodecTest, ALinkWithACodecThatIsNotHereIsRefused) {
  Queue from = make();
  const Status added = add(*a_, LinkHalf::Flow::kOutgoing, "b", from, {"zip"});
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(add(*a_, LinkHalf::Flow::kOutgoing, "b", from, {"zstd"})) << "the slot was left alone";
}

}  // namespace
}  // namespace mvm::queuevm
