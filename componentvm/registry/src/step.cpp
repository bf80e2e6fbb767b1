#include "mvm/registry/table.h"

namespace mvm::registry {
namespace {

std::string label(const Operation& operation) {
  return operation.name + "[" + std::to_string(operation.index) + "]";
}

Status check_right(const Info& target, const Operation& operation) {
  if (target.owner == operation.owner || (target.flags & kAnyone) != 0) return ok();
  return Error(ErrorCode::kRefused, target.name + "[" + std::to_string(target.index) + "] belongs to " +
                                        target.owner + "; " + operation.owner +
                                        " may not overwrite or delete it");
}

Result<std::uint64_t> index_of_put(const Box& box, const Operation& operation) {
  const bool multiple = (operation.flags & kMultiple) != 0;
  if (box.count != 0 && box.multiple != multiple)
    return Error(ErrorCode::kExists,
                 operation.name + (box.multiple ? " holds multiple instances, and this put is of a single one"
                                                : " holds a single instance"));
  if ((operation.flags & kOverwrite) != 0) {
    if (box.target) {
      MVM_TRY(check_right(*box.target, operation));
      return box.target->index;
    }
    if (box.count == 0 && operation.index == 0) return 0;
    return Error(ErrorCode::kNotFound, label(operation) + ": no such instance to overwrite");
  }
  if (box.count == 0) return 0;
  if (!multiple) return Error(ErrorCode::kExists, operation.name + " is there already");
  if (box.count >= kMaxInstances || box.highest == UINT64_MAX)
    return Error(ErrorCode::kExhausted,
                 operation.name + " has " + std::to_string(kMaxInstances) + " instances");
  return box.highest + 1;
}

}  // namespace

Result<Step> step(const Box& box, const Operation& operation) {
  using Kind = Operation::Kind;
  const std::uint64_t revision = box.target ? box.target->revision : 0;
  if (operation.expect && *operation.expect != revision)
    return Error(ErrorCode::kConflict, label(operation) + " has revision " + std::to_string(revision) +
                                           ", expected " + std::to_string(*operation.expect));
  Step result{.index = operation.index};
  if (operation.kind == Kind::kCheck) return result;
  if (operation.kind == Kind::kPut) {
    MVM_ASSIGN(result.index, index_of_put(box, operation));
    result.puts = Info{.name = operation.name,
                       .index = result.index,
                       .owner = operation.owner,
                       .flags = operation.flags & ~static_cast<std::uint32_t>(kOverwrite),
                       .lease = operation.lease,
                       .revision = 0,
                       .size = operation.item->size()};
    return result;
  }
  if (!box.target) return Error(ErrorCode::kNotFound, label(operation) + ": no such instance");
  MVM_TRY(check_right(*box.target, operation));
  result.index = box.target->index;
  result.removes = true;
  return result;
}

}  // namespace mvm::registry
