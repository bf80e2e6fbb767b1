#include "server.h"

#include <algorithm>

#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::dvm {
namespace {

using nlohmann::json;

constexpr std::size_t kLongestEvent = 600 << 10;  // fits into a command of the log
constexpr std::size_t kFullOutbox = 256 << 10;
constexpr std::size_t kLongestReason = 200;
constexpr auto kAgain = std::chrono::seconds(2);  // what was proposed and not added is proposed again
constexpr std::size_t kKernelsOfABeat = 256;
constexpr auto kEnlist = std::chrono::milliseconds(500);

/// Those of more kernels are longer: what all of them say in a second stays the same.
std::chrono::milliseconds beat_of(std::chrono::milliseconds beat, std::size_t kernels) {
  constexpr std::size_t kLongest = 16;
  return beat * std::clamp<std::size_t>((kernels + kKernelsOfABeat - 1) / kKernelsOfABeat, 1, kLongest);
}

json list_of(const std::map<std::string, std::string>& reasons) {
  json list = json::array();
  for (const auto& [kernel, reason] : reasons) list.push_back({{"kernel", kernel}, {"reason", reason}});
  return list;
}

/// Plug-ins that a kernel is without by decisions that its former process may not have carried out: its
/// record of what it had may have brought them back.
std::set<std::string> unloads_owed(const VmStatus& status, const Member& member) {
  std::set<std::string> plugins;
  for (const auto& [id, command] : status.commands)
    if (command.committed && command.verb == "unload" && command.carried_out_by(member.name) &&
        (command.phase != Phase::kFinished || command.owing.contains(member.name)) &&
        !member.services.contains(command.plugin()))
      plugins.insert(command.plugin());
  return plugins;
}

}  // namespace

json answer_of(const Command& command) {
  const bool aborted =
      command.phase == Phase::kAborted || (command.phase == Phase::kFinished && !command.committed);
  json able = json::array();
  for (const std::string& kernel : command.participants)
    if (!command.unable.contains(kernel)) able.push_back(kernel);
  return {{"id", command.id},
          {"verb", command.verb},
          {"locator", command.locator},
          {"qos", command.qos == Qos::kAllOrNone ? "all-or-none" : "best-effort"},
          {"outcome", aborted ? "aborted" : "committed"},
          {"able", std::move(able)},
          {"unable", list_of(command.unable)},
          {"failed", list_of(command.failed)},
          {"owing", command.owing}};
}

json info_of(const VmStatus& status, const std::string& key) {
  if (key == "members" || key.empty()) {
    json list = json::array();
    for (const auto& [name, member] : status.members)
      list.push_back({{"kernel", name},
                      {"address", member.address},
                      {"state", member.lost ? "lost" : "present"},
                      {"holds-log", member.copy != 0},
                      {"server", name == status.server},
                      {"services", services_of(status, member).size()},
                      {"attributes", member.attributes}});
    return list;
  }
  if (key == "status") return to_json(status);
  if (key == "number") return status.number;
  if (key == "baseline") return status.baseline;
  if (key.starts_with("kernel/")) {
    const auto found = status.members.find(key.substr(7));
    if (found == status.members.end()) return {};
    Member member = found->second;
    member.services = services_of(status, member);
    return to_json(member);
  }
  if (key.starts_with("states/")) {
    const auto states = status.states.find(key.substr(7));
    return states == status.states.end() ? json::object() : json(states->second);
  }
  if (key == "services") {
    json services = json::object();
    for (const auto& [name, member] : status.members)
      for (const auto& [service, one] : services_of(status, member)) services[service].push_back(name);
    return services;
  }
  if (key == "commands") {
    json list = json::array();
    for (const auto& [id, command] : status.commands) {
      json one = answer_of(command);
      one["phase"] = to_string(command.phase);
      list.push_back(std::move(one));
    }
    return list;
  }
  return {};
}

Server::Server(Options options, Hooks hooks, const CrashPoint& crash, std::uint64_t term, Record record)
    : options_(std::move(options)),
      hooks_(std::move(hooks)),
      crash_(crash),
      record_(std::move(record)),
      began_(Clock::now()),
      last_tick_(began_),
      next_enlist_(began_),
      next_silence_(began_),
      beat_(beat_of(options_.beat, record_.status.members.size())),
      former_beat_(beat_) {
  propose(event::server(options_.kernel, term));
  if (record_.status.number == 0) propose(event::baseline(options_.baseline));
  for (const auto& [id, command] : record_.status.commands) start_poll(command);
}

Server::~Server() {
  for (auto& [kernel, session] : sessions_) session.link->close();
}

void Server::propose(const json& event) {
  std::string text = text_of(event);
  if (text.size() > kLongestEvent)
    return log::error("dvm.event-too-long", {{"event", text_or(event, "event")}});
  hooks_.propose(std::move(text));
}

/// False where it was done within the last moments.
bool Server::once(const std::string& what) {
  const auto now = Clock::now();
  auto& last = proposed_[what];
  if (now - last < kAgain) return false;
  last = now;
  return true;
}

bool Server::is_present(const std::string& kernel) const {
  const auto found = record_.status.members.find(kernel);
  return found != record_.status.members.end() && !found->second.lost;
}

// ---- messages
// ----------------------------------------------------------------------------------------------

void Server::take(const Link& link, const json& message) {
  const std::string kind = text_or(message, "t");
  const std::string& kernel = link->peer();
  if (kind == "join") return on_join(link, message);
  const auto found = sessions_.find(kernel);
  if (found == sessions_.end() || found->second.link != link) return link->close();
  Session& session = found->second;
  session.heard = Clock::now();
  if (const auto member = record_.status.members.find(kernel);
      member != record_.status.members.end() && member->second.lost && session.live && once("back " + kernel))
    propose(event::back(kernel, session.incarnation));
  if (kind == "alive") return;
  if (kind == "vote") return on_vote(kernel, message);
  if (kind == "acknowledged") return on_acknowledged(kernel, message);
  if (kind == "command") return on_command(link, message);
  if (kind == "enlisted") return on_enlisted(kernel, message);
  if (kind == "thread-ended")
    return propose(event::thread_ended(kernel, text_or(message, "id").substr(0, 128)));
  if (kind == "request") return on_request(link, message);
  if (kind == "resync") {
    session.whole = true;
    begin_session(kernel, session);
  }
}

void Server::on_join(const Link& link, const json& message) {
  const auto reject = [&](const std::string& verdict, const std::vector<std::string>& reasons) {
    link->send({{"t", verdict}, {"reasons", reasons}});
    link->close_when_sent();
  };
  auto member = member_from(object_or_empty(message, "member"));
  if (!member || member->name != link->peer())
    return reject("rejected",
                  {member ? "the kernel's name is not the one it has proved" : member.error().message()});
  const auto known = record_.status.members.find(member->name);
  const bool same = known != record_.status.members.end() && known->second.incarnation == member->incarnation;
  const auto other = sessions_.find(member->name);
  if (other != sessions_.end() && other->second.link != link && !same &&
      Clock::now() - other->second.heard < 2 * beat_)
    return reject("wait", {"a kernel of this name is here"});
  if (const auto reasons = check_baseline(record_.status.baseline, *member); !reasons.empty()) {
    log::info("dvm.rejected", {{"kernel", member->name}, {"reason", reasons.front()}});
    return reject("rejected", reasons);
  }
  if (known == record_.status.members.end() && record_.status.members.size() >= kMostMembers)
    return reject("rejected", {"the machine has " + std::to_string(kMostMembers) + " kernels"});
  catch_up(record_.status);
  Session session{.link = link, .incarnation = member->incarnation, .heard = Clock::now()};
  session.everything = !message.contains("follow");
  if (auto services = texts_of(message, "follow", 256, 300))
    session.services = {services->begin(), services->end()};
  session.asked_from = number_or(message, "number");
  session.whole = session.asked_from == 0 || !same;
  if (other != sessions_.end() && other->second.link != link) other->second.link->close();
  const std::uint64_t restored_at = number_or(message, "as-of");  // 0: not yet
  // The status kept for a kernel that crashed is offered, and the new one is what counts. [000 §2.2]
  if (known != record_.status.members.end() && !same && restored_at == 0) {
    sessions_.erase(member->name);
    sessions_.emplace(member->name, session);
    link->send({{"t", "restore"},
                {"member", to_json(known->second)},
                {"unload", unloads_owed(record_.status, known->second)},
                {"number", record_.status.number}});
    return;
  }
  const std::string name = member->name;
  sessions_.erase(name);
  Session& there = sessions_.emplace(name, std::move(session)).first->second;
  if (same && !known->second.lost) return begin_session(name, there);
  propose(same ? event::back(name, member->incarnation) : event::joined(*member, restored_at));
}

void Server::on_vote(const std::string& kernel, const json& message) {
  const std::string id = text_or(message, "id");
  const auto poll = polls_.find(id);
  if (poll == polls_.end() || poll->second.missing.erase(kernel) == 0) return;
  if (flag_or(message, "able"))
    ++poll->second.able;
  else
    poll->second.unable[kernel] = text_or(message, "reason", "no reason given").substr(0, kLongestReason);
  look_at(id);
}

void Server::on_acknowledged(const std::string& kernel, const json& message) {
  const std::string id = text_or(message, "id");
  const auto command = record_.status.commands.find(id);
  if (command == record_.status.commands.end()) return;
  const std::string reason = text_or(message, "failed").substr(0, kLongestReason);
  if (command->second.phase == Phase::kFinished) {
    if (!command->second.owing.contains(kernel)) return;
    std::set<std::string> owing = command->second.owing;
    owing.erase(kernel);
    propose(event::finished(id,
                            reason.empty() ? std::map<std::string, std::string>{}
                                           : std::map<std::string, std::string>{{kernel, reason}},
                            owing));
    return;
  }
  const auto poll = polls_.find(id);
  if (poll == polls_.end()) return;
  poll->second.awaited.erase(kernel);
  poll->second.owing.erase(kernel);
  if (!reason.empty() && command->second.carried_out_by(kernel)) poll->second.failed[kernel] = reason;
  look_at(id);
}

/// A command that is known already is not begun again; its answer is sent to whoever asks last.
void Server::on_command(const Link& link, const json& message) {
  auto command = command_from(object_or_empty(message, "command"));
  if (!command)
    return link->send({{"t", "refused"},
                       {"id", text_or(object_or_empty(message, "command"), "id")},
                       {"reason", command.error().message()}});
  if (text_of(to_json(*command)).size() > kLongestEvent / 2)
    return link->send({{"t", "refused"}, {"id", command->id}, {"reason", "the command is too long"}});
  if (!command->id.starts_with(link->peer() + ".")) return link->close();
  const auto known = record_.status.commands.find(command->id);
  if (known != record_.status.commands.end() && known->second.phase == Phase::kFinished)
    return link->send({{"t", "answer"}, {"id", command->id}, {"answer", answer_of(known->second)}});
  polls_[command->id].askers.push_back({link, command->id});
  if (known == record_.status.commands.end() && once("command " + command->id))
    propose(event::begun(*command));
}

void Server::reply(const Link& link, const std::string& question, const json& answer) {
  json message = {{"t", "reply"}, {"question", question}};
  message.update(answer);
  link->send(message);
}

void Server::on_request(const Link& link, const json& message) {
  const std::string question = text_or(message, "question");
  const std::string what = text_or(message, "what");
  const auto after = [&](const json& event) {
    std::string text = text_of(event);
    if (text.size() > kLongestEvent) return reply(link, question, {{"refused", "it is too long"}});
    waits_[text].push_back({link, question});
    hooks_.propose(std::move(text));
  };
  const auto refuse = [&](const std::string& why) { reply(link, question, {{"refused", why}}); };
  if (what == "leave") return after(event::left(link->peer()));
  if (what == "remove") {
    const std::string kernel = text_or(message, "kernel");
    if (!record_.status.members.contains(kernel))
      return refuse("no kernel " + kernel.substr(0, 40) + " belongs to the machine");
    return after(event::left(kernel));
  }
  if (what == "halt") {
    for (auto& [kernel, session] : sessions_) session.link->send({{"t", "halt"}});
    return;
  }
  if (what == "baseline") {
    Baseline baseline;
    if (auto pairs = text_map_of(message, "baseline", 256, 64))
      baseline.insert(pairs->begin(), pairs->end());
    else
      return refuse(pairs.error().message());
    return after(event::baseline(baseline));
  }
  if (what == "state") {
    const std::string plugin = text_or(message, "plugin");
    if (plugin.empty() || plugin.size() > 300 || text_or(message, "key").empty())
      return refuse("state: expected a plug-in's name and a key");
    const auto value = message.find("value");
    if (value != message.end() && value->is_string() &&
        value->get_ref<const std::string&>().size() > kLargestState)
      return refuse("state: a value is at most " + std::to_string(kLargestState) + " bytes");
    return after(event::state(plugin, text_or(message, "key"), value == message.end() ? json() : *value));
  }
  if (what == "info")
    return reply(link, question, {{"info", info_of(record_.status, text_or(message, "key"))}});
  if (what == "follow") {
    const auto found = sessions_.find(link->peer());
    auto services = texts_of(message, "services", 256, 300);
    if (!services) return refuse(services.error().message());
    found->second.everything = flag_or(message, "everything");
    found->second.services = {services->begin(), services->end()};
    reply(link, question, json::object());
    found->second.whole = true;
    return begin_session(found->first, found->second);
  }
  refuse("the status server knows no request \"" + what.substr(0, 40) + "\"");
}

void Server::on_enlisted(const std::string& kernel, const json& message) {
  const auto session = sessions_.find(kernel);
  const auto member = record_.status.members.find(kernel);
  if (session == sessions_.end() || member == record_.status.members.end()) return;
  const std::uint64_t copy = number_or(message, "copy");
  const std::uint64_t life = number_or(message, "life");
  if (copy != member->second.copy || life != member->second.life) propose(event::voter(kernel, copy, life));
}

void Server::closed(const Link& link, const std::string& why) {
  const auto found = sessions_.find(link->peer());
  if (found == sessions_.end() || found->second.link != link) return;
  const std::string kernel = found->first;
  const std::string incarnation = found->second.incarnation;
  sessions_.erase(found);
  const auto member = record_.status.members.find(kernel);
  if (member == record_.status.members.end() || member->second.lost) return;
  proposed_["lost " + kernel] = Clock::now();
  propose(event::lost(kernel, incarnation, why));
  hooks_.suspect(kernel, member->second.address);
}

void Server::dead(const std::string& kernel, const std::string& incarnation) {
  const auto member = record_.status.members.find(kernel);
  if (member == record_.status.members.end() || member->second.incarnation != incarnation) return;
  if (!member->second.lost && once("lost " + kernel)) propose(event::lost(kernel, incarnation, "it is dead"));
  if (member->second.copy != 0 && once("no voter " + kernel)) propose(event::voter(kernel, 0, 0));
}

// ---- events
// ------------------------------------------------------------------------------------------------

void Server::added(const std::string& text) {
  const Recorded* recorded = record_.apply(text);
  if (const auto found = waits_.find(text); found != waits_.end()) {
    for (const Question& question : found->second)
      if (const Link link = question.link.lock())
        reply(link, question.id, {{"changed", recorded != nullptr}});
    waits_.erase(found);
  }
  auto parsed = parse_json(text);
  if (recorded == nullptr || !parsed) return;
  const json& event = *parsed;
  const std::string kind = text_or(event, "event");
  const std::string id = text_or(event, "id");
  const auto command =
      record_.status.commands.find(kind == "begun" ? text_or(object_or_empty(event, "command"), "id") : id);
  const bool prepares = kind == "begun";
  const bool tells = kind == "decided";
  if (prepares) crash_.pass(to_string(Effect::kPrepare), "before");
  if (tells) crash_.pass(to_string(Effect::kTell), "before");
  if (kind == "joined" || kind == "back") {
    const std::string kernel =
        kind == "back" ? text_or(event, "kernel") : text_or(object_or_empty(event, "member"), "name");
    proposed_.erase("lost " + kernel);
    publish(*recorded);
    on_again(kernel);
    return;
  }
  publish(*recorded);
  if (prepares) crash_.pass(to_string(Effect::kPrepare), "after");
  if (tells) crash_.pass(to_string(Effect::kTell), "after");
  if (kind == "lost" || kind == "left") {
    const std::string kernel = text_or(event, "kernel");
    proposed_.erase("back " + kernel);
    if (kind == "left")
      if (const auto session = sessions_.find(kernel); session != sessions_.end())
        session->second.link->send({{"t", "removed"}});
    log::info("dvm." + kind, {{"kernel", kernel}, {"why", text_or(event, "why")}});
    on_gone(kernel);
  } else if (prepares && command != record_.status.commands.end()) {
    start_poll(command->second);
    look_at(command->first);
  } else if (tells && command != record_.status.commands.end()) {
    await_decision(command->second, polls_[id]);
    look_at(id);
  } else if (kind == "finished" && command != record_.status.commands.end()) {
    polls_.erase(id);
  }
}

bool Server::follows(const std::string& kernel, const Session& session, const Effects& effects) const {
  if (effects.membership || session.everything || effects.kernels.contains(kernel)) return true;
  return std::any_of(effects.services.begin(), effects.services.end(),
                     [&](const std::string& service) { return session.services.contains(service); });
}

void Server::publish(const Recorded& recorded) {
  // Kernels come by the hundred when a machine starts: their coming is told with the next beat.
  // Nor does anybody wait for the end of a command that went well: it goes with what comes next.
  const bool patient = recorded.effects.membership
                           ? recorded.text->find("\"event\":\"joined\"") != std::string::npos
                           : recorded.effects.kernels.size() == 0 &&
                                 recorded.text->find("\"event\":\"finished\"") != std::string::npos;
  for (auto& [kernel, session] : sessions_) {
    if (!session.live || !follows(kernel, session, recorded.effects)) continue;
    append(session, recorded);
    if (!patient) flush(session);
  }
}

void Server::append(Session& session, const Recorded& recorded) {
  if (session.outbox.size() + recorded.text->size() > kFullOutbox) flush(session);
  session.outbox += session.outbox.empty() ? "[" : ",[";
  session.outbox +=
      std::to_string(recorded.number) + "," + std::to_string(session.sent) + "," + *recorded.text + "]";
  session.sent = recorded.number;
}

void Server::flush(Session& session) {
  if (session.outbox.empty()) return;
  session.link->send_text(R"({"t":"events","list":[)" + session.outbox + "]}");
  session.outbox.clear();
}

/// What the kernel follows, and all about itself.
std::string Server::status_for(const std::string& kernel, const Session& session) {
  if (session.everything) {
    if (cached_number_ != record_.status.number || cached_.empty()) {
      cached_ = text_of(to_json(record_.status));
      cached_number_ = record_.status.number;
    }
    return cached_;
  }
  catch_up(record_.status);
  VmStatus status = record_.status;
  for (auto& [name, member] : status.members) {
    if (name == kernel) continue;
    std::erase_if(member.services, [&](const auto& one) { return !session.services.contains(one.first); });
    std::erase_if(member.threads,
                  [&](const auto& one) { return !session.services.contains(one.second.plugin); });
  }
  std::erase_if(status.commands, [&](const auto& one) {
    return !one.second.concerns(kernel) && !session.services.contains(one.second.plugin());
  });
  std::erase_if(status.states, [&](const auto& one) { return !session.services.contains(one.first); });
  return text_of(to_json(status));
}

void Server::begin_session(const std::string& kernel, Session& session) {
  session.outbox.clear();
  session.live = true;
  session.link->send({{"t", "accepted"},
                      {"server", options_.kernel},
                      {"term", record_.status.term},
                      {"beat-ms", beat_.count()}});
  const auto& recent = record_.recent;
  const bool near = !recent.empty() && session.asked_from + 1 >= recent.front().number &&
                    session.asked_from <= record_.status.number;
  if (!session.whole && (near || session.asked_from == record_.status.number)) {
    session.sent = session.asked_from;
    for (const Recorded& recorded : recent)
      if (recorded.number > session.asked_from && follows(kernel, session, recorded.effects))
        append(session, recorded);
    flush(session);
    session.link->send({{"t", "current"}});
    return;
  }
  session.link->send_text(R"({"t":"status","status":)" + status_for(kernel, session) + "}");
  session.sent = record_.status.number;
  session.asked_from = record_.status.number;
}

/// A kernel is lost or has left.
void Server::on_gone(const std::string& kernel) {
  std::vector<std::string> changed;
  for (auto& [id, poll] : polls_) {
    const auto command = record_.status.commands.find(id);
    if (command == record_.status.commands.end() || !command->second.concerns(kernel)) continue;
    if (command->second.phase == Phase::kPreparing) {
      if (poll.missing.erase(kernel) == 0 && !poll.unable.contains(kernel)) --poll.able;
      poll.unable[kernel] = "it is lost";
      changed.push_back(id);
    } else if (poll.awaited.erase(kernel) > 0) {
      poll.owing.insert(kernel);
      changed.push_back(id);
    }
  }
  for (const std::string& id : changed) look_at(id);
}

/// A kernel is there, for the first time or again: it is told how things stand and answers anew.
void Server::on_again(const std::string& kernel) {
  for (auto& [id, poll] : polls_) {
    const auto command = record_.status.commands.find(id);
    if (command == record_.status.commands.end() || !command->second.concerns(kernel)) continue;
    if (command->second.phase == Phase::kPreparing) {
      if (poll.missing.insert(kernel).second && poll.unable.erase(kernel) == 0) --poll.able;
    } else if (poll.owing.erase(kernel) > 0) {
      poll.awaited.insert(kernel);
    }
  }
  const auto session = sessions_.find(kernel);
  if (session != sessions_.end() && !session->second.live) begin_session(kernel, session->second);
}

// ---- commands
// ----------------------------------------------------------------------------------------------

void Server::start_poll(const Command& command) {
  if (command.phase == Phase::kFinished) return;
  Poll& poll = polls_[command.id];
  poll.deadline = Clock::now() + std::chrono::milliseconds(command.deadline_ms);
  poll.missing.clear();
  poll.unable.clear();
  poll.able = 0;
  for (const std::string& kernel : command.participants)
    if (record_.status.members.contains(kernel) && is_present(kernel))
      poll.missing.insert(kernel);
    else
      poll.unable[kernel] = record_.status.members.contains(kernel) ? "it is lost" : "no such kernel";
  if (command.phase != Phase::kPreparing) await_decision(command, poll);
}

void Server::await_decision(const Command& command, Poll& poll) {
  poll.awaited.clear();
  poll.owing.clear();
  poll.proposed = {};
  for (const std::string& kernel : command.participants) {
    if (command.unable.contains(kernel)) continue;
    if (is_present(kernel))
      poll.awaited.insert(kernel);
    else if (command.phase == Phase::kCommitted)
      poll.owing.insert(kernel);
  }
}

void Server::look_at(const std::string& id) {
  const auto command = record_.status.commands.find(id);
  const auto poll = polls_.find(id);
  if (command == record_.status.commands.end() || poll == polls_.end()) return;
  const auto now = Clock::now();
  if (command->second.phase == Phase::kPreparing) {
    const Outcome found = outcome(command->second.qos, {.asked = command->second.participants.size(),
                                                        .able = poll->second.able,
                                                        .unable = poll->second.unable.size(),
                                                        .late = now >= poll->second.deadline});
    if (!found.certain || now - poll->second.proposed < kAgain) return;
    poll->second.proposed = now;
    const Step* step = commit_step(Phase::kPreparing, found.happening);
    carry_out(command->second, {step->effects.data(), step->count});
  } else if (command->second.phase != Phase::kFinished && poll->second.awaited.empty()) {
    if (now - poll->second.proposed < kAgain) return;
    poll->second.proposed = now;
    const Step* step = commit_step(command->second.phase, Happening::kAcknowledged);
    carry_out(command->second, {step->effects.data(), step->count});
  }
}

void Server::carry_out(const Command& command, std::span<const Effect> effects) {
  Poll& poll = polls_[command.id];
  for (const Effect effect : effects) {
    crash_.pass(to_string(effect), "before");
    if (effect == Effect::kDecideCommit || effect == Effect::kDecideAbort) {
      for (const std::string& kernel : poll.missing)
        poll.unable[kernel] = "no answer within " + std::to_string(command.deadline_ms) + " ms";
      if (poll.unable.size() > 2000)  // the event has to fit
        for (auto& [kernel, reason] : poll.unable) reason.resize(std::min<std::size_t>(reason.size(), 20));
      propose(event::decided(command.id, effect == Effect::kDecideCommit, poll.unable));
    } else if (effect == Effect::kAnswer) {
      answer(command, poll);
    } else if (effect == Effect::kFinish) {
      propose(event::finished(command.id, poll.failed, poll.owing));
    }
    crash_.pass(to_string(effect), "after");
  }
}

void Server::answer(const Command& command, Poll& poll) {
  if (poll.askers.empty()) return;
  Command decided = command;
  decided.failed = poll.failed;
  decided.owing = poll.owing;
  const std::string text = text_of({{"t", "answer"}, {"id", command.id}, {"answer", answer_of(decided)}});
  for (const Question& question : poll.askers)
    if (const Link link = question.link.lock()) link->send_text(text);
  poll.askers.clear();
}

// ---- time
// --------------------------------------------------------------------------------------------------

void Server::tick(Clock::time_point now) {
  // Whoever was stopped himself has not heard others.
  const bool stopped = now - last_tick_ > options_.beat;
  last_tick_ = now;
  set_beat(now);
  const bool beats = now >= next_beat_;
  if (beats) next_beat_ = now + 4 * beat_;
  const std::string word = R"({"t":"beat","ms":)" + std::to_string(beat_.count()) + "}";
  for (auto& [kernel, session] : sessions_) {
    if (stopped) session.heard = std::max(session.heard, now - beat_);
    flush(session);
    if (beats) session.link->send_text(word);
  }
  if (!stopped) watch_kernels(now);
  std::vector<std::string> ids;
  for (const auto& [id, poll] : polls_) ids.push_back(id);
  for (const std::string& id : ids) look_at(id);
  if (now >= next_enlist_) {
    next_enlist_ = now + kEnlist;
    enlist();
    std::erase_if(proposed_, [&](const auto& one) { return now - one.second > 2 * kAgain; });
    // Commands that were asked for and never came on record belong to whoever asks again.
    std::erase_if(polls_, [&](const auto& one) {
      return !record_.status.commands.contains(one.first) &&
             std::all_of(one.second.askers.begin(), one.second.askers.end(),
                         [](const Question& question) { return question.link.expired(); });
    });
  }
}

void Server::set_beat(Clock::time_point now) {
  const auto beat = beat_of(options_.beat, record_.status.members.size());
  if (beat == beat_) return;
  former_beat_ = beat_;
  beat_ = beat;
  beat_known_ = now + 2 * std::max(beat_, former_beat_);
  next_beat_ = now;
}

/// All have to know of it within two beats of the silent one's last word: the end of them is for telling.
void Server::watch_kernels(Clock::time_point now) {
  // A new server waits for kernels to find it; a thousand need longer than two.
  const auto grace =
      std::max<Clock::duration>(4 * beat_, std::chrono::milliseconds(10) * record_.status.members.size());
  const auto beat = now < beat_known_ ? std::max(beat_, former_beat_) : beat_;
  const Clock::duration patience = 2 * beat - beat / 8;
  next_silence_ = now + patience;
  auto session = sessions_.cbegin();
  for (const auto& [name, member] : record_.status.members) {
    if (member.lost) continue;
    while (session != sessions_.cend() && session->first < name) ++session;
    const bool connected = session != sessions_.cend() && session->first == name;
    const auto until = connected ? session->second.heard + patience : began_ + grace;
    if (now < until) {
      next_silence_ = std::min(next_silence_, until);
      continue;
    }
    if (!once("lost " + name)) continue;
    propose(event::lost(name, member.incarnation, connected ? "silent for two beats" : "not there"));
    hooks_.suspect(name, member.address);
  }
}

/// Keeps as many copies of the log as asked for.
void Server::enlist() {
  std::size_t voters = 0;
  for (const auto& [name, member] : record_.status.members) {
    if (member.copy == 0) continue;
    if (!member.lost) ++voters;
    if (!sessions_.contains(name)) hooks_.suspect(name, member.address);
  }
  for (auto& [name, session] : sessions_) {
    if (voters >= options_.voters) return;
    const auto member = record_.status.members.find(name);
    if (!session.live || member == record_.status.members.end() || member->second.lost ||
        member->second.copy != 0)
      continue;
    ++voters;
    if (!once("enlist " + name)) continue;
    session.link->send({{"t", "enlist"}, {"contacts", hooks_.log_contacts()}});
  }
}

}  // namespace mvm::dvm
