// Stands in for libFuzzer in builds without it: feeds a fuzz target its seeds and, for some seconds,
// mutations of them. The mutations of a run are numbered; a crash names its number, and the same number makes
// the same input.
//
//   NAME_fuzz SECONDS [SEED-FILE-OR-FOLDER...] [--only NUMBER]

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

// What a crash handler may read.
volatile std::uint64_t current = 0;

void say_number(int signal) {
  char text[64];
  const int size = std::snprintf(text, sizeof text, "\ncrash at input --only %llu\n",
                                 static_cast<unsigned long long>(current));
  static_cast<void>(!::write(2, text, static_cast<std::size_t>(size)));
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

std::vector<Bytes> read_seeds(const std::vector<std::filesystem::path>& places) {
  std::vector<Bytes> seeds{{}};
  const auto take = [&](const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  };
  for (const auto& place : places) {
    if (!std::filesystem::is_directory(place)) {
      take(place);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(place)) {
      if (entry.is_regular_file()) take(entry.path());
    }
  }
  return seeds;
}

/// One of libFuzzer's simpler mutations, several times over.
Bytes mutate(const std::vector<Bytes>& seeds, std::uint64_t number) {
  std::mt19937_64 random(number);
  const auto below = [&](std::size_t limit) { return limit == 0 ? 0 : random() % limit; };
  Bytes bytes = seeds[below(seeds.size())];
  for (std::size_t turns = 1 + below(8); turns > 0; --turns) {
    const std::size_t at = below(bytes.size() + 1);
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(7)) {
      case 0:
        if (at < bytes.size()) bytes[at] ^= static_cast<std::uint8_t>(1U << below(8));
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<std::uint8_t>(random());
        break;
      case 2:
        bytes.insert(place, static_cast<std::uint8_t>(random()));
        break;
      case 3:
        bytes.erase(place, place + static_cast<std::ptrdiff_t>(
                                       below(std::min<std::size_t>(bytes.size() - at, 16) + 1)));
        break;
      case 4: {  // a piece of a seed
        const Bytes& other = seeds[below(seeds.size())];
        const std::size_t from = below(other.size() + 1);
        const std::size_t size = below(std::min<std::size_t>(other.size() - from, 64) + 1);
        const auto first = other.begin() + static_cast<std::ptrdiff_t>(from);
        const Bytes piece(first, first + static_cast<std::ptrdiff_t>(size));
        bytes.insert(place, piece.begin(), piece.end());
        break;
      }
      case 5: {  // a number at its limits
        static constexpr std::uint64_t kLimits[] = {0,          1,          0x7f,       0x80, 0xffff,
                                                    0x7fffffff, 0x80000000, 0xffffffff, ~0ULL};
        const std::uint64_t value = kLimits[below(std::size(kLimits))];
        const std::size_t width = std::size_t{1} << below(4);
        if (at + width <= bytes.size()) std::memcpy(bytes.data() + at, &value, width);
        break;
      }
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

void feed(const Bytes& bytes) { LLVMFuzzerTestOneInput(bytes.data(), bytes.size()); }

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s SECONDS [SEED...] [--only NUMBER]\n", argv[0]);
    return 2;
  }
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) ::signal(signal, say_number);
  std::vector<std::filesystem::path> places;
  const char* only = nullptr;
  for (int i = 2; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--only" && i + 1 < argc) {
      only = argv[++i];
    } else {
      places.emplace_back(argv[i]);
    }
  }
  const std::vector<Bytes> seeds = read_seeds(places);
  if (only != nullptr) {
    feed(mutate(seeds, std::strtoull(only, nullptr, 10)));
    return 0;
  }
  for (const Bytes& seed : seeds) feed(seed);
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::seconds(static_cast<int>(std::strtol(argv[1], nullptr, 10)));
  std::uint64_t number = 0;
  while (std::chrono::steady_clock::now() < end) {
    current = ++number;
    feed(mutate(seeds, number));
  }
  std::printf("%zu seeds, %llu mutations\n", seeds.size(), static_cast<unsigned long long>(number));
  return 0;
}
