#pragma once
// What every provider of the registry must do: contract.cpp, which a program with provider's tests names
// among its sources. A provider's test instantiates it with a factory:
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, RegistryContract, ::testing::Values(RegistryFactory(...)));

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mvm/registry/packing.h"
#include "mvm/registry/registry.h"

namespace mvm::registry {

/// A registry that is empty at first.
class RegistryFixture {
 public:
  virtual ~RegistryFixture() = default;
  virtual Registry& registry() = 0;
  /// The same registry, as another client or after a restart sees it.
  virtual Registry& reopen() = 0;
};

using RegistryFactory = std::function<std::unique_ptr<RegistryFixture>()>;

inline Item text_item(std::string_view text) { return make_item(PackWriter().bytes(text).take()); }

inline std::string text_of(const Item& item) {
  if (!item) return "(none)";
  PackReader in(*item);
  return in.bytes(kMaxItem);
}

/// "name[index]=text" or "name[index]-".
inline std::string shown(const Event& event) {
  const std::string where = event.info.name + "[" + std::to_string(event.info.index) + "]";
  return event.deleted ? where + "-" : where + "=" + text_of(event.item);
}

inline Operation put_operation(std::string name, std::string_view text, std::uint32_t flags,
                               std::string owner = "alice") {
  return Operation{.kind = Operation::Kind::kPut,
                   .name = std::move(name),
                   .flags = flags,
                   .owner = std::move(owner),
                   .item = text_item(text)};
}

inline Update update_of(std::vector<Operation> operations) {
  return Update{.request = {}, .operations = std::move(operations)};
}

class RegistryContract : public ::testing::TestWithParam<RegistryFactory> {
 protected:
  static constexpr std::chrono::seconds kLong{30};

  void SetUp() override { fixture_ = GetParam()(); }
  Registry& registry() { return fixture_->registry(); }
  std::uint64_t revision() { return registry().list("*", {}, 1)->revision; }

  template <class T>
  static ErrorCode code(const Result<T>& result) {
    return result ? ErrorCode::kFailed : result.error().code();
  }

  /// All events after `cursor`, until `count` are there.
  std::vector<Event> events_after(std::uint64_t cursor, std::size_t count, std::string_view pattern = "*") {
    return events_after(registry(), cursor, count, pattern);
  }
  static std::vector<Event> events_after(Registry& of, std::uint64_t cursor, std::size_t count,
                                         std::string_view pattern = "*") {
    std::vector<Event> all;
    const auto ends = std::chrono::steady_clock::now() + kLong;
    while (all.size() < count && std::chrono::steady_clock::now() < ends) {
      auto next = of.watch(cursor, pattern, std::chrono::seconds(5), 7);
      EXPECT_TRUE(next) << next.error().describe();
      if (!next) break;
      EXPECT_GE(next->cursor, cursor);
      cursor = next->cursor;
      std::move(next->events.begin(), next->events.end(), std::back_inserter(all));
    }
    return all;
  }
  static std::vector<std::string> shown_all(const std::vector<Event>& events) {
    std::vector<std::string> result;
    for (const auto& event : events) result.push_back(shown(event));
    return result;
  }

  std::unique_ptr<RegistryFixture> fixture_;
};

}  // namespace mvm::registry
