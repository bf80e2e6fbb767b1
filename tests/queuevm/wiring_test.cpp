#include "mvm/queuevm/wiring.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <random>

#include "mvm/queuevm/attach_server.h"

namespace mvm::queuevm {
namespace {

Wiring example() {
  Wiring wiring;
  wiring.job = "j-17";
  wiring.role = "cell";
  wiring.index = 3;
  wiring.count = 8;
  wiring.descriptors = 3;
  wiring.parameters = {{"n", "8"}, {"name", "Zoë"}, {"empty", ""}};
  wiring.ports = {{"peer", 0, Direction::kIn, Deliver::kOneOf, {{7, 0, 1}, {8, 1, 0, {7, 3}}}},
                  {"peer", 1, Direction::kOut, Deliver::kEveryOne, {{9, 2, 4095}}},
                  {"unused", 0, Direction::kIn, Deliver::kByKey, {}}};
  return wiring;
}

std::span<const std::byte> view(const std::string& bytes) {
  return std::as_bytes(std::span<const char>(bytes));
}

void expect_equal(const Wiring& a, const Wiring& b) { EXPECT_EQ(encode(a).value(), encode(b).value()); }

TEST(WiringTest, ComesBackAsItWas) {
  const std::string bytes = encode(example()).value();
  const Wiring back = decode_wiring(view(bytes)).value();
  EXPECT_EQ(back.job, "j-17");
  EXPECT_EQ(back.index, 3U);
  EXPECT_EQ(back.parameters, example().parameters);
  ASSERT_EQ(back.ports.size(), 3U);
  EXPECT_EQ(back.ports[0].links[1].id, 8U);
  EXPECT_EQ(back.ports[1].direction, Direction::kOut);
  EXPECT_EQ(back.ports[1].deliver, Deliver::kEveryOne);
  EXPECT_EQ(back.ports[1].links[0].slot, 4095U);
  expect_equal(back, example());
}

TEST(WiringTest, IsLittleEndianOnEveryMachine) {
  Wiring wiring;
  wiring.job = "j";
  wiring.role = "r";
  wiring.index = 1;
  wiring.count = 0x01020304;
  const std::string bytes = encode(wiring).value();
  const std::string expected("\1\0\0\0j\1\0\0\0r\1\0\0\0\4\3\2\1\0\0\0\0\0\0\0\0\0\0\0\0", 30);
  EXPECT_EQ(bytes, expected);
}

TEST(WiringTest, EveryCutAndEveryExtraByteIsRefused) {
  const std::string bytes = encode(example()).value();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decode_wiring(view(bytes.substr(0, size)))) << size;
  }
  EXPECT_FALSE(decode_wiring(view(bytes + '\0')));
}

TEST(WiringTest, WhatItAcceptsOfMutatedBytesItCanWriteAgain) {
  const std::string bytes = encode(example()).value();
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string mutated = bytes;
    for (auto hits = random() % 3 + 1; hits > 0; --hits)
      mutated[random() % mutated.size()] = static_cast<char>(random());
    auto wiring = decode_wiring(view(mutated));
    if (!wiring) continue;
    ++accepted;
    EXPECT_EQ(encode(*wiring).value(), mutated);
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 19000);
}

TEST(WiringTest, NonsenseIsRefusedWhenWritten) {
  Wiring twice = example();
  twice.ports.push_back(twice.ports[0]);
  EXPECT_EQ(encode(twice).error().code(), ErrorCode::kInvalid);
  Wiring shared = example();
  shared.ports[2].links = {{1, 0, 1}};
  EXPECT_THAT(encode(shared).error().message(), ::testing::HasSubstr("same end"));
  Wiring outside = example();
  outside.ports[0].links[0].descriptor = 3;
  EXPECT_FALSE(encode(outside));
  Wiring circle = example();
  circle.ports[0].links[0].after = {7};
  EXPECT_FALSE(encode(circle)) << "a link waits for older ones only";
  Wiring index = example();
  index.index = 8;
  EXPECT_FALSE(encode(index));
  Wiring text = example();
  text.parameters[0].second = std::string(5000, 'x');
  EXPECT_FALSE(encode(text));
}

TEST(WiringTableTest, ItsReaderCannotWriteIt) {
  auto table = WiringTable::create(example()).value();
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, table.fd(), 0), MAP_FAILED);
  EXPECT_EQ(::pwrite(table.fd(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(table.fd(), 0), -1);
  void* memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, table.fd(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_EQ(std::string(static_cast<char*>(memory), 8), "MVMWIRE1");
  EXPECT_EQ(table.generation(), 1U);
  Wiring next = example();
  next.ports.pop_back();
  ASSERT_TRUE(table.update(next));
  EXPECT_EQ(table.generation(), 2U);
  EXPECT_EQ(static_cast<unsigned char*>(memory)[16], 2);
  expect_equal(table.current(), next);
  EXPECT_EQ(::munmap(memory, 4096), 0);
}

TEST(WiringTableTest, AWiringThatDoesNotFitChangesNothing) {
  auto table = WiringTable::create(example(), 1024).value();
  Wiring large = example();
  for (std::uint32_t i = 0; i < 200; ++i)
    large.ports.push_back({"p", i, Direction::kIn, Deliver::kOneOf, {}});
  EXPECT_EQ(table.update(large).error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(table.generation(), 1U);
  expect_equal(table.current(), example());
}

TEST(WiringTableTest, AnotherWriterGoesOnWithIt) {
  std::optional<WiringTable> table = WiringTable::create(example()).value();
  void* memory = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, table->fd(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_TRUE(table->update(example()));
  UniqueFd kept(::fcntl(table->keeping_fd(), F_DUPFD_CLOEXEC, 3));
  table.reset();
  auto next = WiringTable::adopt(std::move(kept)).value();
  EXPECT_EQ(next.generation(), 2U);
  expect_equal(next.current(), example());
  Wiring changed = example();
  changed.ports.pop_back();
  ASSERT_TRUE(next.update(changed));
  EXPECT_EQ(static_cast<unsigned char*>(memory)[16], 3) << "the reader of the first one sees it";
  EXPECT_EQ(::munmap(memory, 4096), 0);
  UniqueFd other(::memfd_create("other", MFD_CLOEXEC));
  EXPECT_EQ(WiringTable::adopt(std::move(other)).error().code(), ErrorCode::kCorrupt);
}

TEST(WiringTableTest, AWiringThatOutgrowsItTellsItsReaders) {
  auto table = WiringTable::create(example(), 1024).value();
  Wiring large = example();
  for (std::uint32_t i = 0; i < 200; ++i)
    large.ports.push_back({"p", i, Direction::kIn, Deliver::kOneOf, {}});
  const auto larger = table.outgrow(large).value();
  expect_equal(larger.current(), large);
  expect_equal(table.current(), example());
  EXPECT_EQ(table.generation(), 2U) << "so that its readers ask again";
}

TEST(AttachServerTest, HostilePacketsEndTheServiceAndNothingElse) {
  const auto table = WiringTable::create(example()).value();
  for (const std::string& packet : {std::string("hello"), std::string(16, 'x'), std::string(1000, '\0'),
                                    std::string("MVMA\1\0\1\0\377\377\377\377\0\0\0\0", 16)}) {
    auto sockets = AttachServer::make_sockets().value();
    AttachServer server(std::move(sockets.first), table, [](std::uint32_t) -> Result<UniqueFd> {
      return Error(ErrorCode::kNotFound, "must not be asked");
    });
    EXPECT_TRUE(server.on_readable()) << "nothing there is no failure";
    ASSERT_EQ(::send(sockets.second.get(), packet.data(), packet.size(), 0),
              static_cast<ssize_t>(packet.size()));
    EXPECT_EQ(server.on_readable().error().code(), ErrorCode::kCorrupt);
    EXPECT_FALSE(server.attached());
    sockets.second.reset();
    EXPECT_EQ(server.on_readable().error().code(), ErrorCode::kUnavailable);
  }
}

}  // namespace
}  // namespace mvm::queuevm
