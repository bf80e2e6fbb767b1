#include <unistd.h>

#include <algorithm>

#include "child.h"

namespace mvm::kernel {
namespace {

namespace fs = std::filesystem;

bool below(const fs::path& path, const fs::path& folder) {
  const fs::path clean = folder.lexically_normal();
  auto part = path.begin();
  for (const fs::path& wanted : clean) {
    if (wanted.empty()) continue;  // a trailing slash
    if (part == path.end() || *part++ != wanted) return false;
  }
  return part != path.end();
}

bool runnable(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

Result<std::string> find_program(const Config& config, const std::string& name, const fs::path& folder) {
  if (name.find('/') == std::string::npos) {
    for (const fs::path& preset : config.programs)
      if (runnable(preset / name)) return (preset / name).string();
    return Error(ErrorCode::kNotFound, "program " + name + " is in none of the program folders");
  }
  const fs::path path = (fs::path(name).is_absolute() ? fs::path(name) : folder / name).lexically_normal();
  std::error_code error;
  if (below(path, folder)) {
    const fs::path real = fs::canonical(path, error);
    if (error) return Error(ErrorCode::kNotFound, "program " + name + ": " + error.message());
    const fs::path real_folder = fs::canonical(folder, error);
    if (error || !below(real, real_folder))
      return Error(ErrorCode::kRefused,
                   "program " + name + " is a link that leads out of the working directory");
  } else if (std::none_of(config.programs.begin(), config.programs.end(),
                          [&](const fs::path& preset) { return below(path, preset); })) {
    return Error(ErrorCode::kRefused,
                 "program " + name + " lies neither in a program folder nor in the working directory");
  }
  if (!fs::exists(path, error)) return Error(ErrorCode::kNotFound, "program " + name + " does not exist");
  if (!runnable(path)) return Error(ErrorCode::kInvalid, "program " + name + " is not executable");
  return path.string();
}

}  // namespace mvm::kernel
