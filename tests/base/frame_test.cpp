#include "mvm/base/frame.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

namespace mvm {
namespace {

TEST(FrameTest, SurvivesBeingCutAnywhere) {
  const std::string bytes =
      encode_frame({{"op", "a"}}, "blob") + encode_frame({{"op", "b"}}) + encode_frame({{"op", "c"}}, "x");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    FrameDecoder decoder;
    std::string seen;
    for (const std::string& part : {bytes.substr(0, cut), bytes.substr(cut)}) {
      decoder.feed(part);
      for (;;) {
        auto frame = decoder.next();
        ASSERT_TRUE(frame);
        if (!*frame) break;
        seen += (*frame)->head.at("op").get<std::string>() + (*frame)->blob;
      }
    }
    EXPECT_EQ(seen, "ablobbcx") << "cut at " << cut;
  }
}

TEST(FrameTest, GarbageIsAnErrorOnAStreamAndSkippedOnASerialLine) {
  FrameDecoder strict;
  strict.feed("login: root\r\nMVM1 not a frame at all");
  EXPECT_EQ(strict.next().error().code(), ErrorCode::kCorrupt);
  FrameDecoder serial(true);
  serial.feed("login: root\r\nMVM1 not a frame at all" + encode_frame({{"op", "hello"}}));
  auto frame = serial.next();
  ASSERT_TRUE(frame && *frame);
  EXPECT_EQ((*frame)->head.at("op"), "hello");
}

TEST(FrameTest, LengthsBeyondTheLimitsAreRefusedBeforeAnythingIsRead) {
  std::string bytes = encode_frame({{"op", "a"}});
  bytes[7] = '\x7f';  // a text of 2 GB
  FrameDecoder decoder;
  decoder.feed(bytes);
  EXPECT_EQ(decoder.next().error().code(), ErrorCode::kCorrupt);
}

TEST(FrameTest, DeepJsonIsRefused) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_EQ(parse_json(deep).error().code(), ErrorCode::kCorrupt);
  EXPECT_TRUE(parse_json("{\"a\":[1,2,{\"b\":null}]}"));
  EXPECT_FALSE(parse_json("{\"a\":"));
}

TEST(FrameTest, CarriesDescriptorsOverAUnixSocket) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd left(ends[0]);
  UniqueFd right(ends[1]);
  UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(send_frame(left.get(), {{"op", "fds"}}, std::string(60'000, 'z'), {null.get(), null.get()}));
  FrameReader reader(right.get());
  auto frame = reader.read(5000);
  ASSERT_TRUE(frame) << frame.error().describe();
  EXPECT_EQ(frame->descriptors.size(), 2U);
  EXPECT_EQ(frame->blob.size(), 60'000U);
  EXPECT_EQ(reader.read(10).error().code(), ErrorCode::kTimeout);
  left.reset();
  EXPECT_EQ(reader.read(1000).error().code(), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace mvm
