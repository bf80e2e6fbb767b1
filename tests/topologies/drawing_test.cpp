// Pictures: complete, well-formed, inside their canvas, and small whatever the graph.

#include "mvm/topologies/drawing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tinyxml2.h>

#include <functional>

#include "mvm/topologies/reader.h"
#include "mvm/topologies/shipped.h"

namespace mvm::topologies {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Graph shipped(const std::string& name, const std::map<std::string, std::string>& set = {}) {
  ReadOptions options;
  options.set = set;
  ReadResult result = read_profile(shipped_text(DocumentKind::kTopology, name), name, options);
  EXPECT_TRUE(result.ok()) << describe(result.diagnostics);
  return result.ok() ? result.profile->graph : Graph();
}

struct Box {
  double x, y, width, height;
};

/// The rectangles and texts of a picture; fails where it is not well-formed.
struct Picture {
  std::vector<Box> rectangles;
  std::vector<std::string> texts;
  double width = 0, height = 0;
  std::size_t paths = 0;
};
Picture parse(const std::string& svg) {
  Picture picture;
  tinyxml2::XMLDocument document;
  EXPECT_EQ(document.Parse(svg.c_str()), tinyxml2::XML_SUCCESS) << document.ErrorStr();
  if (document.RootElement() == nullptr) return picture;
  picture.width = document.RootElement()->DoubleAttribute("width");
  picture.height = document.RootElement()->DoubleAttribute("height");
  const std::function<void(const tinyxml2::XMLElement*)> walk = [&](const tinyxml2::XMLElement* element) {
    for (; element != nullptr; element = element->NextSiblingElement()) {
      const std::string name = element->Name();
      if (name == "defs") continue;
      if (name == "rect" && element->Attribute("x") != nullptr) {
        picture.rectangles.push_back({element->DoubleAttribute("x"), element->DoubleAttribute("y"),
                                      element->DoubleAttribute("width"), element->DoubleAttribute("height")});
      }
      if (name == "text" && element->GetText() != nullptr) picture.texts.emplace_back(element->GetText());
      if (name == "path" && element->Attribute("marker-end") != nullptr) ++picture.paths;
      walk(element->FirstChildElement());
    }
  };
  walk(document.RootElement()->FirstChildElement());
  return picture;
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

TEST(Drawing, EveryShippedTopologyIsReadable) {
  for (const std::string& name : shipped_names(DocumentKind::kTopology)) {
    SCOPED_TRACE(name);
    const Graph graph = shipped(name);
    const Drawing drawing{.title = name, .graph = &graph};
    const Picture picture = parse(to_svg(drawing));
    for (ProcessId p = 0; p < graph.process_count(); ++p) {
      const Role& role = graph.roles()[graph.role_of(p)];
      EXPECT_THAT(picture.texts, ::testing::Contains(role.count == 1 ? role.name : graph.process_name(p)));
    }
    EXPECT_GE(picture.paths, graph.link_count());
    for (std::size_t i = 0; i < picture.rectangles.size(); ++i) {
      const Box& a = picture.rectangles[i];
      EXPECT_GE(a.x, 0);
      EXPECT_GE(a.y, 0);
      EXPECT_LE(a.x + a.width, picture.width);
      EXPECT_LE(a.y + a.height, picture.height);
      for (std::size_t j = 0; j < i; ++j) {
        const Box& b = picture.rectangles[j];
        const bool apart =
            a.x >= b.x + b.width || b.x >= a.x + a.width || a.y >= b.y + b.height || b.y >= a.y + a.height;
        EXPECT_TRUE(apart) << i << " covers " << j;
      }
    }
    EXPECT_EQ(to_svg(drawing), to_svg(drawing));
  }
}

Drawing three_layers(const Graph& graph) {
  Drawing drawing{.title = "lab <1> & \"2\"", .graph = &graph};
  drawing.hosts = {{"alpha", "x86_64"}, {"beta", ""}};
  drawing.nodes = {{"cell-0", "lxc", 0}, {"cell-1", "lxc", 0}, {"cell-2", "qemu", 1}, {"spare", "", 1}};
  for (ProcessId p = 0; p < graph.process_count(); ++p)
    drawing.node_of.push_back(p * 3 / graph.process_count());
  return drawing;
}

TEST(Drawing, ShowsHostsNodesProcessesAndQueues) {
  const Graph graph = shipped("scatter-gather", {{"n", "5"}});
  Drawing drawing = three_layers(graph);
  drawing.process_details.assign(6, "running");
  drawing.link_details = {"3/256 shm", "0/256 tcp"};
  const std::string svg = to_svg(drawing);
  const Picture picture = parse(svg);
  for (const char* text : {"alpha", "beta", "cell-2", "spare", "qemu", "master", "worker[4]", "running",
                           "3/256 shm", "scatter-gather.gather", "lab <1> & \"2\""}) {
    EXPECT_THAT(picture.texts, ::testing::Contains(text));
  }
  const std::string dot = to_dot(drawing);
  EXPECT_EQ(count(dot, "subgraph cluster_"), 6U);
  EXPECT_EQ(count(dot, " -> i"), 12U);
  EXPECT_THAT(dot, HasSubstr("label=\"lab <1> & \\\"2\\\"\\n6 processes, 2 queues on 4 nodes, 2 hosts\""));
  const std::string text = to_text(drawing);
  EXPECT_THAT(text, HasSubstr("host alpha  (x86_64)"));
  EXPECT_THAT(text, HasSubstr("cell-2          qemu                      worker[3..4]"));
  EXPECT_THAT(text, HasSubstr("scatter-gather.scatter  master[0].tasks       >  worker[0..4].tasks  fifo of "
                              "256, block  3/256 shm"));
}

TEST(Drawing, ALabWithoutProcesses) {
  Drawing drawing{.title = "empty"};
  drawing.nodes = {{"node-0", "lxc", 0}};
  EXPECT_THAT(parse(to_svg(drawing)).texts, ::testing::Contains("node-0"));
  EXPECT_THAT(to_dot(drawing), HasSubstr("node-0"));
  EXPECT_THAT(to_text(drawing), HasSubstr("node-0"));
  EXPECT_FALSE(to_svg(Drawing{}).empty());
  EXPECT_FALSE(to_text(Drawing{}).empty());
}

TEST(Drawing, ManyProcessesAreGroups) {
  const Graph graph = shipped("all-to-all", {{"n", "1000"}});
  const Drawing drawing = three_layers(graph);
  const std::string svg = to_svg(drawing);
  EXPECT_LT(svg.size(), 20'000U);
  EXPECT_THAT(svg, HasSubstr("cell \xC3\x97 334"));
  EXPECT_THAT(svg, Not(HasSubstr("cell[7]")));
  EXPECT_LT(to_dot(drawing).size(), 20'000U);
  const std::string text = to_text(drawing);
  EXPECT_LT(text.size(), 5'000U);
  EXPECT_THAT(text, HasSubstr("all-to-all  999000    fifo of 256, block; cell[0].to[1] > cell[1].from[0]"));
}

TEST(Drawing, QueueTypesDiffer) {
  const ReadResult result = read_profile(R"(<topology xmlns="urn:mvm:topology:1" name="t">
    <role name="a"><port name="o" direction="out"/><port name="p" direction="out"/></role>
    <role name="b"><port name="i" direction="in"/></role>
    <link from="a.o" to="b.i"><queue type="priority"/></link><link from="a.p" to="b.i"/></topology>)",
                                         "t.xml");
  ASSERT_TRUE(result.ok());
  const Drawing drawing{.graph = &result.profile->graph};
  EXPECT_THAT(to_svg(drawing), HasSubstr("stroke-dasharray=\"6 3\""));
  EXPECT_THAT(to_dot(drawing), HasSubstr("style=dashed"));
}

}  // namespace
}  // namespace mvm::topologies
