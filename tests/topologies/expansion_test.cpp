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

}  // namespace
}  // namespace mvm::topologies
