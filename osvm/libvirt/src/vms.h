#pragma once
// What the LXC and the QEMU driver have in common: everything but the making of a domain.

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "connection.h"
#include "mvm/osvm/hypervisor.h"
#include "mvm/osvm/libvirt/libvirt.h"
#include "mvm/osvm/root_tree.h"
#include "mvm/osvm/vm_roster.h"
#include "networks.h"

namespace mvm::osvm::libvirt {

/// A hypervisor over one libvirt connection.
class LibvirtVms : public Hypervisor, public Suspendable {
 public:
  LibvirtVms(Driver driver, Options options);
  ~LibvirtVms() override = default;

  Driver driver() const final { return driver_; }
  DriverStatus probe() final;
  Result<VmInfo> create(const VmSpec& spec) final;
  Status destroy(const std::string& id) final;
  Result<std::vector<VmInfo>> list() final;
  Result<VmInfo> find(const std::string& id) final;
  Result<VmStats> stats(const std::string& id) final;
  Result<ConsolePiece> console(const std::string& id, std::uint64_t cursor, std::size_t limit) final;
  void on_event(EventHandler handler) final { roster_->set_handler(std::move(handler)); }
  Suspendable* suspendable() final { return this; }
  NetworkProvider* networks() final { return &networks_; }
  Status suspend(const std::string& id) final;
  Status resume(const std::string& id) final;

 protected:
  /// Makes the node's folder and whatever the domain needs there; returns the domain's XML.
  virtual Result<std::string> prepare(const VmSpec& spec) = 0;
  /// Fills in what was found by trying; `connect` is open.
  /// A probe of an earlier process is known to hold still.
  virtual void know(const DriverStatus& /*status*/) {}
  virtual void try_out(virConnectPtr connect, DriverStatus& status) = 0;
  /// Boots a tiny VM that prints a word and ends; kTimeout where the word did not come within the deadline.
  Status boot_probe(const std::string& id_prefix, std::chrono::milliseconds deadline);
  Result<ConnectHandle> connect() { return connection_.get(); }

  const Options options_;
  Alternatives alternatives_{options_.cache};

 private:
  Result<VmInfo> adopt(virDomainPtr domain, const VmSpec& spec);
  Result<VmInfo> start(virConnectPtr connect, const VmSpec& spec);
  Result<VmInfo> describe(virDomainPtr domain) const;
  Result<std::vector<VmInfo>> list_on(virConnectPtr connect) const;
  void subscribe(virConnectPtr connect);
  void unsubscribe(virConnectPtr connect);

  const Driver driver_;
  // Shared with libvirt, which may call back while the driver is being destroyed.
  const std::shared_ptr<VmRoster> roster_ = std::make_shared<VmRoster>();
  IdGate gate_;
  int subscription_ = -1;  // touched on the watcher's thread only
  std::mutex probe_mutex_;
  std::optional<DriverStatus> probed_;
  Connection connection_;
  Networks networks_{connection_};
};

}  // namespace mvm::osvm::libvirt
