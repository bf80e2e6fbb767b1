#include "format.h"

#include <gtest/gtest.h>

#include <sstream>

#include "listing.h"

namespace mvm::cli {
namespace {

TEST(Format, WidthCountsWhatATerminalShows) {
  EXPECT_EQ(display_width("cell"), 4U);
  EXPECT_EQ(display_width("Zürich"), 6U);
  EXPECT_EQ(display_width("日本"), 4U);
  EXPECT_EQ(display_width("e\u0301"), 1U);  // e and a combining accent
  EXPECT_EQ(display_width("\xff"), 1U);     // no UTF-8: shown as one "?"
}

TEST(Format, CutsAtCharactersNotBytes) {
  EXPECT_EQ(cut("Zürich", 6), "Zürich");
  EXPECT_EQ(cut("Zürichsee", 6), "Züric…");
  EXPECT_EQ(cut("日本語", 4), "日…");
  EXPECT_EQ(cut("abc", 0), "");
}

TEST(Format, NothingMovesTheCursor) {
  EXPECT_EQ(one_line("a\x1b[2Jb\nc\td\x7f"), "a?[2Jb c d?");
  EXPECT_EQ(one_line("evil\u202egnp"), "evil?gnp");
  EXPECT_EQ(harmless("\x1b[31mred\x1b[0m\r\n\x1b]0;title\x07"), "\x1b[31mred\x1b[0m\n?]0;title?");
}

TEST(Format, Sizes) {
  EXPECT_EQ(human_bytes(17), "17 B");
  EXPECT_EQ(human_bytes(1024), "1 KiB");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes((1ULL << 20) - 1), "1 MiB");
  EXPECT_EQ(human_bytes(256ULL << 20), "256 MiB");
  EXPECT_EQ(human_bytes(~0ULL), "16 EiB");
}

TEST(Format, Durations) {
  EXPECT_EQ(human_latency(0), "0ns");
  EXPECT_EQ(human_latency(999), "999ns");
  EXPECT_EQ(human_latency(1'000), "1.00us");
  EXPECT_EQ(human_latency(12'345), "12.3us");
  EXPECT_EQ(human_latency(999'600), "1.00ms");
  EXPECT_EQ(human_latency(456'000'000), "456ms");
  EXPECT_EQ(human_latency(1'234'000'000'000), "1234s");
  EXPECT_EQ(human_duration(-5), "0:00");
  EXPECT_EQ(human_duration(7'900), "0:07");
  EXPECT_EQ(human_duration(3'723'000), "1:02:03");
  EXPECT_EQ(human_duration(2LL * 86'400'000 + 3'723'000), "2-01:02:03");
}

TEST(Format, Times) {
  setenv("TZ", "CET-1", 1);
  tzset();
  EXPECT_EQ(local_time(1'700'000'000'123), "2023-11-14 23:13:20");
  EXPECT_EQ(iso_time(1'700'000'000'123), "2023-11-14T22:13:20.123Z");
  EXPECT_EQ(local_time(0), "-");
  EXPECT_EQ(iso_time(0), "");
  setenv("TZ", "UTC", 1);
  tzset();
}

TEST(Format, Counts) {
  EXPECT_EQ(count_of(1, "process"), "1 process");
  EXPECT_EQ(count_of(2, "process"), "2 processes");
  EXPECT_EQ(count_of(0, "node"), "0 nodes");
}

Listing two_rows() {
  Listing listing("thing", {{"NAME", "name"}, {"SIZE", "size", true}, {"", "exact"}});
  listing.row({"Zürich", {"1 KiB", 1024}, 7});
  listing.row({"", {"17 B", 17, Colour::kBad}, 8});
  return listing;
}

TEST(Listing, ColumnsLineUpByWidth) {
  std::ostringstream out;
  two_rows().print(out, Format::kTable, false);
  EXPECT_EQ(out.str(),
            "NAME     SIZE\n"
            "Zürich  1 KiB\n"
            "-        17 B\n");
}

TEST(Listing, ColoursOnlyWhereAsked) {
  std::ostringstream out;
  two_rows().print(out, Format::kTable, true);
  EXPECT_NE(out.str().find("\x1b[31m17 B\x1b[0m"), std::string::npos);
}

TEST(Listing, JsonListsTheSameInTheSameOrder) {
  std::ostringstream out;
  two_rows().print(out, Format::kJson, false);
  EXPECT_EQ(out.str(), R"({
  "schema": "mvm.thing/1",
  "items": [
    {
      "name": "Zürich",
      "size": 1024,
      "exact": 7
    },
    {
      "name": "",
      "size": 17,
      "exact": 8
    }
  ]
}
)");
}

TEST(Listing, JsonLines) {
  std::ostringstream out;
  two_rows().print(out, Format::kJsonl, false);
  EXPECT_EQ(out.str(),
            "{\"schema\":\"mvm.thing/1\",\"name\":\"Zürich\",\"size\":1024,\"exact\":7}\n"
            "{\"schema\":\"mvm.thing/1\",\"name\":\"\",\"size\":17,\"exact\":8}\n");
}

TEST(Listing, InvalidUtf8BecomesValidJson) {
  Listing listing("thing", {{"NAME", "name"}});
  listing.row({std::string("\xff")});
  std::ostringstream out;
  listing.print(out, Format::kJsonl, false);
  EXPECT_EQ(Json::parse(out.str())["name"], "\ufffd");
}

TEST(Record, SeveralLinesAreIndented) {
  Record record("thing");
  record.field("Name", "name", "x");
  record.field("Why", "why", {"one\ntwo", Json::array({"one", "two"})});
  record.field("", "hidden", 3);
  std::ostringstream table, json;
  record.print(table, Format::kTable, false);
  EXPECT_EQ(table.str(), "Name  x\nWhy   one\n      two\n");
  record.print(json, Format::kJsonl, false);
  EXPECT_EQ(json.str(),
            "{\"schema\":\"mvm.thing/1\",\"name\":\"x\",\"why\":[\"one\",\"two\"],\"hidden\":3}\n");
}

}  // namespace
}  // namespace mvm::cli
