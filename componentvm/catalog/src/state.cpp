#include "mvm/catalog/state.h"

#include <algorithm>

#include "mvm/catalog/wire.h"

namespace mvm::catalog {
namespace {

std::size_t weight(const Assertion& a) {
  return a.uri.size() + a.name.size() + a.value.size() + a.type.size() + 200;
}

/// The later of two words on one subject; of two with one sequence the same one everywhere.
bool later(const Assertion& a, const Assertion& b) {
  return std::pair(a.sequence, std::string_view(a.signature)) >
         std::pair(b.sequence, std::string_view(b.signature));
}

}  // namespace

// ---- one party ----

void PartyState::speak(const Assertion& assertion, std::int64_t keep_until_ms) {
  auto [at, fresh] = words_.try_emplace({assertion.uri, assertion.name});
  Word& word = at->second;
  word.keep_until_ms = std::max({word.keep_until_ms, assertion.expires_ms, keep_until_ms});
  if (!fresh && !later(assertion, word.assertion)) return;
  if (!fresh) bytes_ -= weight(word.assertion);
  bytes_ += weight(assertion);
  word.assertion = assertion;
}

void PartyState::settle() {
  while (!early_.empty() && early_.begin()->first.first <= known_ + 1) {
    const auto first = early_.begin();
    known_ = std::max(known_, first->first.first);
    bytes_ -= weight(first->second);
    speak(first->second, 0);
    early_.erase(first);
  }
}

void PartyState::merge(std::uint64_t known, const std::vector<Word>& words) {
  known_ = std::max(known_, known);
  for (const auto& [assertion, keep_until_ms] : words) {
    if (assertion.sequence <= known_) {
      // No assertion holds longer than that, whatever a server says.
      speak(assertion, std::min(keep_until_ms, assertion.date_ms + kMaxLifeMs));
      continue;
    }
    if (early_.try_emplace({assertion.sequence, assertion.signature}, assertion).second)
      bytes_ += weight(assertion);
  }
  settle();
}

Delta PartyState::after(const std::string& party, std::uint64_t known) const {
  Delta delta{.party = party, .known = known_, .words = {}};
  for (const auto& [subject, word] : words_)
    if (word.assertion.sequence > known) delta.words.push_back(word);
  for (const auto& [sequence, assertion] : early_) delta.words.push_back({.assertion = assertion});
  return delta;
}

std::vector<PartyState::Subject> PartyState::forget(std::int64_t now_ms) {
  std::vector<Subject> gone;
  for (auto word = words_.begin(); word != words_.end();) {
    if (word->second.keep_until_ms > now_ms) {
      ++word;
      continue;
    }
    bytes_ -= weight(word->second.assertion);
    gone.push_back(word->first);
    word = words_.erase(word);
  }
  return gone;
}

// ---- all parties ----

Status State::assert_(const Assertion& assertion, std::int64_t now_ms) {
  MVM_TRY(check(assertion));
  if (assertion.date_ms > now_ms + kMaxAheadMs)
    return Error(ErrorCode::kRefused,
                 "the assertion is dated more than 5 minutes ahead of this server's clock");
  if (assertion.expires_ms <= now_ms) return Error(ErrorCode::kRefused, "the assertion has expired");
  const auto found = parties_.find(assertion.party);
  if (found == parties_.end()) {
    if (parties_.size() >= kMaxParties)
      return Error(ErrorCode::kExhausted, "the catalog knows 4,096 parties");
  } else {
    const PartyState& party = found->second;
    const auto word = party.words().find({assertion.uri, assertion.name});
    // Sent again, because an answer was lost.
    if (word != party.words().end() && word->second.assertion == assertion) return ok();
    if (assertion.sequence <= party.known())
      return Error(ErrorCode::kConflict, "sequence " + std::to_string(assertion.sequence) +
                                             " of the party is used: its next one is " +
                                             std::to_string(party.known() + 1));
    if (assertion.sequence == party.known() + 1) {
      const std::uint64_t serial = word == party.words().end() ? 0 : word->second.assertion.serial;
      if (word != party.words().end() && assertion.serial != serial + 1)
        return Error(ErrorCode::kConflict, "serial " + std::to_string(assertion.serial) +
                                               ": the next one is " + std::to_string(serial + 1));
    } else if (party.early().size() >= kMaxEarly) {
      return Error(ErrorCode::kExhausted, "64 updates of the party wait for an earlier one");
    }
    if (party.words().size() >= kMaxPartyItems && word == party.words().end())
      return Error(ErrorCode::kExhausted, "the party has made 4,096 assertions");
    if (party.bytes() + weight(assertion) > kMaxPartyBytes)
      return Error(ErrorCode::kExhausted, "the party's assertions hold 4 MiB");
  }
  of(assertion.party).merge(0, {{.assertion = assertion}});
  index({{.assertion = assertion}});
  return ok();
}

Status State::merge(const Delta& delta) {
  if (delta.party.size() != kPartySize) return Error(ErrorCode::kInvalid, "a party is 32 bytes");
  const auto found = parties_.find(delta.party);
  if (found == parties_.end() && parties_.size() >= kMaxParties)
    return Error(ErrorCode::kExhausted, "the catalog knows 4,096 parties");
  std::size_t bytes = 0;
  for (const auto& [assertion, keep_until_ms] : delta.words) {
    if (assertion.party != delta.party) return Error(ErrorCode::kInvalid, "an assertion of another party");
    MVM_TRY(check(assertion));
    bytes += weight(assertion);
  }
  if (bytes > 2 * kMaxPartyBytes || delta.words.size() > 2 * kMaxPartyItems)
    return Error(ErrorCode::kExhausted, "too much of one party");
  of(delta.party).merge(delta.known, delta.words);
  index(delta.words);
  return ok();
}

void State::merge(const State& other) {
  for (const auto& [party, state] : other.parties_) {
    const Delta delta = state.after(party, 0);
    of(party).merge(delta.known, delta.words);
    index(delta.words);
  }
}

void State::index(const std::vector<Word>& words) {
  for (const auto& word : words) by_uri_[word.assertion.uri].insert(word.assertion.party);
}

Versions State::versions() const {
  Versions versions;
  for (const auto& [party, state] : parties_) versions[party] = state.known();
  return versions;
}

std::vector<Delta> State::lacking(const Versions& versions, std::size_t bytes) const {
  std::vector<Delta> result;
  std::size_t sum = 0;
  for (const auto& [party, state] : parties_) {
    const auto theirs = versions.find(party);
    const std::uint64_t known = theirs == versions.end() ? 0 : theirs->second;
    if (state.known() <= known && state.early().empty()) continue;
    Delta delta = state.after(party, known);
    for (const auto& word : delta.words) sum += weight(word.assertion);
    if (!result.empty() && sum > bytes) break;
    result.push_back(std::move(delta));
  }
  return result;
}

std::vector<Assertion> State::query(std::string_view uri, std::string_view name, std::int64_t now_ms) const {
  std::vector<Assertion> result;
  const auto parties = by_uri_.find(uri);
  if (parties == by_uri_.end()) return result;
  for (const auto& party : parties->second) {
    const auto& words = parties_.at(party).words();
    for (auto word = words.lower_bound({std::string(uri), std::string(name)});
         word != words.end() && word->first.first == uri; ++word) {
      if (!name.empty() && word->first.second != name) break;
      const auto& assertion = word->second.assertion;
      if (!assertion.withdrawn && assertion.expires_ms > now_ms) result.push_back(assertion);
    }
  }
  std::sort(result.begin(), result.end(), [](const Assertion& a, const Assertion& b) {
    return std::tie(a.name, a.party) < std::tie(b.name, b.party);
  });
  return result;
}

std::vector<std::string> State::resources(std::string_view beginning, std::string_view after,
                                          std::size_t limit, std::int64_t now_ms) const {
  std::vector<std::string> result;
  auto at = after > beginning ? by_uri_.upper_bound(after) : by_uri_.lower_bound(beginning);
  for (; at != by_uri_.end() && at->first.starts_with(beginning) && result.size() < limit; ++at)
    if (!query(at->first, {}, now_ms).empty()) result.push_back(at->first);
  return result;
}

std::uint64_t State::known(const std::string& party) const {
  const auto found = parties_.find(party);
  return found == parties_.end() ? 0 : found->second.known();
}

const PartyState* State::party(const std::string& party) const {
  const auto found = parties_.find(party);
  return found == parties_.end() ? nullptr : &found->second;
}

/// How far a party is known stays: its next update must not be mistaken for an early one.
void State::forget(std::int64_t now_ms) {
  for (auto& [party, state] : parties_)
    for (const auto& [uri, name] : state.forget(now_ms)) {
      const auto next = state.words().lower_bound({uri, std::string()});
      if (next != state.words().end() && next->first.first == uri) continue;
      const auto indexed = by_uri_.find(uri);
      if (indexed == by_uri_.end()) continue;
      indexed->second.erase(party);
      if (indexed->second.empty()) by_uri_.erase(indexed);
    }
}

}  // namespace mvm::catalog
