#pragma once
// The protocols that the conformance suite goes over: providers as the programs load them.

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "mvm/base/file.h"
#include "mvm/rmix/providers.h"

namespace mvm::rmix::test {

struct Way {
  std::string scheme;
  std::string endpoint;       ///< to listen at; "{folder}" is a temporary folder
  bool tells_cancel = false;  ///< a running method hears that it is to stop
  bool tells_token = true;    ///< carries the caller's token
};

inline std::vector<Way> ways() {
  return {{"native+shm", "native+shm:{folder}/socket", true, true},
          {"native+tcp", "native+tcp://127.0.0.1:0", true, true},
          {"native+tls", "native+tls://127.0.0.1:0", true, true},
          {"soap+http", "soap+http://127.0.0.1:0", false, true},
          {"soap+https", "soap+https://127.0.0.1:0", false, true},
          {"onc+tcp", "onc+tcp://127.0.0.1:0", false, true}};
}

inline std::string endpoint_in(const Way& way, const std::string& folder) {
  std::string text = way.endpoint;
  const std::size_t at = text.find("{folder}");
  if (at != std::string::npos) text.replace(at, 8, folder);
  return text;
}

inline const Providers& providers() {
  static const Providers all = Providers::load(std::filesystem::path(MVM_BINARY_DIR) / "lib/mvm/rmix");
  return all;
}

}  // namespace mvm::rmix::test
