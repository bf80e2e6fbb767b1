#include "provider.h"

#include <algorithm>
#include <array>

#include "mvm/base/log.h"
#include "mvm/base/number.h"
#include "mvm/base/secret_file.h"
#include "mvm/registry/etcd/etcd_registry.h"
#include "mvm/registry/raft/raft_registry.h"
#include "mvm/registry/sqlite/sqlite_registry.h"

namespace mvm::plugins::registry {
namespace {

using mvm::registry::EtcdOptions;

constexpr std::string_view kOurs = "registry.";
struct KnownSetting {
  std::string_view name;
  bool hosts = false;  ///< the node's host may choose it, for a user of the lab: it names no file of the node
};
constexpr std::array kKnown{KnownSetting{"registry.provider", true},
                            KnownSetting{"registry.file", false},
                            KnownSetting{"registry.etcd.endpoints", true},
                            KnownSetting{"registry.etcd.prefix", true},
                            KnownSetting{"registry.etcd.timeout-ms", true},
                            KnownSetting{"registry.etcd.authority", false},
                            KnownSetting{"registry.etcd.certificate", false},
                            KnownSetting{"registry.etcd.key", false},
                            KnownSetting{"registry.raft.id", true},
                            KnownSetting{"registry.raft.members", true},
                            KnownSetting{"registry.raft.join", true},
                            KnownSetting{"registry.raft.address", true},
                            KnownSetting{"registry.raft.secret", false},
                            KnownSetting{"registry.raft.folder", false},
                            KnownSetting{"registry.raft.group", true},
                            KnownSetting{"registry.raft.beat-ms", true},
                            KnownSetting{"registry.listen", false}};
static_assert(std::count_if(kKnown.begin(), kKnown.end(),
                            [](const KnownSetting& one) { return one.hosts; }) == kMostChosen);

const KnownSetting* known(std::string_view name) {
  const auto found =
      std::find_if(kKnown.begin(), kKnown.end(), [&](const KnownSetting& one) { return one.name == name; });
  return found == kKnown.end() ? nullptr : &*found;
}

Status check_settings(const kernel::NodeConfig& node) {
  for (const auto& [name, value] : node.settings) {
    if (!name.starts_with(kOurs)) continue;
    if (known(name) == nullptr)
      return Error(ErrorCode::kInvalid, "setting " + name + ": the registry knows no such setting");
  }
  return ok();
}

std::string setting(const kernel::NodeConfig& node, const std::string& name, const std::string& otherwise) {
  const auto found = node.settings.find(name);
  return found == node.settings.end() ? otherwise : found->second;
}

/// The whole of `text`, in decimal, and not 0.
Result<std::uint64_t> number_of(const std::string& name, std::string_view text, const char* expected) {
  const auto value = whole_number<std::uint64_t>(text).value_or(0);
  if (value == 0)
    return Error(ErrorCode::kInvalid, name + ": found \"" + std::string(text) + "\", expected " + expected);
  return value;
}

Result<std::chrono::milliseconds> milliseconds_setting(const kernel::NodeConfig& node,
                                                       const std::string& name,
                                                       const std::string& otherwise) {
  MVM_ASSIGN(const std::uint64_t ms, number_of(name, setting(node, name, otherwise), "milliseconds"));
  if (ms > UINT32_MAX) return Error(ErrorCode::kInvalid, name + ": longer than 49 days");
  return std::chrono::milliseconds(ms);
}

Result<EtcdOptions> etcd_options(const kernel::NodeConfig& node) {
  EtcdOptions options;
  options.endpoints = list_setting(node, "registry.etcd.endpoints", "");
  options.prefix = setting(node, "registry.etcd.prefix", "mvm/registry/" + node.lab + "/");
  MVM_ASSIGN(options.timeout, milliseconds_setting(node, "registry.etcd.timeout-ms", "5000"));
  options.authority = setting(node, "registry.etcd.authority", "");
  options.certificate = setting(node, "registry.etcd.certificate", "");
  options.key = setting(node, "registry.etcd.key", "");
  return options;
}

/// ID=HOST:PORT, separated by commas.
Result<std::vector<replica::Member>> members_setting(const kernel::NodeConfig& node,
                                                     const std::string& name) {
  std::vector<replica::Member> members;
  for (const std::string& text : list_setting(node, name, "")) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals + 1 == text.size())
      return Error(ErrorCode::kInvalid, name + ": found \"" + text + "\", expected NUMBER=HOST:PORT");
    MVM_ASSIGN(const std::uint64_t id,
               number_of(name, std::string_view(text).substr(0, equals), "NUMBER=HOST:PORT"));
    members.push_back({id, text.substr(equals + 1)});
  }
  return members;
}

/// This kernel's member of a replicated group; all first members are told the same list.
Result<Provider> open_raft(const kernel::NodeConfig& node, Clock& clock) {
  MVM_ASSIGN(const auto members, members_setting(node, "registry.raft.members"));
  MVM_ASSIGN(const auto contacts, members_setting(node, "registry.raft.join"));
  if (members.empty() == contacts.empty())
    return Error(ErrorCode::kInvalid,
                 "expected either registry.raft.members, all first members of a new group, or "
                 "registry.raft.join, members "
                 "of a group to be taken into");
  replica::Options options;
  MVM_ASSIGN(options.self.id,
             number_of("registry.raft.id", setting(node, "registry.raft.id", ""), "this member's number"));
  const auto mine = std::find_if(members.begin(), members.end(),
                                 [&](const auto& one) { return one.id == options.self.id; });
  if (!members.empty() && mine == members.end())
    return Error(ErrorCode::kInvalid, "registry.raft.id: " + std::to_string(options.self.id) +
                                          " is none of registry.raft.members");
  options.self.address = setting(node, "registry.raft.address", mine == members.end() ? "" : mine->address);
  if (options.self.address.empty())
    return Error(ErrorCode::kInvalid, "registry.raft.address: expected HOST:PORT, where this member listens");
  options.group = setting(node, "registry.raft.group", node.lab.empty() ? "registry" : node.lab);
  options.folder = setting(node, "registry.raft.folder", node.run / "registry.raft");
  const std::string secret = setting(node, "registry.raft.secret", "");
  if (secret.empty())
    return Error(ErrorCode::kInvalid, "registry.raft.secret: expected the file of the group's secret");
  MVM_ASSIGN(options.secret, read_secret_file(secret, kShortestSecret));
  MVM_ASSIGN(options.beat, milliseconds_setting(node, "registry.raft.beat-ms", "250"));
  replica::Callbacks callbacks;
  callbacks.ended = [](const Error& why) { log::error("registry.ended", {{"why", why.describe()}}); };
  MVM_ASSIGN(auto registry,
             mvm::registry::open_raft_registry(std::move(options), std::move(callbacks), clock));
  auto* const raft = registry.get();
  return Provider{
      .name = "raft", .registry = std::move(registry), .raft = raft, .first = members, .contacts = contacts};
}

}  // namespace

Status hosts_to_choose(const std::map<std::string, std::string>& settings) {
  for (const auto& [name, value] : settings)
    if (const KnownSetting* const setting = known(name); setting == nullptr || !setting->hosts)
      return Error(ErrorCode::kInvalid, "setting " + name.substr(0, 80) + " is not the host's to choose");
  return ok();
}

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

Status join_group(Provider& provider) {
  if (provider.raft == nullptr) return ok();
  replica::Replica& replica = provider.raft->replica();
  if (provider.first.empty()) return replica.join(provider.contacts);
  const replica::Member self = replica.self();  // with the port that was found
  for (replica::Member& one : provider.first)
    if (one.id == self.id) one = self;
  return replica.bootstrap(provider.first);
}

Result<Provider> open_provider(const kernel::NodeConfig& node, Clock& clock) {
  MVM_TRY(check_settings(node));
  Provider provider{
      .name = setting(node, "registry.provider", "sqlite"), .registry = {}, .first = {}, .contacts = {}};
  if (provider.name == "raft") return open_raft(node, clock);
  if (provider.name == "sqlite") {
    MVM_ASSIGN(provider.registry, mvm::registry::open_sqlite_registry(
                                      setting(node, "registry.file", node.run / "registry.db"), clock));
  } else if (provider.name == "etcd") {
    MVM_ASSIGN(auto options, etcd_options(node));
    MVM_ASSIGN(provider.registry, mvm::registry::open_etcd_registry(std::move(options)));
  } else {
    return Error(ErrorCode::kInvalid,
                 "registry.provider: found \"" + provider.name + "\", expected sqlite, raft or etcd");
  }
  return provider;
}

}  // namespace mvm::plugins::registry
