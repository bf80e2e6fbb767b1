#pragma once
// The service "pluglets": a container, asked from elsewhere.

#include <memory>

#include "mvm/pluglets/container.h"

namespace mvm::pluglets {

inline constexpr const char* kControl = "pluglets";

/// What the service needs of the container beside its calls.
class Controlled {
 public:
  virtual ~Controlled() = default;
  [[nodiscard]] virtual Actor actor_of(const rmix::Caller& caller) const = 0;
  [[nodiscard]] virtual Result<std::string> deploy(const Actor& actor, const Deployment& deployment) = 0;
  [[nodiscard]] virtual Status act(const Actor& actor, const std::string& id, Event event) = 0;
  [[nodiscard]] virtual std::vector<PlugletView> list(const Actor& actor) const = 0;
  [[nodiscard]] virtual Status connect(const Actor& actor, const std::string& id, const std::string& port,
                                       const std::string& target) = 0;
  [[nodiscard]] virtual Status disconnect(const Actor& actor, const std::string& id,
                                          const std::string& port) = 0;
  [[nodiscard]] virtual Result<std::string> reference(const Actor& actor, const std::string& id,
                                                      const std::string& port) const = 0;
};

/// `container` must outlive it.
[[nodiscard]] std::shared_ptr<rmix::Service> make_control(Controlled& container);

}  // namespace mvm::pluglets
