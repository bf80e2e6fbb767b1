#pragma once
// A SQLite file that one process owns and that is durable: what the embedded providers (the broker's store,
// the registry) are made of. Only this folder includes sqlite3.h.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "mvm/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mvm::sqlite {

enum class Step { kRow, kDone, kError };

struct CloseDatabase {
  void operator()(sqlite3* database) const;
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const;
};

/// A prepared statement; bound and stepped, then reset for its next use. One thread at a time.
class Statement {
 public:
  /// The bound bytes must live until reset().
  void bind(int index, std::string_view bytes);
  void bind(int index, std::uint64_t number);
  [[nodiscard]] Step step();
  /// A step that must be the last one, and then reset. False after an error.
  [[nodiscard]] bool run();
  void reset();
  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] std::uint64_t number(int column) const;

 private:
  friend class Database;
  std::unique_ptr<sqlite3_stmt, FinalizeStatement> handle_;
};

/// An open database. One thread at a time.
class Database {
 public:
  /// What makes a file one of ours.
  struct Kind {
    std::uint64_t application = 0;  ///< its application_id
    std::uint64_t version = 0;      ///< its user_version
    const char* name = "";          ///< for the error: "a store"
    const char* tables = "";        ///< the statements that make an empty file one
  };

  Database() = default;
  /// Opens or makes it, mode 0600, for this process alone: write-ahead log, each commit synced. kConflict: in
  /// use by another process; kCorrupt: not of this kind.
  [[nodiscard]] static Result<Database> open(const std::filesystem::path& file, const Kind& kind);

  [[nodiscard]] Result<Statement> prepare(const char* sql) const;
  /// A statement that runs once and answers nothing.
  [[nodiscard]] Status execute(const char* sql) const;
  /// Ends a transaction, whatever state it is in.
  void roll_back() const;
  [[nodiscard]] Result<std::uint64_t> query_number(const char* sql) const;
  /// The connection's present error.
  [[nodiscard]] Error error(std::string_view what) const;

 private:
  std::unique_ptr<sqlite3, CloseDatabase> handle_;
};

}  // namespace mvm::sqlite
