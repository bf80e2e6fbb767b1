// SPDX-License-Identifier: Apache-2.0
// A stack machine: takes its orders until their stream ends, then carries them out for each number of its
// data stream.
//
//   unit            ports "order", "data" (open) and "result" (open)

#include <charconv>
#include <cstdio>
#include <mvm.hpp>
#include <string>
#include <vector>

#include "machine.h"

namespace {

struct Unit {
  std::vector<Instruction> program;
  std::vector<std::int64_t> stack;

  std::int64_t pop() {
    if (stack.empty()) throw std::runtime_error("the stack is empty");
    const std::int64_t value = stack.back();
    stack.pop_back();
    return value;
  }

  /// The numbers that the program puts out for this one.
  std::vector<std::int64_t> run(std::int64_t datum) {
    std::vector<std::int64_t> out;
    stack.clear();
    for (const Instruction& instruction : program) {
      if (instruction.op == Op::kOut) {
        out.push_back(pop());
        continue;
      }
      stack.push_back(instruction.op == Op::kIn     ? datum
                      : instruction.op == Op::kPush ? instruction.operand
                                                    : compute(instruction.op));
    }
    return out;
  }

  std::int64_t compute(Op op) {
    const std::int64_t right = pop();
    if (op == Op::kDup) {
      stack.push_back(right);
      return right;
    }
    const std::int64_t left = pop();
    if (op == Op::kDiv && right == 0) throw std::runtime_error("division by zero");
    return op == Op::kAdd   ? left + right
           : op == Op::kSub ? left - right
           : op == Op::kMul ? left * right
                            : left / right;
  }
};

}  // namespace

int main() try {
  const mvm::Process self;
  auto order = self.in<Instruction>("order");
  auto data = self.in<char>("data");
  const auto result = self.out<char>("result");
  Unit unit;
  while (const auto instruction = order.receive_all())
    unit.program.insert(unit.program.end(), instruction->begin(), instruction->end());
  std::size_t count = 0;
  while (const auto text = data.receive_all()) {
    std::int64_t datum = 0;
    if (std::from_chars(text->data(), text->data() + text->size(), datum).ec != std::errc())
      throw std::runtime_error("no number: " + std::string(text->begin(), text->end()));
    for (const std::int64_t value : unit.run(datum)) {
      const std::string line = std::to_string(value);
      result.send(std::span<const char>(line));
    }
    ++count;
  }
  std::printf("unit %u: %zu numbers\n", self.index(), count);
  return 0;
} catch (const std::exception& failure) {
  std::fprintf(stderr, "unit: %s\n", failure.what());
  return 1;
}
