#include "mvm/broker/transports.h"

#include <algorithm>
#include <array>

namespace mvm::broker {
namespace {

constexpr std::array<std::string_view, 6> kNames = {"shm",     "ivshmem",  "tcp",
                                                    "tcp+tls", "posix-mq", "boost-mq"};

/// "tcp, posix-mq or boost-mq"
std::string listed(const std::vector<std::string_view>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += (i == 0 ? "" : i + 1 < names.size() ? ", " : " or ") + std::string(names[i]);
  return text;
}

/// "shm, or tcp where forced"
std::string text_of(const std::vector<Offer>& both) {
  std::vector<std::string_view> usual, forced;
  for (const auto& offer : both) (offer.when_forced ? forced : usual).push_back(to_string(offer.transport));
  if (both.empty()) return "nothing";
  if (forced.empty()) return listed(usual);
  return listed(usual) + (usual.empty() ? "" : ", or ") + listed(forced) + " where forced";
}

}  // namespace

std::string_view to_string(Transport transport) { return kNames.at(static_cast<std::size_t>(transport)); }

std::optional<Transport> transport_from(std::string_view name) {
  const auto* const found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Transport>(found - kNames.begin());
}

bool stays_inside(Transport transport) {
  return transport == Transport::kShm || transport == Transport::kPosixMq || transport == Transport::kBoostMq;
}

std::vector<Offer> offers(const MemoryDomain& own, const MemoryDomain& other) {
  const bool guest = !own.node.empty();
  // A host's proxy can carry a link out of the domain and back; a guest's dials its host and nobody else.
  if (own.name == other.name)
    return guest ? std::vector<Offer>{{Transport::kShm, false}}
                 : std::vector<Offer>{{Transport::kShm, false},
                                      {Transport::kTcp, true},
                                      {Transport::kPosixMq, true},
                                      {Transport::kBoostMq, true}};
  const bool region = own.region && other.region && own.host == other.host;
  std::vector<Offer> all;
  if (region) all.push_back({Transport::kIvshmem, false});
  // On the lab's bridge nobody listens but the lab's own machine; between machines anybody may.
  if (own.host == other.host) {
    if (guest && !other.node.empty()) return all;
    all.insert(all.end(), {{Transport::kTcp, region}, {Transport::kTls, true}});
    return all;
  }
  if (guest || !other.node.empty()) return {};
  return {{Transport::kTcp, true}, {Transport::kTls, false}};
}

Result<Transport> negotiate(const MemoryDomain& from, const MemoryDomain& to,
                            std::optional<Transport> forced) {
  const auto theirs = offers(to, from);
  std::vector<Offer> both;
  for (const auto& offer : offers(from, to))
    if (std::find(theirs.begin(), theirs.end(), offer) != theirs.end()) both.push_back(offer);
  for (const auto& offer : both)
    if (forced ? offer.transport == *forced : !offer.when_forced) return offer.transport;
  const auto where = from.name == to.name ? "within " + from.name : "from " + from.name + " to " + to.name;
  return Error(
      ErrorCode::kNoPlacement,
      (forced ? "transport " + std::string(to_string(*forced)) + " is forced, but " : std::string()) + where +
          " there is " + text_of(both));
}

}  // namespace mvm::broker
