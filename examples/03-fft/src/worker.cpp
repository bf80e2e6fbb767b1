// SPDX-License-Identifier: Apache-2.0
// One of 2^d processes that together make a Fast Fourier Transform (decimation in frequency).
//
//   worker POINTS      port arrays "to-peer" out and "from-peer" in, port "spectrum" out
//
// Each worker owns an equal run of the samples. In d rounds it exchanges its whole run with a peer and
// combines both: round r joins runs that lie POINTS / 2^(r+1) samples apart, and element r of the port arrays
// leads to the worker that has the other one. After that the runs are independent, and each is transformed
// alone. Where a peer is, and over what the samples travel, is written in the topology.

#include <mvm.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "signal.h"

namespace {

constexpr std::size_t kPiece = 512;  // samples in a message

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "worker %u: %s: %s\n", mvm_index(), what, mvm_error());
  std::exit(1);
}

int port(const char* name, unsigned element) {
  const int handle = mvm_port(name, element);
  if (handle < 0) fail(name);
  return handle;
}

void send(int to, std::uint64_t label, const Complex* samples, std::size_t count) {
  unsigned char buffer[kPiece * 16 + 64];
  mvm_packer message;
  mvm_pack_init(&message, buffer, sizeof buffer);
  mvm_pack_u64(&message, label);
  // A complex number is laid out as two doubles [complex.numbers.general].
  if (mvm_pack_f64s(&message, reinterpret_cast<const double*>(samples), 2 * count) < 0) fail("pack");
  if (mvm_enqueue(to, buffer, message.size, nullptr) < 0) fail("send");
}

void receive(int from, std::uint64_t label, Complex* samples, std::size_t count) {
  unsigned char buffer[kPiece * 16 + 64];
  const std::int64_t size = mvm_dequeue(from, buffer, sizeof buffer, nullptr);
  if (size < 0) fail("receive");
  mvm_unpacker message;
  mvm_unpack_init(&message, buffer, static_cast<std::size_t>(size));
  std::uint64_t came = 0;
  mvm_unpack_u64(&message, &came);
  const std::int64_t values = mvm_unpack_f64s(&message, reinterpret_cast<double*>(samples), 2 * count);
  if (values != static_cast<std::int64_t>(2 * count) || came != label) fail("a peer sent something else");
}

// Gives the run to a peer and takes the peer's, piece by piece, so that no queue need hold a whole run.
void exchange(int to, int from, const std::vector<Complex>& mine, std::vector<Complex>& theirs) {
  for (std::size_t at = 0; at < mine.size(); at += kPiece) {
    const std::size_t count = std::min(kPiece, mine.size() - at);
    send(to, at, mine.data() + at, count);
    receive(from, at, theirs.data() + at, count);
  }
}

// One round: `span` samples form a group of 2 runs' halves; mine is the upper or the lower half's run.
void combine(std::vector<Complex>& mine, const std::vector<Complex>& theirs, std::size_t first,
             std::size_t span) {
  const bool upper = (first & (span / 2)) != 0;
  const std::size_t offset = first & (span / 2 - 1);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    mine[i] = upper ? (theirs[i] - mine[i]) * root(offset + i, span) : mine[i] + theirs[i];
  }
}

// The same transform for a run alone. Leaves it in bit-reversed order.
void transform(std::vector<Complex>& run) {
  for (std::size_t span = run.size(); span > 1; span /= 2) {
    for (std::size_t group = 0; group < run.size(); group += span) {
      for (std::size_t i = 0; i < span / 2; ++i) {
        Complex& low = run[group + i];
        Complex& high = run[group + i + span / 2];
        const Complex difference = low - high;
        low += high;
        high = difference * root(i, span);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: worker POINTS\n");
    return 2;
  }
  const std::size_t points = std::strtoul(argv[1], nullptr, 10);
  if (mvm_attach() < 0) fail("attach");
  const unsigned rounds = mvm_port_size("to-peer");
  if (mvm_count() != 1U << rounds || !std::has_single_bit(points) || points < 2 * std::size_t{mvm_count()}) {
    std::fprintf(stderr, "worker: %zu points on %u workers with %u peers each: both must be powers of 2\n",
                 points, mvm_count(), rounds);
    return 1;
  }
  const std::size_t own = points / mvm_count();
  const std::size_t first = own * mvm_index();

  std::vector<Complex> run(own), other(own);
  for (std::size_t i = 0; i < own; ++i) run[i] = signal_at(first + i, points);
  for (unsigned round = 0; round < rounds; ++round) {
    exchange(port("to-peer", round), port("from-peer", round), run, other);
    combine(run, other, first, points >> round);
  }
  transform(run);

  const int spectrum = port("spectrum", 0);
  for (std::size_t at = 0; at < own; at += kPiece) {
    send(spectrum, first + at, run.data() + at, std::min(kPiece, own - at));
  }
  std::printf("worker %u of %u: %zu samples, %u rounds\n", mvm_index(), mvm_count(), own, rounds);
  return mvm_detach() < 0 ? 1 : 0;
}
