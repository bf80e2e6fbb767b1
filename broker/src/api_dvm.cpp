// Distributed virtual machines of a lab's nodes: made, shown, enlarged, shrunk and ended by operations of
// their kernels' plug-in. docs/formats/dvm.md, "As a lab's".

#include "api_dvm.h"

#include <algorithm>
#include <set>
#include <thread>

#include "json_fields.h"
#include "mvm/base/digest.h"
#include "mvm/base/json.h"

namespace mvm::broker {
namespace {

using fields::heard;
using fields::kLongestText;
using nlohmann::json;
using soap::DvmAnswer;
using soap::DvmOutcome;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kLook{10'000};
constexpr milliseconds kChange{45'000};
constexpr milliseconds kJoin{30'000};
constexpr milliseconds kPause{100};
constexpr std::size_t kMostMembers = 10'000;
constexpr std::size_t kMostServices = 1000;
constexpr std::size_t kMostSeeds = 16;
constexpr std::size_t kLongestVm = 32;
constexpr std::size_t kLongestKernel = 24;

bool is_name(const std::string& name, std::size_t limit) {
  return !name.empty() && name.size() <= limit && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

/// The caller, as a machine's user: letters a-z, digits and dashes.
std::string user_of(const soap::Caller& caller) {
  std::string name;
  for (const char c : caller.user.substr(0, kLongestVm)) {
    const char low = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    name += is_name(std::string(1, low), 1) ? low : '-';
  }
  return name.empty() ? "owner" : name;
}

/// A command of the kernel's own, as applications give them. What it answers.
Result<json> command(const NodeTarget& target, const std::vector<std::string>& words) {
  MVM_ASSIGN(const json reply, target.ask("dvm.command", {{"argv", words}}, kChange));
  const auto code = fields::number(reply, "code");
  if (code != 0)
    return Error(code == 7   ? ErrorCode::kRefused
                 : code == 6 ? ErrorCode::kUnavailable
                             : ErrorCode::kFailed,
                 words.front() + ": " + heard(reply, "message"));
  return reply.contains("answer") ? reply["answer"] : json();
}

Status tell(const NodeTarget& target, const std::vector<std::string>& words) {
  MVM_TRY(command(target, words));
  return ok();
}

json settings_for(const NodeTarget& target, const std::string& vm, const json& seeds) {
  return {{"vm", vm},
          {"kernel", target.node},
          {"listen", target.any_port()},
          {"multicast", false},
          {"found", seeds.empty() ? "now" : "never"},
          {"seeds", seeds},
          {"attributes", {{"host", target.host.substr(0, 200)}}}};
}

DvmOutcome outcome_of(bool committed, std::vector<DvmAnswer> answers) {
  return {.committed = committed, .answers = std::move(answers), .user = {}, .password = {}};
}

}  // namespace

/// A node, and the machine that its kernel belongs to.
struct DvmService::Seat {
  NodeTarget target;
  bool loaded = false;   ///< its kernel has the plug-in
  bool ours = false;     ///< we have loaded it
  bool touched = false;  ///< we have told it to be of a machine
  std::string vm;        ///< empty: none
  json self;             ///< the kernel's own view
  std::string trouble;   ///< why nothing is known

  [[nodiscard]] bool live() const { return fields::flag(self, "live"); }

  void look() {
    loaded = false;
    vm.clear();
    trouble.clear();
    auto told = target.ask("dvm.self", json::object(), kLook);
    if (!told) {
      if (told.error().code() != ErrorCode::kUnsupported) trouble = told.error().message();
      return;
    }
    loaded = true;
    self = std::move(*told);
    vm = heard(self, "vm");
  }

  /// Until the status server knows it.
  Status wait_live() {
    const auto until = Clock::now() + kJoin;
    for (;;) {
      look();
      if (!vm.empty() && live()) return ok();
      if (Clock::now() >= until)
        return Error(ErrorCode::kTimeout,
                     "it has not joined in time: " + (trouble.empty() ? heard(self, "reason") : trouble));
      std::this_thread::sleep_for(kPause);
    }
  }

  Status load() {
    if (!loaded) MVM_TRY(target.load("dvm", kChange));
    ours = ours || !loaded;
    loaded = true;
    return ok();
  }

  Status configure(const json& args) {
    const auto done = target.ask("dvm.configure", args, kChange);
    // Another machine's is not touched; silence may mean that it was done.
    touched = done || done.error().code() != ErrorCode::kConflict;
    if (!done) return done.error();
    return wait_live();
  }

  void undo() {
    if (touched)
      (void)forget(false);
    else if (ours)
      (void)target.ask("kernel.unload", {{"plugin", "dvm"}}, kChange);
  }

  /// Leaves nothing behind; repeatable.
  Status forget(bool left) {
    const auto forgotten = target.ask("dvm.forget", {{"left", left}}, kChange);
    if (!forgotten && forgotten.error().code() != ErrorCode::kUnsupported) return forgotten.error();
    // Others may have loaded it, too, and keep it.
    (void)target.ask("kernel.unload", {{"plugin", "dvm"}}, kChange);
    return ok();
  }
};

/// All nodes of the lab, and those of them that are one machine.
struct DvmService::Machine {
  std::vector<Seat> seats;
  std::vector<std::size_t> members;

  /// One that has the status server's ear, else any.
  [[nodiscard]] const Seat& speaker(const std::string& but = {}) const {
    const Seat* best = &seats[members.front()];
    for (const std::size_t i : members)
      if (seats[i].target.node != but && (best->target.node == but || (seats[i].live() && !best->live())))
        best = &seats[i];
    return *best;
  }
};

Result<std::vector<DvmService::Seat>> DvmService::look(const soap::Caller& caller, const std::string& lab,
                                                       const std::vector<std::string>& nodes) {
  if (lab.empty()) return Error(ErrorCode::kInvalid, "of which lab is the machine?");
  MVM_ASSIGN(auto targets, node_targets(core_, caller, lab, nodes));
  std::vector<Seat> seats;
  for (NodeTarget& target : targets) {
    seats.push_back({});
    seats.back().target = std::move(target);
  }
  for_all(seats.size(), [&](std::size_t i) { seats[i].look(); });
  return seats;
}

Result<DvmService::Machine> DvmService::machine(const soap::Caller& caller, const soap::DvmTarget& target) {
  if (target.name.empty()) return Error(ErrorCode::kInvalid, "which machine of lab " + target.lab + "?");
  Machine machine;
  MVM_ASSIGN(machine.seats, look(caller, target.lab, {}));
  std::string silent;
  for (std::size_t i = 0; i < machine.seats.size(); ++i) {
    const Seat& seat = machine.seats[i];
    if (seat.vm == target.name) machine.members.push_back(i);
    if (!seat.trouble.empty()) silent += (silent.empty() ? "" : ", ") + seat.target.node;
  }
  if (!machine.members.empty()) return machine;
  if (!silent.empty())
    return Error(ErrorCode::kUnavailable, "no node that answers belongs to machine " + target.name +
                                              ", and these do not answer: " + silent.substr(0, kLongestText));
  return Error(ErrorCode::kNotFound,
               "lab " + target.lab + " has no distributed virtual machine " + target.name.substr(0, 80));
}

Result<std::vector<soap::DvmView>> DvmService::conf(const soap::Caller& caller,
                                                    const soap::DvmTarget& target) {
  Machine all;
  std::set<std::string> names;
  if (target.name.empty()) {
    MVM_ASSIGN(all.seats, look(caller, target.lab, {}));
  } else {
    MVM_ASSIGN(all, machine(caller, target));
  }
  for (const Seat& seat : all.seats)
    if (!seat.vm.empty() && (target.name.empty() || seat.vm == target.name)) names.insert(seat.vm);
  std::vector<soap::DvmView> views;
  for (const std::string& name : names) {
    all.members.clear();
    for (std::size_t i = 0; i < all.seats.size(); ++i)
      if (all.seats[i].vm == name) all.members.push_back(i);
    views.push_back(view(all.speaker().target, all.speaker().self, target.lab, name));
  }
  return views;
}

/// As the status server says, or, where there is none, as the kernel knows it.
soap::DvmView DvmService::view(const NodeTarget& speaker, const json& self, const std::string& lab,
                               const std::string& name) {
  soap::DvmView view{.lab = lab,
                     .name = name,
                     .server = heard(self, "server"),
                     .term = fields::number(self, "term"),
                     .number = fields::number(self, "number"),
                     .baseline = {},
                     .members = {},
                     .trouble = {}};
  const bool live = fields::flag(self, "live");
  if (!live) view.trouble = "no status server: " + heard(self, "reason");
  json answers[3];
  std::size_t next = 0;
  for (const char* key : {"members", "services", "baseline"}) {
    auto told = command(speaker, {"getvminfo", (live ? "" : "view/") + std::string(key)});
    if (told)
      answers[next] = std::move(*told);
    else
      view.trouble = told.error().message();
    ++next;
  }
  std::map<std::string, std::vector<std::string>> services;
  if (answers[1].is_object())
    for (const auto& [service, kernels] : answers[1].items())
      for (const json& kernel : kernels)
        if (kernel.is_string() && services[kernel].size() < kMostServices)
          services[kernel].push_back(service.substr(0, kLongestText));
  if (answers[0].is_array())
    for (const json& member : answers[0])
      if (member.is_object() && view.members.size() < kMostMembers)
        view.members.push_back({.name = heard(member, "kernel"),
                                .address = heard(member, "address"),
                                .architecture = heard(object_or_empty(member, "attributes"), "arch"),
                                .lost = heard(member, "state") == "lost",
                                .server = live && fields::flag(member, "server"),
                                .voter = fields::flag(member, "holds-log"),
                                .services = services[fields::text(member, "kernel")]});
  if (answers[2].is_object())
    for (const auto& [service, version] : answers[2].items())
      if (version.is_string() && view.baseline.size() < kMostServices)
        view.baseline.push_back((service + "/" + version.get<std::string>()).substr(0, kLongestText));
  if (!live) view.server.clear();
  return view;
}

Result<DvmOutcome> DvmService::create(const soap::Caller& caller, const soap::DvmTarget& target,
                                      const std::vector<std::string>& nodes) {
  if (!is_name(target.name, kLongestVm))
    return Error(ErrorCode::kInvalid, "machine: found \"" + target.name.substr(0, 80) +
                                          "\", expected at most 32 of the letters a-z, digits and dashes");
  MVM_ASSIGN(std::vector<Seat> all, look(caller, target.lab, {}));
  for (const Seat& seat : all)
    if (seat.vm == target.name)
      return Error(ErrorCode::kConflict, "lab " + target.lab + " has a machine " + target.name +
                                             " already; mvm dvm add has other nodes join it");
  std::vector<Seat> seats = std::move(all);
  if (!nodes.empty()) {
    MVM_ASSIGN(seats, look(caller, target.lab, nodes));
  }
  if (seats.empty()) return Error(ErrorCode::kConflict, "lab " + target.lab + " has no nodes yet");
  std::vector<DvmAnswer> answers;
  for (const Seat& seat : seats) answers.push_back({.node = seat.target.node, .done = false, .reason = {}});
  const auto all_well = [&] {
    return std::all_of(answers.begin(), answers.end(),
                       [](const DvmAnswer& answer) { return answer.reason.empty(); });
  };
  const auto step = [&](std::size_t from, std::size_t to, auto work) {
    if (!all_well()) return;
    for_all(to - from, [&](std::size_t i) {
      if (Status done = work(seats[from + i]); !done) answers[from + i].reason = done.error().describe();
    });
  };
  const Seat& first = seats.front();
  step(0, seats.size(), [&](Seat& seat) { return fits(seat, first); });
  if (!all_well()) return outcome_of(false, std::move(answers));  // nothing was done yet

  DvmOutcome made{.committed = false, .answers = {}, .user = user_of(caller), .password = random_hex(16)};
  const std::string secret = random_hex(32);
  json args{{"secret", secret}, {"user", made.user}, {"password", made.password}};
  step(0, seats.size(), [](Seat& seat) { return seat.load(); });
  step(0, 1, [&](Seat& seat) {
    args["settings"] = settings_for(seat.target, target.name, json::array());
    return seat.configure(args);
  });
  json invitation;
  step(0, 1, [&](Seat& seat) -> Status {
    MVM_ASSIGN(invitation, seat.target.ask("dvm.invite", json::object(), kLook));
    return ok();
  });
  const json seeds = json::array({heard(seats.front().self, "address")});
  step(1, seats.size(), [&](Seat& seat) {
    json joins = invitation;
    joins["settings"] = settings_for(seat.target, target.name, seeds);
    return seat.configure(joins);
  });
  made.committed = all_well();
  for (DvmAnswer& answer : answers) answer.done = made.committed;
  if (!made.committed) {
    for_all(seats.size(), [&](std::size_t i) { seats[i].undo(); });
    made.user.clear();
    made.password.clear();
  }
  made.answers = std::move(answers);
  note(caller, target,
       (made.committed ? "created, of " : "not created, of ") + std::to_string(seats.size()) + " nodes");
  return made;
}

/// Whether a node can be of a machine with another one.
Status DvmService::fits(const Seat& seat, const Seat& other) {
  if (!seat.trouble.empty()) return Error(ErrorCode::kUnavailable, seat.trouble);
  if (!seat.vm.empty())
    return Error(ErrorCode::kConflict, "its kernel belongs to machine " + seat.vm + " already");
  if (!is_name(seat.target.node, kLongestKernel))
    return Error(ErrorCode::kUnsupported,
                 "its name cannot be a kernel's: expected at most 24 of the letters a-z, digits and dashes");
  if (!seat.target.shares_network(other.target))
    return Error(ErrorCode::kUnsupported, "it is not in one network with node " + other.target.node);
  return ok();
}

Result<DvmOutcome> DvmService::add(const soap::Caller& caller, const soap::DvmTarget& target,
                                   const std::string& node) {
  MVM_ASSIGN(Machine machine, this->machine(caller, target));
  MVM_ASSIGN(std::vector<Seat> found, look(caller, target.lab, {node}));
  Seat& seat = found.front();
  if (seat.vm == target.name)
    return Error(ErrorCode::kConflict, "node " + node + " belongs to machine " + target.name + " already");
  const Seat& speaker = machine.speaker();
  Status done = fits(seat, speaker);
  if (done) done = join(seat, speaker, target.name);
  note(caller, target, "node " + node + (done ? " added" : " not added"));
  return outcome_of(
      done.has_value(),
      {{.node = node, .done = done.has_value(), .reason = done ? "" : done.error().describe()}});
}

/// A kernel that was started again finds its machine by itself, once it has the plug-in.
Status DvmService::join(Seat& seat, const Seat& speaker, const std::string& name) {
  if (!seat.loaded) {
    MVM_TRY(seat.load());
    seat.look();
    if (seat.vm == name) return seat.wait_live();
  }
  MVM_ASSIGN(json args, speaker.target.ask("dvm.invite", json::object(), kLook));
  json seeds = json::array();
  for (const soap::DvmMember& member : view(speaker.target, speaker.self, seat.target.lab, name).members)
    if (!member.lost && seeds.size() < kMostSeeds) seeds.push_back(member.address);
  if (seeds.empty()) return Error(ErrorCode::kUnavailable, "no kernel of machine " + name + " is there");
  args["settings"] = settings_for(seat.target, name, seeds);
  Status joined = seat.configure(args);
  if (!joined) seat.undo();
  return joined;
}

Result<DvmOutcome> DvmService::remove(const soap::Caller& caller, const soap::DvmTarget& target,
                                      const std::string& node) {
  MVM_ASSIGN(Machine machine, this->machine(caller, target));
  const auto found = std::find_if(machine.members.begin(), machine.members.end(),
                                  [&](std::size_t i) { return machine.seats[i].target.node == node; });
  Status done = ok();
  if (found != machine.members.end()) {
    Seat& seat = machine.seats[*found];
    if (machine.members.size() == 1)
      return Error(ErrorCode::kConflict,
                   "node " + node + " is the machine's last one; mvm dvm halt ends the machine");
    const bool leaves = seat.live();
    done = leaves ? tell(seat.target, {"leave"}) : tell(machine.speaker(node).target, {"remove", node});
    if (done) done = seat.forget(leaves);
  } else {
    const Seat& speaker = machine.speaker();
    const auto members = view(speaker.target, speaker.self, target.lab, target.name).members;
    if (std::none_of(members.begin(), members.end(),
                     [&](const soap::DvmMember& member) { return member.name == node; }))
      return Error(ErrorCode::kNotFound,
                   "node " + node.substr(0, 80) + " does not belong to machine " + target.name);
    done = tell(speaker.target, {"remove", node});
  }
  note(caller, target, "node " + node.substr(0, 80) + (done ? " removed" : " not removed"));
  return outcome_of(
      done.has_value(),
      {{.node = node, .done = done.has_value(), .reason = done ? "" : done.error().describe()}});
}

Result<DvmOutcome> DvmService::halt(const soap::Caller& caller, const soap::DvmTarget& target) {
  MVM_ASSIGN(Machine machine, this->machine(caller, target));
  std::vector<DvmAnswer> answers;
  for (const std::size_t i : machine.members)
    answers.push_back({.node = machine.seats[i].target.node, .done = false, .reason = {}});
  const std::size_t reached = answers.size();
  for_all(reached, [&](std::size_t i) {
    const Status done = machine.seats[machine.members[i]].forget(false);
    answers[i].done = done.has_value();
    if (!done) answers[i].reason = done.error().describe();
  });
  // Those that cannot be asked may belong to it.
  for (const Seat& seat : machine.seats)
    if (!seat.trouble.empty())
      answers.push_back({.node = seat.target.node, .done = false, .reason = seat.trouble});
  note(caller, target, "halted on " + std::to_string(reached) + " nodes");
  const bool any =
      std::any_of(answers.begin(), answers.end(), [](const DvmAnswer& answer) { return answer.done; });
  return outcome_of(any, std::move(answers));
}

void DvmService::note(const soap::Caller& caller, const soap::DvmTarget& target, const std::string& what) {
  note_command(core_, caller, "dvm.command", target.lab, target.name + ": " + what);
}

}  // namespace mvm::broker
