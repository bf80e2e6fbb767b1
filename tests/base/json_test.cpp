#include "mvm/base/json.h"

#include <gmock/gmock.h>

namespace mvm {
namespace {

using nlohmann::json;

TEST(JsonTest, WrongTypesAreAsIfMissing) {
  const json object{{"text", "x"}, {"number", 5},  {"negative", -5},
                    {"real", 1.5}, {"flag", true}, {"list", {1, 2}}};
  EXPECT_EQ(text_or(object, "text"), "x");
  EXPECT_EQ(text_or(object, "number", "other"), "other");
  EXPECT_EQ(number_or(object, "number"), 5U);
  EXPECT_EQ(number_or(object, "negative", 9), 9U);
  EXPECT_EQ(number_or(object, "real", 9), 9U);
  EXPECT_EQ(number_or(object, "text", 9), 9U);
  EXPECT_TRUE(flag_or(object, "flag"));
  EXPECT_FALSE(flag_or(object, "number"));
  EXPECT_EQ(array_or_empty(object, "list").size(), 2U);
  EXPECT_TRUE(array_or_empty(object, "text").empty());
  EXPECT_TRUE(object_or_empty(object, "list").empty());
  EXPECT_EQ(text_or(json::array(), "text", "none"), "none");
}

TEST(JsonTest, WhatMustBeThereIsCheckedForTypeAndSize) {
  const json object{
      {"text", "four"}, {"nul", std::string("a\0b", 3)}, {"empty", ""}, {"number", 5}, {"negative", -1}};
  EXPECT_EQ(*need_text(object, "text", 4), "four");
  EXPECT_FALSE(need_text(object, "text", 3));
  EXPECT_FALSE(need_text(object, "nul"));
  EXPECT_FALSE(need_text(object, "empty"));
  EXPECT_FALSE(need_text(object, "missing"));
  EXPECT_EQ(*need_number(object, "number", 5), 5U);
  EXPECT_FALSE(need_number(object, "number", 4));
  EXPECT_FALSE(need_number(object, "negative"));
  EXPECT_EQ(need_number(object, "missing").error().code(), ErrorCode::kInvalid);
}

TEST(JsonTest, ListsAndMapsOfTexts) {
  const json object{
      {"list", {"a", "b"}}, {"mixed", {"a", 1}}, {"map", {{"k", "v"}}}, {"numbers", {{"k", 1}}}};
  EXPECT_THAT(*texts_of(object, "list", 2), testing::ElementsAre("a", "b"));
  EXPECT_FALSE(texts_of(object, "list", 1));
  EXPECT_FALSE(texts_of(object, "mixed", 9));
  EXPECT_TRUE(texts_of(object, "missing", 9)->empty());
  EXPECT_THAT(*text_map_of(object, "map", 1), testing::ElementsAre(testing::Pair("k", "v")));
  EXPECT_FALSE(text_map_of(object, "numbers", 9));
  EXPECT_FALSE(text_map_of(object, "list", 9));
}

}  // namespace
}  // namespace mvm
