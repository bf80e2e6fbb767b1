#pragma once
// What travels on the guest channel, as both ends see it. docs/formats/guest-channel.md specifies it.

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"

namespace mvm::channel {

inline constexpr int kProtocol = 1;
/// Largest piece that is sent at once of a blob, an output or an input, bytes.
inline constexpr std::size_t kPiece = 256 << 10;

/// What the host asks.
struct Request {
  std::string id;  ///< the same when it is sent again after a reconnect
  std::string op;
  nlohmann::json args = nlohmann::json::object();
  std::string blob;
  std::vector<UniqueFd> descriptors;  ///< UNIX sockets only
};

/// What the kernel answers.
struct Reply {
  nlohmann::json result = nlohmann::json::object();
  std::string blob;
};

/// What the kernel tells by itself.
struct Event {
  std::string boot;       ///< of the node; `seq` counts within it
  std::uint64_t seq = 0;  ///< rises; a gap is an event that was withdrawn (its attempt was cleaned)
  std::string name;       ///< "proc.exit", ...
  nlohmann::json args = nlohmann::json::object();
  std::string blob;
};

}  // namespace mvm::channel
