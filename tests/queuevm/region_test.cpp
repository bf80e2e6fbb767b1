// Streams through memory that two sides map: bytes, bells, hostile places, sessions, and the guest's device.
#include "mvm/queuevm/region.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <random>
#include <thread>

#include "mvm/base/file.h"

namespace mvm::queuevm {
namespace {

constexpr RegionPart kPart{.offset = 4096, .bytes = 65536};
constexpr std::size_t kRing = kPart.bytes / 2;
constexpr std::size_t kCapacity = kRing - 128;

UniqueFd make_file(std::size_t bytes) {
  UniqueFd file(::memfd_create("region-test", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

bool rang(const ByteStream& stream) {
  pollfd item{stream.fd(), POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

/// What can be read at once.
std::string all_of(ByteStream& stream) {
  std::string text;
  std::array<char, 1000> piece{};
  for (;;) {
    const auto got = stream.read(std::as_writable_bytes(std::span(piece)));
    if (!got || *got == 0) return text;
    text.append(piece.data(), *got);
  }
}

/// "a" and "b", each with a mapping of its own.
class RegionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = make_file(kPart.offset + kPart.bytes);
    region_ = Region::map(file_).value();
    ASSERT_TRUE(a_streams_.emplace(Region::map(file_).value()).give("b", kPart));
    ASSERT_TRUE(b_streams_.emplace(Region::map(file_).value()).give("a", kPart));
  }
  void connect() {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    a_ = a_streams_->factory()(UniqueFd(ends[0]), true);
    b_ = b_streams_->factory()(UniqueFd(ends[1]), false);
  }
  /// The acceptor is the first to know that the greeting is over.
  void join(std::uint64_t session) {
    connect();
    ASSERT_TRUE(b_->established({.own = "b", .peer = "a", .number = session, .unsent = 0}));
    ASSERT_TRUE(a_->established({.own = "a", .peer = "b", .number = session, .unsent = 0}));
  }
  /// A word as it lies in the ring from a to b (0) or back (1): 0 to 2 the writer's, 8 to 10 the reader's.
  void scribble(std::size_t ring, std::size_t word, std::uint64_t value) const {
    std::memcpy(region_->data() + kPart.offset + ring * kRing + word * 8, &value, sizeof value);
  }
  UniqueFd file_;
  std::shared_ptr<Region> region_;
  std::optional<RegionStreams> a_streams_;
  std::optional<RegionStreams> b_streams_;
  std::unique_ptr<ByteStream> a_;
  std::unique_ptr<ByteStream> b_;
};

TEST_F(RegionTest, BytesArriveInOrderAndWhole) {
  join(7);
  constexpr std::size_t kAll = 20 << 20;
  const auto letter = [](std::size_t at) { return static_cast<std::byte>((at * 2654435761U) >> 13U); };
  std::thread writer([&] {
    std::mt19937 random(1);
    std::vector<std::byte> piece;
    for (std::size_t sent = 0; sent < kAll;) {
      piece.resize(std::min<std::size_t>(1 + random() % 100000, kAll - sent));
      for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = letter(sent + i);
      for (std::span<const std::byte> left(piece); !left.empty();) {
        const auto put = a_->write(left);
        ASSERT_TRUE(put);
        left = left.subspan(*put);
        if (*put == 0) std::this_thread::yield();
      }
      sent += piece.size();
    }
  });
  std::mt19937 random(2);
  std::vector<std::byte> buffer(70000);
  std::size_t wrong = 0;
  for (std::size_t received = 0; received < kAll;) {
    const auto got = b_->read(std::span(buffer).first(1 + random() % buffer.size()));
    ASSERT_TRUE(got);
    for (std::size_t i = 0; i < *got; ++i) wrong += buffer[i] != letter(received + i) ? 1U : 0U;
    received += *got;
    if (*got == 0) std::this_thread::yield();
  }
  writer.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(all_of(*b_), "");
}

TEST_F(RegionTest, TheGreetingGoesByTheSocket) {
  connect();
  ASSERT_EQ(a_->write(bytes_of("hello")).value(), 5U);
  EXPECT_EQ(all_of(*b_), "hello");
  // The acceptor's last words are not yet written when it knows the dialler.
  ASSERT_TRUE(b_->established({.own = "b", .peer = "a", .number = 3, .unsent = 6}));
  EXPECT_TRUE(b_->ready());
  const std::string both = "proof.first frame";
  ASSERT_EQ(b_->write(bytes_of(both)).value(), 6U) << "what follows goes another way";
  EXPECT_EQ(b_->write(bytes_of(both).subspan(6)).value(), 0U) << "the other side has not come there yet";
  EXPECT_EQ(all_of(*a_), "proof.");
  ASSERT_TRUE(a_->established({.own = "a", .peer = "b", .number = 3, .unsent = 0}));
  EXPECT_TRUE(rang(*b_)) << "who waited for that is told";
  ASSERT_EQ(b_->write(bytes_of(both).subspan(6)).value(), both.size() - 6);
  EXPECT_EQ(all_of(*a_), "first frame");
}

TEST_F(RegionTest, WhoSleepsIsRungAndNobodyElse) {
  join(7);
  EXPECT_EQ(all_of(*b_), "");  // hears the first bell
  ASSERT_EQ(a_->write(bytes_of("x")).value(), 1U);
  EXPECT_FALSE(rang(*b_)) << "it is awake";
  EXPECT_FALSE(b_->arm()) << "there is something to read";
  EXPECT_EQ(all_of(*b_), "x");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(b_->arm());
    EXPECT_FALSE(rang(*b_));
    ASSERT_EQ(a_->write(bytes_of("y")).value(), 1U);
    ASSERT_EQ(a_->write(bytes_of("z")).value(), 1U);
    EXPECT_TRUE(rang(*b_));
    EXPECT_EQ(all_of(*b_), "yz");
    EXPECT_FALSE(rang(*b_)) << "one bell for a sleep";
  }
}

TEST_F(RegionTest, WhoWaitsForRoomIsRungWhenThereIsSome) {
  join(7);
  const std::string much(kRing, 'm');
  ASSERT_EQ(a_->write(bytes_of(much)).value(), kCapacity);
  EXPECT_FALSE(a_->ready()) << "a writable socket says nothing";
  ASSERT_TRUE(a_->arm());
  std::vector<std::byte> little(kCapacity / 4);
  ASSERT_EQ(b_->read(little).value(), little.size());
  EXPECT_FALSE(rang(*a_)) << "not for each little piece";
  ASSERT_EQ(b_->read(little).value(), little.size());
  ASSERT_EQ(b_->read(little).value(), little.size());
  EXPECT_TRUE(rang(*a_));
  EXPECT_EQ(all_of(*a_), "");
  EXPECT_EQ(a_->write(bytes_of(much)).value(), 3 * little.size());
  ASSERT_EQ(b_->read(little).value(), little.size());
  EXPECT_FALSE(a_->arm()) << "there is room already";
}

TEST_F(RegionTest, ImpossiblePlacesAreNotFollowed) {
  std::vector<std::byte> buffer(4 * kRing);
  for (const std::uint64_t place :
       {kCapacity + 1, kCapacity * 2, std::size_t{1} << 40U, std::size_t{1} << 63U}) {
    join(place);
    scribble(0, 1, place);  // b reads from a
    EXPECT_EQ(b_->read(buffer).error().code(), ErrorCode::kCorrupt) << place;
    EXPECT_FALSE(b_->arm()) << "the loop learns it";
    scribble(0, 9, place);  // a writes to b
    EXPECT_EQ(a_->write(bytes_of("x")).error().code(), ErrorCode::kCorrupt) << place;
  }
  join(99);  // and a new session is sound again
  ASSERT_EQ(a_->write(bytes_of("sound")).value(), 5U);
  EXPECT_EQ(all_of(*b_), "sound");
}

TEST_F(RegionTest, AnythingInTheMemoryIsSurvived) {
  std::mt19937_64 random(5);
  std::vector<std::byte> buffer(1000);
  for (int round = 0; round < 2000; ++round) {
    join(static_cast<std::uint64_t>(round));
    for (int i = 0; i < 10; ++i) {
      const std::array<std::size_t, 6> words{0, 1, 2, 8, 9, 10};
      scribble(random() % 2, words[random() % 6], random() % 2 == 0 ? random() : random() % (2 * kCapacity));
      for (ByteStream* stream : {a_.get(), b_.get()}) {
        const auto put = stream->write(std::span(buffer).first(random() % buffer.size()));
        EXPECT_TRUE(!put || *put <= buffer.size());
        const auto got = stream->read(buffer);
        EXPECT_TRUE(!got || *got <= buffer.size());
        static_cast<void>(stream->arm());
      }
    }
  }
}

TEST_F(RegionTest, AnEarlierSessionTouchesNothing) {
  join(1);
  ASSERT_EQ(a_->write(bytes_of("never read")).value(), 10U);
  const auto old_a = std::move(a_);
  const auto old_b = std::move(b_);
  join(2);
  EXPECT_EQ(all_of(*b_), "") << "what was left of the first is gone";
  EXPECT_EQ(old_a->write(bytes_of("stale")).value(), 0U);
  EXPECT_EQ(all_of(*old_b), "");
  ASSERT_EQ(a_->write(bytes_of("fresh")).value(), 5U);
  EXPECT_EQ(all_of(*old_b), "") << "it reads nothing of another session";
  EXPECT_EQ(all_of(*b_), "fresh");
  ASSERT_EQ(b_->write(bytes_of("back")).value(), 4U);
  EXPECT_EQ(all_of(*a_), "back");
}

TEST_F(RegionTest, ADeadPeerIsTheEndAfterItsLastBytes) {
  join(7);
  ASSERT_EQ(a_->write(bytes_of("last words")).value(), 10U);
  a_.reset();
  EXPECT_EQ(all_of(*b_), "last words");
  std::array<std::byte, 10> buffer{};
  EXPECT_EQ(b_->read(buffer).error().code(), ErrorCode::kUnavailable);
}

TEST_F(RegionTest, PartsLieInTheRegionAndStrangersHaveNone) {
  RegionStreams streams(region_);
  for (const RegionPart wrong :
       {RegionPart{0, 0}, RegionPart{0, 4095}, RegionPart{64, 4096}, RegionPart{0, region_->size() + 4096},
        RegionPart{region_->size(), 4096}, RegionPart{~std::uint64_t{4095}, 8192}})
    EXPECT_EQ(streams.give("b", wrong).error().code(), ErrorCode::kInvalid) << wrong.offset;
  EXPECT_TRUE(streams.give("b", {0, 4096}));
  connect();
  EXPECT_EQ(a_->established({.own = "a", .peer = "stranger", .number = 1, .unsent = 0}).error().code(),
            ErrorCode::kRefused);
  EXPECT_FALSE(Region::map(make_file(0)));
}

TEST(RegionOfAGuest, IsTheDeviceOfThatKind) {
  const auto devices = make_temporary_folder("/tmp", "mvm-region-").value();
  EXPECT_EQ(Region::of_guest(devices).error().code(), ErrorCode::kNotFound);
  const auto add = [&](const std::string& name, const std::string& device) {
    ASSERT_TRUE(make_folders(devices / name));
    ASSERT_TRUE(write_file_durably(devices / name / "vendor", "0x1af4\n"));
    ASSERT_TRUE(write_file_durably(devices / name / "device", device + "\n"));
    ASSERT_TRUE(write_file_durably(devices / name / "enable", "0\n"));
    ASSERT_TRUE(write_file_durably(devices / name / "resource2", std::string(8192, name.back())));
  };
  add("0000:00:03.0", "0x1041");
  EXPECT_EQ(Region::of_guest(devices).error().code(), ErrorCode::kNotFound) << "that is a network card";
  add("0000:00:04.5", "0x1110");
  const auto region = Region::of_guest(devices).value();
  EXPECT_EQ(region->size(), 8192U);
  EXPECT_EQ(static_cast<char>(region->data()[0]), '5');
  EXPECT_EQ(read_file(devices / "0000:00:04.5" / "enable", 10).value(), "1\n");
  region->data()[8191] = std::byte{'w'};
  EXPECT_EQ(read_file(devices / "0000:00:04.5" / "resource2", 9000).value().back(), 'w');
  EXPECT_TRUE(remove_tree(devices));
}

}  // namespace
}  // namespace mvm::queuevm
