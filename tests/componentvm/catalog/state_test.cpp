#include "mvm/catalog/state.h"

#include <gtest/gtest.h>

#include <random>

#include "mvm/catalog/wire.h"

namespace mvm::catalog {
namespace {

constexpr std::int64_t kNow = 1'800'000'000'000;

const Key& key_of(std::size_t n) {
  static const std::vector<Key> keys = [] {
    std::vector<Key> made;
    for (int i = 0; i < 3; ++i) made.push_back(Key::make());
    return made;
  }();
  return keys[n];
}

Assertion made(const Key& key, std::uint64_t sequence, const std::string& name, std::uint64_t serial,
               const std::string& value, std::int64_t life = 100000) {
  Assertion a{.uri = "urn:mvm:host:a",
              .name = name,
              .value = value,
              .type = "text/plain",
              .party = {},
              .serial = serial,
              .sequence = sequence,
              .date_ms = kNow,
              .ttl_ms = 1000,
              .expires_ms = kNow + life,
              .withdrawn = false,
              .signature = {}};
  key.sign(a);
  return a;
}

std::string said(const State& state) {
  std::string text;
  for (const auto& a : state.query("urn:mvm:host:a", "", kNow)) text += a.name + "=" + a.value + ";";
  return text;
}

TEST(CatalogAssertion, IsItsPartysOwn) {
  const Assertion good = made(key_of(0), 1, "arch", 1, "x86_64");
  EXPECT_TRUE(check(good));
  for (int field = 0; field < 11; ++field) {
    Assertion bad = good;
    if (field == 0) bad.uri += "x";
    if (field == 1) bad.name = "os";
    if (field == 2) bad.value = "s390x";
    if (field == 3) bad.type = "other";
    if (field == 4) bad.party = key_of(1).party();
    if (field == 5) bad.serial = bad.sequence = 2;
    if (field == 6) bad.sequence = 7;
    if (field == 7) bad.date_ms -= 1;
    if (field == 8) bad.ttl_ms += 1;
    if (field == 9) bad.expires_ms += 1;
    if (field == 10) bad.signature[5] = static_cast<char>(bad.signature[5] ^ 1);
    EXPECT_FALSE(check(bad)) << field;
  }
  EXPECT_EQ(party_of(party_text(good.party)).value(), good.party);
  EXPECT_FALSE(party_of("ed25519:xy"));
  EXPECT_EQ(Key::from(key_of(0).secret())->party(), key_of(0).party());
  EXPECT_EQ(decode_assertion(encode(good)).value(), good);
}

TEST(CatalogState, KeepsPartiesApart) {
  State state;
  ASSERT_TRUE(state.assert_(made(key_of(0), 1, "arch", 1, "x86_64"), kNow));
  ASSERT_TRUE(state.assert_(made(key_of(1), 1, "arch", 1, "s390x"), kNow));
  EXPECT_EQ(state.query("urn:mvm:host:a", "arch", kNow).size(), 2U) << "no party's word overrides another's";
  ASSERT_TRUE(state.assert_(made(key_of(1), 2, "arch", 2, "aarch64"), kNow));
  const auto all = state.query("urn:mvm:host:a", "arch", kNow);
  ASSERT_EQ(all.size(), 2U);
  for (const auto& one : all) EXPECT_EQ(one.value, one.party == key_of(0).party() ? "x86_64" : "aarch64");
  EXPECT_TRUE(state.query("urn:mvm:host:a", "arc", kNow).empty());
  EXPECT_EQ(state.resources("urn:", "", 10, kNow), std::vector<std::string>{"urn:mvm:host:a"});
  EXPECT_TRUE(state.query("urn:mvm:host:a", "", kNow + 100000).empty()) << "they have expired";
}

TEST(CatalogState, APartysUpdatesAreSeenInTheirOrder) {
  State state;
  const auto first = made(key_of(0), 1, "a", 1, "1");
  const auto second = made(key_of(0), 2, "b", 1, "2");
  const auto third = made(key_of(0), 3, "a", 2, "3");
  ASSERT_TRUE(state.assert_(third, kNow));
  ASSERT_TRUE(state.assert_(second, kNow));
  EXPECT_EQ(said(state), "") << "those before them are not there yet";
  ASSERT_TRUE(state.assert_(first, kNow));
  EXPECT_EQ(said(state), "a=3;b=2;");
  ASSERT_TRUE(state.assert_(third, kNow)) << "sent again, because the answer was lost";
  EXPECT_EQ(state.assert_(made(key_of(0), 3, "c", 1, "x"), kNow).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(state.assert_(made(key_of(0), 4, "a", 4, "x"), kNow).error().code(), ErrorCode::kConflict)
      << "serials have no gaps";
  Assertion gone = made(key_of(0), 4, "a", 3, "");
  gone.withdrawn = true;
  key_of(0).sign(gone);
  ASSERT_TRUE(state.assert_(gone, kNow));
  EXPECT_EQ(said(state), "b=2;");
}

TEST(CatalogState, IsBoundedAndMindsTheClock) {
  State state;
  EXPECT_EQ(state.assert_(made(key_of(0), 1, "a", 1, "x"), kNow + 100000).error().code(),
            ErrorCode::kRefused);
  EXPECT_EQ(state.assert_(made(key_of(0), 1, "a", 1, "x"), kNow - 2 * kMaxAheadMs).error().code(),
            ErrorCode::kRefused);
  EXPECT_EQ(state.assert_(made(key_of(0), 1, "a", 1, std::string(kMaxValue + 1, 'x')), kNow).error().code(),
            ErrorCode::kInvalid);
  std::uint64_t sequence = 0;
  Status last = ok();
  while (last) {
    ++sequence;
    last = state.assert_(
        made(key_of(0), sequence, "n" + std::to_string(sequence), 1, std::string(kMaxValue, 'x')), kNow);
  }
  EXPECT_EQ(last.error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(sequence, 64U);
  for (std::uint64_t i = 0; i < kMaxEarly; ++i)
    ASSERT_TRUE(state.assert_(made(key_of(1), 2 + i, "n" + std::to_string(i), 1, "x"), kNow));
  EXPECT_EQ(state.assert_(made(key_of(1), 900, "m", 1, "x"), kNow).error().code(), ErrorCode::kExhausted);
}

/// A history of honest parties and one that signs two updates with one sequence.
std::vector<Assertion> history() {
  std::vector<Assertion> all;
  std::map<std::pair<std::size_t, std::string>, std::uint64_t> serials;
  std::mt19937 random(7);  // NOLINT(cert-msc51-cpp): the same every time
  for (std::size_t party = 0; party < 3; ++party)
    for (std::uint64_t sequence = 1; sequence <= 12; ++sequence) {
      const std::string name(1, static_cast<char>('a' + random() % 4));
      const std::uint64_t serial = ++serials[{party, name}];
      all.push_back(made(key_of(party), sequence, name, serial, std::to_string(random() % 1000),
                         1000 + static_cast<std::int64_t>(random() % 100000)));
      if (party == 2 && sequence % 3 == 0)
        all.push_back(made(key_of(party), sequence, "z", 1, std::to_string(sequence)));
    }
  return all;
}

// Whatever servers learn, in whatever order, however often: the same in the end.
TEST(CatalogState, MergingIsAJoin) {
  const auto all = history();
  std::mt19937 random(11);  // NOLINT(cert-msc51-cpp)
  const auto some = [&] {
    State state;
    for (const auto& assertion : all)
      if (random() % 3 != 0)
        (void)state.merge(Delta{.party = assertion.party, .known = 0, .words = {{.assertion = assertion}}});
    return state;
  };
  const auto joined = [](State a, const State& b) {
    a.merge(b);
    return a;
  };
  for (int round = 0; round < 25; ++round) {
    const State a = some();
    const State b = some();
    const State c = some();
    EXPECT_TRUE(joined(a, b) == joined(b, a)) << "commutative";
    EXPECT_TRUE(joined(joined(a, b), c) == joined(a, joined(b, c))) << "associative";
    EXPECT_TRUE(joined(a, a) == a) << "idempotent";
    EXPECT_TRUE(joined(joined(a, b), a) == joined(a, b));
    // What servers really send each other is enough.
    State d = a;
    for (const auto& delta : b.lacking(a.versions(), SIZE_MAX)) ASSERT_TRUE(d.merge(delta));
    State e = b;
    for (const auto& delta : a.lacking(b.versions(), SIZE_MAX)) ASSERT_TRUE(e.merge(delta));
    EXPECT_EQ(said(d), said(e));
    EXPECT_EQ(d.versions(), e.versions());
    EXPECT_EQ(said(d), said(joined(a, b)));
  }
  State whole;
  State backwards;
  for (const auto& one : all)
    ASSERT_TRUE(whole.merge(Delta{.party = one.party, .known = 0, .words = {{.assertion = one}}}));
  for (auto one = all.rbegin(); one != all.rend(); ++one)
    ASSERT_TRUE(backwards.merge(Delta{.party = one->party, .known = 0, .words = {{.assertion = *one}}}));
  EXPECT_TRUE(whole == backwards);
}

TEST(CatalogState, WhatIsForgottenDoesNotComeBack) {
  State stale;
  ASSERT_TRUE(stale.assert_(made(key_of(0), 1, "a", 1, "old", 50000), kNow));
  State state = stale;
  Assertion gone = made(key_of(0), 2, "a", 2, "", 1000);
  gone.withdrawn = true;
  key_of(0).sign(gone);
  ASSERT_TRUE(state.assert_(gone, kNow));
  state.forget(kNow + 10000);
  state.merge(stale);
  EXPECT_TRUE(state.query("urn:mvm:host:a", "a", kNow + 10000).empty())
      << "the withdrawal outlives what it is about";
  state.forget(kNow + 50000);
  EXPECT_TRUE(state.party(key_of(0).party())->words().empty());
  EXPECT_EQ(state.known(key_of(0).party()), 2U);
}

TEST(CatalogWire, ThereAndBackAndNothingElse) {
  const Assertion a = made(key_of(0), 1, "a", 1, "x");
  const Delta delta{.party = a.party, .known = 1, .words = {{.assertion = a}}};
  const std::vector<Request> requests = {AssertRequest{a},
                                         QueryRequest{.uri = "u:1", .name = "n", .seen = {{a.party, 3}}},
                                         ResourcesRequest{.beginning = "u:", .after = "u:1", .limit = 7},
                                         PartyRequest{.party = a.party, .uri = "u:1", .name = "n"},
                                         SyncRequest{{{a.party, 1}}},
                                         PushRequest{{delta}}};
  for (const auto& request : requests) {
    const std::string bytes = encode(request);
    const auto back = decode_request(bytes);
    ASSERT_TRUE(back) << back.error().describe();
    EXPECT_EQ(encode(*back), bytes);
    for (std::size_t size = 0; size < bytes.size(); ++size)
      EXPECT_FALSE(decode_request(bytes.substr(0, size)));
    EXPECT_FALSE(decode_request(bytes + "x"));
  }
  const Answer answer{.assertions = {a}, .resources = {"u:1"}, .versions = {{a.party, 1}}, .deltas = {delta}};
  const std::string bytes = encode(answer);
  EXPECT_EQ(encode(*decode_answer(bytes)), bytes);
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_answer(bytes.substr(0, size)));
}

}  // namespace
}  // namespace mvm::catalog
