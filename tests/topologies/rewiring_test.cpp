#include "mvm/topologies/rewiring.h"

#include <gmock/gmock.h>

#include "mvm/topologies/reader.h"

namespace mvm::topologies {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Graph read(const std::string& body) {
  auto result =
      read_profile("<topology xmlns=\"urn:mvm:topology:1\" name=\"t\">" + body + "</topology>", "t.xml");
  EXPECT_TRUE(result.ok()) << describe(result.diagnostics);
  return result.profile ? std::move(result.profile->graph) : Graph{};
}

Graph ring(int n, const std::string& queue = {}) {
  const auto count = std::to_string(n);
  return read("<role name=\"cell\" count=\"" + count +
              "\"><port name=\"in\" direction=\"in\"/><port name=\"out\" direction=\"out\"/></role>"
              "<pattern kind=\"ring\" role=\"cell\" out=\"out\" in=\"in\">" +
              queue + "</pattern>");
}

TEST(GraphDifference, OfOneAndTheSameIsNothing) {
  const auto difference = topologies::difference(ring(4), ring(4));
  EXPECT_TRUE(difference.empty());
  EXPECT_EQ(difference.unchanged, 4U);
}

TEST(GraphDifference, AGrownRingIsRedirectedAtItsEnd) {
  const auto difference = topologies::difference(ring(3), ring(4));
  EXPECT_EQ(difference.unchanged, 2U);
  EXPECT_THAT(difference.roles, ElementsAre(ChangedRole{"cell", 3, 4}));
  ASSERT_THAT(difference.links, SizeIs(2));
  EXPECT_EQ(difference.links[0], (ChangedLink{LinkChange::kRedirected, "ring[2]", "cell[2].out", "cell[3].in",
                                              "cell[2].out", "cell[0].in"}));
  EXPECT_EQ(difference.links[1].change, LinkChange::kAdded);
  EXPECT_EQ(difference.links[1].from, "cell[3].out");
}

TEST(GraphDifference, OtherQueuesAreChangedLinks) {
  const auto difference = topologies::difference(ring(3), ring(3, "<queue capacity=\"9\"/>"));
  EXPECT_EQ(difference.unchanged, 0U);
  ASSERT_THAT(difference.links, SizeIs(3));
  for (const auto& link : difference.links) EXPECT_EQ(link.change, LinkChange::kChanged);
  EXPECT_THAT(difference.roles, IsEmpty());
}

TEST(GraphDifference, ANameIsNoChange) {
  const auto graph = ring(2);
  auto links = plain_links(graph);
  for (auto& link : links) link.name = "other-" + link.name;
  EXPECT_TRUE(topologies::difference(graph, *make_graph("t", graph.roles(), links)).empty());
}

TEST(GraphEdits, ALinkGoesAndComes) {
  const auto graph = ring(4);
  const auto without = *disconnect(graph, "ring[1]");
  EXPECT_EQ(without.link_count(), 3U);
  EXPECT_FALSE(without.find_link("ring[1]"));
  ASSERT_TRUE(without.find_link("ring[2]")) << "the others keep their names";
  EXPECT_EQ(without.end_name(without.link(*without.find_link("ring[3]")).consumers[0]), "cell[0].in");
  EXPECT_EQ(disconnect(without, "ring[1]").error().code(), ErrorCode::kNotFound);

  const auto again = *connect(without, {"cell[1].out",
                                        "cell[0].in cell[3].in",
                                        "fork",
                                        {{"deliver", "every-one"}, {"capacity", "3"}, {"ttl", "2s"}}});
  const auto link = again.link(*again.find_link("fork"));
  EXPECT_EQ(link.spec->deliver, Deliver::kEveryOne);
  EXPECT_EQ(link.spec->queue.capacity, 3U);
  EXPECT_EQ(link.spec->queue.ttl_ms, 2000);
  EXPECT_THAT(link.consumers, SizeIs(2));
  const auto difference = topologies::difference(graph, again);
  EXPECT_EQ(difference.unchanged, 3U);
  EXPECT_THAT(difference.links, SizeIs(2)) << "one removed, one added";
}

TEST(GraphEdits, ALinkGetsOtherAttributes) {
  const auto graph = ring(4, "<queue capacity=\"7\" timeout=\"3s\"/>");
  const auto now = *set(graph, {"ring[1]",
                                {{"when-full", "drop-oldest"},
                                 {"bytes", "64KiB"},
                                 {"timeout", ""},
                                 {"codec", "zstd:3 checksum"},
                                 {"ttl", "1500ms"},
                                 {"deliver", "by-key"}}});
  const LinkSpec& spec = *now.link(1).spec;
  EXPECT_EQ(spec.queue.when_full, WhenFull::kDropOldest);
  EXPECT_EQ(spec.queue.bytes, 65536U);
  EXPECT_EQ(spec.queue.capacity, 7U) << "what is not named stays";
  EXPECT_EQ(spec.queue.timeout_ms, std::nullopt);
  EXPECT_EQ(spec.queue.ttl_ms, 1500);
  EXPECT_EQ(spec.deliver, Deliver::kByKey);
  EXPECT_THAT(spec.codecs, ElementsAre("zstd:3", "checksum"));
  const auto difference = topologies::difference(graph, now);
  EXPECT_EQ(difference.unchanged, 3U);
  ASSERT_THAT(difference.links, SizeIs(1));
  EXPECT_EQ(difference.links[0].change, LinkChange::kChanged);
  EXPECT_EQ(difference.links[0].name, "ring[1]");

  // What is taken away is as in a file without it.
  const auto back = *set(now, {"ring[1]", {{"codec", ""}, {"ttl", ""}, {"capacity", ""}}});
  EXPECT_THAT(back.link(1).spec->codecs, IsEmpty());
  EXPECT_EQ(back.link(1).spec->queue.ttl_ms, std::nullopt);
  EXPECT_EQ(back.link(1).spec->queue.capacity, 256U);
  EXPECT_EQ(back.link(1).spec->queue.when_full, WhenFull::kDropOldest);
  EXPECT_TRUE(topologies::difference(now, *set(now, {"ring[1]", {{"type", "fifo"}}})).empty());
}

TEST(GraphEdits, AWholePatternGetsOtherAttributes) {
  const auto graph = ring(3);
  const auto now = *set(graph, {"ring", {{"capacity", "${2*8}"}}});
  for (LinkId id = 0; id < 3; ++id) EXPECT_EQ(now.link(id).spec->queue.capacity, 16U);
  EXPECT_EQ(now.link_name(2), "ring[2]");
  EXPECT_EQ(set(graph, {"rin", {{"capacity", "4"}}}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(set(graph, {"", {{"capacity", "4"}}}).error().code(), ErrorCode::kNotFound);
}

TEST(GraphEdits, AttributesThatMakeNoSenseAreExplained) {
  const auto graph = ring(4);
  const auto fault = [&](const std::string& name, const std::string& value) {
    const auto result = set(graph, {"ring[1]", {{name, value}}});
    EXPECT_FALSE(result);
    return result ? std::string() : result.error().message();
  };
  EXPECT_THAT(fault("capcity", "9"), AllOf(HasSubstr("'capcity'"), HasSubstr("deliver, codec"),
                                           HasSubstr("did you mean capacity?")));
  EXPECT_THAT(fault("capcity", ""), HasSubstr("did you mean capacity?"));
  EXPECT_THAT(fault("when-full", "drop-odlest"), HasSubstr("did you mean drop-oldest?"));
  EXPECT_THAT(fault("capacity", "0"), HasSubstr("expected 1 to 16777216"));
  EXPECT_THAT(fault("bytes", "3"), HasSubstr("at least 64"));
  EXPECT_THAT(fault("ttl", "soon"), HasSubstr("soon"));
  EXPECT_THAT(fault("codec", "zsdt"), HasSubstr("did you mean zstd?"));
  EXPECT_THAT(fault("type", "heap\"/><x y=\"1"), HasSubstr("heap"));
  EXPECT_THAT(set(graph, {"ring[1]", {}}).error().message(), HasSubstr("expected one of"));
  EXPECT_THAT(set(graph, {"rong[1]", {{"ttl", "1s"}}}).error().message(), HasSubstr("did you mean ring[1]?"));
}

TEST(GraphEdits, WhatMakesNoSenseIsExplained) {
  const auto graph = *disconnect(ring(4), "ring[1]");
  const auto fault = [&](const LinkWish& wish) {
    const auto result = connect(graph, wish);
    EXPECT_FALSE(result);
    return result ? std::string() : result.error().message();
  };
  EXPECT_THAT(fault({"cell[0].out", "cell[2].in", {}, {}}), HasSubstr("has the link ring[0]"));
  EXPECT_THAT(fault({"cell[1].in", "cell[2].in", {}, {}}), HasSubstr("in"));
  EXPECT_THAT(fault({"cell[9].out", "cell[2].in", {}, {}}), HasSubstr("9"));
  EXPECT_THAT(fault({"cell[1].out", "nobody.in", {}, {}}), HasSubstr("nobody"));
  EXPECT_THAT(fault({"cell[1].out", "cell[2].in", {}, {{"size", "3"}}}), HasSubstr("size"));
  EXPECT_THAT(fault({"cell[1].out", "cell[2].in", {}, {{"x=\"1\" y", "3"}}}),
              HasSubstr("found the attribute"));
  EXPECT_THAT(fault({"cell[1].out\"/><role name=\"x\"/>", "cell[2].in", {}, {}}), HasSubstr("found"));
  EXPECT_THAT(fault({"", "", {}, {}}), HasSubstr("found"));
}

TEST(GraphEdits, EndsThatDoNotExistAreRefused) {
  const auto graph = ring(2);
  auto links = plain_links(graph);
  links[0].producers[0].slot = 7;
  EXPECT_EQ(make_graph("t", graph.roles(), links).error().code(), ErrorCode::kInvalid);
  links = plain_links(graph);
  links[0].producers[0].process = 9;
  EXPECT_EQ(make_graph("t", graph.roles(), links).error().code(), ErrorCode::kInvalid);
  links = plain_links(graph);
  std::swap(links[0].producers, links[0].consumers);
  EXPECT_EQ(make_graph("t", graph.roles(), links).error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace mvm::topologies
