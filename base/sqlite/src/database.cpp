#include "mvm/base/sqlite/database.h"

#include <fcntl.h>
#include <sqlite3.h>

#include "mvm/base/unique_fd.h"

namespace mvm::sqlite {
namespace {

Error to_error(sqlite3* database, std::string_view what) {
  const int code = database == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database);
  ErrorCode kind = ErrorCode::kIo;
  if (code == SQLITE_FULL) kind = ErrorCode::kExhausted;
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) kind = ErrorCode::kConflict;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) kind = ErrorCode::kCorrupt;
  const char* text = database == nullptr ? "out of memory" : sqlite3_errmsg(database);
  return Error(kind, std::string(what) + ": " + text);
}

Status set_up(const Database& database, const Database::Kind& kind) {
  MVM_TRY(database.execute("PRAGMA locking_mode = EXCLUSIVE"));
  MVM_TRY(database.execute("PRAGMA journal_mode = WAL"));
  MVM_TRY(database.execute("PRAGMA synchronous = FULL"));
  MVM_TRY(database.execute("PRAGMA wal_autocheckpoint = 2000"));
  MVM_TRY(database.execute("BEGIN IMMEDIATE"));
  MVM_ASSIGN(const auto tables, database.query_number("SELECT count(*) FROM sqlite_master"));
  if (tables == 0) {
    const std::string stamp = "PRAGMA application_id = " + std::to_string(kind.application) +
                              "; PRAGMA user_version = " + std::to_string(kind.version);
    MVM_TRY(database.execute(kind.tables));
    MVM_TRY(database.execute(stamp.c_str()));
  }
  MVM_TRY(database.execute("COMMIT"));
  MVM_ASSIGN(const auto application, database.query_number("PRAGMA application_id"));
  MVM_ASSIGN(const auto version, database.query_number("PRAGMA user_version"));
  if (application != kind.application || version != kind.version)
    return Error(ErrorCode::kCorrupt, std::string("this database is not ") + kind.name + " of version " +
                                          std::to_string(kind.version));
  return ok();
}

}  // namespace

void CloseDatabase::operator()(sqlite3* database) const { sqlite3_close_v2(database); }
void FinalizeStatement::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

void Statement::bind(int index, std::string_view bytes) {
  sqlite3_bind_blob64(handle_.get(), index, bytes.empty() ? "" : bytes.data(), bytes.size(), SQLITE_STATIC);
}

void Statement::bind(int index, std::uint64_t number) {
  sqlite3_bind_int64(handle_.get(), index, static_cast<sqlite3_int64>(number));
}

Step Statement::step() {
  switch (sqlite3_step(handle_.get())) {
    case SQLITE_ROW:
      return Step::kRow;
    case SQLITE_DONE:
      return Step::kDone;
    default:
      return Step::kError;
  }
}

bool Statement::run() {
  const bool done = step() == Step::kDone;
  reset();
  return done;
}

void Statement::reset() {
  sqlite3_reset(handle_.get());
  sqlite3_clear_bindings(handle_.get());
}

std::string Statement::text(int column) const {
  const void* bytes = sqlite3_column_blob(handle_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column));
  return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
}

std::uint64_t Statement::number(int column) const {
  return static_cast<std::uint64_t>(sqlite3_column_int64(handle_.get(), column));
}

Result<Database> Database::open(const std::filesystem::path& file, const Kind& kind) {
  // Made by us first, so that its permissions are right from the start.
  const UniqueFd made(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!made) return Error::from_errno(errno, "open " + file.string());
  sqlite3* raw = nullptr;
  const int opened = sqlite3_open_v2(
      file.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database;
  database.handle_.reset(raw);
  if (opened != SQLITE_OK) return to_error(raw, "open " + file.string());
  if (const auto ready = set_up(database, kind); !ready) {
    if (ready.error().code() == ErrorCode::kConflict)
      return Error(ErrorCode::kConflict, file.string() + " is in use by another process");
    return Error(ready.error()).wrap("open " + file.string());
  }
  return database;
}

Result<Statement> Database::prepare(const char* sql) const {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(handle_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK)
    return error("prepare");
  Statement statement;
  statement.handle_.reset(raw);
  return statement;
}

Status Database::execute(const char* sql) const {
  if (sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error(sql);
  return ok();
}

void Database::roll_back() const { sqlite3_exec(handle_.get(), "ROLLBACK", nullptr, nullptr, nullptr); }

Result<std::uint64_t> Database::query_number(const char* sql) const {
  MVM_ASSIGN(auto statement, prepare(sql));
  if (statement.step() != Step::kRow) return error(sql);
  return statement.number(0);
}

Error Database::error(std::string_view what) const { return to_error(handle_.get(), what); }

}  // namespace mvm::sqlite
