#include <mvm.h>

#include "mvm/registry/table.h"

namespace mvm::registry {
namespace {

constexpr std::uint32_t kPutFlags = kAnyone | kMultiple | kPersistent | kOverwrite;

/// How many bytes the character at the beginning of `text` has; 0 where it is no character of UTF-8.
std::size_t character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i)
    if ((byte(i) & 0xc0U) != 0x80) return 0;
  // Too long a form, surrogates, beyond the last character.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0)) return 0;
  if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90)) return 0;
  return size;
}

Status check_text(std::string_view text, std::size_t most, std::string_view what) {
  if (text.empty() || text.size() > most)
    return Error(ErrorCode::kInvalid, std::string(what) + " has 1 to " + std::to_string(most) +
                                          " bytes, not " + std::to_string(text.size()));
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text.front());
    const std::size_t size = character(text);
    if (size == 0 || first < 0x20 || first == 0x7f)
      return Error(ErrorCode::kInvalid, std::string(what) + " is UTF-8 without control characters");
    text.remove_prefix(size);
  }
  return ok();
}

Status check_put(const Operation& operation) {
  if ((operation.flags & ~kPutFlags) != 0) return Error(ErrorCode::kInvalid, "a put with unknown flags");
  const bool persistent = (operation.flags & kPersistent) != 0;
  if (persistent && operation.lease != 0)
    return Error(ErrorCode::kInvalid, operation.name + ": a persistent item has no lease");
  if (!persistent && operation.lease == 0)
    return Error(ErrorCode::kInvalid, operation.name + ": an item that is not persistent needs a lease");
  if (operation.index != 0 && (operation.flags & kOverwrite) == 0)
    return Error(ErrorCode::kInvalid, operation.name + ": an index is given only to overwrite");
  if (!operation.item) return Error(ErrorCode::kInvalid, operation.name + ": a put without an item");
  return check_item(*operation.item);
}

Status check_operation(const Operation& operation) {
  using Kind = Operation::Kind;
  if (operation.kind == Kind::kGrant) {
    if (operation.ttl < kMinTtl || operation.ttl > kMaxTtl)
      return Error(ErrorCode::kInvalid, "a lease lasts 100 ms to 24 h");
    return check_text(operation.owner, kMaxOwner, "an owner's name");
  }
  if (operation.kind == Kind::kRevoke)
    return operation.owner.empty() ? ok() : check_text(operation.owner, kMaxOwner, "an owner's name");
  MVM_TRY(check_name(operation.name));
  if (operation.kind == Kind::kCheck)
    return operation.expect ? ok() : Status(Error(ErrorCode::kInvalid, "a check without what to expect"));
  MVM_TRY(check_text(operation.owner, kMaxOwner, "an owner's name"));
  if (operation.kind == Kind::kPut) return check_put(operation);
  if (operation.kind != Kind::kDelete && operation.kind != Kind::kTake)
    return Error(ErrorCode::kInvalid, "an unknown kind of operation");
  if ((operation.flags & ~static_cast<std::uint32_t>(kFirstAvailable)) != 0)
    return Error(ErrorCode::kInvalid, "a delete with unknown flags");
  return ok();
}

/// A provider may end several leases at once, because their time has passed.
bool stands_alone(const Operation& operation) {
  using Kind = Operation::Kind;
  return operation.kind == Kind::kGrant || (operation.kind == Kind::kRevoke && !operation.owner.empty());
}

}  // namespace

Status check_name(std::string_view name) { return check_text(name, kMaxName, "a name"); }

Status check_item(std::string_view bytes) {
  if (bytes.size() > kMaxItem) return Error(ErrorCode::kInvalid, "an item is longer than 1 MiB");
  mvm_unpacker unpacker;
  mvm_unpack_init(&unpacker, bytes.data(), bytes.size());
  while (unpacker.position < unpacker.size) {
    const std::size_t at = unpacker.position;
    if (mvm_unpack_skip(&unpacker) != MVM_OK)
      return Error(ErrorCode::kInvalid,
                   "an item is a sequence of packed values; byte " + std::to_string(at) + " begins none");
  }
  return ok();
}

Status check_update(const Update& update) {
  if (update.operations.empty() || update.operations.size() > kMaxOperations)
    return Error(ErrorCode::kInvalid, "an update has 1 to 32 operations");
  if (!update.request.empty()) MVM_TRY(check_text(update.request, kMaxRequest, "a request's id"));
  std::size_t bytes = 0;
  for (const auto& operation : update.operations) {
    MVM_TRY(check_operation(operation));
    if (stands_alone(operation) && update.operations.size() != 1)
      return Error(ErrorCode::kInvalid, "leases are granted and revoked by updates of their own");
    if (operation.item) bytes += operation.item->size();
  }
  if (bytes > kMaxItem) return Error(ErrorCode::kInvalid, "the items of an update are longer than 1 MiB");
  return ok();
}

}  // namespace mvm::registry
