#pragma once
// The native provider: compact binary frames over TCP, TLS 1.3, and memory shared by processes of one host.
// docs/formats/rmix-native.md.
//
//   native+shm:/run/x/socket     callers of this host, told by user id; "@NAME": an abstract socket
//   native+tcp://HOST:PORT       port 0: any
//   native+tls://HOST:PORT       certificates of one authority on both sides

#include <memory>

#include "mvm/rmix/provider.h"

namespace mvm::rmix {

/// For programs that bring it along; others find it in the folder of providers.
[[nodiscard]] std::shared_ptr<Provider> make_native_provider();

}  // namespace mvm::rmix
