#include "codec.h"

namespace mvm::host {
namespace {

using nlohmann::json;

/// Runs a conversion; nlohmann reports a missing or mistyped field by exception.
template <class Convert>
auto guarded(const char* what, Convert convert) -> Result<decltype(convert())> {
  try {
    return convert();
  } catch (const json::exception& problem) {
    return Error(ErrorCode::kCorrupt, std::string(what) + ": " + problem.what());
  }
}

NodeState node_state_from(const std::string& name) {
  for (const NodeState state : {NodeState::kBooting, NodeState::kUp, NodeState::kSuspended})
    if (name == to_string(state)) return state;
  return NodeState::kLost;
}

LinkIdentity read_link_identity(const json& j) {
  return {.certificate = j.at("certificate"), .key = j.at("key"), .authority = j.at("authority")};
}

NodeSpec read_node_spec(const json& j) {
  return {.lab = j.at("lab"),
          .node = j.at("node"),
          .job = j.at("job"),
          .driver = j.at("driver"),
          .image = j.at("image"),
          .vcpus = j.at("vcpus"),
          .memory = j.at("memory"),
          .address = j.at("address"),
          .seat = j.value("seat", 0U)};
}

NodeInfo read_node_info(const json& j) {
  return {.spec = read_node_spec(j.at("spec")),
          .state = node_state_from(j.at("state")),
          .boot = j.at("boot"),
          .wsdl = j.at("wsdl"),
          .details = j.at("details")};
}

}  // namespace

json to_json(const HostInfo& info) {
  json drivers = json::array();
  for (const DriverInfo& driver : info.drivers)
    drivers.push_back({{"driver", driver.driver}, {"usable", driver.usable}, {"detail", driver.detail}});
  json images = json::array();
  for (const ImageInfo& image : info.images)
    images.push_back({{"name", image.name},
                      {"kind", image.kind},
                      {"architecture", image.architecture},
                      {"digest", image.digest},
                      {"toolchains", image.toolchains},
                      {"drivers", image.drivers}});
  return {{"name", info.name},   {"architecture", info.architecture},
          {"vcpus", info.vcpus}, {"memory", info.memory},
          {"disk", info.disk},   {"drivers", drivers},
          {"images", images}};
}

json to_json(const LinkIdentity& identity) {
  return {{"certificate", identity.certificate}, {"key", identity.key}, {"authority", identity.authority}};
}

json to_json(const LabSpec& spec) {
  return {{"lab", spec.lab},       {"owner", spec.owner},
          {"secret", spec.secret}, {"subnet", spec.subnet},
          {"proxy", spec.proxy},   {"plain_links", spec.plain_links},
          {"seats", spec.seats},   {"identity", to_json(spec.identity)}};
}

json to_json(const LabInfo& info) {
  return {{"proxy_address", info.proxy_address},
          {"proxy_port", info.proxy_port},
          {"plain_port", info.plain_port},
          {"bridge_port", info.bridge_port},
          {"region_port", info.region_port}};
}

json to_json(const NodeSpec& spec) {
  return {{"lab", spec.lab},       {"node", spec.node},       {"job", spec.job},
          {"driver", spec.driver}, {"image", spec.image},     {"vcpus", spec.vcpus},
          {"memory", spec.memory}, {"address", spec.address}, {"seat", spec.seat}};
}

json to_json(const NodeInfo& info) {
  return {{"spec", to_json(info.spec)},
          {"state", to_string(info.state)},
          {"boot", info.boot},
          {"wsdl", info.wsdl},
          {"details", info.details}};
}

json to_json(const Inventory& inventory) {
  json nodes = json::array();
  for (const NodeInfo& node : inventory.nodes) nodes.push_back(to_json(node));
  return {{"labs", inventory.labs}, {"nodes", nodes}};
}

json to_json(const HostEvents& page, std::string& blobs) {
  json events = json::array();
  for (const HostEvent& event : page.events) {
    blobs += event.blob;
    events.push_back({{"seq", event.seq},
                      {"lab", event.lab},
                      {"node", event.node},
                      {"event", event.event},
                      {"args", event.args},
                      {"size", event.blob.size()}});
  }
  return {{"epoch", page.epoch}, {"events", events}};
}

Result<HostInfo> host_info_from(const json& j) {
  return guarded("host description", [&] {
    HostInfo info{.name = j.at("name"),
                  .architecture = j.at("architecture"),
                  .vcpus = j.at("vcpus"),
                  .memory = j.at("memory"),
                  .disk = j.at("disk"),
                  .drivers = {},
                  .images = {}};
    for (const json& d : j.at("drivers"))
      info.drivers.push_back({.driver = d.at("driver"), .usable = d.at("usable"), .detail = d.at("detail")});
    for (const json& i : j.at("images"))
      info.images.push_back({.name = i.at("name"),
                             .kind = i.at("kind"),
                             .architecture = i.at("architecture"),
                             .digest = i.at("digest"),
                             .toolchains = i.at("toolchains"),
                             .drivers = i.at("drivers")});
    return info;
  });
}

Result<LinkIdentity> link_identity_from(const json& j) {
  return guarded("identity of links", [&] { return read_link_identity(j); });
}

Result<LabSpec> lab_spec_from(const json& j) {
  return guarded("lab", [&] {
    return LabSpec{.lab = j.at("lab"),
                   .owner = j.at("owner"),
                   .secret = j.at("secret"),
                   .subnet = j.at("subnet"),
                   .proxy = j.at("proxy"),
                   .plain_links = j.value("plain_links", false),
                   .seats = j.value("seats", 0U),
                   .identity = read_link_identity(j.at("identity"))};
  });
}

Result<LabInfo> lab_info_from(const json& j) {
  return guarded("lab on a host", [&] {
    return LabInfo{.proxy_address = j.at("proxy_address"),
                   .proxy_port = j.at("proxy_port"),
                   .plain_port = j.value("plain_port", std::uint16_t{0}),
                   .bridge_port = j.at("bridge_port"),
                   .region_port = j.value("region_port", std::uint16_t{0})};
  });
}

Result<NodeSpec> node_spec_from(const json& j) {
  return guarded("node", [&] { return read_node_spec(j); });
}

Result<NodeInfo> node_info_from(const json& j) {
  return guarded("node on a host", [&] { return read_node_info(j); });
}

Result<Inventory> inventory_from(const json& j) {
  return guarded("inventory", [&] {
    Inventory inventory{.labs = j.at("labs"), .nodes = {}};
    for (const json& node : j.at("nodes")) inventory.nodes.push_back(read_node_info(node));
    return inventory;
  });
}

Result<HostEvents> host_events_from(const json& j, std::string_view blobs) {
  auto page = guarded("events of a host", [&] {
    HostEvents found{.epoch = j.at("epoch"), .events = {}};
    for (const json& e : j.at("events")) {
      const std::size_t size = std::min(e.at("size").get<std::size_t>(), blobs.size());
      found.events.push_back({.seq = e.at("seq"),
                              .lab = e.at("lab"),
                              .node = e.at("node"),
                              .event = e.at("event"),
                              .args = e.at("args"),
                              .blob = std::string(blobs.substr(0, size))});
      blobs.remove_prefix(size);
    }
    return found;
  });
  return page;
}

}  // namespace mvm::host
