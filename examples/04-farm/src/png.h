// SPDX-License-Identifier: Apache-2.0
// Writes a picture with a colour table as a PNG file, without compression [PNG 1.2, RFC 1950, RFC 1951].
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

class PngWriter {
 public:
  explicit PngWriter(std::FILE* file) : file_(file) {
    ok_ = std::fwrite("\x89PNG\r\n\x1a\n", 1, 8, file_) == 8;
  }

  void chunk(const char* type, const std::vector<std::uint8_t>& data) {
    std::vector<std::uint8_t> bytes(type, type + 4);
    bytes.insert(bytes.end(), data.begin(), data.end());
    number(static_cast<std::uint32_t>(data.size()));
    ok_ = std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size() && ok_;
    number(crc32(bytes));
  }
  [[nodiscard]] bool ok() const { return ok_; }

  static void append(std::vector<std::uint8_t>& to, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<std::uint8_t>(value >> shift));
  }

 private:
  static std::uint32_t crc32(const std::vector<std::uint8_t>& bytes) {
    std::uint32_t crc = 0xFFFFFFFFU;
    for (const std::uint8_t byte : bytes) {
      crc ^= byte;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
    }
    return ~crc;
  }
  void number(std::uint32_t value) {
    std::vector<std::uint8_t> bytes;
    append(bytes, value);
    ok_ = std::fwrite(bytes.data(), 1, 4, file_) == 4 && ok_;
  }

  std::FILE* file_;
  bool ok_ = true;
};

// A zlib stream of stored blocks.
inline std::vector<std::uint8_t> stored(const std::vector<std::uint8_t>& data) {
  std::vector<std::uint8_t> out{0x78, 0x01};
  std::uint32_t a = 1, b = 0;
  for (std::size_t at = 0; at < data.size(); at += 65535) {
    const std::size_t size = std::min<std::size_t>(65535, data.size() - at);
    out.push_back(at + size == data.size() ? 1 : 0);
    for (const std::size_t half : {size, ~size}) {
      out.push_back(static_cast<std::uint8_t>(half & 0xFFU));
      out.push_back(static_cast<std::uint8_t>((half >> 8U) & 0xFFU));
    }
    out.insert(out.end(), data.begin() + static_cast<std::ptrdiff_t>(at),
               data.begin() + static_cast<std::ptrdiff_t>(at + size));
  }
  for (const std::uint8_t byte : data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  PngWriter::append(out, b << 16U | a);
  return out;
}

// Black for 0, then from deep blue over white to orange and back.
inline std::vector<std::uint8_t> colours() {
  std::vector<std::uint8_t> table{0, 0, 0};
  for (unsigned i = 1; i < 256; ++i) {
    const unsigned wave = i * 11 % 512;
    const unsigned ramp = wave < 256 ? wave : 511 - wave;
    table.push_back(static_cast<std::uint8_t>(ramp));
    table.push_back(static_cast<std::uint8_t>(30 + ramp * 200 / 255));
    table.push_back(static_cast<std::uint8_t>(wave < 256 ? 90 + ramp * 165 / 255 : ramp * 120 / 255));
  }
  return table;
}

// `pixels` holds width * height places in the colour table. False where the file cannot be written.
inline bool write_png(const std::string& name, std::uint32_t width, std::uint32_t height,
                      const std::vector<std::uint8_t>& pixels) {
  std::FILE* file = std::fopen(name.c_str(), "wb");
  if (file == nullptr) return false;
  PngWriter png(file);
  std::vector<std::uint8_t> header;
  PngWriter::append(header, width);
  PngWriter::append(header, height);
  header.insert(header.end(), {8, 3, 0, 0, 0});  // 8 bits, colour table, no interlace
  png.chunk("IHDR", header);
  png.chunk("PLTE", colours());
  std::vector<std::uint8_t> rows;
  for (std::size_t row = 0; row < height; ++row) {
    rows.push_back(0);  // no filter
    const auto begin = pixels.begin() + static_cast<std::ptrdiff_t>(row * width);
    rows.insert(rows.end(), begin, begin + width);
  }
  png.chunk("IDAT", stored(rows));
  png.chunk("IEND", {});
  return std::fclose(file) == 0 && png.ok();
}
