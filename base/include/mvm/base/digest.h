#pragma once
// SHA-256, the name of every blob.

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm {

/// Incremental SHA-256. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::string_view bytes);
  /// 64 lower-case hexadecimal digits; the object must not be updated afterwards.
  [[nodiscard]] std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The digest of some bytes, as 64 hexadecimal digits.
[[nodiscard]] std::string sha256_hex(std::string_view bytes);

/// The digest of a file, read in pieces.
[[nodiscard]] Result<std::string> sha256_of_file(const std::filesystem::path& path);

/// True where `text` is 64 lower-case hexadecimal digits.
[[nodiscard]] bool is_sha256(std::string_view text);

/// `bytes` random bytes from the operating system as lower-case hexadecimal digits.
[[nodiscard]] std::string random_hex(std::size_t bytes);

}  // namespace mvm
