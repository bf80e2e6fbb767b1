// Several clients of one consuming end: who holds what, and what becomes of it.
#include "mvm/queuevm/hand_out.h"

#include <gtest/gtest.h>

#include <array>

namespace mvm::queuevm {
namespace {

using std::chrono::milliseconds;

class HandOutTest : public testing::Test {
 protected:
  void add(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      MessageView view;
      view.data = std::span(bytes_).subspan(added_ % bytes_.size(), 1);
      view.token = ++added_;
      hand_out_.add(view);
    }
  }
  /// What the client is given: the message's place among all, 0: nothing.
  std::uint64_t next(const std::string& client, std::uint64_t after) {
    const auto* entry = hand_out_.next(client, after);
    number_ = entry == nullptr ? 0 : entry->number;
    again_ = entry != nullptr && entry->again;
    return entry == nullptr ? 0 : entry->message.token;
  }
  std::vector<std::uint64_t> done() {
    std::vector<std::uint64_t> tokens;
    for (const MessageView& view : hand_out_.take_done()) tokens.push_back(view.token);
    return tokens;
  }
  Clock::Instant at(int ms) { return Clock::Instant(milliseconds(ms)); }

  using Tokens = std::vector<std::uint64_t>;
  std::array<std::byte, 16> bytes_{};
  std::uint64_t added_ = 0, number_ = 0;
  bool again_ = false;
  HandOut hand_out_{milliseconds(1000), 100};
};

TEST_F(HandOutTest, EachMessageGoesToOneClientAndStaysTillItIsAcknowledged) {
  add(3);
  EXPECT_EQ(next("a", 0), 1U);
  EXPECT_EQ(number_, 100U);
  EXPECT_EQ(next("b", 0), 2U);
  EXPECT_EQ(next("a", 0), 1U) << "asked again without having acknowledged";
  EXPECT_EQ(next("a", 100), 3U);
  EXPECT_EQ(next("b", 101), 0U);
  EXPECT_TRUE(hand_out_.held_by_others("b"));
  hand_out_.heard("b", 101, at(0));
  EXPECT_EQ(done(), Tokens()) << "the first is still held: released in order";
  hand_out_.heard("a", 102, at(0));
  EXPECT_EQ(done(), (Tokens{1, 2, 3}));
  EXPECT_FALSE(hand_out_.held_by_others("b"));
}

TEST_F(HandOutTest, WhatASilentClientHeldGoesToAnother) {
  add(2);
  hand_out_.heard("a", 0, at(0));
  hand_out_.heard("b", 0, at(0));
  EXPECT_EQ(next("a", 0), 1U);
  EXPECT_FALSE(hand_out_.expire(at(999)));
  hand_out_.heard("b", 0, at(900));
  EXPECT_TRUE(hand_out_.expire(at(1000)));
  EXPECT_EQ(next("b", 0), 1U);
  EXPECT_TRUE(again_);
  EXPECT_EQ(next("b", number_), 2U);
  EXPECT_FALSE(again_);
}

TEST_F(HandOutTest, AnOldAcknowledgementNeverCoversAMessageGivenAgain) {
  add(3);
  EXPECT_EQ(next("a", 0), 1U);
  EXPECT_EQ(next("b", 0), 2U);
  EXPECT_EQ(next("b", 101), 3U);
  hand_out_.heard("b", 102, at(0));  // done with 2 and 3
  hand_out_.leave("a");
  EXPECT_EQ(next("b", 102), 1U);     // that answer is lost on its way,
  hand_out_.heard("b", 102, at(0));  // and b asks as before:
  EXPECT_EQ(done(), Tokens());
  EXPECT_EQ(next("b", 102), 1U);  // it is not lost with it
  hand_out_.heard("b", number_, at(0));
  EXPECT_EQ(done(), (Tokens{1, 2, 3}));
}

}  // namespace
}  // namespace mvm::queuevm
