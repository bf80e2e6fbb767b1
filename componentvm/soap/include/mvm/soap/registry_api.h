#pragma once
// The registries of a lab's nodes, for those outside. docs/formats/registry.md has the words.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// The registry that a node's kernel serves.
struct RegistryTarget {
  std::string lab;
  std::string node;  ///< empty: the lab's first
};

struct RegistryInfo {
  std::string name;
  std::uint64_t index = 0;
  std::string owner;
  std::vector<std::string> flags;  ///< "anyone", "multiple", "persistent"
  std::uint64_t lease = 0, revision = 0, size = 0;
};

struct RegistryPut {
  std::string name;
  std::vector<std::string> flags;  ///< those, and "overwrite"
  std::uint64_t index = 0, lease = 0;
  std::string encoding = "bytes";  ///< of the value: "text", "bytes", or "item": packed already
  std::string value;
};

struct RegistryAsk {
  std::string name;
  std::uint64_t index = 0;
  std::vector<std::string> flags;  ///< "first-available", "read-and-delete", "wait"
  std::chrono::milliseconds wait{0};
};

struct RegistryItem {
  RegistryInfo info;
  std::string encoding;  ///< as RegistryPut's
  std::string value;
};

struct RegistryPlace {
  std::uint64_t index = 0, revision = 0;
};

struct RegistryListing {
  std::vector<RegistryInfo> infos;
  std::uint64_t revision = 0;
  bool more = false;
};

struct RegistryEvent {
  std::uint64_t revision = 0;
  bool deleted = false;
  RegistryInfo info;  ///< deleted: name and index only
};

struct RegistryEvents {
  std::vector<RegistryEvent> events;
  std::uint64_t cursor = 0;
};

class RegistryApi {
 public:
  virtual ~RegistryApi() = default;
  /// kUnsupported where the node's kernel has not loaded the plug-in registry. The owner is the caller's
  /// user.
  [[nodiscard]] virtual Result<RegistryPlace> put(const Caller&, const RegistryTarget&,
                                                  const RegistryPut&) = 0;
  [[nodiscard]] virtual Result<RegistryItem> get(const Caller&, const RegistryTarget&,
                                                 const RegistryAsk&) = 0;
  [[nodiscard]] virtual Result<std::uint64_t> erase(const Caller&, const RegistryTarget&,
                                                    const RegistryAsk&) = 0;
  /// From behind (after, after_index) where `after` is not empty.
  [[nodiscard]] virtual Result<RegistryListing> list(const Caller&, const RegistryTarget&,
                                                     const std::string& pattern, const std::string& after,
                                                     std::uint64_t after_index, std::uint32_t limit) = 0;
  /// Waits at most 20 s. kNotFound: so old changes are not kept, list again.
  [[nodiscard]] virtual Result<RegistryEvents> watch(const Caller&, const RegistryTarget&,
                                                     std::uint64_t after, const std::string& pattern,
                                                     std::chrono::milliseconds wait) = 0;
};

}  // namespace mvm::soap
