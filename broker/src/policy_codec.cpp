#include "policy_codec.h"

#include <algorithm>
#include <cstring>

#include "mvm/policy.h"
#include "mvm/topologies/codecs.h"

namespace mvm::broker {
namespace {

template <class T>
void append(std::string& bytes, const T& value) {
  const auto at = bytes.size();
  bytes.resize(at + sizeof(T));
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

template <class T>
std::optional<T> head_of(std::string_view bytes) {
  if (bytes.size() < sizeof(T)) return std::nullopt;
  T head;
  std::memcpy(&head, bytes.data(), sizeof(T));
  return head;
}

Result<std::vector<std::uint32_t>> numbers(std::string_view bytes, std::size_t count) {
  if (bytes.size() != count * sizeof(std::uint32_t))
    return Error(ErrorCode::kCorrupt, "the plan has the wrong length");
  std::vector<std::uint32_t> result(count);
  if (count > 0) std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

}  // namespace

std::string encode_question(const PlacementProblem& problem) {
  mvm_placement_snapshot head{};
  head.magic = MVM_PLACEMENT_SNAPSHOT;
  head.hosts = static_cast<std::uint32_t>(problem.hosts.size());
  head.sets = static_cast<std::uint32_t>(problem.sets.size());
  for (const auto& set : problem.sets) {
    head.candidates += static_cast<std::uint32_t>(set.hosts.size());
    head.nodes += set.count;
  }
  head.hosts_at = sizeof head;
  head.sets_at = head.hosts_at + head.hosts * sizeof(mvm_placement_host);
  head.candidates_at = head.sets_at + head.sets * sizeof(mvm_placement_set);
  std::string bytes;
  append(bytes, head);
  for (const auto& host : problem.hosts)
    append(bytes, mvm_placement_host{host.milli_vcpus, host.memory, host.milli_vcpus_all, host.memory_all});
  std::uint32_t first = 0;
  for (const auto& set : problem.sets) {
    const auto candidates = static_cast<std::uint32_t>(set.hosts.size());
    append(bytes, mvm_placement_set{set.milli_vcpus, set.memory, set.count, first, candidates, 0});
    first += candidates;
  }
  for (const auto& set : problem.sets)
    for (const auto host : set.hosts) append(bytes, host);
  return bytes;
}

Result<std::optional<Placement>> decode_placement(std::string_view plan) {
  const auto head = head_of<mvm_placement_plan>(plan);
  if (!head || head->magic != MVM_PLACEMENT_PLAN || head->layout > MVM_LAYOUT_CYCLIC || head->fits > 1)
    return Error(ErrorCode::kCorrupt, "the answer is no placement plan");
  MVM_ASSIGN(auto host_of, numbers(plan.substr(sizeof *head), head->nodes));
  if (head->fits == 0) return std::optional<Placement>();
  return std::optional(Placement{.host_of = std::move(host_of), .layout = static_cast<Layout>(head->layout)});
}

std::string encode_question(const std::vector<WaitingJob>& jobs, const UsageByUser& usage) {
  std::map<std::string, std::uint32_t> users;
  std::vector<std::uint64_t> held;
  for (const auto& job : jobs) {
    if (!users.try_emplace(job.user, static_cast<std::uint32_t>(held.size())).second) continue;
    const auto found = usage.find(job.user);
    held.push_back(found == usage.end() ? 0 : found->second);
  }
  mvm_order_snapshot head{};
  head.magic = MVM_ORDER_SNAPSHOT;
  head.jobs = static_cast<std::uint32_t>(jobs.size());
  head.users = static_cast<std::uint32_t>(held.size());
  head.jobs_at = sizeof head;
  head.users_at = head.jobs_at + jobs.size() * sizeof(mvm_order_job);
  std::string bytes;
  append(bytes, head);
  for (const auto& job : jobs)
    append(bytes, mvm_order_job{job.number, job.submitted_ms, job.milli_vcpus, job.memory, job.nodes,
                                job.attempt, users.at(job.user), 0});
  for (const auto milli : held) append(bytes, mvm_order_user{milli});
  return bytes;
}

Result<OrderAnswer> decode_order(std::string_view plan, std::size_t jobs) {
  const auto head = head_of<mvm_order_plan>(plan);
  if (!head || head->magic != MVM_ORDER_PLAN || head->strict > 1 || head->jobs != jobs)
    return Error(ErrorCode::kCorrupt, "the answer is no order of these jobs");
  MVM_ASSIGN(auto order, numbers(plan.substr(sizeof *head), jobs));
  std::vector<bool> seen(jobs);
  for (const auto job : order) {
    if (job >= jobs || seen[job])
      return Error(ErrorCode::kCorrupt, "the order names a job twice or an unknown one");
    seen[job] = true;
  }
  return OrderAnswer{.order = std::move(order), .strict = head->strict == 1};
}

std::string encode_question(const std::vector<CarriedLink>& links) {
  std::string texts;
  const auto put = [&](const std::string& text) {
    const auto at = texts.size();
    texts.append(text.c_str(), text.size() + 1);
    return static_cast<std::uint32_t>(at);
  };
  mvm_links_snapshot head{};
  head.magic = MVM_LINKS_SNAPSHOT;
  head.links = static_cast<std::uint32_t>(links.size());
  head.links_at = sizeof head;
  head.texts_at = head.links_at + links.size() * sizeof(mvm_links_link);
  std::string entries;
  for (const auto& link : links)
    append(entries, mvm_links_link{link.bytes, link.between_hosts ? MVM_LEAVES_HOST : MVM_LEAVES_DOMAIN,
                                   put(link.name), put(topologies::codecs_text(link.codecs)), 0});
  head.texts = texts.size();
  std::string bytes;
  append(bytes, head);
  return bytes + entries + texts;
}

namespace {

Result<std::vector<std::string>> chain_from(std::string_view text) {
  std::vector<std::string> chain;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find(' ', at), text.size());
    if (end > at) chain.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (const auto fault = topologies::check_codecs(chain)) return Error(ErrorCode::kCorrupt, fault->message);
  return chain;
}

}  // namespace

Result<std::vector<std::vector<std::string>>> decode_links(std::string_view plan, std::size_t links) {
  const auto head = head_of<mvm_links_plan>(plan);
  const Error no_plan(ErrorCode::kCorrupt, "the answer is no plan for these links");
  if (!head || head->magic != MVM_LINKS_PLAN || head->links != links || plan.size() < head->texts)
    return no_plan;
  auto texts = plan.substr(plan.size() - head->texts);
  plan.remove_suffix(texts.size());
  MVM_ASSIGN(const auto numbers_of, numbers(plan.substr(std::min(plan.size(), sizeof *head)), links));
  std::vector<std::vector<std::string>> chains(1);
  while (!texts.empty()) {
    const auto end = texts.find('\0');
    if (end == std::string_view::npos) return no_plan;
    MVM_ASSIGN(auto chain, chain_from(texts.substr(0, end)));
    chains.push_back(std::move(chain));
    texts.remove_prefix(end + 1);
  }
  if (chains.size() != std::size_t{head->chains} + 1) return no_plan;
  std::vector<std::vector<std::string>> result;
  for (const auto number : numbers_of) {
    if (number >= chains.size()) return no_plan;
    result.push_back(chains[number]);
  }
  return result;
}

}  // namespace mvm::broker
