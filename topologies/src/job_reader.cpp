#include "job_reader.h"

#include <map>

#include "ends.h"
#include "expander.h"
#include "mvm/topologies/limits.h"
#include "values.h"

namespace mvm::topologies {

Profile JobReader::read(const xml::Element& root) {
  profile_.name = root.get("name").value;
  if (root.name == "lab") {
    profile_.kind = DocumentKind::kLab;
    collect(root);
  } else {
    use_job(root);
  }
  if (profile_.has_job && topology_place_ == nullptr && job_ != nullptr && !job_->faulty && !root.faulty) {
    faults_.add(job_->where, "the job has no topology, expected <topology ref=\"...\"/> or one in line");
  }
  expand_graph();
  read_machines();
  if (job_ != nullptr) {
    read_programs();
    read_stages();
  }
  read_limits();
  return std::move(profile_);
}

/// Sorts the children of a lab or job by what they are.
void JobReader::collect(const xml::Element& element) {
  std::map<std::string, std::uint32_t> counts;
  for (const xml::Element& child : element.children) {
    const std::uint32_t count = ++counts[child.name];
    if (count == kMaxSiblings + 1) {
      faults_.add(child.where, "found more than " + std::to_string(kMaxSiblings) + " <" + child.name +
                                   "> in <" + element.name + ">");
    }
    if (count > kMaxSiblings) continue;
    if (child.name == "topology") use_topology(child);
    if (child.name == "set" && !child.faulty) sets_.push_back({child.get("param"), child.get("value")});
    if (child.name == "param") param_decls_.push_back(read_param(child));
    if (child.name == "program") programs_.push_back(&child);
    if (child.name == "machines") machines_.push_back(&child);
    if (child.name == "stage") stages_.push_back(&child);
    if (child.name == "limit") limits_.push_back(&child);
    if (child.name == "policy") use_policy(child);
    if (child.name == "image") use_image(child);
    if (child.name == "job" && element.name == "lab") use_job(child);
  }
}

void JobReader::use_topology(const xml::Element& element) {
  if (topology_place_ != nullptr) {
    return faults_.add(element.where, "found a second topology, expected one; the first is in line " +
                                          std::to_string(topology_place_->where.line));
  }
  topology_place_ = &element;
  if (element.space == space_of(DocumentKind::kTopology)) {
    topology_ = &element;
    return;
  }
  for (const xml::Element& child : element.children) {
    if (child.name == "set" && !child.faulty) sets_.push_back({child.get("param"), child.get("value")});
  }
  if (element.find("ref") == nullptr) return;
  auto document = load_reference(DocumentKind::kTopology, element.get("ref"), resolver_, faults_);
  if (!document) return;
  referred_.push_back(std::move(*document));
  topology_ = &referred_.back();
}

void JobReader::use_job(const xml::Element& element) {
  if (profile_.has_job)
    return faults_.add(element.where, "found a second job, expected at most one in a lab");
  profile_.has_job = true;
  if (element.space == space_of(DocumentKind::kJob)) {
    job_ = &element;
  } else {
    auto document = load_reference(DocumentKind::kJob, element.get("ref"), resolver_, faults_);
    if (!document) return;
    referred_.push_back(std::move(*document));
    job_ = &referred_.back();
  }
  profile_.job_name = job_->get("name").value;
  collect(*job_);
}

void JobReader::use_image(const xml::Element& element) {
  if (element.any_faulty()) return;
  for (const Image& image : inline_images_) {
    if (image.name != element.get("name").value) continue;
    return faults_.add(element.get("name").where,
                       "duplicate image '" + image.name + "', expected another name");
  }
  inline_images_.push_back(read_image(element, faults_));
}

void JobReader::use_policy(const xml::Element& element) {
  if (element.any_faulty()) return;
  Policy policy;
  if (element.space == space_of(DocumentKind::kPolicy)) {
    policy = read_policy(element, faults_);
  } else {
    const auto document = load_reference(DocumentKind::kPolicy, element.get("ref"), resolver_, faults_);
    if (!document || document->any_faulty()) return;
    policy = read_policy(*document, faults_);
  }
  for (const Policy& other : profile_.policies) {
    if (other.kind != policy.kind) continue;
    return faults_.add(element.where, "found a second policy of kind " + policy.kind +
                                          ", expected one; the first is '" + other.name + "'");
  }
  profile_.policies.push_back(std::move(policy));
}

void JobReader::expand_graph() {
  TopologyPart part;
  if (topology_ != nullptr) {
    part = read_topology(*topology_, faults_);
    param_decls_.insert(param_decls_.begin(), part.params.begin(), part.params.end());
  }
  // A reference that failed leaves its parameters unknown: complaints about them would mislead.
  const bool params_known = topology_place_ == nullptr || topology_ != nullptr;
  if (!params_known) {
    values_good_ = false;
    return;
  }
  ResolvedParams resolved = resolve_params(param_decls_, sets_, options_.set, file_, faults_);
  profile_.params = std::move(resolved.params);
  values_good_ = resolved.good;
  if (topology_ == nullptr || !part.trusted) return;
  ExpandResult expanded =
      expand_topology(part.topology, profile_.params, values_good_, part.complete, options_.limits);
  faults_.add(expanded.diagnostics);
  graph_good_ = expanded.graph.has_value();
  if (graph_good_) profile_.graph = std::move(*expanded.graph);
}

std::uint32_t JobReader::number(const xml::Element& element, std::string_view attribute, std::int64_t least,
                                std::int64_t most, std::uint32_t fallback) {
  if (element.find(attribute) == nullptr || element.faulty || !values_good_) return fallback;
  const auto value = read_number(element.get(attribute), {attribute, least, most}, profile_.params, faults_);
  return value ? static_cast<std::uint32_t>(*value) : fallback;
}

std::uint64_t JobReader::bytes(const xml::Element& element, std::string_view attribute, std::uint64_t least,
                               std::uint64_t fallback) {
  if (element.find(attribute) == nullptr || element.faulty || !values_good_) return fallback;
  return read_bytes(element.get(attribute), attribute, least, profile_.params, faults_).value_or(fallback);
}

std::int64_t JobReader::duration(const xml::Element& element, std::string_view attribute,
                                 std::int64_t fallback) {
  if (element.find(attribute) == nullptr || element.faulty || !values_good_) return fallback;
  return read_duration(element.get(attribute), attribute, profile_.params, faults_).value_or(fallback);
}

std::optional<std::string> JobReader::filled(const Text& text) {
  if (!values_good_) return text.value;
  auto value = substitute(text.value, profile_.params);
  if (value) return std::move(*value);
  faults_.add(text, value.error());
  return std::nullopt;
}

}  // namespace mvm::topologies
