#include "mvm/repository/rules.h"

#include "mvm/base/json.h"

namespace mvm::repository {

Result<LocatorRules> rules_from(const nlohmann::json& object) {
  constexpr std::size_t kMost = 100;
  LocatorRules rules;
  MVM_ASSIGN(const auto folders, texts_of(object, "folders", kMost));
  rules.download.folders.assign(folders.begin(), folders.end());
  rules.download.authorities = text_or(object, "authorities");
  rules.download.time = std::chrono::milliseconds(number_or(object, "time_ms", 120'000) % (1U << 31));
  MVM_ASSIGN(rules.keys, texts_of(object, "keys", kMost));
  MVM_ASSIGN(rules.repositories, texts_of(object, "repositories", kMost));
  rules.allow_unsigned = flag_or(object, "allow_unsigned");
  MVM_ASSIGN(const std::string cache, need_text(object, "cache"));
  rules.cache = cache;
  rules.cache_bytes = number_or(object, "cache_bytes", kCacheLimit);
  MVM_ASSIGN(rules.architecture, need_text(object, "architecture", 60));
  rules.debug = flag_or(object, "debug");
  return rules;
}

}  // namespace mvm::repository
