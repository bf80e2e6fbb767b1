#include "provider.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "mvm/registry/etcd/etcd_registry.h"
#include "mvm/registry/sqlite/sqlite_registry.h"

namespace mvm::plugins::registry {
namespace {

using mvm::registry::EtcdOptions;
using mvm::registry::Registry;

constexpr std::string_view kOurs = "registry.";
constexpr std::array kKnown{"registry.provider",
                            "registry.file",
                            "registry.etcd.endpoints",
                            "registry.etcd.prefix",
                            "registry.etcd.timeout-ms",
                            "registry.etcd.authority",
                            "registry.etcd.certificate",
                            "registry.etcd.key",
                            "registry.listen"};

Status check_settings(const kernel::NodeConfig& node) {
  for (const auto& [name, value] : node.settings) {
    if (!name.starts_with(kOurs)) continue;
    if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end())
      return Error(ErrorCode::kInvalid, "setting " + name + ": the registry knows no such setting");
  }
  return ok();
}

std::string setting(const kernel::NodeConfig& node, const std::string& name, std::string otherwise) {
  const auto found = node.settings.find(name);
  return found == node.settings.end() ? std::move(otherwise) : found->second;
}

Result<EtcdOptions> etcd_options(const kernel::NodeConfig& node) {
  EtcdOptions options;
  options.endpoints = list_setting(node, "registry.etcd.endpoints", "");
  options.prefix = setting(node, "registry.etcd.prefix", "mvm/registry/" + node.lab + "/");
  const std::string timeout = setting(node, "registry.etcd.timeout-ms", "5000");
  std::uint32_t ms = 0;
  const auto [end, fault] = std::from_chars(timeout.data(), timeout.data() + timeout.size(), ms);
  if (fault != std::errc() || end != timeout.data() + timeout.size() || ms == 0)
    return Error(ErrorCode::kInvalid,
                 "registry.etcd.timeout-ms: found \"" + timeout + "\", expected milliseconds");
  options.timeout = std::chrono::milliseconds(ms);
  options.authority = setting(node, "registry.etcd.authority", "");
  options.certificate = setting(node, "registry.etcd.certificate", "");
  options.key = setting(node, "registry.etcd.key", "");
  return options;
}

}  // namespace

std::vector<std::string> list_setting(const kernel::NodeConfig& node, const std::string& name,
                                      const std::string& otherwise) {
  const std::string text = setting(node, name, otherwise);
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Result<std::unique_ptr<Registry>> open_provider(const kernel::NodeConfig& node, Clock& clock) {
  MVM_TRY(check_settings(node));
  const std::string provider = setting(node, "registry.provider", "sqlite");
  if (provider == "sqlite")
    return mvm::registry::open_sqlite_registry(setting(node, "registry.file", node.run / "registry.db"),
                                               clock);
  if (provider == "etcd") {
    MVM_ASSIGN(auto options, etcd_options(node));
    return mvm::registry::open_etcd_registry(std::move(options));
  }
  return Error(ErrorCode::kInvalid, "registry.provider: found \"" + provider + "\", expected sqlite or etcd");
}

}  // namespace mvm::plugins::registry
