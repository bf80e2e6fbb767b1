#include "mvm/rmix/stub.h"

#include "mvm/base/assert.h"

namespace mvm::rmix {
namespace {
thread_local const CallContext* current = nullptr;
}

const CallContext& ServerStub::context() {
  MVM_ASSERT(current != nullptr);
  return *current;
}

ServerStub::Entered::Entered(const CallContext& context) : outer_(current) { current = &context; }
ServerStub::Entered::~Entered() { current = outer_; }

}  // namespace mvm::rmix
