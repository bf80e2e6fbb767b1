#include "model.h"

#include "mvm/topologies/shipped.h"
#include "structure.h"
#include "values.h"
#include "xml/gate.h"

namespace mvm::topologies {

std::string space_of(DocumentKind kind) { return std::string(schema_namespace(to_string(kind))); }

bool is_path(std::string_view reference) { return reference.find_first_of("/.") != std::string_view::npos; }

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > 1024 || path.find('\0') != std::string_view::npos) return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

bool read_flag(const xml::Element& element, std::string_view attribute, bool fallback, FaultList& faults) {
  static constexpr std::pair<std::string_view, bool> kWords[] = {{"true", true}, {"false", false}};
  return read_word(element, attribute, kWords, fallback, faults);
}

std::vector<Text> split_names(const Text& list) {
  std::vector<Text> names;
  for (std::size_t begin = 0; begin < list.value.size();) {
    const std::size_t end = std::min(list.value.find(' ', begin), list.value.size());
    if (end > begin) {
      SourcePosition where = list.where;
      where.column += static_cast<int>(begin);
      names.push_back({list.value.substr(begin, end - begin), where});
    }
    begin = end + 1;
  }
  return names;
}

std::optional<xml::Element> load_document(std::string_view text, const std::string& file, FaultList& faults) {
  const xml::GateResult gate = xml::check(text, file);
  if (!gate.well_formed) {
    faults.add(gate.faults);
    return std::nullopt;
  }
  auto document = xml::build(text, file);
  if (!document) {
    faults.add(Text{{}, document.error().where()}, document.error());
    return std::nullopt;
  }
  if (!gate.faults.empty()) {
    // The gate decides; the structure check says it in plainer words, if it finds any.
    const std::size_t before = faults.count();
    check_structure(*document, faults);
    if (faults.count() == before) {
      faults.add(gate.faults);
      document->faulty = true;
    }
  }
  return std::move(*document);
}

std::optional<xml::Element> load_reference(DocumentKind kind, const Text& reference, Resolver& resolver,
                                           FaultList& faults) {
  const std::string kind_name(to_string(kind));
  const bool path = is_path(reference.value);
  auto found =
      path ? resolver.open(reference.value, reference.where.file) : resolver.find(kind, reference.value);
  if (!found) {
    if (found.error().code() == ErrorCode::kNotFound && !path) {
      const std::vector<std::string> names = resolver.names(kind);
      faults.add(reference.where,
                 "unknown " + kind_name + " '" + reference.value + "', expected " +
                     (names.empty() ? "a path" : "one of " + join_names(names) + ", or a path"),
                 near_miss(reference.value, names));
    } else {
      faults.add(reference.where, kind_name + " '" + reference.value + "': " + found.error().describe());
    }
    return std::nullopt;
  }
  auto document = load_document(found->text, found->file_name, faults);
  if (!document) return std::nullopt;
  if (document->name != kind_name || document->space != space_of(kind)) {
    faults.add(reference.where,
               "'" + reference.value + "' holds a <" + document->name + ">, expected a <" + kind_name + ">");
    return std::nullopt;
  }
  return document;
}

Image read_image(const xml::Element& element, FaultList& faults) {
  static constexpr std::pair<std::string_view, ImageKind> kKinds[] = {
      {"host", ImageKind::kHost}, {"tree", ImageKind::kTree}, {"disk", ImageKind::kDisk}};
  Image image;
  image.name = element.get("name").value;
  image.kind = read_word(element, "kind", kKinds, ImageKind::kHost, faults);
  image.architecture = element.get("architecture").value;
  for (const Text& driver : split_names(element.get("drivers"))) image.drivers.push_back(driver.value);
  image.root = element.get("root").value;
  image.kernel = element.get("kernel").value;
  image.initramfs = element.get("initramfs").value;
  image.command_line = element.get("command-line").value;
  image.shared_usr = read_flag(element, "shared-usr", false, faults);
  image.saveable = read_flag(element, "saveable", false, faults);
  image.digest = element.get("digest").value;
  for (const xml::Element& child : element.children) {
    if (child.name == "toolchain")
      image.toolchains.push_back({child.get("compiler").value, child.get("version").value});
  }
  if (element.faulty) return image;
  if (image.kind == ImageKind::kDisk && image.kernel.empty()) {
    faults.add(
        element.where,
        "image '" + image.name + "' of kind disk has no kernel, expected kernel=\"PATH\" or kernel=\"auto\"");
  }
  if (image.kind == ImageKind::kDisk && image.root.empty() && image.initramfs.empty()) {
    faults.add(element.where, "image '" + image.name +
                                  "' of kind disk has nothing to boot into, expected root or initramfs");
  }
  if (image.kind == ImageKind::kTree && image.root.empty()) {
    faults.add(element.where, "image '" + image.name + "' of kind tree has no root, expected root=\"PATH\"");
  }
  if (image.saveable && image.shared_usr) {
    faults.add(element.where, "image '" + image.name +
                                  "' says saveable and shared-usr, expected one of them: "
                                  "a VM that shares the host's /usr cannot be saved");
  }
  return image;
}

Policy read_policy(const xml::Element& element, FaultList& faults) {
  static constexpr std::pair<std::string_view, PolicyLevel> kLevels[] = {
      {"inter-domain", PolicyLevel::kInterDomain},
      {"domain", PolicyLevel::kDomain},
      {"node", PolicyLevel::kNode}};
  Policy policy;
  policy.name = element.get("name").value;
  policy.level = read_word(element, "level", kLevels, PolicyLevel::kDomain, faults);
  policy.kind = element.get("kind").value;
  policy.component = element.get("component").value;
  for (const xml::Element& child : element.children) {
    if (child.name != "option" || child.faulty) continue;
    if (policy.options.emplace(child.get("name").value, child.get("value").value).second) continue;
    faults.add(child.get("name").where,
               "duplicate option '" + child.get("name").value + "', expected another name");
  }
  return policy;
}

}  // namespace mvm::topologies
