// The registries of a lab's nodes: each call is an operation of the node's plug-in. docs/formats/registry.md.

#include "api_registry.h"

#include <algorithm>

#include "json_fields.h"
#include "mvm/base/json.h"
#include "node_targets.h"

namespace mvm::broker {
namespace {

using fields::heard;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kTime{15'000};     // for what does not wait
constexpr milliseconds kLongest{20'000};  // for what does
constexpr int kMaxWaiting = 8;            // each holds a thread of the service
constexpr std::size_t kMaxList = 10'000;

soap::RegistryInfo info_from(const json& from) {
  soap::RegistryInfo info{.name = heard(from, "name"),
                          .index = fields::number(from, "index"),
                          .owner = heard(from, "owner"),
                          .flags = {},
                          .lease = fields::number(from, "lease"),
                          .revision = fields::number(from, "revision"),
                          .size = fields::number(from, "size")};
  for (const auto& flag : array_or_empty(from, "flags"))
    if (flag.is_string() && info.flags.size() < 16)
      info.flags.push_back(flag.get_ref<const std::string&>().substr(0, 40));
  return info;
}

json ask_args(const soap::RegistryAsk& ask) {
  return {{"name", ask.name}, {"index", ask.index}, {"flags", ask.flags}};
}

/// Counts those who wait.
class Waiting {
 public:
  Waiting(std::atomic<int>& count, bool waits) : count_(count), waits_(waits), now_(waits ? ++count : 0) {}
  ~Waiting() {
    if (waits_) --count_;
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  [[nodiscard]] bool admitted() const { return now_ <= kMaxWaiting; }

 private:
  std::atomic<int>& count_;
  bool waits_;
  int now_;
};

}  // namespace

Result<host::CallReply> RegistryService::ask(const soap::Caller& caller, const soap::RegistryTarget& target,
                                             const char* op, json args, std::string blob, milliseconds wait) {
  const Waiting waiting(waiting_, wait.count() != 0);
  if (!waiting.admitted())
    return Error(ErrorCode::kExhausted, "busy: 8 others wait for registries; try again");
  std::vector<std::string> nodes;
  if (!target.node.empty()) nodes.push_back(target.node);
  if (target.lab.empty()) return Error(ErrorCode::kInvalid, "a registry is that of a lab");
  MVM_ASSIGN(const auto found, node_targets(core_, caller, target.lab, nodes));
  if (found.empty()) return Error(ErrorCode::kNotFound, "lab " + target.lab + " has no nodes");
  const NodeTarget& node = found.front();
  if (!node.trouble.empty())
    return Error(ErrorCode::kUnavailable, node.lab + "/" + node.node + ": " + node.trouble);
  args["owner"] = caller.user;
  auto reply = node.agent->call(node.lab, node.node, op, args, std::move(blob), kTime + wait);
  if (!reply && reply.error().code() == ErrorCode::kUnsupported)
    return Error(ErrorCode::kUnsupported, "the kernel of " + node.lab + "/" + node.node +
                                              " serves no registry; load it: mvm kernel load registry --on " +
                                              node.lab + "/" + node.node +
                                              ", or have several keep one: mvm reg serve " + node.lab);
  return reply;
}

Result<soap::RegistryPlace> RegistryService::put(const soap::Caller& caller,
                                                 const soap::RegistryTarget& target,
                                                 const soap::RegistryPut& put) {
  json args = {{"name", put.name}, {"flags", put.flags}, {"index", put.index}, {"encoding", put.encoding}};
  if (put.lease != 0) args["lease"] = put.lease;
  MVM_ASSIGN(const auto reply, ask(caller, target, "registry.put", std::move(args), put.value));
  return soap::RegistryPlace{.index = fields::number(reply.result, "index"),
                             .revision = fields::number(reply.result, "revision")};
}

Result<soap::RegistryItem> RegistryService::get(const soap::Caller& caller,
                                                const soap::RegistryTarget& target,
                                                const soap::RegistryAsk& item) {
  json args = ask_args(item);
  const milliseconds wait = std::clamp(item.wait, milliseconds(0), kLongest);
  args["wait_ms"] = wait.count();
  args["plain"] = true;
  MVM_ASSIGN(auto reply, ask(caller, target, "registry.recv", std::move(args), {}, wait));
  return soap::RegistryItem{.info = info_from(object_or_empty(reply.result, "info")),
                            .encoding = heard(reply.result, "encoding"),
                            .value = std::move(reply.blob)};
}

Result<std::uint64_t> RegistryService::erase(const soap::Caller& caller, const soap::RegistryTarget& target,
                                             const soap::RegistryAsk& item) {
  MVM_ASSIGN(const auto reply, ask(caller, target, "registry.del", ask_args(item)));
  return fields::number(reply.result, "revision");
}

Result<soap::RegistryListing> RegistryService::list(const soap::Caller& caller,
                                                    const soap::RegistryTarget& target,
                                                    const std::string& pattern, const std::string& after,
                                                    std::uint64_t after_index, std::uint32_t limit) {
  json args = {{"pattern", pattern}, {"limit", limit}};
  if (!after.empty()) args["after"] = {{"name", after}, {"index", after_index}};
  MVM_ASSIGN(const auto reply, ask(caller, target, "registry.list", std::move(args)));
  soap::RegistryListing listing{.infos = {},
                                .revision = fields::number(reply.result, "revision"),
                                .more = fields::flag(reply.result, "more")};
  for (const auto& info : array_or_empty(reply.result, "infos"))
    if (info.is_object() && listing.infos.size() < kMaxList) listing.infos.push_back(info_from(info));
  return listing;
}

Result<soap::RegistryEvents> RegistryService::watch(const soap::Caller& caller,
                                                    const soap::RegistryTarget& target, std::uint64_t after,
                                                    const std::string& pattern, milliseconds wait) {
  wait = std::clamp(wait, milliseconds(0), kLongest);
  json args = {{"after", after}, {"pattern", pattern}, {"wait_ms", wait.count()}};
  MVM_ASSIGN(const auto reply, ask(caller, target, "registry.watch", std::move(args), {}, wait));
  soap::RegistryEvents events{.events = {}, .cursor = fields::number(reply.result, "cursor")};
  for (const auto& event : array_or_empty(reply.result, "events"))
    if (event.is_object() && events.events.size() < kMaxList)
      events.events.push_back({.revision = fields::number(event, "revision"),
                               .deleted = fields::flag(event, "deleted"),
                               .info = info_from(event)});
  return events;
}

}  // namespace mvm::broker
