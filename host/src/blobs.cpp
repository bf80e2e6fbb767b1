// Blobs between the host's store and its nodes.

#include "agent_state.h"
#include "mvm/channel/blob_transfer.h"

namespace mvm::host {
namespace {

constexpr std::chrono::seconds kPieceTimeout{60};

}  // namespace

Status LocalHostAgent::send_blob(const std::string& lab, const std::string& node, const std::string& digest) {
  MVM_ASSIGN(const std::shared_ptr<Node> receiver, state_->find_node(lab, node));
  MVM_ASSIGN(const std::shared_ptr<channel::HostEnd> channel, state_->channel_of(lab, node));
  const std::lock_guard one(receiver->transfer);
  return channel::send_blob(*channel, state_->blobs, digest, kPieceTimeout);
}

Status LocalHostAgent::fetch_blob(const std::string& lab, const std::string& node,
                                  const std::string& digest) {
  MVM_ASSIGN(const std::shared_ptr<channel::HostEnd> channel, state_->channel_of(lab, node));
  return channel::fetch_blob(*channel, state_->blobs, digest, state_->blobs.limits().blob, kPieceTimeout);
}

}  // namespace mvm::host
