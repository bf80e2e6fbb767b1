// Every pattern against its definition, and single links.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "mvm/topologies/reader.h"
#include "mvm/topologies/shipped.h"

namespace mvm::topologies {
namespace {

using Edges = std::set<std::pair<std::string, std::string>>;

Graph read_graph(std::string_view xml, const std::map<std::string, std::string>& set = {}) {
  ReadOptions options;
  options.set = set;
  ReadResult result = read_profile(xml, "test.xml", options);
  EXPECT_TRUE(result.ok()) << describe(result.diagnostics);
  return result.ok() ? result.profile->graph : Graph();
}

Graph shipped(const std::string& name, const std::map<std::string, std::string>& set = {}) {
  return read_graph(shipped_text(DocumentKind::kTopology, name), set);
}

/// Every pair of ends that some link joins.
Edges edges(const Graph& graph) {
  Edges all;
  for (LinkId id = 0; id < graph.link_count(); ++id) {
    const Link link = graph.link(id);
    for (const End from : link.producers) {
      for (const End to : link.consumers) all.emplace(graph.end_name(from), graph.end_name(to));
    }
  }
  return all;
}

/// Whatever the topology: indices, names and both directions of look-up agree.
void expect_consistent(const Graph& graph) {
  std::size_t ends = 0;
  std::set<std::string> names;
  for (LinkId id = 0; id < graph.link_count(); ++id) {
    const Link link = graph.link(id);
    EXPECT_FALSE(link.producers.empty());
    EXPECT_FALSE(link.consumers.empty());
    EXPECT_TRUE(names.insert(graph.link_name(id)).second) << graph.link_name(id);
    EXPECT_EQ(graph.find_link(graph.link_name(id)), id);
    for (const End end : link.producers) {
      EXPECT_EQ(graph.port_at(end).direction, Direction::kOut);
      ASSERT_EQ(graph.links_at(end).size(), 1U);
      EXPECT_EQ(graph.links_at(end)[0], id);
    }
    for (const End end : link.consumers) {
      EXPECT_EQ(graph.port_at(end).direction, Direction::kIn);
      const auto at = graph.links_at(end);
      EXPECT_NE(std::find(at.begin(), at.end(), id), at.end());
    }
    ends += link.producers.size() + link.consumers.size();
  }
  std::size_t seen = 0;
  for (ProcessId p = 0; p < graph.process_count(); ++p) {
    EXPECT_EQ(graph.find_process(graph.process_name(p)), p);
    seen += graph.links_of(p).size();
  }
  EXPECT_EQ(seen, ends);
}

std::string cell(std::uint32_t i) { return "cell[" + std::to_string(i) + "]"; }

TEST(Patterns, EveryShippedTopologyIsConsistent) {
  const auto names = shipped_names(DocumentKind::kTopology);
  EXPECT_GE(names.size(), 14U);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const Graph graph = shipped(name);
    EXPECT_EQ(graph.name(), name);
    expect_consistent(graph);
  }
}

TEST(Patterns, PipelineJoinsStagesByOneQueueEach) {
  const Graph graph = shipped("pipeline", {{"n", "3"}});
  ASSERT_EQ(graph.link_count(), 2U);
  EXPECT_EQ(graph.link_name(0), "pipeline[0]");
  EXPECT_EQ(graph.link(0).producers.size(), 1U);
  EXPECT_EQ(graph.link(0).consumers.size(), 3U);
  EXPECT_EQ(graph.link(1).producers.size(), 3U);
  EXPECT_EQ(graph.link(0).spec->deliver, Deliver::kOneOf);
  EXPECT_TRUE(edges(graph).contains({"worker[2].out", "sink[0].in"}));
}

TEST(Patterns, LineHasTwoOpenEnds) {
  const Graph graph = shipped("line", {{"n", "3"}});
  EXPECT_EQ(edges(graph), (Edges{{"cell[0].to-right", "cell[1].from-left"},
                                 {"cell[1].to-right", "cell[2].from-left"},
                                 {"cell[1].to-left", "cell[0].from-right"},
                                 {"cell[2].to-left", "cell[1].from-right"}}));
  EXPECT_TRUE(graph.links_at({2, *graph.find_slot(2, "to-right")}).empty());
  EXPECT_EQ(shipped("line", {{"n", "1"}}).link_count(), 0U);
}

TEST(Patterns, RingClosesInBothDirections) {
  const Graph graph = shipped("ring-both", {{"n", "3"}});
  Edges expected;
  for (std::uint32_t i = 0; i < 3; ++i) {
    expected.emplace(cell(i) + ".to-right", cell((i + 1) % 3) + ".from-left");
    expected.emplace(cell(i) + ".to-left", cell((i + 2) % 3) + ".from-right");
  }
  EXPECT_EQ(edges(graph), expected);
  EXPECT_EQ(graph.link_name(2), "right[2]");
}

TEST(Patterns, StarGivesEveryLeafItsOwnLinks) {
  const Graph graph = shipped("star", {{"n", "2"}});
  EXPECT_EQ(edges(graph), (Edges{{"hub[0].to-leaf[0]", "leaf[0].from-hub"},
                                 {"hub[0].to-leaf[1]", "leaf[1].from-hub"},
                                 {"leaf[0].to-hub", "hub[0].from-leaf[0]"},
                                 {"leaf[1].to-hub", "hub[0].from-leaf[1]"}}));
}

TEST(Patterns, TreeIsNumberedLikeAHeap) {
  const Graph graph = shipped("tree", {{"n", "6"}, {"arity", "3"}});
  const Edges all = edges(graph);
  EXPECT_EQ(all.size(), 10U);
  EXPECT_TRUE(all.contains({"node[0].to-child[2]", "node[3].from-parent"}));
  EXPECT_TRUE(all.contains({"node[1].to-child[1]", "node[5].from-parent"}));
  EXPECT_TRUE(all.contains({"node[5].to-parent", "node[1].from-child[1]"}));
}

TEST(Patterns, MeshAndTorusDifferAtTheEdges) {
  const Graph mesh = shipped("mesh", {{"rows", "2"}, {"columns", "3"}});
  const Graph torus = shipped("torus", {{"rows", "2"}, {"columns", "3"}});
  EXPECT_EQ(mesh.link_count(), 2U * (2 * 2 + 3 * 1));
  EXPECT_EQ(torus.link_count(), 4U * 6);
  EXPECT_TRUE(edges(mesh).contains({"cell[4].to-north", "cell[1].from-south"}));
  EXPECT_TRUE(edges(mesh).contains({"cell[1].to-west", "cell[0].from-east"}));
  EXPECT_TRUE(mesh.links_at({0, *mesh.find_slot(0, "to-north")}).empty());
  EXPECT_TRUE(edges(torus).contains({"cell[1].to-north", "cell[4].from-south"}));
  EXPECT_TRUE(edges(torus).contains({"cell[2].to-east", "cell[0].from-west"}));
  EXPECT_TRUE(edges(torus).contains({"cell[3].to-west", "cell[5].from-east"}));
}

TEST(Patterns, ThreeDimensions) {
  const Graph mesh = shipped("mesh3d", {{"layers", "2"}, {"rows", "2"}, {"columns", "2"}});
  EXPECT_EQ(mesh.link_count(), 24U);
  EXPECT_TRUE(edges(mesh).contains({"cell[1].to-up", "cell[5].from-down"}));
  EXPECT_TRUE(edges(mesh).contains({"cell[5].to-down", "cell[1].from-up"}));
  const Graph torus = shipped("torus3d", {{"layers", "3"}, {"rows", "1"}, {"columns", "1"}});
  EXPECT_EQ(torus.link_count(), 18U);
  EXPECT_TRUE(edges(torus).contains({"cell[2].to-up", "cell[0].from-down"}));
}

TEST(Patterns, ButterflyAndHypercubeJoinNumbersThatDifferInOneBit) {
  for (const std::string kind : {"butterfly", "hypercube"}) {
    for (const std::uint32_t n : {1U, 2U, 8U, 16U}) {
      const Graph graph = shipped(kind, {{"n", std::to_string(n)}});
      Edges expected;
      std::uint32_t stages = 0;
      for (; (1U << stages) < n; ++stages) {
        for (std::uint32_t p = 0; p < n; ++p) {
          const std::string element = "[" + std::to_string(stages) + "]";
          expected.emplace(cell(p) + ".peer-out" + element, cell(p ^ (1U << stages)) + ".peer-in" + element);
        }
      }
      EXPECT_EQ(edges(graph), expected) << kind << n;
      EXPECT_EQ(graph.link_count(), n * stages);
    }
  }
}

TEST(Patterns, AllToAllLeavesOutOneself) {
  const Graph graph = shipped("all-to-all", {{"n", "3"}});
  EXPECT_EQ(graph.link_count(), 6U);
  EXPECT_TRUE(edges(graph).contains({"cell[2].to[0]", "cell[0].from[2]"}));
  EXPECT_TRUE(graph.links_at({1, *graph.find_slot(1, "to", 1)}).empty());
}

TEST(Patterns, ScatterGatherIsTwoQueues) {
  const Graph graph = shipped("scatter-gather", {{"n", "5"}});
  ASSERT_EQ(graph.link_count(), 2U);
  EXPECT_EQ(graph.link_name(0), "scatter-gather.scatter");
  EXPECT_EQ(graph.find_link("scatter-gather.gather"), 1U);
  EXPECT_EQ(graph.link(0).consumers.size(), 5U);
  EXPECT_EQ(graph.link(1).producers.size(), 5U);
}

TEST(Patterns, FarFirstButterflyReversesTheStages) {
  const Graph graph = read_graph(R"(<topology xmlns="urn:mvm:topology:1" name="t">
    <role name="cell" count="8"><port name="o" direction="out" count="3"/><port name="i" direction="in" count="3"/></role>
    <pattern kind="butterfly" role="cell" out="o" in="i" order="far-first"/></topology>)");
  EXPECT_TRUE(edges(graph).contains({"cell[0].o[0]", "cell[4].i[0]"}));
  EXPECT_TRUE(edges(graph).contains({"cell[0].o[2]", "cell[1].i[2]"}));
}

// ---- single links

constexpr std::string_view kLinks = R"(<topology xmlns="urn:mvm:topology:1" name="t">
  <param name="n" type="integer" default="4"/>
  <role name="source"><port name="out" direction="out"/><port name="all" direction="out" count="${n}"/></role>
  <role name="cell" count="${n}"><port name="in" direction="in"/><port name="next" direction="out"/>
    <port name="report" direction="out"/></role>
  <role name="sink"><port name="in" direction="in"/></role>
  <link from="source.out" to="cell[*].in" deliver="every-one" codec="neutral zstd:3" transport="tls">
    <queue type="priority" capacity="${2*n}" bytes="${n}KiB" when-full="drop-oldest" timeout="5s" ttl="250ms"/></link>
  <link for="i in 0..n-2" from="cell[i].next" to="cell[i+1].in"/>
  <link name="last" from="cell[n-1].next" to="sink.in"/>
  <link from="cell[1..2].report cell[0].report cell[${n-1}].report" to="sink.in"/>
  <link name="fan" for="i in 0..n-1" from="source.all[i]" to="cell[i].in"/>
</topology>)";

TEST(Links, RangesLoopsAndLists) {
  const Graph graph = read_graph(kLinks);
  expect_consistent(graph);
  EXPECT_EQ(graph.link_count(), 1U + 3 + 1 + 1 + 4);
  EXPECT_EQ(graph.link_name(0), "source.out->cell.in");
  EXPECT_EQ(graph.link(0).consumers.size(), 4U);
  EXPECT_EQ(graph.link_name(2), "cell.next->cell.in[1]");
  EXPECT_EQ(graph.end_name(graph.link(2).consumers[0]), "cell[2].in");
  EXPECT_EQ(graph.link_name(4), "last");
  EXPECT_EQ(graph.link(5).producers.size(), 4U);
  EXPECT_EQ(graph.end_name(graph.link(*graph.find_link("fan[2]")).producers[0]), "source[0].all[2]");
  EXPECT_EQ(graph.find_process("source"), 0U);
  EXPECT_EQ(graph.find_process("cell"), std::nullopt);
  EXPECT_EQ(graph.find_process("cell[4]"), std::nullopt);
  EXPECT_EQ(graph.find_process("cell[x]"), std::nullopt);
  EXPECT_EQ(graph.find_link("last[0]"), std::nullopt);
}

TEST(Links, CarryTheirQueue) {
  const Graph graph = read_graph(kLinks);
  const LinkSpec& spec = *graph.link(0).spec;
  EXPECT_EQ(spec.queue.type, QueueType::kPriority);
  EXPECT_EQ(spec.queue.capacity, 8U);
  EXPECT_EQ(spec.queue.bytes, 4096U);
  EXPECT_EQ(spec.queue.when_full, WhenFull::kDropOldest);
  EXPECT_EQ(spec.queue.timeout_ms, 5000);
  EXPECT_EQ(spec.queue.ttl_ms, 250);
  EXPECT_EQ(spec.deliver, Deliver::kEveryOne);
  EXPECT_EQ(spec.codecs, (std::vector<std::string>{"neutral", "zstd:3"}));
  EXPECT_EQ(spec.transport, "tcp+tls") << "its long name";
  EXPECT_EQ(*graph.link(1).spec, LinkSpec{});
}

TEST(Links, NestedLoops) {
  const Graph graph = read_graph(R"(<topology xmlns="urn:mvm:topology:1" name="t">
    <role name="a" count="3"><port name="o" direction="out" count="3"/><port name="i" direction="in"/></role>
    <link for="i in 0..2, j in 0..i-1" from="a[i].o[j]" to="a[j].i"/></topology>)");
  EXPECT_EQ(edges(graph), (Edges{{"a[1].o[0]", "a[0].i"}, {"a[2].o[0]", "a[0].i"}, {"a[2].o[1]", "a[1].i"}}));
}

}  // namespace
}  // namespace mvm::topologies
