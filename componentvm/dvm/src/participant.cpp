#include "participant.h"

#include <fcntl.h>

#include <algorithm>

#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::dvm {
namespace {

using nlohmann::json;

constexpr std::size_t kLongestJournal = 4 << 20;
constexpr std::size_t kKeptLines = 4096;
constexpr std::uint64_t kHoldMs = 600'000;

json operation_of(const Command& command) {
  const std::string plugin = command.plugin();
  if (command.verb == "load") return {{"op", "kernel.load"}, {"args", {{"plugins", {command.locator}}}}};
  if (command.verb == "unload") return {{"op", "kernel.unload"}, {"args", {{"plugin", plugin}}}};
  if (command.verb == "run")
    return {{"op", "kernel.run"},
            {"args",
             {{"plugin", plugin},
              {"run", command.id},
              {"arguments", command.arguments},
              {"notify", "dvm.run-ended"}}}};
  if (!command.arguments.empty())
    return {{"op", "kernel.stop"}, {"args", {{"run", command.arguments.front()}}}};
  return {{"op", "kernel.stop"}, {"args", {{"plugin", plugin}}}};
}

Result<json> prepare_by(const Participant::Hooks& hooks, const std::string& transaction,
                        const json& operation) {
  return hooks.call("kernel.prepare", {{"transaction", transaction},
                                       {"op", operation["op"]},
                                       {"args", operation["args"]},
                                       {"hold_ms", kHoldMs}});
}

/// What was held too long, or by a process that is gone, is prepared anew: the decision stands.
Result<json> commit_by(const Participant::Hooks& hooks, const std::string& id, const json& operation) {
  auto done = hooks.call("kernel.commit", {{"transaction", id}});
  if (done || done.error().code() != ErrorCode::kNotFound) return done;
  const std::string again = id + ".again";
  auto prepared = prepare_by(hooks, again, operation);
  if (!prepared) {
    // What went with the process that held it is gone, as it was to be.
    const bool ends = operation["op"] == "kernel.unload" || operation["op"] == "kernel.stop";
    if (ends && prepared.error().code() == ErrorCode::kNotFound) return json::object();
    return prepared;
  }
  return hooks.call("kernel.commit", {{"transaction", again}});
}

}  // namespace

Participant::Participant(Options options, Hooks hooks, const CrashPoint& crash)
    : options_(std::move(options)), hooks_(std::move(hooks)), crash_(crash) {}

Result<std::unique_ptr<Participant>> Participant::open(Options options, Hooks hooks,
                                                       const CrashPoint& crash) {
  std::unique_ptr<Participant> participant(new Participant(std::move(options), std::move(hooks), crash));
  MVM_TRY(participant->read_journal());
  return participant;
}

/// Lines "ID begun", of runs: what else was begun may be done again. What a crash cut off is no line.
Status Participant::read_journal() {
  std::vector<std::pair<std::string, std::string>> lines;
  if (auto text = read_file(options_.journal, 2 * kLongestJournal)) {
    std::string_view rest = *text;
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      const std::string_view line = rest.substr(0, end);
      const std::size_t space = line.find(' ');
      if (space != std::string_view::npos && space <= 128)
        lines.emplace_back(line.substr(0, space), line.substr(space + 1));
      rest.remove_prefix(end + 1);
    }
  }
  if (lines.size() > kKeptLines) lines.erase(lines.begin(), lines.end() - kKeptLines);
  std::string kept;
  for (const auto& [id, step] : lines) {
    former_[id] = step;
    kept += id + " " + step + "\n";
  }
  MVM_TRY(write_file_durably(options_.journal, kept, 0600));
  journal_ = UniqueFd(::open(options_.journal.c_str(),
                             O_WRONLY | O_APPEND | O_CLOEXEC));  // NOLINT(cppcoreguidelines-pro-type-vararg)
  if (!journal_) return Error(ErrorCode::kIo, "open " + options_.journal.string());
  return ok();
}

/// Survives this process. The decision itself is in the machine's log: a power cut takes the loaded plug-ins
/// away with the note.
void Participant::note(const std::string& id, const char* step) {
  if (Status written = write_all(journal_.get(), id + " " + step + "\n"); !written)
    log::warning("dvm.journal", {{"reason", written.error().message()}});
}

void Participant::look_at_all(const VmStatus& status) {
  // Decisions in their order: of two about one plug-in the last one counts.
  std::vector<const Command*> ours;
  for (const auto& [id, command] : status.commands)
    if (command.concerns(options_.kernel)) ours.push_back(&command);
  std::sort(ours.begin(), ours.end(), [](const Command* a, const Command* b) {
    return std::pair(a->decided == 0, a->decided) < std::pair(b->decided == 0, b->decided);
  });
  for (const Command* command : ours) look_at(*command);
  // What the status does not remember was not decided with us.
  std::vector<std::string> unknown;
  for (const auto& [id, work] : works_)
    if (!status.commands.contains(id)) unknown.push_back(id);
  for (const std::string& id : unknown)
    if (works_[id].state == State::kAble)
      undo(id);
    else if (works_[id].state != State::kPreparing && works_[id].state != State::kCarrying)
      works_.erase(id);
}

void Participant::look_at(const Command& command) {
  const auto found = works_.find(command.id);
  const bool known = found != works_.end();
  if (command.phase == Phase::kPreparing) {
    if (!known)
      prepare(command);
    else if (found->second.state == State::kAble || found->second.state == State::kUnable)
      vote(command.id);
    return;
  }
  const bool owed = command.phase != Phase::kFinished || command.owing.contains(options_.kernel);
  if (known && found->second.state == State::kDone) {
    if (owed) return acknowledge(command.id);
    works_.erase(found);
    return;
  }
  if (known && (found->second.state == State::kPreparing || found->second.state == State::kCarrying ||
                found->second.state == State::kUndoing))
    return;  // it looks again when it is through
  if (command.committed && command.carried_out_by(options_.kernel)) {
    if (owed) carry_out(command);
    return;
  }
  if (known && found->second.state == State::kAble) return undo(command.id);
  if (!owed) {
    works_.erase(command.id);
    return;
  }
  works_[command.id] = {State::kDone, {}};
  acknowledge(command.id);
}

std::string Participant::why_not(const Command& command) const {
  const std::string plugin = command.plugin();
  if (command.verb == "load" &&
      std::find(options_.unwilling.begin(), options_.unwilling.end(), plugin) != options_.unwilling.end())
    return "unwilling: the owner of this kernel does not want plug-in " + plugin;
  if (command.verb == "unload" && plugin == "dvm")
    return "unwilling: plug-in dvm is a core service: without it the kernel leaves the machine (leave)";
  if (command.verb == "load" || command.verb == "unload")
    for (const auto& [id, work] : works_)
      if (id != command.id && work.changing == plugin)
        return "plug-in " + plugin + " is held for command " + id;
  const Member* self = hooks_.self();
  if (self == nullptr || command.administrator || command.verb == "load") return {};
  if (command.verb == "stop" && !command.arguments.empty()) {
    const auto thread = self->threads.find(command.arguments.front());
    if (thread != self->threads.end() && thread->second.user != command.user)
      return "unwilling: thread " + thread->first + " is of user " + thread->second.user;
    return {};
  }
  const auto service = self->services.find(plugin);
  if (service == self->services.end() || service->second.owner == command.user) return {};
  if (command.verb == "unload")
    return "unwilling: plug-in " + plugin + " was loaded by " +
           (service->second.owner.empty() ? "the kernel itself" : "user " + service->second.owner);
  if (service->second.sharing == "owners")
    return "unwilling: plug-in " + plugin + " is not shared by user " + service->second.owner;
  return {};
}

void Participant::prepare(const Command& command) {
  Work& work = works_[command.id];
  const std::string id = command.id;
  if (std::string reason = why_not(command); !reason.empty()) {
    work = {State::kUnable, std::move(reason)};
    return vote(id);
  }
  if (command.verb == "load" || command.verb == "unload") work.changing = command.plugin();
  if (const Member* self = hooks_.self(); self != nullptr && command.verb == "load") {
    // Once for the machine, however often it is loaded: one unload takes it away.
    const auto service = self->services.find(work.changing);
    if (service != self->services.end() && !service->second.locator.empty()) {
      work.state = State::kAble;
      work.nothing = true;
      return vote(id);
    }
  }
  const json operation = operation_of(command);
  if (command.verb != "load" && command.verb != "run") {  // a reservation, made at once
    crash_.pass("hold", "before");
    auto held = prepare_by(hooks_, id, operation);
    return prepared(id, held ? std::string() : held.error().describe());
  }
  hooks_.work([this, id, operation] {
    crash_.pass("hold", "before");
    auto held = prepare_by(hooks_, id, operation);
    hooks_.post(
        [this, id, reason = held ? std::string() : held.error().describe()] { prepared(id, reason); });
  });
}

void Participant::prepared(const std::string& id, const std::string& reason) {
  Work& done = works_[id];
  done.state = reason.empty() ? State::kAble : State::kUnable;
  done.reason = reason;
  if (!reason.empty()) done.changing.clear();
  crash_.pass("hold", "after");
  if (const Command* now = hooks_.find(id))
    look_at(*now);
  else if (done.state == State::kAble)
    undo(id);
}

void Participant::vote(const std::string& id) {
  const Work& work = works_[id];
  crash_.pass("vote", "before");
  hooks_.send({{"t", "vote"}, {"id", id}, {"able", work.state == State::kAble}, {"reason", work.reason}});
  crash_.pass("vote", "after");
}

void Participant::carry_out(const Command& command) {
  const std::string id = command.id;
  const auto former = former_.find(id);
  if (command.verb == "run" && former != former_.end()) {
    works_[id].state = State::kCarrying;
    return done(id, "the kernel ended while it was running");
  }
  Work& work = works_[id];
  work.state = State::kCarrying;
  if (command.verb == "load" || command.verb == "unload") work.changing = command.plugin();
  if (work.nothing) return done(id, {});
  // The status that was restored is what all decisions before it come to: one alone may be outdated.
  if (!work.changing.empty() && command.decided <= restored_at_) {
    const auto failed = not_restored_.find(command.verb + " " + work.changing);
    return done(id, failed == not_restored_.end() ? "" : failed->second);
  }
  if (command.verb == "run") note(id, "begun");
  if (command.verb == "load") {  // it is there already: nothing of this takes time
    crash_.pass("carry-out", "before");
    auto carried = hooks_.call("kernel.commit", {{"transaction", id}});
    if (carried || carried.error().code() != ErrorCode::kNotFound) {
      crash_.pass("carry-out", "after");
      return done(id, carried ? std::string() : carried.error().describe());
    }
  }
  hooks_.work([this, id, operation = operation_of(command)] {
    crash_.pass("carry-out", "before");
    const auto carried = commit_by(hooks_, id, operation);
    crash_.pass("carry-out", "after");
    hooks_.post(
        [this, id, reason = carried ? std::string() : carried.error().describe()] { done(id, reason); });
  });
}

void Participant::done(const std::string& id, std::string reason) {
  if (!reason.empty()) log::warning("dvm.failed", {{"command", id}, {"reason", reason}});
  works_[id] = {State::kDone, std::move(reason)};
  if (const Command* now = hooks_.find(id)) look_at(*now);
}

void Participant::undo(const std::string& id) {
  works_[id].state = State::kUndoing;
  if (works_[id].nothing) {
    works_[id] = {State::kDone, {}};
    if (const Command* now = hooks_.find(id)) look_at(*now);
    return;
  }
  hooks_.work([this, id] {
    (void)hooks_.call("kernel.abort", {{"transaction", id}});
    hooks_.post([this, id] {
      works_[id] = {State::kDone, {}};
      if (const Command* now = hooks_.find(id))
        look_at(*now);
      else
        works_.erase(id);
    });
  });
}

void Participant::acknowledge(const std::string& id) {
  crash_.pass("acknowledge", "before");
  json message = {{"t", "acknowledged"}, {"id", id}};
  if (const std::string& reason = works_[id].reason; !reason.empty()) message["failed"] = reason;
  hooks_.send(message);
  crash_.pass("acknowledge", "after");
}

void Participant::restored(std::map<std::string, std::string> failed, std::uint64_t number) {
  not_restored_ = std::move(failed);
  restored_at_ = number;
}

}  // namespace mvm::dvm
