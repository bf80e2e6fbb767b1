// SPDX-License-Identifier: Apache-2.0
// What control and unit agree on: an instruction as it travels over the link "order".
#pragma once

#include <cstdint>

enum class Op : std::uint32_t { kIn, kPush, kAdd, kSub, kMul, kDiv, kDup, kOut };

struct Instruction {
  Op op;
  std::uint32_t unused;
  std::int64_t operand;  // of kPush
};
