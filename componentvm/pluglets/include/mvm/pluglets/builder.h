#pragma once
// Builds applications of components, over one kernel or several. [004, sl. 20-21: CCA, "two-level builder"]

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mvm/pluglets/container.h"

namespace mvm::pluglets {

/// The lower level: the container of one kernel, here or elsewhere.
class Site {
 public:
  virtual ~Site() = default;
  [[nodiscard]] virtual Result<std::string> deploy(const Deployment& deployment) = 0;
  [[nodiscard]] virtual Status act(const std::string& id, Event event) = 0;
  [[nodiscard]] virtual Status connect(const std::string& id, const std::string& port,
                                       const std::string& target) = 0;
  [[nodiscard]] virtual Status disconnect(const std::string& id, const std::string& port) = 0;
  [[nodiscard]] virtual Result<std::string> reference(const std::string& id, const std::string& port) = 0;
};

/// `container` must outlive it.
[[nodiscard]] std::unique_ptr<Site> make_site(Container& container, Actor actor);
/// The container behind an address of the service "pluglets".
[[nodiscard]] Result<std::unique_ptr<Site>> make_site(rmix::Client& client, const std::string& address);

/// The description of the service "pluglets", by which a container is asked from elsewhere.
[[nodiscard]] rmix::InterfacePtr control_interface();

/// The upper level. Not thread-safe. Components stay when it goes.
class Builder {
 public:
  void add_site(const std::string& name, std::unique_ptr<Site> site) { sites_[name] = std::move(site); }

  /// Deploys and starts a component; its ComponentID, the pluglet's URI. What fails leaves nothing behind.
  [[nodiscard]] Result<std::string> create(const std::string& site, const Deployment& deployment);
  /// Stops and destroys it.
  [[nodiscard]] Status destroy(const std::string& component);
  /// Connects a uses port with a provides port, on whatever kernels; where it is connected already it is
  /// rewired: calls under way end on the old wire. kUnsupported: of different types, and the old wire stays.
  [[nodiscard]] Status connect(const std::string& user, const std::string& uses, const std::string& provider,
                               const std::string& provides);
  [[nodiscard]] Status disconnect(const std::string& user, const std::string& uses);

  /// A wire of an assembly, by its components' names.
  struct Wire {
    std::string user, uses, provider, provides;
  };
  struct Part {
    std::string name, site;
    Deployment deployment;
  };
  /// All of them, or none. ComponentIDs by name.
  [[nodiscard]] Result<std::map<std::string, std::string>> build(const std::vector<Part>& parts,
                                                                 const std::vector<Wire>& wires);

 private:
  struct Place {
    Site* site = nullptr;
    std::string id;
  };
  [[nodiscard]] Result<Place> find(const std::string& component) const;
  std::map<std::string, std::unique_ptr<Site>> sites_;
  std::map<std::string, Place> components_;
};

}  // namespace mvm::pluglets
