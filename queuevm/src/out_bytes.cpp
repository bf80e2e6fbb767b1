#include "out_bytes.h"

#include <algorithm>
#include <array>

namespace mvm::queuevm::link {
namespace {

constexpr std::size_t kWorthLending = 4096;
constexpr std::size_t kMostPieces = 64;       // of one writing
constexpr std::size_t kLongTail = 512 << 10;  // written bytes of own_ that are worth cutting off

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

void OutBytes::lend(std::span<const std::byte> bytes) {
  if (bytes.size() < kWorthLending) {
    own_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return;
  }
  lent_.push_back({own_.size(), bytes});
  lent_bytes_ += bytes.size();
}

/// The next bytes in order, as many pieces of them as there is room for.
std::size_t OutBytes::gather(std::span<std::span<const std::byte>> pieces) const {
  std::size_t used = 0;
  std::size_t at = own_written_;
  std::size_t i = first_;
  const auto add = [&](std::span<const std::byte> bytes) {
    if (!bytes.empty()) pieces[used++] = bytes;
  };
  for (; i < lent_.size() && used + 2 <= pieces.size(); ++i) {
    add(bytes_of(own_).subspan(at, lent_[i].at - at));
    add(lent_[i].bytes);
    at = lent_[i].at;
  }
  if (i == lent_.size() && used < pieces.size()) add(bytes_of(own_).subspan(at));
  return used;
}

void OutBytes::advance(std::size_t count) {
  while (first_ < lent_.size()) {
    Lent& next = lent_[first_];
    const std::size_t before = std::min(count, next.at - own_written_);
    own_written_ += before;
    count -= before;
    const std::size_t of_it = std::min(count, next.bytes.size());
    next.bytes = next.bytes.subspan(of_it);
    lent_bytes_ -= of_it;
    count -= of_it;
    if (own_written_ < next.at || !next.bytes.empty()) return;
    ++first_;
  }
  own_written_ += count;
}

/// What was lent becomes our own.
void OutBytes::keep() {
  if (first_ == lent_.size()) {
    lent_.clear();
    first_ = 0;
    if (own_written_ == own_.size() || own_written_ > kLongTail) {
      own_.erase(0, own_written_);
      own_written_ = 0;
    }
    return;
  }
  spare_.clear();
  for (; first_ < lent_.size(); ++first_) {
    const Lent& next = lent_[first_];
    spare_.append(own_, own_written_, next.at - own_written_);
    spare_.append(reinterpret_cast<const char*>(next.bytes.data()), next.bytes.size());
    own_written_ = next.at;
  }
  spare_.append(own_, own_written_);
  own_.swap(spare_);
  lent_.clear();
  own_written_ = first_ = lent_bytes_ = 0;
}

Result<std::size_t> OutBytes::write(ByteStream& stream) {
  std::size_t total = 0;
  while (size() > 0) {
    std::array<std::span<const std::byte>, kMostPieces> pieces;
    const std::size_t used = gather(pieces);
    MVM_ASSIGN(const std::size_t put, stream.write_pieces(std::span(pieces).first(used)));
    if (put == 0) break;
    advance(put);
    total += put;
  }
  keep();
  return total;
}

}  // namespace mvm::queuevm::link
