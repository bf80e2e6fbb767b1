#include "mvm/soap/xml_guard.h"

#include <gtest/gtest.h>

#include <string>

#include "mvm/soap/http_head.h"
#include "text.h"

namespace mvm::soap {
namespace {

using Verdict = XmlGuard::Verdict;

Verdict whole(const std::string& text, XmlLimits limits = {}) {
  XmlGuard guard(limits);
  return guard.feed(text);
}

/// In one piece and byte by byte it must come to the same.
bool complete(const std::string& text) {
  XmlGuard guard, slow;
  Verdict verdict = Verdict::kGood;
  for (const char c : text) verdict = slow.feed({&c, 1});
  EXPECT_EQ(guard.feed(text), verdict) << text;
  EXPECT_EQ(guard.done(), slow.done()) << text;
  return verdict == Verdict::kGood && guard.done();
}

TEST(XmlGuardTest, GoodDocumentsPass) {
  EXPECT_TRUE(complete("<a/>"));
  EXPECT_TRUE(
      complete("\xEF\xBB\xBF<?xml version=\"1.0\"?>\n<a b='1>2' c=\"'\"><b/>text<!-- - > <x> "
               "--><c>&amp;&#65;</c></a>"));
  EXPECT_TRUE(complete("<a><![CDATA[ <b> ]] ]]]></a>"));
  EXPECT_TRUE(complete("<a></a>\xFF binary may follow"));
}

TEST(XmlGuardTest, UnfinishedOnesAreNotDone) {
  for (const char* text :
       {"", " ", "text", "<a>", "<a><b></b>", "<a", "<a b=\"></a>", "<a><!-- </a>", "<a><![CDATA[</a>"})
    EXPECT_FALSE(complete(text)) << text;
}

TEST(XmlGuardTest, Limits) {
  EXPECT_EQ(whole("<a><b><c/></b></a>", {.depth = 2}), Verdict::kGood);
  EXPECT_EQ(whole("<a><b><c></c></b></a>", {.depth = 2}), Verdict::kDepth);
  EXPECT_EQ(whole("<a b='' c=''/>", {.attributes = 1}), Verdict::kAttributes);
  EXPECT_EQ(whole("<a b='='/>", {.attributes = 1}), Verdict::kGood);
  EXPECT_EQ(whole("<a><b/><b/></a>", {.elements = 2}), Verdict::kTooMuch);
  EXPECT_EQ(whole("<" + std::string(5000, 'a') + "/>"), Verdict::kTooMuch);
}

TEST(XmlGuardTest, NothingThatTheParserMightReadOtherwise) {
  // Each of these ends sooner or later for a lax parser than for a strict one.
  for (const char* text :
       {"<a><!-- x -- > <b/> --></a>", "<a><!-- --- --></a>", "<?x ? > <b/> ?><a/>", "< a/>", "<a>< /a>",
        "<%x%><a/>", "<a></a \"> <b/> \">", "<a <b>/>", "<a b=\"<\"/>"})
    EXPECT_EQ(whole(text), Verdict::kCharacter) << text;
  for (const char* text : {"<!DOCTYPE a>", "<!ENTITY>", "<a><![INCLUDE[", "<a><!>", "<a><!- -></a>"})
    EXPECT_EQ(whole(text), Verdict::kDoctype) << text;
}

TEST(XmlGuardTest, PartHeaders) {
  const auto part = [](const std::string& text) {
    XmlGuard guard;
    guard.skip_part_header();
    return guard.feed(text) == Verdict::kGood && guard.done();
  };
  EXPECT_TRUE(part("--b\r\nContent-ID: <x>\r\n\r\n<a/>"));
  EXPECT_TRUE(part("\r\n--b\r\nContent-Type: text/xml\r\n\r\n<a/>"));
  EXPECT_FALSE(part("--b\nContent-ID: <x>\n\n<a/>")) << "bare line feeds";
  EXPECT_FALSE(part("--b\r\nX: <a/>\r\n folded\r\n\r\n<a/>"));
  EXPECT_FALSE(part("--b\r\n\r\n <a/>")) << "a blank could make it a folded line";
  EXPECT_FALSE(part("--b\r\nX: \x01\r\n\r\n<a/>"));
}

TEST(HttpHeadTest, GoodHeaders) {
  const std::string text =
      "POST /broker?x=1 HTTP/1.1\r\nHost: a.b:80\r\nContent-Type: Text/XML; charset=utf-8\r\n"
      "content-LENGTH: 12\r\nAuthorization: bearer abc\r\nSOAPAction: \"x#y\"\r\n\r\nbody";
  const auto parse = parse_http_head(text, 1000, 10);
  ASSERT_EQ(parse.kind, HttpParse::Kind::kDone) << parse.reason;
  EXPECT_EQ(parse.head.path, "/broker");
  EXPECT_EQ(parse.head.query, "x=1");
  EXPECT_EQ(parse.head.host, "a.b:80");
  EXPECT_EQ(parse.head.content_length, 12U);
  EXPECT_EQ(parse.head.bearer, "abc");
  EXPECT_EQ(parse.head.size, text.size() - 4);
  EXPECT_TRUE(parse.head.keep_alive);
  EXPECT_EQ(plain_head(parse.head),
            "POST /broker HTTP/1.1\r\nContent-Type: text/xml; charset=utf-8\r\n"
            "Content-Length: 12\r\nSOAPAction: \"x#y\"\r\n\r\n");
  for (std::size_t cut = 0; cut < parse.head.size; ++cut)
    EXPECT_EQ(parse_http_head(text.substr(0, cut), 1000, 10).kind, HttpParse::Kind::kMore) << cut;
}

TEST(HttpHeadTest, ABoundaryIsTakenOverTheRestIsNot) {
  const auto parse = parse_http_head(
      "POST / HTTP/1.1\r\nContent-Type: multipart/related; type=\"x\"; start=\"<2>\"; Boundary=\"a=b:1\"; "
      "z=1\r\n"
      "Content-Length: 1\r\n\r\n",
      1000, 10);
  ASSERT_EQ(parse.kind, HttpParse::Kind::kDone) << parse.reason;
  EXPECT_EQ(parse.head.content_type, "multipart/related; boundary=\"a=b:1\"; type=\"application/xop+xml\"");
}

TEST(TextTest, WhatXmlCannotCarryIsReplaced) {
  EXPECT_EQ(xml_text("a\tb\r\n\xC3\xA4\xF0\x9F\x98\x80"), "a\tb\r\n\xC3\xA4\xF0\x9F\x98\x80");
  EXPECT_EQ(xml_text(std::string("a\0b\x1b\x7f", 5)),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD\x7f");
  EXPECT_EQ(xml_text("\xC3"), "\xEF\xBF\xBD");
  EXPECT_EQ(xml_text("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(xml_escape("<&>\""), "&lt;&amp;&gt;&quot;");
}

}  // namespace
}  // namespace mvm::soap
