// SPDX-License-Identifier: Apache-2.0
// Adds up what the counters found; writes all words, the commonest first, and prints the first of them.
//
//   merger FILE TOP    port "in"

#include <mvm.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "merger: %s: %s\n", what, mvm_error());
  std::exit(1);
}

void add(const unsigned char* data, std::size_t size, std::map<std::string, std::uint64_t>& totals) {
  mvm_unpacker message;
  mvm_unpack_init(&message, data, size);
  std::array<char, 8192> word;
  while (message.position < message.size) {
    std::uint64_t count = 0;
    if (mvm_unpack_string(&message, word.data(), word.size()) < 0 || mvm_unpack_u64(&message, &count) < 0) {
      fail("unpack");
    }
    totals[word.data()] += count;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: merger FILE TOP\n");
    return 2;
  }
  if (mvm_attach() < 0) fail("attach");
  const int in = mvm_port("in", 0);
  if (in < 0) fail("port in");

  std::map<std::string, std::uint64_t> totals;
  std::vector<unsigned char> message(65536);
  std::int64_t size;
  while ((size = mvm_dequeue(in, message.data(), message.size(), nullptr)) >= 0) {
    add(message.data(), static_cast<std::size_t>(size), totals);
  }
  if (size != MVM_EOS) fail("dequeue");

  std::vector<std::pair<std::string, std::uint64_t>> words(totals.begin(), totals.end());
  std::stable_sort(words.begin(), words.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::FILE* file = std::fopen(argv[1], "w");
  if (file == nullptr) {
    std::perror(argv[1]);
    return 1;
  }
  std::uint64_t all = 0;
  for (const auto& [word, count] : words) {
    std::fprintf(file, "%s %llu\n", word.c_str(), static_cast<unsigned long long>(count));
    all += count;
  }
  if (std::fclose(file) != 0) {
    std::perror(argv[1]);
    return 1;
  }
  std::printf("%llu words, %zu different\n", static_cast<unsigned long long>(all), words.size());
  const std::size_t top = std::min<std::size_t>(words.size(), std::strtoul(argv[2], nullptr, 10));
  for (std::size_t i = 0; i < top; ++i) {
    std::printf("%8llu %s\n", static_cast<unsigned long long>(words[i].second), words[i].first.c_str());
  }
  return mvm_detach() < 0 ? 1 : 0;
}
