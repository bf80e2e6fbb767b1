#include "mvm/queuevm/queue.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "impl.h"
#include "ring/guard.h"

namespace mvm::queuevm {
namespace {

using detail::kManagerPatience;
using detail::ManagerTurn;
using detail::outcome_of;
using detail::wake;

constexpr std::array<std::string_view, 3> kKinds = {"fifo", "priority", "latest"};
constexpr std::array<std::string_view, 4> kRules = {"block", "drop-oldest", "drop-newest", "fail"};
constexpr std::array<std::string_view, 3> kDelivers = {"one-of", "every-one", "by-key"};
constexpr std::array<std::string_view, 4> kStates = {"absent", "attached", "done", "dead"};

template <class Enum, std::size_t N>
std::optional<Enum> named(const std::array<std::string_view, N>& names, std::string_view name) {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

ring::Spec to_ring(const QueueSpec& spec) {
  ring::Spec out;
  out.kind = static_cast<std::uint32_t>(spec.kind);
  out.when_full = static_cast<std::uint32_t>(spec.when_full);
  out.deliver = static_cast<std::uint32_t>(spec.deliver);
  out.producers = spec.producers;
  out.consumers = spec.consumers;
  out.capacity = spec.kind == QueueKind::kLatest ? 1 : spec.capacity;
  out.bytes = spec.bytes;
  out.timeout_ns = spec.timeout ? spec.timeout->count() : -1;
  out.fragments = spec.fragments ? 1 : 0;
  out.ttl_ms = spec.ttl ? static_cast<std::uint64_t>(std::max<std::int64_t>(1, spec.ttl->count())) : 0;
  out.id = spec.id;
  return out;
}

QueueSpec from_ring(const ring::Spec& spec) {
  QueueSpec out;
  out.kind = static_cast<QueueKind>(spec.kind);
  out.when_full = static_cast<WhenFull>(spec.when_full);
  out.deliver = static_cast<Deliver>(spec.deliver);
  out.producers = spec.producers;
  out.consumers = spec.consumers;
  out.capacity = spec.capacity;
  out.bytes = spec.bytes;
  if (spec.timeout_ns >= 0) out.timeout = std::chrono::nanoseconds(spec.timeout_ns);
  out.fragments = spec.fragments != 0;
  if (spec.ttl_ms != 0) out.ttl = std::chrono::milliseconds(spec.ttl_ms);
  out.id = spec.id;
  return out;
}

Status format(int fd, const QueueSpec& spec) {
  if (const int error = ring::format(fd, to_ring(spec)); error != 0) {
    return Error::from_errno(error, "making a queue of " + std::to_string(file_size(spec)) + " bytes");
  }
  return ok();
}

Error refused(int result, const std::string& why) {
  switch (result) {
    case MVM_EBUSY:
      return {ErrorCode::kConflict, why};
    case MVM_EINVAL:
      return {ErrorCode::kInvalid, why};
    case MVM_ECORRUPT:
      return {ErrorCode::kCorrupt, why};
    default:
      return {ErrorCode::kIo, why};
  }
}

}  // namespace

std::string_view to_string(QueueKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }
std::string_view to_string(WhenFull rule) { return kRules[static_cast<std::size_t>(rule)]; }
std::string_view to_string(Deliver rule) { return kDelivers[static_cast<std::size_t>(rule)]; }
std::string_view to_string(EndState state) { return kStates[static_cast<std::size_t>(state)]; }
std::optional<QueueKind> queue_kind_from(std::string_view name) { return named<QueueKind>(kKinds, name); }
std::optional<WhenFull> when_full_from(std::string_view name) { return named<WhenFull>(kRules, name); }
std::optional<Deliver> deliver_from(std::string_view name) { return named<Deliver>(kDelivers, name); }

Status validate(const QueueSpec& spec) {
  if (const char* broken = ring::check(to_ring(spec)); broken != nullptr)
    return Error(ErrorCode::kInvalid, broken);
  return ok();
}

std::uint64_t file_size(const QueueSpec& spec) { return ring::geometry_of(to_ring(spec)).file_size; }

Queue::Queue(std::unique_ptr<detail::QueueImpl> impl) : impl_(std::move(impl)) {}
Queue::Queue(Queue&&) noexcept = default;
Queue& Queue::operator=(Queue&&) noexcept = default;
Queue::~Queue() = default;

Result<Queue> Queue::create(const std::filesystem::path& path, const QueueSpec& spec, unsigned mode) {
  MVM_TRY(validate(spec));
  // Made under another name and renamed, so that nobody ever opens half a queue.
  const std::string making = path.string() + ".making";
  ::unlink(making.c_str());
  UniqueFd fd(::open(making.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return Error::from_errno(errno, "making " + making);
  Status made = format(fd.get(), spec);
  if (made && ::fchmod(fd.get(), mode) != 0) made = Error::from_errno(errno, "chmod " + making);
  if (made && ::link(making.c_str(), path.c_str()) != 0) {
    made = errno == EEXIST ? Error(ErrorCode::kExists, "there is a queue at " + path.string())
                           : Error::from_errno(errno, "naming " + path.string());
  }
  ::unlink(making.c_str());
  if (!made) return std::move(made).error();
  return adopt(std::move(fd));
}

Result<Queue> Queue::create_in_memory(const QueueSpec& spec, const std::string& name) {
  MVM_TRY(validate(spec));
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return Error::from_errno(errno, "making a queue in memory");
  MVM_TRY(format(fd.get(), spec));
  // Whoever has the descriptor cannot cut the file under its peers' feet.
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Error::from_errno(errno, "sealing a queue");
  }
  return adopt(std::move(fd));
}

Result<Queue> Queue::open(const std::filesystem::path& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return Error::from_errno(errno, "opening the queue " + path.string());
  return adopt(std::move(fd));
}

Result<Queue> Queue::adopt(UniqueFd fd) {
  ring::survive_cut_files();
  auto impl = std::make_unique<detail::QueueImpl>();
  std::string why;
  if (const int result = impl->region.open(fd.get(), why); result != MVM_OK) return refused(result, why);
  static_cast<void>(fd.release());
  impl->spec = from_ring(impl->region.spec());
  return Queue(std::move(impl));
}

const QueueSpec& Queue::spec() const { return impl_->spec; }

namespace {

/// Payload bytes that passed this end of a stream.
std::uint64_t stream_payload(const ring::Slot& slot) {
  const std::uint64_t overhead = slot.bytes.load() + slot.count.load() * ring::kStreamOverhead;
  const std::uint64_t position = slot.position.load();
  return position > overhead ? position - overhead : 0;
}

void latency_stats(const ring::Region& region, QueueStats& stats) {
  std::array<std::uint64_t, ring::kLatencyBuckets> buckets{};
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    buckets[i] = region.latencies().buckets[i].load(std::memory_order_relaxed);
    stats.latency_samples += buckets[i];
  }
  const auto at = [&](std::uint64_t percent) {
    std::uint64_t wanted = (stats.latency_samples * percent + 99) / 100;
    for (std::uint32_t i = 0; i < buckets.size(); ++i) {
      if (buckets[i] >= wanted) return std::chrono::nanoseconds(ring::latency_of(i));
      wanted -= buckets[i];
    }
    return std::chrono::nanoseconds(0);
  };
  if (stats.latency_samples == 0) return;
  stats.latency_p50 = at(50);
  stats.latency_p99 = at(99);
}

/// The places tell what is there, and so what has left: an end that died may not have counted its last one.
void claims_stats(const ring::Region& region, QueueStats& stats) {
  stats.drained = region.claim_table().drained.load();
  for (std::uint32_t i = 0; i < region.geometry().cell_count; ++i) {
    const ring::Place& place = region.places()[i];
    const std::uint32_t state = ring::PlaceWord::state(place.word.load());
    if (state == ring::kPlaceFree || state == ring::kPlaceWriting) continue;
    if (state == ring::kPlaceDrained) {
      ++stats.drained;
      continue;
    }
    ++stats.depth;
    stats.bytes += place.meta.load() & 0xffff'ffffU;
  }
  const std::uint64_t others = stats.depth + stats.drained;
  stats.dequeued = stats.enqueued > others ? stats.enqueued - others : 0;
  stats.redelivered = region.claim_table().redelivered.load();
}

}  // namespace

QueueStats Queue::stats() const {
  const ring::Region& region = impl_->region;
  const ring::Spec& spec = region.spec();
  QueueStats stats;
  std::uint64_t consumed = 0;
  const bool stream = region.geometry().mode == ring::kStream;
  for (std::uint32_t i = 0; i < region.slot_count(); ++i) {
    const ring::Slot& slot = region.slot(i);
    const bool asleep = slot.asleep.load() != 0 && slot.state.load() == ring::kAttached;
    if (i < spec.producers) {
      stats.enqueued += slot.count.load();
      stats.bytes_enqueued += stream ? stream_payload(slot) : slot.bytes.load();
      stats.dropped_newest += slot.dropped.load();
      stats.refused += slot.refused.load();
      stats.waiting_producers += asleep ? 1 : 0;
    } else {
      stats.dequeued += slot.count.load();
      consumed += stream ? stream_payload(slot) : slot.bytes.load();
      stats.waiting_consumers += asleep ? 1 : 0;
    }
  }
  latency_stats(region, stats);
  stats.bytes_dequeued = consumed;
  if (stream) {
    const std::uint64_t passed = stats.dequeued;
    const ring::Drained left = ring::drained_before(region, passed);
    const ring::Drained all = ring::drained_before(region, ring::kUndecided);
    stats.drained = all.messages;
    stats.dequeued = passed > left.messages ? passed - left.messages : 0;
    stats.bytes_dequeued = consumed > left.bytes ? consumed - left.bytes : 0;
    consumed = stats.bytes_dequeued + all.bytes;
    stats.depth =
        stats.enqueued > stats.dequeued + stats.drained ? stats.enqueued - stats.dequeued - stats.drained : 0;
    stats.bytes = stats.bytes_enqueued > consumed ? stats.bytes_enqueued - consumed : 0;
    return stats;
  }
  if (region.geometry().mode == ring::kClaims) {
    claims_stats(region, stats);
    return stats;
  }
  const ring::CellTable& table = region.cells();
  stats.depth = std::uint64_t{table.ready.load()} + table.taken.load();
  stats.bytes = table.used.load();
  stats.enqueued = table.next_number.load();
  stats.dequeued = table.dequeued.load();
  stats.bytes_enqueued = table.bytes_enqueued.load();
  stats.dropped_oldest = table.dropped_oldest.load();
  stats.expired = table.expired.load();
  stats.drained = table.drained.load();
  stats.redelivered = table.redelivered.load();
  return stats;
}

std::vector<EndState> Queue::end_states(Side side) const {
  const ring::Region& region = impl_->region;
  const std::uint32_t begin = side == Side::kProducer ? 0 : region.spec().producers;
  const std::uint32_t count = side == Side::kProducer ? region.spec().producers : region.spec().consumers;
  std::vector<EndState> states;
  states.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t state = region.slot(begin + i).state.load();
    states.push_back(state <= ring::kDead ? static_cast<EndState>(state) : EndState::kDead);
  }
  return states;
}

Result<UniqueFd> Queue::open_descriptor() const {
  UniqueFd fd(ring::reopen(impl_->region.fd()));
  if (!fd) return Error::from_errno(errno, "opening a queue afresh");
  return fd;
}

Status Queue::close_end(End end, EndState how) {
  ring::Region& region = impl_->region;
  const ring::Spec& spec = region.spec();
  if (how != EndState::kDone && how != EndState::kDead)
    return Error(ErrorCode::kInvalid, "an end closes as done or dead");
  if (end.slot >= (end.side == Side::kProducer ? spec.producers : spec.consumers)) {
    return Error(ErrorCode::kInvalid, "the queue has no such slot");
  }
  const std::uint32_t index = end.side == Side::kProducer ? end.slot : spec.producers + end.slot;
  ring::Slot& slot = region.slot(index);
  const std::uint32_t before = slot.state.load();
  const bool claims = region.geometry().mode == ring::kClaims;
  // Whoever closed it may have died before all that it had under way was dealt with.
  if ((before == ring::kDone || before == ring::kDead) && (!claims || slot.settled.load() != 0)) return ok();
  std::uint32_t state = before;
  if (region.geometry().mode == ring::kCells) {
    const std::int64_t until = ring::now_ns() + kManagerPatience;
    ManagerTurn turn(*impl_);
    ring::CellBook book(region);
    if (!turn.take(until) || !book.lock(region.slot_count(), until)) {
      return Error(ErrorCode::kTimeout, "the queue's lock is held by a process that is stopped");
    }
    while (state != ring::kDone && state != ring::kDead &&
           !slot.state.compare_exchange_weak(state, detail::slot_state(how))) {
    }
    book.reap(index);
    book.unlock();
  } else {
    while (state != ring::kDone && state != ring::kDead &&
           !slot.state.compare_exchange_weak(state, detail::slot_state(how))) {
    }
    if (claims) ring::finish_claims(region, index);
  }
  region.shared().epoch.fetch_add(1);
  wake(region.shared().data);
  wake(region.shared().space);
  return ok();
}

bool Queue::close_absent(End end) {
  ring::Region& region = impl_->region;
  const ring::Spec& spec = region.spec();
  if (end.slot >= (end.side == Side::kProducer ? spec.producers : spec.consumers)) return false;
  const std::uint32_t index = end.side == Side::kProducer ? end.slot : spec.producers + end.slot;
  std::uint32_t state = ring::kAbsent;
  if (!region.slot(index).state.compare_exchange_strong(state, ring::kDone)) return false;
  region.shared().epoch.fetch_add(1);
  wake(region.shared().data);
  wake(region.shared().space);
  return true;
}

Status Queue::close_all(EndState how) {
  const ring::Spec& spec = impl_->region.spec();
  Status result = ok();
  for (std::uint32_t i = 0; i < spec.producers; ++i) {
    if (Status one = close_end({Side::kProducer, i}, how); !one) result = std::move(one);
  }
  for (std::uint32_t i = 0; i < spec.consumers; ++i) {
    if (Status one = close_end({Side::kConsumer, i}, how); !one) result = std::move(one);
  }
  return result;
}

void Queue::wake_all() {
  wake(impl_->region.shared().data);
  wake(impl_->region.shared().space);
}

namespace {

Result<std::unique_ptr<detail::EndImpl>> attach(UniqueFd fd, ring::Side side, std::uint32_t slot,
                                                bool supervised) {
  ring::Region region;
  std::string why;
  if (const int result = region.open(fd.get(), why); result != MVM_OK) return refused(result, why);
  static_cast<void>(fd.release());
  auto impl = std::make_unique<detail::EndImpl>();
  if (const int result = impl->end.attach(std::move(region), side, slot, supervised, why); result != MVM_OK) {
    return refused(result, why);
  }
  return impl;
}

}  // namespace

Result<Producer> Queue::producer(std::uint32_t slot, bool supervised) const {
  MVM_ASSIGN(UniqueFd own, open_descriptor());
  return Producer::adopt(std::move(own), slot, supervised);
}

Result<Consumer> Queue::consumer(std::uint32_t slot, bool supervised) const {
  MVM_ASSIGN(UniqueFd own, open_descriptor());
  return Consumer::adopt(std::move(own), slot, supervised);
}

Result<Producer> Producer::adopt(UniqueFd own, std::uint32_t slot, bool supervised) {
  ring::survive_cut_files();
  MVM_ASSIGN(auto impl, attach(std::move(own), ring::Side::kProducer, slot, supervised));
  return Producer(std::move(impl));
}

Result<Consumer> Consumer::adopt(UniqueFd own, std::uint32_t slot, bool supervised) {
  ring::survive_cut_files();
  MVM_ASSIGN(auto impl, attach(std::move(own), ring::Side::kConsumer, slot, supervised));
  return Consumer(std::move(impl));
}

Producer::Producer(std::unique_ptr<detail::EndImpl> impl) : impl_(std::move(impl)) {}
Producer::Producer(Producer&&) noexcept = default;
Producer& Producer::operator=(Producer&&) noexcept = default;
Producer::~Producer() = default;

Result<Outcome> Producer::try_put(std::span<const std::byte> data, std::uint32_t priority,
                                  std::uint64_t key) {
  if (priority >= ring::kLevels) return Error(ErrorCode::kInvalid, "a priority is at most 255");
  return outcome_of(impl_->end.put(data.data(), data.size(), priority, key));
}

Result<Outcome> Producer::put(std::span<const std::byte> data, std::chrono::nanoseconds timeout,
                              std::uint32_t priority, std::uint64_t key) {
  if (priority >= ring::kLevels) return Error(ErrorCode::kInvalid, "a priority is at most 255");
  return outcome_of(ring::until_done(impl_->end,
                                     [&] { return impl_->end.put(data.data(), data.size(), priority, key); },
                                     std::max<std::int64_t>(0, timeout.count()), impl_->spin, {}));
}

std::uint64_t Producer::count() const { return impl_->end.count(); }
Status Producer::close(EndState how) {
  impl_->end.close(detail::slot_state(how));
  return ok();
}

Consumer::Consumer(std::unique_ptr<detail::EndImpl> impl) : impl_(std::move(impl)) {}
Consumer::Consumer(Consumer&&) noexcept = default;
Consumer& Consumer::operator=(Consumer&&) noexcept = default;
Consumer::~Consumer() = default;

namespace {

int take_view(ring::End& end, ring::View& view, MessageView& message) {
  const int result = end.take(view);
  if (result != MVM_OK) return result;
  message.data = {view.data, view.size};
  message.key = view.key;
  message.priority = view.priority;
  message.redelivered = view.redelivered;
  message.fragment = view.more || view.continuation;
  message.token = view.token;
  return MVM_OK;
}

}  // namespace

Result<Outcome> Consumer::try_take(MessageView& message) {
  ring::View view;
  return outcome_of(take_view(impl_->end, view, message));
}

Result<Outcome> Consumer::take(MessageView& message, std::chrono::nanoseconds timeout) {
  ring::View view;
  return outcome_of(ring::until_done(impl_->end, [&] { return take_view(impl_->end, view, message); },
                                     std::max<std::int64_t>(0, timeout.count()), impl_->spin, {}));
}

Status Consumer::release(const MessageView& message) {
  MVM_ASSIGN(const Outcome outcome, outcome_of(impl_->end.release(message.token)));
  return outcome == Outcome::kDone
             ? ok()
             : Error(ErrorCode::kConflict, "the end was closed, and its messages given back");
}

std::uint64_t Consumer::count() const { return impl_->end.count(); }
Status Consumer::close(EndState how) {
  impl_->end.close(detail::slot_state(how));
  return ok();
}

}  // namespace mvm::queuevm
