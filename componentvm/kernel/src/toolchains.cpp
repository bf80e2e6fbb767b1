#include "toolchains.h"

#include <unistd.h>

#include <array>

#include "mvm/base/subprocess.h"

namespace mvm::kernel {
namespace {

constexpr std::array kTools{"g++", "gcc",  "clang++", "clang",   "gfortran", "rustc",
                            "go",  "make", "cmake",   "python3", "perl",     "java"};
constexpr std::chrono::seconds kAskAtMost{10};  // an emulated machine is slow

/// The first dotted number in what the tool says: "g++ (Debian 12.2.0-14) 12.2.0" holds it twice.
std::string version_in(const std::string& text) {
  for (std::size_t begin = text.find_first_of("0123456789"); begin != std::string::npos;
       begin = text.find_first_of("0123456789", begin + 1)) {
    const std::size_t end = text.find_first_not_of("0123456789.", begin);
    std::string number = text.substr(begin, end == std::string::npos ? end : end - begin);
    while (!number.empty() && number.back() == '.') number.pop_back();
    if (number.find('.') != std::string::npos) return number.substr(0, 32);
    if (end == std::string::npos) break;
    begin = end;
  }
  return {};
}

std::string ask_version(const std::string& program, const std::string& tool) {
  SpawnOptions options;
  options.argv = {program, tool == "go" ? "version" : "--version"};
  options.inherit_environment = false;
  options.environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"LC_ALL", "C"}};
  auto said = run_captured(options, kAskAtMost, 4096);
  return said ? version_in(said->output) : std::string();
}

}  // namespace

nlohmann::json find_toolchains(const Config& config, bool versions) {
  nlohmann::json found = nlohmann::json::array();
  for (const std::string tool : kTools) {
    for (const std::filesystem::path& folder : config.programs) {
      const std::filesystem::path program = folder / tool;
      if (::access(program.c_str(), X_OK) != 0) continue;
      found.push_back({{"name", tool}, {"version", versions ? ask_version(program, tool) : std::string()}});
      break;
    }
  }
  return found;
}

}  // namespace mvm::kernel
