// Whose part of a lab's shared memory is where.
#include "lab_region.h"

#include <gtest/gtest.h>

#include <map>

#include "mvm/host/host_agent.h"

namespace mvm::host {
namespace {

TEST(LabRegion, EachPairHasAPartOfItsOwn) {
  for (std::uint32_t seats = 1; seats <= kMostRegionSeats; ++seats) {
    const RegionPlan plan = plan_region(seats);
    EXPECT_EQ(plan.bytes & (plan.bytes - 1), 0U);
    EXPECT_GE(plan.bytes, 1U << 20U);
    EXPECT_LE(plan.bytes, 64U << 20U);
    EXPECT_GE(plan.part, 128U << 10U);
    std::map<std::uint64_t, std::uint64_t> taken;  // begin → end
    for (std::uint32_t one = 0; one <= seats; ++one)
      for (std::uint32_t other = 0; other < one; ++other) {
        const auto part = part_of(seats, one, other).value();
        EXPECT_EQ(part, part_of(seats, other, one).value()) << "the same for both";
        EXPECT_LE(part.offset + part.bytes, plan.bytes);
        EXPECT_TRUE(taken.emplace(part.offset, part.offset + part.bytes).second);
      }
    std::uint64_t last = 0;
    for (const auto& [begin, end] : taken) {
      EXPECT_GE(begin, last) << "parts overlap";
      last = end;
    }
  }
  EXPECT_EQ(plan_region(2).bytes, 8U << 20U);
  EXPECT_EQ(plan_region(8).part, 1U << 20U);
}

TEST(LabRegion, WhoHasNoSeatHasNoPart) {
  EXPECT_EQ(plan_region(0).bytes, 0U);
  EXPECT_EQ(plan_region(kMostRegionSeats + 1).bytes, 0U);
  EXPECT_FALSE(part_of(0, 0, 1));
  EXPECT_FALSE(part_of(3, 2, 2));
  EXPECT_FALSE(part_of(3, 0, 4));
  EXPECT_FALSE(part_of(kMostRegionSeats + 1, 0, 1));
}

}  // namespace
}  // namespace mvm::host
