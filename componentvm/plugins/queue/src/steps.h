#pragma once
// The arguments of wire.apply, checked.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/queuevm/proxy.h"
#include "mvm/queuevm/queue.h"
#include "mvm/queuevm/region.h"
#include "mvm/queuevm/tls/tls_stream.h"
#include "mvm/queuevm/wiring.h"

namespace mvm::plugins::queue {

/// One queue: made here where `create`, else its descriptor came by wire.queues.
struct QueueStep {
  std::string id;
  std::optional<queuevm::QueueSpec> create;
};

/// One end that a process has of a queue.
struct EndStep {
  std::string queue;
  queuevm::End end;
  [[nodiscard]] bool same(const EndStep& other) const {
    return queue == other.queue && end.side == other.end.side && end.slot == other.end.slot;
  }
};

/// One process: its wiring, in which descriptor n stands for queues[n].
struct ProcessStep {
  std::string process;
  queuevm::Wiring wiring;
  std::vector<std::string> queues;
  std::vector<EndStep> ends;
};

/// Another domain.
struct PeerStep {
  std::string name;
  std::string address;  ///< empty: it dials us
  std::uint16_t port = 0;
  queuevm::Carrier carrier = queuevm::Carrier::kPlain;
  queuevm::RegionPart part;  ///< of Carrier::kRegion
};

/// One carried link's half.
struct CarriedStep {
  std::uint64_t link = 0;
  queuevm::LinkHalf::Flow flow = queuevm::LinkHalf::Flow::kOutgoing;
  std::string peer;
  queuevm::Carrier carrier = queuevm::Carrier::kPlain;
  std::string queue;
  std::uint32_t slot = 0;
  std::vector<std::string> codecs;
  std::string key;  ///< for codecs that need one
};

/// An end that clients outside the lab use, through this kernel.
struct OutsideStep {
  std::string queue;
  queuevm::End end;
};

struct Steps {
  std::string attempt;
  std::uint64_t generation = 0;
  std::string domain;
  std::string secret;
  queuevm::tls::Identity identity;  ///< empty: no link is carried by TLS
  std::vector<QueueStep> queues;
  std::vector<ProcessStep> processes;
  std::vector<PeerStep> peers;
  std::string listen_address;  ///< for other guests' proxies, through shared memory; empty: none dials us
  std::uint16_t listen_port = 0;
  std::vector<CarriedStep> carried;
  std::vector<OutsideStep> outside;
};

/// kInvalid with the field's name.
[[nodiscard]] Result<Steps> steps_from(const nlohmann::json& args);

}  // namespace mvm::plugins::queue
