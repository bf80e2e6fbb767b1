#include <gmock/gmock.h>

#include <cstring>
#include <limits>
#include <random>

#include "mvm.h"
#include "mvm.hpp"

namespace {

TEST(Pack, EveryTypeComesBack) {
  unsigned char buffer[1000];
  mvm_packer packer;
  mvm_pack_init(&packer, buffer, sizeof buffer);
  const double doubles[] = {0.5, -1e300, std::numeric_limits<double>::infinity()};
  const std::int16_t shorts[] = {-1, 0, 32767};
  mvm_pack_bool(&packer, 1);
  mvm_pack_i8(&packer, -128);
  mvm_pack_i16(&packer, -32768);
  mvm_pack_i32(&packer, std::numeric_limits<std::int32_t>::min());
  mvm_pack_i64(&packer, std::numeric_limits<std::int64_t>::min());
  mvm_pack_u8(&packer, 255);
  mvm_pack_u16(&packer, 65535);
  mvm_pack_u32(&packer, 0xfffffffe);
  mvm_pack_u64(&packer, ~std::uint64_t{0});
  mvm_pack_f32(&packer, 1.5F);
  mvm_pack_f64(&packer, -0.1);
  mvm_pack_string(&packer, "héllo");
  mvm_pack_bytes(&packer, "\0\1\2", 3);
  mvm_pack_f64s(&packer, doubles, 3);
  mvm_pack_i16s(&packer, shorts, 3);
  mvm_pack_u8s(&packer, nullptr, 0);
  ASSERT_EQ(packer.status, MVM_OK);

  mvm_unpacker in;
  mvm_unpack_init(&in, buffer, packer.size);
  int flag = 0;
  std::int8_t i8 = 0;
  std::int16_t i16 = 0;
  std::int32_t i32 = 0;
  std::int64_t i64 = 0;
  std::uint8_t u8 = 0;
  std::uint16_t u16 = 0;
  std::uint32_t u32 = 0;
  std::uint64_t u64 = 0;
  float f32 = 0;
  double f64 = 0;
  mvm_unpack_bool(&in, &flag);
  mvm_unpack_i8(&in, &i8);
  mvm_unpack_i16(&in, &i16);
  mvm_unpack_i32(&in, &i32);
  mvm_unpack_i64(&in, &i64);
  mvm_unpack_u8(&in, &u8);
  mvm_unpack_u16(&in, &u16);
  mvm_unpack_u32(&in, &u32);
  mvm_unpack_u64(&in, &u64);
  mvm_unpack_f32(&in, &f32);
  mvm_unpack_f64(&in, &f64);
  EXPECT_EQ(in.status, MVM_OK);
  EXPECT_EQ(flag, 1);
  EXPECT_EQ(i8, -128);
  EXPECT_EQ(i16, -32768);
  EXPECT_EQ(i32, std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(i64, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(u8, 255);
  EXPECT_EQ(u16, 65535);
  EXPECT_EQ(u32, 0xfffffffeU);
  EXPECT_EQ(u64, ~std::uint64_t{0});
  EXPECT_EQ(f32, 1.5F);
  EXPECT_EQ(f64, -0.1);
  char text[10];
  EXPECT_EQ(mvm_unpack_length(&in), 6);
  EXPECT_EQ(mvm_unpack_string(&in, text, 6), MVM_TOOBIG) << "no room for the NUL";
  EXPECT_EQ(mvm_unpack_string(&in, text, 7), 6);
  EXPECT_STREQ(text, "héllo");
  EXPECT_EQ(mvm_unpack_bytes(&in, text, sizeof text), 3);
  EXPECT_EQ(text[2], 2);
  double doubles_back[4];
  EXPECT_EQ(mvm_unpack_f64s(&in, doubles_back, 2), MVM_TOOBIG);
  EXPECT_EQ(mvm_unpack_f64s(&in, doubles_back, 4), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(doubles[i], doubles_back[i]);
  std::int16_t shorts_back[3];
  EXPECT_EQ(mvm_unpack_i16s(&in, shorts_back, 3), 3);
  EXPECT_EQ(std::memcmp(shorts, shorts_back, sizeof shorts), 0);
  EXPECT_EQ(mvm_unpack_u8s(&in, nullptr, 0), 0);
  EXPECT_EQ(mvm_unpack_u8(&in, &u8), MVM_EEND);
  EXPECT_EQ(mvm_unpack_u8(&in, &u8), MVM_EEND) << "the failure stays";
}

TEST(Pack, TheBytesAreTheSameOnEveryMachine) {
  unsigned char buffer[64];
  mvm_packer packer;
  mvm_pack_init(&packer, buffer, sizeof buffer);
  mvm_pack_i32(&packer, 0x01020304);
  mvm_pack_f64(&packer, 1.0);
  mvm_pack_string(&packer, "ab");
  const unsigned char expected[] = {0x13, 4,    3,    2,    1, 0x34, 0, 0, 0,   0,  0,
                                    0,    0xf0, 0x3f, 0xc1, 2, 0,    0, 0, 'a', 'b'};
  ASSERT_EQ(packer.size, sizeof expected);
  EXPECT_EQ(std::memcmp(buffer, expected, sizeof expected), 0);
}

TEST(Pack, AColumnIsPackedAsAnArrayAndUnpackedWithAnotherStride) {
  const std::int32_t matrix[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};  // three rows
  unsigned char buffer[64];
  mvm_packer packer;
  mvm_pack_init(&packer, buffer, sizeof buffer);
  mvm_pack_i32s_strided(&packer, matrix + 1, 3, 3);
  mvm_pack_i32s_strided(&packer, matrix + 8, 3, -4);
  ASSERT_EQ(packer.status, MVM_OK);
  mvm_unpacker in;
  mvm_unpack_init(&in, buffer, packer.size);
  std::int32_t column[3];
  EXPECT_EQ(mvm_unpack_i32s(&in, column, 3), 3);
  EXPECT_THAT(column, testing::ElementsAre(2, 5, 8));
  std::int32_t spread[] = {0, 0, 0, 0, 0};
  EXPECT_EQ(mvm_unpack_i32s_strided(&in, spread, 2, 2), MVM_TOOBIG);
  EXPECT_EQ(mvm_unpack_i32s_strided(&in, spread, 3, 2), 3);
  EXPECT_THAT(spread, testing::ElementsAre(9, 0, 5, 0, 1));
}

TEST(Pack, NestedItemsAreReadOrSkippedAsOne) {
  unsigned char buffer[64];
  mvm_packer packer;
  mvm_pack_init(&packer, buffer, sizeof buffer);
  const std::int64_t outer = mvm_pack_begin(&packer);
  mvm_pack_u8(&packer, 1);
  const std::int64_t inner = mvm_pack_begin(&packer);
  mvm_pack_u8(&packer, 2);
  EXPECT_EQ(mvm_pack_end(&packer, inner), MVM_OK);
  EXPECT_EQ(mvm_pack_end(&packer, outer), MVM_OK);
  mvm_pack_u8(&packer, 3);
  const unsigned char expected[] = {0xf0, 9, 0, 0, 0, 0x21, 1, 0xf0, 2, 0, 0, 0, 0x21, 2, 0x21, 3};
  ASSERT_EQ(packer.size, sizeof expected);
  EXPECT_EQ(std::memcmp(buffer, expected, sizeof expected), 0);

  mvm_unpacker in;
  mvm_unpack_init(&in, buffer, packer.size);
  mvm_unpacker first;
  mvm_unpacker second;
  std::uint8_t value = 0;
  EXPECT_EQ(mvm_unpack_length(&in), 9);
  EXPECT_EQ(mvm_unpack_nested(&in, &first), MVM_OK);
  EXPECT_EQ(mvm_unpack_u8(&first, &value), MVM_OK);
  EXPECT_EQ(mvm_unpack_nested(&first, &second), MVM_OK);
  EXPECT_EQ(mvm_unpack_u8(&second, &value), MVM_OK);
  EXPECT_EQ(value, 2);
  EXPECT_EQ(mvm_unpack_u8(&second, &value), MVM_EEND) << "the inner item has ended";
  EXPECT_EQ(mvm_unpack_u8(&in, &value), MVM_OK);
  EXPECT_EQ(value, 3);

  mvm_unpack_init(&in, buffer, packer.size);
  EXPECT_EQ(mvm_unpack_skip(&in), MVM_OK);
  EXPECT_EQ(mvm_unpack_u8(&in, &value), MVM_OK);
  EXPECT_EQ(value, 3);
  EXPECT_EQ(mvm_unpack_nested(&in, &first), MVM_EEND);
  EXPECT_EQ(mvm_unpack_u8(&first, &value), MVM_EEND) << "the inside of nothing fails too";
}

TEST(Pack, NestingThatNoBytesSupportIsRefused) {
  unsigned char buffer[8];
  mvm_packer packer;
  mvm_pack_init(&packer, buffer, sizeof buffer);
  mvm_pack_u8(&packer, 1);
  EXPECT_EQ(mvm_pack_end(&packer, 0), MVM_EINVAL) << "nothing begins there";
  mvm_pack_init(&packer, buffer, 4);
  EXPECT_EQ(mvm_pack_begin(&packer), MVM_EEND);
  const unsigned char too_long[] = {0xf0, 200, 0, 0, 0, 0x21, 1};
  mvm_unpacker in;
  mvm_unpacker inside;
  mvm_unpack_init(&in, too_long, sizeof too_long);
  EXPECT_EQ(mvm_unpack_nested(&in, &inside), MVM_EEND);
  const unsigned char unknown[] = {0x66, 1};
  mvm_unpack_init(&in, unknown, sizeof unknown);
  EXPECT_EQ(mvm_unpack_skip(&in), MVM_ETYPE);
}

TEST(Pack, AFullBufferAndAWrongTypeStopEverything) {
  unsigned char buffer[10];
  mvm_packer packer;
  mvm_pack_init(&packer, buffer, sizeof buffer);
  EXPECT_EQ(mvm_pack_i64(&packer, 1), MVM_OK);
  EXPECT_EQ(mvm_pack_i16(&packer, 1), MVM_EEND);
  EXPECT_EQ(mvm_pack_i8(&packer, 1), MVM_EEND);
  EXPECT_EQ(packer.size, 9U);
  mvm_unpacker in;
  mvm_unpack_init(&in, buffer, packer.size);
  double wrong = 0;
  EXPECT_EQ(mvm_unpack_f64(&in, &wrong), MVM_ETYPE);
  std::int64_t right = 0;
  EXPECT_EQ(mvm_unpack_i64(&in, &right), MVM_ETYPE);
}

TEST(Pack, AnyBytesAreReadWithoutHarm) {
  std::mt19937 random(4);
  for (int round = 0; round < 20000; ++round) {
    unsigned char bytes[40];
    const std::size_t size = random() % (sizeof bytes + 1);
    for (unsigned char& byte : bytes)
      byte = static_cast<unsigned char>(random() % 4 == 0 ? random() : 0x80 | (random() % 0x50));
    mvm_unpacker in;
    mvm_unpack_init(&in, bytes, size);
    char text[64];
    double doubles[8];
    while (in.status == MVM_OK) {
      const std::size_t before = in.position;
      if (mvm_unpack_length(&in) > 40) {
        ADD_FAILURE() << "a length beyond the bytes";
      }
      if (round % 3 == 0)
        mvm_unpack_string(&in, text, sizeof text);
      else if (round % 3 == 1)
        mvm_unpack_f64s(&in, doubles, 8);
      else
        mvm_unpack_bytes(&in, text, sizeof text);
      ASSERT_LE(in.position, size);
      if (in.position == before) break;
    }
  }
}

TEST(Pack, TheCppFaceRoundTrips) {
  mvm::Packer packer;
  const std::vector<double> row(1000, 2.5);
  packer.add(42).add(std::uint64_t{7}).add("name").add(true).add(1.25F).add(std::span<const double>(row));
  mvm::Unpacker in(packer.bytes());
  EXPECT_EQ(in.get<int>(), 42);
  EXPECT_EQ(in.get<std::uint64_t>(), 7U);
  EXPECT_EQ(in.text(), "name");
  EXPECT_TRUE(in.get<bool>());
  EXPECT_EQ(in.get<float>(), 1.25F);
  EXPECT_EQ(in.doubles(), row);
  EXPECT_FALSE(in.more());
  EXPECT_THROW(in.get<int>(), mvm::Failure);
}

TEST(Pack, TheCppFaceHasArraysOfEveryNumberStridesAndNesting) {
  mvm::Packer packer;
  const std::vector<std::uint16_t> words = {1, 2, 65535};
  const std::vector<long long> longs = {-1, 5};
  const float grid[] = {1, 2, 3, 4};
  packer.add(std::span<const std::uint16_t>(words)).add(std::span<const long long>(longs));
  packer.nest([&](mvm::Packer& inside) {
    inside.add("grid").add_strided(grid, 2, 2);
    inside.nest([](mvm::Packer& deeper) { deeper.add(std::string(1000, 'x')); });
  });
  packer.add(7);
  mvm::Unpacker in(packer.bytes());
  EXPECT_EQ(in.array<std::uint16_t>(), words);
  EXPECT_EQ(in.array<long long>(), longs);
  mvm::Unpacker inside = in.nested();
  EXPECT_EQ(inside.text(), "grid");
  float column[] = {0, 0, 0, 0};
  EXPECT_EQ(inside.strided(column + 1, 2, 2), 2U);
  EXPECT_THAT(column, testing::ElementsAre(0, 1, 0, 3));
  EXPECT_EQ(inside.nested().text().size(), 1000U);
  EXPECT_FALSE(inside.more());
  EXPECT_EQ(in.get<int>(), 7);
  EXPECT_THROW(in.nested(), mvm::Failure);
}

TEST(Api, EveryResultHasItsOwnSentence) {
  std::set<std::string> sentences;
  for (int result = 0; result >= MVM_EBUSY; --result) sentences.insert(mvm_strerror(result));
  EXPECT_EQ(sentences.size(), 16U);
  EXPECT_STREQ(mvm_strerror(-99), "unknown result");
}

TEST(Api, CallsBeforeAttachAreRefused) {
  EXPECT_EQ(mvm_port("in", 0), MVM_ENOTMVM);
  EXPECT_EQ(mvm_enqueue(0, "", 0, nullptr), MVM_ENOTMVM);
  EXPECT_EQ(mvm_detach(), MVM_ENOTMVM);
  EXPECT_STREQ(mvm_job(), "");
}

}  // namespace
