#pragma once
// The provider of the registry over etcd (version 3, its JSON gateway): for kernels on several hosts.

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mvm/registry/registry.h"

namespace mvm::registry {

struct EtcdOptions {
  std::vector<std::string> endpoints;    ///< of the members: "http://127.0.0.1:2379"
  std::string prefix = "mvm/registry/";  ///< all its keys begin so; registries with other prefixes are others
  std::chrono::milliseconds timeout{5'000};  ///< of a call, over all members that are asked
  std::filesystem::path authority;         ///< https: the members' certificate authority; empty: the system's
  std::filesystem::path certificate, key;  ///< https: ours; empty: none
};

/// A client of that registry; nothing is asked of etcd yet. Its calls go to one member as long as that
/// answers, then to the next. Leases and events are etcd's own. An update without a request id that a member
/// was sent and has not answered ends in kTimeout: it may have happened. kInvalid: no endpoints, or a wrong
/// one.
[[nodiscard]] Result<std::unique_ptr<Registry>> open_etcd_registry(EtcdOptions options);

}  // namespace mvm::registry
