#include "node_proxy.h"

#include "mvm/queuevm/codecs/builtin.h"
#include "mvm/queuevm/tls/tls_stream.h"

namespace mvm::plugins::queue {

Status NodeProxy::carry(const std::string& attempt, const Steps& steps, const Descriptors& descriptors,
                        const Failed& failed) {
  const std::lock_guard lock(mutex_);
  std::set<Key> wanted;
  if (!steps.carried.empty()) MVM_TRY(start(steps));
  for (const CarriedStep& carried : steps.carried) {
    {
      const std::lock_guard listening(listeners_->mutex);
      listeners_->of[carried.link] = {attempt, failed};
    }
    MVM_TRY(add(carried, descriptors));
    const Key key{carried.link, carried.flow, carried.peer, carried.carrier};
    links_[attempt].insert(key);
    wanted.insert(key);
  }
  return keep_only(attempt, wanted);
}

void NodeProxy::leave(const std::string& attempt) {
  const std::lock_guard lock(mutex_);
  static_cast<void>(keep_only(attempt, {}));
  links_.erase(attempt);
  if (!links_.empty()) return;
  listens_ = false;
  proxy_.reset();  // before another one listens in its place
}

Status NodeProxy::start(const Steps& steps) {
  if (proxy_ && (steps.domain != domain_ || steps.secret != secret_))
    return Error(ErrorCode::kConflict, "this node is " + domain_ + " in its lab, and was now called " +
                                           steps.domain + " or given another secret");
  if (!proxy_) {
    queuevm::Proxy::Options options;
    options.domain = domain_ = steps.domain;
    options.secret = secret_ = steps.secret;
    options.codecs = queuevm::codecs::builtin();
    options.on_failure = [listeners = listeners_](const queuevm::LinkFailure& failure) {
      Failed failed;
      {
        const std::lock_guard lock(listeners->mutex);
        const auto found = listeners->of.find(failure.link);
        if (found != listeners->of.end()) failed = found->second.second;
      }
      if (failed) failed(failure);
    };
    MVM_ASSIGN(proxy_, queuevm::Proxy::start(std::move(options)));
    region_.reset();  // the streams of the one before
  }
  if (!steps.identity.certificate.empty()) {
    MVM_ASSIGN(auto streams, queuevm::tls::make_streams(steps.identity));
    proxy_->set_streams(queuevm::Carrier::kSecure, std::move(streams));
  }
  MVM_TRY(join_region(steps));
  for (const PeerStep& peer : steps.peers)
    MVM_TRY(proxy_->add_peer(peer.name, peer.address, peer.port, peer.carrier));
  return ok();
}

/// The memory that this guest shares with others, once a link goes through it.
Status NodeProxy::join_region(const Steps& steps) {
  for (const PeerStep& peer : steps.peers) {
    if (peer.carrier != queuevm::Carrier::kRegion) continue;
    if (!region_) {
      MVM_ASSIGN(auto region, queuevm::Region::of_guest());
      region_.emplace(std::move(region));
      proxy_->set_streams(queuevm::Carrier::kRegion, region_->factory());
    }
    MVM_TRY(region_->give(peer.name, peer.part));
  }
  if (steps.listen_address.empty() || listens_) return ok();
  MVM_TRY(proxy_->listen(steps.listen_address, steps.listen_port, queuevm::Carrier::kRegion));
  listens_ = true;
  return ok();
}

Status NodeProxy::add(const CarriedStep& carried, const Descriptors& descriptors) {
  queuevm::LinkHalf half;
  half.link = carried.link;
  half.flow = carried.flow;
  half.peer = carried.peer;
  half.carrier = carried.carrier;
  half.slot = carried.slot;
  half.codecs = carried.codecs;
  half.key = carried.key;
  auto descriptor = descriptors(carried.queue);
  if (!descriptor)
    return std::move(descriptor).error().wrap("link " + std::to_string(carried.link) + " is carried");
  half.descriptor = std::move(*descriptor);
  const Status added = proxy_->add_link(std::move(half));
  return added || added.error().code() == ErrorCode::kExists ? ok() : added;
}

Status NodeProxy::keep_only(const std::string& attempt, const std::set<Key>& wanted) {
  const auto mine = links_.find(attempt);
  if (mine == links_.end() || !proxy_) return ok();
  Status result = ok();
  for (auto link = mine->second.begin(); link != mine->second.end();) {
    if (wanted.contains(*link)) {
      ++link;
      continue;
    }
    const auto& [number, flow, peer, carrier] = *link;
    if (Status removed = proxy_->remove_link(number, flow, peer, carrier); !removed)
      result = std::move(removed);
    link = mine->second.erase(link);
  }
  const std::lock_guard listening(listeners_->mutex);
  std::erase_if(listeners_->of, [&](const auto& one) {
    if (one.second.first != attempt) return false;
    return std::none_of(mine->second.begin(), mine->second.end(),
                        [&](const Key& key) { return std::get<0>(key) == one.first; });
  });
  return result;
}

}  // namespace mvm::plugins::queue
