// SPDX-License-Identifier: Apache-2.0
#pragma once
// The snapshots of mvm/policy.h, checked and as spans. Header only.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/policy.h"

namespace mvm::policy {

/// An array inside a snapshot; none where it does not lie within `size` bytes or is not aligned.
template <class T>
std::optional<std::span<const T>> array_at(const void* snapshot, std::uint64_t size, std::uint64_t at,
                                           std::uint64_t count) {
  if (at > size || at % alignof(T) != 0 || count > (size - at) / sizeof(T)) return std::nullopt;
  return std::span<const T>(reinterpret_cast<const T*>(static_cast<const std::byte*>(snapshot) + at), count);
}

/// A placement question.
struct Placement {
  std::span<const mvm_placement_host> hosts;
  std::span<const mvm_placement_set> sets;
  std::span<const std::uint32_t> candidates;

  [[nodiscard]] static std::optional<Placement> read(const void* snapshot, std::uint64_t size) {
    if (size < sizeof(mvm_placement_snapshot)) return std::nullopt;
    const auto* head = static_cast<const mvm_placement_snapshot*>(snapshot);
    if (head->magic != MVM_PLACEMENT_SNAPSHOT) return std::nullopt;
    const auto hosts = array_at<mvm_placement_host>(snapshot, size, head->hosts_at, head->hosts);
    const auto sets = array_at<mvm_placement_set>(snapshot, size, head->sets_at, head->sets);
    const auto candidates = array_at<std::uint32_t>(snapshot, size, head->candidates_at, head->candidates);
    if (!hosts || !sets || !candidates) return std::nullopt;
    for (const auto& set : *sets)
      if (set.first_candidate > candidates->size() || set.candidates > candidates->size() - set.first_candidate)
        return std::nullopt;
    for (const auto candidate : *candidates)
      if (candidate >= hosts->size()) return std::nullopt;
    return Placement{*hosts, *sets, *candidates};
  }
  /// The hosts that can boot a set's nodes.
  [[nodiscard]] std::span<const std::uint32_t> candidates_of(const mvm_placement_set& set) const {
    return candidates.subspan(set.first_candidate, set.candidates);
  }
};

/// An order question.
struct Order {
  std::span<const mvm_order_job> jobs;
  std::span<const mvm_order_user> users;

  [[nodiscard]] static std::optional<Order> read(const void* snapshot, std::uint64_t size) {
    if (size < sizeof(mvm_order_snapshot)) return std::nullopt;
    const auto* head = static_cast<const mvm_order_snapshot*>(snapshot);
    if (head->magic != MVM_ORDER_SNAPSHOT) return std::nullopt;
    const auto jobs = array_at<mvm_order_job>(snapshot, size, head->jobs_at, head->jobs);
    const auto users = array_at<mvm_order_user>(snapshot, size, head->users_at, head->users);
    if (!jobs || !users) return std::nullopt;
    for (const auto& job : *jobs)
      if (job.user >= users->size()) return std::nullopt;
    return Order{*jobs, *users};
  }
};

/// A question about links.
struct Links {
  std::span<const mvm_links_link> links;
  std::string_view texts;

  [[nodiscard]] static std::optional<Links> read(const void* snapshot, std::uint64_t size) {
    if (size < sizeof(mvm_links_snapshot)) return std::nullopt;
    const auto* head = static_cast<const mvm_links_snapshot*>(snapshot);
    if (head->magic != MVM_LINKS_SNAPSHOT) return std::nullopt;
    const auto links = array_at<mvm_links_link>(snapshot, size, head->links_at, head->links);
    const auto texts = array_at<char>(snapshot, size, head->texts_at, head->texts);
    if (!links || !texts || texts->empty() || texts->back() != 0) return std::nullopt;
    for (const auto& link : *links)
      if (link.name_at >= texts->size() || link.codecs_at >= texts->size()) return std::nullopt;
    return Links{*links, {texts->data(), texts->size()}};
  }
  [[nodiscard]] std::string_view name(const mvm_links_link& link) const { return texts.data() + link.name_at; }
  [[nodiscard]] std::string_view codecs(const mvm_links_link& link) const { return texts.data() + link.codecs_at; }
};

/// The value of one option of `name=value` lines; empty where it is not given.
inline std::string option(std::string_view options, std::string_view name) {
  while (!options.empty()) {
    const auto line = options.substr(0, options.find('\n'));
    options.remove_prefix(line.size() == options.size() ? line.size() : line.size() + 1);
    if (line.substr(0, line.find('=')) == name && line.size() > name.size())
      return std::string(line.substr(name.size() + 1));
  }
  return {};
}

/// Writes a head and its numbers; negative where they do not fit.
template <class Head>
std::int64_t write_plan(const Head& head, std::span<const std::uint32_t> numbers, void* plan, std::uint64_t room) {
  const std::uint64_t size = sizeof(Head) + numbers.size_bytes();
  if (size > room) return -1;
  std::memcpy(plan, &head, sizeof(Head));
  if (!numbers.empty())
    std::memcpy(static_cast<std::byte*>(plan) + sizeof(Head), numbers.data(), numbers.size_bytes());
  return static_cast<std::int64_t>(size);
}

/// A placement plan; `host_of` empty and `fits` false: there is no room.
inline std::int64_t write_placement(bool fits, std::uint32_t layout, std::span<const std::uint32_t> host_of, void* plan,
                                    std::uint64_t room) {
  const mvm_placement_plan head{MVM_PLACEMENT_PLAN, layout, fits ? 1U : 0U,
                                fits ? static_cast<std::uint32_t>(host_of.size()) : 0U};
  return write_plan(head, fits ? host_of : std::span<const std::uint32_t>(), plan, room);
}

inline std::int64_t write_order(bool strict, std::span<const std::uint32_t> order, void* plan, std::uint64_t room) {
  const mvm_order_plan head{MVM_ORDER_PLAN, static_cast<std::uint32_t>(order.size()), strict ? 1U : 0U, 0U};
  return write_plan(head, order, plan, room);
}

/// For each link the number of one of the chains, from 1, or 0.
inline std::int64_t write_links(std::span<const std::uint32_t> chain_of, std::span<const std::string> chains, void* plan,
                                std::uint64_t room) {
  std::string texts;
  for (const auto& chain : chains) texts.append(chain.c_str(), chain.size() + 1);
  const mvm_links_plan head{MVM_LINKS_PLAN, static_cast<std::uint32_t>(chain_of.size()),
                            static_cast<std::uint32_t>(chains.size()), static_cast<std::uint32_t>(texts.size())};
  const auto written = write_plan(head, chain_of, plan, room);
  if (written < 0 || texts.size() > room - static_cast<std::uint64_t>(written)) return -1;
  std::memcpy(static_cast<std::byte*>(plan) + written, texts.data(), texts.size());
  return written + static_cast<std::int64_t>(texts.size());
}

}  // namespace mvm::policy
