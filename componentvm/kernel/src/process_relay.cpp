#include "process_relay.h"

#include <algorithm>
#include <set>

#include "mvm/base/assert.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "spool.h"

namespace mvm::kernel {
namespace {

constexpr std::size_t kOutputPiece = 64 << 10;
constexpr std::size_t kMaxPending = 256;  // events not acknowledged; beyond that output stays in the spool
constexpr std::chrono::milliseconds kJournalFull{500};

ProcessInfo info_from(const nlohmann::json& object) {
  ProcessInfo info;
  info.id = text_or(object, "id");
  info.owner = text_or(object, "owner");
  info.group = text_or(object, "group");
  info.pid = static_cast<long>(number_or(object, "pid"));
  info.state = text_or(object, "state") == "exited" ? ProcessState::kExited : ProcessState::kRunning;
  info.code = static_cast<int>(number_or(object, "code"));
  info.signal = static_cast<int>(number_or(object, "signal"));
  info.reason = text_or(object, "reason");
  info.wall_ms = number_or(object, "wall_ms");
  info.user_ms = number_or(object, "user_ms");
  info.system_ms = number_or(object, "system_ms");
  info.max_rss = number_or(object, "max_rss");
  info.memo = object_or_empty(object, "memo");
  return info;
}

nlohmann::json limits_to_json(const ProcessLimits& limits) {
  return {{"wall_ms", limits.wall_ms},     {"cpu_s", limits.cpu_s},
          {"memory", limits.memory},       {"processes", limits.processes},
          {"file_size", limits.file_size}, {"open_files", limits.open_files}};
}

/// The spool part's name holds process and stream: neither has a space.
std::string part_id(const std::string& process, const std::string& stream) { return process + " " + stream; }

std::pair<std::string, std::string> split_part(const std::string& id) {
  const std::size_t space = id.rfind(' ');
  if (space == std::string::npos) return {id, "out"};
  return {id.substr(0, space), id.substr(space + 1)};
}

std::string exit_mark(const std::string& id) { return "exit " + id; }

}  // namespace

ProcessRelay::ProcessRelay(LauncherClient& launcher, std::filesystem::path run, Submit submit)
    : launcher_(launcher), run_(std::move(run)), submit_(std::move(submit)) {}

ProcessRelay::~ProcessRelay() { stop(); }

Status ProcessRelay::start(channel::KernelEnd& channel) {
  channel_ = &channel;
  MVM_TRY(recover(channel.recovered()));
  thread_ = std::thread([this] { tell_all(); });
  return ok();
}

void ProcessRelay::stop() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

/// After a restart: what the launcher acknowledged and what the journal holds was told; the rest was not.
Status ProcessRelay::recover(const std::vector<channel::PendingEvent>& recovered) {
  std::string after;
  for (bool more = true; more;) {
    MVM_ASSIGN(const Frame page, launcher_.ask("list", {{"after", after}}));
    const std::lock_guard lock(mutex_);
    for (const nlohmann::json& info : array_or_empty(page.head, "processes")) {
      learn(info);
      after = text_or(info, "id");
    }
    more = flag_or(page.head, "more");
  }
  std::set<std::string> ends;
  {
    const std::lock_guard lock(mutex_);
    for (const channel::PendingEvent& event : recovered) {
      if (event.mark.starts_with("exit ")) ends.insert(event.mark.substr(5));
      if (!event.spool) continue;
      const auto [id, stream] = split_part(event.spool->id);
      const auto found = processes_.find(id);
      if (found == processes_.end()) continue;
      std::uint64_t& told = found->second.streams[stream].told;
      told = std::max(told, event.spool->offset + event.spool->length);
    }
    for (const std::string& id : ends)
      if (const auto found = processes_.find(id); found != processes_.end()) found->second.dispatched = true;
  }
  for (const std::string& id : ends) (void)launcher_.ask("finished", {{"id", id}});
  return ok();
}

/// Called with the mutex held.
void ProcessRelay::learn(const nlohmann::json& info) {
  const std::string id = text_or(info, "id");
  Process& process = processes_[id];
  // Answers and notices come by two threads: an older word must not undo how it ended.
  if (!process.ended || flag_or(info, "settled")) process.info = info_from(info);
  process.transient = flag_or(info, "transient");
  process.output_event = text_or(info, "output_event");
  process.output_args = object_or_empty(info, "output_args");
  for (auto& [name, stream] : process.streams) {
    const nlohmann::json& numbers = object_or_empty(info, name.c_str());
    stream.size = std::max(stream.size, number_or(numbers, "size"));
    stream.told = std::max(stream.told, number_or(numbers, "acked"));
  }
  process.ended = process.ended || flag_or(info, "settled");
  process.dispatched = process.dispatched || flag_or(info, "finished");
}

void ProcessRelay::on_notice(const nlohmann::json& notice) {
  const std::lock_guard lock(mutex_);
  const std::string id = text_or(notice, "id");
  const std::string type = text_or(notice, "t");
  const auto found = processes_.find(id);
  if (found == processes_.end()) return;  // forgotten meanwhile, or start() will learn of it from its answer
  if (type == "output") {
    std::uint64_t& size = found->second.streams[text_or(notice, "stream")].size;
    size = std::max(size, number_or(notice, "size"));
  } else if (type == "exit") {
    learn(notice);
  }
  changed_.notify_all();
}

std::optional<std::string> ProcessRelay::read(const channel::SpoolPart& part) const {
  const auto [id, stream] = split_part(part.id);
  return read_spool(spool_folder(run_, id), stream, part.offset, part.length);
}

void ProcessRelay::on_acknowledged(const std::vector<channel::PendingEvent>& events) {
  std::map<std::string, std::uint64_t> ends;
  for (const channel::PendingEvent& event : events)
    if (event.spool) ends[event.spool->id] = event.spool->offset + event.spool->length;
  for (const auto& [part, offset] : ends) {
    const auto [id, stream] = split_part(part);
    (void)launcher_.ask("acked", {{"id", id}, {"stream", stream}, {"offset", offset}});
  }
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

// ---- telling ---------------------------------------------------------------------------------------------

void ProcessRelay::tell_all() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (std::exchange(blocked_, false)) {
      changed_.wait_for(lock, kJournalFull, [&] { return ending_; });
      continue;
    }
    const bool told = tell_some(lock);
    const bool dispatched = dispatch_ends(lock);
    if (!told && !dispatched && !ending_ && !blocked_) changed_.wait(lock);
  }
}

/// The next piece of output of some process, each in its turn. Called with the mutex held.
std::optional<ProcessRelay::Piece> ProcessRelay::next_piece() {
  auto at = processes_.upper_bound(last_served_);
  for (std::size_t i = 0; i < processes_.size(); ++i, ++at) {
    if (at == processes_.end()) at = processes_.begin();
    Process& process = at->second;
    for (auto& [name, stream] : process.streams) {
      if (stream.told >= stream.size) continue;
      const std::uint64_t length = std::min<std::uint64_t>(kOutputPiece, stream.size - stream.told);
      nlohmann::json args = process.output_args;
      args["stream"] = name;
      args["offset"] = stream.told;
      last_served_ = at->first;
      channel::NewEvent event{
          .name = process.output_event, .args = std::move(args), .group = process.info.group};
      event.spool =
          channel::SpoolPart{part_id(at->first, name), stream.told, static_cast<std::uint32_t>(length)};
      return Piece{std::move(event), at->first, name, stream.told, stream.told + length};
    }
  }
  return std::nullopt;
}

bool ProcessRelay::tell_some(std::unique_lock<std::mutex>&) {
  if (channel_->pending() >= kMaxPending) return false;
  std::optional<Piece> piece = next_piece();
  if (!piece) return false;
  // With the mutex held, so that forget_group() sees either no event or a whole one.
  auto told = channel_->tell(std::move(piece->event));
  if (!told) {
    log::warning("journal.full", {{"reason", told.error().message()}});
    blocked_ = true;
    return false;
  }
  processes_[piece->id].streams[piece->stream].told = piece->to;
  return true;
}

bool ProcessRelay::dispatch_ends(std::unique_lock<std::mutex>& lock) {
  for (auto& [id, process] : processes_) {
    if (!process.ended || process.dispatched) continue;
    if (std::any_of(process.streams.begin(), process.streams.end(),
                    [](const auto& entry) { return entry.second.told < entry.second.size; }))
      continue;
    const auto owner = owners_.find(process.info.owner);
    if (owner == owners_.end()) continue;
    process.dispatched = true;
    ++calls_[owner->first];
    const auto job = [this, callback = owner->second, info = process.info] {
      callback(info);
      const std::lock_guard done(mutex_);
      --calls_[info.owner];
      changed_.notify_all();
    };
    const std::string name = owner->first;
    lock.unlock();
    const Status submitted = submit_(job);
    lock.lock();
    if (!submitted) --calls_[name];
    return true;  // the map may have changed
  }
  return false;
}

void ProcessRelay::on_exit(const std::string& owner, std::function<void(const ProcessInfo&)> callback) {
  const std::lock_guard lock(mutex_);
  owners_[owner] = std::move(callback);
  changed_.notify_all();
}

void ProcessRelay::forget_owner(const std::string& owner) {
  std::unique_lock lock(mutex_);
  owners_.erase(owner);
  changed_.wait(lock, [&] { return calls_[owner] == 0; });
}

Status ProcessRelay::finish(const std::string& id, const std::string& event, const nlohmann::json& args) {
  std::string group;
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto found = processes_.find(id);
      if (found == processes_.end()) return ok();  // forgotten meanwhile: nobody wants to know
      group = found->second.info.group;
      auto told = channel_->tell({.name = event, .args = args, .mark = exit_mark(id), .group = group});
      if (told) break;
      log::warning("journal.full", {{"reason", told.error().message()}});
      changed_.wait_for(lock, kJournalFull, [&] { return ending_; });
      if (ending_) return Error(ErrorCode::kCancelled, "the kernel is stopping");
    }
  }
  auto known = launcher_.ask("finished", {{"id", id}});
  if (!known && known.error().code() != ErrorCode::kNotFound) return known.error();
  const std::lock_guard lock(mutex_);
  if (const auto found = processes_.find(id); found != processes_.end() && found->second.transient)
    processes_.erase(found);
  return ok();
}

// ---- asking the launcher ---------------------------------------------------------------------------------

Result<ProcessInfo> ProcessRelay::start(const ProcessSpec& spec,
                                        const std::vector<std::pair<int, int>>& descriptors) {
  nlohmann::json environment = nlohmann::json::object();
  for (const auto& [name, value] : spec.environment) environment[name] = value;
  nlohmann::json numbers = nlohmann::json::array();
  std::vector<int> passed;
  for (const auto& [ours, number] : descriptors) {
    passed.push_back(ours);
    numbers.push_back(number);
  }
  if (passed.size() > kMaxFrameDescriptors)
    return Error(ErrorCode::kInvalid, "a process is started with at most 64 descriptors");
  MVM_ASSIGN(const Frame answer, launcher_.ask("start",
                                               {{"id", spec.id},
                                                {"owner", spec.owner},
                                                {"group", spec.group},
                                                {"argv", spec.argv},
                                                {"folder", spec.folder.string()},
                                                {"environment", std::move(environment)},
                                                {"limits", limits_to_json(spec.limits)},
                                                {"standard_input", spec.standard_input},
                                                {"merge_output", spec.merge_output},
                                                {"isolate", spec.isolate},
                                                {"hold", spec.hold},
                                                {"transient", spec.transient},
                                                {"output_event", spec.output_event},
                                                {"output_args", spec.output_args},
                                                {"memo", spec.memo},
                                                {"numbers", std::move(numbers)}},
                                               {}, passed));
  {
    const std::lock_guard lock(mutex_);
    learn(answer.head);
  }
  // Notices that came before we knew it were dropped: ask once more.
  if (auto now = launcher_.ask("list", {{"id", spec.id}})) {
    const std::lock_guard lock(mutex_);
    for (const nlohmann::json& info : array_or_empty(now->head, "processes")) learn(info);
    changed_.notify_all();
  }
  return info_from(answer.head);
}

Status ProcessRelay::release(const std::vector<std::string>& ids) {
  auto done = launcher_.ask("release", {{"ids", ids}});
  return done ? ok() : Status(done.error());
}

Status ProcessRelay::signal(const std::string& id, int number) {
  auto done = launcher_.ask("signal", {{"id", id}, {"number", number}});
  return done ? ok() : Status(done.error());
}

Status ProcessRelay::kill(const std::string& id, const std::string& reason) {
  auto done = launcher_.ask("kill", {{"id", id}, {"reason", reason}});
  return done ? ok() : Status(done.error());
}

Result<std::uint64_t> ProcessRelay::input(const std::string& id, std::uint64_t offset, std::string_view bytes,
                                          bool end) {
  MVM_ASSIGN(const Frame done, launcher_.ask("input", {{"id", id}, {"offset", offset}, {"end", end}}, bytes));
  return number_or(done.head, "taken");
}

Result<ProcessInfo> ProcessRelay::find(const std::string& id) {
  MVM_ASSIGN(const Frame page, launcher_.ask("list", {{"id", id}}));
  const nlohmann::json& found = array_or_empty(page.head, "processes");
  if (found.empty()) return Error(ErrorCode::kNotFound, "no process " + id);
  return info_from(found.front());
}

Result<std::vector<ProcessInfo>> ProcessRelay::list(const std::string& group) {
  std::vector<ProcessInfo> all;
  for (bool more = true; more;) {
    MVM_ASSIGN(const Frame page,
               launcher_.ask("list", {{"group", group}, {"after", all.empty() ? "" : all.back().id}}));
    for (const nlohmann::json& info : array_or_empty(page.head, "processes")) all.push_back(info_from(info));
    more = flag_or(page.head, "more");
  }
  return all;
}

Status ProcessRelay::forget_where(const nlohmann::json& what,
                                  const std::function<bool(const Process&)>& matches) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(processes_, [&](const auto& entry) { return matches(entry.second); });
  }
  auto done = launcher_.ask("forget", what);
  return done ? ok() : Status(done.error());
}

Status ProcessRelay::forget_group(const std::string& group) {
  MVM_TRY(
      forget_where({{"group", group}}, [&](const Process& process) { return process.info.group == group; }));
  channel_->withdraw(group);
  return ok();
}

Status ProcessRelay::forget(const std::string& id) {
  return forget_where({{"id", id}}, [&](const Process& process) { return process.info.id == id; });
}

Status ProcessRelay::keep(const std::string& name, const nlohmann::json& note,
                          const std::vector<int>& descriptors) {
  if (descriptors.size() > kMaxFrameDescriptors)
    return Error(ErrorCode::kInvalid, "at most 64 descriptors are kept under one name");
  auto done = launcher_.ask("keep", {{"name", name}, {"note", note}}, {}, descriptors);
  return done ? ok() : Status(done.error());
}

Result<std::vector<Kept>> ProcessRelay::kept(const std::string& prefix) {
  MVM_ASSIGN(const Frame names, launcher_.ask("kept-names", {{"prefix", prefix}}));
  std::vector<Kept> all;
  for (const nlohmann::json& name : array_or_empty(names.head, "names")) {
    if (!name.is_string()) continue;
    MVM_ASSIGN(Frame one, launcher_.ask("kept", {{"name", name}}));
    all.push_back({name.get<std::string>(), object_or_empty(one.head, "note"), std::move(one.descriptors)});
  }
  return all;
}

Status ProcessRelay::drop(const std::string& name) {
  auto done = launcher_.ask("drop", {{"name", name}});
  return done ? ok() : Status(done.error());
}

}  // namespace mvm::kernel
