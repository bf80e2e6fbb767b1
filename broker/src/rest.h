#pragma once
// What was left in an open out port's queue when the processes of its job had ended: kept with the job, and
// given to clients as the queue itself was. docs/formats/state.md, "rests/JOB".

#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "mvm/host/host_agent.h"
#include "mvm/queuevm/hand_out.h"
#include "mvm/soap/broker_api.h"

namespace mvm::broker {

/// Most bytes that are kept of one port.
inline constexpr std::size_t kMostRest = std::size_t{64} << 20;

/// Asks a node's kernel for all that no client acknowledged at this queue. Nobody gets anything out of it
/// from then on. The answer is the blob to be kept; `lost`: messages beyond kMostRest.
[[nodiscard]] Result<std::string> fetch_rest(host::HostAgent& agent, const std::string& lab,
                                             const std::string& node, const std::string& attempt,
                                             const std::string& queue, std::uint64_t& lost);

/// A message as wire.take and wire.rest tell it, its bytes being the next of `blob`, `at` bytes on.
[[nodiscard]] Result<soap::TakenMessage> taken_from(const nlohmann::json& item, std::string_view blob,
                                                    std::size_t& at);

/// Such a blob, handed out. Thread-safe.
class Rest {
 public:
  /// `skip`: so many messages at its head were acknowledged earlier. kCorrupt where it is no such blob.
  [[nodiscard]] static Result<std::unique_ptr<Rest>> open(std::string blob, std::uint64_t skip,
                                                          const Clock& clock);
  /// As QueueApi::take(), without waiting. `released`: how many messages at the head are done with.
  [[nodiscard]] soap::TakeAnswer take(const soap::TakeRequest& request, std::uint64_t& released);

 private:
  explicit Rest(const Clock& clock);
  const Clock& clock_;
  std::mutex mutex_;
  std::string blob_;
  std::string end_;
  std::uint64_t released_ = 0;
  queuevm::HandOut hand_out_;
};

}  // namespace mvm::broker
