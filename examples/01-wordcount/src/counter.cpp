// SPDX-License-Identifier: Apache-2.0
// Counts the words of the pieces it gets; when there are no more, passes its counts on.
//
//   counter            ports "in" and "out"

#include <mvm.h>

#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "counter: %s: %s\n", what, mvm_error());
  std::exit(1);
}

void count_words(std::string_view piece, std::map<std::string, std::uint64_t>& counts) {
  std::string word;
  for (const char c : piece) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalpha(byte) != 0) {
      word.push_back(static_cast<char>(std::tolower(byte)));
    } else if (!word.empty()) {
      ++counts[word];
      word.clear();
    }
  }
  if (!word.empty()) ++counts[word];
}

// Sends pairs (word, count), as many as fit in a message.
void send(int port, const std::map<std::string, std::uint64_t>& counts) {
  std::array<unsigned char, 16384> buffer;
  mvm_packer message;
  mvm_pack_init(&message, buffer.data(), buffer.size());
  for (const auto& [word, count] : counts) {
    if (message.size + word.size() + 64 > buffer.size()) {
      if (mvm_enqueue(port, buffer.data(), message.size, nullptr) < 0) fail("enqueue");
      mvm_pack_init(&message, buffer.data(), buffer.size());
    }
    mvm_pack_string(&message, word.c_str());
    if (mvm_pack_u64(&message, count) < 0) fail("pack");
  }
  if (message.size > 0 && mvm_enqueue(port, buffer.data(), message.size, nullptr) < 0) fail("enqueue");
}

}  // namespace

int main() {
  if (mvm_attach() < 0) fail("attach");
  const int in = mvm_port("in", 0);
  const int out = mvm_port("out", 0);
  if (in < 0 || out < 0) fail("ports");

  std::map<std::string, std::uint64_t> counts;
  std::vector<char> piece(8192);
  std::size_t taken = 0;
  std::int64_t size;
  while ((size = mvm_dequeue(in, piece.data(), piece.size(), nullptr)) >= 0) {
    count_words({piece.data(), static_cast<std::size_t>(size)}, counts);
    ++taken;
  }
  if (size != MVM_EOS) fail("dequeue");
  send(out, counts);
  std::printf("counter %u of %u: %zu pieces, %zu different words\n", mvm_index(), mvm_count(), taken,
              counts.size());
  return mvm_detach() < 0 ? 1 : 0;
}
