#include "mvm/topologies/reader.h"

#include "expander.h"
#include "job_reader.h"
#include "model.h"
#include "mvm/base/file.h"
#include "mvm/topologies/limits.h"
#include "mvm/topologies/shipped.h"
#include "xml/gate.h"

namespace mvm::topologies {
namespace {

Profile read_topology_profile(const xml::Element& root, const ReadOptions& options, const std::string& file,
                              FaultList& faults) {
  Profile profile;
  profile.kind = DocumentKind::kTopology;
  profile.name = root.get("name").value;
  const TopologyPart part = read_topology(root, faults);
  ResolvedParams resolved = resolve_params(part.params, {}, options.set, file, faults);
  profile.params = std::move(resolved.params);
  if (!part.trusted) return profile;
  ExpandResult expanded =
      expand_topology(part.topology, profile.params, resolved.good, part.complete, options.limits);
  faults.add(expanded.diagnostics);
  if (expanded.graph) profile.graph = std::move(*expanded.graph);
  return profile;
}

Profile read_root(const xml::Element& root, const ReadOptions& options, const std::string& file,
                  FaultList& faults) {
  if (root.name == "topology") return read_topology_profile(root, options, file, faults);
  if (root.name == "lab" || root.name == "job") {
    ShippedResolver shipped;
    Resolver& resolver = options.resolver == nullptr ? shipped : *options.resolver;
    return JobReader(options, resolver, file, faults).read(root);
  }
  Profile profile;
  profile.name = root.get("name").value;
  if (root.name == "image") {
    profile.kind = DocumentKind::kImage;
    profile.images.push_back(read_image(root, faults));
  } else {
    profile.kind = DocumentKind::kPolicy;
    profile.policies.push_back(read_policy(root, faults));
  }
  for (const auto& [name, value] : options.set) {
    faults.add(SourcePosition{file, 0, 0}, "--set " + name + "=" + value + ": unknown parameter '" + name +
                                               "', expected none in a file of this kind");
  }
  return profile;
}

}  // namespace

Result<ResolvedFile> Resolver::open(const std::string& path, const std::string&) {
  return Error(ErrorCode::kRefused,
               "paths are not opened here, expected a registered name (found '" + path + "')");
}

Result<ResolvedFile> ShippedResolver::find(DocumentKind kind, const std::string& name) {
  const std::string_view text = shipped_text(kind, name);
  if (text.empty())
    return Error(ErrorCode::kNotFound,
                 "no shipped " + std::string(to_string(kind)) + " is named '" + name + "'");
  return ResolvedFile{"<shipped " + std::string(to_string(kind)) + " " + name + ">", std::string(text)};
}

std::vector<std::string> ShippedResolver::names(DocumentKind kind) { return shipped_names(kind); }

Result<ResolvedFile> FileResolver::open(const std::string& path, const std::string& referring_file) {
  const std::filesystem::path full = std::filesystem::path(referring_file).parent_path() / path;
  MVM_ASSIGN(std::string text, read_file(full, kMaxFileBytes));
  return ResolvedFile{full.lexically_normal().string(), std::move(text)};
}

ReadResult read_profile(std::string_view xml, const std::string& file_name, const ReadOptions& options) {
  FaultList faults;
  ReadResult result;
  const auto root = load_document(xml, file_name, faults);
  // A root that is not understood leaves nothing to say.
  if (root && root->space == schema_namespace(root->name) && !root->space.empty()) {
    result.profile = read_root(*root, options, file_name, faults);
  }
  if (!faults.empty()) result.profile.reset();
  result.diagnostics = faults.sorted();
  return result;
}

ReadResult read_profile_file(const std::filesystem::path& path, const ReadOptions& options) {
  auto text = read_file(path, kMaxFileBytes);
  if (text) return read_profile(*text, path.string(), options);
  ReadResult result;
  result.diagnostics.push_back({Fault::kIllFormed, path.string(), 0, 0, text.error().describe(), {}});
  return result;
}

std::vector<Diagnostic> validate_schema(std::string_view xml, const std::string& file_name) {
  return xml::check(xml, file_name).faults;
}

}  // namespace mvm::topologies
