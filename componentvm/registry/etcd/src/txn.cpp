#include "txn.h"

#include "client.h"
#include "mvm/base/base64.h"
#include "mvm/base/json.h"

namespace mvm::registry {

void Txn::unchanged_since(std::string_view key, std::string_view end, std::uint64_t revision) {
  json_["compare"].push_back({{"key", base64(key)},
                              {"range_end", base64(end)},
                              {"target", "MOD"},
                              {"result", "LESS"},
                              {"mod_revision", std::to_string(revision + 1)}});
}

void Txn::written_at(std::string_view key, std::uint64_t revision) {
  json_["compare"].push_back({{"key", base64(key)},
                              {"target", "MOD"},
                              {"result", "EQUAL"},
                              {"mod_revision", std::to_string(revision)}});
}

void Txn::exists(std::string_view key) {
  json_["compare"].push_back(
      {{"key", base64(key)}, {"target", "CREATE"}, {"result", "GREATER"}, {"create_revision", "0"}});
}

void Txn::put(std::string_view key, std::string_view value, std::uint64_t lease) {
  json_["success"].push_back(
      {{"request_put", {{"key", base64(key)}, {"value", base64(value)}, {"lease", std::to_string(lease)}}}});
}

void Txn::erase(std::string_view key) {
  json_["success"].push_back({{"request_delete_range", {{"key", base64(key)}}}});
}

void Txn::read(std::string_view key, std::string_view end, std::uint64_t limit) {
  nlohmann::json range{{"key", base64(key)}, {"limit", std::to_string(limit)}};
  if (!end.empty()) range["range_end"] = base64(end);
  json_["success"].push_back({{"request_range", std::move(range)}});
}

const nlohmann::json& pairs_of(const nlohmann::json& answer, std::size_t n) {
  static const nlohmann::json nothing = nlohmann::json::array();
  const auto& responses = array_or_empty(answer, "responses");
  if (n >= responses.size()) return nothing;
  return array_or_empty(object_or_empty(responses[n], "response_range"), "kvs");
}

std::uint64_t revision_of(const nlohmann::json& answer) {
  return number_of(object_or_empty(answer, "header"), "revision");
}

}  // namespace mvm::registry
