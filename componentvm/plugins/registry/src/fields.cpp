#include "fields.h"

#include <algorithm>
#include <array>

#include "mvm/base/base64.h"
#include "mvm/base/json.h"

namespace mvm::plugins::registry {
namespace {

using nlohmann::json;

struct FlagName {
  std::uint32_t flag;
  const char* name;
};
constexpr std::array kFlagNames{FlagName{mvm::registry::kAnyone, "anyone"},
                                FlagName{mvm::registry::kMultiple, "multiple"},
                                FlagName{mvm::registry::kPersistent, "persistent"},
                                FlagName{mvm::registry::kOverwrite, "overwrite"},
                                FlagName{mvm::registry::kFirstAvailable, "first-available"},
                                FlagName{mvm::registry::kReadAndDelete, "read-and-delete"},
                                FlagName{mvm::registry::kWait, "wait"}};
constexpr std::size_t kMaxShownItem = 64U << 10U;
constexpr std::size_t kMaxShownItems = 512U << 10U;

}  // namespace

Result<std::uint32_t> flags_of(const json& args, std::uint32_t allowed) {
  MVM_ASSIGN(const auto names, texts_of(args, "flags", 16, 40));
  std::uint32_t flags = 0;
  for (const auto& name : names) {
    const auto found = std::find_if(kFlagNames.begin(), kFlagNames.end(), [&](const FlagName& one) {
      return (one.flag & allowed) != 0 && name == one.name;
    });
    if (found == kFlagNames.end()) {
      std::string expected;
      for (const auto& one : kFlagNames)
        if ((one.flag & allowed) != 0) expected += std::string(expected.empty() ? "" : ", ") + one.name;
      return Error(ErrorCode::kInvalid, "flags: found \"" + name + "\", expected some of " + expected);
    }
    flags |= found->flag;
  }
  return flags;
}

json to_json(const mvm::registry::Info& info) {
  json flags = json::array();
  for (const auto& one : kFlagNames)
    if ((info.flags & one.flag) != 0) flags.push_back(one.name);
  return {{"name", info.name},         {"index", info.index}, {"owner", info.owner},
          {"flags", std::move(flags)}, {"lease", info.lease}, {"revision", info.revision},
          {"size", info.size}};
}

json to_json(const mvm::registry::Listing& listing) {
  json infos = json::array();
  for (const auto& info : listing.infos) infos.push_back(to_json(info));
  return {{"infos", std::move(infos)}, {"revision", listing.revision}, {"more", listing.more}};
}

json to_json(const mvm::registry::Events& events, bool items) {
  json list = json::array();
  std::size_t shown = 0;
  for (const auto& event : events.events) {
    json one = {{"revision", event.revision}, {"deleted", event.deleted}};
    if (event.deleted) {
      one["name"] = event.info.name;
      one["index"] = event.info.index;
    } else {
      one.update(to_json(event.info));
    }
    const std::size_t size = event.item ? event.item->size() : 0;
    if (items && event.item && size <= kMaxShownItem && shown + size <= kMaxShownItems) {
      shown += size;
      one["item"] = base64(*event.item);
    }
    list.push_back(std::move(one));
  }
  return {{"events", std::move(list)}, {"cursor", events.cursor}};
}

}  // namespace mvm::plugins::registry
