#include "mvm/dvm/status.h"

#include <algorithm>
#include <charconv>

#include "mvm/base/json.h"
#include "mvm/base/number.h"
#include "mvm/dvm/address.h"

namespace mvm::dvm {
namespace {

using nlohmann::json;

constexpr std::size_t kMostTexts = 64;
constexpr std::size_t kLongestText = 1024;
constexpr std::size_t kFewKernels = 16;
constexpr std::size_t kMostLate = 16;

/// Numbers of a dotted version, at most four; what is no number counts as 0.
std::array<std::uint32_t, 4> numbers_of(std::string_view text) {
  std::array<std::uint32_t, 4> numbers{};
  for (std::uint32_t& number : numbers) {
    const std::size_t dot = std::min(text.find('.'), text.size());
    std::from_chars(text.data(), text.data() + dot, number);
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return numbers;
}

/// What a copy that reads it back takes as a name.
bool plain(const std::string& text, std::size_t limit) {
  return !text.empty() && text.size() <= limit && text.find('\0') == std::string::npos;
}

bool fits_kernel(const Member& member, const std::map<std::string, std::string>& attributes) {
  return std::all_of(attributes.begin(), attributes.end(), [&](const auto& wanted) {
    const auto found = member.attributes.find(wanted.first);
    return found != member.attributes.end() && found->second == wanted.second;
  });
}

/// The kernels a command is for, the same on every copy: by name, those that are there first.
Names draw(VmStatus& status, const Targets& targets) {
  if (targets.names.empty() && targets.count == 0 && targets.attributes.empty() && status.everybody)
    return *status.everybody;
  std::set<std::string> drawn;
  if (!targets.names.empty()) {
    for (const std::string& name : targets.names) drawn.insert(name);
    return drawn;
  }
  for (const auto& [name, member] : status.members) {
    if (targets.count > 0 && drawn.size() >= targets.count) break;
    // "All" means all that belong to the machine; a lost one cannot be able.
    if (fits_kernel(member, targets.attributes) && (targets.count == 0 || !member.lost))
      drawn.insert(drawn.end(), name);
  }
  Names names(std::move(drawn));
  if (targets.count == 0 && targets.attributes.empty()) status.everybody = names;
  return names;
}

json map_json(const std::map<std::string, std::string>& map) {
  json object = json::object();
  for (const auto& [key, value] : map) object[key] = value;
  return object;
}

json services_json(const std::map<std::string, Service>& services) {
  json object = json::object();
  for (const auto& [name, service] : services)
    object[name] = {{"version", service.version},
                    {"locator", service.locator},
                    {"owner", service.owner},
                    {"sharing", service.sharing}};
  return object;
}

Result<std::map<std::string, std::string>> map_from(const json& object, const char* key,
                                                    std::size_t most = kMostTexts) {
  std::map<std::string, std::string> map;
  if (!object.contains(key)) return map;
  MVM_ASSIGN(auto pairs, text_map_of(object, key, most, kLongestText));
  for (auto& [name, value] : pairs) map.emplace(std::move(name), std::move(value));
  return map;
}

Result<std::set<std::string>> set_from(const json& object, const char* key, std::size_t most) {
  MVM_ASSIGN(const auto list, texts_of(object, key, most, kLongestText));
  return std::set<std::string>(list.begin(), list.end());
}

void change(Member& member, const std::string& plugin, const LateChange& what) {
  using Kind = LateChange::Kind;
  if (what.kind == Kind::kErase)
    member.services.erase(plugin);
  else if (what.kind == Kind::kPut)
    member.services.insert_or_assign(plugin, what.service);
  else
    member.services.try_emplace(plugin, what.service);
}

/// To note it at each of many kernels, on each of as many copies, costs more than all else of a command. True
/// where it may wait until somebody looks.
bool put_off(VmStatus& status, const Command& command) {
  using Kind = LateChange::Kind;
  if ((command.verb != "load" && command.verb != "unload") || !command.unable.empty() ||
      command.participants.size() < kFewKernels)
    return false;
  const std::string plugin = command.plugin();
  const bool load = command.verb == "load";
  if (const auto found = status.late.find(plugin); found != status.late.end()
                                                       ? found->second.kernels != command.participants
                                                       : status.late.size() >= kMostLate)
    catch_up(status);
  LateChange fresh{load ? Kind::kAdd : Kind::kErase,
                   load ? Service{{}, command.locator, command.user, command.sharing} : Service(),
                   command.participants};
  if (const auto self = status.members.find(status.own);
      self != status.members.end() && command.participants.contains(status.own))
    change(self->second, plugin, fresh);
  const auto [there, added] = status.late.try_emplace(plugin, fresh);
  if (added || (load && there->second.kind != Kind::kErase)) return true;  // what was there stays
  if (load) fresh.kind = Kind::kPut;
  there->second = std::move(fresh);
  return true;
}

/// A decision changes the services of one of those who carry it out.
void change_services(Member& member, const Command& command) {
  const std::string plugin = command.plugin();
  if (command.verb == "load")
    member.services.try_emplace(plugin, Service{{}, command.locator, command.user, command.sharing});
  else if (command.verb == "unload")
    member.services.erase(plugin);
}

/// Those whose services a decision changes get them.
void take_effect(VmStatus& status, const Command& command) {
  if (put_off(status, command)) return;
  catch_up(status);
  for (const std::string& name : command.participants) {
    const auto member = status.members.find(name);
    if (member == status.members.end() || command.unable.contains(name)) continue;
    change_services(member->second, command);
    if (command.verb == "run" && !member->second.lost)
      member->second.threads[command.id] = {command.plugin(), command.user};
  }
}

/// Those that a kernel is to carry out and that were decided after an event, in the order of their decisions.
std::vector<const Command*> decided_after(const VmStatus& status, std::uint64_t number,
                                          const std::string& kernel) {
  std::vector<const Command*> found;
  for (const auto& [id, command] : status.commands)
    if (command.committed && command.decided > number && command.carried_out_by(kernel))
      found.push_back(&command);
  std::sort(found.begin(), found.end(),
            [](const Command* a, const Command* b) { return a->decided < b->decided; });
  return found;
}

/// What turned out to be wrong after the decision is no service.
void take_back(VmStatus& status, const Command& command, const std::string& name) {
  catch_up(status);
  const auto member = status.members.find(name);
  if (member == status.members.end()) return;
  if (command.verb == "load") member->second.services.erase(command.plugin());
  if (command.verb == "run") member->second.threads.erase(command.id);
}

void forget_old_commands(VmStatus& status) {
  std::vector<std::pair<std::uint64_t, std::string>> finished;
  for (const auto& [id, command] : status.commands)
    if (command.phase == Phase::kFinished && command.owing.empty()) finished.emplace_back(command.number, id);
  if (finished.size() <= kRemembered) return;
  std::sort(finished.begin(), finished.end());
  for (std::size_t i = 0; i + kRemembered < finished.size(); ++i) status.commands.erase(finished[i].second);
}

// ---- events
// ------------------------------------------------------------------------------------------------

Effects on_joined(VmStatus& status, const json& event) {
  auto member = member_from(object_or_empty(event, "member"));
  if (!member || (status.members.size() >= kMostMembers && !status.members.contains(member->name))) return {};
  catch_up(status);
  status.everybody.reset();
  Effects effects{.changed = true, .membership = true, .services = {}, .kernels = Names({member->name})};
  for (const auto& [plugin, service] : member->services) effects.services.insert(plugin);
  member->lost = false;
  Member& there = status.members[member->name];
  // Another process has to say anew that it holds the log.
  member->copy = there.incarnation == member->incarnation ? there.copy : 0;
  member->life = there.incarnation == member->incarnation ? there.life : 0;
  there = *std::move(member);
  // What was decided while the kernel had the status restored is not in what it says it has.
  if (const std::uint64_t as_of = number_or(event, "as-of"); as_of != 0)
    for (const Command* command : decided_after(status, as_of, there.name)) {
      change_services(there, *command);
      effects.services.insert(command->plugin());
    }
  return effects;
}

Effects on_left(VmStatus& status, const json& event) {
  const std::string name = text_or(event, "kernel");
  if (status.members.erase(name) == 0) return {};
  status.everybody.reset();
  for (auto& [id, command] : status.commands) command.owing.erase(name);
  return {.changed = true, .membership = true, .services = {}, .kernels = {}};
}

Effects on_lost(VmStatus& status, const json& event, bool lost) {
  const auto found = status.members.find(text_or(event, "kernel"));
  if (found == status.members.end() || found->second.lost == lost ||
      found->second.incarnation != text_or(event, "incarnation"))
    return {};
  found->second.lost = lost;
  return {.changed = true, .membership = true, .services = {}, .kernels = {}};
}

Effects on_begun(VmStatus& status, const json& event) {
  auto command = command_from(object_or_empty(event, "command"));
  if (!command || status.commands.contains(command->id)) return {};
  command->phase = commit_step(Phase::kNew, Happening::kBegun)->to;
  command->number = status.number;
  command->participants = draw(status, command->targets);
  Effects effects{.changed = true,
                  .membership = false,
                  .services = {command->plugin()},
                  .kernels = command->participants};
  const auto id = command->id;
  status.commands.emplace(id, *std::move(command));
  return effects;
}

Effects on_decided(VmStatus& status, const json& event) {
  const auto found = status.commands.find(text_or(event, "id"));
  if (found == status.commands.end()) return {};
  Command& command = found->second;
  const bool commit = flag_or(event, "commit");
  const Step* step = commit_step(command.phase, commit ? Happening::kCommit : Happening::kAbort);
  if (step == nullptr) return {};
  command.phase = step->to;
  command.committed = commit;
  command.decided = status.number;
  if (auto unable = map_from(event, "unable", kMostMembers)) command.unable = *std::move(unable);
  if (commit) take_effect(status, command);
  return {
      .changed = true, .membership = false, .services = {command.plugin()}, .kernels = command.participants};
}

Effects on_finished(VmStatus& status, const json& event) {
  const auto found = status.commands.find(text_or(event, "id"));
  if (found == status.commands.end()) return {};
  Command& command = found->second;
  auto failed = map_from(event, "failed", kMostMembers);
  auto owing = set_from(event, "owing", kMostMembers);
  if (!failed || !owing) return {};
  const bool committed = command.phase == Phase::kCommitted;
  if (const Step* step = commit_step(command.phase, Happening::kAcknowledged); step != nullptr) {
    command.phase = step->to;
    command.owing = committed ? *owing : std::set<std::string>();
  } else if (command.phase == Phase::kFinished && !command.owing.empty()) {
    command.owing = *owing;  // some of them came back
  } else {
    return {};
  }
  std::erase_if(command.owing, [&](const std::string& name) { return !status.members.contains(name); });
  Effects effects{.changed = true, .membership = false, .services = {command.plugin()}, .kernels = {}};
  std::set<std::string> told;
  for (const auto& [name, why] : *failed) {
    command.failed[name] = why;
    take_back(status, command, name);
    told.insert(name);
  }
  effects.kernels = std::move(told);
  forget_old_commands(status);
  return effects;
}

Effects on_thread_ended(VmStatus& status, const json& event) {
  const auto found = status.members.find(text_or(event, "kernel"));
  if (found == status.members.end()) return {};
  const auto thread = found->second.threads.find(text_or(event, "id"));
  if (thread == found->second.threads.end()) return {};
  Effects effects{.changed = true,
                  .membership = false,
                  .services = {thread->second.plugin},
                  .kernels = Names({found->first})};
  found->second.threads.erase(thread);
  return effects;
}

Effects on_state(VmStatus& status, const json& event) {
  const std::string plugin = text_or(event, "plugin");
  const std::string key = text_or(event, "key");
  if (!plain(plugin, 300) || !plain(key, kLongestText)) return {};
  Effects effects{.changed = true, .membership = false, .services = {plugin}, .kernels = {}};
  auto& states = status.states[plugin];
  const auto value = event.find("value");
  if (value == event.end() || !value->is_string()) {
    effects.changed = states.erase(key) > 0;
  } else {
    const auto& text = value->get_ref<const std::string&>();
    std::size_t count = 0;
    for (const auto& [name, keys] : status.states) count += keys.size();
    if (text.size() > kLargestState || text.find('\0') != std::string::npos ||
        (count >= kMostStates && !states.contains(key)))
      effects.changed = false;
    else
      states[key] = text;
  }
  if (states.empty()) status.states.erase(plugin);
  return effects;
}

Effects on_voter(VmStatus& status, const json& event) {
  const auto found = status.members.find(text_or(event, "kernel"));
  if (found == status.members.end()) return {};
  Member& member = found->second;
  const std::uint64_t copy = number_or(event, "copy");
  const std::uint64_t life = number_or(event, "life");
  if (member.copy == copy && member.life == life) return {};
  member.copy = copy;
  member.life = life;
  return {.changed = true, .membership = true, .services = {}, .kernels = {}};
}

Effects on_server(VmStatus& status, const json& event) {
  status.server = text_or(event, "kernel");
  status.term = number_or(event, "term");
  return {.changed = true, .membership = true, .services = {}, .kernels = {}};
}

Effects on_baseline(VmStatus& status, const json& event) {
  auto baseline = map_from(event, "baseline", 256);
  if (!baseline) return {};
  status.baseline = *std::move(baseline);
  return {.changed = true, .membership = true, .services = {}, .kernels = {}};
}

}  // namespace

Effects apply(VmStatus& status, const json& event) {
  ++status.number;
  if (!event.is_object()) return {};
  const std::string kind = text_or(event, "event");
  if (kind == "joined") return on_joined(status, event);
  if (kind == "left") return on_left(status, event);
  if (kind == "lost") return on_lost(status, event, true);
  if (kind == "back") return on_lost(status, event, false);
  if (kind == "begun") return on_begun(status, event);
  if (kind == "decided") return on_decided(status, event);
  if (kind == "finished") return on_finished(status, event);
  if (kind == "thread-ended") return on_thread_ended(status, event);
  if (kind == "state") return on_state(status, event);
  if (kind == "voter") return on_voter(status, event);
  if (kind == "server") return on_server(status, event);
  if (kind == "baseline") return on_baseline(status, event);
  return {};
}

std::map<std::string, Service> services_of(const VmStatus& status, const Member& member) {
  Member copy;
  copy.services = member.services;
  if (member.name != status.own)
    for (const auto& [plugin, late] : status.late)
      if (late.kernels.contains(member.name)) change(copy, plugin, late);
  return std::move(copy.services);
}

void catch_up(VmStatus& status) {
  if (status.late.empty()) return;
  for (auto& [name, member] : status.members) member.services = services_of(status, member);
  status.late.clear();
}

std::size_t VmStatus::present() const {
  return static_cast<std::size_t>(
      std::count_if(members.begin(), members.end(), [](const auto& one) { return !one.second.lost; }));
}

bool Command::carried_out_by(const std::string& kernel) const {
  return participants.contains(kernel) && !unable.contains(kernel) && phase != Phase::kAborted;
}

std::string Command::plugin() const {
  std::string_view text = locator;
  if (text.find("://") != std::string_view::npos) {
    text = text.substr(0, text.find_first_of("?#"));
    text = text.substr(text.rfind('/') + 1);
    text = text.substr(0, text.find(".so"));
    // hello.1.2.3.so is hello in that version.
    for (std::size_t dot = text.find('.'); dot != std::string_view::npos; dot = text.find('.', dot + 1))
      if (dot + 1 < text.size() && text[dot + 1] >= '0' && text[dot + 1] <= '9') {
        text = text.substr(0, dot);
        break;
      }
  } else if (text.starts_with("urn:")) {
    text = text.substr(text.rfind(':') + 1);
  }
  return std::string(text.substr(0, text.find('@')));
}

// ---- baseline
// ----------------------------------------------------------------------------------------------

std::map<std::string, std::string> core_services() {
  return {{"recovery", "1"}, {"loader", "2"}, {"communication", "1"}};
}

std::vector<std::string> check_baseline(const Baseline& baseline, const Member& member) {
  std::vector<std::string> reasons;
  for (const auto& [service, least] : baseline) {
    const std::string* found = nullptr;
    if (const auto core = member.core.find(service); core != member.core.end()) found = &core->second;
    if (const auto plugin = member.services.find(service); plugin != member.services.end())
      found = &plugin->second.version;
    if (found == nullptr)
      reasons.push_back("service " + service + ": expected version " + least + " or later, found none");
    else if (numbers_of(*found) < numbers_of(least))
      reasons.push_back("service " + service + ": expected version " + least + " or later, found " + *found);
  }
  return reasons;
}

// ---- texts
// -------------------------------------------------------------------------------------------------

Result<Targets> Targets::read(std::string_view text) {
  const Error wrong(ErrorCode::kInvalid, "targets: found \"" + std::string(text.substr(0, 80)) +
                                             "\", expected all, a number, or names of kernels with commas, "
                                             "and then perhaps :KEY=VALUE,...");
  Targets targets;
  const std::size_t colon = std::min(text.find(':'), text.size());
  std::string_view who = text.substr(0, colon);
  std::string_view rest = colon < text.size() ? text.substr(colon + 1) : std::string_view();
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view pair = rest.substr(0, comma);
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0 || targets.attributes.size() >= kMostTexts)
      return wrong;
    targets.attributes.emplace(pair.substr(0, equals), pair.substr(equals + 1));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (who == "all" || (who.empty() && !targets.attributes.empty())) return targets;
  if (const auto count = whole_number<std::uint64_t>(who)) {
    if (*count == 0) return wrong;
    targets.count = *count;
    return targets;
  }
  if (!targets.attributes.empty()) return wrong;
  while (!who.empty()) {
    const std::size_t comma = std::min(who.find(','), who.size());
    if (!valid_name(who.substr(0, comma), kLongestKernel)) return wrong;
    targets.names.emplace_back(who.substr(0, comma));
    who.remove_prefix(std::min(comma + 1, who.size()));
  }
  if (targets.names.empty() || targets.names.size() > kMostMembers) return wrong;
  return targets;
}

json to_json(const Member& member) {
  json threads = json::object();
  for (const auto& [id, thread] : member.threads)
    threads[id] = {{"plugin", thread.plugin}, {"user", thread.user}};
  return {{"name", member.name},
          {"address", member.address},
          {"incarnation", member.incarnation},
          {"lost", member.lost},
          {"copy", member.copy},
          {"life", member.life},
          {"attributes", map_json(member.attributes)},
          {"core", map_json(member.core)},
          {"services", services_json(member.services)},
          {"threads", std::move(threads)}};
}

Result<Member> member_from(const json& from) {
  Member member;
  MVM_ASSIGN(member.name, need_text(from, "name", kLongestKernel));
  if (!valid_name(member.name, kLongestKernel))
    return Error(ErrorCode::kInvalid, "name of a kernel: expected letters a-z, digits and dashes");
  MVM_ASSIGN(member.address, need_text(from, "address", 64));
  MVM_ASSIGN(member.incarnation, need_text(from, "incarnation", 64));
  member.lost = flag_or(from, "lost");
  member.copy = number_or(from, "copy");
  member.life = number_or(from, "life");
  MVM_ASSIGN(member.attributes, map_from(from, "attributes"));
  MVM_ASSIGN(member.core, map_from(from, "core"));
  const json& services = object_or_empty(from, "services");
  const json& threads = object_or_empty(from, "threads");
  if (services.size() > 1024 || threads.size() > 4096)
    return Error(ErrorCode::kExhausted, "a kernel has too many services or threads");
  for (const auto& [name, one] : services.items()) {
    Service service{text_or(one, "version"), text_or(one, "locator"), text_or(one, "owner"),
                    text_or(one, "sharing")};
    if (name.empty() || name.size() > 300 || service.version.size() > 64 || service.locator.size() > 4096 ||
        service.owner.size() > 64 || service.sharing.size() > 20)
      return Error(ErrorCode::kInvalid, "a kernel's service has a field that is too long");
    member.services.emplace(name, std::move(service));
  }
  for (const auto& [id, one] : threads.items()) {
    Thread thread{text_or(one, "plugin"), text_or(one, "user")};
    if (id.size() > 128 || thread.plugin.size() > 300 || thread.user.size() > 64)
      return Error(ErrorCode::kInvalid, "a kernel's thread has a field that is too long");
    member.threads.emplace(id, std::move(thread));
  }
  return member;
}

json to_json(const Command& command) {
  json object = {{"id", command.id},
                 {"verb", command.verb},
                 {"locator", command.locator},
                 {"arguments", command.arguments},
                 {"sharing", command.sharing},
                 {"names", command.targets.names},
                 {"count", command.targets.count},
                 {"attributes", map_json(command.targets.attributes)},
                 {"best-effort", command.qos == Qos::kBestEffort},
                 {"user", command.user},
                 {"administrator", command.administrator},
                 {"deadline-ms", command.deadline_ms}};
  if (command.phase == Phase::kNew) return object;
  object["phase"] = to_string(command.phase);
  object["committed"] = command.committed;
  object["number"] = command.number;
  object["decided"] = command.decided;
  object["participants"] = command.participants.set();
  object["unable"] = map_json(command.unable);
  object["failed"] = map_json(command.failed);
  object["owing"] = command.owing;
  return object;
}

Result<Command> command_from(const json& from) {
  Command command;
  MVM_ASSIGN(command.id, need_text(from, "id", 128));
  MVM_ASSIGN(command.verb, need_text(from, "verb", 16));
  if (command.verb != "load" && command.verb != "run" && command.verb != "unload" && command.verb != "stop")
    return Error(ErrorCode::kInvalid,
                 "command: found \"" + command.verb + "\", expected load, run, unload or stop");
  MVM_ASSIGN(command.locator, need_text(from, "locator", 4096));
  MVM_ASSIGN(command.arguments, texts_of(from, "arguments", 256, 65536));
  command.sharing = text_or(from, "sharing", "everyone");
  if (command.sharing != "owners" && command.sharing != "everyone")
    return Error(ErrorCode::kInvalid,
                 "sharing: found \"" + command.sharing.substr(0, 40) + "\", expected owners or everyone");
  MVM_ASSIGN(command.targets.names, texts_of(from, "names", kMostMembers, kLongestKernel));
  command.targets.count = number_or(from, "count");
  MVM_ASSIGN(command.targets.attributes, map_from(from, "attributes"));
  command.qos = flag_or(from, "best-effort") ? Qos::kBestEffort : Qos::kAllOrNone;
  MVM_ASSIGN(command.user, need_text(from, "user", 64));
  command.administrator = flag_or(from, "administrator");
  command.deadline_ms = std::clamp<std::uint64_t>(number_or(from, "deadline-ms", 30'000), 10, 600'000);
  if (!from.contains("phase")) return command;
  MVM_ASSIGN(command.phase, phase_from(text_or(from, "phase")));
  command.committed = flag_or(from, "committed");
  command.number = number_or(from, "number");
  command.decided = number_or(from, "decided");
  MVM_ASSIGN(auto participants, set_from(from, "participants", kMostMembers));
  command.participants = std::move(participants);
  MVM_ASSIGN(command.unable, map_from(from, "unable", kMostMembers));
  MVM_ASSIGN(command.failed, map_from(from, "failed", kMostMembers));
  MVM_ASSIGN(command.owing, set_from(from, "owing", kMostMembers));
  return command;
}

json to_json(const VmStatus& status) {
  json members = json::array();
  for (const auto& [name, member] : status.members) {
    json one = to_json(member);
    if (!status.late.empty()) one["services"] = services_json(services_of(status, member));
    members.push_back(std::move(one));
  }
  json commands = json::array();
  for (const auto& [id, command] : status.commands) commands.push_back(to_json(command));
  json states = json::object();
  for (const auto& [plugin, keys] : status.states) states[plugin] = map_json(keys);
  return {{"vm", status.vm},
          {"number", status.number},
          {"server", status.server},
          {"term", status.term},
          {"members", std::move(members)},
          {"baseline", map_json(status.baseline)},
          {"commands", std::move(commands)},
          {"states", std::move(states)}};
}

Result<VmStatus> status_from(const json& from) {
  if (!from.is_object()) return Error(ErrorCode::kCorrupt, "status: expected an object");
  VmStatus status;
  MVM_ASSIGN(status.vm, need_text(from, "vm", kLongestVm));
  status.number = number_or(from, "number");
  status.server = text_or(from, "server");
  status.term = number_or(from, "term");
  const json& members = array_or_empty(from, "members");
  const json& commands = array_or_empty(from, "commands");
  const json& states = object_or_empty(from, "states");
  if (members.size() > kMostMembers || commands.size() > kMostMembers || states.size() > kMostStates)
    return Error(ErrorCode::kExhausted, "status: too many members, commands or states");
  for (const json& one : members) {
    MVM_ASSIGN(Member member, member_from(one));
    const std::string name = member.name;
    status.members.emplace(name, std::move(member));
  }
  for (const json& one : commands) {
    MVM_ASSIGN(Command command, command_from(one));
    const std::string id = command.id;
    status.commands.emplace(id, std::move(command));
  }
  MVM_ASSIGN(status.baseline, map_from(from, "baseline", 256));
  for (const auto& [plugin, keys] : states.items()) {
    MVM_ASSIGN(auto pairs, text_map_of(states, plugin.c_str(), kMostStates, kLargestState));
    for (auto& [key, value] : pairs) status.states[plugin].emplace(std::move(key), std::move(value));
  }
  return status;
}

namespace event {

json joined(const Member& member, std::uint64_t as_of) {
  json event{{"event", "joined"}, {"member", to_json(member)}};
  if (as_of != 0) event["as-of"] = as_of;
  return event;
}
json left(const std::string& kernel) { return {{"event", "left"}, {"kernel", kernel}}; }
json lost(const std::string& kernel, const std::string& incarnation, const std::string& why) {
  return {{"event", "lost"}, {"kernel", kernel}, {"incarnation", incarnation}, {"why", why}};
}
json back(const std::string& kernel, const std::string& incarnation) {
  return {{"event", "back"}, {"kernel", kernel}, {"incarnation", incarnation}};
}
json baseline(const Baseline& baseline) { return {{"event", "baseline"}, {"baseline", map_json(baseline)}}; }
json begun(const Command& command) {
  Command fresh = command;
  fresh.phase = Phase::kNew;
  return {{"event", "begun"}, {"command", to_json(fresh)}};
}
json decided(const std::string& id, bool commit, const std::map<std::string, std::string>& unable) {
  return {{"event", "decided"}, {"id", id}, {"commit", commit}, {"unable", map_json(unable)}};
}
json finished(const std::string& id, const std::map<std::string, std::string>& failed,
              const std::set<std::string>& owing) {
  return {{"event", "finished"}, {"id", id}, {"failed", map_json(failed)}, {"owing", owing}};
}
json thread_ended(const std::string& kernel, const std::string& id) {
  return {{"event", "thread-ended"}, {"kernel", kernel}, {"id", id}};
}
json state(const std::string& plugin, const std::string& key, const json& value) {
  return {{"event", "state"}, {"plugin", plugin}, {"key", key}, {"value", value}};
}
json server(const std::string& kernel, std::uint64_t term) {
  return {{"event", "server"}, {"kernel", kernel}, {"term", term}};
}
json voter(const std::string& kernel, std::uint64_t copy, std::uint64_t life) {
  return {{"event", "voter"}, {"kernel", kernel}, {"copy", copy}, {"life", life}};
}

}  // namespace event

}  // namespace mvm::dvm
