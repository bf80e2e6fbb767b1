#include "mvm/rmix/providers.h"

#include <algorithm>

#include "mvm/base/log.h"

namespace mvm::rmix {

Providers Providers::load(const std::filesystem::path& folder, bool debug) {
  Providers all;
  const PluginLoader loader(
      {.folder = folder, .kind = kProviderKind, .api_version = kProviderApi, .debug = debug});
  for (const std::string& name : loader.available()) {
    auto plugin = loader.load(name, "rmix");
    const auto provider = plugin ? LoadedPlugin::make<Provider>(*plugin) : nullptr;
    if (provider)
      all.add(provider);
    else
      log::warning(
          "rmix.provider-left-out",
          {{"provider", name}, {"reason", plugin ? "it makes no object" : plugin.error().describe()}});
  }
  return all;
}

void Providers::add(const std::shared_ptr<Provider>& provider) {
  for (const Scheme& scheme : provider->schemes()) entries_[scheme.name] = {scheme, provider};
}

const Providers::Entry* Providers::find(const std::string& scheme) const {
  const auto found = entries_.find(scheme);
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<std::string> Providers::schemes() const {
  std::vector<const Entry*> sorted;
  for (const auto& [name, entry] : entries_) sorted.push_back(&entry);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Entry* left, const Entry* right) {
    return left->scheme.cost < right->scheme.cost;
  });
  std::vector<std::string> names;
  for (const Entry* entry : sorted) names.push_back(entry->scheme.name);
  return names;
}

std::string scheme_of(std::string_view endpoint) {
  const std::size_t colon = endpoint.find(':');
  return colon == std::string_view::npos ? std::string() : std::string(endpoint.substr(0, colon));
}

}  // namespace mvm::rmix
