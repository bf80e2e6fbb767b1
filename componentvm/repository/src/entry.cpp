#include "mvm/repository/entry.h"

#include <elf.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "mvm/base/digest.h"
#include "mvm/base/json.h"
#include "mvm/base/plugin_loader.h"

namespace mvm::repository {
namespace {

constexpr const char* kFormat = "mvm-plugin-repository/1";
constexpr std::size_t kLongestFile = 500;
constexpr std::size_t kLongestName = 200;
constexpr std::size_t kLongestCommand = 16 << 10;
constexpr int kDeepest = 4;  // of an index: object, list, entry

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '.';
}

bool all_of(std::string_view text, bool (*holds)(char)) {
  return std::all_of(text.begin(), text.end(), holds);
}

bool hexadecimal(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

/// Names between slashes, none of them empty, "." or "..".
bool valid_path(std::string_view path) {
  if (path.empty() || path.size() > kLongestFile) return false;
  for (;;) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part.front() == '.' || !all_of(part, plain)) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Error wrong(const std::string& what) {
  return {ErrorCode::kCorrupt, "entry of a plug-in repository: " + what};
}

/// Parses JSON of bounded depth; a discarded value where it is none.
nlohmann::json parse(std::string_view text) {
  const auto bounded = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    return depth <= kDeepest;
  };
  return nlohmann::json::parse(text, bounded, false);
}

Status check(const Entry& entry) {
  const bool source = entry.architecture == kSource;
  if (Status name = check_plugin_file(entry.plugin); !name) return wrong(name.error().message());
  if (entry.architecture.empty() || entry.architecture.size() > 32 || !all_of(entry.architecture, plain))
    return wrong("found architecture \"" + entry.architecture.substr(0, 40) + "\"");
  if (!valid_path(entry.file))
    return wrong("found file \"" + entry.file.substr(0, 80) + "\", expected a path below the index");
  if (!is_sha256(entry.sha256)) return wrong("sha256 of " + entry.plugin + " is no SHA-256 digest");
  if (entry.size == 0 || entry.size > kFileLimit)
    return wrong(entry.plugin + ": found size " + std::to_string(entry.size) + ", expected 1 to " +
                 std::to_string(kFileLimit));
  if (source == entry.command.empty())
    return wrong(entry.plugin + ": a source, and nothing else, has a command that builds it");
  if (!all_of(entry.key, hexadecimal) || entry.key.size() != (entry.key.empty() ? 0U : 16U) ||
      !all_of(entry.signature, hexadecimal) || entry.signature.size() != (entry.key.empty() ? 0U : 128U))
    return wrong(entry.plugin + ": key and signature are no Ed25519 signature");
  return ok();
}

Result<Entry> entry_from(const nlohmann::json& object) {
  if (!object.is_object()) return wrong("it is no object");
  Entry entry;
  MVM_ASSIGN(entry.plugin, need_text(object, "plugin", kLongestName));
  MVM_ASSIGN(entry.architecture, need_text(object, "architecture", 32));
  MVM_ASSIGN(entry.file, need_text(object, "file", kLongestFile));
  MVM_ASSIGN(entry.sha256, need_text(object, "sha256", 64));
  MVM_ASSIGN(entry.size, need_number(object, "size", kFileLimit));
  if (object.contains("command")) {
    MVM_ASSIGN(entry.command, need_text(object, "command", kLongestCommand));
  }
  if (object.contains("key")) {
    MVM_ASSIGN(entry.key, need_text(object, "key", 16));
    MVM_ASSIGN(entry.signature, need_text(object, "signature", 128));
  }
  MVM_TRY(check(entry));
  return entry;
}

nlohmann::json json_of(const Entry& entry) {
  nlohmann::json object{{"plugin", entry.plugin},
                        {"architecture", entry.architecture},
                        {"file", entry.file},
                        {"sha256", entry.sha256},
                        {"size", entry.size}};
  if (!entry.command.empty()) object["command"] = entry.command;
  if (!entry.key.empty()) object.update({{"key", entry.key}, {"signature", entry.signature}});
  return object;
}

}  // namespace

std::string Entry::statement() const {
  // No field but the command may hold a line break, and of that only the digest stands here.
  return "mvm-plugin/1\nplugin " + plugin + "\narchitecture " + architecture + "\nsha256 " + sha256 +
         "\ncommand " + (command.empty() ? "" : sha256_hex(command)) + "\n";
}

Status check_plugin_file(std::string_view name) {
  const auto file = read_plugin_file(name);
  if (name.size() <= kLongestName && all_of(name, plain) && file && !file->base.empty() &&
      file->base.front() != '.')
    return ok();
  return Error(ErrorCode::kInvalid, "found \"" + std::string(name.substr(0, 80)) +
                                        "\", expected the name of a plug-in's file, "
                                        "NAME[.FIRST.AGE.REVISION][.debug].so");
}

Result<Entry> read_entry(std::string_view text) {
  if (text.size() > kEntryLimit) return wrong("it is larger than " + std::to_string(kEntryLimit) + " bytes");
  auto entry = entry_from(parse(text));
  if (!entry && entry.error().code() == ErrorCode::kInvalid) return wrong(entry.error().message());
  return entry;
}

std::string write_entry(const Entry& entry) { return json_of(entry).dump(1) + "\n"; }

Result<std::vector<Entry>> read_index(std::string_view text) {
  const auto refuse = [](const std::string& what) {
    return Error(ErrorCode::kCorrupt, "index of a plug-in repository: " + what);
  };
  if (text.size() > kIndexLimit) return refuse("it is larger than " + std::to_string(kIndexLimit) + " bytes");
  const nlohmann::json index = parse(text);
  if (!index.is_object() || text_or(index, "format") != kFormat)
    return refuse(std::string("found no format, expected \"format\":\"") + kFormat + "\"");
  const nlohmann::json& list = array_or_empty(index, "plugins");
  if (list.size() > kMostEntries)
    return refuse("it has more than " + std::to_string(kMostEntries) + " entries");
  std::vector<Entry> entries;
  for (const nlohmann::json& one : list) {
    auto entry = entry_from(one);
    if (!entry) return refuse(entry.error().message());
    entries.push_back(*std::move(entry));
  }
  return entries;
}

std::string write_index(const std::vector<Entry>& entries) {
  nlohmann::json list = nlohmann::json::array();
  for (const Entry& entry : entries) list.push_back(json_of(entry));
  return nlohmann::json{{"format", kFormat}, {"plugins", std::move(list)}}.dump(1) + "\n";
}

Result<std::string> architecture_of(std::string_view head) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(head[at]); };
  if (head.size() < kElfHead || !head.starts_with(std::string_view(ELFMAG, SELFMAG)))
    return Error(ErrorCode::kCorrupt, "it is no ELF file");
  const bool little = byte(EI_DATA) == ELFDATA2LSB;
  const auto half = [&](std::size_t at) {
    return little ? byte(at) + 256 * byte(at + 1) : 256 * byte(at) + byte(at + 1);
  };
  if (half(16) != ET_DYN) return Error(ErrorCode::kCorrupt, "it is no shared object");
  const bool wide = byte(EI_CLASS) == ELFCLASS64;
  switch (half(18)) {
    case EM_X86_64:
      return std::string("x86_64");
    case EM_386:
      return std::string("i686");
    case EM_AARCH64:
      return std::string(little ? "aarch64" : "aarch64_be");
    case EM_ARM:
      return std::string("armv7l");
    case EM_S390:
      return std::string(wide ? "s390x" : "s390");
    case EM_PPC64:
      return std::string(little ? "ppc64le" : "ppc64");
    case EM_RISCV:
      return std::string(wide ? "riscv64" : "riscv32");
    default:
      return "machine-" + std::to_string(half(18));
  }
}

}  // namespace mvm::repository
