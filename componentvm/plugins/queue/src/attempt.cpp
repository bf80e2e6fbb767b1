#include "attempt.h"

#include <algorithm>
#include <set>

#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::plugins::queue {
namespace {

using queuevm::EndState;
using queuevm::Queue;

constexpr std::size_t kDescriptorsPerEntry = 60;
constexpr std::uint64_t kMostPeeked = 1024;
constexpr std::uint64_t kMostDrained = 32768;  // where they are not told
constexpr std::uint64_t kMostPeekedBytes = 256 << 10;
constexpr std::uint64_t kMostDrainedBytes = 960 << 10;  // of one message
constexpr const char* kOutside = "outside";  // in a process's place: our own ends for clients outside
const SystemClock system_clock;

std::vector<kernel::Kept> kept_or_none(kernel::ProcessManager& keeper, const std::string& prefix) {
  auto kept = keeper.kept(prefix);
  return kept ? std::move(*kept) : std::vector<kernel::Kept>();
}

}  // namespace

Attempt::~Attempt() {
  for (const auto& [name, process] : processes_) loop_.remove(name_ + " " + name);
}

// ---- making ----------------------------------------------------------------------------------------------

Status Attempt::give(const std::string& process, std::uint64_t first, const std::vector<std::string>& ids,
                     std::vector<UniqueFd> descriptors) {
  if (ids.size() != descriptors.size())
    return Error(ErrorCode::kInvalid, "wire.queues: found " + std::to_string(descriptors.size()) +
                                          " descriptors, expected " + std::to_string(ids.size()));
  if (ids.empty()) return ok();
  // With the launcher first: a kernel that dies from here on leaves nothing half given. Our own one by one,
  // as they go one by one.
  if (process.empty()) {
    for (std::size_t i = 0; i < ids.size(); ++i)
      MVM_TRY(keeper_.keep(kept_name("ring/" + ids[i]), {{"ids", {ids[i]}}}, {descriptors[i].get()}));
  } else {
    std::vector<int> numbers;
    for (const UniqueFd& fd : descriptors) numbers.push_back(fd.get());
    MVM_TRY(keeper_.keep(kept_name("given/" + process + "/" + std::to_string(first)),
                         {{"process", process}, {"ids", ids}}, numbers));
  }
  const std::lock_guard lock(mutex_);
  if (!process.empty() && first == 0) given_[process].clear();  // a repetition
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (process.empty()) {
      if (queues_.contains(ids[i])) continue;
      MVM_ASSIGN(Queue queue, Queue::adopt(std::move(descriptors[i])));
      queues_.emplace(ids[i], std::move(queue));
    } else {
      given_[process].emplace(ids[i], std::move(descriptors[i]));
    }
  }
  return ok();
}

Status Attempt::make_queues(const std::vector<QueueStep>& queues) {
  for (const QueueStep& step : queues) {
    if (queues_.contains(step.id)) continue;
    if (!step.create)
      return Error(ErrorCode::kConflict, "queue " + step.id + " is to come by wire.queues and has not");
    MVM_ASSIGN(Queue queue, Queue::create_in_memory(*step.create, step.id));
    MVM_ASSIGN(const UniqueFd descriptor, queue.open_descriptor());
    MVM_TRY(keeper_.keep(kept_name("ring/" + step.id), {{"ids", {step.id}}}, {descriptor.get()}));
    queues_.emplace(step.id, std::move(queue));
  }
  return ok();
}

Status Attempt::check_queues(const std::vector<ProcessStep>& steps) const {
  for (const ProcessStep& step : steps)
    for (const std::string& id : step.queues)
      if (!queues_.contains(id))
        return Error(ErrorCode::kInvalid,
                     "process " + step.process + " is wired to queue " + id + ", which is not here");
  return ok();
}

/// A process whose own wiring is what it was is not disturbed.
Status Attempt::wire_process(const ProcessStep& step) {
  Process& process = processes_[step.process];
  const bool known = process.table.has_value();
  if (known && process.step.wiring == step.wiring && process.step.queues == step.queues) return ok();
  MVM_TRY(give_table(process, step));
  // An end that it will never come for must not be waited for.
  for (const EndStep& former : process.step.ends) {
    const bool stays =
        std::any_of(step.ends.begin(), step.ends.end(), [&](const EndStep& end) { return end.same(former); });
    const auto queue = queues_.find(former.queue);
    if (!stays && queue != queues_.end()) (void)queue->second.close_absent(former.end);
  }
  // Nor one that came too late: its process has ended.
  if (process.ended)
    for (const EndStep& end : step.ends) (void)queues_.at(end.queue).close_absent(end.end);
  process.step = step;
  return ok();
}

Status Attempt::give_table(Process& process, const ProcessStep& step) {
  bool fresh = !process.table;
  if (const auto kept = tables_.find(step.process); fresh && kept != tables_.end()) {
    MVM_ASSIGN(process.table, queuevm::WiringTable::adopt(std::move(kept->second)));
    tables_.erase(kept);
    fresh = false;
    // A process that sleeps on it must not be woken for nothing, again and again.
    if (process.table->current() == step.wiring) return ok();
  }
  if (fresh) {
    MVM_ASSIGN(process.table, queuevm::WiringTable::create(step.wiring));
  } else if (Status fits = process.table->update(step.wiring); !fits) {
    if (fits.error().code() != ErrorCode::kExhausted) return fits;
    MVM_ASSIGN(auto larger, process.table->outgrow(step.wiring));
    process.table = std::move(larger);
    fresh = true;
  }
  if (!fresh) return ok();
  return keeper_.keep(kept_name("table/" + step.process), {{"process", step.process}},
                      {process.table->keeping_fd()});
}

Status Attempt::carry(const Steps& steps) {
  const auto descriptor = [&](const std::string& id) -> Result<UniqueFd> {
    const auto queue = queues_.find(id);
    if (queue == queues_.end()) return Error(ErrorCode::kInvalid, "its queue " + id + " is not here");
    return queue->second.open_descriptor();
  };
  return proxy_->carry(name_, steps, descriptor, failed_);
}

void Attempt::drop_queues(const Steps& steps) {
  for (auto queue = queues_.begin(); queue != queues_.end();) {
    const bool stays = std::any_of(steps.queues.begin(), steps.queues.end(),
                                   [&](const QueueStep& step) { return step.id == queue->first; });
    if (stays) {
      ++queue;
      continue;
    }
    (void)keeper_.drop(kept_name("ring/" + queue->first));
    for (auto& [process, given] : given_) given.erase(queue->first);
    queue = queues_.erase(queue);
  }
}

/// The steps with the out ports that their processes have now, and these ports' queues.
nlohmann::json Attempt::with_held_ports(nlohmann::json args) const {
  std::map<std::string, std::vector<nlohmann::json>> held;
  {
    const std::lock_guard lock(mutex_);
    for (const nlohmann::json& process : array_or_empty(applied_, "processes"))
      for (const nlohmann::json& port : array_or_empty(process, "ports"))
        if (text_or(port, "direction") == "out") held[text_or(process, "proc")].push_back(port);
  }
  std::set<std::string> named;
  for (const nlohmann::json& queue : array_or_empty(args, "queues")) named.insert(text_or(queue, "id"));
  for (nlohmann::json& process : args.at("processes")) {
    const auto mine = held.find(text_or(process, "proc"));
    if (mine == held.end()) continue;
    nlohmann::json ports = mine->second;
    for (const nlohmann::json& port : array_or_empty(process, "ports"))
      if (text_or(port, "direction") != "out") ports.push_back(port);
    for (const nlohmann::json& port : mine->second)
      for (const nlohmann::json& end : array_or_empty(port, "ends"))
        if (std::string id = text_or(end, "queue"); named.insert(id).second)
          args["queues"].push_back({{"id", std::move(id)}});
    process["ports"] = std::move(ports);
  }
  return args;
}

Status Attempt::apply(const nlohmann::json& wanted) {
  MVM_TRY(steps_from(wanted));
  const bool hold = flag_or(wanted, "hold") && wanted.contains("processes") && wanted["processes"].is_array();
  const nlohmann::json args = hold ? with_held_ports(wanted) : wanted;
  MVM_ASSIGN(const Steps steps, steps_from(args));
  {
    const std::lock_guard lock(mutex_);
    if (generation_ >= steps.generation && generation_ > 0) return ok();
    MVM_TRY(make_queues(steps.queues));
  }
  // The loop's lock before ours, as when it answers a process.
  Status done = loop_.between_answers([&]() -> Status {
    const std::lock_guard lock(mutex_);
    if (generation_ >= steps.generation && generation_ > 0) return ok();
    MVM_TRY(check_queues(steps.processes));
    // Before the first process sees it: a kernel that dies from here on leaves to the next one what to
    // finish.
    MVM_TRY(keeper_.keep(kept_name("steps"), args, {}));
    for (const ProcessStep& step : steps.processes) MVM_TRY(wire_process(step));
    outside_.clear();
    for (const OutsideStep& step : steps.outside) {
      if (!queues_.contains(step.queue))
        return Error(ErrorCode::kInvalid, "queue " + step.queue + " of an open port is not here");
      outside_[step.queue] = step.end;
    }
    MVM_TRY(carry(steps));
    drop_queues(steps);
    generation_ = steps.generation;
    applied_ = args;
    return ok();
  });
  if (done) drop_processes(steps);
  return done;
}

/// Those that the steps name no more: nothing answers them from here on. One that runs yet is ended by
/// whoever took its wiring away.
void Attempt::drop_processes(const Steps& steps) {
  const auto stays = [&](const std::string& name) {
    return std::any_of(steps.processes.begin(), steps.processes.end(),
                       [&](const ProcessStep& step) { return step.process == name; });
  };
  std::vector<std::string> gone;
  {
    const std::lock_guard lock(mutex_);
    if (generation_ != steps.generation) return;
    for (const auto& [name, process] : processes_)
      if (!stays(name)) gone.push_back(name);
  }
  for (const std::string& name : gone) {
    loop_.remove(name_ + " " + name);
    for (const char* kind : {"socket/", "table/", "ended/"}) (void)keeper_.drop(kept_name(kind + name));
    attached(name);
    const std::lock_guard lock(mutex_);
    given_.erase(name);
    const auto found = processes_.find(name);
    if (found == processes_.end()) continue;
    if (!found->second.ended) close_ends(found->second, EndState::kDead);
    processes_.erase(found);
  }
}

// ---- attaching -------------------------------------------------------------------------------------------

Result<UniqueFd> Attempt::attach(const std::string& process) {
  {
    const std::lock_guard lock(mutex_);
    if (!processes_.contains(process))
      return Error(ErrorCode::kNotFound, "process " + process + " has no wiring");
  }
  MVM_ASSIGN(auto sockets, queuevm::AttachServer::make_sockets());
  MVM_TRY(keeper_.keep(kept_name("socket/" + process), {{"process", process}}, {sockets.first.get()}));
  MVM_TRY(serve(process, std::move(sockets.first)));
  return std::move(sockets.second);
}

Status Attempt::serve(const std::string& process, UniqueFd socket) {
  std::unique_ptr<queuevm::AttachServer> server;
  {
    const std::lock_guard lock(mutex_);
    const auto found = processes_.find(process);
    if (found == processes_.end() || !found->second.table)
      return Error(ErrorCode::kNotFound, "process " + process + " has no wiring");
    server = std::make_unique<queuevm::AttachServer>(
        std::move(socket), *found->second.table,
        [this, process](std::uint32_t descriptor) { return open_queue(process, descriptor); });
  }
  // Without our mutex: the loop holds its own when it asks us to open a queue.
  loop_.add(name_ + " " + process, std::move(server), [this, process] { attached(process); });
  return ok();
}

Result<UniqueFd> Attempt::open_queue(const std::string& process, std::uint32_t descriptor) {
  const std::lock_guard lock(mutex_);
  const auto found = processes_.find(process);
  if (found == processes_.end() || descriptor >= found->second.step.queues.size())
    return Error(ErrorCode::kNotFound, "no such queue");
  return fresh_descriptor(process, found->second.step.queues[descriptor]);
}

Result<UniqueFd> Attempt::fresh_descriptor(const std::string& whose, const std::string& id) {
  auto& given = given_[whose];
  if (const auto own = given.find(id); own != given.end()) {
    UniqueFd fd = std::move(own->second);
    given.erase(own);
    return fd;
  }
  const auto queue = queues_.find(id);
  if (queue == queues_.end()) return Error(ErrorCode::kNotFound, "queue " + id + " is not here");
  return queue->second.open_descriptor();
}

/// The launcher's copies must go: as long as one is open, the process seems to live. Its socket stays: it may
/// ask again, and another kernel may have to answer.
void Attempt::attached(const std::string& process) { drop_kept("given/" + process + "/", process); }

void Attempt::drop_kept(const std::string& prefix, const std::string& process) {
  for (const kernel::Kept& one : kept_or_none(keeper_, kept_name(prefix)))
    if (text_or(one.note, "process") == process) (void)keeper_.drop(one.name);
}

// ---- ending ----------------------------------------------------------------------------------------------

/// Called with the mutex held.
void Attempt::close_ends(const Process& process, EndState how) {
  for (const EndStep& end : process.step.ends) {
    const auto queue = queues_.find(end.queue);
    if (queue == queues_.end()) continue;
    if (Status closed = queue->second.close_end(end.end, how); !closed)
      log::warning(
          "queue.end-not-closed",
          {{"process", process.step.process}, {"queue", end.queue}, {"reason", closed.error().describe()}});
  }
}

Status Attempt::ended(const std::string& process, bool well) {
  loop_.remove(name_ + " " + process);
  attached(process);  // it may have ended without attaching
  drop_kept("socket/" + process, process);
  const std::lock_guard lock(mutex_);
  given_.erase(process);
  const auto found = processes_.find(process);
  if (found == processes_.end()) return Error(ErrorCode::kNotFound, "process " + process + " has no wiring");
  close_ends(found->second, well ? EndState::kDone : EndState::kDead);
  found->second.ended = true;
  return keeper_.keep(kept_name("ended/" + process), {{"process", process}}, {});
}

void Attempt::close() {
  std::vector<std::string> names;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, process] : processes_) names.push_back(name);
  }
  for (const std::string& name : names) loop_.remove(name_ + " " + name);
  std::map<std::string, std::shared_ptr<Intake>> intakes;
  std::map<std::string, std::shared_ptr<Outlet>> outlets;
  {
    const std::lock_guard lock(mutex_);
    outside_.clear();
    intakes.swap(intakes_);
    outlets.swap(outlets_);
    for (auto& [name, process] : processes_)
      if (!std::exchange(process.ended, true)) close_ends(process, EndState::kDead);
    given_.clear();
  }
  for (const auto& [queue, intake] : intakes)
    if (intake) intake->close(EndState::kDead);
  for (const auto& [queue, outlet] : outlets)
    if (outlet) outlet->close(EndState::kDead);
  proxy_->leave(name_);
  for (const kernel::Kept& one : kept_or_none(keeper_, kept_name(""))) (void)keeper_.drop(one.name);
}

// ---- clients outside ----

/// Called with the mutex held.
Result<UniqueFd> Attempt::outside_descriptor(const std::string& queue, queuevm::Side side,
                                             std::uint32_t& slot) {
  const auto end = outside_.find(queue);
  if (end == outside_.end() || end->second.side != side)
    return Error(ErrorCode::kInvalid, "queue " + queue + " has no such end for clients outside");
  slot = end->second.slot;
  return fresh_descriptor(kOutside, queue);
}

Result<std::shared_ptr<Intake>> Attempt::intake(const std::string& queue) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Intake>& intake = intakes_[queue];
  if (!intake) {
    std::uint32_t slot = 0;
    MVM_ASSIGN(UniqueFd own, outside_descriptor(queue, queuevm::Side::kProducer, slot));
    MVM_ASSIGN(auto producer, queuevm::Producer::adopt(std::move(own), slot, true));
    intake = std::make_shared<Intake>(std::move(producer));
  }
  return intake;
}

Result<std::shared_ptr<Outlet>> Attempt::outlet(const std::string& queue) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Outlet>& outlet = outlets_[queue];
  if (!outlet) {
    std::uint32_t slot = 0;
    MVM_ASSIGN(UniqueFd own, outside_descriptor(queue, queuevm::Side::kConsumer, slot));
    MVM_ASSIGN(auto consumer, queuevm::Consumer::adopt(std::move(own), slot, true));
    outlet = std::make_shared<Outlet>(std::move(consumer), system_clock);
  }
  return outlet;
}

nlohmann::json Attempt::stats() const {
  nlohmann::json list = nlohmann::json::array();
  const std::lock_guard lock(mutex_);
  for (const auto& entry : queues_) {
    const std::string& id = entry.first;
    const auto& queue = entry.second;
    const queuevm::QueueStats stats = queue.stats();
    const auto attached = [&](queuevm::Side side) {
      const auto states = queue.end_states(side);
      return std::count(states.begin(), states.end(), EndState::kAttached);
    };
    const auto open = [&](queuevm::Side side) {
      const auto states = queue.end_states(side);
      return std::count(states.begin(), states.end(), EndState::kAbsent) +
             std::count(states.begin(), states.end(), EndState::kAttached);
    };
    list.push_back(
        {{"id", id},
         {"depth", stats.depth},
         {"bytes", stats.bytes},
         {"enqueued", stats.enqueued},
         {"dequeued", stats.dequeued},
         {"dropped", stats.dropped_oldest + stats.dropped_newest + stats.expired + stats.drained},
         {"drained", stats.drained},
         {"bytes_enqueued", stats.bytes_enqueued},
         {"bytes_dequeued", stats.bytes_dequeued},
         {"latency",
          {{"samples", stats.latency_samples},
           {"p50_ns", stats.latency_p50.count()},
           {"p99_ns", stats.latency_p99.count()}}},
         {"producers", attached(queuevm::Side::kProducer)},
         {"consumers", attached(queuevm::Side::kConsumer)},
         {"open_producers", open(queuevm::Side::kProducer)},
         {"open_consumers", open(queuevm::Side::kConsumer)},
         {"waiting", {{"producers", stats.waiting_producers}, {"consumers", stats.waiting_consumers}}}});
  }
  return list;
}

nlohmann::json Attempt::joined() const {
  nlohmann::json list = nlohmann::json::array();
  const std::lock_guard lock(mutex_);
  for (const auto& [name, process] : processes_) {
    const bool all = std::all_of(process.step.ends.begin(), process.step.ends.end(), [&](const EndStep& end) {
      const auto queue = queues_.find(end.queue);
      if (queue == queues_.end()) return false;
      const auto states = queue->second.end_states(end.end.side);
      return end.end.slot < states.size() && states[end.end.slot] != EndState::kAbsent;
    });
    list.push_back({{"proc", name}, {"joined", all}});
  }
  return list;
}

namespace {

void add_message(const queuevm::PeekedMessage& message, nlohmann::json& messages, std::string& blob) {
  nlohmann::json item = {{"n", message.number}, {"size", message.size}, {"length", message.head.size()}};
  if (message.key != 0) item["key"] = message.key;
  if (message.priority != 0) item["priority"] = message.priority;
  if (message.redelivered) item["again"] = true;
  if (message.taken) item["taken"] = true;
  if (message.age) item["age_ns"] = std::max<std::int64_t>(message.age->count(), 1);
  messages.push_back(std::move(item));
  blob += message.head;
}

}  // namespace

Result<kernel::Answer> Attempt::peek(const nlohmann::json& args) const {
  MVM_ASSIGN(const std::string id, need_text(args, "queue", 256));
  const std::uint64_t most = std::clamp<std::uint64_t>(number_or(args, "count", 10), 1, kMostPeeked);
  const std::uint64_t preview = std::min<std::uint64_t>(number_or(args, "bytes"), kMostPeekedBytes / most);
  const std::lock_guard lock(mutex_);
  const auto found = queues_.find(id);
  if (found == queues_.end()) return Error(ErrorCode::kNotFound, "queue " + id + " is not here");
  const queuevm::QueueStats stats = found->second.stats();
  MVM_ASSIGN(const queuevm::PeekedQueue peeked, found->second.peek(most, preview));
  kernel::Answer answer;
  nlohmann::json messages = nlohmann::json::array();
  for (const queuevm::PeekedMessage& message : peeked.messages) add_message(message, messages, answer.blob);
  answer.result = {{"messages", std::move(messages)},
                   {"steady", peeked.steady},
                   {"depth", stats.depth},
                   {"bytes", stats.bytes}};
  return answer;
}

Result<kernel::Answer> Attempt::drain(const nlohmann::json& args) {
  MVM_ASSIGN(const std::string id, need_text(args, "queue", 256));
  const std::uint64_t bytes = number_or(args, "bytes");
  queuevm::DrainRequest request{.most = std::clamp<std::uint64_t>(number_or(args, "count", 1), 1,
                                                                  bytes != 0 ? kMostPeeked : kMostDrained),
                                .preview = std::min(bytes, kMostDrainedBytes),
                                .room = kMostPeekedBytes};
  if (const std::uint64_t before = number_or(args, "before"); before != 0) request.before = before;
  const std::lock_guard lock(mutex_);
  const auto found = queues_.find(id);
  if (found == queues_.end()) return Error(ErrorCode::kNotFound, "queue " + id + " is not here");
  MVM_ASSIGN(const queuevm::DrainedQueue drained, found->second.drain(request));
  kernel::Answer answer;
  nlohmann::json messages = nlohmann::json::array();
  std::uint64_t size = 0;
  for (const queuevm::PeekedMessage& message : drained.messages) {
    size += message.size;
    if (bytes != 0) add_message(message, messages, answer.blob);
  }
  answer.result = {{"messages", std::move(messages)},
                   {"drained", drained.messages.size()},
                   {"bytes", size},
                   {"before", drained.before},
                   {"more", drained.more},
                   {"pending", drained.pending}};
  return answer;
}

// ---- a new kernel ----------------------------------------------------------------------------------------

Status Attempt::recover(std::vector<kernel::Kept> kept) {
  nlohmann::json args;
  std::vector<std::pair<std::string, UniqueFd>> sockets;
  for (kernel::Kept& one : kept) {
    const std::string rest = one.name.substr(std::min(one.name.size(), kept_name("").size()));
    const std::string process = text_or(one.note, "process");
    if (rest == "steps")
      args = std::move(one.note);
    else if (rest.starts_with("socket/") && one.descriptors.size() == 1)
      sockets.emplace_back(process, std::move(one.descriptors[0]));
    else if (rest.starts_with("ended/"))
      processes_[process].ended = true;
    else if (rest.starts_with("table/") && one.descriptors.size() == 1)
      tables_[process] = std::move(one.descriptors[0]);
    else if (rest.starts_with("ring/") || rest.starts_with("given/")) {
      MVM_ASSIGN(const std::vector<std::string> ids, texts_of(one.note, "ids", kDescriptorsPerEntry + 4));
      const std::lock_guard lock(mutex_);
      for (std::size_t i = 0; i < std::min(ids.size(), one.descriptors.size()); ++i) {
        if (!process.empty()) {
          given_[process].emplace(ids[i], std::move(one.descriptors[i]));
          continue;
        }
        MVM_ASSIGN(Queue queue, Queue::adopt(std::move(one.descriptors[i])));
        queues_.insert_or_assign(ids[i], std::move(queue));
      }
    }
  }
  if (args.is_null()) return ok();
  if (args.is_object()) args.erase("hold");  // what was held is in them
  MVM_TRY(apply(args));
  for (auto& [process, socket] : sockets) {
    const Status served = serve(process, std::move(socket));
    // The former kernel had not come to letting go of it.
    if (!served && served.error().code() == ErrorCode::kNotFound)
      (void)keeper_.drop(kept_name("socket/" + process));
    else
      MVM_TRY(served);
  }
  return ok();
}

}  // namespace mvm::plugins::queue
