#pragma once
// libmvm's neutral encoding (docs/formats/packing.md) for records of any size: a growing writer, and a reader
// that checks once, at the end. Neither throws.

#include <cstdint>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm::registry {

/// Appends packed values to its own bytes.
class PackWriter {
 public:
  PackWriter& number(std::uint64_t value);
  PackWriter& flag(bool value);
  PackWriter& bytes(std::string_view value);
  /// A string; the text up to its first NUL.
  PackWriter& text(const std::string& value);
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads what a PackWriter wrote. After the first fault everything it answers is 0 or empty.
class PackReader {
 public:
  /// The bytes outlive the reader.
  explicit PackReader(std::string_view bytes) : bytes_(bytes) {}
  [[nodiscard]] std::uint64_t number();
  /// A number of at most `most`.
  [[nodiscard]] std::uint64_t number(std::uint64_t most);
  [[nodiscard]] bool flag();
  /// At most `most` bytes.
  [[nodiscard]] std::string bytes(std::size_t most);
  /// A string of at most `most` bytes.
  [[nodiscard]] std::string text(std::size_t most);
  /// A count of things of which each takes at least one byte that is still there.
  [[nodiscard]] std::size_t count(std::size_t most);
  void fail() { good_ = false; }
  [[nodiscard]] bool good() const { return good_; }
  /// kCorrupt after a fault, and where anything is left.
  [[nodiscard]] Status end(std::string_view what) const;

 private:
  std::string_view bytes_;
  std::size_t position_ = 0;
  bool good_ = true;
};

}  // namespace mvm::registry
