#include "mvm/broker/sqlite_store.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "../watchers.h"
#include "mvm/base/digest.h"
#include "mvm/base/sqlite/database.h"

namespace mvm::broker {
namespace {

using sqlite::Database;
using sqlite::Statement;
using sqlite::Step;

constexpr Database::Kind kKind{
    .application = 0x4d564d31,  // "MVM1"
    .version = 1,
    .name = "a store",
    .tables =
        "CREATE TABLE kv(key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL, "
        "revision INTEGER NOT NULL, lease BLOB NOT NULL);"
        "CREATE INDEX kv_lease ON kv(lease) WHERE lease <> x'';"
        "CREATE TABLE lease(id BLOB PRIMARY KEY NOT NULL, ttl_ms INTEGER NOT NULL);"
        "CREATE TABLE meta(name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL);"
        "INSERT INTO meta VALUES('revision', 0);"};
constexpr std::size_t kListBytes = 64U << 20U;

Status validate(const Batch& batch) {
  if (batch.empty() || batch.size() > kMaxBatch)
    return Error(ErrorCode::kInvalid, "a batch holds 1 to " + std::to_string(kMaxBatch) + " operations");
  std::set<std::string_view> keys;
  for (const auto& operation : batch) {
    if (operation.key.empty() || operation.key.size() > kMaxKey)
      return Error(ErrorCode::kInvalid, "a key has 1 to " + std::to_string(kMaxKey) + " bytes");
    if (operation.value.size() > kMaxValue)
      return Error(ErrorCode::kInvalid, "value of " + operation.key + " is longer than 1 MiB");
    if (!keys.insert(operation.key).second)
      return Error(ErrorCode::kInvalid, "key twice in a batch: " + operation.key);
  }
  return ok();
}

/// The first key after all those that begin with `prefix`; empty: there is none.
std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

class SqliteStore final : public Store {
 public:
  SqliteStore(Database database, Clock& clock) : clock_(clock), database_(std::move(database)) {}

  [[nodiscard]] Status prepare();

  Result<Entry> get(std::string_view key) const override;
  Result<std::vector<Entry>> list(std::string_view prefix, std::string_view after,
                                  std::size_t limit) const override;
  Result<std::uint64_t> commit(const Batch& batch) override;
  std::vector<Result<std::uint64_t>> commit_all(const std::vector<Batch>& batches) override;
  Result<std::uint64_t> revision() const override;
  Result<std::unique_ptr<Watch>> watch(std::string prefix, Watcher watcher) override;
  Result<std::string> grant(std::chrono::milliseconds ttl) override;
  Status keep_alive(const std::string& lease) override;
  Status revoke(const std::string& lease) override;

 private:
  struct Lease {
    std::chrono::milliseconds ttl{0};
    Clock::Instant ends;
  };
  struct Statements {
    Statement get, put, erase, list, add_lease, drop_lease, of_lease, set_revision;
  };

  // All of these: mutex_ is held.
  [[nodiscard]] Result<std::optional<Entry>> find(std::string_view key) const;
  [[nodiscard]] Status apply(const Operation& operation, std::uint64_t revision,
                             std::vector<Change>& changes);
  [[nodiscard]] Result<std::uint64_t> apply_batch(const Batch& batch, std::vector<Change>& changes);
  [[nodiscard]] Status finish(std::uint64_t before);
  [[nodiscard]] Status end_lease(const std::string& lease);
  [[nodiscard]] Status expire();
  [[nodiscard]] Status load_leases();

  Clock& clock_;
  mutable std::mutex mutex_;
  Database database_;
  mutable Statements statements_;
  std::uint64_t revision_ = 0;
  std::map<std::string, Lease> leases_;
  Watchers watchers_;
};

Status SqliteStore::prepare() {
  MVM_ASSIGN(statements_.get, database_.prepare("SELECT value, version, revision FROM kv WHERE key = ?1"));
  MVM_ASSIGN(statements_.put,
             database_.prepare("INSERT OR REPLACE INTO kv(key, value, version, revision, lease) "
                               "VALUES(?1, ?2, ?3, ?4, ?5)"));
  MVM_ASSIGN(statements_.erase, database_.prepare("DELETE FROM kv WHERE key = ?1"));
  MVM_ASSIGN(
      statements_.list,
      database_.prepare("SELECT key, value, version, revision FROM kv WHERE key >= ?1 AND key > ?2 AND "
                        "(?3 = x'' OR key < ?3) ORDER BY key LIMIT ?4"));
  MVM_ASSIGN(statements_.add_lease, database_.prepare("INSERT INTO lease(id, ttl_ms) VALUES(?1, ?2)"));
  MVM_ASSIGN(statements_.drop_lease, database_.prepare("DELETE FROM lease WHERE id = ?1"));
  MVM_ASSIGN(statements_.of_lease, database_.prepare("SELECT key FROM kv WHERE lease = ?1"));
  MVM_ASSIGN(statements_.set_revision,
             database_.prepare("UPDATE meta SET value = ?1 WHERE name = 'revision'"));
  MVM_ASSIGN(revision_, database_.query_number("SELECT value FROM meta WHERE name = 'revision'"));
  return load_leases();
}

Status SqliteStore::load_leases() {
  MVM_ASSIGN(auto statement, database_.prepare("SELECT id, ttl_ms FROM lease"));
  while (statement.step() == Step::kRow) {
    const std::chrono::milliseconds ttl(statement.number(1));
    // Their holders get a whole term from now: nobody could keep them alive while the store was closed.
    leases_[statement.text(0)] = Lease{.ttl = ttl, .ends = clock_.now() + ttl};
  }
  return ok();
}

Result<std::optional<Entry>> SqliteStore::find(std::string_view key) const {
  auto& get = statements_.get;
  get.bind(1, key);
  const Step step = get.step();
  std::optional<Entry> found;
  if (step == Step::kRow)
    found = Entry{
        .key = std::string(key), .value = get.text(0), .version = get.number(1), .revision = get.number(2)};
  get.reset();
  if (step != Step::kRow && step != Step::kDone) return database_.error("read");
  return found;
}

Result<Entry> SqliteStore::get(std::string_view key) const {
  const std::lock_guard lock(mutex_);
  MVM_TRY(const_cast<SqliteStore*>(this)->expire());
  MVM_ASSIGN(auto found, find(key));
  if (!found) return Error(ErrorCode::kNotFound, "no such key: " + std::string(key));
  return std::move(*found);
}

Result<std::vector<Entry>> SqliteStore::list(std::string_view prefix, std::string_view after,
                                             std::size_t limit) const {
  const std::lock_guard lock(mutex_);
  MVM_TRY(const_cast<SqliteStore*>(this)->expire());
  const std::string end = after_prefix(std::string(prefix));
  auto& statement = statements_.list;
  statement.bind(1, prefix);
  statement.bind(2, after);
  statement.bind(3, end);
  statement.bind(4, std::min<std::uint64_t>(limit, 1U << 30U));
  std::vector<Entry> entries;
  std::size_t bytes = 0;
  Step step = Step::kDone;
  while (bytes < kListBytes && (step = statement.step()) == Step::kRow) {
    entries.push_back(Entry{.key = statement.text(0),
                            .value = statement.text(1),
                            .version = statement.number(2),
                            .revision = statement.number(3)});
    bytes += entries.back().value.size();
  }
  statement.reset();
  if (step != Step::kRow && step != Step::kDone) return database_.error("list");
  return entries;
}

Status SqliteStore::apply(const Operation& operation, std::uint64_t revision, std::vector<Change>& changes) {
  MVM_ASSIGN(const auto found, find(operation.key));
  const std::uint64_t version = found ? found->version : 0;
  if (operation.expect && *operation.expect != version)
    return Error(ErrorCode::kConflict, operation.key + ": version " + std::to_string(version) +
                                           ", expected " + std::to_string(*operation.expect));
  if (operation.kind == Operation::Kind::kCheck) return ok();
  if (operation.kind == Operation::Kind::kErase) {
    if (!found) return ok();
    statements_.erase.bind(1, operation.key);
    const Step step = statements_.erase.step();
    statements_.erase.reset();
    if (step != Step::kDone) return database_.error("erase");
    changes.push_back(
        {.entry = {.key = operation.key, .value = {}, .version = 0, .revision = revision}, .erased = true});
    return ok();
  }
  if (!operation.lease.empty() && !leases_.contains(operation.lease))
    return Error(ErrorCode::kNotFound, "the lease has ended");
  auto& statement = statements_.put;
  statement.bind(1, operation.key);
  statement.bind(2, operation.value);
  statement.bind(3, version + 1);
  statement.bind(4, revision);
  statement.bind(5, operation.lease);
  const Step step = statement.step();
  statement.reset();
  if (step != Step::kDone) return database_.error("write");
  if (watchers_.watched())
    changes.push_back({.entry = {operation.key, operation.value, version + 1, revision}, .erased = false});
  return ok();
}

Result<std::uint64_t> SqliteStore::apply_batch(const Batch& batch, std::vector<Change>& changes) {
  MVM_TRY(validate(batch));
  MVM_TRY(database_.execute("SAVEPOINT batch"));
  std::vector<Change> mine;
  for (const auto& operation : batch) {
    const auto applied = apply(operation, revision_ + 1, mine);
    if (applied) continue;
    MVM_TRY(database_.execute("ROLLBACK TO batch"));
    MVM_TRY(database_.execute("RELEASE batch"));
    return applied.error();
  }
  MVM_TRY(database_.execute("RELEASE batch"));
  std::move(mine.begin(), mine.end(), std::back_inserter(changes));
  return ++revision_;
}

Status SqliteStore::finish(std::uint64_t before) {
  auto& statement = statements_.set_revision;
  statement.bind(1, revision_);
  const Step step = statement.step();
  statement.reset();
  Status done = ok();
  if (step != Step::kDone) done = database_.error("revision");
  if (done) done = database_.execute("COMMIT");
  if (done) return done;
  database_.roll_back();
  revision_ = before;
  return done;
}

std::vector<Result<std::uint64_t>> SqliteStore::commit_all(const std::vector<Batch>& batches) {
  const std::lock_guard lock(mutex_);
  std::vector<Result<std::uint64_t>> results;
  const auto fail_all = [&](const Error& error) {
    results.assign(batches.size(), Result<std::uint64_t>(error));
    return results;
  };
  if (const auto expired = expire(); !expired) return fail_all(expired.error());
  if (const auto begun = database_.execute("BEGIN IMMEDIATE"); !begun) return fail_all(begun.error());
  const auto before = revision_;
  std::vector<Change> changes;
  for (const auto& batch : batches) results.push_back(apply_batch(batch, changes));
  if (revision_ == before) {
    database_.roll_back();
    return results;
  }
  if (const auto done = finish(before); !done) return fail_all(done.error());
  if (!changes.empty()) watchers_.publish(std::move(changes));
  return results;
}

Result<std::uint64_t> SqliteStore::commit(const Batch& batch) {
  return std::move(commit_all({batch}).front());
}

Result<std::uint64_t> SqliteStore::revision() const {
  const std::lock_guard lock(mutex_);
  return revision_;
}

Result<std::unique_ptr<Watch>> SqliteStore::watch(std::string prefix, Watcher watcher) {
  const std::lock_guard lock(mutex_);
  return watchers_.add(std::move(prefix), std::move(watcher));
}

Result<std::string> SqliteStore::grant(std::chrono::milliseconds ttl) {
  const std::lock_guard lock(mutex_);
  if (ttl.count() <= 0) return Error(ErrorCode::kInvalid, "a lease lasts longer than nothing");
  std::string id = random_hex(8);
  statements_.add_lease.bind(1, id);
  statements_.add_lease.bind(2, static_cast<std::uint64_t>(ttl.count()));
  const Step step = statements_.add_lease.step();
  statements_.add_lease.reset();
  if (step != Step::kDone) return database_.error("lease");
  leases_[id] = Lease{.ttl = ttl, .ends = clock_.now() + ttl};
  return id;
}

Status SqliteStore::keep_alive(const std::string& lease) {
  const std::lock_guard lock(mutex_);
  MVM_TRY(expire());
  const auto found = leases_.find(lease);
  if (found == leases_.end()) return Error(ErrorCode::kNotFound, "the lease has ended");
  found->second.ends = clock_.now() + found->second.ttl;
  return ok();
}

Status SqliteStore::revoke(const std::string& lease) {
  const std::lock_guard lock(mutex_);
  return leases_.contains(lease) ? end_lease(lease) : ok();
}

Status SqliteStore::end_lease(const std::string& lease) {
  MVM_TRY(database_.execute("BEGIN IMMEDIATE"));
  std::vector<std::string> keys;
  auto& of_lease = statements_.of_lease;
  of_lease.bind(1, lease);
  while (of_lease.step() == Step::kRow) keys.push_back(of_lease.text(0));
  of_lease.reset();
  std::vector<Change> changes;
  const auto before = revision_++;
  Status done = ok();
  for (const auto& key : keys)
    if (done) done = apply(erase(key), revision_, changes);
  statements_.drop_lease.bind(1, lease);
  if (statements_.drop_lease.step() != Step::kDone && done) done = database_.error("lease");
  statements_.drop_lease.reset();
  if (!done) {
    database_.roll_back();
    revision_ = before;
    return done;
  }
  MVM_TRY(finish(before));
  leases_.erase(lease);
  if (!changes.empty()) watchers_.publish(std::move(changes));
  return ok();
}

Status SqliteStore::expire() {
  if (leases_.empty()) return ok();
  std::vector<std::string> ended;
  for (const auto& [id, lease] : leases_)
    if (lease.ends <= clock_.now()) ended.push_back(id);
  for (const auto& id : ended) MVM_TRY(end_lease(id));
  return ok();
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& file, Clock& clock) {
  MVM_ASSIGN(auto database, Database::open(file, kKind));
  auto store = std::make_unique<SqliteStore>(std::move(database), clock);
  MVM_TRY(store->prepare());
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace mvm::broker
