// What servers and clients of the catalog hear from each other. The first byte says who listens.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "mvm/catalog/wire.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    const auto request = mvm::catalog::decode_request(bytes);
    if (!request) return 0;
    mvm::catalog::State state;
    if (const auto* push = std::get_if<mvm::catalog::PushRequest>(&*request))
      for (const auto& delta : push->deltas) (void)state.merge(delta);
    if (const auto* update = std::get_if<mvm::catalog::AssertRequest>(&*request))
      (void)state.assert_(update->assertion, 1'800'000'000'000);
    if (!mvm::catalog::decode_request(mvm::catalog::encode(*request))) std::abort();
  } else if (const auto answer = mvm::catalog::decode_answer(bytes)) {
    if (!mvm::catalog::decode_answer(mvm::catalog::encode(*answer))) std::abort();
  }
  return 0;
}
