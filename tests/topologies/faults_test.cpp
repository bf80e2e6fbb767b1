// Wrong input: every fault at its place, in words a user can act on, all at once.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mvm/topologies/limits.h"
#include "mvm/topologies/reader.h"

namespace mvm::topologies {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> faults(std::string_view xml, const std::map<std::string, std::string>& set = {}) {
  ReadOptions options;
  options.set = set;
  const ReadResult result = read_profile(xml, "f.xml", options);
  EXPECT_EQ(result.ok(), result.diagnostics.empty());
  std::vector<std::string> lines;
  for (const Diagnostic& one : result.diagnostics) lines.push_back(one.describe());
  return lines;
}

/// A topology with two roles; `joins` starts in line 5.
std::string topology(const std::string& joins, const std::string& count = "4") {
  return "<topology xmlns=\"urn:mvm:topology:1\" name=\"t\">\n"
         "<param name=\"n\" type=\"integer\" default=\"" +
         count +
         "\" min=\"1\" max=\"64\"/>\n"
         "<role name=\"cell\" count=\"${n}\"><port name=\"to-right\" direction=\"out\" optional=\"true\"/>"
         "<port name=\"from-left\" direction=\"in\" optional=\"true\"/></role>\n"
         "<role name=\"end\"><port name=\"in\" direction=\"in\" optional=\"true\"/></role>\n" +
         joins + "\n</topology>";
}

TEST(Faults, UnknownRole) {
  EXPECT_THAT(
      faults(topology(R"(<pattern kind="ring" role="cel" out="to-right" in="from-left"/>)")),
      ElementsAre("f.xml:5:28: error: unknown role 'cel', expected one of cell, end; did you mean cell?"));
}

TEST(Faults, UnknownPort) {
  EXPECT_THAT(
      faults(topology(R"(<pattern kind="ring" role="cell" out="to-rihgt" in="from-left"/>)")),
      ElementsAre("f.xml:5:39: error: unknown port 'to-rihgt' of role 'cell', expected one of its out ports "
                  "to-right; did you mean to-right?"));
  EXPECT_THAT(
      faults(topology(R"(<link from="cell[0].right" to="end.in"/>)")),
      ElementsAre("f.xml:5:21: error: unknown port 'right' of role 'cell', expected one of its out ports "
                  "to-right; did you mean to-right?"));
}

TEST(Faults, WrongDirection) {
  EXPECT_THAT(
      faults(topology(R"(<link from="cell[0].from-left" to="end.in"/>)")),
      ElementsAre(
          "f.xml:5:21: error: port 'from-left' of role 'cell' has direction in, expected one of its out "
          "ports to-right; did you mean to-right?"));
}

TEST(Faults, OutPortLinkedTwice) {
  EXPECT_THAT(
      faults(topology("<link from=\"cell[*].to-right\" to=\"end.in\"/>\n<link from=\"cell[2].to-right\" "
                      "to=\"end.in\"/>")),
      ElementsAre(
          "f.xml:6:13: error: the out port cell[2].to-right has a link already, expected one link for "
          "each out port (fan-out is the link's delivery rule)"));
}

TEST(Faults, CountOutOfRange) {
  EXPECT_THAT(faults(topology("", "0")),
              ElementsAre("f.xml:2:41: error: parameter 'n': found 0, expected at least 1 and at most 64"));
  EXPECT_THAT(
      faults(topology(""), {{"n", "65"}}),
      ElementsAre("f.xml: error: --set n=65: parameter 'n': found 65, expected at least 1 and at most 64"));
  EXPECT_THAT(
      faults(R"(<topology xmlns="urn:mvm:topology:1" name="t"><role name="a" count="0"/></topology>)"),
      ElementsAre("f.xml:1:69: error: found count 0, expected 1 to 1000000"));
  EXPECT_THAT(
      faults(
          R"(<topology xmlns="urn:mvm:topology:1" name="t"><role name="a" count="${1000*1001}"/></topology>)"),
      ElementsAre("f.xml:1:69: error: found count 1001000 ('1000*1001'), expected 1 to 1000000"));
}

TEST(Faults, IndexOutOfRange) {
  EXPECT_THAT(
      faults(topology(R"(<link from="cell[4].to-right" to="end.in"/>)")),
      ElementsAre("f.xml:5:18: error: in 'cell[4].to-right': found index 4, but role 'cell' has 4 processes, "
                  "expected 0 to 3"));
  EXPECT_THAT(
      faults(topology(R"(<link from="cell.to-right" to="end.in"/>)")),
      ElementsAre(
          "f.xml:5:13: error: role 'cell' has 4 processes, expected an index such as cell[*] or cell[0]"));
}

TEST(Faults, UnknownParameter) {
  EXPECT_THAT(faults(topology(""), {{"m", "5"}}),
              ElementsAre("f.xml: error: --set m=5: unknown parameter 'm', expected one of n"));
  EXPECT_THAT(faults(topology(R"(<link from="cell[steps].to-right" to="end.in"/>)")),
              ElementsAre("f.xml:5:18: error: unknown parameter 'steps', expected one of n"));
}

TEST(Faults, BadExpression) {
  EXPECT_THAT(
      faults(R"(<topology xmlns="urn:mvm:topology:1" name="t"><role name="a" count="${2*}"/></topology>)"),
      ElementsAre("f.xml:1:73: error: in '2*': found the end, expected a number, a name or '('"));
  EXPECT_THAT(
      faults(R"(<topology xmlns="urn:mvm:topology:1" name="t"><role name="a" count="${4/0}"/></topology>)"),
      ElementsAre("f.xml:1:72: error: in '4/0': division by zero"));
}

TEST(Faults, UndefinedReference) {
  EXPECT_THAT(faults("<job xmlns=\"urn:mvm:job:1\" name=\"j\">\n<topology ref=\"rnig\"/>\n</job>").at(0),
              HasSubstr("f.xml:2:16: error: unknown topology 'rnig', expected one of all-to-all, "));
  EXPECT_THAT(faults("<job xmlns=\"urn:mvm:job:1\" name=\"j\">\n<topology ref=\"rnig\"/>\n</job>").at(0),
              HasSubstr("; did you mean ring?"));
  EXPECT_THAT(
      faults("<job xmlns=\"urn:mvm:job:1\" name=\"j\">\n<topology ref=\"/etc/passwd\"/>\n</job>"),
      ElementsAre(
          "f.xml:2:16: error: topology '/etc/passwd': paths are not opened here, expected a registered "
          "name (found '/etc/passwd')"));
}

TEST(Faults, UnclosedTagIsTheOnlyFault) {
  const auto lines =
      faults("<topology xmlns=\"urn:mvm:topology:1\" name=\"t\">\n<role name=\"a\">\n</topology>");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_THAT(
      lines[0],
      HasSubstr("f.xml:3:12: error: not well-formed XML: Opening and ending tag mismatch: role line 2"));
}

TEST(Faults, DuplicateRoleAndPortAndLinkName) {
  EXPECT_THAT(
      faults(topology(R"(<role name="cell"/>)")),
      ElementsAre("f.xml:5:13: error: duplicate role 'cell', the first is in line 3, expected another name"));
  EXPECT_THAT(
      faults(topology(
          R"(<role name="x"><port name="p" direction="in" optional="true"/><port name="p" direction="out"/></role>)")),
      ElementsAre("f.xml:5:75: error: duplicate port 'p' of role 'x', expected another name"));
  EXPECT_THAT(faults(topology("<link name=\"l\" from=\"cell[0].to-right\" to=\"end.in\"/>\n"
                              "<link name=\"l\" from=\"cell[1].to-right\" to=\"end.in\"/>")),
              ElementsAre("f.xml:6:13: error: duplicate link name 'l', expected another name"));
}

TEST(Faults, ButterflyOfSix) {
  const std::string xml =
      R"(<topology xmlns="urn:mvm:topology:1" name="t"><param name="n" type="integer" default="6"/>
<role name="cell" count="${n}"><port name="o" direction="out" count="${log2(n)}"/><port name="i" direction="in" count="${log2(n)}"/></role>
<pattern kind="butterfly" role="cell" out="o" in="i"/></topology>)";
  EXPECT_THAT(faults(xml),
              ElementsAre("f.xml:3:33: error: role 'cell' has 6 processes, expected a power of two for a "
                          "butterfly (4 or 8)"));
  EXPECT_TRUE(faults(xml, {{"n", "8"}}).empty());
}

TEST(Faults, PatternsSayWhatTheyLack) {
  EXPECT_THAT(faults(topology(R"(<pattern kind="ring" role="cell" out="to-right"/>)")),
              ElementsAre("f.xml:5:1: error: pattern ring: the attribute 'in' is missing"));
  EXPECT_THAT(
      faults(topology(R"(<pattern kind="ring" role="cell" out="to-right" in="from-left" rows="2"/>)")),
      ElementsAre(
          "f.xml:5:70: error: pattern ring has no attribute 'rows', expected role, out, in, reverse"));
  EXPECT_THAT(
      faults(topology(
          R"(<pattern kind="mesh" role="cell" rows="3" columns="2" east-out="to-right" west-in="from-left"/>)")),
      ElementsAre("f.xml:5:28: error: role 'cell' has 4 processes, expected 6 for 3 rows x 2 columns"));
  EXPECT_THAT(
      faults(topology(R"(<pattern kind="mesh" role="cell" rows="2" columns="2" east-out="to-right"/>)")),
      ElementsAre("f.xml:5:1: error: pattern mesh: expected both east-out and west-in, or neither"));
}

TEST(Faults, Codecs) {
  const auto with = [](const std::string& codecs) {
    return faults(topology("<pattern kind=\"ring\" role=\"cell\" out=\"to-right\" in=\"from-left\" codec=\"" +
                           codecs + "\"/>"));
  };
  EXPECT_TRUE(with("neutral zstd:19 checksum encrypt:chacha20-poly1305").empty());
  EXPECT_THAT(
      with("zsdt encript"),
      ElementsAre(
          "f.xml:5:71: error: unknown codec 'zsdt', expected one of checksum, encrypt, neutral, zstd; "
          "did you mean zstd?",
          "f.xml:5:76: error: unknown codec 'encript', expected one of checksum, encrypt, neutral, "
          "zstd; did you mean encrypt?"));
  EXPECT_THAT(with("zstd:20"),
              ElementsAre("f.xml:5:71: error: codec zstd: found '20', expected a level of 1 to 19"));
  EXPECT_THAT(with("checksum:crc"),
              ElementsAre("f.xml:5:71: error: codec checksum: found 'crc', expected no option"));
  EXPECT_THAT(
      with("encrypt:aes-256-gmc"),
      ElementsAre("f.xml:5:71: error: codec encrypt: found 'aes-256-gmc', expected one of aes-256-gcm, "
                  "chacha20-poly1305; did you mean aes-256-gcm?"));
  EXPECT_THAT(with("zstd checksum zstd:3"), ElementsAre("f.xml:5:85: error: codec 'zstd' occurs twice"));
  EXPECT_THAT(with("zstd:"),
              ElementsAre("f.xml:5:71: error: found codec 'zstd:', expected codecs such as zstd:3 encrypt, "
                          "separated by blanks"));
}

TEST(Faults, Transports) {
  const auto with = [](const std::string& transport) {
    return faults(
        topology("<link from=\"cell[0].to-right\" to=\"end.in\" transport=\"" + transport + "\"/>"));
  };
  for (const char* known : {"shm", "ivshmem", "tcp", "tcp+tls", "tls", "posix-mq", "boost-mq"})
    EXPECT_TRUE(with(known).empty()) << known;
  EXPECT_THAT(
      with("smh"),
      ElementsAre(
          "f.xml:5:54: error: found transport 'smh', expected shm, ivshmem, tcp, tcp+tls, tls, posix-mq or "
          "boost-mq; did you mean shm?"));
  EXPECT_THAT(with("mpi"), ElementsAre("f.xml:5:54: error: found transport 'mpi', expected shm, ivshmem, "
                                       "tcp, tcp+tls, tls, posix-mq or boost-mq"));
}

TEST(Faults, PortWithoutLink) {
  EXPECT_THAT(
      faults("<topology xmlns=\"urn:mvm:topology:1\" name=\"t\"><role name=\"a\">\n<port name=\"o\" "
             "direction=\"out\"/></role></topology>"),
      ElementsAre(
          "f.xml:2:13: error: no link or pattern names the out port 'o' of role 'a', expected one (or "
          "optional=\"true\")"));
}

TEST(Faults, StructureInPlainWords) {
  EXPECT_THAT(
      faults("<topology xmlns=\"urn:mvm:topology:1\" name=\"t\">\n<role nam=\"a\"/>\n<rolle name=\"b\"/>\n"
             "<role name=\"c\"><port name=\"o\" direction=\"outt\"/>text</role>\n</topology>"),
      ElementsAre(
          "f.xml:2:1: error: <role> has no attribute 'name', expected a name such as cell (at most 64 "
          "letters, digits, - and _, a letter first)",
          "f.xml:2:7: error: found the attribute 'nam' of <role>, expected one of name, count, about; did "
          "you mean name?",
          "f.xml:3:1: error: found the element <rolle> in <topology>, expected one of link, param, pattern, "
          "role; did you mean role?",
          "f.xml:4:1: error: found the text 'text' in <role>, expected elements only",
          "f.xml:4:42: error: found direction 'outt', expected in or out; did you mean out?"));
  EXPECT_THAT(faults("<jobb/>"),
              ElementsAre("f.xml:1:1: error: found the root element <jobb>, expected one of lab, job, "
                          "topology, image, policy; did you mean job?"));
  EXPECT_THAT(faults("<job name=\"x\"/>"),
              ElementsAre("f.xml:1:1: error: found <job> in no namespace, expected <job "
                          "xmlns=\"urn:mvm:job:1\">"));
}

TEST(Faults, AllAtOnceStructureAndMeaning) {
  const auto lines = faults(
      "<job xmlns=\"urn:mvm:job:1\" name=\"j\">\n"
      "<topology ref=\"ring\"><set param=\"m\" value=\"3\"/></topology>\n"
      "<program role=\"cel\"><run>./a ${stesp}</run></program>\n"
      "<machines role=\"cell\" driver=\"lcx\"/>\n"
      "<limit walltime=\"10\"/>\n"
      "<stage out=\"../x\" from=\"cell[7]\"/>\n</job>");
  EXPECT_THAT(
      lines,
      ElementsAre(
          HasSubstr("f.xml:1:1: error: role 'cell' has no program"),
          HasSubstr("f.xml:2:34: error: unknown parameter 'm', expected one of n"),
          HasSubstr("f.xml:3:16: error: unknown role 'cel'"),
          HasSubstr(
              "f.xml:4:31: error: found driver 'lcx', expected lxc, qemu or process; did you mean lxc?"),
          HasSubstr("f.xml:5:18: error: found walltime '10', expected a time such as 10m"),
          HasSubstr("f.xml:6:13: error: found the name '../x', expected a relative path"),
          HasSubstr("f.xml:6:30: error: found index 7, but role 'cell' has 4 processes")));
}

// ---- hostile files

TEST(Hostile, NoDocumentTypeNoEntities) {
  EXPECT_THAT(faults("<!DOCTYPE x [<!ENTITY a \"b\">]>\n<job xmlns=\"urn:mvm:job:1\" name=\"&a;\"/>"),
              ElementsAre(HasSubstr("error: found a document type declaration, expected none")));
  EXPECT_THAT(faults("<!DOCTYPE job SYSTEM \"file:///etc/passwd\"><job xmlns=\"urn:mvm:job:1\" name=\"x\"/>"),
              ElementsAre(HasSubstr("error: found a document type declaration, expected none")));
  EXPECT_EQ(faults("<job xmlns=\"urn:mvm:job:1\" name=\"&a;\"/>").size(), 1U);
}

TEST(Hostile, NoSchemaLocation) {
  EXPECT_THAT(faults("<job xmlns=\"urn:mvm:job:1\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
                     "xsi:schemaLocation=\"urn:x http://evil/x.xsd\" name=\"x\"/>"),
              ElementsAre(HasSubstr("error: found xsi:schemaLocation, expected no xsi attribute")));
}

TEST(Hostile, LimitsHaveClearErrors) {
  std::string deep;
  for (int i = 0; i < kMaxDepth + 1; ++i) deep += "<a>";
  EXPECT_THAT(faults(deep), ElementsAre(HasSubstr("error: found elements nested more than 32 deep")));
  std::string many = "<topology xmlns=\"urn:mvm:topology:1\" name=\"t\">";
  for (std::uint64_t i = 0; i <= kMaxElements; ++i) many += "<a/>";
  EXPECT_THAT(faults(many), ElementsAre(HasSubstr("error: found more than 200000 elements")));
  EXPECT_THAT(faults(std::string(kMaxFileBytes + 1, ' ')),
              ElementsAre("f.xml: error: the file has 16777217 bytes, expected at most 16777216"));
  EXPECT_THAT(faults(""), ElementsAre("f.xml: error: the file is empty, expected XML"));
  EXPECT_THAT(faults("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><job/>"),
              ElementsAre("f.xml: error: found the encoding ISO-8859-1, expected UTF-8"));
  EXPECT_EQ(faults("<job xmlns=\"urn:mvm:job:1\" name=\"\xff\"/>").size(), 1U);
  const std::string nul = std::string("<job xmlns=\"urn:mvm:job:1\" name=\"x\"/>") + '\0' + "<rest>";
  EXPECT_THAT(faults(nul), ElementsAre("f.xml: error: found a NUL byte, expected UTF-8 text"));
}

TEST(Hostile, LargeGraphsAreRefusedQuickly) {
  EXPECT_THAT(
      faults(R"(<topology xmlns="urn:mvm:topology:1" name="t">
<role name="a" count="600000"/><role name="b" count="600000"/></topology>)"),
      ElementsAre("f.xml:2:54: error: the topology has 1200000 or more processes, expected at most 1000000"));
  EXPECT_THAT(faults(R"(<topology xmlns="urn:mvm:topology:1" name="t">
<role name="a" count="1000000"><port name="p" direction="in" count="1000000"/></role></topology>)"),
              ElementsAre(HasSubstr("port slots, expected at most")));
  EXPECT_THAT(faults(R"(<topology xmlns="urn:mvm:topology:1" name="t">
<role name="a" count="4000"><port name="o" direction="out" count="4000"/><port name="i" direction="in"/></role>
<pattern kind="all-to-all" role="a" out="o" in="i"/></topology>)"),
              ElementsAre(HasSubstr("links, expected at most 10000000")));
  EXPECT_THAT(faults(R"(<topology xmlns="urn:mvm:topology:1" name="t">
<role name="a"><port name="o" direction="out"/><port name="i" direction="in"/></role>
<link for="i in 0..999999999, j in 1..0" from="a.o" to="a.i"/></topology>)"),
              ElementsAre(HasSubstr("the topology takes more than 100000000 steps to expand")));
}

TEST(Hostile, WorkIsBounded) {
  const std::string head = "<topology xmlns=\"urn:mvm:topology:1\" name=\"t\">";
  // Patterns that add nothing, again and again.
  std::string idle =
      head +
      R"(<role name="a" count="1000000"><port name="o" direction="out"/><port name="i" direction="in"/></role>)";
  for (int i = 0; i < 10'000; ++i)
    idle += R"(<pattern kind="mesh" role="a" rows="1" columns="1000000" north-out="o" south-in="i"/>)";
  EXPECT_THAT(faults(idle + "</topology>"),
              ElementsAre(HasSubstr("steps to expand, expected a smaller one")));
  // Many ports, roles, links, parameters.
  std::string ports = head + "<role name=\"a\">";
  for (int i = 0; i < 50'000; ++i) ports += "<port name=\"p" + std::to_string(i) + "\" direction=\"in\"/>";
  EXPECT_THAT(faults(ports + "</role></topology>"),
              ElementsAre(HasSubstr("has 50000 ports, expected at most 256")));
  std::string roles = head;
  for (int i = 0; i < 50'000; ++i) roles += "<role name=\"r" + std::to_string(i) + "\"/>";
  EXPECT_THAT(faults(roles + "</topology>"),
              ElementsAre(HasSubstr("found 50000 roles, expected at most 1000")));
  std::string params = head;
  for (int i = 0; i < 50'000; ++i)
    params += "<param name=\"p" + std::to_string(i) + "\" type=\"string\" default=\"\"/>";
  EXPECT_THAT(faults(params + "<role name=\"a\"/></topology>"),
              ElementsAre(HasSubstr("found more than 1000 parameters")));
  std::string links = head +
                      "<role name=\"a\"><port name=\"o\" direction=\"out\" count=\"50000\"/><port name=\"i\" "
                      "direction=\"in\"/></role>";
  for (int i = 0; i < 50'000; ++i) links += "<link from=\"a.o[" + std::to_string(i) + "]\" to=\"a.i\"/>";
  EXPECT_THAT(faults(links + "</topology>"), ElementsAre());
}

TEST(Hostile, ABrokerMaySetSmallerLimits) {
  ReadOptions options;
  options.limits = {100, 150};
  const std::string xml =
      R"(<topology xmlns="urn:mvm:topology:1" name="t"><param name="n" type="integer" default="10"/>
<role name="a" count="${n}"><port name="o" direction="out" count="2"/><port name="i" direction="in"/></role>
<link for="p in 0..n-1, k in 0..1" from="a[p].o[k]" to="a[p].i"/></topology>)";
  EXPECT_TRUE(read_profile(xml, "f.xml", options).ok());
  options.set = {{"n", "101"}};
  EXPECT_THAT(describe(read_profile(xml, "f.xml", options).diagnostics),
              HasSubstr("101 or more processes, expected at most 100"));
  options.set = {{"n", "76"}};
  EXPECT_THAT(describe(read_profile(xml, "f.xml", options).diagnostics),
              HasSubstr("151 or more links, expected at most 150"));
}

TEST(Hostile, ManyFaultsAreCounted) {
  std::string xml = "<topology xmlns=\"urn:mvm:topology:1\" name=\"t\"><role name=\"a\"/>";
  for (int i = 0; i < 500; ++i) xml += "<x/>";
  const auto lines = faults(xml + "</topology>");
  EXPECT_EQ(lines.size(), kMaxDiagnostics + 1);
  EXPECT_EQ(lines.back(), "f.xml: error: and 400 more faults");
}

TEST(NearMiss, FindsWhatWasMeant) {
  EXPECT_EQ(near_miss("to-rihgt", {"from-left", "to-right"}), "to-right");
  EXPECT_EQ(near_miss("right", {"from-left", "to-right"}), "to-right");
  EXPECT_EQ(near_miss("xyz", {"from-left", "to-right"}), "");
  EXPECT_EQ(near_miss("", {"a"}), "");
}

}  // namespace
}  // namespace mvm::topologies
