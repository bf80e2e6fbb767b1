#pragma once
// How a registry lies in etcd's keys. docs/formats/registry.md.
//
//   PREFIX h NAME \0 INDEX   an instance: what is known about it (its revision is the key's own)
//   PREFIX v NAME \0 INDEX   its item; written and deleted with the one above, in one transaction
//   PREFIX l LEASE           the lease's owner; goes with the lease
//   PREFIX q REQUEST         what a request was answered; goes after a quarter of an hour
//
// INDEX and LEASE: 8 bytes, the highest first, so that etcd's order is ours. No name holds a NUL.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mvm/registry/table.h"

namespace mvm::registry {

class Keys {
 public:
  explicit Keys(std::string prefix) : prefix_(std::move(prefix)) {}

  [[nodiscard]] std::string head(std::string_view name, std::uint64_t index) const;
  [[nodiscard]] std::string item(std::string_view name, std::uint64_t index) const;
  [[nodiscard]] std::string lease(std::uint64_t id) const;
  [[nodiscard]] std::string request(std::string_view id) const { return prefix_ + "q" + std::string(id); }
  /// All heads of names that begin so.
  [[nodiscard]] std::string heads(std::string_view beginning) const {
    return prefix_ + "h" + std::string(beginning);
  }
  /// Where the instances of a name end, heads or items.
  [[nodiscard]] std::string heads_end(std::string_view name) const { return heads(name) + '\1'; }
  [[nodiscard]] std::string items_end(std::string_view name) const {
    return prefix_ + "v" + std::string(name) + '\1';
  }
  [[nodiscard]] const std::string& prefix() const { return prefix_; }

  struct Place {
    bool is_head = false;
    std::string name;
    std::uint64_t index = 0;
  };
  /// The instance that a head's or an item's key is of.
  [[nodiscard]] std::optional<Place> place(std::string_view key) const;

 private:
  std::string prefix_;
};

/// The first key behind all that begin with `prefix`, which is not empty.
[[nodiscard]] std::string after_prefix(std::string prefix);

[[nodiscard]] std::string encode_head(const Info& info);
/// Name, index and revision are not in it. kCorrupt.
[[nodiscard]] Result<Info> decode_head(std::string_view bytes);

}  // namespace mvm::registry
