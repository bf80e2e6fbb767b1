// Machines, images and limits of a lab or job.

#include <algorithm>
#include <set>

#include "ends.h"
#include "job_reader.h"
#include "mvm/topologies/limits.h"
#include "values.h"

namespace mvm::topologies {
namespace {

/// Node names are at most 24 of a-z, 0-9 and -, the machines' name and a number.
constexpr std::size_t kMaxMachineName = 16;

std::string lowered(std::string_view role) {
  std::string name;
  for (const char c : role.substr(0, kMaxMachineName)) {
    name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c == '_' ? '-' : c;
  }
  return name;
}

}  // namespace

void JobReader::read_machines() {
  for (const xml::Element* element : machines_) {
    if (!element->faulty) read_machine(*element);
  }
  std::uint64_t count = 0;
  for (const Machines& machines : profile_.machines) count += machines.count;
  if (count > kMaxMachines) {
    faults_.add(machines_.back()->where, "found " + std::to_string(count) + " machines, expected at most " +
                                             std::to_string(kMaxMachines));
  }
  give_roles_to_machines();
}

void JobReader::read_machine(const xml::Element& element) {
  Machines machines;
  machines.driver = element.get("driver").value;
  for (const Text& role : split_names(element.get("role"))) {
    if (graph_good_ && require_role(profile_.graph, role.value, role.where, faults_) == nullptr) continue;
    if (topology_place_ == nullptr) {
      faults_.add(role.where, "found role '" + role.value + "', but there is no topology, expected none");
      continue;
    }
    machines.roles.push_back(role.value);
  }
  machines.name = machine_name(element, machines);
  machines.image = resolve_image(element, machines.driver);
  machines.host = element.get("host").value;
  machines.architecture = element.get("architecture").value;
  for (const Text& plugin : split_names(element.get("plugins"))) machines.plugins.push_back(plugin.value);
  read_machine_sizes(element, machines);
  if (element.find("role") == nullptr) roleless_machines_.push_back(profile_.machines.size());
  profile_.machines.push_back(std::move(machines));
}

void JobReader::read_machine_sizes(const xml::Element& element, Machines& machines) {
  machines.count = number(element, "count", 1, kMaxMachines, 1);
  machines.vcpus = number(element, "vcpus", 1, 1024, 1);
  machines.memory = bytes(element, "memory", 16ULL << 20U, machines.memory);
  machines.disk = bytes(element, "disk", 1ULL << 20U, 0);
  machines.processes = number(element, "processes", 16, 1 << 22, 0);
  machines.cpu_share = number(element, "cpu-share", 1, 10'000, 0);
}

std::string JobReader::machine_name(const xml::Element& element, const Machines& machines) {
  const auto taken = [&](const std::string& name) {
    return std::any_of(profile_.machines.begin(), profile_.machines.end(),
                       [&](const Machines& other) { return other.name == name; });
  };
  const Text given = element.get("name");
  if (!given.empty()) {
    const bool good =
        given.value.size() <= kMaxMachineName &&
        given.value.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
    if (!good) {
      faults_.add(given.where, "found machines name '" + given.value + "', expected at most " +
                                   std::to_string(kMaxMachineName) + " lower-case letters, digits and -");
    } else if (taken(given.value)) {
      faults_.add(given.where, "duplicate machines name '" + given.value + "', expected another name");
    }
    return given.value;
  }
  const std::string base = machines.roles.empty() ? "node" : lowered(machines.roles.front());
  std::string name = base;
  if (taken(name)) name = lowered(base.substr(0, 8) + "-" + machines.driver);
  for (int number = 2; taken(name); ++number)
    name = base.substr(0, 8) + "-" + machines.driver.substr(0, 4) + std::to_string(number);
  return name;
}

std::string JobReader::resolve_image(const xml::Element& element, const std::string& driver) {
  Text reference = element.get("image");
  if (reference.empty()) reference = {driver == "qemu" ? "qemu-debian" : "host", element.where};
  std::optional<Image> image;
  for (const Image& one : inline_images_) {
    if (one.name == reference.value) image = one;
  }
  if (!image) {
    const auto document = load_reference(DocumentKind::kImage, reference, resolver_, faults_);
    if (!document || document->any_faulty()) return reference.value;
    image = read_image(*document, faults_);
  }
  if (!image->drivers.empty() &&
      std::find(image->drivers.begin(), image->drivers.end(), driver) == image->drivers.end()) {
    faults_.add(reference.where, "image '" + image->name + "' is not for driver " + driver +
                                     ", expected one of " + join_names(image->drivers));
  }
  if (profile_.find_image(image->name) == nullptr) profile_.images.push_back(*image);
  return image->name;
}

/// Machines that name no role hold the roles that no other machines name.
void JobReader::give_roles_to_machines() {
  if (!graph_good_ || profile_.machines.empty()) return;
  std::set<std::string> claimed;
  for (const Machines& machines : profile_.machines)
    claimed.insert(machines.roles.begin(), machines.roles.end());
  std::vector<std::string> rest;
  for (const Role& role : profile_.graph.roles()) {
    if (!claimed.contains(role.name)) rest.push_back(role.name);
  }
  for (const std::size_t i : roleless_machines_) profile_.machines[i].roles = rest;
  if (!roleless_machines_.empty() || rest.empty() || !profile_.has_job) return;
  const bool reading_failed =
      std::any_of(machines_.begin(), machines_.end(), [](const auto* element) { return element->faulty; });
  if (reading_failed) return;
  faults_.add(machines_.front()->where, "no machines hold the roles " + join_names(rest) +
                                            ", expected <machines role=\"" + rest.front() +
                                            "\" .../> or machines without a role");
}

void JobReader::read_limits() {
  for (const xml::Element* element : limits_) {
    if (element != limits_.front()) {
      faults_.add(element->where, "found a second <limit> of the job, expected one");
      continue;
    }
    profile_.limits.walltime_ms = duration(*element, "walltime", 0);
    profile_.limits.retries = number(*element, "retries", 0, 100, profile_.limits.retries);
  }
}

}  // namespace mvm::topologies
