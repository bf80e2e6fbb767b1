#pragma once
// The engine's ends, for tests that need what Producer and Consumer do not offer: room in place, copying.

#include <stdexcept>

#include "mvm.h"
#include "mvm/queuevm/queue.h"
#include "ring/claims_quick.h"
#include "ring/wait.h"

namespace mvm::test {

inline ring::Region open_region(const queuevm::Queue& queue) {
  UniqueFd fd = queue.open_descriptor().value();
  ring::Region region;
  std::string why;
  if (region.open(fd.get(), why) != MVM_OK) throw std::runtime_error(why);
  static_cast<void>(fd.release());
  return region;
}

inline ring::End attach(const queuevm::Queue& queue, ring::Side side, std::uint32_t slot) {
  ring::End end;
  std::string why;
  if (end.attach(open_region(queue), side, slot, false, why) != MVM_OK) throw std::runtime_error(why);
  return end;
}

}  // namespace mvm::test
