// Wiring carried out by a real kernel between real processes that use libmvm.
#include "mvm/queuevm/queue.h"

#include "componentvm/kernel/node.h"
#include "mvm/queuevm/proxy.h"

namespace mvm::kernel {
namespace {

nlohmann::json queue_to_make(const std::string& id) {
  return {{"id", id},
          {"create",
           {{"link", 7},
            {"kind", "fifo"},
            {"capacity", 64},
            {"bytes", 65536},
            {"when_full", "block"},
            {"deliver", "one-of"},
            {"producers", 1},
            {"consumers", 1}}}};
}

nlohmann::json process(const std::string& role, const std::string& port, const std::string& direction,
                       const std::string& queue) {
  return {{"proc", "j.1/" + role},
          {"role", role},
          {"index", 0},
          {"count", 1},
          {"job", "j"},
          {"parameters", {{"color", "red"}}},
          {"ports",
           {{{"name", port},
             {"index", 0},
             {"direction", direction},
             {"deliver", "one-of"},
             {"ends", {{{"queue", queue}, {"link", 7}, {"slot", 0}}}}}}}};
}

class QueueTest : public testing::Test {
 protected:
  nlohmann::json steps(nlohmann::json queues) {
    return {{"attempt", "j.1"},
            {"generation", 1},
            {"queues", std::move(queues)},
            {"processes", {process("sender", "out", "out", "q"), process("receiver", "in", "in", "q")}},
            {"peers", nlohmann::json::array()},
            {"proxies", nlohmann::json::array()}};
  }
  void start(const std::string& role, const std::vector<std::string>& arguments) {
    if (tree_.empty())
      tree_ = node_.send_tree({{"job", *read_file(MVM_BINARY_DIR "/tests/port_job", 64 << 20)}});
    std::vector<std::string> argv{"./job"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    node_.must("proc.start", {{"proc", "j.1/" + role},
                              {"attempt", "j.1"},
                              {"job", "j"},
                              {"role", role},
                              {"argv", argv},
                              {"tree", tree_}});
  }
  /// The rings as a host makes them, handed over as a host does.
  void hand_over_ring() { hand_over_ring({{"j.1/sender", 1}, {"j.1/receiver", 1}, {"", 1}}); }
  /// By process: how many ends it has.
  void hand_over_ring(const std::vector<std::pair<std::string, std::uint64_t>>& ends) {
    queuevm::QueueSpec spec;
    spec.bytes = 65536;
    auto queue = queuevm::Queue::create(node_.folder / "ring", spec);
    ASSERT_TRUE(queue) << queue.error().describe();
    for (const auto& [proc, count] : ends) {
      for (std::uint64_t first = 0; first < count; ++first) {
        auto fd = queue->open_descriptor();
        ASSERT_TRUE(fd);
        auto given = node_.host->call("wire.queues",
                                      {{"attempt", "j.1"}, {"proc", proc}, {"first", first}, {"ids", {"q"}}},
                                      30s, {}, {fd->get()});
        ASSERT_TRUE(given) << given.error().describe();
      }
    }
  }
  void clean() {
    node_.must("attempt.clean", {{"attempt", "j.1"}});
    const std::lock_guard lock(node_.mutex);
    node_.seen.clear();
  }
  void expect_all(int count) {
    const Seen received = node_.wait_end("j.1/receiver");
    std::string expected = "j receiver[0] of 1, color red\n";
    for (int i = 0; i < count; ++i) expected += "message " + std::to_string(i) + "\n";
    EXPECT_EQ(received.output.at("out"), expected + "end\n");
    EXPECT_EQ(received.end->at("code"), 0);
  }
  Node node_;
  std::string tree_;
};

TEST_F(QueueTest, ProcessesTalkOverAQueueThatTheKernelMade) {
  node_.must("wire.apply", steps({queue_to_make("q")}));
  node_.must("wire.apply", steps({queue_to_make("q")}));  // may be repeated
  start("receiver", {"receive"});
  const auto waiting = [&] {
    return node_.must("wire.stats", {{"attempt", "j.1"}}).at("queues")[0].at("waiting");
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (waiting().at("consumers") == 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(waiting(), (nlohmann::json{{"producers", 0}, {"consumers", 1}}));
  start("sender", {"send", "500"});
  expect_all(500);
  const nlohmann::json stats = node_.must("wire.stats", {{"attempt", "j.1"}});
  ASSERT_EQ(stats.at("queues").size(), 1U);
  EXPECT_EQ(stats.at("queues")[0].at("enqueued"), 500);
  EXPECT_EQ(stats.at("queues")[0].at("depth"), 0);
}

/// A link of an attempt out of this node, and where it arrives.
struct Outgoing {
  std::string attempt;
  queuevm::Producer sent;
  queuevm::Consumer received;

  void expect_through(const std::string& text) {
    ASSERT_EQ(sent.put(std::as_bytes(std::span(text)), 20s).value(), queuevm::Outcome::kDone);
    queuevm::MessageView message;
    ASSERT_EQ(received.take(message, 20s).value(), queuevm::Outcome::kDone);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(message.data.data()), message.data.size()), text);
    ASSERT_TRUE(received.release(message));
  }
};

TEST_F(QueueTest, TheAttemptsOfANodeShareItsProxy) {
  const std::string secret = "a secret of the lab";
  auto host = queuevm::Proxy::start({.domain = "host:h", .secret = secret}).value();
  const std::uint16_t port = host->listen("127.0.0.1", 0).value();
  ASSERT_TRUE(host->add_peer("node:n"));
  std::uint64_t link = 0;
  const auto begin = [&](const std::string& attempt) {
    auto sent = queuevm::Queue::create(node_.folder / attempt, {}).value();
    auto received = queuevm::Queue::create_in_memory({}, attempt).value();
    const UniqueFd fd = sent.open_descriptor().value();
    auto given =
        node_.host->call("wire.queues", {{"attempt", attempt}, {"proc", ""}, {"first", 0}, {"ids", {"q"}}},
                         30s, {}, {fd.get()});
    EXPECT_TRUE(given) << given.error().describe();
    queuevm::LinkHalf half;
    half.link = ++link;
    half.flow = queuevm::LinkHalf::Flow::kIncoming;
    half.peer = "node:n";
    half.descriptor = received.open_descriptor().value();
    EXPECT_TRUE(host->add_link(std::move(half)));
    node_.must(
        "wire.apply",
        {{"attempt", attempt},
         {"generation", 1},
         {"domain", "node:n"},
         {"secret", secret},
         {"queues", {{{"id", "q"}}}},
         {"processes", nlohmann::json::array()},
         {"peers", {{{"name", "host:h"}, {"address", "127.0.0.1"}, {"port", port}}}},
         {"proxies", {{{"link", link}, {"flow", "out"}, {"peer", "host:h"}, {"queue", "q"}, {"slot", 0}}}}});
    return Outgoing{attempt, sent.producer(0).value(), received.consumer(0).value()};
  };
  Outgoing one = begin("j.1");
  one.expect_through("first");
  Outgoing two = begin("k.1");
  for (int i = 0; i < 20; ++i) {
    one.expect_through("one " + std::to_string(i));
    two.expect_through("two " + std::to_string(i));
  }
  node_.must("wire.clean", {{"attempt", "j.1"}});
  two.expect_through("still there");
  ASSERT_EQ(host->peers().size(), 1U);
  EXPECT_EQ(host->peers()[0].connections, 1U) << "the attempts took it from each other";
  node_.must("wire.clean", {{"attempt", "k.1"}});
  // The next one finds a proxy again.
  Outgoing three = begin("j.2");
  three.expect_through("third");
  EXPECT_EQ(host->peers()[0].connections, 2U);
  node_.must("wire.clean", {{"attempt", "j.2"}});
}

TEST_F(QueueTest, WhatWaitsIsDrained) {
  for (const bool of_host : {false, true}) {
    SCOPED_TRACE(of_host ? "ring of the host" : "queue of the kernel");
    if (of_host) hand_over_ring();
    node_.must("wire.apply", steps({of_host ? nlohmann::json{{"id", "q"}} : queue_to_make("q")}));
    start("sender", {"send", "20"});
    EXPECT_EQ(node_.wait_end("j.1/sender").end->at("code"), 0);
    const auto drain = [&](std::uint64_t count, std::uint64_t bytes) {
      return node_.call("wire.drain",
                        {{"attempt", "j.1"}, {"queue", "q"}, {"count", count}, {"bytes", bytes}});
    };
    const auto some = drain(3, 4);
    ASSERT_TRUE(some) << some.error().describe();
    EXPECT_EQ(some->blob, "messmessmess");
    EXPECT_EQ(some->result.at("drained"), 3);
    EXPECT_EQ(some->result.at("bytes"), 27);
    EXPECT_EQ(some->result.at("before"), 20);
    EXPECT_EQ(some->result.at("more"), true);
    EXPECT_EQ(some->result.at("pending"), false);
    EXPECT_EQ(some->result.at("messages")[2].at("n"), 2);
    const nlohmann::json stats = node_.must("wire.stats", {{"attempt", "j.1"}}).at("queues")[0];
    EXPECT_EQ(stats.at("depth"), 17);
    EXPECT_EQ(stats.at("drained"), 3);
    EXPECT_EQ(stats.at("dropped"), 3);
    EXPECT_EQ(node_.call("wire.drain", {{"attempt", "j.1"}, {"queue", "p"}}).error().code(),
              ErrorCode::kNotFound);
    clean();
  }
}

TEST_F(QueueTest, WhatWaitsIsSeenAndStays) {
  for (const bool of_host : {false, true}) {
    SCOPED_TRACE(of_host ? "ring of the host" : "queue of the kernel");
    if (of_host) hand_over_ring();
    node_.must("wire.apply", steps({of_host ? nlohmann::json{{"id", "q"}} : queue_to_make("q")}));
    start("sender", {"send", "20"});
    EXPECT_EQ(node_.wait_end("j.1/sender").end->at("code"), 0);
    const auto seen =
        node_.call("wire.peek", {{"attempt", "j.1"}, {"queue", "q"}, {"count", 3}, {"bytes", 4}});
    ASSERT_TRUE(seen) << seen.error().describe();
    EXPECT_EQ(seen->blob, "messmessmess");
    EXPECT_EQ(seen->result.at("depth"), 20);
    EXPECT_EQ(seen->result.at("steady"), true);
    ASSERT_EQ(seen->result.at("messages").size(), 3U);
    const auto& last = seen->result.at("messages")[2];
    EXPECT_EQ(last.at("n"), 2);
    EXPECT_EQ(last.at("size"), 9);
    EXPECT_EQ(last.at("length"), 4);
    EXPECT_GT(seen->result.at("messages")[0].at("age_ns"), 0);
    EXPECT_EQ(node_.call("wire.peek", {{"attempt", "j.1"}, {"queue", "p"}}).error().code(),
              ErrorCode::kNotFound);
    auto latency = [&] {
      return node_.must("wire.stats", {{"attempt", "j.1"}}).at("queues")[0].at("latency");
    };
    EXPECT_EQ(latency().at("samples"), 0);
    start("receiver", {"receive"});
    expect_all(20);
    EXPECT_GT(latency().at("samples"), 0);
    EXPECT_GE(latency().at("p99_ns"), latency().at("p50_ns"));
    clean();
  }
}

TEST_F(QueueTest, ProcessesTalkOverARingOfTheHost) {
  hand_over_ring();
  node_.must("wire.apply", steps({{{"id", "q"}}}));
  start("sender", {"send", "500"});
  start("receiver", {"receive"});
  expect_all(500);
}

TEST_F(QueueTest, AProcessMayHoldBothEndsOfAQueue) {
  nlohmann::json both = process("sender", "out", "out", "q");
  both["ports"].push_back(process("sender", "in", "in", "q")["ports"][0]);
  for (const bool of_host : {false, true}) {
    SCOPED_TRACE(of_host ? "ring of the host" : "queue of the kernel");
    if (of_host) hand_over_ring({{"j.1/sender", 2}, {"", 1}});
    nlohmann::json wiring = steps({of_host ? nlohmann::json{{"id", "q"}} : queue_to_make("q")});
    wiring["processes"] = {both};
    node_.must("wire.apply", wiring);
    start("sender", {"both", "2", "700"});  // longer than a peer without a claim is believed to live
    const Seen ended = node_.wait_end("j.1/sender");
    EXPECT_THAT(ended.output.at("out"), testing::EndsWith("message 0\nmessage 1\nend\n"));
    EXPECT_EQ(ended.end->at("code"), 0);
    clean();
  }
}

TEST_F(QueueTest, ADeadProducerIsNoticedByItsConsumer) {
  node_.must("wire.apply", steps({queue_to_make("q")}));
  start("receiver", {"receive"});
  start("sender", {"send", "100000", "5"});
  ASSERT_TRUE(node_.wait_output("j.1/receiver", "message 2\n"));
  node_.must("proc.signal", {{"proc", "j.1/sender"}, {"signal", SIGKILL}});
  const Seen received = node_.wait_end("j.1/receiver");
  EXPECT_THAT(received.output.at("out"), testing::EndsWith("peer dead\n"));
  EXPECT_EQ(received.end->at("code"), 7);
}

TEST_F(QueueTest, AProcessThatNeverAttachedIsNoticedToo) {
  node_.must("wire.apply", steps({queue_to_make("q")}));
  start("receiver", {"receive"});
  node_.start_script("sender", "exit 1");
  EXPECT_THAT(node_.wait_end("j.1/receiver").output.at("out"), testing::EndsWith("peer dead\n"));
}

TEST_F(QueueTest, LinksSurviveTheDeathOfTheKernel) {
  for (const bool of_host : {false, true}) {
    SCOPED_TRACE(of_host ? "ring of the host" : "queue of the kernel");
    if (of_host) hand_over_ring();
    node_.must("wire.apply", steps({of_host ? nlohmann::json{{"id", "q"}} : queue_to_make("q")}));
    ::kill(node_.kernel_pid(), SIGKILL);  // between the wiring and the first process
    start("receiver", {"receive"});
    start("sender", {"send", "100", "5"});
    ASSERT_TRUE(node_.wait_output("j.1/receiver", "message 2\n"));
    ::kill(node_.kernel_pid(), SIGKILL);  // while messages flow
    expect_all(100);
    EXPECT_EQ(node_.wait_end("j.1/sender").ends, 1);
    clean();
  }
}

TEST_F(QueueTest, CleaningEndsTheLinks) {
  hand_over_ring();
  node_.must("wire.apply", steps({{{"id", "q"}}}));
  start("sender", {"send", "100000", "5"});
  ASSERT_TRUE(node_.wait_output("j.1/sender", "color red"));
  node_.must("attempt.clean", {{"attempt", "j.1"}});
  auto ring = queuevm::Queue::open(node_.folder / "ring");
  ASSERT_TRUE(ring);
  EXPECT_EQ(ring->end_states(queuevm::Side::kProducer).at(0), queuevm::EndState::kDead);
  EXPECT_TRUE(node_.must("wire.stats", {{"attempt", "j.1"}}).at("queues").empty());
}

// First its consumer gets the new link, then its producer leaves the old one: the stream never seems to end,
// whichever kernel hears of it first, and also if this one dies in between.
TEST_F(QueueTest, ProducersAreHeldUntilConsumersHaveJoined) {
  node_.must("wire.apply", steps({queue_to_make("q")}));
  start("receiver", {"receive"});
  start("sender", {"send", "200", "5"});
  ASSERT_TRUE(node_.wait_output("j.1/receiver", "message 3"));
  nlohmann::json next = steps({queue_to_make("q"), queue_to_make("r")});
  next["processes"] = {process("sender", "out", "out", "r"), process("receiver", "in", "in", "q")};
  next["processes"][0]["ports"][0]["ends"][0]["link"] = 8;
  next["processes"][1]["ports"][0]["ends"].push_back(
      {{"queue", "r"}, {"link", 8}, {"slot", 0}, {"after", {7}}});
  next["generation"] = 2;
  next["hold"] = true;
  node_.must("wire.apply", next);
  const auto states = [&](const std::string& queue) {
    const nlohmann::json stats = node_.must("wire.stats", {{"attempt", "j.1"}});
    for (const auto& one : stats.at("queues"))
      if (one.at("id") == queue)
        return std::to_string(one.at("producers").get<int>()) +
               std::to_string(one.at("consumers").get<int>());
    return std::string("none");
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (states("r") != "01" && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(states("r"), "01");
  EXPECT_EQ(states("q"), "11") << "its producer knows nothing of it";
  ::kill(node_.kernel_pid(), SIGKILL);
  EXPECT_EQ(states("q"), "11");
  next.erase("hold");
  next["generation"] = 3;
  node_.must("wire.apply", next);
  expect_all(200);
}

TEST_F(QueueTest, AProcessThatTheWiringNamesNoMoreIsLetGo) {
  node_.must("wire.apply", steps({queue_to_make("q")}));
  start("receiver", {"receive"});
  const auto joined = [&](const std::string& role) {
    const nlohmann::json stats = node_.must("wire.stats", {{"attempt", "j.1"}, {"processes", true}});
    for (const auto& one : stats.at("processes"))
      if (one.at("proc") == "j.1/" + role) return one.at("joined").get<bool>() ? "joined" : "expected";
    return "unknown";
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::string(joined("receiver")) != "joined" && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_STREQ(joined("receiver"), "joined");
  EXPECT_STREQ(joined("sender"), "expected");

  nlohmann::json next = steps({queue_to_make("q")});
  next["generation"] = 2;
  next["processes"].erase(0);
  node_.must("wire.apply", next);
  EXPECT_STREQ(joined("sender"), "unknown");
  const Seen received = node_.wait_end("j.1/receiver");
  EXPECT_THAT(received.output.at("out"), testing::EndsWith("peer dead\n"));
  const auto late = node_.call("proc.start", {{"proc", "j.1/sender"},
                                              {"attempt", "j.1"},
                                              {"job", "j"},
                                              {"role", "sender"},
                                              {"argv", {"/bin/true"}},
                                              {"tree", ""},
                                              {"wired", true}});
  ASSERT_FALSE(late) << "a call that was held up starts nobody whose wiring is gone";
  EXPECT_EQ(late.error().code(), ErrorCode::kConflict);
  EXPECT_TRUE(node_.must("proc.list", {{"attempt", "j.1"}}).at("processes").size() == 1);
}

TEST_F(QueueTest, WrongStepsAreRefusedWithTheirField) {
  nlohmann::json wrong = steps({queue_to_make("q")});
  wrong["queues"][0]["create"]["kind"] = "circle";
  auto refused = node_.call("wire.apply", wrong);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("field \"kind\": found \"circle\""));
  wrong = steps({queue_to_make("other")});
  EXPECT_EQ(node_.call("wire.apply", wrong).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(node_.call("wire.apply", steps({{{"id", "q"}}})).error().code(), ErrorCode::kConflict);
  wrong = steps({queue_to_make("q")});
  wrong["peers"] = {{{"name", "node:other"}, {"port", 0}, {"carrier", "ivshmem"}}};
  refused = node_.call("wire.apply", wrong);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("offset"));
}

}  // namespace
}  // namespace mvm::kernel
