#include "mvm/base/base64.h"

#include <gtest/gtest.h>

namespace mvm {
namespace {

TEST(Base64, ThereAndBack) {
  // RFC 4648, section 10.
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(base64(bytes), text);
    EXPECT_EQ(from_base64(text), bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  for (std::size_t size = 250; size <= 256; ++size)
    EXPECT_EQ(from_base64(base64(all.substr(0, size))), all.substr(0, size));
}

TEST(Base64, NothingElseIsTaken) {
  for (const char* text :
       {"Z", "Zg", "Zg=", "Zg==Zg==", "Z===", "====", "Zh==", "Zm9=", "Zm 9", "Zm9v\n", "-_--"})
    EXPECT_FALSE(from_base64(text)) << text;
}

}  // namespace
}  // namespace mvm
