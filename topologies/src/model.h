#pragma once
// From elements to the model: the parts that several roots share.

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "fault_list.h"
#include "mvm/topologies/profile.h"
#include "mvm/topologies/reader.h"
#include "mvm/topologies/topology.h"
#include "xml/document.h"

namespace mvm::topologies {

/// A `<param>` as declared.
struct ParamDecl {
  Text name;
  ParamType type = ParamType::kString;
  std::optional<Text> fallback;
  Text min, max;
  bool faulty = false;
};

/// A `<set>`.
struct ParamSet {
  Text param;
  Text value;
};

struct ResolvedParams {
  std::vector<Param> params;  ///< all declared ones, in order
  bool good = true;           ///< false: some value is a stand-in
};

[[nodiscard]] ParamDecl read_param(const xml::Element& element);

/// Final values: `overrides` (--set) beat `sets` beat defaults. `file` is where faults of overrides are told.
[[nodiscard]] ResolvedParams resolve_params(const std::vector<ParamDecl>& decls,
                                            const std::vector<ParamSet>& sets,
                                            const std::map<std::string, std::string>& overrides,
                                            const std::string& file, FaultList& faults);

/// A topology and its parameters, unexpanded.
struct TopologyPart {
  Topology topology;
  std::vector<ParamDecl> params;
  bool trusted = true;   ///< false: names may be missing because of structural faults; do not expand
  bool complete = true;  ///< false: links or patterns are missing for the same reason
};
[[nodiscard]] TopologyPart read_topology(const xml::Element& element, FaultList& faults);

[[nodiscard]] Image read_image(const xml::Element& element, FaultList& faults);
[[nodiscard]] Policy read_policy(const xml::Element& element, FaultList& faults);

/// True for "src/x.xml" and "x.xml": a path, not a registered name.
[[nodiscard]] bool is_path(std::string_view reference);

/// True for a relative path without "..", "." or empty parts.
[[nodiscard]] bool is_safe_path(std::string_view path);

/// Opens a document: gate, structure, model. None, with faults added, unless its text became a model; an
/// element that broke the structure is marked faulty.
[[nodiscard]] std::optional<xml::Element> load_document(std::string_view text, const std::string& file,
                                                        FaultList& faults);

/// What a `ref` refers to, loaded; its root is of the wanted kind. None with a fault at the reference.
[[nodiscard]] std::optional<xml::Element> load_reference(DocumentKind kind, const Text& reference,
                                                         Resolver& resolver, FaultList& faults);

/// The namespace of a kind's root.
[[nodiscard]] std::string space_of(DocumentKind kind);

/// Which word an attribute has; the fallback where it is absent or was reported by the structure check.
template <class Enum, std::size_t N>
Enum read_word(const xml::Element& element, std::string_view attribute,
               const std::pair<std::string_view, Enum> (&words)[N], Enum fallback, FaultList& faults) {
  const Text text = element.get(attribute);
  if (text.empty() || element.faulty) return fallback;
  for (const auto& [word, value] : words) {
    if (text.value == word) return value;
  }
  faults.add(text.where, "found " + std::string(attribute) + " '" + text.value + "', which is no known word",
             {}, Fault::kStructure);
  return fallback;
}

/// Reads "true" or "false".
[[nodiscard]] bool read_flag(const xml::Element& element, std::string_view attribute, bool fallback,
                             FaultList& faults);

/// Splits a list of names at blanks.
[[nodiscard]] std::vector<Text> split_names(const Text& list);

}  // namespace mvm::topologies
