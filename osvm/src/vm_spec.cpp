#include "mvm/osvm/vm_spec.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "mvm/osvm/network_spec.h"

namespace mvm::osvm {
namespace {

constexpr std::size_t kMaxArguments = 256;
constexpr std::size_t kMaxText = 4096;
constexpr std::size_t kMaxHosts = 4096;
constexpr std::size_t kMaxBinds = 32;

Error invalid(const std::string& field, const std::string& why) {
  return Error(ErrorCode::kInvalid, "VM specification: " + field + " " + why);
}

bool is_name_character(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

bool is_name(std::string_view text, std::size_t longest) {
  return !text.empty() && text.size() <= longest && text.front() != '-' && text.back() != '-' &&
         std::all_of(text.begin(), text.end(), is_name_character);
}

/// Labels come from people: letters, digits and a little punctuation.
bool is_label(std::string_view text) {
  return text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                  c == '_' || c == '.' || c == ':';
         });
}

/// Printable and without NUL, so that it survives XML and the kernel's command line.
bool is_clean(std::string_view text) {
  return text.size() <= kMaxText &&
         std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

bool is_absolute_path(const std::filesystem::path& path) {
  return path.is_absolute() && is_clean(path.native()) &&
         std::none_of(path.begin(), path.end(), [](const auto& part) { return part == ".."; });
}

bool is_variable_name(std::string_view text) {
  return !text.empty() && text.size() <= 128 && !(text[0] >= '0' && text[0] <= '9') &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
         });
}

Status validate_limits(const VmLimits& limits) {
  if (limits.vcpus < 1 || limits.vcpus > 64) return invalid("vcpus", "is not within 1 and 64");
  if (!std::isfinite(limits.cpu_quota) || limits.cpu_quota < 0 || limits.cpu_quota > 64)
    return invalid("cpu quota", "is not within 0 and 64 processors");
  if (limits.cpu_quota > 0 && limits.cpu_quota < 0.01)
    return invalid("cpu quota", "is below 0.01 processors");
  if (limits.memory_bytes < (16ull << 20)) return invalid("memory", "is below 16 MiB");
  if (limits.memory_bytes > (1ull << 44)) return invalid("memory", "is above 16 TiB");
  if (limits.pids < 8 || limits.pids > (1u << 22)) return invalid("pids", "is not within 8 and 4194304");
  return ok();
}

Status validate_network(const NetworkAttachment& network) {
  if (!is_name(network.network, 15)) return invalid("network", "has no valid name");
  if (auto address = parse_ipv4(network.address); !address) return invalid("network address", "is not IPv4");
  if (network.prefix < 1 || network.prefix > 30) return invalid("network prefix", "is not within 1 and 30");
  if (!network.gateway.empty() && !parse_ipv4(network.gateway)) return invalid("gateway", "is not IPv4");
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  for (std::size_t i = 0; i < network.mac.size(); ++i)
    if (network.mac.size() != 17 || (i % 3 == 2 ? network.mac[i] != ':' : !hex(network.mac[i])))
      return invalid("mac", "is not six lower-case hexadecimal pairs");
  return ok();
}

Status validate_image(const ImageSpec& image) {
  if (!is_name(image.arch, 16) && image.arch != "x86_64")
    return invalid("image architecture", "is not a name");
  if (!is_absolute_path(image.root)) return invalid("image root", "is not an absolute path");
  for (const auto* path : {&image.kernel, &image.initramfs, &image.disk})
    if (!path->empty() && !is_absolute_path(*path)) return invalid("image file", "is not an absolute path");
  if (image.kind == ImageKind::kDisk && image.disk.empty()) return invalid("image disk", "is missing");
  if (image.disk_format != "raw" && image.disk_format != "qcow2")
    return invalid("image disk format", "is neither raw nor qcow2");
  return ok();
}

Status validate_program(const VmSpec& spec) {
  if (spec.argv.empty()) return invalid("first program", "is missing");
  if (spec.argv.size() > kMaxArguments) return invalid("first program", "has too many arguments");
  if (!is_absolute_path(spec.argv[0])) return invalid("first program", "is not an absolute path");
  for (const auto& argument : spec.argv)
    if (!is_clean(argument))
      return invalid("first program's argument", "has control characters or is too long");
  if (spec.environment.size() > kMaxArguments) return invalid("environment", "has too many variables");
  for (const auto& [name, value] : spec.environment)
    if (!is_variable_name(name) || !is_clean(value))
      return invalid("environment variable " + name, "is not clean");
  return ok();
}

}  // namespace

std::string_view to_string(Driver driver) {
  switch (driver) {
    case Driver::kProcess:
      return "process";
    case Driver::kLxc:
      return "lxc";
    case Driver::kQemu:
      return "qemu";
  }
  return "unknown";
}

Result<Driver> driver_from(std::string_view word) {
  for (const Driver driver : {Driver::kProcess, Driver::kLxc, Driver::kQemu})
    if (word == to_string(driver)) return driver;
  return Error(ErrorCode::kInvalid,
               "unknown driver '" + std::string(word.substr(0, 32)) + "', expected process, lxc or qemu");
}

std::string_view to_string(VmState state) {
  switch (state) {
    case VmState::kRunning:
      return "running";
    case VmState::kSuspended:
      return "suspended";
    case VmState::kStopping:
      return "stopping";
    case VmState::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::filesystem::path root_folder(const VmSpec& spec) {
  return (spec.scratch.empty() ? spec.folder : spec.scratch) / "root";
}

std::filesystem::path run_folder(const std::filesystem::path& node_folder) { return node_folder / "run"; }

std::filesystem::path channel_socket(const std::filesystem::path& node_folder) {
  return run_folder(node_folder) / "channel.sock";
}

std::filesystem::path work_folder(const std::filesystem::path& node_folder) { return node_folder / "work"; }

std::filesystem::path console_log(const std::filesystem::path& node_folder, Driver driver) {
  // A container's own first program writes into the only folder it shares with the host.
  return driver == Driver::kLxc ? run_folder(node_folder) / "console.log" : node_folder / "console.log";
}

Status validate(const VmSpec& spec) {
  if (!is_name(spec.id, 63)) return invalid("id '" + spec.id.substr(0, 64) + "'", "is not [a-z0-9-]{1,63}");
  if (spec.labels.lab.empty() || !is_label(spec.labels.lab)) return invalid("lab", "is not a name");
  if (!is_label(spec.labels.job)) return invalid("job", "is not a name");
  if (!is_name(spec.labels.node, 63)) return invalid("node", "is not [a-z0-9-]{1,63}");
  MVM_TRY(validate_image(spec.image));
  MVM_TRY(validate_limits(spec.limits));
  if (spec.network) MVM_TRY(validate_network(*spec.network));
  if (spec.hosts.size() > kMaxHosts) return invalid("hosts", "are too many");
  for (const auto& [name, address] : spec.hosts)
    if (!is_label(name) || name.empty() || !parse_ipv4(address)) return invalid("host entry", "is not clean");
  if (spec.region &&
      (spec.region->file.parent_path() != "/dev/shm" || !is_name(spec.region->file.filename().native(), 63)))
    return invalid("shared region", "is no file [a-z0-9-]{1,63} in /dev/shm");
  if (spec.region && (spec.region->bytes < (1ull << 20) || !std::has_single_bit(spec.region->bytes)))
    return invalid("shared region", "has no size that is a power of two from 1 MiB on");
  if (spec.binds.size() > kMaxBinds) return invalid("binds", "are too many");
  for (const Bind& bind : spec.binds)
    if (!is_absolute_path(bind.host) || !is_absolute_path(bind.guest))
      return invalid("bind", "is not a pair of absolute paths");
  MVM_TRY(validate_program(spec));
  if (!is_absolute_path(spec.folder)) return invalid("folder", "is not an absolute path");
  // The guest channel is a UNIX socket below it: sun_path holds 107 characters.
  if (channel_socket(spec.folder).native().size() > 107)
    return invalid("folder", "is too long for the guest channel's socket (107 characters)");
  if (!spec.scratch.empty() && !is_absolute_path(spec.scratch))
    return invalid("scratch folder", "is not an absolute path");
  if (!is_absolute_path(spec.tools)) return invalid("tools", "is not an absolute path");
  return ok();
}

}  // namespace mvm::osvm
