#pragma once
// Five parallel programs, written once for bench/programs: the numbers are worked out by these lines whatever
// carries the messages. What differs is the Net: mpi.cpp computes ranks and tags, mvm.cpp names ports.
//
//   PROGRAM NAME SIZE ROUNDS      NAME: ring | stencil | fft | transpose | pipeline
//
// A Net has index(), count(), send(k, data, bytes), receive(k, data, bytes) of the k-th neighbour out and in,
// swap(pieces) that sends and receives several at once, exchange(piece, use) of one of them, whose
// neighbour's data `use` reads where it is, and all_to_all(bytes, pack, unpack). Each process prints "begin
// T", "end T" (seconds since 1970) and "check SUM".
#include <time.h>

#include <cmath>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <string>
#include <vector>

namespace equal {

struct Piece {
  int neighbour;  // the k-th out
  int from;       // the k-th in
  const void* out;
  void* in;
  std::size_t bytes;
};

inline double clock_now() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// A token of `size` bytes goes round; everybody adds one to each of its words.
template <class Net>
double ring(Net& net, std::size_t size, long rounds) {
  std::vector<std::uint64_t> token(size / 8);
  for (long round = 0; round < rounds; ++round) {
    if (net.index() != 0 || round > 0) net.receive(0, token.data(), size);
    for (std::uint64_t& word : token) ++word;
    net.send(0, token.data(), size);
  }
  if (net.index() == 0) net.receive(0, token.data(), size);
  return static_cast<double>(std::accumulate(token.begin(), token.end(), std::uint64_t{0}));
}

/// Room for arrays at places that do not depend on what a library did to the allocator: how arrays alias in
/// the caches would decide more than what is measured.
class Room {
 public:
  explicit Room(std::size_t bytes)
      : data_(static_cast<char*>(std::aligned_alloc(kAlign, (bytes / kAlign + 1) * kAlign))) {}
  ~Room() { std::free(data_); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  template <class T>
  T* take(std::size_t count) {
    T* array = new (data_ + used_) T[count]();
    used_ += (count * sizeof(T) + 63) / 64 * 64 + kGap;
    return array;
  }
  static constexpr std::size_t kGap = 17 * 64;  ///< between two arrays

 private:
  static constexpr std::size_t kAlign = 2 << 20;
  char* data_;
  std::size_t used_ = 0;
};

/// The five-point stencil on a torus; each process has `size` x `size` points and swaps four edges a round.
/// Neighbours: north, south, east, west.
template <class Net>
double stencil(Net& net, std::size_t size, long rounds) {
  const std::size_t width = size + 2;
  Room room(2 * (width * width * sizeof(double) + 64 + Room::kGap));
  double* now = room.take<double>(width * width);
  double* next = room.take<double>(width * width);
  for (std::size_t i = 0; i < width * width; ++i)
    now[i] = std::sin(static_cast<double>(i + 1) * (net.index() + 1));
  std::vector<double> edges(4 * size), came(4 * size);
  const std::size_t bytes = size * sizeof(double);
  for (long round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < size; ++i) {
      edges[i] = now[width + i + 1];
      edges[size + i] = now[size * width + i + 1];
      edges[2 * size + i] = now[(i + 1) * width + size];
      edges[3 * size + i] = now[(i + 1) * width + 1];
    }
    Piece pieces[4];  // what goes north arrives from the south there
    for (int k = 0; k < 4; ++k)
      pieces[k] = {k, k, edges.data() + static_cast<std::size_t>(k) * size,
                   came.data() + static_cast<std::size_t>(k) * size, bytes};
    net.swap(pieces, 4);
    for (std::size_t i = 0; i < size; ++i) {
      now[i + 1] = came[i];
      now[(size + 1) * width + i + 1] = came[size + i];
      now[(i + 1) * width + size + 1] = came[2 * size + i];
      now[(i + 1) * width] = came[3 * size + i];
    }
    for (std::size_t y = 1; y <= size; ++y) {
      for (std::size_t x = 1; x <= size; ++x) {
        const std::size_t at = y * width + x;
        next[at] = 0.5 * now[at] + 0.125 * (now[at - 1] + now[at + 1] + now[at - width] + now[at + width]);
      }
    }
    std::swap(now, next);
  }
  double sum = 0;
  for (std::size_t y = 1; y <= size; ++y)
    for (std::size_t x = 1; x <= size; ++x) sum += std::fabs(now[y * width + x]);
  return sum;
}

/// In place, decimation in frequency; the result is in bit-reversed order.
inline void local_fft(std::complex<double>* values, std::size_t n, const std::complex<double>* roots,
                      std::size_t all) {
  for (std::size_t half = n / 2; half >= 1; half /= 2) {
    const std::size_t step = all / (2 * half);
    for (std::size_t begin = 0; begin < n; begin += 2 * half) {
      for (std::size_t i = 0; i < half; ++i) {
        const std::complex<double> a = values[begin + i], b = values[begin + half + i];
        values[begin + i] = a + b;
        values[begin + half + i] = (a - b) * roots[i * step];
      }
    }
  }
}

/// A Fast Fourier Transform of `size` points in all. Neighbour k differs in bit log2(count)-1-k.
template <class Net>
double fft(Net& net, std::size_t size, long rounds) {
  const std::size_t mine = size / net.count();
  using Complex = std::complex<double>;
  Room room((size / 2 + 2 * mine) * sizeof(Complex) + 3 * (64 + Room::kGap));
  Complex* roots = room.take<Complex>(size / 2);
  for (std::size_t i = 0; i < size / 2; ++i)
    roots[i] = std::polar(1.0, -2 * M_PI * static_cast<double>(i) / static_cast<double>(size));
  Complex* values = room.take<Complex>(mine);
  Complex* other = room.take<Complex>(mine);
  double sum = 0;
  for (long round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < mine; ++i)
      values[i] =
          std::sin(static_cast<double>((net.index() * mine + i) * (static_cast<std::size_t>(round) + 3)));
    std::size_t group = net.count();
    for (int stage = 0; group > 1; ++stage, group /= 2) {
      Piece piece{stage, stage, values, other, mine * sizeof(Complex)};
      const std::size_t place = net.index() % group;
      const bool upper = place >= group / 2;
      const std::size_t first = (place % (group / 2)) * mine;
      const std::size_t step = size / (group * mine);
      net.exchange(piece, [&](const void* data) {
        const auto* came = static_cast<const Complex*>(data);
        for (std::size_t i = 0; i < mine; ++i)
          values[i] = upper ? (came[i] - values[i]) * roots[(first + i) * step] : values[i] + came[i];
      });
    }
    local_fft(values, mine, roots, size);
    for (std::size_t i = 0; i < mine; ++i) sum += std::abs(values[i]);
  }
  return sum;
}

/// Transposes a matrix of `size` x `size` doubles, of which each process has size/count rows.
template <class Net>
double transpose(Net& net, std::size_t size, long rounds) {
  const std::size_t rows = size / net.count();
  std::vector<double> matrix(rows * size), turned(rows * size);
  for (std::size_t i = 0; i < matrix.size(); ++i)
    matrix[i] = static_cast<double>(net.index() * matrix.size() + i);
  for (long round = 0; round < rounds; ++round) {
    net.all_to_all(
        rows * rows * sizeof(double),
        [&](std::size_t to, double* block) {
          for (std::size_t y = 0; y < rows; ++y)
            std::memcpy(block + y * rows, &matrix[y * size + to * rows], rows * sizeof(double));
        },
        [&](std::size_t from, const double* block) {
          for (std::size_t y = 0; y < rows; ++y)
            for (std::size_t x = 0; x < rows; ++x) turned[y * size + from * rows + x] = block[x * rows + y];
        });
    matrix.swap(turned);
  }
  double sum = 0;
  for (std::size_t i = 0; i < matrix.size(); ++i) sum += matrix[i] * static_cast<double>(i % 7);
  return sum;
}

/// `rounds` messages of `size` bytes pass all processes in a line; each works on every word.
template <class Net>
double pipeline(Net& net, std::size_t size, long rounds) {
  std::vector<std::uint64_t> words(size / 8);
  std::uint64_t sum = 0;
  for (long round = 0; round < rounds; ++round) {
    if (net.index() > 0)
      net.receive(0, words.data(), size);
    else
      std::fill(words.begin(), words.end(), static_cast<std::uint64_t>(round));
    for (std::uint64_t& word : words) word = word * 6364136223846793005U + 1442695040888963407U;
    if (net.index() + 1 < net.count())
      net.send(0, words.data(), size);
    else
      sum += words[static_cast<std::size_t>(round) % words.size()] % 1000;
  }
  return static_cast<double>(sum);
}

template <class Net>
void run(Net& net, const std::string& name, std::size_t size, long rounds) {
  const double begin = clock_now();
  const double check = name == "ring"        ? ring(net, size, rounds)
                       : name == "stencil"   ? stencil(net, size, rounds)
                       : name == "fft"       ? fft(net, size, rounds)
                       : name == "transpose" ? transpose(net, size, rounds)
                                             : pipeline(net, size, rounds);
  std::printf("begin %.6f\nend %.6f\ncheck %.6f\n", begin, clock_now(), check);
}

}  // namespace equal
