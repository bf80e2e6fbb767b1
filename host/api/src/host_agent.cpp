#include "mvm/host/host_agent.h"

namespace mvm::host {

std::string_view to_string(NodeState state) {
  switch (state) {
    case NodeState::kBooting:
      return "booting";
    case NodeState::kUp:
      return "up";
    case NodeState::kSuspended:
      return "suspended";
    case NodeState::kLost:
      break;
  }
  return "lost";
}

}  // namespace mvm::host
