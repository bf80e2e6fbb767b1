#pragma once
// Owners of SQLite's handles, and its faults as Errors. Only this folder includes sqlite3.h.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

namespace mvm::broker::sqlite {

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

/// The connection's present error.
inline Error to_error(sqlite3* database, std::string_view what) {
  const int code = database == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database);
  ErrorCode kind = ErrorCode::kIo;
  if (code == SQLITE_FULL) kind = ErrorCode::kExhausted;
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) kind = ErrorCode::kConflict;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) kind = ErrorCode::kCorrupt;
  const char* text = database == nullptr ? "out of memory" : sqlite3_errmsg(database);
  return Error(kind, std::string(what) + ": " + text);
}

/// A prepared statement; bound and stepped, then reset for its next use. One thread at a time.
class Statement {
 public:
  [[nodiscard]] static Result<Statement> prepare(sqlite3* database, const char* sql) {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK)
      return to_error(database, "prepare");
    Statement statement;
    statement.handle_.reset(raw);
    return statement;
  }
  // The bound bytes must live until reset().
  void bind(int index, std::string_view text) {
    sqlite3_bind_blob64(handle_.get(), index, text.empty() ? "" : text.data(), text.size(), SQLITE_STATIC);
  }
  void bind(int index, std::uint64_t number) {
    sqlite3_bind_int64(handle_.get(), index, static_cast<sqlite3_int64>(number));
  }
  /// SQLITE_ROW, SQLITE_DONE, or an error code.
  [[nodiscard]] int step() { return sqlite3_step(handle_.get()); }
  void reset() {
    sqlite3_reset(handle_.get());
    sqlite3_clear_bindings(handle_.get());
  }
  [[nodiscard]] std::string text(int column) const {
    const void* bytes = sqlite3_column_blob(handle_.get(), column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column));
    return bytes == nullptr ? std::string() : std::string(static_cast<const char*>(bytes), size);
  }
  [[nodiscard]] std::uint64_t number(int column) const {
    return static_cast<std::uint64_t>(sqlite3_column_int64(handle_.get(), column));
  }

 private:
  std::unique_ptr<sqlite3_stmt, FinalizeStatement> handle_;
};

}  // namespace mvm::broker::sqlite
