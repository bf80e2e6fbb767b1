#pragma once
// What a server of the catalog knows: pure, without clock or network. Merging is a join: whatever servers
// learn from each other, in whatever order and however often, they end up with the same.

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mvm/catalog/assertion.h"

namespace mvm::catalog {

inline constexpr std::size_t kMaxParties = 4096;
inline constexpr std::size_t kMaxPartyBytes = 4U << 20U;  ///< of one party's assertions, as they travel
inline constexpr std::size_t kMaxPartyItems = 4096;
inline constexpr std::size_t kMaxEarly = 64;  ///< updates of a party that wait for an earlier one

/// How far each party's updates are known: all up to this sequence.
using Versions = std::map<std::string, std::uint64_t>;

/// A party's latest word on one characteristic.
struct Word {
  Assertion assertion;
  std::int64_t keep_until_ms = 0;  ///< no copy of an earlier word on it holds longer; 0: as this one
  bool operator==(const Word&) const = default;
};

/// What one server tells another about one party.
struct Delta {
  std::string party;
  std::uint64_t known = 0;  ///< all of its updates up to this are in `words`, or known before
  std::vector<Word> words;
};

/// What is known of one party.
class PartyState {
 public:
  using Subject = std::pair<std::string, std::string>;  // uri, name

  /// Joins: the words are this party's and were checked. What it says is the same whatever the order.
  void merge(std::uint64_t known, const std::vector<Word>& words);

  [[nodiscard]] std::uint64_t known() const { return known_; }
  [[nodiscard]] const std::map<Subject, Word>& words() const { return words_; }
  [[nodiscard]] const std::map<std::pair<std::uint64_t, std::string>, Assertion>& early() const {
    return early_;
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  /// All that somebody needs who knows its updates up to `known`.
  [[nodiscard]] Delta after(const std::string& party, std::uint64_t known) const;
  /// Forgets what has expired everywhere.
  std::vector<Subject> forget(std::int64_t now_ms);
  bool operator==(const PartyState&) const = default;

 private:
  void speak(const Assertion& assertion, std::int64_t keep_until_ms);
  void settle();

  std::uint64_t known_ = 0;
  std::map<Subject, Word> words_;  // of updates up to known_
  // Later ones, which are not to be seen before those between; by sequence and signature, as a party that
  // signs two with one sequence must not set servers at odds.
  std::map<std::pair<std::uint64_t, std::string>, Assertion> early_;
  std::size_t bytes_ = 0;
};

/// All parties. Not thread-safe.
class State {
 public:
  /// A party's update, which came to this server first. The party's updates are seen in their order: one that
  /// comes early waits for those before it. kInvalid: not well made or signed; kRefused: dated ahead, or
  /// expired; kConflict: the sequence is used already; kExhausted: too much of this party, or too many
  /// parties.
  [[nodiscard]] Status assert_(const Assertion& assertion, std::int64_t now_ms);
  /// From another server. kInvalid, kExhausted: nothing of it was taken.
  [[nodiscard]] Status merge(const Delta& delta);
  void merge(const State& other);

  [[nodiscard]] Versions versions() const;
  /// What somebody with these versions lacks; at least one party's, then no more than `bytes`.
  [[nodiscard]] std::vector<Delta> lacking(const Versions& versions, std::size_t bytes) const;
  /// Each party's word on the resource that holds now, in the order of (name, party); empty name: all.
  [[nodiscard]] std::vector<Assertion> query(std::string_view uri, std::string_view name,
                                             std::int64_t now_ms) const;
  /// Resources, in their order, that begin so and come after `after`; at most `limit`.
  [[nodiscard]] std::vector<std::string> resources(std::string_view beginning, std::string_view after,
                                                   std::size_t limit, std::int64_t now_ms) const;
  /// 0 where nothing is known of it.
  [[nodiscard]] std::uint64_t known(const std::string& party) const;
  [[nodiscard]] const PartyState* party(const std::string& party) const;
  void forget(std::int64_t now_ms);
  bool operator==(const State& other) const { return parties_ == other.parties_; }

 private:
  PartyState& of(const std::string& party) { return parties_[party]; }
  void index(const std::vector<Word>& words);

  std::map<std::string, PartyState> parties_;
  std::map<std::string, std::set<std::string>, std::less<>>
      by_uri_;  // to parties that said something about it
};

}  // namespace mvm::catalog
