#include "mvm/registry/sqlite/sqlite_registry.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "mvm/base/assert.h"
#include "mvm/base/sqlite/database.h"
#include "mvm/registry/feed.h"
#include "mvm/registry/table.h"

namespace mvm::registry {
namespace {

using sqlite::Database;
using sqlite::Statement;
using sqlite::Step;

/// The file: the table as it was, and the updates since. It is written anew when they outgrow it.
constexpr Database::Kind kKind{.application = 0x4d565247,  // "MVRG"
                               .version = 1,
                               .name = "a registry",
                               .tables =
                                   "CREATE TABLE snapshot(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
                                   "CREATE TABLE log(n INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"};
constexpr std::size_t kLeastLog = 4U << 20U;
constexpr std::size_t kMostAtOnce = 256;

class SqliteRegistry final : public Registry {
 public:
  SqliteRegistry(Database database, Clock& clock) : database_(std::move(database)), times_(clock) {}
  ~SqliteRegistry() override;
  SqliteRegistry(const SqliteRegistry&) = delete;
  SqliteRegistry& operator=(const SqliteRegistry&) = delete;

  [[nodiscard]] Status prepare();

  Result<Applied> update(const Update& update) override;
  Result<Instance> read(std::string_view name, std::uint64_t index, std::uint32_t flags) override;
  Result<Listing> list(std::string_view pattern, const std::optional<Position>& after,
                       std::size_t limit) override;
  Result<Events> watch(std::uint64_t after, std::string_view pattern, std::chrono::milliseconds wait,
                       std::size_t limit) override;
  Status keep_alive(std::uint64_t lease) override;
  void stop() override { feed_->stop(); }

 private:
  /// An update that waits for its turn and then for the disk.
  struct Pending {
    const Update* update = nullptr;
    Result<Effect> result = Effect{};
    bool done = false;
    std::condition_variable changed;
  };
  using Batch = std::vector<Pending*>;

  [[nodiscard]] Status load();
  void commit(const Batch& batch);
  [[nodiscard]] Status write(const Batch& batch);
  [[nodiscard]] Status write_snapshot();
  void publish(const Batch& batch);
  bool revoke_all(const std::vector<std::uint64_t>& leases);
  void end_leases();

  Database database_;
  // Whoever commits owns these: one at a time.
  Statement insert_log_, clear_log_, put_snapshot_;
  Table draft_;
  std::uint64_t next_log_ = 1;
  std::size_t log_bytes_ = 0;
  std::size_t snapshot_bytes_ = 0;

  std::mutex queue_mutex_;
  std::deque<Pending*> queue_;
  bool committing_ = false;

  mutable std::shared_mutex table_mutex_;
  Table table_;  // what is durable: nobody is shown anything else
  std::unique_ptr<Feed> feed_;

  std::mutex times_mutex_;
  std::condition_variable times_changed_;
  LeaseTimes times_;
  bool stopping_ = false;
  std::thread lease_thread_;
};

SqliteRegistry::~SqliteRegistry() {
  {
    const std::lock_guard lock(times_mutex_);
    stopping_ = true;
  }
  times_changed_.notify_all();
  if (lease_thread_.joinable()) lease_thread_.join();
}

Status SqliteRegistry::prepare() {
  MVM_ASSIGN(insert_log_, database_.prepare("INSERT INTO log(n, bytes) VALUES(?1, ?2)"));
  MVM_ASSIGN(clear_log_, database_.prepare("DELETE FROM log"));
  MVM_ASSIGN(put_snapshot_, database_.prepare("INSERT OR REPLACE INTO snapshot(id, bytes) VALUES(1, ?1)"));
  MVM_TRY(load());
  for (const auto& [id, lease] : table_.leases()) times_.begin(id, lease.ttl);
  lease_thread_ = std::thread([this] { end_leases(); });
  return ok();
}

Status SqliteRegistry::load() {
  MVM_ASSIGN(auto snapshot, database_.prepare("SELECT bytes FROM snapshot WHERE id = 1"));
  if (snapshot.step() == Step::kRow) {
    const std::string bytes = snapshot.text(0);
    MVM_ASSIGN(table_, Table::restore(bytes));
    snapshot_bytes_ = bytes.size();
  }
  feed_ = std::make_unique<Feed>(table_.revision());
  MVM_ASSIGN(auto log, database_.prepare("SELECT n, bytes FROM log ORDER BY n"));
  Step step = Step::kDone;
  while ((step = log.step()) == Step::kRow) {
    const std::string bytes = log.text(1);
    MVM_ASSIGN(const auto update, decode_update(bytes));
    auto effect = table_.apply(update);
    if (!effect)
      return Error(ErrorCode::kCorrupt, "update " + std::to_string(log.number(0)) +
                                            " of the log does not fit: " + effect.error().message());
    feed_->add(effect->answer.revision, effect->events);
    next_log_ = log.number(0) + 1;
    log_bytes_ += bytes.size();
  }
  if (step == Step::kError) return database_.error("read the log");
  draft_ = table_;
  return ok();
}

// The first who comes commits for all who come meanwhile, so one alone waits for nobody, and many share the
// disk.
Result<Applied> SqliteRegistry::update(const Update& update) {
  MVM_TRY(check_update(update));
  Pending mine;
  mine.update = &update;
  std::unique_lock lock(queue_mutex_);
  queue_.push_back(&mine);
  mine.changed.wait(lock, [&] { return mine.done || (!committing_ && queue_.front() == &mine); });
  if (!mine.done) {
    committing_ = true;
    const std::size_t count = std::min(queue_.size(), kMostAtOnce);
    const Batch batch(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    lock.unlock();
    commit(batch);
    lock.lock();
    committing_ = false;
    for (auto* pending : batch) {
      pending->done = true;
      pending->changed.notify_one();
    }
    if (!queue_.empty()) queue_.front()->changed.notify_one();
  }
  if (!mine.result) return std::move(mine.result).error();
  return std::move(mine.result->answer);
}

void SqliteRegistry::commit(const Batch& batch) {
  for (auto* pending : batch) pending->result = draft_.apply(*pending->update);
  if (const auto written = write(batch); !written) {
    database_.roll_back();
    // What the draft holds never happened.
    draft_ = table_;
    for (auto* pending : batch) pending->result = written.error();
    return;
  }
  publish(batch);
}

Status SqliteRegistry::write(const Batch& batch) {
  const auto counts = [](const Pending* pending) {
    const auto& result = pending->result;
    if (!result || result->repeated) return false;
    return !pending->update->request.empty() || !result->events.empty() || !result->granted.empty() ||
           !result->ended.empty();
  };
  if (std::none_of(batch.begin(), batch.end(), counts)) return ok();
  MVM_TRY(database_.execute("BEGIN IMMEDIATE"));
  std::uint64_t n = next_log_;
  std::size_t bytes = log_bytes_;
  for (const auto* pending : batch) {
    if (!counts(pending)) continue;
    const std::string record = encode(*pending->update);
    insert_log_.bind(1, n++);
    insert_log_.bind(2, record);
    if (!insert_log_.run()) return database_.error("write the log");
    bytes += record.size();
  }
  const bool anew = bytes > std::max(kLeastLog, snapshot_bytes_);
  if (anew) MVM_TRY(write_snapshot());
  MVM_TRY(database_.execute("COMMIT"));
  next_log_ = n;
  log_bytes_ = anew ? 0 : bytes;
  return ok();
}

Status SqliteRegistry::write_snapshot() {
  const std::string bytes = draft_.snapshot();
  put_snapshot_.bind(1, bytes);
  if (!put_snapshot_.run()) return database_.error("write the snapshot");
  if (!clear_log_.run()) return database_.error("clear the log");
  snapshot_bytes_ = bytes.size();
  return ok();
}

void SqliteRegistry::publish(const Batch& batch) {
  const std::lock_guard lock(table_mutex_);
  for (auto* pending : batch) {
    if (!pending->result || pending->result->repeated) continue;
    // The same update on the same table: the same effect, which the draft has shown already.
    MVM_ASSERT(table_.apply(*pending->update));
    const Effect& effect = *pending->result;
    {
      const std::lock_guard times_lock(times_mutex_);
      for (const auto lease : effect.granted) times_.begin(lease, table_.leases().at(lease).ttl);
      for (const auto lease : effect.ended) times_.drop(lease);
    }
    if (!effect.granted.empty()) times_changed_.notify_all();
    if (effect.answer.revision != feed_->last()) feed_->add(effect.answer.revision, effect.events);
  }
}

Result<Instance> SqliteRegistry::read(std::string_view name, std::uint64_t index, std::uint32_t flags) {
  const std::shared_lock lock(table_mutex_);
  return table_.read(name, index, flags);
}

Result<Listing> SqliteRegistry::list(std::string_view pattern, const std::optional<Position>& after,
                                     std::size_t limit) {
  const std::shared_lock lock(table_mutex_);
  return table_.list(pattern, after, limit);
}

Result<Events> SqliteRegistry::watch(std::uint64_t after, std::string_view pattern,
                                     std::chrono::milliseconds wait, std::size_t limit) {
  return feed_->watch(after, pattern, wait, limit);
}

Status SqliteRegistry::keep_alive(std::uint64_t lease) {
  const std::lock_guard lock(times_mutex_);
  if (times_.keep(lease)) return ok();
  return Error(ErrorCode::kNotFound, "lease " + std::to_string(lease) + " has ended");
}

bool SqliteRegistry::revoke_all(const std::vector<std::uint64_t>& leases) {
  bool done = true;
  for (std::size_t first = 0; first < leases.size(); first += kMaxOperations) {
    Update ends;
    for (std::size_t i = first; i < std::min(first + kMaxOperations, leases.size()); ++i)
      ends.operations.push_back(Operation{.kind = Operation::Kind::kRevoke, .lease = leases[i]});
    done = update(ends).has_value() && done;
  }
  return done;
}

void SqliteRegistry::end_leases() {
  std::unique_lock lock(times_mutex_);
  while (!stopping_) {
    const auto ended = times_.ended();
    if (ended.empty()) {
      if (const auto next = times_.next())
        times_changed_.wait_until(lock, *next);
      else
        times_changed_.wait(lock);
      continue;
    }
    lock.unlock();
    const bool failed = !revoke_all(ended);
    lock.lock();
    // A full disk: the leases have ended all the same, nothing keeps them alive; try again a little later.
    if (failed) times_changed_.wait_for(lock, std::chrono::seconds(1), [this] { return stopping_; });
  }
}

}  // namespace

Result<std::unique_ptr<Registry>> open_sqlite_registry(const std::filesystem::path& file, Clock& clock) {
  MVM_ASSIGN(auto database, Database::open(file, kKind));
  auto registry = std::make_unique<SqliteRegistry>(std::move(database), clock);
  if (auto ready = registry->prepare(); !ready)
    return std::move(ready).error().wrap("open the registry " + file.string());
  return std::unique_ptr<Registry>(std::move(registry));
}

}  // namespace mvm::registry
