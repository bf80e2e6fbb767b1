#include "mvm/queuevm/codecs/builtin.h"

#include "codecs.h"
#include "mvm/base/assert.h"

namespace mvm::queuevm::codecs {

Status register_builtin(CodecRegistry& registry) {
  MVM_TRY(registry.add("checksum", make_checksum));
  MVM_TRY(registry.add("encrypt", make_encrypt));
  MVM_TRY(registry.add("neutral", make_neutral));
  return registry.add("zstd", make_zstd);
}

std::shared_ptr<const CodecRegistry> builtin() {
  auto registry = std::make_shared<CodecRegistry>();
  MVM_ASSERT(register_builtin(*registry).has_value());
  return registry;
}

}  // namespace mvm::queuevm::codecs
