#include "mvm/topologies/shipped.h"

#include <algorithm>

#include "embedded.h"

namespace mvm::topologies {
namespace {

std::string_view find(std::string_view kind, std::string_view name) {
  for (const EmbeddedFile& file : embedded_files()) {
    if (file.kind == kind && file.name == name) return file.text;
  }
  return {};
}

}  // namespace

std::string_view schema_text(std::string_view root) { return find("schema", root); }

std::string_view schema_namespace(std::string_view root) {
  if (root == "topology") return "urn:mvm:topology:1";
  if (root == "job") return "urn:mvm:job:1";
  if (root == "lab") return "urn:mvm:lab:1";
  if (root == "policy") return "urn:mvm:policy:1";
  if (root == "image") return "urn:mvm:image:1";
  return {};
}

std::string_view shipped_text(DocumentKind kind, std::string_view name) {
  return find(to_string(kind), name);
}

std::vector<std::string> shipped_names(DocumentKind kind) {
  std::vector<std::string> names;
  for (const EmbeddedFile& file : embedded_files()) {
    if (file.kind == to_string(kind)) names.emplace_back(file.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace mvm::topologies
