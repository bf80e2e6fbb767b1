// SPDX-License-Identifier: Apache-2.0
#pragma once
// The providers at hand: those of a preset folder, and those that a program brings along.

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/plugin_loader.h"
#include "mvm/base/result.h"
#include "mvm/rmix/provider.h"

namespace mvm::rmix {

/// Which provider speaks a scheme. Filled before it is used, constant afterwards.
class Providers {
 public:
  /// Loads every provider of a folder. What cannot be loaded is left out, and logged; a missing folder holds
  /// none.
  [[nodiscard]] static Providers load(const std::filesystem::path& folder, bool debug = false);
  /// Takes the place of others that speak the same schemes.
  void add(const std::shared_ptr<Provider>& provider);

  struct Entry {
    Scheme scheme;
    std::shared_ptr<Provider> provider;
  };
  /// Null where nobody speaks it.
  [[nodiscard]] const Entry* find(const std::string& scheme) const;
  /// Cheapest first.
  [[nodiscard]] std::vector<std::string> schemes() const;

 private:
  std::map<std::string, Entry> entries_;
};

/// "native+tcp" of "native+tcp://host:port"; empty where it is no endpoint.
[[nodiscard]] std::string scheme_of(std::string_view endpoint);

}  // namespace mvm::rmix
