#include "mvm/channel/blob_transfer.h"

#include <unistd.h>

#include <cerrno>

#include "mvm/base/json.h"

namespace mvm::channel {
namespace {

Result<std::string> read_piece(int fd, std::uint64_t offset) {
  std::string piece(kPiece, '\0');
  for (;;) {
    const ssize_t got = ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read a blob");
    piece.resize(static_cast<std::size_t>(got));
    return piece;
  }
}

}  // namespace

Status send_blob(HostEnd& node, const BlobStore& store, const std::string& digest,
                 std::chrono::milliseconds timeout) {
  MVM_ASSIGN(const UniqueFd fd, store.read(digest));
  MVM_ASSIGN(const std::uint64_t size, store.size(digest));
  MVM_ASSIGN(const Reply has, node.call("blob.has", {{"digests", {digest}}}, timeout));
  if (array_or_empty(has.result, "missing").empty()) return ok();
  MVM_ASSIGN(const Reply begun, node.call("blob.begin", {{"digest", digest}, {"size", size}}, timeout));
  std::uint64_t offset = number_or(begun.result, "offset");
  while (offset < size) {
    MVM_ASSIGN(std::string piece, read_piece(fd.get(), offset));
    if (piece.empty()) return Error(ErrorCode::kCorrupt, "blob " + digest + " was cut in the store");
    MVM_ASSIGN(const Reply put,
               node.call("blob.data", {{"digest", digest}, {"offset", offset}}, timeout, piece));
    const std::uint64_t next = number_or(put.result, "offset");
    // A node that never gets on, or claims bytes it was not sent, is broken.
    if (next <= offset || next > size)
      return Error(ErrorCode::kCorrupt, "the node did not take blob " + digest);
    offset = next;
  }
  MVM_ASSIGN([[maybe_unused]] const Reply done, node.call("blob.end", {{"digest", digest}}, timeout));
  return ok();
}

Status fetch_blob(HostEnd& node, const BlobStore& store, const std::string& digest, std::uint64_t limit,
                  std::chrono::milliseconds timeout) {
  if (store.has(digest)) return ok();
  MVM_ASSIGN(BlobWriter writer, store.resume(digest));
  for (;;) {
    const std::uint64_t offset = writer.offset();
    MVM_ASSIGN(const Reply piece,
               node.call("blob.read", {{"digest", digest}, {"offset", offset}, {"length", kPiece}}, timeout));
    if (piece.blob.size() > limit || offset > limit - piece.blob.size())
      return Error(ErrorCode::kExhausted,
                   "blob " + digest + " is larger than " + std::to_string(limit) + " bytes");
    MVM_TRY(writer.append(piece.blob));
    if (flag_or(piece.result, "eof")) break;
    if (piece.blob.empty()) return Error(ErrorCode::kCorrupt, "the node sends no more of blob " + digest);
  }
  MVM_ASSIGN([[maybe_unused]] const std::string checked, writer.commit());
  return ok();
}

}  // namespace mvm::channel
