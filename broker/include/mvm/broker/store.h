#pragma once
// The durable state of a broker, above any provider: versioned keys, compare-and-swap batches, watch, lease.
// docs/formats/state.md lists the keys. Providers pass tests/broker/store_contract.h.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::broker {

inline constexpr std::size_t kMaxBatch = 128;        ///< operations of one batch
inline constexpr std::size_t kMaxValue = 1U << 20U;  ///< bytes of one value
inline constexpr std::size_t kMaxKey = 512;          ///< bytes of one key

/// A key with its value. The version counts the writes of this key since it was made, from 1.
struct Entry {
  std::string key;
  std::string value;
  std::uint64_t version = 0;
  std::uint64_t revision = 0;  ///< of the store when it was last written
  bool operator==(const Entry&) const = default;
};

/// One operation of a batch.
struct Operation {
  enum class Kind {
    kPut,    ///< sets the value
    kErase,  ///< removes the key; no error if it is not there
    kCheck,  ///< changes nothing; only `expect` counts
  };
  Kind kind = Kind::kPut;
  std::string key;
  std::string value;
  std::optional<std::uint64_t> expect;  ///< the key's version must be this one; 0: it must not exist
  std::string lease;                    ///< kPut: the key goes when this lease ends; empty: it stays
};

/// Operations that happen all or not at all. A key may appear once.
using Batch = std::vector<Operation>;

[[nodiscard]] Operation put(std::string key, std::string value, std::optional<std::uint64_t> expect = {});
[[nodiscard]] Operation erase(std::string key, std::optional<std::uint64_t> expect = {});
[[nodiscard]] Operation check(std::string key, std::uint64_t expect);

/// One change, as a watcher sees it.
struct Change {
  Entry entry;  ///< after a put; after an erase only key and revision
  bool erased = false;
};

/// Ends a watch when destroyed; no call of the watcher runs or follows afterwards.
class Watch {
 public:
  virtual ~Watch() = default;
};

/// Every call may be made from any thread and blocks until done. What was answered with success is durable.
class Store {
 public:
  using Watcher = std::function<void(const std::vector<Change>&)>;
  virtual ~Store() = default;

  /// kNotFound where there is no such key.
  [[nodiscard]] virtual Result<Entry> get(std::string_view key) const = 0;
  /// Entries whose key begins with `prefix` and is greater than `after`, in the order of their bytes; at most
  /// `limit` of them, and fewer where they would be more than 64 MiB together.
  [[nodiscard]] virtual Result<std::vector<Entry>> list(std::string_view prefix, std::string_view after = {},
                                                        std::size_t limit = 1000) const = 0;
  /// Commits a batch: its revision. kConflict where an expectation does not hold (nothing is changed),
  /// kInvalid where a limit is broken, kExhausted where the disk is full.
  [[nodiscard]] virtual Result<std::uint64_t> commit(const Batch& batch) = 0;
  /// Several batches with one wait for the disk. Each stands alone: a conflict in one spares the others.
  [[nodiscard]] virtual std::vector<Result<std::uint64_t>> commit_all(const std::vector<Batch>& batches) = 0;
  /// The revision of the last commit.
  [[nodiscard]] virtual Result<std::uint64_t> revision() const = 0;
  /// Calls `watcher` with each later commit's changes under `prefix`, in order, on a thread of the provider.
  [[nodiscard]] virtual Result<std::unique_ptr<Watch>> watch(std::string prefix, Watcher watcher) = 0;

  /// A lease that ends unless it is kept alive within `ttl`; its id.
  [[nodiscard]] virtual Result<std::string> grant(std::chrono::milliseconds ttl) = 0;
  /// kNotFound where it has ended.
  [[nodiscard]] virtual Status keep_alive(const std::string& lease) = 0;
  /// Ends it now: its keys go in one commit. No error if it has ended.
  [[nodiscard]] virtual Status revoke(const std::string& lease) = 0;
};

}  // namespace mvm::broker
