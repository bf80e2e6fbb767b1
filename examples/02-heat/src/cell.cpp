// SPDX-License-Identifier: Apache-2.0
// One piece of a ring of metal that exchanges heat with its two neighbours.
//
//   cell POINTS STEPS      ports "from-left", "from-right" in; "to-left", "to-right", "result" out
//
// The ring has POINTS points (a multiple of the number of cells); each cell owns an equal run of them.

#include <mvm.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "heat.h"

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "cell %u: %s: %s\n", mvm_index(), what, mvm_error());
  std::exit(1);
}

void send(int port, double value) {
  unsigned char buffer[32];
  mvm_packer message;
  mvm_pack_init(&message, buffer, sizeof buffer);
  if (mvm_pack_f64(&message, value) < 0 || mvm_enqueue(port, buffer, message.size, nullptr) < 0) fail("send");
}

double receive(int port) {
  unsigned char buffer[32];
  const std::int64_t size = mvm_dequeue(port, buffer, sizeof buffer, nullptr);
  if (size < 0) fail("receive");
  mvm_unpacker message;
  mvm_unpack_init(&message, buffer, static_cast<std::size_t>(size));
  double value = 0;
  if (mvm_unpack_f64(&message, &value) < 0) fail("unpack");
  return value;
}

int port(const char* name) {
  const int handle = mvm_port(name, 0);
  if (handle < 0) fail(name);
  return handle;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: cell POINTS STEPS\n");
    return 2;
  }
  const std::size_t points = std::strtoul(argv[1], nullptr, 10);
  const unsigned long steps = std::strtoul(argv[2], nullptr, 10);
  if (mvm_attach() < 0) fail("attach");
  if (points % mvm_count() != 0) {
    std::fprintf(stderr, "cell: %zu points cannot be shared equally by %u cells\n", points, mvm_count());
    return 1;
  }
  const std::size_t own = points / mvm_count();
  const std::size_t first = own * mvm_index();
  const int from_left = port("from-left"), from_right = port("from-right");
  const int to_left = port("to-left"), to_right = port("to-right"), result = port("result");

  std::vector<double> now(own), next(own);
  for (std::size_t i = 0; i < own; ++i) now[i] = heat_at_start(first + i, points);
  for (unsigned long step = 0; step < steps; ++step) {
    send(to_left, now.front());
    send(to_right, now.back());
    const double left = receive(from_left), right = receive(from_right);
    for (std::size_t i = 0; i < own; ++i) {
      next[i] = heat_step(i == 0 ? left : now[i - 1], now[i], i + 1 == own ? right : now[i + 1]);
    }
    now.swap(next);
  }

  std::vector<unsigned char> buffer(own * 8 + 64);
  mvm_packer message;
  mvm_pack_init(&message, buffer.data(), buffer.size());
  mvm_pack_u64(&message, first);
  if (mvm_pack_f64s(&message, now.data(), own) < 0) fail("pack");
  if (mvm_enqueue(result, buffer.data(), message.size, nullptr) < 0) fail("result");
  std::printf("cell %u of %u: points %zu to %zu, %lu steps\n", mvm_index(), mvm_count(), first,
              first + own - 1, steps);
  return mvm_detach() < 0 ? 1 : 0;
}
