#include "mvm/base/frame.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "mvm/base/assert.h"

namespace mvm {
namespace {

constexpr std::string_view kMagic = "MVM1";
constexpr std::size_t kMaxDescriptors = kMaxFrameDescriptors;

void put32(std::string& bytes, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(value >> shift & 255U);
}

std::uint32_t get32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

std::uint32_t checksum(std::string_view bytes) {
  return static_cast<std::uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

bool valid_header(std::string_view bytes) {
  return bytes.substr(0, 4) == kMagic && get32(bytes, 12) == checksum(bytes.substr(4, 8)) &&
         get32(bytes, 4) <= kMaxFrameText && get32(bytes, 8) <= kMaxFrameBlob;
}

/// On a serial line a frame may have lost its middle: its sender says the blob's CRC-32.
bool checksum_holds(const nlohmann::json& head, std::string_view blob) {
  const auto found = head.find("crc");
  return found == head.end() ||
         (found->is_number_unsigned() && found->get<std::uint64_t>() == checksum(blob));
}

}  // namespace

std::uint32_t frame_checksum(std::string_view bytes) { return checksum(bytes); }

std::size_t frame_descriptors(const nlohmann::json& head) {
  const auto found = head.find("fds");
  if (found == head.end() || !found->is_number_unsigned()) return 0;
  return static_cast<std::size_t>(std::min<std::uint64_t>(found->get<std::uint64_t>(), kMaxFrameDescriptors));
}

Result<nlohmann::json> parse_json(std::string_view text, int max_depth) {
  bool too_deep = false;
  const nlohmann::json::parser_callback_t guard = [&](int depth, nlohmann::json::parse_event_t,
                                                      nlohmann::json&) {
    too_deep = too_deep || depth > max_depth;
    return !too_deep;
  };
  nlohmann::json value = nlohmann::json::parse(text, guard, /*allow_exceptions=*/false);
  if (too_deep)
    return Error(ErrorCode::kCorrupt, "JSON nested deeper than " + std::to_string(max_depth) + " levels");
  if (value.is_discarded()) return Error(ErrorCode::kCorrupt, "not valid JSON");
  return value;
}

std::string encode_frame(const nlohmann::json& head, std::string_view blob) {
  // Bytes that are not UTF-8 (a program's name, a path) must not throw here.
  return encode_frame_text(head.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), blob);
}

std::string encode_frame_text(std::string_view text, std::string_view blob) {
  MVM_ASSERT(text.size() <= kMaxFrameText && blob.size() <= kMaxFrameBlob);
  std::string bytes(kMagic);
  bytes.reserve(kFrameHeader + text.size() + blob.size());
  put32(bytes, static_cast<std::uint32_t>(text.size()));
  put32(bytes, static_cast<std::uint32_t>(blob.size()));
  put32(bytes, checksum(std::string_view(bytes).substr(4, 8)));
  bytes += text;
  bytes += blob;
  return bytes;
}

Result<std::optional<Frame>> FrameDecoder::next() {
  for (;;) {
    const std::string_view rest = std::string_view(buffer_).substr(start_);
    if (rest.size() < kFrameHeader) break;
    if (!valid_header(rest)) {
      if (!resync_) return Error(ErrorCode::kCorrupt, "not a frame of this protocol");
      const std::size_t found = rest.find(kMagic, 1);
      start_ += found != std::string_view::npos ? found : rest.size() - (kMagic.size() - 1);
      continue;
    }
    const std::size_t text = get32(rest, 4);
    const std::size_t blob = get32(rest, 8);
    if (rest.size() < kFrameHeader + text + blob) break;
    auto head = parse_json(rest.substr(kFrameHeader, text));
    if (!head || !head->is_object()) {
      if (!resync_) return Error(ErrorCode::kCorrupt, "a frame without a JSON object");
      start_ += 1;
      continue;
    }
    if (resync_ && !checksum_holds(*head, rest.substr(kFrameHeader + text, blob))) {
      // Skipped whole: looking inside would let a hostile peer make us checksum the same bytes again and
      // again.
      start_ += kFrameHeader + text + blob;
      continue;
    }
    Frame frame{std::move(*head), std::string(rest.substr(kFrameHeader + text, blob)), {}, text};
    start_ += kFrameHeader + text + blob;
    return std::optional<Frame>(std::move(frame));
  }
  buffer_.erase(0, std::exchange(start_, 0));
  return std::optional<Frame>();
}

Status send_frame(int fd, const nlohmann::json& head, std::string_view blob,
                  const std::vector<int>& descriptors) {
  MVM_ASSERT(descriptors.size() <= kMaxDescriptors);
  nlohmann::json counted;
  if (!descriptors.empty()) {
    counted = head;
    counted["fds"] = descriptors.size();
  }
  const std::string bytes = encode_frame(descriptors.empty() ? head : counted, blob);
  std::string_view rest = bytes;
  if (!descriptors.empty()) {
    iovec part{const_cast<char*>(rest.data()), rest.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> control{};
    const std::size_t size = sizeof(int) * descriptors.size();
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), descriptors.data(), size);
    ssize_t put = 0;
    do put = ::sendmsg(fd, &message, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0) return Error::from_errno(errno, "send descriptors");
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  while (!rest.empty()) {
    ssize_t put = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == ENOTSOCK) put = ::write(fd, rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Error::from_errno(errno, "send a frame");
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  return ok();
}

namespace {

/// One read with descriptors; 0 at end of stream.
Result<std::size_t> receive(int fd, std::string& piece, std::vector<UniqueFd>& descriptors) {
  iovec part{piece.data(), piece.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0 && errno == ENOTSOCK) {
    do got = ::read(fd, piece.data(), piece.size());
    while (got < 0 && errno == EINTR);
    message.msg_controllen = 0;
  }
  if (got < 0) return Error::from_errno(errno, "receive a frame");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      descriptors.emplace_back(passed);
    }
  }
  return static_cast<std::size_t>(got);
}

}  // namespace

Result<Frame> FrameReader::read(int timeout_ms) {
  std::string piece(65536, '\0');
  for (;;) {
    MVM_ASSIGN(std::optional<Frame> frame, decoder_.next());
    if (frame) {
      // One read may bring the end of a frame without descriptors and the start of one with them.
      const auto mine =
          static_cast<std::ptrdiff_t>(std::min(frame_descriptors(frame->head), pending_.size()));
      std::move(pending_.begin(), pending_.begin() + mine, std::back_inserter(frame->descriptors));
      pending_.erase(pending_.begin(), pending_.begin() + mine);
      return std::move(*frame);
    }
    pollfd item{fd_, POLLIN, 0};
    const int ready = ::poll(&item, 1, timeout_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return Error::from_errno(errno, "poll");
    if (ready == 0)
      return Error(ErrorCode::kTimeout, "no frame within " + std::to_string(timeout_ms) + " ms");
    MVM_ASSIGN(const std::size_t got, receive(fd_, piece, pending_));
    if (got == 0) return Error(ErrorCode::kUnavailable, "the peer closed the stream");
    if (pending_.size() > 4 * kMaxDescriptors)
      return Error(ErrorCode::kCorrupt, "too many descriptors without a frame");
    decoder_.feed(std::string_view(piece).substr(0, got));
  }
}

}  // namespace mvm
