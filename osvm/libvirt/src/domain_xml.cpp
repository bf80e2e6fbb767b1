#include "domain_xml.h"

#include <tinyxml2.h>

#include <algorithm>
#include <cmath>

#include "mvm/base/number.h"

namespace mvm::osvm::libvirt {
namespace {

using tinyxml2::XMLDocument;
using tinyxml2::XMLElement;

constexpr unsigned kPeriodMicroseconds = 100'000;
constexpr unsigned kLeastQuotaMicroseconds = 1000;  // the kernel refuses less

XMLElement* add(XMLElement* parent, const char* name) { return parent->InsertNewChildElement(name); }

XMLElement* add_text(XMLElement* parent, const char* name, const std::string& text) {
  XMLElement* element = add(parent, name);
  element->SetText(text.c_str());
  return element;
}

void set(XMLElement* element, const char* name, const std::string& value) {
  element->SetAttribute(name, value.c_str());
}

std::string print(const XMLDocument& document) {
  tinyxml2::XMLPrinter printer(nullptr, true);
  document.Print(&printer);
  return printer.CStr();
}

void add_memory(XMLElement* domain, const char* name, std::uint64_t bytes) {
  set(add_text(domain, name, std::to_string(bytes / 1024)), "unit", "KiB");
}

void add_metadata(XMLElement* domain, const VmSpec& spec) {
  XMLElement* vm = add(add(domain, "metadata"), "mvm:vm");
  set(vm, "xmlns:mvm", kMetadataUri);
  set(vm, "lab", spec.labels.lab);
  set(vm, "job", spec.labels.job);
  set(vm, "node", spec.labels.node);
  set(vm, "attempt", std::to_string(spec.labels.attempt));
  set(vm, "folder", spec.folder.native());
  if (!spec.scratch.empty()) set(vm, "scratch", spec.scratch.native());
  set(vm, "address", spec.network ? spec.network->address : "");
  set(vm, "arch", spec.image.arch);
}

void add_head(XMLElement* domain, const VmSpec& spec) {
  add_text(domain, "name", spec.id);
  add_metadata(domain, spec);
  add_memory(domain, "memory", spec.limits.memory_bytes);
}

void add_endings(XMLElement* domain) {
  add_text(domain, "on_poweroff", "destroy");
  add_text(domain, "on_reboot", "destroy");
  add_text(domain, "on_crash", "destroy");
}

unsigned quota_of(double processors) {
  const double microseconds = std::round(processors * kPeriodMicroseconds);
  return std::max(kLeastQuotaMicroseconds, static_cast<unsigned>(microseconds));
}

// --- LXC
// -----------------------------------------------------------------------------------------------------

/// Runs as PID 1 before the first program, and becomes it: sends output where the host reads it at leisure
/// (a console that nobody reads would block the guest), names the machine, limits processes, which libvirt
/// cannot, and sets the environment, which libvirt 9 copies into its own XML without escaping (<initenv>).
constexpr const char* kContainerStart =
    "exec >>/run/mvm/console.log 2>&1 </dev/null\n"
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH\n"
    "hostname \"$1\"\n"
    "ulimit -p \"$2\" 2>/dev/null || ulimit -u \"$2\"\n"
    "n=$3; shift 3\n"
    "while [ \"$n\" -gt 0 ]; do export \"$1\"; shift; n=$((n-1)); done\n"
    "unset n; exec \"$@\"";

void add_lxc_program(XMLElement* os, const VmSpec& spec) {
  add_text(os, "init", "/bin/sh");
  for (const std::string& argument :
       {std::string("-c"), std::string(kContainerStart), std::string("mvm-start"), spec.labels.node,
        std::to_string(spec.limits.pids), std::to_string(spec.environment.size())})
    add_text(os, "initarg", argument);
  for (const auto& [name, value] : spec.environment) add_text(os, "initarg", name + "=" + value);
  for (const std::string& argument : spec.argv) add_text(os, "initarg", argument);
}

void add_lxc_mount(XMLElement* devices, const std::filesystem::path& host, const std::filesystem::path& guest,
                   bool read_only) {
  XMLElement* filesystem = add(devices, "filesystem");
  set(filesystem, "type", "mount");
  set(filesystem, "accessmode", "passthrough");
  set(add(filesystem, "source"), "dir", host.native());
  set(add(filesystem, "target"), "dir", guest.native());
  if (read_only) add(filesystem, "readonly");
}

void add_lxc_ram(XMLElement* devices, const char* guest, std::uint64_t bytes) {
  XMLElement* filesystem = add(devices, "filesystem");
  set(filesystem, "type", "ram");
  XMLElement* source = add(filesystem, "source");
  set(source, "usage", std::to_string(std::max<std::uint64_t>(bytes / 1024, 64)));
  set(source, "units", "KiB");
  set(add(filesystem, "target"), "dir", guest);
}

void add_lxc_devices(XMLElement* domain, const VmSpec& spec, const std::filesystem::path& alternatives) {
  XMLElement* devices = add(domain, "devices");
  add_lxc_mount(devices, root_folder(spec), "/", false);
  add_lxc_mount(devices, spec.image.root / "usr", "/usr", true);
  add_lxc_mount(devices, alternatives, "/etc/alternatives", true);
  add_lxc_mount(devices, spec.tools, "/opt/mvm", true);
  add_lxc_mount(devices, work_folder(spec.folder), "/work", false);
  add_lxc_mount(devices, run_folder(spec.folder), "/run/mvm", false);
  add_lxc_ram(devices, "/tmp", spec.limits.tmp_bytes);
  add_lxc_ram(devices, "/dev/shm", spec.limits.shm_bytes);
  for (const Bind& bind : spec.binds) add_lxc_mount(devices, bind.host, bind.guest, bind.read_only);
  set(add(devices, "console"), "type", "pty");
}

void add_interface(XMLElement* devices, const VmSpec& spec) {
  const NetworkAttachment& network = *spec.network;
  XMLElement* interface = add(devices, "interface");
  set(interface, "type", "network");
  set(add(interface, "source"), "network", network.network);
  set(add(interface, "mac"), "address", network.mac.empty() ? mac_for(spec.id) : network.mac);
}

void add_lxc_address(XMLElement* interface, const NetworkAttachment& network) {
  XMLElement* ip = add(interface, "ip");
  set(ip, "family", "ipv4");
  set(ip, "address", network.address);
  set(ip, "prefix", std::to_string(network.prefix));
  if (!network.gateway.empty()) {
    XMLElement* route = add(interface, "route");
    set(route, "family", "ipv4");
    set(route, "address", "0.0.0.0");
    set(route, "prefix", "0");
    set(route, "gateway", network.gateway);
  }
  set(add(interface, "guest"), "dev", "eth0");
}

// --- QEMU
// ----------------------------------------------------------------------------------------------------

void add_virtiofs(XMLElement* devices, const std::filesystem::path& host, const std::string& tag,
                  const std::filesystem::path& daemon) {
  XMLElement* filesystem = add(devices, "filesystem");
  set(filesystem, "type", "mount");
  set(filesystem, "accessmode", "passthrough");
  set(add(filesystem, "driver"), "type", "virtiofs");
  set(add(filesystem, "binary"), "path", daemon.native());
  set(add(filesystem, "source"), "dir", host.native());
  set(add(filesystem, "target"), "dir", tag);
}

void add_qemu_disk(XMLElement* devices, const std::filesystem::path& overlay) {
  XMLElement* disk = add(devices, "disk");
  set(disk, "type", "file");
  set(disk, "device", "disk");
  XMLElement* driver = add(disk, "driver");
  set(driver, "name", "qemu");
  set(driver, "type", "qcow2");
  set(add(disk, "source"), "file", overlay.native());
  XMLElement* target = add(disk, "target");
  set(target, "dev", "vda");
  set(target, "bus", "virtio");
}

void add_qemu_console(XMLElement* devices, const VmSpec& spec) {
  XMLElement* serial = add(devices, "serial");
  set(serial, "type", "file");
  XMLElement* source = add(serial, "source");
  set(source, "path", console_log(spec.folder, Driver::kQemu).native());
  set(source, "append", "on");
  set(add(serial, "target"), "port", "0");
}

void add_qemu_channel(XMLElement* devices, const VmSpec& spec) {
  XMLElement* channel = add(devices, "channel");
  set(channel, "type", "unix");
  XMLElement* source = add(channel, "source");
  set(source, "mode", "bind");
  set(source, "path", channel_socket(spec.folder).native());
  XMLElement* target = add(channel, "target");
  set(target, "type", "virtio");
  set(target, "name", std::string(kControlPort));
}

/// The host keeps the region, not the guest: role master lets it be saved and restored all the same.
void add_qemu_region(XMLElement* devices, const SharedRegion& region) {
  XMLElement* memory = add(devices, "shmem");
  set(memory, "name", region.file.filename().native());
  set(memory, "role", "master");
  set(add(memory, "model"), "type", "ivshmem-plain");
  set(add_text(memory, "size", std::to_string(region.bytes >> 20U)), "unit", "M");
}

void add_qemu_devices(XMLElement* domain, const VmSpec& spec, const QemuSettings& settings) {
  XMLElement* devices = add(domain, "devices");
  set(add(devices, "controller"), "type", "usb");
  set(devices->LastChildElement(), "model", "none");
  if (settings.disk.empty()) {
    add_virtiofs(devices, spec.image.root / "usr", "usr", settings.virtiofs.read_only);
  } else {
    add_qemu_disk(devices, settings.disk);
  }
  add_virtiofs(devices, spec.tools, "tools", settings.virtiofs.read_only);
  add_virtiofs(devices, work_folder(spec.folder), "work", settings.virtiofs.read_write);
  for (std::size_t i = 0; i < spec.binds.size(); ++i)
    add_virtiofs(devices, spec.binds[i].host, bind_tag(i),
                 spec.binds[i].read_only ? settings.virtiofs.read_only : settings.virtiofs.read_write);
  if (spec.network) {
    add_interface(devices, spec);
    set(add(devices->LastChildElement(), "model"), "type", "virtio");
    // The boot ROM is read by nobody and costs time.
    set(add(devices->LastChildElement(), "rom"), "enabled", "no");
  }
  add_qemu_console(devices, spec);
  add_qemu_channel(devices, spec);
  if (spec.region) add_qemu_region(devices, *spec.region);
  XMLElement* random = add(devices, "rng");
  set(random, "model", "virtio");
  set(add_text(random, "backend", "/dev/urandom"), "model", "random");
  set(add(devices, "memballoon"), "model", "none");
}

void add_qemu_processors(XMLElement* domain, const VmSpec& spec, bool kvm) {
  // A TCG machine that can never have a second processor loses atomics and fences towards the host.
  const unsigned most = kvm ? spec.limits.vcpus : std::max(2u, spec.limits.vcpus);
  XMLElement* vcpu = add_text(domain, "vcpu", std::to_string(most));
  set(vcpu, "placement", "static");
  if (most != spec.limits.vcpus) set(vcpu, "current", std::to_string(spec.limits.vcpus));
  if (spec.limits.cpu_quota > 0) {
    XMLElement* tune = add(domain, "cputune");
    add_text(tune, "global_period", std::to_string(kPeriodMicroseconds));
    add_text(tune, "global_quota", std::to_string(quota_of(spec.limits.cpu_quota)));
  }
}

// --- reading
// -------------------------------------------------------------------------------------------------

std::string attribute(const XMLElement* element, const char* name) {
  const char* value = element != nullptr ? element->Attribute(name) : nullptr;
  return value != nullptr ? value : "";
}

Result<unsigned> number(const std::string& text) {
  if (const auto value = whole_number<unsigned>(text)) return *value;
  return Error(ErrorCode::kCorrupt, "'" + text.substr(0, 32) + "' is not a number");
}

std::string dotted(std::uint32_t address) {
  return std::to_string(address >> 24) + "." + std::to_string((address >> 16) & 255) + "." +
         std::to_string((address >> 8) & 255) + "." + std::to_string(address & 255);
}

constexpr std::string_view kNetworkDomainSuffix = ".lab.mvm";

}  // namespace

std::string lxc_domain(const VmSpec& spec, const std::filesystem::path& alternatives) {
  XMLDocument document;
  XMLElement* domain = document.NewElement("domain");
  document.InsertEndChild(domain);
  set(domain, "type", "lxc");
  add_head(domain, spec);
  add_text(domain, "vcpu", std::to_string(spec.limits.vcpus));
  add_memory(add(domain, "memtune"), "hard_limit", spec.limits.memory_bytes);
  // A container's processors are the host's: the quota is what keeps it to its share.
  const double processors = spec.limits.cpu_quota > 0 ? spec.limits.cpu_quota : spec.limits.vcpus;
  XMLElement* tune = add(domain, "cputune");
  add_text(tune, "period", std::to_string(kPeriodMicroseconds));
  add_text(tune, "quota", std::to_string(quota_of(processors)));
  XMLElement* os = add(domain, "os");
  set(add_text(os, "type", "exe"), "arch", spec.image.arch);
  add_lxc_program(os, spec);
  XMLElement* idmap = add(domain, "idmap");
  for (const char* kind : {"uid", "gid"}) {
    XMLElement* map = add(idmap, kind);
    set(map, "start", "0");
    set(map, "target", std::to_string(kFirstGuestId));
    set(map, "count", std::to_string(kGuestIds));
  }
  add(add(domain, "features"), "privnet");
  add_endings(domain);
  add_lxc_devices(domain, spec, alternatives);
  if (spec.network) {
    XMLElement* devices = domain->FirstChildElement("devices");
    add_interface(devices, spec);
    add_lxc_address(devices->LastChildElement("interface"), *spec.network);
  }
  return print(document);
}

std::string qemu_domain(const VmSpec& spec, const QemuSettings& settings) {
  XMLDocument document;
  XMLElement* domain = document.NewElement("domain");
  document.InsertEndChild(domain);
  set(domain, "type", settings.kvm ? "kvm" : "qemu");
  add_head(domain, spec);
  add_qemu_processors(domain, spec, settings.kvm);
  XMLElement* backing = add(domain, "memoryBacking");
  set(add(backing, "source"), "type", "memfd");
  set(add(backing, "access"), "mode", "shared");
  XMLElement* os = add(domain, "os");
  XMLElement* type = add_text(os, "type", "hvm");
  set(type, "arch", spec.image.arch);
  set(type, "machine", "q35");
  add_text(os, "kernel", settings.kernel.native());
  add_text(os, "initrd", settings.initramfs.native());
  // no_timer_check: on a busy machine a TCG guest misses the ticks of its timer test, and panics.
  add_text(os, "cmdline", "console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 no_timer_check nowatchdog");
  add(add(domain, "features"), "acpi");
  if (settings.kvm) set(add(domain, "cpu"), "mode", "host-passthrough");
  add_endings(domain);
  add_qemu_devices(domain, spec, settings);
  return print(document);
}

std::string bind_tag(std::size_t index) { return "bind" + std::to_string(index); }

std::string network(const NetworkSpec& spec) {
  XMLDocument document;
  XMLElement* root = document.NewElement("network");
  document.InsertEndChild(root);
  add_text(root, "name", spec.name);
  XMLElement* bridge = add(root, "bridge");
  set(bridge, "name", spec.name);
  set(bridge, "stp", "off");
  set(bridge, "delay", "0");
  // A network has no metadata; its domain name, which nobody serves, keeps the lab's id.
  set(add(root, "domain"), "name", spec.lab + std::string(kNetworkDomainSuffix));
  set(add(root, "dns"), "enable", "no");
  const auto subnet = parse_subnet(spec.subnet);
  XMLElement* ip = add(root, "ip");
  set(ip, "address", spec.host_address);
  set(ip, "prefix", std::to_string(subnet ? subnet->prefix : 24));
  return print(document);
}

Result<NetworkSpec> read_network(const std::string& xml) {
  XMLDocument document;
  if (document.Parse(xml.data(), xml.size()) != tinyxml2::XML_SUCCESS || document.RootElement() == nullptr)
    return Error(ErrorCode::kCorrupt, "libvirt's network description is not XML");
  const XMLElement* root = document.RootElement();
  std::string lab = attribute(root->FirstChildElement("domain"), "name");
  const XMLElement* name = root->FirstChildElement("name");
  const XMLElement* ip = root->FirstChildElement("ip");
  if (!lab.ends_with(kNetworkDomainSuffix) || name == nullptr || name->GetText() == nullptr || ip == nullptr)
    return Error(ErrorCode::kNotFound, "a network that is not MVM's");
  lab.resize(lab.size() - kNetworkDomainSuffix.size());
  NetworkSpec spec{name->GetText(), std::move(lab), "", attribute(ip, "address")};
  std::string prefix_text = attribute(ip, "prefix");
  MVM_ASSIGN(const std::uint32_t address, parse_ipv4(spec.host_address));
  unsigned prefix = 0;
  if (prefix_text.empty()) {
    MVM_ASSIGN(const std::uint32_t mask, parse_ipv4(attribute(ip, "netmask")));
    prefix = static_cast<unsigned>(__builtin_popcount(mask));
  } else {
    MVM_ASSIGN(prefix, number(prefix_text));
  }
  if (prefix < 8 || prefix > 30) return Error(ErrorCode::kNotFound, "a network that is not MVM's");
  spec.subnet = dotted(address & (~std::uint32_t{0} << (32 - prefix))) + "/" + std::to_string(prefix);
  return spec;
}

Result<VmInfo> read_metadata(const std::string& xml) {
  XMLDocument document;
  if (document.Parse(xml.data(), xml.size()) != tinyxml2::XML_SUCCESS || document.RootElement() == nullptr)
    return Error(ErrorCode::kCorrupt, "a VM's metadata is not XML");
  const XMLElement* vm = document.RootElement();
  VmInfo info;
  info.labels.lab = attribute(vm, "lab");
  info.labels.job = attribute(vm, "job");
  info.labels.node = attribute(vm, "node");
  info.folder = attribute(vm, "folder");
  info.scratch = attribute(vm, "scratch");
  info.address = attribute(vm, "address");
  info.arch = attribute(vm, "arch");
  auto attempt = number(attribute(vm, "attempt"));
  if (info.labels.lab.empty() || info.labels.node.empty() || info.folder.empty() || !attempt)
    return Error(ErrorCode::kCorrupt, "a VM's metadata lacks lab, node, attempt or folder");
  info.labels.attempt = *attempt;
  return info;
}

}  // namespace mvm::osvm::libvirt
