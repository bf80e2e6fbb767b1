#include "archive.h"

#include "mvm/catalog/wire.h"

namespace mvm::catalog {
namespace {

using sqlite::Database;
using sqlite::Step;

constexpr Database::Kind kKind{
    .application = 0x4d564354,  // "MVCT"
    .version = 1,
    .name = "a catalog",
    .tables =
        "CREATE TABLE said(party BLOB, sequence INTEGER, signature BLOB, uri BLOB, name BLOB, "
        "expires INTEGER, bytes BLOB, PRIMARY KEY(party, sequence, signature)) WITHOUT ROWID;"
        "CREATE INDEX said_about ON said(party, uri, name);"
        "CREATE INDEX said_expires ON said(expires);"
        "CREATE TABLE known(party BLOB PRIMARY KEY, sequence INTEGER) WITHOUT ROWID;"};

}  // namespace

Result<Archive> Archive::open(const std::filesystem::path& file) {
  Archive archive;
  MVM_ASSIGN(archive.database_, Database::open(file, kKind));
  const auto& database = archive.database_;
  MVM_ASSIGN(archive.put_,
             database.prepare("INSERT OR REPLACE INTO said VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
  // An earlier word that holds longer stays: it says how long copies of it may be about.
  MVM_ASSIGN(archive.replace_,
             database.prepare("DELETE FROM said WHERE party = ?1 AND uri = ?4 AND name = ?5 AND "
                              "sequence < ?2 AND expires <= ?6"));
  MVM_ASSIGN(archive.known_,
             database.prepare("INSERT INTO known VALUES(?1, ?2) ON CONFLICT(party) DO UPDATE SET "
                              "sequence = max(sequence, excluded.sequence)"));
  MVM_ASSIGN(archive.expire_, database.prepare("DELETE FROM said WHERE expires <= ?1"));
  return archive;
}

Result<State> Archive::load() {
  std::map<std::string, Delta> deltas;
  MVM_ASSIGN(auto known, database_.prepare("SELECT party, sequence FROM known"));
  Step step = Step::kDone;
  while ((step = known.step()) == Step::kRow) {
    auto& delta = deltas[known.text(0)];
    delta.party = known.text(0);
    delta.known = known.number(1);
  }
  if (step == Step::kError) return database_.error("read the catalog");
  MVM_ASSIGN(auto said, database_.prepare("SELECT bytes FROM said"));
  while ((step = said.step()) == Step::kRow) {
    const std::string bytes = said.text(0);
    MVM_ASSIGN(auto assertion, decode_assertion(bytes));
    auto& delta = deltas[assertion.party];
    delta.party = assertion.party;
    delta.words.push_back({.assertion = std::move(assertion)});
  }
  if (step == Step::kError) return database_.error("read the catalog");
  State state;
  for (const auto& [party, delta] : deltas) MVM_TRY(state.merge(delta));
  return state;
}

Status Archive::write_one(const Assertion& assertion) {
  const std::string bytes = encode(assertion);
  for (auto* statement : {&put_, &replace_}) {
    statement->bind(1, assertion.party);
    statement->bind(2, assertion.sequence);
    statement->bind(4, assertion.uri);
    statement->bind(5, assertion.name);
    statement->bind(6, static_cast<std::uint64_t>(assertion.expires_ms));
  }
  put_.bind(3, assertion.signature);
  put_.bind(7, bytes);
  const bool put = put_.run();
  const bool replaced = replace_.run();
  return put && replaced ? ok() : Status(database_.error("write the catalog"));
}

Status Archive::write(const std::vector<Delta>& deltas) {
  MVM_TRY(database_.execute("BEGIN IMMEDIATE"));
  Status done = ok();
  for (const auto& delta : deltas) {
    for (const auto& word : delta.words)
      if (done) done = write_one(word.assertion);
    known_.bind(1, delta.party);
    known_.bind(2, delta.known);
    if (!known_.run() && done) done = database_.error("write the catalog");
  }
  if (done) done = database_.execute("COMMIT");
  if (!done) database_.roll_back();
  return done;
}

Status Archive::forget(std::int64_t now_ms) {
  expire_.bind(1, static_cast<std::uint64_t>(now_ms));
  return expire_.run() ? ok() : Status(database_.error("forget"));
}

}  // namespace mvm::catalog
