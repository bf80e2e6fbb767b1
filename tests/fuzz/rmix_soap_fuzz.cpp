// Any bytes as a SOAP message, and as an answer of HTTP: a call, its outcome, a fault.

#include <cstdint>
#include <memory>
#include <string_view>

#include "mvm/base/assert.h"
#include "mvm/rmix/soap.h"
#include "xml_values.h"

namespace {

using namespace mvm::rmix;

const Interface& interface() {
  static const Interface made = [] {
    Interface desk{.name = "Desk", .version = 2};
    const auto guest = std::make_shared<const StructType>(
        StructType{"Guest",
                   {{"name", Type::of(Kind::kString)},
                    {"age", Type::of(Kind::kUint8)},
                    {"bags", Type::array(Type::of(Kind::kString))},
                    {"stamp", Type::of(Kind::kBytes)},
                    {"grid", Type::array(Type::array(Type::of(Kind::kFloat64)))}}});
    const auto full =
        std::make_shared<const StructType>(StructType{"Full", {{"beds", Type::of(Kind::kInt64)}}});
    desk.structs = {guest};
    desk.exceptions = {full};
    desk.methods = {{.name = "add",
                     .parameters = {{"a", Type::of(Kind::kInt32)}, {"b", Type::of(Kind::kBool)}},
                     .result = Type::of(Kind::kInt32)},
                    {.name = "welcome",
                     .parameters = {{"guest", Type::of(guest)}},
                     .result = Type::of(guest),
                     .exceptions = {full}}};
    MVM_ASSERT(check(desk));
    return desk;
  }();
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static mvm::rmix::soap::EnvelopeReader reader;
  static mvm::rmix::soap::EnvelopeReader again;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto element = reader.open(bytes);
  if (!element) return 0;
  if (const auto number = mvm::rmix::soap::EnvelopeReader::method_of(interface(), *element)) {
    const Method& method = interface().methods[*number];
    const auto arguments = reader.arguments(method);
    if (!arguments) return 0;
    // What was understood can be said again, and is understood the same; NaN is not equal to itself, so by
    // its text.
    const std::string said = mvm::rmix::soap::call_envelope(interface(), method, *arguments);
    const auto name = again.open(said);
    MVM_ASSERT(name && *name == method.name);
    const auto same = again.arguments(method);
    MVM_ASSERT(same && mvm::rmix::soap::call_envelope(interface(), method, *same) == said);
    return 0;
  }
  const Method& method = interface().methods[1];
  const auto outcome = reader.outcome(method, *element);
  if (outcome) (void)mvm::rmix::soap::outcome_envelope(interface(), method, *outcome);
  return 0;
}
