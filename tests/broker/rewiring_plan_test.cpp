// What becomes of a wiring when the graph changes: for random changes of random graphs.

#include <gmock/gmock.h>

#include <random>

#include "broker/plans.h"
#include "broker/profiles.h"
#include "mvm/broker/wiring_plan.h"
#include "mvm/topologies/rewiring.h"

namespace mvm::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using topologies::Graph;
using topologies::kNoLink;

/// `sources` with an out port and `sinks` with an in port, not joined.
Graph ports(int sources, int sinks) {
  return lab_of("<role name=\"s\" count=\"" + std::to_string(sources) +
                    "\"><port name=\"out\" direction=\"out\" optional=\"true\"/></role><role name=\"t\" "
                    "count=\"" +
                    std::to_string(sinks) +
                    "\"><port name=\"in\" direction=\"in\" optional=\"true\"/></role>",
                "<machines name=\"m\" role=\"s t\" driver=\"lxc\"/>", {"s", "t"})
      .graph;
}

Graph with(const Graph& graph, const std::string& from, const std::string& to,
           std::map<std::string, std::string> attributes = {}) {
  auto result =
      topologies::connect(graph, {.from = from, .to = to, .name = {}, .attributes = std::move(attributes)});
  EXPECT_TRUE(result) << result.error().describe();
  return *result;
}

/// The ids of the queues that an end of the layout is joined to.
std::vector<std::uint32_t> queues_at(const Graph& graph, const WiringLayout& layout, const std::string& end) {
  std::vector<std::uint32_t> ids;
  for (const auto& one : layout.ends)
    if (graph.end_name({one.process, one.slot}) == end) ids.push_back(layout.queues[one.queue].id);
  return ids;
}

TEST(RewiringPlan, AnUnchangedLinkKeepsItsQueueAndItsSlots) {
  const auto plan = place({"c0@a"}, {0, 0, 0, 0});
  const auto before = with(with(ports(2, 2), "s[0].out", "t[0].in"), "s[1].out", "t[1].in");
  const auto layout = *lay_out(before, plan);
  const auto after = *topologies::disconnect(before, before.link_name(0));
  const auto next = *lay_out_again(after, plan, {before, plan, layout});
  EXPECT_THAT(queues_at(after, next, "s[1].out"), ElementsAre(1));
  EXPECT_THAT(queues_at(after, next, "t[1].in"), ElementsAre(1));
  EXPECT_THAT(queues_at(after, next, "s[0].out"), IsEmpty());
  EXPECT_THAT(queues_at(after, next, "t[0].in"), ElementsAre(0)) << "what is queued is still read";
  ASSERT_THAT(next.leaving, SizeIs(1));
  EXPECT_EQ(next.leaving[0].link, before.link_name(0));
  const auto swept = without(next, {next.leaving[0].tree});
  EXPECT_THAT(queues_at(after, swept, "t[0].in"), IsEmpty());
  EXPECT_THAT(swept.queues, SizeIs(1));
  // The same as text.
  EXPECT_EQ(*decode_layout(encode(next), after, plan), next);
  EXPECT_EQ(*decode_layout(encode(swept), after, plan), swept);
}

TEST(RewiringPlan, ALinkWithOtherAttributesFollowsTheOldOne) {
  const auto plan = place({"c0@a"}, {0, 0});
  const auto before = with(ports(1, 1), "s.out", "t.in");
  const auto layout = *lay_out(before, plan);
  const auto after =
      with(*topologies::disconnect(before, before.link_name(0)), "s.out", "t.in", {{"capacity", "7"}});
  const auto next = *lay_out_again(after, plan, {before, plan, layout});
  EXPECT_THAT(queues_at(after, next, "s[0].out"), ElementsAre(1));
  EXPECT_THAT(queues_at(after, next, "t[0].in"), ElementsAre(0, 1));
  for (const auto& end : next.ends) {
    if (next.queues[end.queue].id == 1 && end.process == 1) {
      EXPECT_THAT(end.after, ElementsAre(0));
    }
  }
  const auto difference = topologies::difference(before, after);
  ASSERT_THAT(difference.links, SizeIs(1));
  EXPECT_EQ(difference.links[0].change, topologies::LinkChange::kChanged);
}

TEST(RewiringPlan, AnEveryOneLinkThatGrowsKeepsItsOtherConsumers) {
  const auto plan = place({"c0@a", "c1@b"}, {0, 0, 0, 1});
  const auto before = with(ports(1, 3), "s.out", "t[0].in t[1].in", {{"deliver", "every-one"}});
  const auto layout = *lay_out(before, plan);
  const auto after = with(*topologies::disconnect(before, before.link_name(0)), "s.out",
                          "t[0].in t[1].in t[2].in", {{"deliver", "every-one"}});
  const auto next = *lay_out_again(after, plan, {before, plan, layout});
  EXPECT_THAT(next.leaving, IsEmpty());
  EXPECT_THAT(queues_at(after, next, "t[0].in"), ElementsAre(0));
  EXPECT_THAT(queues_at(after, next, "t[1].in"), ElementsAre(1));
  EXPECT_THAT(next.carries, SizeIs(1)) << "the third one is on another host";
  const auto preparing = prepared(layout, next);
  EXPECT_THAT(preparing.queues, SizeIs(4));
  EXPECT_EQ(preparing.ends, layout.ends) << "nobody joins what is prepared";
  EXPECT_THAT(
      describe_steps({before, plan, layout}, {after, plan, next}),
      ElementsAre("make a queue for s.out->t.in+ in host:b", "make a queue for s.out->t.in+ in host:a",
                  "carry s.out->t.in+ from host:a to host:b by tcp+tls", "join s[0].out to s.out->t.in+",
                  "join t[2].in to s.out->t.in+"));
}

/// "tcp", "shm tcp": what the carries of each tree in the layout are, by the tree's number.
std::map<std::uint32_t, std::string> carriers(const WiringLayout& layout) {
  std::map<std::uint32_t, std::string> found;
  for (const auto& queue : layout.queues) found[queue.tree];
  for (const auto& carry : layout.carries) {
    auto& text = found[layout.queues[carry.from_queue].tree];
    text += (text.empty() ? "" : " ") + std::string(to_string(carry.transport));
  }
  return found;
}

TEST(RewiringPlan, ALinkChangesItsTransport) {
  struct Row {
    std::vector<std::string> nodes;
    std::string before, after, old_carriers, new_carriers;
  };
  const Row rows[] = {
      {{"c0@a", "c1@b"}, "", "tcp", "tcp+tls", "tcp"},
      {{"c0@a", "c1@b"}, "tcp", "tls", "tcp", "tcp+tls"},
      {{"c0@a", "c1@a"}, "", "tcp", "", "tcp"},
      {{"c0@a", "c1@a"}, "tcp", "shm", "tcp", ""},
      {{"c0@a", "c1@a"}, "", "posix-mq", "", "posix-mq"},
      {{"c0@a", "c1@a"}, "posix-mq", "boost-mq", "posix-mq", "boost-mq"},
      {{"c0@a", "c1@a"}, "boost-mq", "tcp", "boost-mq", "tcp"},
      {{"v0@a", "c1@a"}, "", "tls", "tcp", "tcp+tls"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.before + " to " + row.after);
    const auto plan = place(row.nodes, {0, 1});
    const auto with_transport = [&](const Graph& graph, const std::string& name) {
      return name.empty() ? with(graph, "s.out", "t.in")
                          : with(graph, "s.out", "t.in", {{"transport", name}});
    };
    const auto before = with_transport(ports(1, 1), row.before);
    const auto layout = *lay_out(before, plan);
    EXPECT_THAT(carriers(layout), ElementsAre(Pair(0, row.old_carriers)));
    const auto after = with_transport(*topologies::disconnect(before, before.link_name(0)), row.after);
    EXPECT_EQ(topologies::difference(before, after).links.at(0).change, topologies::LinkChange::kChanged);
    const auto next = *lay_out_again(after, plan, {before, plan, layout});
    EXPECT_THAT(carriers(next),
                ElementsAre(Pair(0, row.old_carriers), Pair(layout.next_queue, row.new_carriers)))
        << "what is left is carried as it was";
    for (const auto& end : next.ends) {
      if (end.process == 1 && next.queues[end.queue].link != kNoLink) {
        EXPECT_THAT(end.after, ElementsAre(0)) << "what was sent before is read before";
      }
    }
    EXPECT_EQ(*decode_layout(encode(next), after, plan), next);
  }
}

TEST(RewiringPlan, ATransportThatCannotBeHadIsRefused) {
  const auto before = with(ports(1, 1), "s.out", "t.in");
  const auto free = *topologies::disconnect(before, before.link_name(0));
  const auto refused = [&](const std::vector<std::string>& nodes, const std::string& transport) {
    const auto plan = place(nodes, {0, 1});
    const auto layout = *lay_out(before, plan);
    return lay_out_again(with(free, "s.out", "t.in", {{"transport", transport}}), plan,
                         {before, plan, layout})
        .error();
  };
  EXPECT_EQ(refused({"c0@a", "c1@b"}, "shm").code(), ErrorCode::kNoPlacement);
  EXPECT_EQ(refused({"c0@a", "c1@a"}, "tls").code(), ErrorCode::kNoPlacement);
  EXPECT_EQ(refused({"c0@a", "c1@b"}, "posix-mq").code(), ErrorCode::kNoPlacement);
  EXPECT_EQ(refused({"v0@a", "c1@a"}, "boost-mq").code(), ErrorCode::kNoPlacement);
}

TEST(RewiringPlan, AWiringWrittenBeforeTransportsCouldBeChosenIsRead) {
  const auto plan = place({"c0@a", "v0@a", "c1@b"}, {0, 1, 2});
  const auto graph = with(ports(1, 2), "s.out", "t[0].in t[1].in", {{"deliver", "every-one"}});
  const auto layout = *lay_out(graph, plan);
  auto text = encode(layout);
  for (const std::string name : {",\"tcp\"", ",\"tcp+tls\""}) {
    ASSERT_NE(text.find(name), std::string::npos) << text;
    text.erase(text.find(name), name.size());
  }
  EXPECT_EQ(*decode_layout(text, graph, plan), layout);
  auto foreign = encode(layout);
  foreign.replace(foreign.find("\"tcp+tls\""), 9, "\"pigeons\"");
  EXPECT_EQ(decode_layout(foreign, graph, plan).error().code(), ErrorCode::kCorrupt);
}

/// A random set of links: every out port to some in ports.
Graph random_graph(std::mt19937& random, int sources, int sinks) {
  auto graph = ports(sources, sinks);
  for (int s = 0; s < sources; ++s) {
    if (random() % 4 == 0) continue;
    std::string to;
    for (int t = 0; t < sinks; ++t)
      if (random() % 3 == 0) to += (to.empty() ? "" : " ") + ("t[" + std::to_string(t) + "].in");
    if (to.empty()) continue;
    const char* rules[] = {"one-of", "every-one", "by-key"};
    graph = with(graph, "s[" + std::to_string(s) + "].out", to, {{"deliver", rules[random() % 3]}});
  }
  return graph;
}

TEST(RewiringPlan, ManyRewiringsInARowNeverMixQueuesUp) {
  std::mt19937 random(7);
  for (int run = 0; run < 20; ++run) {
    Plan plan = place({"c0@a", "v0@a", "c1@b", "v1@b"}, {});
    for (int p = 0; p < 9; ++p) plan.node_of.push_back(random() % 4);
    auto graph = random_graph(random, 4, 5);
    auto layout = *lay_out(graph, plan);
    std::set<std::uint32_t> given;
    for (const auto& queue : layout.queues) given.insert(queue.id);
    for (int step = 0; step < 10; ++step) {
      const auto after = random_graph(random, 4, 5);
      const auto next = *lay_out_again(after, plan, {graph, plan, layout});
      std::map<std::uint32_t, WiredQueue> old;
      for (const auto& queue : layout.queues) old[queue.id] = queue;
      std::set<std::uint32_t> seen;
      for (const auto& queue : next.queues) {
        EXPECT_TRUE(seen.insert(queue.id).second) << "two queues of one name";
        if (!old.contains(queue.id)) {
          EXPECT_TRUE(given.insert(queue.id).second) << "a name that was used before";
          continue;
        }
        EXPECT_EQ(old[queue.id].producers, queue.producers);
        EXPECT_EQ(old[queue.id].consumers, queue.consumers);
        EXPECT_EQ(old[queue.id].tree, queue.tree);
      }
      EXPECT_EQ(seen.size() >= old.size(), true) << "what is left is drained, not thrown away";
      // Each slot has one holder at most, and each link the same number of ways as in a fresh wiring.
      std::set<std::tuple<std::uint32_t, bool, std::uint32_t>> slots;
      for (const auto& end : next.ends) {
        const bool out = after.port_at({end.process, end.slot}).direction == topologies::Direction::kOut;
        EXPECT_TRUE(slots.insert({end.queue, out, end.queue_slot}).second);
        EXPECT_EQ(next.queues[end.queue].domain, next.domain_of[end.process]);
        if (out) {
          EXPECT_NE(next.queues[end.queue].link, kNoLink) << "nobody writes to what is leaving";
        }
      }
      const auto fresh = *lay_out(after, plan);
      const auto live = without(next, [&] {
        std::set<std::uint32_t> trees;
        for (const auto& entry : next.leaving) trees.insert(entry.tree);
        return trees;
      }());
      EXPECT_EQ(live.queues.size(), fresh.queues.size());
      EXPECT_EQ(live.carries.size(), fresh.carries.size());
      EXPECT_EQ(live.ends.size(), fresh.ends.size());
      EXPECT_EQ(*decode_layout(encode(next), after, plan), next);
      graph = after;
      layout = random() % 2 == 0 ? next : live;
    }
  }
}

/// A profile of `sources` and `sinks` on the machines "m".
topologies::Profile crowd(const Graph& graph, int sources, int sinks) {
  auto profile =
      lab_of("<role name=\"s\" count=\"" + std::to_string(sources) +
                 "\"><port name=\"out\" direction=\"out\" optional=\"true\"/></role><role name=\"t\" "
                 "count=\"" +
                 std::to_string(sinks) + "\"><port name=\"in\" direction=\"in\" optional=\"true\"/></role>",
             "<machines name=\"m\" role=\"s t\" driver=\"lxc\"/>", {"s", "t"});
  return *topologies::with_graph(profile, graph);
}

TEST(RewiringPlan, RolesThatGrowAndShrinkNeverMixProcessesUp) {
  std::mt19937 random(11);
  for (int run = 0; run < 20; ++run) {
    Plan plan = place({"c0@a", "v0@a", "c1@b", "v1@b"}, {});
    for (auto& node : plan.nodes) node.machines = "m";
    for (int p = 0; p < 5; ++p) plan.node_of.push_back(random() % 4);
    auto graph = random_graph(random, 2, 3);
    auto layout = *lay_out(graph, plan);
    std::set<std::string> ever;
    for (topologies::ProcessId p = 0; p < 5; ++p) ever.insert(process_tag(graph, plan, p));
    for (std::uint64_t step = 1; step <= 10; ++step) {
      const int sources = 1 + static_cast<int>(random() % 4);
      const int sinks = 1 + static_cast<int>(random() % 5);
      const auto after = random_graph(random, sources, sinks);
      const auto wide = *follow_graph(plan, graph, crowd(after, sources, sinks), step);
      std::set<std::string> parted;  // no process is there twice
      for (const auto& one : layout.parting) parted.insert(one.process);
      layout = without(layout, {}, parted);
      const auto next = *lay_out_again(after, wide, {graph, plan, layout});
      for (topologies::ProcessId p = 0; p < after.process_count(); ++p) {
        const auto tag = process_tag(after, wide, p);
        EXPECT_EQ(find_tag(after, wide, tag), p);
        const auto old = find_tag(graph, plan, tag);
        if (old) {
          EXPECT_EQ(plan.node_of[*old], wide.node_of[p]) << "who goes on stays where it is";
        } else {
          EXPECT_TRUE(ever.insert(tag).second) << "a name that was used before";
        }
      }
      // Who is gone keeps what it had.
      std::size_t gone = 0;
      for (topologies::ProcessId p = 0; p < graph.process_count(); ++p)
        gone += find_tag(after, wide, process_tag(graph, plan, p)) ? 0U : 1U;
      EXPECT_THAT(next.parting, SizeIs(gone));
      std::set<std::uint32_t> leaving;
      for (const auto& entry : next.leaving) leaving.insert(entry.tree);
      std::set<std::tuple<std::string, bool, std::uint32_t>> slots;
      for (const auto& end : next.ends) {
        const bool out = after.port_at({end.process, end.slot}).direction == topologies::Direction::kOut;
        EXPECT_TRUE(slots.insert({queue_id(next.queues[end.queue]), out, end.queue_slot}).second);
      }
      for (const auto& one : next.parting)
        for (const auto& port : one.ports)
          for (const auto& end : port.at("ends")) {
            EXPECT_TRUE(leaving.contains(end.at("link").get<std::uint32_t>())) << "it joins nothing new";
            EXPECT_TRUE(slots
                            .insert({end.at("queue").get<std::string>(), port.at("direction") == "out",
                                     end.at("slot").get<std::uint32_t>()})
                            .second);
          }
      // What is prepared is joined by the new processes alone.
      WiringContext context{.job = "1", .attempt = "1.1", .generation = 2};
      const auto steps = preparing_steps({graph, plan, layout}, {after, wide, next}, context);
      std::map<std::string, nlohmann::json> old_entries, entries;
      for (const auto& part : make_steps(graph, plan, layout, context))
        for (const auto& process : part.wiring.steps.at("processes"))
          old_entries[process.at("proc")] = process;
      for (const auto& part : steps)
        for (const auto& process : part.wiring.steps.at("processes")) entries[process.at("proc")] = process;
      EXPECT_EQ(entries.size(),
                graph.process_count() + after.process_count() - (graph.process_count() - gone));
      for (const auto& [name, entry] : old_entries) EXPECT_EQ(entries[name], entry) << name;
      EXPECT_EQ(*decode_layout(encode(next), after, wide), next);
      graph = after;
      plan = wide;
      layout = random() % 2 == 0 ? next : without(next, leaving);
    }
  }
}

TEST(RewiringPlan, NewProcessesFillTheNodesEvenlyAndInBlocks) {
  Plan plan = place({"c0@a", "c1@a"}, {0, 0, 0, 1});
  for (auto& node : plan.nodes) node.machines = "m";
  const auto before = ports(3, 1);
  auto next = crowd(ports(8, 1), 8, 1);
  const auto wide = *follow_graph(plan, before, next, 4);
  EXPECT_THAT(wide.node_of, ElementsAre(0, 0, 0, 0, 0, 1, 1, 1, 1)) << "as even as nine can be";
  EXPECT_THAT(wide.born, ElementsAre(Pair(3, 4), Pair(4, 4), Pair(5, 4), Pair(6, 4), Pair(7, 4)));
  next.machines[0].processes = 4;
  const auto refused = follow_graph(plan, before, next, 4).error();
  EXPECT_EQ(refused.code(), ErrorCode::kNoPlacement);
  EXPECT_EQ(refused.message(),
            "no room for s[7] on the machines of its role:\n"
            "node c0 has 4 processes, at most 4 are allowed on it\n"
            "node c1 has 4 processes, at most 4 are allowed on it");
  const auto back = *follow_graph(wide, ports(8, 1), crowd(ports(4, 2), 4, 2), 5);
  EXPECT_THAT(back.node_of, ElementsAre(0, 0, 0, 0, 1, 1));
  EXPECT_THAT(back.born, ElementsAre(Pair(3, 4), Pair(5, 5)));
}

TEST(RewiringPlan, DamagedTextIsRefused) {
  const auto plan = place({"c0@a"}, {0, 0});
  const auto graph = with(ports(1, 1), "s.out", "t.in");
  const auto text = encode(*lay_out(graph, plan));
  for (std::size_t size = 0; size < text.size(); size += 3)
    EXPECT_FALSE(decode_layout(text.substr(0, size), graph, plan));
  auto foreign = text;
  foreign.replace(foreign.find("\"ends\":[[0,"), 11, "\"ends\":[[9,");
  EXPECT_EQ(decode_layout(foreign, graph, plan).error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace mvm::broker
