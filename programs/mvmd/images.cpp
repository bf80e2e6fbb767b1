#include "images.h"

#include <sys/utsname.h>

#include <algorithm>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/base/subprocess.h"
#include "mvm/topologies/reader.h"
#include "mvm/topologies/shipped.h"

namespace mvm::programs {
namespace {

using topologies::DocumentKind;
using topologies::Image;

std::string architecture() {
  utsname name{};
  ::uname(&name);
  return static_cast<const char*>(name.machine);
}

/// "12.2.0" of the compiler in this machine's own /usr; empty where there is none.
std::string compiler_version(const std::string& compiler) {
  auto ran = run_captured({.argv = {compiler, "-dumpfullversion", "-dumpversion"}}, std::chrono::seconds(10));
  if (!ran || !ran->status.success()) return "";
  std::string version = ran->output.substr(0, ran->output.find('\n'));
  return version.substr(0, 32);
}

/// What /usr holds is what its packages are: their list names it.
std::string digest_of_host(const std::string& arch) {
  auto packages = sha256_of_file("/var/lib/dpkg/status");
  return sha256_hex("host/" + arch + "/" + (packages ? *packages : compiler_version("c++")));
}

std::vector<std::string> toolchains_of(const Image& image, bool own_usr) {
  std::vector<std::string> found;
  for (const topologies::Toolchain& toolchain : image.toolchains) {
    const std::string version =
        toolchain.version.empty() && own_usr ? compiler_version(toolchain.compiler) : toolchain.version;
    if (!version.empty()) found.push_back(toolchain.compiler + " " + version);
  }
  return found;
}

/// A tree is what the tool that made it wrote beside it; one made by hand is known by its place.
std::string digest_of_tree(const Image& image) {
  const auto manifest = sha256_of_file(std::filesystem::path(image.root).parent_path() / "manifest.json");
  return sha256_hex("tree/" + (manifest ? *manifest : image.name + "/" + image.root));
}

Result<host::HostImage> usable(const Image& image, const DaemonConfig& config) {
  host::HostImage result;
  const std::string arch = image.architecture.empty() ? architecture() : image.architecture;
  const bool own_usr = image.kind == topologies::ImageKind::kHost || image.shared_usr;
  if (own_usr && arch != architecture())
    return Error(ErrorCode::kUnsupported, "it uses this machine's /usr, which is " + architecture());
  result.spec.arch = arch;
  result.spec.kind = own_usr ? osvm::ImageKind::kHost : osvm::ImageKind::kTree;
  if (image.kind == topologies::ImageKind::kTree) {
    result.spec.root = image.root;
    std::error_code problem;
    if (!std::filesystem::is_directory(image.root, problem))
      return Error(ErrorCode::kNotFound, "its tree " + image.root + " is not there");
  }
  if (image.kind == topologies::ImageKind::kDisk) {
    const bool made = image.kernel == "auto" || image.initramfs == "auto";
    if (made && config.qemu_image.empty())
      return Error(ErrorCode::kNotFound, "no --qemu-image folder; make one with packaging/make-qemu-image");
    result.spec.kernel =
        image.kernel == "auto" ? config.qemu_image / "kernel" : std::filesystem::path(image.kernel);
    result.spec.initramfs =
        image.initramfs == "auto" ? config.qemu_image / "initramfs" : std::filesystem::path(image.initramfs);
    if (!image.root.empty()) {
      result.spec.kind = osvm::ImageKind::kDisk;
      result.spec.disk = image.root;
    }
    std::error_code problem;
    for (const auto& file : {result.spec.kernel, result.spec.initramfs})
      if (!file.empty() && !std::filesystem::exists(file, problem))
        return Error(ErrorCode::kNotFound, file.string() + " is not there");
  }
  result.info = {.name = image.name,
                 .kind = std::string(to_string(image.kind)),
                 .architecture = arch,
                 .digest = !image.digest.empty() ? image.digest
                           : own_usr             ? digest_of_host(arch)
                                                 : digest_of_tree(image),
                 .toolchains = toolchains_of(image, own_usr),
                 .drivers = image.drivers};
  if (image.kind == topologies::ImageKind::kHost && image.drivers.empty())
    result.info.drivers = {"lxc", "process"};
  return result;
}

Status take(std::vector<host::HostImage>& images, const std::string& file, const std::string& text,
            const DaemonConfig& config) {
  const topologies::ReadResult read = topologies::read_profile(text, file);
  if (!read.ok()) return topologies::to_error(read.diagnostics);
  for (const Image& image : read.profile->images) {
    auto found = usable(image, config);
    if (!found) {
      log::info("image.left_out", {{"image", image.name}, {"why", found.error().describe()}});
      continue;
    }
    std::erase_if(images, [&](const host::HostImage& known) { return known.info.name == image.name; });
    images.push_back(std::move(*found));
  }
  return ok();
}

}  // namespace

Result<std::vector<host::HostImage>> load_images(const DaemonConfig& config) {
  std::vector<host::HostImage> images;
  for (const std::string& name : topologies::shipped_names(DocumentKind::kImage))
    MVM_TRY(take(images, name, std::string(topologies::shipped_text(DocumentKind::kImage, name)), config));
  if (config.images.empty()) return images;
  std::vector<std::filesystem::path> files;
  std::error_code problem;
  for (std::filesystem::directory_iterator item(config.images, problem), end; !problem && item != end;
       item.increment(problem))
    if (item->path().extension() == ".xml") files.push_back(item->path());
  if (problem)
    return Error(ErrorCode::kIo, "read the folder " + config.images.string() + ": " + problem.message());
  std::sort(files.begin(), files.end());
  for (const std::filesystem::path& file : files) {
    MVM_ASSIGN(const std::string text, read_file(file, 1 << 20));
    MVM_TRY(take(images, file.string(), text, config));
  }
  return images;
}

}  // namespace mvm::programs
