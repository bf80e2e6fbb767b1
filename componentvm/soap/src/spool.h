#pragma once
// Where an attachment rests between its arrival and its use: a nameless file.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

class Spool {
 public:
  /// kExhausted later on where more than `limit` bytes arrive.
  [[nodiscard]] static Result<Spool> open(const std::filesystem::path& folder, std::uint64_t limit);
  [[nodiscard]] Status append(std::string_view bytes);
  [[nodiscard]] std::uint64_t size() const { return size_ + pending_.size(); }
  /// From its start, in pieces. The spool outlives the reader.
  [[nodiscard]] PieceReader reader();

 private:
  Spool(UniqueFd fd, std::uint64_t limit) : fd_(std::move(fd)), limit_(limit) {}
  [[nodiscard]] Status flush();
  UniqueFd fd_;
  std::uint64_t limit_;
  std::uint64_t size_ = 0;
  std::string pending_;
};

}  // namespace mvm::soap
