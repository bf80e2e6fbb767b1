// Any bytes as a record of ONC RPC: a call with our credentials or others, its arguments; a reply, its
// outcome.

#include <cstdint>
#include <memory>
#include <string_view>

#include "message.h"
#include "mvm/base/assert.h"
#include "xdr_values.h"

namespace {

using namespace mvm::rmix;

const Method& method() {
  static const Method made = [] {
    const auto guest = std::make_shared<const StructType>(
        StructType{"Guest",
                   {{"name", Type::of(Kind::kString)},
                    {"age", Type::of(Kind::kUint8)},
                    {"bags", Type::array(Type::of(Kind::kString))},
                    {"stamp", Type::of(Kind::kBytes)},
                    {"grid", Type::array(Type::array(Type::of(Kind::kFloat64)))},
                    {"wide", Type::of(Kind::kInt64)}}});
    const auto full =
        std::make_shared<const StructType>(StructType{"Full", {{"beds", Type::of(Kind::kInt64)}}});
    return Method{.name = "welcome",
                  .parameters = {{"guest", Type::of(guest)}, {"loud", Type::of(Kind::kBool)}},
                  .result = Type::of(guest),
                  .exceptions = {full}};
  }();
  return made;
}

void as_call(std::string_view bytes) {
  onc::XdrReader reader(bytes);
  const auto head = onc::read_call(reader);
  if (!head) return;
  if (head->flavor == onc::kFlavor) (void)onc::read_credentials(head->credentials);
  const auto arguments = reader.values(method().parameters);
  if (!arguments) return;
  onc::XdrWriter writer(onc::size_of(*arguments, method().parameters));
  writer.values(*arguments, method().parameters);
  const std::string said = writer.take().substr(4);
  onc::XdrReader again(said);
  const auto same = again.values(method().parameters);
  MVM_ASSERT(same && again.left() == 0);
}

void as_reply(std::string_view bytes) {
  onc::XdrReader reader(bytes);
  const auto head = onc::read_reply(reader);
  if (!head) return;
  const auto outcome = onc::read_outcome(reader, method());
  if (!outcome) return;
  onc::XdrWriter writer(onc::size_of(*outcome, method()));
  onc::write(writer, *outcome, method());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0)
    as_call(bytes);
  else
    as_reply(bytes);
  return 0;
}
