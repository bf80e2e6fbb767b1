// Large graphs: linear memory, and a printed time (never asserted).

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "mvm/topologies/reader.h"

namespace mvm::topologies {
namespace {

/// n processes, each with ten links to others.
std::string ten_each(std::uint32_t n) {
  return R"(<topology xmlns="urn:mvm:topology:1" name="t"><param name="n" type="integer" default=")" +
         std::to_string(n) +
         R"("/><role name="cell" count="${n}"><port name="o" direction="out" count="10"/><port name="i" direction="in" count="10"/></role>
  <link for="p in 0..n-1, k in 0..9" from="cell[p].o[k]" to="cell[(p+k+1)%n].i[k]"/></topology>)";
}

Graph timed(const std::string& what, const std::string& xml) {
  const auto begin = std::chrono::steady_clock::now();
  ReadResult result = read_profile(xml, "t.xml");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_TRUE(result.ok()) << describe(result.diagnostics);
  if (!result.ok()) return {};
  const Graph& graph = result.profile->graph;
  std::printf("%s: %u processes, %u links: %.3f s, %.1f MB\n", what.c_str(), graph.process_count(),
              graph.link_count(), took.count(), static_cast<double>(graph.memory_bytes()) / 1e6);
  return std::move(result.profile->graph);
}

TEST(Expansion, OfAMillionLinksByExpressions) {
  const Graph graph = timed("links one by one", ten_each(100'000));
  ASSERT_EQ(graph.process_count(), 100'000U);
  ASSERT_EQ(graph.link_count(), 1'000'000U);
  const LinkId id = *graph.find_link("cell.o->cell.i[777779]");
  EXPECT_EQ(graph.end_name(graph.link(id).producers[0]), "cell[77777].o[9]");
  EXPECT_EQ(graph.end_name(graph.link(id).consumers[0]), "cell[77787].i[9]");
  EXPECT_EQ(graph.links_of(99'999).size(), 20U);
}

TEST(Expansion, OfPatterns) {
  const Graph torus =
      timed("torus", R"(<topology xmlns="urn:mvm:topology:1" name="t"><role name="c" count="250000">
    <port name="no" direction="out"/><port name="ni" direction="in"/><port name="so" direction="out"/><port name="si" direction="in"/>
    <port name="eo" direction="out"/><port name="ei" direction="in"/><port name="wo" direction="out"/><port name="wi" direction="in"/></role>
    <pattern kind="torus" role="c" rows="500" columns="500" north-out="no" south-in="si" south-out="so" north-in="ni"
             east-out="eo" west-in="wi" west-out="wo" east-in="ei"/></topology>)");
  EXPECT_EQ(torus.link_count(), 1'000'000U);
  const Graph butterfly =
      timed("butterfly", R"(<topology xmlns="urn:mvm:topology:1" name="t"><role name="c" count="65536">
    <port name="o" direction="out" count="16"/><port name="i" direction="in" count="16"/></role>
    <pattern kind="butterfly" role="c" out="o" in="i"/></topology>)");
  EXPECT_EQ(butterfly.link_count(), 65536U * 16);
}

TEST(Expansion, MemoryIsLinear) {
  const auto bytes = [](std::uint32_t n) {
    const ReadResult result = read_profile(ten_each(n), "t.xml");
    EXPECT_TRUE(result.ok());
    return static_cast<double>(result.profile->graph.memory_bytes());
  };
  const double one = bytes(5'000), ten = bytes(50'000);
  EXPECT_LT(ten / one, 10.5);
  // Two ends of 8 bytes and two entries of 4, a record of 8, and the index of the slots.
  EXPECT_LT(ten / (10 * 50'000), 48);
}

std::string with_ports(const std::string& ports, const std::string& more = "") {
  return R"(<topology xmlns="urn:mvm:topology:1" name="t"><role name="a" count="2">)" + ports + "</role>" +
         more + "</topology>";
}

TEST(Expansion, OfOpenPorts) {
  const ReadResult read = read_profile(
      with_ports(R"(<port name="in" direction="in" open="true"><queue type="priority" capacity="7"/></port>
                    <port name="peer" direction="out" count="2" open="true"/>
                    <port name="all" direction="in" open="shared"/>)",
                 R"(<role name="b"><port name="one" direction="in" open="true"/></role>)"),
      "t.xml");
  ASSERT_TRUE(read.ok()) << describe(read.diagnostics);
  const Graph& graph = read.profile->graph;
  ASSERT_EQ(graph.link_count(), 8U);
  EXPECT_EQ(graph.open_links().size(), 8U);
  const auto name = [&](const char* text) {
    const auto found = graph.find_open(text);
    return found ? graph.link_name(*found)
                 : std::string(found.error().code() == ErrorCode::kInvalid ? "several" : "none");
  };
  EXPECT_EQ(name("a[1].in"), "a[1].in");
  EXPECT_EQ(name("in"), "several");
  EXPECT_EQ(name("a.in"), "several");
  EXPECT_EQ(name("all"), "a.all");
  EXPECT_EQ(name("a.all"), "a.all");
  EXPECT_EQ(name("a[0].peer[1]"), "a[0].peer[1]");
  EXPECT_EQ(name("a[0].peer"), "several");
  EXPECT_EQ(name("one"), "b[0].one");
  EXPECT_EQ(name("b[0].one"), "b[0].one");
  EXPECT_EQ(name("b[1].one"), "none");
  EXPECT_EQ(name("a[0].in[0]"), "none");
  const Link in = graph.link(*graph.find_open("a[1].in"));
  EXPECT_EQ(in.spec->queue.capacity, 7U);
  EXPECT_TRUE(in.producers.empty());
  EXPECT_EQ(graph.link(*graph.find_open("all")).consumers.size(), 2U);
  EXPECT_EQ(graph.find_link("a[0].peer[1]"), *graph.find_open("a[0].peer[1]"));
}

TEST(Expansion, OfOpenPortsThatCannotBe) {
  const auto fault = [](const std::string& xml) {
    const ReadResult read = read_profile(xml, "t.xml");
    return describe(read.diagnostics);
  };
  EXPECT_NE(fault(with_ports(R"(<port name="o" direction="out" open="true"/><port name="i" direction="in"/>)",
                             R"(<link from="a[0].o" to="a[1].i"/>)"))
                .find("the out port a[0].o has a link already"),
            std::string::npos);
  EXPECT_NE(fault(with_ports(R"(<port name="i" direction="in" optional="true"><queue/></port>)"))
                .find("found <queue> in a <port> that is not open"),
            std::string::npos);
  EXPECT_NE(fault(with_ports(R"(<port name="i" direction="in" count="501" open="true"/>)"))
                .find("open ports have more than 1000 queues"),
            std::string::npos);
  EXPECT_NE(fault(with_ports(R"(<port name="i" direction="in" open="maybe"/>)")).find("maybe"),
            std::string::npos);
}

}  // namespace
}  // namespace mvm::topologies
