#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/json.h"
#include "mvm/dvm/node.h"
#include "mvm/dvm/wire.h"

namespace mvm::dvm {
namespace {

using nlohmann::json;

constexpr std::size_t kLargest = 256 << 10;
constexpr std::size_t kMostVoters = 7;

Result<std::map<std::string, std::string>> map_of(const json& object, const char* key) {
  std::map<std::string, std::string> map;
  if (!object.contains(key)) return map;
  MVM_ASSIGN(auto pairs, text_map_of(object, key, 64, 256));
  map.insert(pairs.begin(), pairs.end());
  return map;
}

Status read_founding(const json& from, Settings& settings) {
  const std::string found = text_or(from, "found", "if-alone");
  if (found == "if-alone")
    settings.founding = Founding::kIfAlone;
  else if (found == "now")
    settings.founding = Founding::kAtOnce;
  else if (found == "never")
    settings.founding = Founding::kNever;
  else
    return Error(ErrorCode::kInvalid,
                 "found: found \"" + found.substr(0, 40) + "\", expected now, if-alone or never");
  return ok();
}

Status read_fields(const json& from, Settings& settings) {
  settings.vm = text_or(from, "vm", settings.vm);
  settings.kernel = text_or(from, "kernel", settings.kernel);
  if (from.contains("listen")) {
    MVM_ASSIGN(settings.listen, Endpoint::read(text_or(from, "listen")));
  }
  settings.advertise = text_or(from, "advertise");
  MVM_ASSIGN(const auto seeds, texts_of(from, "seeds", 64, 64));
  for (const std::string& seed : seeds) {
    MVM_ASSIGN(Endpoint endpoint, Endpoint::read(seed));
    settings.seeds.push_back(std::move(endpoint));
  }
  settings.multicast = flag_or(from, "multicast", true);
  MVM_TRY(read_founding(from, settings));
  settings.secret = text_or(from, "secret", settings.secret.string());
  settings.users = text_or(from, "users", settings.users.string());
  settings.state = text_or(from, "state", settings.state.string());
  settings.socket = text_or(from, "socket", settings.socket.string());
  settings.beat = std::chrono::milliseconds(number_or(from, "beat-ms", 250));
  settings.voters = number_or(from, "voters", 5);
  settings.ends_with_vm = flag_or(from, "ends-with-vm");
  settings.crash_at = text_or(from, "crash-at");
  MVM_ASSIGN(settings.baseline, map_of(from, "baseline"));
  MVM_ASSIGN(settings.attributes, map_of(from, "attributes"));
  MVM_ASSIGN(settings.unwilling, texts_of(from, "unwilling", 256, 300));
  MVM_ASSIGN(settings.follow, texts_of(from, "follow", 256, 300));
  return ok();
}

Status check(const Settings& settings) {
  const auto wrong = [](const std::string& what) { return Error(ErrorCode::kInvalid, what); };
  if (!valid_name(settings.vm, kLongestVm))
    return wrong("vm: found \"" + settings.vm.substr(0, 60) + "\", expected letters a-z, digits and dashes");
  if (!valid_name(settings.kernel, kLongestKernel))
    return wrong("kernel: found \"" + settings.kernel.substr(0, 60) +
                 "\", expected letters a-z, digits and dashes");
  using std::chrono::milliseconds;
  if (settings.beat < milliseconds(10) || settings.beat > milliseconds(60'000))
    return wrong("beat-ms: expected 10 to 60000");
  if (settings.voters < 1 || settings.voters > kMostVoters) return wrong("voters: expected 1 to 7");
  for (const auto& path : {settings.secret, settings.users, settings.state})
    if (!path.is_absolute()) return wrong("path " + path.string() + ": expected an absolute one");
  if (!settings.advertise.empty()) {
    MVM_ASSIGN([[maybe_unused]] const Endpoint endpoint, Endpoint::read(settings.advertise + ":1"));
  }
  return ok();
}

}  // namespace

Result<Settings> read_settings(const std::filesystem::path& file, Settings defaults) {
  MVM_ASSIGN(const std::string text, read_file(file, kLargest));
  auto parsed = parse_json(text);
  if (!parsed) return std::move(parsed).error().wrap("settings " + file.string());
  if (!parsed->is_object())
    return Error(ErrorCode::kInvalid, "settings " + file.string() + ": expected an object");
  Settings settings = std::move(defaults);
  Status read = read_fields(*parsed, settings);
  if (read) read = check(settings);
  if (!read) return std::move(read).error().wrap("settings " + file.string());
  return settings;
}

}  // namespace mvm::dvm
