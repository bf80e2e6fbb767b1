#pragma once
// Transactions of etcd, as the JSON its gateway reads.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mvm::registry {

class Txn {
 public:
  /// No key from `key` up to `end` was written after `revision`.
  void unchanged_since(std::string_view key, std::string_view end, std::uint64_t revision);
  /// The key was last written at `revision`; 0: it is not there.
  void written_at(std::string_view key, std::uint64_t revision);
  /// The key is there.
  void exists(std::string_view key);

  void put(std::string_view key, std::string_view value, std::uint64_t lease);
  void erase(std::string_view key);
  /// One key, or all from `key` up to `end`; at most `limit`, 0: all.
  void read(std::string_view key, std::string_view end = {}, std::uint64_t limit = 0);

  [[nodiscard]] const nlohmann::json& json() const { return json_; }

 private:
  nlohmann::json json_{{"compare", nlohmann::json::array()}, {"success", nlohmann::json::array()}};
};

/// The pairs that read number `n` of a transaction found.
[[nodiscard]] const nlohmann::json& pairs_of(const nlohmann::json& answer, std::size_t n);

/// What etcd stands at after an answer.
[[nodiscard]] std::uint64_t revision_of(const nlohmann::json& answer);

}  // namespace mvm::registry
