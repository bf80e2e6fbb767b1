#pragma once
// A registry of one level: what a test puts there, it finds; and what it was asked.

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "mvm/soap/registry_api.h"

namespace mvm::soap {

class FakeRegistryApi final : public RegistryApi {
 public:
  RegistryTarget last_target;
  RegistryPut last_put;
  RegistryAsk last_ask;
  std::string last_pattern;
  std::vector<std::string> last_nodes;
  RegistryChoice last_choice;
  std::vector<RegistryMember> member_list;
  std::uint64_t lost = 0;
  bool forced = false;

  Result<RegistryPlace> put(const Caller& caller, const RegistryTarget& target,
                            const RegistryPut& put) override {
    const std::lock_guard lock(mutex_);
    last_target = target;
    last_put = put;
    ++revision_;
    const RegistryInfo info{.name = put.name,
                            .index = put.index,
                            .owner = "user/" + caller.user,
                            .flags = put.flags,
                            .lease = put.lease,
                            .revision = revision_,
                            .size = put.value.size() + 5};
    items_[put.name] = {.info = info, .encoding = put.encoding, .value = put.value};
    events_.push_back({.revision = revision_, .deleted = false, .info = info});
    return RegistryPlace{.index = put.index, .revision = revision_};
  }
  Result<RegistryItem> get(const Caller&, const RegistryTarget& target, const RegistryAsk& ask) override {
    const std::lock_guard lock(mutex_);
    last_target = target;
    last_ask = ask;
    const auto found = items_.find(ask.name);
    if (found == items_.end()) return Error(ErrorCode::kNotFound, ask.name + "[0]: no such instance");
    return found->second;
  }
  Result<std::uint64_t> erase(const Caller&, const RegistryTarget&, const RegistryAsk& ask) override {
    const std::lock_guard lock(mutex_);
    last_ask = ask;
    if (items_.erase(ask.name) == 0) return Error(ErrorCode::kNotFound, ask.name + "[0]: no such instance");
    events_.push_back({.revision = ++revision_, .deleted = true, .info = {.name = ask.name}});
    return revision_;
  }
  Result<RegistryListing> list(const Caller&, const RegistryTarget&, const std::string& pattern,
                               const std::string& after, std::uint64_t, std::uint32_t) override {
    const std::lock_guard lock(mutex_);
    last_pattern = pattern;
    RegistryListing listing{.infos = {}, .revision = revision_, .more = false};
    // One a page, so that who lists must go on.
    if (const auto next = items_.upper_bound(after); next != items_.end()) {
      listing.infos.push_back(next->second.info);
      listing.more = std::next(next) != items_.end();
    }
    return listing;
  }
  Result<RegistryEvents> watch(const Caller&, const RegistryTarget&, std::uint64_t after,
                               const std::string& pattern, std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    last_pattern = pattern;
    RegistryEvents events{.events = {}, .cursor = revision_};
    for (const auto& event : events_)
      if (event.revision > after) events.events.push_back(event);
    return events;
  }
  Result<std::vector<RegistryMember>> members(const Caller&, const std::string& lab) override {
    last_target = {.lab = lab, .node = {}};
    return member_list;
  }
  /// All but those called "unable" are.
  Result<RegistryOutcome> serve(const Caller&, const std::string& lab, const std::vector<std::string>& nodes,
                                const RegistryChoice& choice) override {
    last_target = {.lab = lab, .node = {}};
    last_nodes = nodes;
    last_choice = choice;
    RegistryOutcome outcome{.committed = true, .answers = {}};
    for (const std::string& node : nodes) {
      outcome.committed = outcome.committed && node != "unable";
      outcome.answers.push_back({.node = node, .done = false, .reason = node == "unable" ? "it cannot" : ""});
    }
    for (RegistryAnswer& answer : outcome.answers) answer.done = outcome.committed;
    return outcome;
  }
  Status leave(const Caller&, const std::string& lab, const std::string& node, bool force) override {
    last_target = {.lab = lab, .node = node};
    forced = force;
    return ok();
  }
  Status confirm_lost(const Caller&, const std::string&, std::uint64_t id) override {
    lost = id;
    return ok();
  }

 private:
  std::mutex mutex_;
  std::uint64_t revision_ = 0;
  std::map<std::string, RegistryItem> items_;
  std::vector<RegistryEvent> events_;
};

}  // namespace mvm::soap
