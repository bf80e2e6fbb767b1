// libmvm in real processes, wired from outside.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <set>
#include <sstream>

#include "mvm.h"
#include "queuevm/node.h"

namespace mvm::queuevm {
namespace {

using namespace std::chrono_literals;
using test::in_port;
using test::Node;
using test::out_port;
using test::wiring;

const std::string kWorker = std::string(MVM_BINARY_DIR) + "/tests/queuevm_worker";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string some_of(const std::string& text) { return text.substr(0, 300); }

class LibmvmTest : public ::testing::Test {
 protected:
  Node::Process& start(std::vector<std::string> args, Wiring with) {
    args.insert(args.begin(), kWorker);
    return node_.start(args, std::move(with));
  }
  void expect_good(Node::Process& process) {
    const ExitStatus status = node_.finish(process);
    EXPECT_TRUE(status.success()) << "code " << status.code << ": " << some_of(process.text);
  }
  Node node_;
};

TEST_F(LibmvmTest, AProcessKnowsItsPlace) {
  Wiring with = wiring("cell", {}, 3, 8);
  with.parameters = {{"steps", "100"}};
  auto& process = start({"who"}, with);
  expect_good(process);
  EXPECT_EQ(process.text, "job-1 cell 3 8 100 none\n");
}

TEST_F(LibmvmTest, WithoutMvmItSaysHowToRunIt) {
  auto alone = run_captured({.argv = {kWorker, "who"}}, 10s).value();
  EXPECT_EQ(alone.status.code, 3);
  EXPECT_THAT(alone.output, ::testing::HasSubstr("not started by MVM: run it with mvm submit"));
  auto wrong = run_captured({.argv = {kWorker, "who"}, .environment = {{"MVM_FD", "63"}}}, 10s).value();
  EXPECT_THAT(wrong.output, ::testing::HasSubstr("not started by MVM"));
}

TEST_F(LibmvmTest, APipelineKeepsEveryMessageInOrder) {
  for (const char* how : {"copy", "place"}) {
    const auto first = node_.add_queue({.capacity = 100, .bytes = 65536});
    const auto second = node_.add_queue({.capacity = 100, .bytes = 65536});
    auto& producer = start({"produce", "3000", "20000", how}, wiring("a", {out_port("out", {{first, 0}})}));
    auto& relay =
        start({"relay"}, wiring("b", {in_port("in", {{first, 0}}), out_port("out", {{second, 0}})}));
    auto& consumer = start({"consume", how}, wiring("c", {in_port("in", {{second, 0}})}));
    expect_good(producer);
    expect_good(relay);
    expect_good(consumer);
    EXPECT_EQ(lines_of(consumer.text).size(), 3000U) << some_of(consumer.text);
  }
}

TEST_F(LibmvmTest, OneOfFourConsumersGetsEachMessage) {
  const auto queue = node_.add_queue({.capacity = 50, .producers = 2, .consumers = 4});
  std::vector<Node::Process*> consumers;
  consumers.reserve(4);
  for (std::uint32_t i = 0; i < 4; ++i) {
    consumers.push_back(
        &start({"consume", i % 2 == 0 ? "copy" : "place"}, wiring("c", {in_port("in", {{queue, i}})}, i, 4)));
  }
  std::vector<Node::Process*> producers;
  for (std::uint32_t i = 0; i < 2; ++i) {
    producers.push_back(
        &start({"produce", "4000", "3000"}, wiring("p", {out_port("out", {{queue, i}})}, i, 2)));
  }
  for (auto* process : producers) expect_good(*process);
  std::set<std::string> seen;
  std::size_t total = 0;
  for (auto* process : consumers) {
    expect_good(*process);
    const auto lines = lines_of(process->text);
    total += lines.size();
    seen.insert(lines.begin(), lines.end());
  }
  EXPECT_EQ(total, 8000U);
  EXPECT_EQ(seen.size(), 8000U) << "nothing lost, nothing doubled";
  EXPECT_EQ(node_.queue(queue).stats().dequeued, 8000U);
}

TEST_F(LibmvmTest, ProcessesOfDifferentContainersShareAQueue) {
  // Each is process 1 of a pid and mount namespace of its own, as in containers. One is killed while it
  // works.
  const auto queue =
      node_.add_queue({.kind = QueueKind::kPriority, .capacity = 50, .producers = 3, .consumers = 2});
  const std::vector<std::string> apart = {"unshare", "--pid", "--mount", "--fork", "--kill-child", kWorker};
  const auto start_apart = [&](std::vector<std::string> args, Wiring with) -> Node::Process& {
    args.insert(args.begin(), apart.begin(), apart.end());
    return node_.start(args, std::move(with));
  };
  if (!run_captured({.argv = {"unshare", "--pid", "--mount", "--fork", "true"}}, 10s)
           .value()
           .status.success()) {
    GTEST_SKIP() << "no right to make namespaces";
  }
  auto& one = start_apart({"produce", "2000", "500"}, wiring("p", {out_port("out", {{queue, 0}})}, 0, 3));
  auto& two = start_apart({"produce", "2000", "500"}, wiring("p", {out_port("out", {{queue, 1}})}, 1, 3));
  auto& endless =
      start_apart({"produce", "1000000000", "500"}, wiring("p", {out_port("out", {{queue, 2}})}, 2, 3));
  auto& first = start_apart({"consume"}, wiring("c", {in_port("in", {{queue, 0}})}, 0, 2));
  auto& second = start_apart({"consume"}, wiring("c", {in_port("in", {{queue, 1}})}, 1, 2));
  expect_good(one);
  expect_good(two);
  endless.child.signal(SIGKILL);
  EXPECT_EQ(node_.finish(endless).signal, SIGKILL);
  std::set<std::string> seen;
  for (auto* process : {&first, &second}) {
    expect_good(*process);
    for (const std::string& line : lines_of(process->text)) {
      if (line.starts_with("0:") || line.starts_with("1:")) seen.insert(line);
    }
    EXPECT_EQ(lines_of(process->text)[0], "deaths 1");
  }
  EXPECT_EQ(seen.size(), 4000U);
}

TEST_F(LibmvmTest, EveryConsumerGetsEveryMessage) {
  std::vector<std::uint32_t> queues;
  queues.reserve(3);
  for (int i = 0; i < 3; ++i)
    queues.push_back(node_.add_queue({.capacity = 4, .deliver = Deliver::kEveryOne, .producers = 2}));
  std::vector<Node::Process*> consumers;
  consumers.reserve(4);
  for (std::uint32_t i = 0; i < 3; ++i)
    consumers.push_back(&start({"consume"}, wiring("c", {in_port("in", {{queues[i], 0}})}, i, 3)));
  std::vector<Node::Process*> producers;
  for (std::uint32_t i = 0; i < 2; ++i) {
    // The second names the queues the other way round: it must still take room in the same order.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> links;
    for (const std::uint32_t queue : queues) links.insert(i == 0 ? links.end() : links.begin(), {queue, i});
    producers.push_back(&start({"produce", "1000", "500", i == 0 ? "copy" : "place"},
                               wiring("p", {out_port("out", links, Deliver::kEveryOne)}, i, 2)));
  }
  for (auto* process : producers) expect_good(*process);
  for (auto* process : consumers) {
    expect_good(*process);
    EXPECT_EQ(lines_of(process->text).size(), 2000U);
  }
}

TEST_F(LibmvmTest, EqualKeysReachTheSameConsumer) {
  std::vector<std::uint32_t> queues;
  queues.reserve(3);
  for (int i = 0; i < 3; ++i) queues.push_back(node_.add_queue({.deliver = Deliver::kByKey}));
  std::vector<Node::Process*> consumers;
  consumers.reserve(4);
  for (std::uint32_t i = 0; i < 3; ++i)
    consumers.push_back(&start({"consume"}, wiring("c", {in_port("in", {{queues[i], 0}})})));
  auto& producer = start(
      {"produce", "1000", "64", "copy", "10"},
      wiring("p", {out_port("out", {{queues[0], 0}, {queues[1], 0}, {queues[2], 0}}, Deliver::kByKey)}));
  expect_good(producer);
  std::map<int, std::set<std::size_t>> readers_of_key;
  std::size_t total = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    expect_good(*consumers[i]);
    for (const std::string& line : lines_of(consumers[i]->text)) {
      readers_of_key[std::stoi(line.substr(2)) % 10].insert(i);
      ++total;
    }
  }
  EXPECT_EQ(total, 1000U);
  EXPECT_EQ(readers_of_key.size(), 10U);
  for (const auto& [key, readers] : readers_of_key) EXPECT_EQ(readers.size(), 1U) << "key " << key;
}

TEST_F(LibmvmTest, AnInPortReadsSeveralLinks) {
  const auto one = node_.add_queue({});
  const auto two = node_.add_queue({.producers = 1});
  auto& first = start({"produce", "500", "64"}, wiring("p", {out_port("out", {{one, 0}})}, 0, 2));
  auto& second = start({"produce", "500", "64"}, wiring("p", {out_port("out", {{two, 0}})}, 1, 2));
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{one, 0}, {two, 0}})}));
  expect_good(first);
  expect_good(second);
  expect_good(consumer);
  EXPECT_EQ(lines_of(consumer.text).size(), 1000U);
}

TEST_F(LibmvmTest, WaitsOnSeveralPorts) {
  const auto a0 = node_.add_queue({});
  const auto a1 = node_.add_queue({.producers = 2});
  const auto b = node_.add_queue({.kind = QueueKind::kPriority});
  auto& waiter =
      start({"wait"},
            wiring("w", {in_port("a", {{a0, 0}}, 0), in_port("a", {{a1, 0}}, 1), in_port("b", {{b, 0}})}));
  ASSERT_EQ(node_.read_line(waiter), "idle");
  auto& one = start({"produce", "300", "64"}, wiring("p", {out_port("out", {{a0, 0}})}));
  auto& two = start({"produce", "200", "64"}, wiring("p", {out_port("out", {{a1, 0}})}));
  auto& three = start({"produce", "50", "64"}, wiring("p", {out_port("out", {{a1, 1}})}));
  auto& four = start({"produce", "100", "64"}, wiring("p", {out_port("out", {{b, 0}})}));
  for (auto* process : {&one, &two, &three, &four}) expect_good(*process);
  expect_good(waiter);
  EXPECT_THAT(waiter.text, ::testing::HasSubstr("300 250 100\n"));
}

TEST_F(LibmvmTest, MessagesLargerThanTheQueueAreStreamed) {
  const auto queue = node_.add_queue({.bytes = 65536});
  auto& producer = start({"big", "3000000", "5"}, wiring("p", {out_port("out", {{queue, 0}})}));
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{queue, 0}})}));
  expect_good(producer);
  expect_good(consumer);
  EXPECT_EQ(consumer.text, "0:0\n0:1\n0:2\n0:3\n0:4\n");
}

TEST_F(LibmvmTest, AProducerKilledInTheMiddleOfALargeMessageLeavesNothingTorn) {
  const auto queue = node_.add_queue({.bytes = 4096});
  auto& producer = start({"die"}, wiring("p", {out_port("out", {{queue, 0}})}));
  // It has put the first fragments and waits for room; nobody reads until it is dead.
  EXPECT_EQ(node_.finish(producer).signal, SIGALRM);
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{queue, 0}})}));
  expect_good(consumer);
  EXPECT_EQ(consumer.text, "deaths 1\n");
}

TEST_F(LibmvmTest, AProducerThatDiesWhileItWritesLeavesNothingTorn) {
  for (const bool reads_meanwhile : {true, false}) {
    const auto queue = node_.add_queue({});
    auto* consumer =
        reads_meanwhile ? &start({"consume"}, wiring("c", {in_port("in", {{queue, 0}})})) : nullptr;
    auto& producer = start({"die-writing"}, wiring("p", {out_port("out", {{queue, 0}})}));
    EXPECT_EQ(node_.finish(producer).signal, SIGSEGV);
    if (consumer == nullptr) consumer = &start({"consume"}, wiring("c", {in_port("in", {{queue, 0}})}));
    expect_good(*consumer);
    EXPECT_EQ(consumer->text, "deaths 1\n");
  }
}

TEST_F(LibmvmTest, LongMessagesAreReadWhileTheyAreWritten) {
  const auto queue = node_.add_queue({});
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{queue, 0}})}));
  auto& producer = start({"produce", "400", "500000"}, wiring("p", {out_port("out", {{queue, 0}})}));
  expect_good(producer);
  expect_good(consumer);
  EXPECT_EQ(std::count(consumer.text.begin(), consumer.text.end(), '\n'), 400);
}

TEST_F(LibmvmTest, HowAProcessEndsIsWhatItsPeersLearn) {
  for (const bool good : {true, false}) {
    const auto queue = node_.add_queue({});
    auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{queue, 0}})}));
    auto& producer = start({"exit", good ? "0" : "3"}, wiring("p", {out_port("out", {{queue, 0}})}));
    expect_good(consumer);  // before anybody reaps the producer: it told the queue itself
    EXPECT_EQ(consumer.text, good ? "" : "deaths 1\n");
    EXPECT_EQ(node_.finish(producer).code, good ? 0 : 3);
  }
}

TEST_F(LibmvmTest, SaysWhatIsWrongWithACall) {
  const auto queue = node_.add_queue({.bytes = 8192, .consumers = 2});
  auto& process = start({"limits"}, wiring("p", {out_port("out", {{queue, 0}}), in_port("in", {})}));
  expect_good(process);
  EXPECT_EQ(lines_of(process.text)[0], "-5 0 -8 -8 0 -8 -9 ");
  EXPECT_EQ(lines_of(process.text)[1], "role p has no port nonsense[0]; it has: out[0], in[0]");
  EXPECT_EQ(lines_of(process.text)[2], "-8");
}

TEST_F(LibmvmTest, DropsAndRefusalsAreToldAndCounted) {
  const auto drop = node_.add_queue({.capacity = 10, .when_full = WhenFull::kDropNewest});
  const auto fail = node_.add_queue({.capacity = 10, .when_full = WhenFull::kFail});
  const auto oldest = node_.add_queue({.capacity = 10, .when_full = WhenFull::kDropOldest});
  auto& one = start({"produce", "100", "64"}, wiring("p", {out_port("out", {{drop, 0}})}));
  auto& two = start({"produce", "100", "64"}, wiring("p", {out_port("out", {{fail, 0}})}));
  auto& three = start({"produce", "100", "64"}, wiring("p", {out_port("out", {{oldest, 0}})}));
  for (auto* process : {&one, &two, &three}) expect_good(*process);
  EXPECT_EQ(one.text, "sent 100 dropped 90 full 0\n");
  EXPECT_EQ(two.text, "sent 100 dropped 0 full 90\n");
  EXPECT_EQ(three.text, "sent 100 dropped 0 full 0\n");
  EXPECT_EQ(node_.queue(drop).stats().dropped_newest, 90U);
  EXPECT_EQ(node_.queue(fail).stats().refused, 90U);
  EXPECT_EQ(node_.queue(oldest).stats().dropped_oldest, 90U);
}

TEST_F(LibmvmTest, ManyLinksComeInSeveralPackets) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ins;
  std::vector<Node::Process*> producers;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> outs;
  for (std::uint32_t i = 0; i < 450; ++i) {
    const auto queue = node_.add_queue({.capacity = 4, .bytes = 4096});
    ins.push_back({queue, 0});
    outs.push_back({queue, 0});
  }
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", ins)}));
  auto& producer = start({"produce", "5", "64"}, wiring("p", {out_port("out", outs, Deliver::kEveryOne)}));
  expect_good(producer);
  const ExitStatus status = node_.finish(consumer);
  EXPECT_EQ(status.code, 5) << "the same numbers from 450 queues: disorder is expected, loss is not";
  EXPECT_EQ(lines_of(consumer.text).size(), 5U * 450U + 1U);
}

TEST_F(LibmvmTest, ABlockedCallLearnsOfANewWiring) {
  const auto idle = node_.add_queue({});
  const auto other = node_.add_queue({});
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{idle, 0}})}));
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (node_.queue(idle).stats().waiting_consumers == 0 && std::chrono::steady_clock::now() < deadline)
    ::usleep(1000);
  ASSERT_EQ(node_.queue(idle).stats().waiting_consumers, 1U);
  ASSERT_TRUE(node_.rewire(consumer, wiring("c", {in_port("in", {{other, 0}})})));
  auto& producer = start({"produce", "10", "64"}, wiring("p", {out_port("out", {{other, 0}})}));
  expect_good(producer);
  expect_good(consumer);
  EXPECT_EQ(lines_of(consumer.text).size(), 10U);
  EXPECT_THAT(node_.queue(idle).end_states(Side::kConsumer), ::testing::ElementsAre(EndState::kDone));
}

TEST_F(LibmvmTest, TheCountOfARoleIsThatOfTheLatestWiring) {
  const auto queue = node_.add_queue({});
  auto table = wiring("c", {in_port("in", {{queue, 0}})});
  table.count = 3;
  auto& process = start({"count"}, table);
  EXPECT_EQ(node_.read_line(process), "3");
  table.count = 7;
  ASSERT_TRUE(node_.rewire(process, table));
  EXPECT_EQ(node_.read_line(process), "7");
  table.count = 1;
  ASSERT_TRUE(node_.rewire(process, table));
  EXPECT_EQ(node_.read_line(process), "1");
  expect_good(process);
}

// It sees the old link's end first, and what the new one brings nevertheless.
TEST_F(LibmvmTest, AnEndThatANewWiringHasOvertakenIsNotTold) {
  for (const std::string how : {"copy", "place"}) {
    SCOPED_TRACE(how);
    const auto old = node_.add_queue({});
    const auto next = node_.add_queue({});
    auto& consumer = start({"consume", how}, wiring("c", {in_port("in", {{old, 0}})}));
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (node_.queue(old).stats().waiting_consumers == 0 && std::chrono::steady_clock::now() < deadline)
      ::usleep(1000);
    consumer.child.signal(SIGSTOP);
    auto table = wiring("c", {in_port("in", {{old, 0}, {next, 0}})});
    table.ports[0].links[1].after = {old};
    ASSERT_TRUE(node_.rewire(consumer, table));
    EXPECT_TRUE(node_.queue(old).close_absent({Side::kProducer, 0}));
    expect_good(start({"produce", "10", "64"}, wiring("p", {out_port("out", {{next, 0}})})));
    consumer.child.signal(SIGCONT);
    expect_good(consumer);
    EXPECT_EQ(lines_of(consumer.text).size(), 10U);
  }
}

// Nobody waits here: the producer finds the new wiring between two messages, the consumer reads the old link
// first.
TEST_F(LibmvmTest, AStreamIsMovedToAnotherQueueInFullRun) {
  const auto old = node_.add_queue({.capacity = 100000, .bytes = 8 << 20});
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{old, 0}})}));
  auto& producer = start({"produce", "1000000000", "16"}, wiring("p", {out_port("out", {{old, 0}})}));
  std::vector<std::uint32_t> queues{old};
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  const auto some_pass = [&] {
    const auto seen = node_.queue(queues.back()).stats().enqueued;
    while (node_.queue(queues.back()).stats().enqueued < seen + 1000 &&
           std::chrono::steady_clock::now() < deadline)
      ::usleep(100);
  };
  for (int i = 0; i < 5; ++i) {
    some_pass();
    queues.push_back(node_.add_queue({.capacity = 100000, .bytes = 8 << 20}));
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ins;
    for (const auto queue : queues) ins.push_back({queue, 0});
    auto table = wiring("c", {in_port("in", ins)});
    for (std::size_t n = 1; n < queues.size(); ++n) table.ports[0].links[n].after = {queues[n - 1]};
    ASSERT_TRUE(node_.rewire(consumer, table));
    ASSERT_TRUE(node_.rewire(producer, wiring("p", {out_port("out", {{queues.back(), 0}})})));
  }
  some_pass();
  producer.child.signal(SIGTERM);
  expect_good(producer);
  expect_good(consumer);  // 5 for disorder
  std::uint64_t sum = 0;
  for (const auto queue : queues) {
    const auto stats = node_.queue(queue).stats();
    EXPECT_GT(stats.enqueued, 0U);
    EXPECT_EQ(stats.enqueued, stats.dequeued);
    sum += stats.enqueued;
  }
  EXPECT_EQ(lines_of(consumer.text).size(), sum);
  EXPECT_EQ(producer.text, "sent " + std::to_string(sum) + " dropped 0 full 0\n");
}

TEST_F(LibmvmTest, AnEndThatWasClosedBeforeItsProcessCameIsNotNeeded) {
  const auto queue = node_.add_queue({});
  EXPECT_TRUE(node_.queue(queue).close_absent({Side::kProducer, 0}));
  EXPECT_FALSE(node_.queue(queue).close_absent({Side::kProducer, 0})) << "it is closed already";
  auto& consumer = start({"consume"}, wiring("c", {in_port("in", {{queue, 0}})}));
  expect_good(consumer);
  EXPECT_FALSE(node_.queue(queue).close_absent({Side::kConsumer, 0})) << "it was taken";
  EXPECT_THAT(node_.queue(queue).end_states(Side::kProducer), ::testing::ElementsAre(EndState::kDone));
}

}  // namespace
}  // namespace mvm::queuevm
