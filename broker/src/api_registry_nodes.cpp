// Which nodes of a lab serve a registry, and of which provider: operations of their kernels' plug-in, for the
// host. docs/formats/registry.md, "Of a lab's nodes".

#include <algorithm>
#include <set>
#include <thread>

#include "api_registry.h"
#include "json_fields.h"
#include "mvm/base/digest.h"
#include "mvm/base/json.h"
#include "mvm/base/number.h"
#include "node_targets.h"

namespace mvm::broker {
namespace {

using fields::heard;
using nlohmann::json;
using soap::RegistryAnswer;
using soap::RegistryMember;
using soap::RegistryOutcome;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{10'000};
constexpr milliseconds kChange{45'000};
constexpr milliseconds kJoin{30'000};
constexpr milliseconds kPause{50};
constexpr std::size_t kMostMembers = 1024;
constexpr std::size_t kMostEndpoints = 16;

/// Of six digits, as nobody of the group ever had one; a kernel that went silent may still come in with its.
std::uint64_t new_number(std::set<std::uint64_t>& taken) {
  for (;;) {
    std::uint64_t number = whole_number<std::uint64_t>(random_hex(4), 16).value_or(0);
    number = 100'000 + number % 900'000;
    if (taken.insert(number).second) return number;
  }
}

Status check(const soap::RegistryChoice& choice) {
  if (choice.provider != "sqlite" && choice.provider != "raft" && choice.provider != "etcd")
    return Error(ErrorCode::kInvalid,
                 "provider: found \"" + choice.provider.substr(0, 80) + "\", expected sqlite, raft or etcd");
  if ((choice.provider == "etcd") == choice.endpoints.empty())
    return Error(ErrorCode::kInvalid, choice.endpoints.empty()
                                          ? "provider etcd: expected where its members are, http://HOST:PORT"
                                          : "endpoints are etcd's, not " + choice.provider + "'s");
  if (choice.endpoints.size() > kMostEndpoints) return Error(ErrorCode::kInvalid, "endpoints: at most 16");
  for (const std::string& endpoint : choice.endpoints)
    if (!endpoint.starts_with("http://") || endpoint.size() > 300 || endpoint.find(',') != std::string::npos)
      return Error(ErrorCode::kInvalid,
                   "endpoint: found \"" + endpoint.substr(0, 80) + "\", expected http://HOST:PORT");
  return ok();
}

}  // namespace

/// A node, and what its kernel says of its registry.
struct RegistryService::Seat {
  NodeTarget target;
  bool loaded = false;   ///< its kernel has the plug-in
  bool ours = false;     ///< we have loaded it
  bool touched = false;  ///< we have chosen its provider, or do not know whether we have
  json told;             ///< registry.members
  std::string trouble;   ///< why nothing is known

  [[nodiscard]] std::string provider() const { return heard(told, "provider"); }
  [[nodiscard]] bool configured() const { return fields::flag(told, "configured"); }
  [[nodiscard]] bool replicates() const { return configured() && provider() == "raft"; }
  [[nodiscard]] bool active() const { return replicates() && fields::flag(told, "active"); }
  [[nodiscard]] std::uint64_t id() const { return fields::number(told, "self"); }

  void look() {
    told = json::object();
    trouble.clear();
    auto answer = target.ask("registry.members", json::object(), kLook);
    loaded = answer.has_value();
    if (answer) {
      told = std::move(*answer);
      trouble = heard(told, "trouble");
    } else if (answer.error().code() != ErrorCode::kUnsupported) {
      trouble = answer.error().message();
    }
  }

  Status load() {
    if (loaded) return ok();
    MVM_TRY(target.load("registry", kChange));
    ours = loaded = true;
    return ok();
  }

  Status configure(const json& settings, const std::string& secret) {
    MVM_TRY(load());
    const auto done = target.ask("registry.configure", {{"settings", settings}, {"secret", secret}}, kChange);
    touched = done || done.error().code() == ErrorCode::kTimeout;
    if (!done) return done.error();
    for (const auto until = Clock::now() + kJoin;;) {
      look();
      if (active() || (configured() && provider() != "raft")) return ok();
      if (Clock::now() >= until)
        return Error(ErrorCode::kTimeout,
                     "it was not taken in in time" + (trouble.empty() ? "" : ": " + trouble));
      std::this_thread::sleep_for(kPause);
    }
  }

  /// As member `id` of the group; `others`: whom it asks, empty: it makes the group.
  Status replicate(std::uint64_t id, const std::string& others, const std::string& secret) {
    const std::string number = std::to_string(id);
    const std::string listen = target.any_port();
    json settings{
        {"registry.provider", "raft"}, {"registry.raft.id", number}, {"registry.raft.address", listen}};
    if (others.empty())
      settings["registry.raft.members"] = number + "=" + listen;
    else
      settings["registry.raft.join"] = others;
    return configure(settings, secret);
  }

  /// Repeatable.
  Status forget(bool force) {
    const auto forgotten = target.ask("registry.forget", {{"force", force}}, kChange);
    if (!forgotten && forgotten.error().code() != ErrorCode::kUnsupported) return forgotten.error();
    // Others may have loaded it, too, and keep it.
    (void)target.ask("kernel.unload", {{"plugin", "registry"}}, kChange);
    return ok();
  }

  void undo() {
    if (touched) (void)target.ask("registry.forget", {{"force", true}}, kChange);
    if (ours) (void)target.ask("kernel.unload", {{"plugin", "registry"}}, kChange);
  }

  [[nodiscard]] RegistryMember member() const {
    RegistryMember one{.node = target.node,
                       .provider = provider(),
                       .state = !trouble.empty()                                        ? "failed"
                                : !loaded                                               ? "none"
                                : provider() == "raft" && !fields::flag(told, "active") ? "joins"
                                                                                        : "serves",
                       .id = id(),
                       .role = {},
                       .address = {},
                       .leader = id() != 0 && id() == fields::number(told, "leader"),
                       .trouble = trouble};
    for (const json& entry : array_or_empty(told, "members"))
      if (entry.is_object() && fields::number(entry, "id") == one.id && one.id != 0) {
        one.role = heard(entry, "role");
        one.address = heard(entry, "address");
      }
    return one;
  }
};

Result<std::vector<RegistryService::Seat>> RegistryService::look(const soap::Caller& caller,
                                                                 const std::string& lab,
                                                                 const std::vector<std::string>& nodes) {
  if (lab.empty()) return Error(ErrorCode::kInvalid, "a registry is that of a lab");
  MVM_ASSIGN(auto targets, node_targets(core_, caller, lab, nodes));
  if (targets.empty()) return Error(ErrorCode::kConflict, "lab " + lab + " has no nodes yet");
  std::vector<Seat> seats(targets.size());
  for (std::size_t i = 0; i < seats.size(); ++i) seats[i].target = std::move(targets[i]);
  for_all(seats.size(), [&](std::size_t i) { seats[i].look(); });
  return seats;
}

Result<std::vector<RegistryMember>> RegistryService::members(const soap::Caller& caller,
                                                             const std::string& lab) {
  MVM_ASSIGN(const auto seats, look(caller, lab, {}));
  std::vector<RegistryMember> members;
  std::set<std::uint64_t> known;
  for (const Seat& seat : seats) {
    members.push_back(seat.member());
    if (seat.id() != 0) known.insert(seat.id());
  }
  for (const Seat& seat : seats)
    for (const json& entry : array_or_empty(seat.told, "members")) {
      if (!entry.is_object() || fields::flag(entry, "dead") || members.size() >= kMostMembers) continue;
      const std::uint64_t id = fields::number(entry, "id");
      if (id == 0 || !known.insert(id).second) continue;
      members.push_back({.node = {},
                         .provider = "raft",
                         .state = fields::flag(entry, "connected") ? "serves" : "silent",
                         .id = id,
                         .role = heard(entry, "role"),
                         .address = heard(entry, "address"),
                         .leader = id == fields::number(seat.told, "leader"),
                         .trouble = {}});
    }
  return members;
}

/// Nodes that are told to serve, all of them or none.
class RegistryService::Change {
 public:
  Change(const std::string& lab, const soap::RegistryChoice& choice, std::vector<Seat> all,
         const std::vector<std::string>& nodes)
      : lab_(lab), choice_(choice), all_(std::move(all)) {
    for (const Seat& seat : all_)
      if (nodes.empty() || std::find(nodes.begin(), nodes.end(), seat.target.node) != nodes.end())
        named_.push_back(seat);
    for (const Seat& seat : named_)
      outcome_.answers.push_back({.node = seat.target.node, .done = false, .reason = {}});
    const auto inside =
        std::find_if(all_.begin(), all_.end(), [](const Seat& seat) { return seat.active(); });
    if (inside != all_.end()) inside_ = &inside->target;
  }

  RegistryOutcome run() {
    look_at_all();
    if (all_well()) choice_.provider == "raft" ? replicate() : begin();
    outcome_.committed = all_well();
    for (RegistryAnswer& answer : outcome_.answers) answer.done = outcome_.committed;
    if (!outcome_.committed) for_all(changing_.size(), [&](std::size_t i) { named_[changing_[i]].undo(); });
    return std::move(outcome_);
  }

 private:
  [[nodiscard]] bool all_well() const {
    return std::all_of(outcome_.answers.begin(), outcome_.answers.end(),
                       [](const RegistryAnswer& answer) { return answer.reason.empty(); });
  }

  /// Whether each can, before anything is done.
  void look_at_all() {
    for (std::size_t i = 0; i < named_.size(); ++i) {
      outcome_.answers[i].reason = why_not(named_[i]);
      const Seat& seat = named_[i];
      const bool as_it_is = seat.configured() || (seat.loaded && choice_.provider == "sqlite");
      if (!as_it_is) changing_.push_back(i);
    }
  }

  [[nodiscard]] std::string why_not(const Seat& seat) const {
    if (!seat.trouble.empty()) return seat.trouble;
    if (seat.configured() && seat.provider() != choice_.provider)
      return "its registry has provider " + seat.provider() + "; mvm reg leave " + lab_ + " " +
             seat.target.node + " ends that";
    const bool kept = std::any_of(all_.begin(), all_.end(), [](const Seat& one) { return one.replicates(); });
    if (choice_.provider == "raft" && !seat.configured() && kept && inside_ == nullptr)
      return "the replicated registry that the lab has takes nobody in, for want of a majority; see mvm reg "
             "members " +
             lab_;
    const NodeTarget& other = inside_ != nullptr ? *inside_ : named_.front().target;
    if (choice_.provider == "raft" && !seat.target.shares_network(other))
      return "it is not in one network with node " + other.node;
    return {};
  }

  /// Those that change, from the `first` of them on.
  template <class Work>
  void step(std::size_t first, Work work) {
    if (!all_well()) return;
    for_all(changing_.size() - first, [&](std::size_t i) {
      const std::size_t at = changing_[first + i];
      if (const Status done = work(named_[at], at); !done)
        outcome_.answers[at].reason = done.error().describe();
    });
  }

  void begin() {
    json settings{{"registry.provider", choice_.provider}};
    std::string endpoints;
    for (const std::string& one : choice_.endpoints) endpoints += (endpoints.empty() ? "" : ",") + one;
    if (!endpoints.empty()) settings["registry.etcd.endpoints"] = endpoints;
    if (!choice_.prefix.empty()) settings["registry.etcd.prefix"] = choice_.prefix;
    step(0, [&](Seat& seat, std::size_t) {
      return choice_.provider == "sqlite" ? seat.load() : seat.configure(settings, {});
    });
  }

  void replicate() {
    std::set<std::uint64_t> taken;
    for (const Seat& seat : all_)
      for (const json& entry : array_or_empty(seat.told, "members"))
        if (entry.is_object()) taken.insert(fields::number(entry, "id"));
    std::vector<std::uint64_t> numbers(named_.size());
    for (std::uint64_t& number : numbers) number = new_number(taken);
    std::size_t founders = 0;
    if (inside_ == nullptr && !changing_.empty()) {
      const std::size_t at = changing_.front();
      const Status done = named_[at].replicate(numbers[at], {}, random_hex(32));
      if (!done) outcome_.answers[at].reason = done.error().describe();
      inside_ = &named_[at].target;
      founders = 1;
    }
    if (founders == changing_.size() || !all_well()) return;
    const auto invitation = inside_->ask("registry.invite", json::object(), kLook);
    step(founders, [&](Seat& seat, std::size_t at) -> Status {
      if (!invitation) return invitation.error();
      return seat.replicate(numbers[at], fields::text(*invitation, "join"),
                            fields::text(*invitation, "secret"));
    });
  }

  const std::string& lab_;
  const soap::RegistryChoice& choice_;
  std::vector<Seat> all_;               ///< of the lab
  std::vector<Seat> named_;             ///< an answer each
  std::vector<std::size_t> changing_;   ///< of those
  const NodeTarget* inside_ = nullptr;  ///< one that keeps the lab's replicated registry
  RegistryOutcome outcome_;
};

Result<RegistryOutcome> RegistryService::serve(const soap::Caller& caller, const std::string& lab,
                                               const std::vector<std::string>& nodes,
                                               const soap::RegistryChoice& choice) {
  MVM_TRY(check(choice));
  const std::lock_guard one(serving_);
  // Names that the lab does not have are refused.
  if (!nodes.empty()) MVM_TRY(node_targets(core_, caller, lab, nodes));
  MVM_ASSIGN(std::vector<Seat> all, look(caller, lab, {}));
  RegistryOutcome outcome = Change(lab, choice, std::move(all), nodes).run();
  note_command(core_, caller, "registry.command", lab,
               (outcome.committed ? "served with " : "not served with ") + choice.provider + " by " +
                   std::to_string(outcome.answers.size()) + " nodes");
  return outcome;
}

Status RegistryService::leave(const soap::Caller& caller, const std::string& lab, const std::string& node,
                              bool force) {
  if (node.empty()) return Error(ErrorCode::kInvalid, "which node of lab " + lab + "?");
  MVM_ASSIGN(auto seats, look(caller, lab, {node}));
  Seat& seat = seats.front();
  if (!seat.loaded && seat.trouble.empty())
    return Error(ErrorCode::kNotFound, "the kernel of " + lab + "/" + node + " serves no registry");
  Status left = seat.forget(force);
  note_command(core_, caller, "registry.command", lab,
               "node " + node + (left ? " has left" : " has not left"));
  return left;
}

Status RegistryService::confirm_lost(const soap::Caller& caller, const std::string& lab, std::uint64_t id) {
  MVM_ASSIGN(const auto seats, look(caller, lab, {}));
  const auto mine =
      std::find_if(seats.begin(), seats.end(), [&](const Seat& seat) { return seat.id() == id; });
  if (id != 0 && mine != seats.end())
    return Error(ErrorCode::kConflict, "member " + std::to_string(id) + " is node " + mine->target.node +
                                           ", which is there; mvm reg leave " + lab + " " +
                                           mine->target.node + " has it leave");
  const auto speaker = std::find_if(
      seats.begin(), seats.end(), [](const Seat& seat) { return seat.replicates() && seat.trouble.empty(); });
  if (speaker == seats.end())
    return Error(ErrorCode::kNotFound, "no node of lab " + lab + " keeps a replicated registry");
  MVM_TRY(speaker->target.ask("registry.confirm-lost", {{"id", id}}, kChange));
  note_command(core_, caller, "registry.command", lab, "member " + std::to_string(id) + " is lost");
  return ok();
}

}  // namespace mvm::broker
