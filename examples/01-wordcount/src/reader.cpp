// SPDX-License-Identifier: Apache-2.0
// Cuts a text into pieces of whole words and hands them to whoever is free.
//
//   reader FILE        port "out"

#include <mvm.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace {

constexpr std::size_t kPiece = 1024;  // bytes

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "reader: %s: %s\n", what, mvm_error());
  std::exit(1);
}

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

// The length of the longest piece from `start` on that does not end inside a word.
std::size_t piece_length(const std::string& text, std::size_t start) {
  std::size_t end = std::min(start + kPiece, text.size());
  if (end == text.size()) return end - start;
  while (end > start && is_letter(text[end - 1]) && is_letter(text[end])) --end;
  return end > start ? end - start : kPiece;  // a "word" longer than a piece is no word
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: reader FILE\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "reader: cannot open %s\n", argv[1]);
    return 1;
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};

  if (mvm_attach() < 0) fail("attach");
  const int out = mvm_port("out", 0);
  if (out < 0) fail("port out");
  std::size_t sent = 0;
  for (std::size_t at = 0; at < text.size(); ++sent) {
    const std::size_t length = piece_length(text, at);
    if (mvm_enqueue(out, text.data() + at, length, nullptr) < 0) fail("enqueue");
    at += length;
  }
  std::printf("reader: %zu bytes in %zu pieces\n", text.size(), sent);
  return mvm_detach() < 0 ? 1 : 0;
}
