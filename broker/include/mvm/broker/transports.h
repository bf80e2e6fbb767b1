#pragma once
// What carries a link from one memory domain to another, negotiated from what both offer, cheapest first, or
// forced by the topology. Pure. docs/formats/transports.md [MVM 001, §5; 003, §2.2].

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::broker {

/// Cheapest first; the last ones are there for who asks for them.
enum class Transport : std::uint8_t {
  kShm,      ///< one ring in shared memory
  kIvshmem,  ///< from queue to queue by two proxies of one host, through memory that their machines share
  kTcp,      ///< from queue to queue by two proxies over TCP, which everyone on the way can read
  kTls,      ///< the same over TLS 1.3, with certificates on both sides
  kPosixMq,  ///< from queue to queue by two proxies of one host over POSIX message queues
  kBoostMq,  ///< the same over Boost.Interprocess message queues
};

/// "shm", "ivshmem", "tcp", "tcp+tls", "posix-mq", "boost-mq".
[[nodiscard]] std::string_view to_string(Transport transport);
/// None where it is empty or none of them.
[[nodiscard]] std::optional<Transport> transport_from(std::string_view name);

/// True where it joins processes of one memory domain only.
[[nodiscard]] bool stays_inside(Transport transport);

/// Processes that share memory: a host with all its containers, or one guest.
struct MemoryDomain {
  std::string name;  ///< "host:alpha", "node:cell-3"
  std::string host;
  std::string node;     ///< of a guest; empty: the host's own domain
  bool region = false;  ///< it has the memory that guests share with each other and their host
  bool operator==(const MemoryDomain&) const = default;
};

/// One way to another domain.
struct Offer {
  Transport transport = Transport::kShm;
  bool when_forced = false;  ///< not picked by itself
  bool operator==(const Offer&) const = default;
};

/// What `own` offers towards `other`, which may be itself; cheapest first. Nothing where there is no direct
/// way.
[[nodiscard]] std::vector<Offer> offers(const MemoryDomain& own, const MemoryDomain& other);

/// The cheapest that both offer; or, where one is forced, that one. kNoPlacement with what there is instead.
[[nodiscard]] Result<Transport> negotiate(const MemoryDomain& from, const MemoryDomain& to,
                                          std::optional<Transport> forced);

}  // namespace mvm::broker
