#include "event_log.h"

#include <gmock/gmock.h>

#include <future>

namespace mvm::host {
namespace {

using std::chrono::milliseconds;

const std::atomic<bool> gone = false;

HostEvent named(const std::string& name) {
  return {.lab = "l", .node = "n", .event = name, .args = {}, .blob = {}};
}

TEST(EventLogTest, AReaderSeesEachEventUntilItAcknowledgesIt) {
  EventLog log;
  log.add(named("a"));
  log.add(named("b"));
  HostEvents page = log.after("", 0, milliseconds(0));
  ASSERT_EQ(page.events.size(), 2U);
  EXPECT_EQ(log.after(page.epoch, 1, milliseconds(0)).events.at(0).event, "b");
  EXPECT_EQ(log.after(page.epoch, 1, milliseconds(0)).events.size(), 1U) << "asking again changes nothing";
  EXPECT_TRUE(log.after(page.epoch, 2, milliseconds(0)).events.empty());
}

TEST(EventLogTest, AnotherEpochsCursorAcknowledgesNothing) {
  EventLog log;
  log.add(named("a"));
  EXPECT_EQ(log.after("an earlier daemon", 99, milliseconds(0)).events.size(), 1U);
}

TEST(EventLogTest, AKernelsEventIsForgottenByItOnlyOnceHandled) {
  EventLog log;
  auto delivered = std::async(std::launch::async, [&] { return log.deliver(named("proc.exit"), gone); });
  HostEvents page = log.after("", 0, milliseconds(10'000));
  ASSERT_EQ(page.events.size(), 1U);
  EXPECT_EQ(delivered.wait_for(milliseconds(0)), std::future_status::timeout);
  static_cast<void>(log.after(page.epoch, page.events[0].seq, milliseconds(0)));
  EXPECT_TRUE(delivered.get());
}

TEST(EventLogTest, ClosingSendsWaitingKernelsAway) {
  EventLog log;
  auto delivered = std::async(std::launch::async, [&] { return log.deliver(named("proc.exit"), gone); });
  static_cast<void>(log.after("", 0, milliseconds(10'000)));
  log.close();
  EXPECT_EQ(delivered.get().error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(log.deliver(named("late"), gone).error().code(), ErrorCode::kCancelled);
}

TEST(EventLogTest, ADestroyedNodeWaitsForNoReader) {
  EventLog log;
  std::atomic<bool> node_gone = false;
  auto delivered = std::async(std::launch::async, [&] { return log.deliver(named("proc.exit"), node_gone); });
  static_cast<void>(log.after("", 0, milliseconds(10'000)));
  node_gone = true;
  log.wake();
  EXPECT_EQ(delivered.get().error().code(), ErrorCode::kCancelled);
}

TEST(EventLogTest, PagesStayWithinWhatOneAnswerMayCarry) {
  EventLog log;
  for (int i = 0; i < 8; ++i) {
    HostEvent event = named("proc.output");
    event.blob.assign(1 << 20, 'x');
    log.add(std::move(event));
  }
  std::uint64_t seq = 0;
  std::size_t seen = 0;
  std::string epoch;
  while (seen < 8) {
    const HostEvents page = log.after(epoch, seq, milliseconds(0));
    ASSERT_FALSE(page.events.empty());
    ASSERT_LE(page.events.size(), 3U);
    epoch = page.epoch;
    seq = page.events.back().seq;
    seen += page.events.size();
  }
  EXPECT_EQ(seen, 8U);
}

}  // namespace
}  // namespace mvm::host
