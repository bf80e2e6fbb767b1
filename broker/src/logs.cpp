#include "logs.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kPiece = 512U << 10U;
constexpr std::size_t kPage = 1U << 20U;

std::string prefix(const std::string& owner) { return "logs/" + owner + "/"; }

/// "cell[0]#2" is the second attempt of "cell[0]", "cell[0]+3" another cell[0], which the third rewiring
/// started.
bool is_of(const std::string& process, const std::string& wanted) {
  return wanted.empty() || process == wanted || process.starts_with(wanted + "#") ||
         process.starts_with(wanted + "+");
}

}  // namespace

Logs::Log& Logs::find(const std::string& owner) {
  const auto known = logs_.find(owner);
  if (known != logs_.end()) return known->second;
  Log log;
  std::string after;
  for (;;) {
    const auto page = core_.journal.list(prefix(owner), after, 500);
    if (!page || page->empty()) break;
    for (const auto& entry : *page) {
      const auto piece = decode_log(entry.value);
      log.last = std::stoull(entry.key.substr(prefix(owner).size()));
      if (!piece) continue;
      log.bytes += piece->text.size();
      auto& end = log.ends[piece->process + "\n" + piece->stream];
      end = std::max(end, piece->offset + piece->text.size());
    }
    after = page->back().key;
  }
  return logs_.emplace(owner, std::move(log)).first->second;
}

void Logs::append(const std::string& owner, LogRecord piece) {
  auto& log = find(owner);
  auto& end = log.ends[piece.process + "\n" + piece.stream];
  if (piece.offset + piece.text.size() <= end) return;
  if (piece.offset < end) {
    piece.text.erase(0, end - piece.offset);
    piece.offset = end;
  }
  end = piece.offset + piece.text.size();
  if (log.full) return;
  if (log.bytes + piece.text.size() > core_.config.limits.log_bytes) {
    log.full = true;
    piece.text = "\n[the log is full: what follows is not kept]\n";
  }
  log.bytes += piece.text.size();
  for (std::size_t at = 0; at < piece.text.size(); at += kPiece) {
    LogRecord part{.process = piece.process,
                   .node = piece.node,
                   .stream = piece.stream,
                   .offset = piece.offset + at,
                   .at_ms = core_.clock.wall_ms(),
                   .text = piece.text.substr(at, kPiece)};
    core_.journal.put(prefix(owner) + padded(++log.last), encode(part));
  }
}

void Logs::note(const std::string& owner, const std::string& stream, const std::string& text) {
  const auto offset = find(owner).ends["\n" + stream];
  append(owner, {.process = {}, .node = {}, .stream = stream, .offset = offset, .at_ms = 0, .text = text});
}

Result<Logs::Page> Logs::read(const std::string& owner, const std::string& process, std::uint64_t cursor) {
  Page page{.pieces = {}, .cursor = cursor, .more = false};
  std::size_t bytes = 0;
  std::string after = cursor == 0 ? std::string() : prefix(owner) + padded(cursor);
  while (bytes < kPage) {
    MVM_ASSIGN(const auto entries, core_.journal.list(prefix(owner), after, 64));
    if (entries.empty()) return page;
    for (const auto& entry : entries) {
      if (bytes >= kPage) break;
      after = entry.key;
      page.cursor = std::stoull(entry.key.substr(prefix(owner).size()));
      auto piece = decode_log(entry.value);
      if (!piece || !is_of(piece->process, process)) continue;
      bytes += piece->text.size() + 100;
      page.pieces.push_back({.process = std::move(piece->process),
                             .node = std::move(piece->node),
                             .stream = std::move(piece->stream),
                             .at_ms = piece->at_ms,
                             .text = std::move(piece->text)});
    }
  }
  page.more = page.cursor < last(owner);
  return page;
}

std::string Logs::tail(const std::string& owner, std::size_t bytes) {
  std::string text;
  std::uint64_t cursor = 0;
  for (;;) {
    const auto page = read(owner, "", cursor);
    if (!page || page->pieces.empty()) break;
    for (const auto& piece : page->pieces) text += piece.text;
    if (text.size() > bytes) text.erase(0, text.size() - bytes);
    cursor = page->cursor;
  }
  return text;
}

std::uint64_t Logs::last(const std::string& owner) {
  const auto known = logs_.find(owner);
  if (known != logs_.end()) return known->second.last;
  return find(owner).last;
}

void Logs::erase(const std::string& owner) {
  logs_.erase(owner);
  core_.journal.erase_prefix(prefix(owner));
}

}  // namespace mvm::broker
