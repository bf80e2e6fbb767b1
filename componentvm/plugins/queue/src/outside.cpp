#include "outside.h"

#include <algorithm>

#include "mvm/base/digest.h"
#include "mvm/base/json.h"

namespace mvm::plugins::queue {
namespace {

using nlohmann::json;
using queuevm::Outcome;

constexpr std::size_t kPiece = 256 << 10;  // of an answer
constexpr std::size_t kMaxClients = 256;
constexpr int kMaxEnds = 4096;
constexpr std::size_t kMaxMessages = 1024;  // of a batch
constexpr std::chrono::milliseconds kMostWait{1000};

struct Numbers {
  std::vector<std::uint64_t> values;
  [[nodiscard]] std::uint64_t at(std::size_t i) const { return i < values.size() ? values[i] : 0; }
};

Result<Numbers> numbers_of(const json& args, const char* field, std::uint64_t most) {
  Numbers numbers;
  for (const json& one : array_or_empty(args, field)) {
    if (!one.is_number_unsigned() || one.get<std::uint64_t>() > most || numbers.values.size() >= kMaxMessages)
      return Error(ErrorCode::kInvalid, "field \"" + std::string(field) + "\": found " +
                                            one.dump().substr(0, 40) + ", expected at most " +
                                            std::to_string(kMaxMessages) + " numbers up to " +
                                            std::to_string(most));
    numbers.values.push_back(one.get<std::uint64_t>());
  }
  return numbers;
}

std::chrono::milliseconds wait_of(const json& args) {
  return std::min(std::chrono::milliseconds(std::min<std::uint64_t>(number_or(args, "wait_ms"), 60'000)),
                  kMostWait);
}

std::uint64_t microseconds(Clock::Instant now) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count());
}

}  // namespace

// ---- in ----

struct Intake::Batch {
  std::string client;
  std::string ticket;
  std::uint64_t first = 0;
  Numbers sizes, priorities, keys;
  Clock::Instant until;
};

Intake::Intake(queuevm::Producer producer) : producer_(std::move(producer)), life_(random_hex(8)) {}

std::string Intake::ticket() const { return life_ + "." + std::to_string(producer_.count()); }

/// Long-silent clients are forgotten: their tickets tell whether anything of theirs can be in doubt.
void Intake::make_room() {
  if (clients_.size() < kMaxClients) return;
  clients_.erase(std::min_element(clients_.begin(), clients_.end(), [](const auto& a, const auto& b) {
    return a.second.heard < b.second.heard;
  }));
}

/// A client that we do not know, with messages: we may be a restarted kernel, and its batch may be in the
/// queue already. It is not where nothing came in since its ticket was made.
Status Intake::enter(const Batch& batch) {
  if (const auto known = clients_.find(batch.client); known != clients_.end()) {
    if (batch.first > known->second.accepted)
      return Error(ErrorCode::kInvalid, "the batch begins with message " + std::to_string(batch.first) +
                                            " of client " + batch.client + ", expected at most " +
                                            std::to_string(known->second.accepted));
    return ok();
  }
  if (!batch.sizes.values.empty()) {
    const std::size_t dot = batch.ticket.find('.');
    if (dot == std::string::npos)
      return Error(ErrorCode::kInvalid, "messages come with the ticket of an earlier answer");
    if (batch.ticket.substr(dot + 1) != std::to_string(producer_.count()))
      return Error(
          ErrorCode::kAborted,
          "the node's kernel was restarted; of the messages on their way some may be in the queue: " +
              std::to_string(batch.first) + " are for certain, and up to " +
              std::to_string(batch.sizes.values.size()) + " more");
  }
  make_room();
  clients_[batch.client].accepted = batch.first;
  return ok();
}

Status Intake::put_all(const Batch& batch, const std::string& blob, std::string& end) {
  Client& client = clients_[batch.client];
  std::size_t at = 0;
  bool progress = false;
  for (std::size_t i = 0; i < batch.sizes.values.size(); ++i) {
    const std::size_t size = batch.sizes.values[i];
    const std::span<const std::byte> data(reinterpret_cast<const std::byte*>(blob.data()) + at, size);
    at += size;
    if (batch.first + i < client.accepted) continue;  // came before
    const auto left = std::max<Clock::Instant::duration>(batch.until - std::chrono::steady_clock::now(),
                                                         Clock::Instant::duration::zero());
    MVM_ASSIGN(
        const Outcome outcome,
        producer_.put(data, left, static_cast<std::uint32_t>(batch.priorities.at(i)), batch.keys.at(i)));
    if (outcome == Outcome::kWouldBlock) break;
    if (outcome == Outcome::kFull && !progress)
      return Error(ErrorCode::kExhausted, "the queue is full, and its rule is to fail");
    if (outcome == Outcome::kFull) break;
    if (outcome == Outcome::kEndOfStream || outcome == Outcome::kPeerDead) {
      end = outcome == Outcome::kPeerDead ? "dead" : "done";
      break;
    }
    ++client.accepted;
    progress = true;
  }
  return ok();
}

Result<json> Intake::put(const json& args, const std::string& blob) {
  Batch batch;
  MVM_ASSIGN(batch.client, need_text(args, "client", 64));
  MVM_ASSIGN(batch.sizes, numbers_of(args, "sizes", blob.size()));
  MVM_ASSIGN(batch.priorities, numbers_of(args, "priorities", 255));
  MVM_ASSIGN(batch.keys, numbers_of(args, "keys", ~std::uint64_t{0}));
  batch.ticket = text_or(args, "ticket");
  batch.first = number_or(args, "first");
  std::uint64_t total = 0;
  for (const std::uint64_t size : batch.sizes.values) total += size;
  if (total != blob.size())
    return Error(ErrorCode::kInvalid, "field \"sizes\": " + std::to_string(total) + " bytes, found " +
                                          std::to_string(blob.size()));
  const std::lock_guard lock(mutex_);
  batch.until = std::chrono::steady_clock::now() + wait_of(args);
  MVM_TRY(enter(batch));
  clients_[batch.client].heard = std::chrono::steady_clock::now();
  std::string end;
  const bool nothing_new = clients_[batch.client].accepted >= batch.first + batch.sizes.values.size();
  if (closed_ && !nothing_new)
    return Error(ErrorCode::kConflict, "the stream into this port was ended by a client");
  if (!closed_) MVM_TRY(put_all(batch, blob, end));
  const std::uint64_t accepted = clients_[batch.client].accepted;
  if (flag_or(args, "done") && accepted >= batch.first + batch.sizes.values.size()) {
    MVM_TRY(producer_.close(queuevm::EndState::kDone));
    closed_ = true;
  }
  return json{{"accepted", accepted}, {"ticket", ticket()}, {"end", end}, {"closed", closed_}};
}

void Intake::close(queuevm::EndState how) {
  const std::lock_guard lock(mutex_);
  (void)producer_.close(how);
  closed_ = true;
}

// ---- out ----

/// Messages of one answer.
struct Outlet::Page {
  json messages = json::array();
  std::string blob;
  std::size_t count = 0, most = 0, bytes = 0;

  [[nodiscard]] bool full() const { return count >= most || (count > 0 && blob.size() >= bytes); }
  /// As much of it, from `offset` on, as fits. False: not its end.
  bool add(const queuevm::HandOut::Entry& entry, std::uint64_t offset, bool whose) {
    const std::span<const std::byte> data = entry.message.data;
    offset = std::min<std::uint64_t>(offset, data.size());
    const std::size_t length = std::min(data.size() - offset, bytes - blob.size());
    blob.append(reinterpret_cast<const char*>(data.data()) + offset, length);
    json item = {{"n", entry.number}, {"size", data.size()}, {"length", length}};
    if (entry.message.key != 0) item["key"] = entry.message.key;
    if (entry.message.priority != 0) item["priority"] = entry.message.priority;
    if (entry.again) item["again"] = true;
    if (offset > 0) item["offset"] = offset;
    if (whose && !entry.client.empty()) item["client"] = entry.client;
    messages.push_back(std::move(item));
    ++count;
    return offset + length == data.size();
  }
};

Outlet::Outlet(queuevm::Consumer consumer, const Clock& clock)
    : clock_(clock),
      consumer_(std::move(consumer)),
      hand_out_(queuevm::kClientLease, microseconds(clock.now())) {}

struct Outlet::Request {
  std::string client;
  std::uint64_t acknowledged = 0;
  std::uint64_t partial = 0, offset = 0;  ///< of that message the client has so many bytes already
  bool leave = false;
};

/// With the mutex held.
Status Outlet::settle(const Request& request) {
  hand_out_.heard(request.client, request.acknowledged, clock_.now());
  if (request.leave) hand_out_.leave(request.client);
  if (hand_out_.expire(clock_.now()) || request.leave) changed_.notify_all();
  if (polling_) {
    waiter_.wake();  // who waits there releases them
    return ok();
  }
  for (const queuevm::MessageView& message : hand_out_.take_done()) MVM_TRY(consumer_.release(message));
  return ok();
}

/// One more message from the queue into the books, if there is one.
Status Outlet::fetch() {
  queuevm::MessageView message;
  MVM_ASSIGN(Outcome outcome, consumer_.try_take(message));
  // Each death is told once while other producers live; the end of all is told again and again.
  for (int deaths = 0; outcome == Outcome::kPeerDead && deaths < kMaxEnds; ++deaths) {
    MVM_ASSIGN(outcome, consumer_.try_take(message));
  }
  if (outcome == Outcome::kDone) hand_out_.add(message);
  if (outcome == Outcome::kEndOfStream) end_ = "done";
  if (outcome == Outcome::kPeerDead) end_ = "dead";
  return ok();
}

Status Outlet::fill(Page& page, const Request& request) {
  std::uint64_t after = request.acknowledged;
  while (!page.full()) {  // asked first: what next() answers is held from then on
    const auto* entry = hand_out_.next(request.client, after);
    if (entry == nullptr && !polling_ && end_.empty()) {
      MVM_TRY(fetch());
      entry = hand_out_.next(request.client, after);
    }
    if (entry == nullptr) return ok();
    if (!page.add(*entry, entry->number == request.partial ? request.offset : 0, false)) return ok();
    after = entry->number;
  }
  return ok();
}

/// Until something may have changed. One of those that wait does so at the queue, the others wait for it.
void Outlet::wait(std::unique_lock<std::mutex>& lock, Clock::Instant until) {
  if (polling_ || !end_.empty()) {
    changed_.wait_until(lock, until);
    return;
  }
  polling_ = true;
  lock.unlock();
  const queuevm::Consumer* const ends[] = {&consumer_};
  waiter_.wait(ends, {}, until - clock_.now());
  lock.lock();
  polling_ = false;
  changed_.notify_all();
}

Result<kernel::Answer> Outlet::take(const json& args) {
  Request request;
  MVM_ASSIGN(request.client, need_text(args, "client", 64));
  request.acknowledged = number_or(args, "acknowledged");
  request.partial = number_or(args, "partial");
  request.offset = number_or(args, "offset");
  request.leave = flag_or(args, "leave");
  Page page;
  page.most =
      request.leave ? 0 : std::min<std::uint64_t>(number_or(args, "count", kMaxMessages), kMaxMessages);
  page.bytes = std::clamp<std::uint64_t>(number_or(args, "bytes", kPiece), 1, kPiece);
  std::unique_lock lock(mutex_);
  const Clock::Instant until = clock_.now() + wait_of(args);
  bool over = false;
  for (;;) {
    if (frozen_) return Error(ErrorCode::kConflict, "the job's processes have ended");
    MVM_TRY(settle(request));
    if (page.most > 0) MVM_TRY(fill(page, request));
    over = page.count == 0 && !end_.empty() && !hand_out_.held_by_others(request.client);
    if (page.most == 0 || page.count > 0 || over || clock_.now() >= until) break;
    wait(lock, until);
  }
  return kernel::Answer{
      {{"messages", std::move(page.messages)}, {"end", over ? end_ : ""}}, std::move(page.blob), {}};
}

Result<kernel::Answer> Outlet::rest(const json& args) {
  const std::uint64_t index = number_or(args, "index");
  std::uint64_t offset = number_or(args, "offset");
  std::unique_lock lock(mutex_);
  frozen_ = true;
  changed_.notify_all();
  waiter_.wake();
  changed_.wait(lock, [&] { return !polling_; });
  for (;;) {
    const std::size_t before = hand_out_.entries().size();
    if (end_.empty()) MVM_TRY(fetch());
    if (hand_out_.entries().size() == before) break;
  }
  Page page;
  page.most = kMaxMessages;
  page.bytes = kPiece;
  std::uint64_t position = 0;
  bool more = false;
  for (const auto& entry : hand_out_.entries()) {
    if (entry.done || position++ < index) continue;
    if (more = page.full() || !page.add(entry, std::exchange(offset, 0), true); more) break;
  }
  return kernel::Answer{
      {{"messages", std::move(page.messages)}, {"more", more}, {"end", end_}}, std::move(page.blob), {}};
}

void Outlet::close(queuevm::EndState how) {
  std::unique_lock lock(mutex_);
  frozen_ = true;
  waiter_.wake();
  changed_.notify_all();
  changed_.wait(lock, [&] { return !polling_; });
  (void)consumer_.close(how);
}

}  // namespace mvm::plugins::queue
