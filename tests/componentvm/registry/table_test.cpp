#include "mvm/registry/table.h"

#include <random>

#include "componentvm/registry/contract.h"

namespace mvm::registry {
namespace {

TEST(RegistryPattern, Matches) {
  const std::vector<std::tuple<std::string, std::string, bool>> cases = {{"*", "anything", true},
                                                                         {"a*c", "abbbc", true},
                                                                         {"a*c", "abbb", false},
                                                                         {"a?c", "abc", true},
                                                                         {"a?c", "ac", false},
                                                                         {"[a-c]x", "bx", true},
                                                                         {"[^a-c]x", "bx", false},
                                                                         {"[^a-c]x", "dx", true},
                                                                         {"a\\*", "a*", true},
                                                                         {"a\\*", "ab", false},
                                                                         {"*a*b*", "xxaxxbxx", true},
                                                                         {"[]]", "]", true},
                                                                         {"[a\\]]", "]", true},
                                                                         {"[a-]", "-", true},
                                                                         {"", "", true},
                                                                         {"a", "", false},
                                                                         {"**", "", true},
                                                                         {"[x", "x", false},
                                                                         {"*/b", "a/b", true}};
  for (const auto& [pattern, name, expected] : cases)
    EXPECT_EQ(match(pattern, name), expected) << pattern << " against " << name;
  EXPECT_FALSE(match(std::string(200, '*') + "b", std::string(255, 'a')));
  const std::string odd = "a*b?c[d]e\\f";
  EXPECT_TRUE(match(pattern_of(odd), odd));
  EXPECT_FALSE(match(pattern_of(odd), "aXbXcde\\f"));
  EXPECT_EQ(literal_prefix("dvm/\\*x*y"), "dvm/*x");
  EXPECT_FALSE(check_pattern("a["));
  EXPECT_FALSE(check_pattern("a\\"));
  EXPECT_TRUE(check_pattern("[]]"));
}

/// An update of random operations, most of which are possible.
Update random_update(std::mt19937& random, const Table& table) {
  const auto draw = [&](unsigned below) { return static_cast<unsigned>(random() % below); };
  std::vector<std::uint64_t> leases = {0, 999};
  for (const auto& [id, lease] : table.leases()) leases.push_back(id);
  Update update;
  if (draw(3) == 0) update.request = "r" + std::to_string(draw(50));
  const unsigned count = 1 + draw(4);
  for (unsigned i = 0; i < count; ++i) {
    Operation operation;
    operation.kind = static_cast<Operation::Kind>(1 + draw(6));
    operation.name = "n" + std::to_string(draw(6));
    operation.owner = draw(2) == 0 ? "alice" : "bob";
    operation.ttl = std::chrono::seconds(1 + draw(5));
    if (operation.kind == Operation::Kind::kGrant && i != 0) continue;
    const bool alone = operation.kind == Operation::Kind::kGrant;
    if (draw(8) == 0) operation.expect = draw(3);
    if (operation.kind == Operation::Kind::kCheck) operation.expect = draw(4);
    if (operation.kind == Operation::Kind::kPut) {
      operation.flags = draw(16);
      if ((operation.flags & kPersistent) == 0)
        operation.lease = leases[draw(static_cast<unsigned>(leases.size()))];
      if ((operation.flags & kOverwrite) != 0) operation.index = draw(3);
      operation.item = text_item(std::string(draw(40), 'x'));
    } else if (operation.kind == Operation::Kind::kRevoke) {
      operation.lease = leases[draw(static_cast<unsigned>(leases.size()))];
    } else {
      operation.index = draw(3);
      operation.flags = draw(2) == 0 && operation.kind != Operation::Kind::kCheck ? kFirstAvailable : 0U;
    }
    if (operation.kind == Operation::Kind::kRevoke) operation.owner.clear();
    update.operations.push_back(std::move(operation));
    if (alone) break;
  }
  return update;
}

// What fails changes nothing; what succeeds is the same on a table made from a snapshot, from bytes and in
// place.
TEST(RegistryTable, IsDeterministicAndUndoesWhatFails) {
  std::mt19937 random(4);  // NOLINT(cert-msc51-cpp): the same run every time
  Table table;
  std::map<std::pair<std::string, std::uint64_t>, std::uint64_t> replayed;
  int good = 0;
  int bad = 0;
  for (int round = 0; round < 3000; ++round) {
    const Update update = random_update(random, table);
    const std::string before = table.snapshot();
    auto copy = Table::restore(before);
    ASSERT_TRUE(copy) << copy.error().describe();
    ASSERT_EQ(copy->snapshot(), before);
    const std::string bytes = encode(update);
    const auto effect = table.apply(update);
    const auto decoded = decode_update(bytes);
    if (!decoded) {
      ASSERT_FALSE(effect);
      continue;
    }
    const auto again = copy->apply(*decoded);
    ASSERT_EQ(effect.has_value(), again.has_value());
    ASSERT_EQ(table.snapshot(), copy->snapshot());
    if (!effect) {
      ASSERT_EQ(effect.error().code(), again.error().code());
      ASSERT_EQ(table.snapshot(), before) << effect.error().describe();
      ++bad;
      continue;
    }
    ++good;
    ASSERT_EQ(encode(effect->answer), encode(again->answer));
    ASSERT_EQ(encode(*decode_applied(encode(effect->answer))), encode(effect->answer));
    for (const auto& event : effect->events) {
      const std::pair key{event.info.name, event.info.index};
      if (event.deleted)
        ASSERT_EQ(replayed.erase(key), 1U);
      else
        replayed[key] = event.info.revision;
    }
    std::map<std::pair<std::string, std::uint64_t>, std::uint64_t> listed;
    const auto listing = table.list("*", {}, 100000);
    for (const auto& info : listing->infos) listed[{info.name, info.index}] = info.revision;
    ASSERT_EQ(listed, replayed) << "the events tell the whole story";
  }
  EXPECT_GT(good, 300);
  EXPECT_GT(bad, 300);
}

TEST(RegistryTable, IsBounded) {
  Table table;
  const std::string large(kMaxItem - 5, 'x');
  int put = 0;
  while (table.apply(update_of({put_operation("n" + std::to_string(put), large, kPersistent)}))) ++put;
  EXPECT_EQ(put, static_cast<int>(kMaxBytes / kMaxItem) - 1) << "names and owners count, too";
  const auto full = table.apply(update_of({put_operation("one more", large, kPersistent)}));
  EXPECT_EQ(full.error().code(), ErrorCode::kExhausted);
  Operation replace = put_operation("n0", "small", kPersistent | kOverwrite);
  EXPECT_TRUE(table.apply(update_of({replace})));

  Table many;
  for (std::size_t i = 0; i < kMaxInstances; ++i)
    ASSERT_TRUE(many.apply(update_of({put_operation("n", "x", kPersistent | kMultiple)})));
  EXPECT_EQ(many.apply(update_of({put_operation("n", "x", kPersistent | kMultiple)})).error().code(),
            ErrorCode::kExhausted);
}

TEST(RegistryTable, RemembersTheLatestRequestsOnly) {
  Table table;
  for (int i = 0; i < 1100; ++i) {
    Update update = update_of({put_operation("n", std::to_string(i), kPersistent | kOverwrite)});
    update.request = "r" + std::to_string(i);
    ASSERT_TRUE(table.apply(update));
  }
  Update update = update_of({put_operation("n", "again", kPersistent | kOverwrite)});
  update.request = "r1099";
  EXPECT_TRUE(table.apply(update)->repeated);
  EXPECT_EQ(table.apply(update)->answer.revision, 1100U);
  update.request = "r76";
  EXPECT_TRUE(table.apply(update)->repeated);
  update.request = "r75";
  EXPECT_FALSE(table.apply(update)->repeated);
  EXPECT_EQ(table.revision(), 1101U);
}

TEST(RegistryTable, RefusesBrokenBytes) {
  Table table;
  ASSERT_TRUE(table.apply(update_of(
      {Operation{.kind = Operation::Kind::kGrant, .owner = "alice", .ttl = std::chrono::seconds(5)}})));
  Operation put = put_operation("n", "x", 0);
  put.lease = 1;
  ASSERT_TRUE(table.apply(update_of({put})));
  const std::string whole = table.snapshot();
  ASSERT_TRUE(Table::restore(whole));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(Table::restore(std::string_view(whole).substr(0, size))) << size;
  EXPECT_FALSE(Table::restore(whole + "x"));
  const std::string bytes = encode(update_of({put}));
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_update(std::string_view(bytes).substr(0, size)));
}

TEST(RegistryHistory, ForgetsWholeRevisionsAndSaysSo) {
  History history(10, 4);
  const auto event = [](std::uint64_t revision, const char* name) {
    return Event{.revision = revision, .deleted = true, .info = Info{.name = name}, .item = nullptr};
  };
  history.add(11, {event(11, "a"), event(11, "b")});
  history.add(12, {event(12, "c"), event(12, "d")});
  EXPECT_EQ(history.after(10, "*", 1)->events.size(), 2U) << "a revision is never cut";
  EXPECT_EQ(history.after(10, "*", 1)->cursor, 11U);
  EXPECT_EQ(history.after(10, "*", 3)->events.size(), 4U);
  history.add(13, {event(13, "e")});
  EXPECT_EQ(history.after(10, "*", 9).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(history.after(11, "*", 9)->events.size(), 3U);
  EXPECT_EQ(history.after(11, "e", 9)->events.size(), 1U);
  EXPECT_EQ(history.after(13, "*", 9)->cursor, 13U);
  EXPECT_FALSE(history.after(14, "*", 9));
}

}  // namespace
}  // namespace mvm::registry
