#include "blobs.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mvm/base/json.h"

namespace mvm::plugins::job {
namespace {

using kernel::Answer;
using kernel::Call;

constexpr std::size_t kPiece = 256 << 10;  // as channel::kPiece
constexpr std::size_t kMaxUploads = 16;
constexpr std::size_t kMaxDigests = 10'000;

Result<std::string> digest_of(const Call& call) {
  MVM_ASSIGN(std::string digest, need_text(call.args, "digest", 64));
  if (!is_sha256(digest)) return Error(ErrorCode::kInvalid, "\"" + digest + "\" is not a SHA-256 digest");
  return digest;
}

}  // namespace

Status Blobs::offer(kernel::Kernel& kernel) {
  MVM_TRY(kernel.handle("blob.has", [this](Call& call) { return has(call); }));
  MVM_TRY(kernel.handle("blob.begin", [this](Call& call) { return begin(call); }));
  MVM_TRY(kernel.handle("blob.data", [this](Call& call) { return data(call); }));
  MVM_TRY(kernel.handle("blob.end", [this](Call& call) { return end(call); }));
  return kernel.handle("blob.read", [this](Call& call) { return read(call); });
}

Result<Answer> Blobs::has(const Call& call) const {
  MVM_ASSIGN(const std::vector<std::string> digests, texts_of(call.args, "digests", kMaxDigests, 64));
  nlohmann::json missing = nlohmann::json::array();
  for (const std::string& digest : digests)
    if (!store_.has(digest)) missing.push_back(digest);
  return Answer{{{"missing", std::move(missing)}}, {}, {}};
}

/// The upload under way, or what an earlier one left on the disk. Called with the mutex held.
Result<Blobs::Upload*> Blobs::upload(const std::string& digest) {
  const auto now = std::chrono::steady_clock::now();
  const auto found = uploads_.find(digest);
  if (found != uploads_.end()) {
    found->second.used = now;
    return &found->second;
  }
  if (uploads_.size() >= kMaxUploads)  // its bytes stay on the disk, to be taken up again
    uploads_.erase(std::min_element(uploads_.begin(), uploads_.end(), [](const auto& a, const auto& b) {
      return a.second.used < b.second.used;
    }));
  MVM_ASSIGN(BlobWriter writer, store_.resume(digest));
  return &uploads_.emplace(digest, Upload{std::move(writer), now}).first->second;
}

Result<Answer> Blobs::begin(const Call& call) {
  MVM_ASSIGN(const std::string digest, digest_of(call));
  MVM_ASSIGN(const std::uint64_t size, need_number(call.args, "size", store_.limits().blob));
  const std::lock_guard lock(mutex_);
  if (store_.has(digest)) return Answer{{{"offset", size}}, {}, {}};
  MVM_ASSIGN(const Upload* const upload, this->upload(digest));
  if (upload->writer.offset() <= size) return Answer{{{"offset", upload->writer.offset()}}, {}, {}};
  return Error(ErrorCode::kConflict, "more bytes of " + digest + " are here than it has");
}

Result<Answer> Blobs::data(const Call& call) {
  MVM_ASSIGN(const std::string digest, digest_of(call));
  MVM_ASSIGN(const std::uint64_t offset, need_number(call.args, "offset"));
  const std::lock_guard lock(mutex_);
  if (store_.has(digest)) return Answer{{{"offset", offset + call.blob.size()}}, {}, {}};
  MVM_ASSIGN(Upload* const upload, this->upload(digest));
  const std::uint64_t here = upload->writer.offset();
  if (offset > here)
    return Error(ErrorCode::kConflict, "blob " + digest + ": found offset " + std::to_string(offset) +
                                           ", expected at most " + std::to_string(here));
  if (here - offset < call.blob.size())
    MVM_TRY(
        upload->writer.append(std::string_view(call.blob).substr(static_cast<std::size_t>(here - offset))));
  return Answer{{{"offset", upload->writer.offset()}}, {}, {}};
}

Result<Answer> Blobs::end(const Call& call) {
  MVM_ASSIGN(const std::string digest, digest_of(call));
  const std::lock_guard lock(mutex_);
  if (store_.has(digest)) return Answer{};
  MVM_ASSIGN(Upload* const upload, this->upload(digest));
  auto done = upload->writer.commit();
  uploads_.erase(digest);
  if (!done) return done.error();
  return Answer{};
}

Result<Answer> Blobs::read(const Call& call) const {
  MVM_ASSIGN(const std::string digest, digest_of(call));
  MVM_ASSIGN(const std::uint64_t offset, need_number(call.args, "offset", 1ULL << 62));
  MVM_ASSIGN(const std::uint64_t length, need_number(call.args, "length"));
  MVM_ASSIGN(const UniqueFd fd, store_.read(digest));
  MVM_ASSIGN(const std::uint64_t size, store_.size(digest));
  Answer answer;
  answer.blob.resize(static_cast<std::size_t>(std::min<std::uint64_t>(length, kPiece)));
  ssize_t got = 0;
  do got = ::pread(fd.get(), answer.blob.data(), answer.blob.size(), static_cast<off_t>(offset));
  while (got < 0 && errno == EINTR);
  if (got < 0) return Error::from_errno(errno, "read blob " + digest);
  answer.blob.resize(static_cast<std::size_t>(got));
  answer.result = {{"size", size}, {"eof", offset + answer.blob.size() >= size}};
  return answer;
}

}  // namespace mvm::plugins::job
