#include "mvm/topologies/bundle.h"

#include <algorithm>
#include <filesystem>

#include "fault_list.h"
#include "model.h"
#include "mvm/topologies/limits.h"

namespace mvm::topologies {
namespace {

/// Replacements in a text, applied together; everything else stays byte for byte.
class Edits {
 public:
  void replace(std::size_t begin, std::size_t end, std::string text) {
    list_.push_back({begin, end, std::move(text)});
  }
  void insert(std::size_t at, std::string text) { replace(at, at, std::move(text)); }

  /// The part of `text` between two offsets, edited.
  std::string apply(std::string_view text, std::size_t begin, std::size_t end) {
    std::stable_sort(list_.begin(), list_.end(),
                     [](const Edit& a, const Edit& b) { return a.begin < b.begin; });
    std::string out;
    for (const Edit& edit : list_) {
      out += text.substr(begin, edit.begin - begin);
      out += edit.text;
      begin = edit.end;
    }
    out += text.substr(begin, end - begin);
    return out;
  }

 private:
  struct Edit {
    std::size_t begin = 0, end = 0;
    std::string text;
  };
  std::vector<Edit> list_;
};

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&apos;";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "&#" + std::to_string(static_cast<int>(c)) + ";";
    } else {
      out += c;
    }
  }
  return out;
}

bool in_space(const xml::Element& element, DocumentKind kind) { return element.space == space_of(kind); }

/// Calls `on_source` and `on_stage` for what a job (in a lab or alone) needs from the client.
template <class OnSource, class OnStage>
void visit_files(const xml::Element& element, const OnSource& on_source, const OnStage& on_stage) {
  for (const xml::Element& child : element.children) {
    if (in_space(child, DocumentKind::kJob) && child.name == "source") {
      if (child.find("path") != nullptr) on_source(child);
    } else if (in_space(child, DocumentKind::kJob) && child.name == "stage") {
      if (child.find("in") != nullptr) on_stage(child);
    } else {
      visit_files(child, on_source, on_stage);
    }
  }
}

class Bundler {
 public:
  Bundler(Resolver& resolver, std::string main_file)
      : resolver_(resolver), main_file_(std::move(main_file)) {}

  BundleResult run(std::string_view text) {
    BundleResult result;
    if (auto root = load_document(text, main_file_, faults_); root && faults_.empty()) {
      const std::string body = bundle(text, *root);
      result.bundle.xml =
          std::string(text.substr(0, root->begin)) + body + std::string(text.substr(root->end));
      result.bundle.files = std::move(files_);
      if (result.bundle.xml.size() > kMaxFileBytes) {
        faults_.add(root->where, "the profile with all it refers to has " +
                                     std::to_string(result.bundle.xml.size()) + " bytes, expected at most " +
                                     std::to_string(kMaxFileBytes));
      }
    }
    result.diagnostics = faults_.sorted();
    return result;
  }

 private:
  /// The text of a document's root element, self-contained.
  std::string bundle(std::string_view text, const xml::Element& root) {
    Edits edits;
    collect_files(root, edits);
    inline_references(root, edits);
    return edits.apply(text, root.begin, root.end);
  }

  void inline_references(const xml::Element& element, Edits& edits) {
    const bool holder = (element.name == "job" && in_space(element, DocumentKind::kJob)) ||
                        (element.name == "lab" && in_space(element, DocumentKind::kLab));
    if (!holder) return;
    for (const xml::Element& child : element.children) {
      const bool own = child.space == element.space;
      if (own && child.name == "topology") inline_topology(child, edits);
      if (own && child.name == "policy") inline_document(DocumentKind::kPolicy, child, edits);
      if (own && child.name == "job") inline_document(DocumentKind::kJob, child, edits);
      if (own && child.name == "machines") inline_image(child, edits);
      if (!own) inline_references(child, edits);
    }
  }

  /// The bundled root of a file that is referred to by path; none for a registered name or with a fault.
  struct Referred {
    xml::Element root;
    std::string text;
  };
  std::optional<Referred> open(DocumentKind kind, const Text& reference) {
    if (reference.empty() || !is_path(reference.value)) return std::nullopt;
    auto file = resolver_.open(reference.value, reference.where.file);
    if (!file) {
      faults_.add(reference.where,
                  std::string(to_string(kind)) + " '" + reference.value + "': " + file.error().describe());
      return std::nullopt;
    }
    auto root = load_document(file->text, file->file_name, faults_);
    if (!root || !faults_.empty()) return std::nullopt;
    if (root->name != to_string(kind) || !in_space(*root, kind)) {
      faults_.add(reference.where, "'" + reference.value + "' holds a <" + root->name + ">, expected a <" +
                                       std::string(to_string(kind)) + ">");
      return std::nullopt;
    }
    std::string body = bundle(file->text, *root);
    return Referred{std::move(*root), std::move(body)};
  }

  void inline_document(DocumentKind kind, const xml::Element& element, Edits& edits) {
    if (auto referred = open(kind, element.get("ref")))
      edits.replace(element.begin, element.end, referred->text);
  }

  /// The `<set>`s of the reference move beside the topology.
  void inline_topology(const xml::Element& element, Edits& edits) {
    auto referred = open(DocumentKind::kTopology, element.get("ref"));
    if (!referred) return;
    for (const xml::Element& set : element.children) {
      referred->text += "<set xmlns=\"" + element.space + "\" param=\"" + escaped(set.get("param").value) +
                        "\" value=\"" + escaped(set.get("value").value) + "\"/>";
    }
    edits.replace(element.begin, element.end, referred->text);
  }

  void inline_image(const xml::Element& machines, Edits& edits) {
    const xml::Attribute* image = machines.find("image");
    if (image == nullptr) return;
    auto referred = open(DocumentKind::kImage, machines.get("image"));
    if (!referred) return;
    edits.replace(image->value_begin, image->value_end, referred->root.get("name").value);
    const bool fresh = std::find(images_.begin(), images_.end(), referred->text) == images_.end();
    if (fresh) {
      edits.insert(machines.begin, referred->text);
      images_.push_back(referred->text);
    }
  }

  /// Lists a document's files and makes their paths relative to the main file.
  void collect_files(const xml::Element& root, Edits& edits) {
    const auto take = [&](const xml::Attribute& path, bool stage) {
      const std::string relative = relative_to_main(path.value, root.where.file);
      if (relative != path.value) edits.replace(path.value_begin, path.value_end, escaped(relative));
      const FileUse use{relative, stage};
      if (std::find(files_.begin(), files_.end(), use) == files_.end()) files_.push_back(use);
    };
    visit_files(
        root, [&](const xml::Element& source) { take(*source.find("path"), false); },
        [&](const xml::Element& stage) {
          if (stage.find("digest") == nullptr) take(*stage.find("in"), true);
        });
  }

  std::string relative_to_main(const std::string& path, const std::string& file) const {
    if (file == main_file_ || path.starts_with('/')) return path;
    const std::filesystem::path main_folder = std::filesystem::path(main_file_).parent_path();
    const std::filesystem::path folder = std::filesystem::path(file).parent_path();
    return (folder / path)
        .lexically_normal()
        .lexically_proximate(main_folder.empty() ? "." : main_folder.lexically_normal())
        .string();
  }

  Resolver& resolver_;
  std::string main_file_;
  FaultList faults_;
  std::vector<FileUse> files_;
  std::vector<std::string> images_;
};

}  // namespace

BundleResult bundle(std::string_view xml, const std::string& file_name, Resolver& resolver) {
  return Bundler(resolver, file_name).run(xml);
}

Result<std::string> rewrite_sources(std::string_view xml, const std::map<std::string, Blob>& blobs) {
  FaultList faults;
  auto root = load_document(xml, "profile", faults);
  if (!faults.empty()) return to_error(faults.sorted());
  Edits edits;
  std::string missing;
  const auto find = [&](const xml::Attribute& path) -> const Blob* {
    const auto blob = blobs.find(path.value);
    if (blob != blobs.end()) return &blob->second;
    missing = path.value;
    return nullptr;
  };
  visit_files(
      *root,
      [&](const xml::Element& source) {
        const xml::Attribute& path = *source.find("path");
        const Blob* blob = find(path);
        if (blob == nullptr) return;
        std::string text = "digest=\"" + blob->digest + "\"";
        if (blob->file) text += " file=\"true\"";
        if (blob->file && source.find("name") == nullptr) {
          text += " name=\"" + escaped(std::filesystem::path(path.value).filename().string()) + "\"";
        }
        edits.replace(path.begin, path.end, text);
      },
      [&](const xml::Element& stage) {
        const xml::Attribute& path = *stage.find("in");
        const xml::Attribute* digest = stage.find("digest");
        if (digest != nullptr && !blobs.contains(path.value)) return;
        const Blob* blob = find(path);
        if (blob == nullptr) return;
        const std::string text = "digest=\"" + blob->digest + "\"";
        digest != nullptr ? edits.replace(digest->begin, digest->end, text)
                          : edits.insert(path.end, " " + text);
      });
  if (!missing.empty()) return Error(ErrorCode::kNotFound, "no blob for the path '" + missing + "'");
  return edits.apply(xml, 0, xml.size());
}

}  // namespace mvm::topologies
