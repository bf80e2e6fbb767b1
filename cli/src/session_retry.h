#pragma once
// The body of patiently(): a template, kept apart from what callers read.

#include <algorithm>
#include <ostream>

#include "session.h"

namespace mvm::cli {

template <class Call>
auto patiently(Session& session, std::chrono::milliseconds patience, Call call) -> decltype(call()) {
  using std::chrono::milliseconds;
  Context& context = session.context();
  const auto deadline = context.clock.now() + patience;
  const int pressed = context.interrupts.count();
  milliseconds pause{200};
  bool told = false;
  for (;;) {
    auto result = call();
    if (result || result.error().code() != ErrorCode::kUnavailable) return result;
    if (context.clock.now() + pause > deadline || context.interrupts.count() != pressed) return result;
    if (!told && context.err_is_terminal) session.err() << "mvm: broker not reachable, trying again\n";
    told = true;
    context.sleep(pause);
    pause = std::min(pause * 2, milliseconds{3000});
  }
}

}  // namespace mvm::cli
