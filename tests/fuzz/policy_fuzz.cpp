// Any bytes as a provider's policy of pluglets, and what it then allows.

#include <cstdint>
#include <string>

#include "mvm/base/assert.h"
#include "mvm/pluglets/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mvm::pluglets;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto policy = Policy::read(bytes);
  if (!policy) return 0;
  const Actor nobody;
  const Actor ada{.provider = false, .names = {"role:admin", "uid:1000", "user:ada"}};
  const Actor provider{.provider = true, .names = {}};
  for (const char* what : {"deploy", "start", "destroy", "connect", "call", "look"}) {
    MVM_ASSERT(policy->may(provider, what, "quotes", "somebody"));
    // Whoever has more names may not do less.
    if (policy->may(nobody, what, "quotes", "provider"))
      MVM_ASSERT(policy->may(ada, what, "quotes", "provider"));
    (void)policy->may(ada, what, bytes.substr(0, 64), ada.text());
  }
  (void)policy->user_of(bytes.substr(0, 64));
  return 0;
}
