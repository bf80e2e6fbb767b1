#pragma once
// MVM_ASSERT: an invariant of our own that broke. Prints where and aborts, in every build.

namespace mvm {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
}

#define MVM_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::mvm::assertion_failed(#expression, __FILE__, __LINE__))
