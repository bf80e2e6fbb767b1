#include "mvm/broker/store.h"

#include <utility>

namespace mvm::broker {

Operation put(std::string key, std::string value, std::optional<std::uint64_t> expect) {
  return Operation{.kind = Operation::Kind::kPut,
                   .key = std::move(key),
                   .value = std::move(value),
                   .expect = expect,
                   .lease = {}};
}

Operation erase(std::string key, std::optional<std::uint64_t> expect) {
  return Operation{
      .kind = Operation::Kind::kErase, .key = std::move(key), .value = {}, .expect = expect, .lease = {}};
}

Operation check(std::string key, std::uint64_t expect) {
  return Operation{
      .kind = Operation::Kind::kCheck, .key = std::move(key), .value = {}, .expect = expect, .lease = {}};
}

}  // namespace mvm::broker
