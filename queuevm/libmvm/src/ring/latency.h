// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long messages take through a queue, by samples. The message path pays nothing for it: a producer takes
// its next sample where its short way ends anyhow, because the sampler has moved that end here.
// docs/formats/ring.md, "Samples".

#include <algorithm>
#include <bit>

#include "layout.h"

namespace mvm::ring {

inline constexpr unsigned kLatencyFraction = 3;  // eight buckets to each power of two
inline constexpr std::uint32_t kMostSamples = 8192;

/// The bucket of so many nanoseconds.
inline std::uint32_t latency_bucket(std::uint64_t ns) {
  constexpr std::uint64_t kLinear = 1U << kLatencyFraction;
  if (ns < kLinear) return static_cast<std::uint32_t>(ns);
  const auto power = static_cast<unsigned>(std::bit_width(ns)) - 1 - kLatencyFraction;
  const std::uint64_t bucket = (std::uint64_t{power} << kLatencyFraction) + (ns >> power);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(bucket, kLatencyBuckets - 1));
}

/// The middle of a bucket, in nanoseconds.
inline std::uint64_t latency_of(std::uint32_t bucket) {
  constexpr std::uint32_t kLinear = 1U << kLatencyFraction;
  if (bucket < kLinear) return bucket;
  const unsigned power = (bucket >> kLatencyFraction) - 1;
  const std::uint64_t begin = std::uint64_t{kLinear + (bucket & (kLinear - 1))} << power;
  return begin + ((std::uint64_t{1} << power) >> 1);
}

/// Counts one. What came long ago counts ever less: at kMostSamples all are halved. A process killed in the
/// middle of that leaves some buckets too high, for a while.
inline void add_latency(Latencies& all, std::int64_t ns) {
  all.buckets[latency_bucket(ns > 0 ? static_cast<std::uint64_t>(ns) : 0)].fetch_add(
      1, std::memory_order_relaxed);
  std::uint32_t samples = all.samples.fetch_add(1, std::memory_order_relaxed) + 1;
  if (samples < kMostSamples || !all.samples.compare_exchange_strong(samples, samples / 2)) return;
  for (auto& bucket : all.buckets) {
    const std::uint32_t count = bucket.load(std::memory_order_relaxed);
    bucket.fetch_sub(count - count / 2, std::memory_order_relaxed);
  }
}

/// When a producer's next sample is due: about every millisecond, and each message where they are fewer.
class Sampler {
 public:
  /// The count of messages at which one is due. Before it nobody needs to ask.
  [[nodiscard]] std::uint64_t next() const { return next_; }
  /// The message with this count, at this time, was one.
  void took(std::uint64_t count, std::int64_t now) {
    const std::uint64_t messages = count - last_;
    const auto elapsed = static_cast<std::uint64_t>(std::max<std::int64_t>(now - at_, 1));
    // At first, and where it grows, by steps: one burst says little.
    const std::uint64_t wanted = messages >= elapsed ? kMost : messages * kEvery / elapsed;
    interval_ = std::clamp<std::uint64_t>(wanted, 1, std::min(2 * interval_, kMost));
    last_ = count;
    at_ = now;
    next_ = count + interval_;
  }
  /// None could be taken now.
  void missed(std::uint64_t count) { next_ = count + interval_; }
  /// The other side had to be woken, so messages come slowly now, whatever it was before.
  void slow(std::uint64_t count) { next_ = std::min(next_, count + kSlow); }
  /// Counting goes on from here.
  void begin(std::uint64_t count) {
    *this = Sampler();
    next_ = last_ = count;
  }

 private:
  static constexpr std::uint64_t kEvery = 1'000'000;  // ns
  static constexpr std::uint64_t kMost = 16384;       // messages
  static constexpr std::uint64_t kSlow = 64;
  std::uint64_t next_ = 0;
  std::uint64_t last_ = 0;
  std::uint64_t interval_ = 1;
  std::int64_t at_ = 0;
};

}  // namespace mvm::ring
