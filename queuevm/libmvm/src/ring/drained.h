// SPDX-License-Identifier: Apache-2.0
#pragma once
// What managers took out of a stream, as its records tell. docs/formats/ring.md, "Draining".

#include "region.h"

namespace mvm::ring {

struct Drained {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
};

/// What was drained of the messages before this number, which may be in the middle of nothing that was.
inline Drained drained_before(const Region& region, std::uint64_t number) {
  const Drain& drain = region.shared().drain;
  const DrainRecord& record = drain.record[drain.current.load(std::memory_order_acquire) & 1U];
  const std::uint64_t begin = record.begin.load(std::memory_order_acquire);
  const std::uint64_t end = record.end_number.load(std::memory_order_relaxed);
  Drained sum{record.before.load(std::memory_order_relaxed),
              record.bytes_before.load(std::memory_order_relaxed)};
  if (begin < end && number >= end) {
    sum.messages += end - begin;
    sum.bytes += record.bytes.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace mvm::ring
