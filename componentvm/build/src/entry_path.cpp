#include "entry_path.h"

#include <algorithm>

namespace mvm::build {
namespace {

std::string shown(std::string_view path) {
  std::string text(path.substr(0, 120));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
  return text;
}

}  // namespace

Result<std::string> clean_path(std::string_view path, const ArchiveLimits& limits) {
  if (path.size() > limits.name)
    return Error(ErrorCode::kExhausted,
                 "a path of " + std::to_string(path.size()) + " bytes: " + shown(path));
  if (path.starts_with('/') ||
      std::any_of(path.begin(), path.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }))
    return Error(ErrorCode::kCorrupt, "an absolute or unprintable path: " + shown(path));
  std::string clean;
  std::size_t depth = 0;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") return Error(ErrorCode::kCorrupt, "a path that leads out: " + clean + "/..");
    if (part.size() > 255)
      return Error(ErrorCode::kExhausted, "a name of more than 255 bytes: " + shown(part));
    if (++depth > limits.depth)
      return Error(ErrorCode::kExhausted,
                   "more than " + std::to_string(limits.depth) + " folders deep: " + shown(clean));
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean;
}

bool link_stays_inside(std::string_view path, std::string_view target) {
  if (target.empty() || target.starts_with('/') || target.size() > 4096) return false;
  // Never above where the link lies minus its own folders, at any step: a link on the way could shorten the
  // way back, so ".." is allowed only before the first name.
  std::ptrdiff_t depth = std::count(path.begin(), path.end(), '/');
  bool descended = false;
  while (!target.empty()) {
    const std::size_t slash = target.find('/');
    const std::string_view part = target.substr(0, slash);
    target = slash == std::string_view::npos ? std::string_view() : target.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      descended = true;
    } else if (descended || --depth < 0) {
      return false;
    }
  }
  return true;
}

}  // namespace mvm::build
