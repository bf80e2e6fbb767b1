#include "vm_listing.h"

#include "format.h"

namespace mvm::cli {

Json vm_json(const soap::VmView& vm) {
  Json json = Json::object();
  json["lab"] = vm.lab;
  json["node"] = vm.node;
  json["host"] = vm.host;
  json["driver"] = vm.driver;
  json["image"] = vm.image;
  json["state"] = vm.state;
  json["vcpus"] = vm.vcpus;
  json["memory"] = vm.memory;
  json["address"] = vm.address;
  json["wsdl"] = vm.wsdl;
  json["boot"] = vm.boot;
  return json;
}

Listing vm_listing(const std::vector<soap::VmView>& vms) {
  Listing listing("vm", {{"LAB", "lab"},
                         {"NODE", "node"},
                         {"HOST", "host"},
                         {"DRIVER", "driver"},
                         {"IMAGE", "image"},
                         {"STATE", "state"},
                         {"VCPUS", "vcpus", true},
                         {"MEMORY", "memory", true},
                         {"ADDRESS", "address"},
                         {"", "wsdl"},
                         {"", "boot"}});
  for (const soap::VmView& vm : vms) {
    listing.row({vm.lab,
                 vm.node,
                 vm.host,
                 vm.driver,
                 vm.image,
                 vm.state,
                 vm.vcpus,
                 {human_bytes(vm.memory), vm.memory},
                 vm.address,
                 vm.wsdl,
                 vm.boot});
  }
  return listing;
}

Json link_json(const soap::LinkView& link) {
  Json json = Json::object();
  json["lab"] = link.lab;
  json["link"] = link.link;
  json["from"] = link.from;
  json["to"] = link.to;
  json["type"] = link.type;
  json["deliver"] = link.deliver;
  json["when_full"] = link.when_full;
  json["capacity"] = link.capacity;
  json["transport"] = link.transport;
  json["forced"] = !link.forced.empty();
  json["codec"] = link.codec;
  return json;
}

std::string transport_text(const std::string& transport, const std::string& forced) {
  return forced.empty() ? transport : transport + " forced";
}

Listing link_listing(const std::vector<soap::LinkView>& links) {
  Listing listing("link", {{"LAB", "lab"},
                           {"LINK", "link"},
                           {"FROM", "from"},
                           {"TO", "to"},
                           {"TYPE", "type"},
                           {"DELIVER", "deliver"},
                           {"WHEN-FULL", "when_full"},
                           {"CAPACITY", "capacity", true},
                           {"TRANSPORT", "transport"},
                           {"CODEC", "codec"},
                           {"", "forced"}});
  for (const soap::LinkView& link : links) {
    listing.row({link.lab,
                 link.link,
                 link.from,
                 link.to,
                 link.type,
                 link.deliver,
                 link.when_full,
                 link.capacity,
                 {transport_text(link.transport, link.forced), link.transport},
                 link.codec,
                 Cell("", !link.forced.empty())});
  }
  return listing;
}

}  // namespace mvm::cli
