// SPDX-License-Identifier: Apache-2.0
// Puts the spectrum in order, writes its peaks, and compares it with the transform made by one process alone.
//
//   judge POINTS TOLERANCE FILE      port "spectra", in

#include <mvm.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "signal.h"

namespace {

constexpr std::size_t kPeaks = 24;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "judge: %s: %s\n", what, mvm_error());
  std::exit(1);
}

// The textbook's recursive transform: another algorithm than the workers' (decimation in time).
std::vector<Complex> serial_transform(const std::vector<Complex>& samples) {
  const std::size_t n = samples.size();
  if (n == 1) return samples;
  std::vector<Complex> even(n / 2), odd(n / 2);
  for (std::size_t i = 0; i < n / 2; ++i) {
    even[i] = samples[2 * i];
    odd[i] = samples[2 * i + 1];
  }
  even = serial_transform(even);
  odd = serial_transform(odd);
  std::vector<Complex> result(n);
  for (std::size_t k = 0; k < n / 2; ++k) {
    const Complex turned = root(k, n) * odd[k];
    result[k] = even[k] + turned;
    result[k + n / 2] = even[k] - turned;
  }
  return result;
}

// One value of the spectrum straight from its definition.
Complex by_definition(const std::vector<Complex>& samples, std::size_t k) {
  Complex sum = 0;
  for (std::size_t t = 0; t < samples.size(); ++t)
    sum += samples[t] * root(k * t % samples.size(), samples.size());
  return sum;
}

// The workers' values come in bit-reversed order; returns how many came.
std::size_t gather(int port, std::vector<Complex>& spectrum) {
  const auto bits = static_cast<unsigned>(std::countr_zero(spectrum.size()));
  std::vector<unsigned char> buffer(65536);
  std::vector<double> values(8192);
  std::size_t received = 0;
  std::int64_t size;
  while ((size = mvm_dequeue(port, buffer.data(), buffer.size(), nullptr)) >= 0) {
    mvm_unpacker message;
    mvm_unpack_init(&message, buffer.data(), static_cast<std::size_t>(size));
    std::uint64_t first = 0;
    mvm_unpack_u64(&message, &first);
    const std::int64_t count = mvm_unpack_f64s(&message, values.data(), values.size());
    const auto samples = static_cast<std::size_t>(std::max<std::int64_t>(count, 0)) / 2;
    if (count < 0 || first > spectrum.size() || samples > spectrum.size() - first) fail("unpack");
    for (std::size_t i = 0; i < samples; ++i) {
      spectrum[reversed(first + i, bits)] = {values[2 * i], values[2 * i + 1]};
    }
    received += samples;
  }
  if (size != MVM_EOS) fail("dequeue");
  return received;
}

// The largest deviation, as a share of the largest value.
double deviation(const std::vector<Complex>& spectrum, const std::vector<Complex>& samples) {
  const std::vector<Complex> serial = serial_transform(samples);
  double largest = 0, worst = 0;
  for (const Complex& value : serial) largest = std::max(largest, std::abs(value));
  for (std::size_t k = 0; k < serial.size(); ++k) worst = std::max(worst, std::abs(spectrum[k] - serial[k]));
  for (const std::size_t k : {std::size_t{0}, std::size_t{17}, samples.size() / 3, samples.size() - 1}) {
    if (k < samples.size()) worst = std::max(worst, std::abs(spectrum[k] - by_definition(samples, k)));
  }
  return worst / largest;
}

// The `kPeaks` strongest frequencies, in order of frequency.
void write(const char* name, const std::vector<Complex>& spectrum) {
  std::vector<std::size_t> strongest(spectrum.size());
  std::iota(strongest.begin(), strongest.end(), 0);
  const auto peaks = static_cast<std::ptrdiff_t>(std::min(kPeaks, strongest.size()));
  std::partial_sort(
      strongest.begin(), strongest.begin() + peaks, strongest.end(),
      [&](std::size_t a, std::size_t b) { return std::abs(spectrum[a]) > std::abs(spectrum[b]); });
  std::sort(strongest.begin(), strongest.begin() + peaks);
  std::FILE* file = std::fopen(name, "w");
  if (file == nullptr) {
    std::perror(name);
    std::exit(1);
  }
  for (std::ptrdiff_t i = 0; i < peaks; ++i) {
    const std::size_t k = strongest[static_cast<std::size_t>(i)];
    std::fprintf(file, "%zu,%.4f\n", k, std::abs(spectrum[k]));
  }
  if (std::fclose(file) != 0) {
    std::perror(name);
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: judge POINTS TOLERANCE FILE\n");
    return 2;
  }
  const std::size_t points = std::strtoul(argv[1], nullptr, 10);
  const double tolerance = std::strtod(argv[2], nullptr);
  if (!std::has_single_bit(points)) {
    std::fprintf(stderr, "judge: the number of points must be a power of 2\n");
    return 1;
  }
  if (mvm_attach() < 0) fail("attach");
  const int spectra = mvm_port("spectra", 0);
  if (spectra < 0) fail("port spectra");

  std::vector<Complex> spectrum(points), samples(points);
  const std::size_t received = gather(spectra, spectrum);
  for (std::size_t t = 0; t < points; ++t) samples[t] = signal_at(t, points);
  write(argv[3], spectrum);

  const double worst = deviation(spectrum, samples);
  if (received != points || !(worst <= tolerance)) {
    std::printf("fft: WRONG: %zu of %zu values came, deviation from the serial transform %.3g\n", received,
                points, worst);
    return 1;
  }
  std::printf("fft: all %zu values agree with the serial transform to %s\n", points, argv[2]);
  std::printf("fft: largest deviation %.2g\n", worst);
  return mvm_detach() < 0 ? 1 : 0;
}
