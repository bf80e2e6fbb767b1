#pragma once
// One connection between two kernels of a machine: who is there is proved by both ends before any message.

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/dvm/wire.h"

namespace mvm::dvm {

/// Who we are.
struct Identity {
  std::string vm;
  std::string kernel;
  std::string secret;
};

/// Of one event loop's thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  struct Events {
    std::function<void()> ready;                         ///< the peer is who it says
    std::function<void(const nlohmann::json&)> message;  ///< after ready
    std::function<void(const Error&)> closed;            ///< once, unless by close()
  };
  virtual ~Connection() = default;

  /// After ready. `text` is a JSON object.
  virtual void send_text(std::string_view text) = 0;
  void send(const nlohmann::json& message) { send_text(text_of(message)); }
  /// Calls back no more.
  virtual void close() = 0;
  /// Writes what waits, then closes.
  virtual void close_when_sent() = 0;
  [[nodiscard]] virtual const std::string& peer() const = 0;
  [[nodiscard]] virtual bool open() const = 0;
};

}  // namespace mvm::dvm
