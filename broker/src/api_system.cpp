#include "api.h"
#include "hosts.h"
#include "mvm/base/frame.h"
#include "records.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kPage = 500;

}  // namespace

Result<soap::WhoAmI> SystemService::whoami(const soap::Caller& caller) {
  return soap::WhoAmI{.caller = caller, .broker = core_.config.name, .version = core_.config.version};
}

Result<soap::EventPage> SystemService::events(const soap::Caller& caller, std::uint64_t cursor,
                                              std::chrono::milliseconds wait) {
  // How far the search went, over its repetitions: what others may not see is read once.
  auto searched = std::make_shared<std::uint64_t>(cursor);
  const auto search = [this, caller, searched]() -> Result<soap::EventPage> {
    soap::EventPage page;
    while (page.events.empty() && *searched < core_.journal.last_event()) {
      MVM_ASSIGN(const auto entries, core_.journal.list("events/", "events/" + padded(*searched), kPage));
      if (entries.empty()) break;
      for (const auto& entry : entries) {
        *searched = std::stoull(entry.key.substr(7));
        const auto value = parse_json(entry.value);
        if (!value) continue;
        const auto lab = value->value("lab", std::string());
        if (!allowed(caller, value->value("user", std::string()), lab)) continue;
        page.events.push_back({.seq = *searched,
                               .at_ms = value->value("at", std::int64_t{0}),
                               .event = value->value("event", std::string()),
                               .lab = lab,
                               .job = value->value("job", std::string()),
                               .node = value->value("node", std::string()),
                               .detail = value->value("detail", std::string())});
      }
    }
    page.cursor = *searched;
    return page;
  };
  return core_.ask_until(
      wait,
      [search]() -> std::optional<Result<soap::EventPage>> {
        auto page = search();
        if (page && page->events.empty()) return std::nullopt;
        return page;
      },
      search);
}

Result<std::vector<soap::HostView>> SystemService::hosts(const soap::Caller&) {
  return core_.ask([&]() -> Result<std::vector<soap::HostView>> { return core_.hosts->views(); });
}

}  // namespace mvm::broker
