// SPDX-License-Identifier: Apache-2.0
// Reads an instruction stream, a line of text each, and orders its unit to do what it says.
//
//   control            ports "program" (open) and "order"

#include <cstdio>
#include <map>
#include <mvm.hpp>
#include <sstream>
#include <string>

#include "machine.h"

int main() try {
  static const std::map<std::string, Op> kNames = {{"in", Op::kIn},   {"push", Op::kPush}, {"add", Op::kAdd},
                                                   {"sub", Op::kSub}, {"mul", Op::kMul},   {"div", Op::kDiv},
                                                   {"dup", Op::kDup}, {"out", Op::kOut}};
  const mvm::Process self;
  auto program = self.in<char>("program");
  const auto order = self.out<Instruction>("order");
  std::size_t count = 0;
  while (const auto line = program.receive_all()) {
    std::istringstream words(std::string(line->begin(), line->end()));
    std::string name;
    if (!(words >> name) || name.starts_with("#")) continue;
    const auto op = kNames.find(name);
    Instruction instruction{op == kNames.end() ? Op::kOut : op->second, 0, 0};
    if (op == kNames.end() || (instruction.op == Op::kPush && !(words >> instruction.operand))) {
      std::fprintf(stderr, "control %u: no instruction: %.*s\n", self.index(), static_cast<int>(line->size()),
                   line->data());
      return 1;
    }
    order.send(instruction);
    ++count;
  }
  std::printf("control %u: %zu instructions\n", self.index(), count);
  return 0;
} catch (const mvm::Failure& failure) {
  std::fprintf(stderr, "control: %s\n", failure.what());
  return 1;
}
