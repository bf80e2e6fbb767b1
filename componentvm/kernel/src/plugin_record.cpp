#include "plugin_record.h"

#include "commands.h"
#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::kernel {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "mvm-kernel-plugins/1";
constexpr std::size_t kMostBytes = 16 << 20;
constexpr std::uint64_t kLongestIdle = 1ULL << 31U;  // ms

Result<PluginRecord::Content> content_of(const json& object) {
  PluginRecord::Content content;
  content.at = number_or(object, "at");
  content.tries = static_cast<unsigned>(number_or(object, "tries"));
  const auto list = object.find("plugins");
  if (list == object.end() || !list->is_array())
    return Error(ErrorCode::kCorrupt, "it has no list of plug-ins");
  for (const json& one : *list) {
    KeptPlugin plugin;
    MVM_ASSIGN(plugin.locator, need_text(one, "locator", 2100));
    MVM_ASSIGN(plugin.asked, need_text(one, "asked", 2100));
    MVM_ASSIGN(plugin.sharing, sharing_of(text_or(one, "sharing")));
    content.plugins.push_back(std::move(plugin));
  }
  if (object.contains("pool")) {
    const json& pool = object_or_empty(object, "pool");
    MVM_ASSIGN(const std::uint64_t minimum, need_number(pool, "minimum"));
    MVM_ASSIGN(const std::uint64_t maximum, need_number(pool, "maximum"));
    MVM_ASSIGN(const std::uint64_t queue, need_number(pool, "queue"));
    MVM_ASSIGN(const std::uint64_t idle, need_number(pool, "idle_ms"));
    content.pool = ThreadPoolLimits{.minimum = minimum,
                                    .maximum = maximum,
                                    .queue = queue,
                                    .idle_timeout = std::chrono::milliseconds(idle % kLongestIdle)};
  }
  return content;
}

}  // namespace

std::optional<PluginRecord::Content> PluginRecord::read() const {
  const auto text = read_file(file_, kMostBytes);
  if (!text) return std::nullopt;
  const json object = json::parse(*text, nullptr, false);
  if (!object.is_object() || text_or(object, "format") != kFormat || text_or(object, "boot") != boot_)
    return std::nullopt;
  auto content = content_of(object);
  if (content) return *std::move(content);
  log::error("kernel.record", {{"file", file_.string()}, {"reason", content.error().message()}});
  return std::nullopt;
}

Status PluginRecord::write(const Content& content) const {
  json list = json::array();
  for (const KeptPlugin& plugin : content.plugins)
    list.push_back(
        {{"locator", plugin.locator}, {"asked", plugin.asked}, {"sharing", text_of(plugin.sharing)}});
  json object{{"format", kFormat},
              {"boot", boot_},
              {"plugins", std::move(list)},
              {"at", content.at},
              {"tries", content.tries}};
  if (content.pool)
    object["pool"] = {{"minimum", content.pool->minimum},
                      {"maximum", content.pool->maximum},
                      {"queue", content.pool->queue},
                      {"idle_ms", content.pool->idle_timeout.count()}};
  return write_file_durably(file_, object.dump(-1, ' ', false, json::error_handler_t::replace), 0600);
}

}  // namespace mvm::kernel
