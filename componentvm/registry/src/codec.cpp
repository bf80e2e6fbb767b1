#include "mvm/registry/packing.h"
#include "records.h"

namespace mvm::registry {
namespace {

constexpr std::uint64_t kNothing = 0;
constexpr std::uint64_t kThere = 1;
constexpr std::size_t kMaxAnswer = kMaxOperations * (kMaxItem + 1024);

void write(PackWriter& out, const Operation& operation) {
  out.number(static_cast<std::uint64_t>(operation.kind)).bytes(operation.name).number(operation.index);
  out.number(operation.flags).bytes(operation.owner).number(operation.lease);
  out.number(static_cast<std::uint64_t>(operation.ttl.count()));
  out.flag(operation.item != nullptr)
      .bytes(operation.item ? std::string_view(*operation.item) : std::string_view());
  out.flag(operation.expect.has_value()).number(operation.expect.value_or(0));
}

Operation read_operation(PackReader& in) {
  Operation operation;
  operation.kind =
      static_cast<Operation::Kind>(in.number(static_cast<std::uint64_t>(Operation::Kind::kRevoke)));
  operation.name = in.bytes(kMaxName);
  operation.index = in.number();
  operation.flags = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  operation.owner = in.bytes(kMaxOwner);
  operation.lease = in.number();
  operation.ttl = std::chrono::milliseconds(in.number(static_cast<std::uint64_t>(kMaxTtl.count())));
  const bool has_item = in.flag();
  std::string item = in.bytes(kMaxItem);
  if (!has_item && !item.empty()) in.fail();
  if (has_item) operation.item = make_item(std::move(item));
  const bool expects = in.flag();
  const std::uint64_t expected = in.number();
  if (!expects && expected != 0) in.fail();
  if (expects) operation.expect = expected;
  return operation;
}

}  // namespace

void write(PackWriter& out, const Info& info) {
  out.bytes(info.name).number(info.index).bytes(info.owner).number(info.flags).number(info.lease);
  out.number(info.revision).number(info.size);
}

Info read_info(PackReader& in) {
  Info info;
  info.name = in.bytes(kMaxName);
  info.index = in.number();
  info.owner = in.bytes(kMaxOwner);
  info.flags = static_cast<std::uint32_t>(in.number(UINT32_MAX));
  info.lease = in.number();
  info.revision = in.number();
  info.size = in.number(kMaxItem);
  return info;
}

void write(PackWriter& out, const Instance& instance) {
  write(out, instance.info);
  out.bytes(*instance.item);
}

Instance read_instance(PackReader& in) {
  Instance instance;
  instance.info = read_info(in);
  instance.item = make_item(in.bytes(kMaxItem));
  if (instance.item->size() != instance.info.size) in.fail();
  return instance;
}

std::string encode(const Update& update) {
  PackWriter out;
  out.bytes(update.request).number(update.operations.size());
  for (const auto& operation : update.operations) write(out, operation);
  return out.take();
}

Result<Update> decode_update(std::string_view bytes) {
  PackReader in(bytes);
  Update update;
  update.request = in.bytes(kMaxRequest);
  const std::size_t count = in.count(kMaxOperations);
  for (std::size_t i = 0; i < count && in.good(); ++i) update.operations.push_back(read_operation(in));
  MVM_TRY(in.end("an update"));
  if (auto good = check_update(update); !good) return Error(ErrorCode::kCorrupt, good.error().message());
  return update;
}

std::string encode(const Applied& applied) {
  PackWriter out;
  out.number(applied.revision).number(applied.outcomes.size());
  for (const auto& outcome : applied.outcomes) {
    out.number(outcome.index).number(outcome.lease).number(outcome.taken ? kThere : kNothing);
    if (outcome.taken) write(out, *outcome.taken);
  }
  return out.take();
}

Result<Applied> decode_applied(std::string_view bytes) {
  if (bytes.size() > kMaxAnswer) return Error(ErrorCode::kCorrupt, "an answer is too long");
  PackReader in(bytes);
  Applied applied;
  applied.revision = in.number();
  const std::size_t count = in.count(kMaxOperations);
  for (std::size_t i = 0; i < count && in.good(); ++i) {
    Outcome outcome;
    outcome.index = in.number();
    outcome.lease = in.number();
    if (in.number(kThere) == kThere) outcome.taken = read_instance(in);
    applied.outcomes.push_back(std::move(outcome));
  }
  MVM_TRY(in.end("an answer"));
  return applied;
}

}  // namespace mvm::registry
