#include "mvm/build/recipe.h"

#include "mvm/build/build_key.h"

namespace mvm::build {

std::vector<std::string> build_argv(const std::string& command) { return {"/bin/sh", "-c", command}; }

std::vector<std::pair<std::string, std::string>> build_environment(
    const BuildFolders& folders, const std::filesystem::path& prefix,
    const std::map<std::string, std::string>& parameters) {
  std::vector<std::pair<std::string, std::string>> environment{
      {"PATH", "/usr/local/bin:/usr/bin:/bin:" + (prefix / "bin").string()},
      {"HOME", folders.home.string()},
      {"TMPDIR", folders.temporary.string()},
      {"PWD", folders.source.string()},
      {"PKG_CONFIG_PATH", (prefix / "lib/pkgconfig").string()},
      {"LANG", "C.UTF-8"},
      {"USER", "mvm"},
      {"LOGNAME", "mvm"},
      {"SOURCE_DATE_EPOCH", "0"},
      {"MVM_PREFIX", prefix.string()},
  };
  for (const auto& [name, value] : parameters) environment.emplace_back(parameter_variable(name), value);
  return environment;
}

}  // namespace mvm::build
