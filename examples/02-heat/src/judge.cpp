// SPDX-License-Identifier: Apache-2.0
// Puts the ring together, writes it, and compares it with the answer of one process alone.
//
//   judge POINTS STEPS FILE      port "results", in

#include <mvm.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "heat.h"

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "judge: %s: %s\n", what, mvm_error());
  std::exit(1);
}

std::vector<double> serial_answer(std::size_t points, unsigned long steps) {
  std::vector<double> now(points), next(points);
  for (std::size_t i = 0; i < points; ++i) now[i] = heat_at_start(i, points);
  for (unsigned long step = 0; step < steps; ++step) {
    for (std::size_t i = 0; i < points; ++i) {
      next[i] = heat_step(now[(i + points - 1) % points], now[i], now[(i + 1) % points]);
    }
    now.swap(next);
  }
  return now;
}

// Takes every cell's run of points; returns how many points came.
std::size_t gather(int port, std::vector<double>& ring) {
  std::vector<unsigned char> buffer(ring.size() * 8 + 64);
  std::size_t received = 0;
  std::int64_t size;
  while ((size = mvm_dequeue(port, buffer.data(), buffer.size(), nullptr)) >= 0) {
    mvm_unpacker message;
    mvm_unpack_init(&message, buffer.data(), static_cast<std::size_t>(size));
    std::uint64_t first = 0;
    if (mvm_unpack_u64(&message, &first) < 0 || first > ring.size()) fail("unpack");
    const std::int64_t count = mvm_unpack_f64s(&message, ring.data() + first, ring.size() - first);
    if (count < 0) fail("unpack");
    received += static_cast<std::size_t>(count);
  }
  if (size != MVM_EOS) fail("dequeue");
  return received;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: judge POINTS STEPS FILE\n");
    return 2;
  }
  const std::size_t points = std::strtoul(argv[1], nullptr, 10);
  const unsigned long steps = std::strtoul(argv[2], nullptr, 10);
  if (mvm_attach() < 0) fail("attach");
  const int results = mvm_port("results", 0);
  if (results < 0) fail("port results");

  std::vector<double> ring(points);
  const std::size_t received = gather(results, ring);
  std::FILE* file = std::fopen(argv[3], "w");
  if (file == nullptr) {
    std::perror(argv[3]);
    return 1;
  }
  for (std::size_t i = 0; i < points; ++i) std::fprintf(file, "%zu,%.6f\n", i, ring[i]);
  if (std::fclose(file) != 0) {
    std::perror(argv[3]);
    return 1;
  }

  const std::vector<double> serial = serial_answer(points, steps);
  std::size_t different = 0;
  for (std::size_t i = 0; i < points; ++i) different += ring[i] != serial[i] ? 1U : 0U;
  if (received != points || different != 0) {
    std::printf("heat: WRONG: %zu of %zu points came, %zu differ from the serial answer\n", received, points,
                different);
    return 1;
  }
  std::printf("heat: all %zu points after %lu steps equal the serial answer\n", points, steps);
  return mvm_detach() < 0 ? 1 : 0;
}
