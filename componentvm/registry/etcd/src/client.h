#pragma once
// etcd's members as one: whoever answers is asked first the next time.

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>

#include "http.h"
#include "mvm/base/result.h"

namespace mvm::registry {

class EtcdClient {
 public:
  explicit EtcdClient(EtcdOptions options);

  enum class Repeat {
    kFreely,  ///< asking twice does no harm
    kNever,   ///< once a member may have seen it, its failure is kTimeout
  };
  /// Posts to "/v3/..." and answers what the member said. kUnavailable: none answered, or they have no
  /// majority; kNotFound, kInvalid, kExhausted: etcd's own words.
  [[nodiscard]] Result<nlohmann::json> ask(const std::string& path, const nlohmann::json& body,
                                           Repeat repeat);

  /// Follows an answer of many lines until `take` answers false, `stop` is set or the time is over (ok), or
  /// the member ends it (kUnavailable).
  [[nodiscard]] Status follow(const std::string& path, const nlohmann::json& body,
                              std::chrono::steady_clock::time_point ends, const std::atomic<bool>& stop,
                              const std::function<bool(const nlohmann::json&)>& take);

  [[nodiscard]] const EtcdOptions& options() const { return options_; }

 private:
  [[nodiscard]] Error none_answered(const std::string& faults) const;

  EtcdOptions options_;
  HttpClient http_;
  std::atomic<std::size_t> preferred_{0};
};

/// A number of etcd's JSON: text, or a number, or missing where it is 0.
[[nodiscard]] std::uint64_t number_of(const nlohmann::json& object, const char* key);
/// Bytes of etcd's JSON; empty where they are missing or no base64.
[[nodiscard]] std::string bytes_of(const nlohmann::json& object, const char* key);

}  // namespace mvm::registry
