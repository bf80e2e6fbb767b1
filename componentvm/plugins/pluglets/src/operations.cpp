#include "operations.h"

#include <sys/stat.h>
#include <unistd.h>

#include "mvm/base/file.h"
#include "mvm/base/json.h"

namespace mvm::plugins::pluglets {
namespace {

using kernel::Call;
using nlohmann::json;
namespace pl = mvm::pluglets;

constexpr std::size_t kLongest = 300;
constexpr std::size_t kLongestTarget = 4096;

/// Whoever asks over the guest channel, or within the kernel, is the provider, or speaks for whom he names.
/// Who is only passed on by another plug-in is nobody in particular.
Result<pl::Actor> actor_from(const Call& call) {
  if (call.outside) return pl::Actor{};
  if (!call.args.contains("as")) return pl::Actor{.provider = true, .names = {}};
  MVM_ASSIGN(const auto names, texts_of(call.args, "as", 16, kLongest));
  return pl::Actor{.provider = false, .names = {names.begin(), names.end()}};
}

json view_of(const pl::PlugletView& one) {
  return {{"id", one.id},
          {"uri", one.uri},
          {"type", one.type},
          {"owner", one.owner},
          {"state", pl::to_string(one.state)},
          {"reason", one.reason},
          {"provides", one.provides},
          {"uses", one.uses},
          {"wires", one.wires}};
}

/// Its words in the arguments: id, port, target.
struct Names {
  std::string id, port, target;
};

Result<Names> names_from(const json& args, bool with_target) {
  Names names;
  MVM_ASSIGN(names.id, need_text(args, "id", kLongest));
  MVM_ASSIGN(names.port, need_text(args, "port", kLongest));
  if (with_target) {
    MVM_ASSIGN(names.target, need_text(args, "target", kLongestTarget));
  }
  return names;
}

Result<json> deploy(pl::Container& container, const Call& call) {
  MVM_ASSIGN(const pl::Actor actor, actor_from(call));
  pl::Deployment deployment;
  MVM_ASSIGN(deployment.type, need_text(call.args, "type", kLongest));
  deployment.id = text_or(call.args, "id");
  MVM_ASSIGN(const auto parameters, text_map_of(call.args, "parameters", 64, 4096));
  deployment.parameters.insert(parameters.begin(), parameters.end());
  MVM_ASSIGN(const std::string uri, container.deploy(actor, deployment));
  return json{{"uri", uri}, {"id", uri.substr(uri.rfind('/') + 1)}};
}

Result<json> act(pl::Container& container, const Call& call) {
  MVM_ASSIGN(const pl::Actor actor, actor_from(call));
  MVM_ASSIGN(const std::string id, need_text(call.args, "id", kLongest));
  const auto event = pl::event_from(text_or(call.args, "event"));
  if (!event) return Error(ErrorCode::kInvalid, "event: expected start, stop, suspend, resume or destroy");
  MVM_TRY(container.act(actor, id, *event));
  return json::object();
}

Result<json> list(pl::Container& container, const Call& call) {
  MVM_ASSIGN(const pl::Actor actor, actor_from(call));
  json all = json::array();
  for (const pl::PlugletView& one : container.list(actor)) all.push_back(view_of(one));
  return json{{"pluglets", std::move(all)}};
}

Result<json> connect(pl::Container& container, const Call& call) {
  MVM_ASSIGN(const pl::Actor actor, actor_from(call));
  MVM_ASSIGN(const Names names, names_from(call.args, true));
  MVM_TRY(container.connect(actor, names.id, names.port, names.target));
  return json::object();
}

Result<json> disconnect(pl::Container& container, const Call& call) {
  MVM_ASSIGN(const pl::Actor actor, actor_from(call));
  MVM_ASSIGN(const Names names, names_from(call.args, false));
  MVM_TRY(container.disconnect(actor, names.id, names.port));
  return json::object();
}

Result<json> reference(pl::Container& container, const Call& call) {
  MVM_ASSIGN(const pl::Actor actor, actor_from(call));
  MVM_ASSIGN(const Names names, names_from(call.args, false));
  MVM_ASSIGN(const std::string address, container.reference(actor, names.id, names.port));
  return json{{"address", address}};
}

Result<json> listen(pl::Container& container, const Call& call) {
  MVM_ASSIGN(const pl::Actor actor, actor_from(call));
  if (!actor.provider) return Error(ErrorCode::kRefused, "only the provider opens endpoints");
  MVM_ASSIGN(const std::string endpoint, need_text(call.args, "endpoint", kLongest));
  MVM_ASSIGN(const std::string opened, container.listen(endpoint));
  return json{{"endpoint", opened}};
}

}  // namespace

Result<pl::Policy> read_policy(const kernel::NodeConfig& config) {
  for (const std::filesystem::path& path :
       {config.run / "pluglets.json", std::filesystem::path("/etc/mvm/pluglets.json")}) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) continue;
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 || (info.st_uid != 0 && info.st_uid != ::geteuid()))
      return Error(ErrorCode::kRefused,
                   path.string() + " may be written by others than root and this kernel's user");
    MVM_ASSIGN(const std::string text, read_file(path, 1 << 20));
    auto policy = pl::Policy::read(text);
    if (!policy) return std::move(policy).error().wrap(path.string());
    return policy;
  }
  return pl::Policy();
}

Status offer_operations(kernel::Kernel& kernel, pl::Container& container) {
  using Operation = Result<json> (*)(pl::Container&, const Call&);
  static constexpr std::pair<const char*, Operation> kOperations[] = {{"pluglet.deploy", deploy},
                                                                      {"pluglet.act", act},
                                                                      {"pluglet.list", list},
                                                                      {"pluglet.connect", connect},
                                                                      {"pluglet.disconnect", disconnect},
                                                                      {"pluglet.reference", reference},
                                                                      {"pluglet.listen", listen}};
  for (const auto& [op, operation] : kOperations)
    MVM_TRY(
        kernel.handle(op, [&container, operation = operation](kernel::Call& call) -> Result<kernel::Answer> {
          MVM_ASSIGN(json result, operation(container, call));
          return kernel::Answer{std::move(result), {}, {}};
        }));
  return ok();
}

}  // namespace mvm::plugins::pluglets
