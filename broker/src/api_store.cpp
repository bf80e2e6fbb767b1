#include <unistd.h>

#include "api.h"
#include "builds.h"
#include "logs.h"
#include "mvm/base/digest.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kMaxDigests = 10'000;
constexpr std::size_t kPiece = 256U << 10U;

Status check_digest(const std::string& digest) {
  if (is_sha256(digest)) return ok();
  return Error(ErrorCode::kInvalid,
               "found '" + digest.substr(0, 80) + "', expected a SHA-256 in lower-case hexadecimal");
}

}  // namespace

Result<std::vector<std::string>> StoreService::missing_blobs(const soap::Caller&,
                                                             const std::vector<std::string>& digests) {
  if (digests.size() > kMaxDigests) return Error(ErrorCode::kExhausted, "at most 10000 digests at once");
  std::vector<std::string> missing;
  for (const auto& digest : digests) {
    MVM_TRY(check_digest(digest));
    if (!core_.blobs.has(digest)) missing.push_back(digest);
  }
  return missing;
}

Status StoreService::put_blob(const soap::Caller&, const std::string& digest, const soap::PieceReader& read) {
  MVM_TRY(check_digest(digest));
  MVM_ASSIGN(auto writer, core_.blobs.write(digest));
  for (;;) {
    MVM_ASSIGN(const auto piece, read());
    if (piece.empty()) break;
    MVM_TRY(writer.append(piece));
  }
  MVM_TRY(writer.commit());
  return ok();
}

Status StoreService::get_blob(const soap::Caller&, const std::string& digest,
                              const soap::PieceWriter& write) {
  MVM_TRY(check_digest(digest));
  // Whoever knows the digest knows the bytes' name; results and sources are told to their owners only.
  MVM_ASSIGN(const auto fd, core_.blobs.read(digest));
  std::string piece(kPiece, '\0');
  for (;;) {
    const auto got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "read blob " + digest);
    if (got == 0) return ok();
    MVM_TRY(write(std::string_view(piece).substr(0, static_cast<std::size_t>(got))));
  }
}

Result<std::vector<soap::BuildView>> StoreService::builds(const soap::Caller& caller) {
  return core_.ask([&]() -> Result<std::vector<soap::BuildView>> {
    auto views = core_.builds->views();
    // What others build is shared by content, not by name: only administrators see whose node made it.
    if (caller.role != "admin")
      for (auto& view : views)
        if (!core_.builds->involves(view.key, caller.user)) view.command.clear(), view.node.clear();
    return views;
  });
}

Result<soap::LogPage> StoreService::build_log(const soap::Caller& caller, const std::string& key,
                                              std::uint64_t cursor, std::chrono::milliseconds wait) {
  MVM_TRY(check_digest(key));
  const auto owner = "build/" + key;
  const auto answer = [this, caller, key, owner, cursor]() -> Result<soap::LogPage> {
    const auto state = core_.builds->state(key);
    if (state.empty()) return Error(ErrorCode::kNotFound, "there is no build " + key);
    if (caller.role != "admin" && !core_.builds->involves(key, caller.user))
      return Error(ErrorCode::kRefused, "this build was another user's");
    MVM_ASSIGN(auto page, core_.logs->read(owner, "", cursor));
    return soap::LogPage{.pieces = std::move(page.pieces),
                         .cursor = page.cursor,
                         .ended = !page.more && state != "building" && state != "fetching"};
  };
  return core_.ask_until(
      wait,
      [answer]() -> std::optional<Result<soap::LogPage>> {
        auto page = answer();
        if (page && page->pieces.empty() && !page->ended) return std::nullopt;
        return page;
      },
      answer);
}

Result<std::uint64_t> StoreService::drop_builds(const soap::Caller& caller, const std::string& key) {
  if (!key.empty()) MVM_TRY(check_digest(key));
  return core_.ask([&]() -> Result<std::uint64_t> {
    if (caller.role != "admin" && (key.empty() || !core_.builds->involves(key, caller.user)))
      return Error(ErrorCode::kRefused, "only an administrator drops what others built");
    return core_.builds->drop(key);
  });
}

}  // namespace mvm::broker
