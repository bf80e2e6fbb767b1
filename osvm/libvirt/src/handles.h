#pragma once
// libvirt's objects as owners, and libvirt's last error as Error. Included by this folder's sources only.

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "mvm/base/result.h"

namespace mvm::osvm::libvirt {

struct CloseConnect {
  void operator()(virConnectPtr connect) const { virConnectClose(connect); }
};
struct FreeDomain {
  void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
struct FreeNetwork {
  void operator()(virNetworkPtr network) const { virNetworkFree(network); }
};
struct FreeText {
  void operator()(char* text) const { std::free(text); }
};

using ConnectHandle = std::shared_ptr<virConnect>;  // shared: calls under way outlive a lost connection
using DomainHandle = std::unique_ptr<virDomain, FreeDomain>;
using NetworkHandle = std::unique_ptr<virNetwork, FreeNetwork>;
using TextHandle = std::unique_ptr<char, FreeText>;

/// libvirt's last error on this thread, right after the failed call, with libvirt's own words.
[[nodiscard]] Error last_error(const std::string& what);

/// libvirt's number for the last error on this thread (VIR_ERR_...).
[[nodiscard]] int last_error_number();

}  // namespace mvm::osvm::libvirt
