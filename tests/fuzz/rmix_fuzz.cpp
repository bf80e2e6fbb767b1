// What a stranger may send to a native RMIX server or client: greetings, calls, answers.
#include <cstdint>
#include <cstdlib>

#include "wire.h"

namespace {

using namespace mvm::rmix;

/// A method that takes and answers one of everything.
Interface make() {
  const auto inner = std::make_shared<const StructType>(
      StructType{"Inner", {{"flag", Type::of(Kind::kBool)}, {"bytes", Type::of(Kind::kBytes)}}});
  StructType all{"All", {}};
  for (int kind = static_cast<int>(Kind::kBool); kind <= static_cast<int>(Kind::kBytes); ++kind)
    all.fields.push_back({"f" + std::to_string(kind), Type::of(static_cast<Kind>(kind))});
  all.fields.push_back({"rows", Type::array(Type::array(Type::of(Kind::kInt16)))});
  all.fields.push_back({"inner", Type::array(Type::of(inner))});
  const auto outer = std::make_shared<const StructType>(std::move(all));
  Interface made;
  made.name = "Fuzz";
  made.structs = {inner, outer};
  made.exceptions = {inner};
  Method method{
      "all",           {{"value", Type::of(outer)}, {"texts", Type::array(Type::of(Kind::kString))}},
      Type::of(outer), {inner},
      false,           false};
  made.methods = {std::move(method)};
  return made;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Interface kInterface = make();
  const Method& method = kInterface.methods.front();
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  if (size < native::kHeader) return 0;
  const auto header = native::read_header(bytes.first<native::kHeader>());
  const auto body = bytes.subspan(native::kHeader);
  if (!header) return 0;
  if (header->type == native::FrameType::kHello) {
    if (const auto hello = native::read_hello(body)) require(native::write_hello(*hello).size() == size);
  } else if (header->type == native::FrameType::kRefused) {
    (void)native::read_refused(body);
  } else if (header->type == native::FrameType::kCall) {
    const auto call = native::read_call(body, method);
    if (!call) return 0;
    // What was taken fits, and is written again as it came.
    require(check(call->arguments, method.parameters, "arguments").has_value());
    const auto again = native::write_call(header->number, header->method, call->left, call->arguments);
    require(again && again->size() == size);
  } else {
    const auto outcome = native::read_outcome(*header, body, method);
    if (!outcome) return 0;
    if (const auto* value = std::get_if<Value>(&*outcome))
      require(check(*value, method.result, "result").has_value());
    (void)native::write_outcome(header->number, method, *outcome);
  }
  return 0;
}
