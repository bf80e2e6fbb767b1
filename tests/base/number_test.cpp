#include "mvm/base/number.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>

namespace mvm {
namespace {

TEST(WholeNumber, IsTheWholeText) {
  EXPECT_EQ(whole_number<std::uint16_t>("65535"), 65535);
  EXPECT_EQ(whole_number<std::uint64_t>("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(whole_number<int>("-7"), -7);
  EXPECT_EQ(whole_number<unsigned>("007"), 7U);
  EXPECT_EQ(whole_number<std::uint32_t>("fF", 16), 255U);
  EXPECT_EQ(whole_number<std::uint16_t>(std::string_view("80/tcp").substr(0, 2)), 80);
  EXPECT_EQ(whole_number<double>("-2.5e3"), -2500.0);
  EXPECT_TRUE(std::isinf(whole_number<double>("inf").value_or(0)));
}

TEST(WholeNumber, IsNothingElse) {
  for (const char* text : {"", " 7", "7 ", "7\n", "+7", "0x7", "7.0", "seven", "7,", "-", "-7"})
    EXPECT_FALSE(whole_number<unsigned>(text)) << text;
  EXPECT_FALSE(whole_number<unsigned>(std::string_view("7\0", 2)));
  EXPECT_FALSE(whole_number<unsigned>(std::string_view()));
  EXPECT_FALSE(whole_number<unsigned>("9", 8));
  EXPECT_FALSE(whole_number<double>("2.5x"));
}

TEST(WholeNumber, IsInTheRangeOfItsType) {
  EXPECT_FALSE(whole_number<std::uint16_t>("65536"));
  EXPECT_FALSE(whole_number<std::int8_t>("-129"));
  EXPECT_FALSE(whole_number<std::uint64_t>("18446744073709551616"));
  EXPECT_FALSE(whole_number<double>("1e999"));
}

}  // namespace
}  // namespace mvm
