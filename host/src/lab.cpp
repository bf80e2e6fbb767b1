#include "lab.h"

#include "codec.h"
#include "mvm/base/file.h"

namespace mvm::host {
namespace {

constexpr std::size_t kMaxRecord = 1 << 20;

Result<nlohmann::json> read_json(const std::filesystem::path& path) {
  MVM_ASSIGN(const std::string text, read_file(path, kMaxRecord));
  return parse_json(text);
}

std::vector<std::filesystem::path> folders_in(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> found;
  std::error_code problem;
  for (std::filesystem::directory_iterator item(path, problem), end; !problem && item != end;
       item.increment(problem))
    if (item->is_directory(problem)) found.push_back(item->path());
  return found;
}

Result<std::shared_ptr<Lab>> read_lab(const std::filesystem::path& folder) {
  MVM_ASSIGN(const nlohmann::json json, read_json(folder / "lab.json"));
  MVM_ASSIGN(LabSpec spec, lab_spec_from(json));
  return std::make_shared<Lab>(std::move(spec), folder);
}

Result<std::shared_ptr<Node>> read_node(const std::filesystem::path& folder) {
  MVM_ASSIGN(const nlohmann::json json, read_json(folder / "node.json"));
  MVM_ASSIGN(NodeSpec spec, node_spec_from(json));
  return std::make_shared<Node>(std::move(spec), folder);
}

}  // namespace

Status write_record(const Lab& lab) {
  MVM_TRY(make_folders(lab.folder / "nodes"));
  MVM_TRY(write_file_durably(lab.folder / "secret", lab.spec.secret, 0600));
  LabSpec spec = lab.spec;
  spec.proxy = lab.proxy;
  spec.plain_links = lab.plain_links;
  return write_file_durably(lab.folder / "lab.json", to_json(spec).dump(), 0600);
}

Status write_record(const Node& node) {
  MVM_TRY(make_folders(node.folder));
  return write_file_durably(node.folder / "node.json", to_json(node.spec).dump(), 0600);
}

std::vector<std::shared_ptr<Lab>> read_records(const std::filesystem::path& labs,
                                               std::vector<std::filesystem::path>& broken) {
  std::vector<std::shared_ptr<Lab>> found;
  for (const std::filesystem::path& folder : folders_in(labs)) {
    auto lab = read_lab(folder);
    if (!lab) {
      broken.push_back(folder);
      continue;
    }
    for (const std::filesystem::path& node_folder : folders_in(folder / "nodes")) {
      auto node = read_node(node_folder);
      if (node)
        (*lab)->nodes[(*node)->spec.node] = *node;
      else
        broken.push_back(node_folder);
    }
    found.push_back(*lab);
  }
  return found;
}

}  // namespace mvm::host
