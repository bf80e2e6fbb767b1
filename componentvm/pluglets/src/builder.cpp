#include "mvm/pluglets/builder.h"

namespace mvm::pluglets {

Result<Builder::Place> Builder::find(const std::string& component) const {
  const auto found = components_.find(component);
  if (found == components_.end())
    return Error(ErrorCode::kNotFound, "this builder has made no component " + component.substr(0, 120));
  return found->second;
}

Result<std::string> Builder::create(const std::string& site, const Deployment& deployment) {
  const auto found = sites_.find(site);
  if (found == sites_.end())
    return Error(ErrorCode::kNotFound, "this builder knows no kernel " + site.substr(0, 80));
  MVM_ASSIGN(std::string uri, found->second->deploy(deployment));
  const std::string id = uri.substr(uri.rfind('/') + 1);
  if (Status started = found->second->act(id, Event::kStart); !started) {
    (void)found->second->act(id, Event::kDestroy);
    return std::move(started).error();
  }
  components_[uri] = {found->second.get(), id};
  return uri;
}

Status Builder::destroy(const std::string& component) {
  MVM_ASSIGN(const Place place, find(component));
  Status stopped = place.site->act(place.id, Event::kStop);
  if (!stopped && stopped.error().code() != ErrorCode::kConflict) return stopped;
  MVM_TRY(place.site->act(place.id, Event::kDestroy));
  components_.erase(component);
  return ok();
}

Status Builder::connect(const std::string& user, const std::string& uses, const std::string& provider,
                        const std::string& provides) {
  MVM_ASSIGN(const Place from, find(user));
  MVM_ASSIGN(const Place to, find(provider));
  if (from.site == to.site) return from.site->connect(from.id, uses, to.id + "." + provides);
  MVM_ASSIGN(const std::string address, to.site->reference(to.id, provides));
  return from.site->connect(from.id, uses, address);
}

Status Builder::disconnect(const std::string& user, const std::string& uses) {
  MVM_ASSIGN(const Place from, find(user));
  return from.site->disconnect(from.id, uses);
}

Result<std::map<std::string, std::string>> Builder::build(const std::vector<Part>& parts,
                                                          const std::vector<Wire>& wires) {
  std::map<std::string, std::string> made;
  std::vector<std::string> order;
  Status good = ok();
  for (const Part& part : parts) {
    if (made.contains(part.name)) good = Error(ErrorCode::kInvalid, "there are two components " + part.name);
    if (!good) break;
    auto component = create(part.site, part.deployment);
    if (!component) {
      good = std::move(component).error().wrap("component " + part.name);
      break;
    }
    made[part.name] = *component;
    order.push_back(*component);
  }
  for (const Wire& wire : wires) {
    if (!good) break;
    if (!made.contains(wire.user) || !made.contains(wire.provider))
      good =
          Error(ErrorCode::kNotFound, "a wire from " + wire.user + " to " + wire.provider + " has no ends");
    else
      good = connect(made[wire.user], wire.uses, made[wire.provider], wire.provides);
  }
  if (good) return made;
  for (auto component = order.rbegin(); component != order.rend(); ++component) (void)destroy(*component);
  return good.error();
}

}  // namespace mvm::pluglets
