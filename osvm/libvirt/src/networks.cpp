#include "networks.h"

#include <span>

#include "domain_xml.h"
#include "leftovers.h"

namespace mvm::osvm::libvirt {
namespace {

Result<NetworkSpec> read(virNetworkPtr network) {
  const TextHandle xml(virNetworkGetXMLDesc(network, 0));
  if (!xml) return last_error("describe a network");
  return read_network(xml.get());
}

/// The network of that name; nothing where there is none.
Result<NetworkHandle> look_up(virConnectPtr connect, const std::string& name) {
  NetworkHandle network(virNetworkLookupByName(connect, name.c_str()));
  if (network) return network;
  if (last_error_number() != VIR_ERR_NO_NETWORK) return last_error("find network " + name);
  virResetLastError();
  return NetworkHandle();
}

/// Is a network that is already there the one that was asked for?
Status same(virNetworkPtr network, const NetworkSpec& wanted) {
  auto found = read(network);
  if (!found)
    return Error(ErrorCode::kConflict, "network " + wanted.name + " exists and is not of MVM's making");
  if (found->lab != wanted.lab)
    return Error(ErrorCode::kConflict, "network " + wanted.name + " belongs to lab " + found->lab);
  if (found->subnet != wanted.subnet || found->host_address != wanted.host_address)
    return Error(ErrorCode::kConflict, "network " + wanted.name + " exists as " + found->subnet +
                                           " with host " + found->host_address);
  return ok();
}

}  // namespace

Status Networks::ensure_network(const NetworkSpec& spec) {
  MVM_TRY(validate(spec));
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const NetworkHandle existing, look_up(connect.get(), spec.name));
  if (existing) return same(existing.get(), spec);
  MVM_TRY(remove_bridge_leftover(spec.name));
  const NetworkHandle made(virNetworkCreateXML(connect.get(), network(spec).c_str()));
  if (made) return ok();
  Error problem = last_error("make network " + spec.name + " (" + spec.subnet + ")");
  // Somebody else may have made it meanwhile.
  if (auto other = look_up(connect.get(), spec.name); other && *other) return same(other->get(), spec);
  if (problem.message().find("already in use") != std::string::npos)
    return Error(ErrorCode::kConflict, problem.message());
  return problem;
}

Status Networks::remove_network(const std::string& name) {
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const NetworkHandle existing, look_up(connect.get(), name));
  if (!existing) return remove_bridge_leftover(name);
  if (!read(existing.get())) return Error(ErrorCode::kRefused, "network " + name + " is not of MVM's making");
  if (virNetworkDestroy(existing.get()) == 0) return ok();
  if (const int number = last_error_number();
      number == VIR_ERR_NO_NETWORK || number == VIR_ERR_OPERATION_INVALID) {
    virResetLastError();
    return ok();
  }
  return last_error("remove network " + name);
}

Result<std::vector<NetworkSpec>> Networks::list_networks() {
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  virNetworkPtr* raw = nullptr;
  const int count = virConnectListAllNetworks(connect.get(), &raw, VIR_CONNECT_LIST_NETWORKS_ACTIVE);
  if (count < 0) return last_error("list networks");
  std::vector<NetworkHandle> networks;
  for (virNetworkPtr network : std::span(raw, static_cast<std::size_t>(count)))
    networks.emplace_back(network);
  std::free(raw);
  std::vector<NetworkSpec> result;
  for (const NetworkHandle& network : networks)
    if (auto spec = read(network.get())) result.push_back(std::move(*spec));
  virResetLastError();
  return result;
}

}  // namespace mvm::osvm::libvirt
