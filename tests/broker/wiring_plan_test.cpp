#include "mvm/broker/wiring_plan.h"

#include <gmock/gmock.h>

#include <random>
#include <set>

#include "broker/plans.h"
#include "broker/profiles.h"

namespace mvm::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using topologies::Graph;
using topologies::ProcessId;

Graph graph_of(const std::string& topology, const std::vector<std::string>& roles) {
  return lab_of(
             topology,
             "<machines name=\"m\" role=\"" + roles.front() + "\" driver=\"lxc\"/>" +
                 [&] {
                   std::string more;
                   for (std::size_t i = 1; i < roles.size(); ++i)
                     more += "<machines name=\"m" + std::to_string(i) + "\" role=\"" + roles[i] +
                             "\" driver=\"lxc\"/>";
                   return more;
                 }(),
             roles)
      .graph;
}

Graph flow(int sources, int sinks, const std::string& deliver, const std::string& transport = "") {
  return graph_of("<role name=\"s\" count=\"" + std::to_string(sources) +
                      "\"><port name=\"out\" direction=\"out\"/></role>"
                      "<role name=\"t\" count=\"" +
                      std::to_string(sinks) +
                      "\"><port name=\"in\" direction=\"in\"/></role>"
                      "<link from=\"s[*].out\" to=\"t[*].in\" deliver=\"" +
                      deliver + (transport.empty() ? "" : "\" transport=\"" + transport) + "\"/>",
                  {"s", "t"});
}

/// The promises that hold for any graph and any plan.
void check(const Graph& graph, const Plan& plan, const WiringLayout& layout) {
  // Each slot of each queue has exactly one holder: a process's end or a half of a carry.
  std::map<std::tuple<std::uint32_t, char, std::uint32_t>, int> holders;
  for (const auto& end : layout.ends) {
    const auto out = graph.port_at({end.process, end.slot}).direction == topologies::Direction::kOut;
    ++holders[{end.queue, out ? 'p' : 'c', end.queue_slot}];
    EXPECT_EQ(layout.queues[end.queue].domain, layout.domain_of[end.process])
        << "a process reaches its own domain only";
  }
  for (const auto& carry : layout.carries) {
    ++holders[{carry.from_queue, 'c', carry.from_slot}];
    ++holders[{carry.to_queue, 'p', carry.to_slot}];
    const auto& from = layout.domains[layout.queues[carry.from_queue].domain];
    const auto& to = layout.domains[layout.queues[carry.to_queue].domain];
    EXPECT_TRUE(from.name != to.name || is_forced(graph, layout.queues[carry.from_queue].link));
    // A guest talks to its own host only, and to guests of it that share memory with it.
    if (!from.node.empty() || !to.node.empty()) {
      EXPECT_EQ(from.host, to.host);
      EXPECT_TRUE(from.node.empty() || to.node.empty() || (from.region && to.region));
    }
  }
  for (const auto& end : layout.outside) {
    ++holders[{end.queue, end.producer ? 'p' : 'c', end.queue_slot}];
    // The kernel that holds it must see the queue: as one of its processes' in the host's domain.
    const auto& domain = layout.domains[layout.queues[end.queue].domain];
    EXPECT_EQ(domain.host, plan.nodes[end.node].host);
    if (!domain.node.empty()) {
      EXPECT_EQ(domain.node, plan.nodes[end.node].node);
      continue;
    }
    EXPECT_TRUE(std::any_of(layout.ends.begin(), layout.ends.end(), [&](const WiredEnd& one) {
      return one.queue == end.queue && plan.node_of[one.process] == end.node;
    }));
  }
  for (std::uint32_t q = 0; q < layout.queues.size(); ++q) {
    EXPECT_GT(layout.queues[q].producers, 0U);
    EXPECT_GT(layout.queues[q].consumers, 0U);
    for (std::uint32_t s = 0; s < layout.queues[q].producers; ++s) EXPECT_EQ((holders[{q, 'p', s}]), 1);
    for (std::uint32_t s = 0; s < layout.queues[q].consumers; ++s) EXPECT_EQ((holders[{q, 'c', s}]), 1);
  }
  for (const auto& [holder, times] : holders) EXPECT_EQ(times, 1);
  // What a producer puts can reach each consumer of its link, and nobody else.
  std::vector<std::vector<std::uint32_t>> next(layout.queues.size());
  for (const auto& carry : layout.carries) next[carry.from_queue].push_back(carry.to_queue);
  std::vector<std::set<std::uint32_t>> reach(layout.queues.size());
  for (std::uint32_t q = 0; q < layout.queues.size(); ++q) {
    std::vector<std::uint32_t> todo{q};
    while (!todo.empty()) {
      const auto at = todo.back();
      todo.pop_back();
      EXPECT_TRUE(reach[q].insert(at).second) << "two ways to one queue: messages would arrive twice";
      for (const auto n : next[at]) todo.push_back(n);
    }
  }
  std::map<std::pair<ProcessId, topologies::Slot>, std::vector<std::uint32_t>> queues;
  for (const auto& end : layout.ends) queues[{end.process, end.slot}].push_back(end.queue);
  for (topologies::LinkId id = 0; id < graph.link_count(); ++id) {
    const auto link = graph.link(id);
    for (const auto& from : link.producers) {
      for (const auto& to : link.consumers) {
        int ways = 0;
        for (const auto p : queues[{from.process, from.slot}])
          for (const auto c : queues[{to.process, to.slot}])
            if (layout.queues[p].link == id && layout.queues[c].link == id && reach[p].contains(c)) ++ways;
        EXPECT_EQ(ways, 1) << graph.link_name(id) << " from " << from.process << " to " << to.process;
      }
      std::size_t mine = 0;
      for (const auto p : queues[{from.process, from.slot}]) mine += layout.queues[p].link == id ? 1U : 0U;
      EXPECT_EQ(mine, link.spec->deliver == topologies::Deliver::kOneOf ? 1 : link.consumers.size());
    }
  }
  (void)plan;
}

TEST(Wiring, OneDomainOneQueue) {
  const auto graph = flow(3, 2, "one-of");
  const auto plan = place({"c0@a", "c1@a"}, {0, 0, 1, 1, 0});
  const auto layout = *lay_out(graph, plan);
  check(graph, plan, layout);
  ASSERT_THAT(layout.queues, SizeIs(1));
  EXPECT_EQ(layout.queues[0].producers, 3U);
  EXPECT_EQ(layout.queues[0].consumers, 2U);
  EXPECT_THAT(layout.carries, IsEmpty());
  EXPECT_THAT(hosts_with_proxy(layout), IsEmpty());
  EXPECT_THAT(transports(graph, layout), ElementsAre("shm"));
}

TEST(Wiring, OpenPortsHaveAnEndOutside) {
  const auto graph = graph_of(
      R"(<role name="s" count="3"><port name="in" direction="in" open="shared"/>
         <port name="out" direction="out" count="2" open="true"/></role>)",
      {"s"});
  for (const auto& nodes : {std::vector<std::string>{"c0@a", "c1@a"},
                            {"c0@a", "c1@b"},
                            {"v0@a", "c1@a"},
                            {"c0@a", "v1@b"},
                            {"v0@a", "v1@a"},
                            {"v0@b", "v1@a"}}) {
    const auto plan = place(nodes, {0, 0, 1});
    const auto layout = *lay_out(graph, plan);
    check(graph, plan, layout);
    ASSERT_THAT(layout.outside, SizeIs(7)) << "one shared, two for each process";
    EXPECT_TRUE(layout.outside[0].producer);
    EXPECT_FALSE(layout.outside[6].producer);
    std::size_t told = 0;
    for (const auto& steps : make_steps(graph, plan, layout, {}))
      for (const auto& end : steps.wiring.steps.at("outside")) {
        ++told;
        EXPECT_EQ(end.contains("node"), steps.wiring.node.empty());
      }
    EXPECT_EQ(told, 7U);
  }
}

TEST(Wiring, EveryOneIsAQueuePerConsumer) {
  const auto graph = flow(2, 3, "every-one");
  const auto plan = place({"c0@a"}, {0, 0, 0, 0, 0});
  const auto layout = *lay_out(graph, plan);
  check(graph, plan, layout);
  ASSERT_THAT(layout.queues, SizeIs(3));
  for (const auto& queue : layout.queues) {
    EXPECT_EQ(queue.producers, 2U);
    EXPECT_EQ(queue.consumers, 1U);
  }
}

TEST(Wiring, WithinAGuestNothingIsCarried) {
  const auto graph = flow(1, 1, "one-of");
  const auto plan = place({"v0@a"}, {0, 0});
  const auto layout = *lay_out(graph, plan);
  check(graph, plan, layout);
  EXPECT_THAT(layout.queues, SizeIs(1));
  EXPECT_EQ(layout.domains[layout.queues[0].domain].name, "node:v0");
  EXPECT_THAT(layout.carries, IsEmpty());
}

TEST(Wiring, FromAGuestToAContainerOfItsHost) {
  const auto graph = flow(1, 1, "one-of");
  const auto plan = place({"v0@a", "c0@a"}, {0, 1});
  const auto layout = *lay_out(graph, plan);
  check(graph, plan, layout);
  EXPECT_THAT(layout.queues, SizeIs(2));
  EXPECT_THAT(layout.carries, SizeIs(1));
  EXPECT_THAT(hosts_with_proxy(layout), ElementsAre("a"));
  EXPECT_THAT(transports(graph, layout), ElementsAre("tcp"));
}

TEST(Wiring, GuestsThatShareMemoryNeedNotTheirHost) {
  struct Row {
    std::vector<std::string> nodes;
    std::vector<std::uint32_t> node_of;  // s s t
    std::string forced;
    std::size_t carries;
    const char* home;
    const char* transport;
  };
  const Row rows[] = {
      {{"w0@a", "w1@a"}, {0, 0, 1}, "", 1, "node:w1", "ivshmem"},
      {{"w0@a", "w1@a", "w2@a"}, {0, 1, 2}, "", 2, "node:w2", "ivshmem"},
      {{"w0@a", "c1@a", "w2@a"}, {0, 1, 2}, "", 2, "node:w2", "ivshmem"},
      {{"w0@a", "w1@a"}, {0, 1, 1}, "", 1, "node:w1", "ivshmem"},
      // Where a producer has no way of its own, and where only the host has one.
      {{"w0@a", "c1@b", "w2@a"}, {0, 1, 2}, "", 3, "host:a", "tcp+tls"},
      {{"w0@a", "w1@a"}, {0, 0, 1}, "tcp", 2, "host:a", "tcp"},
      {{"w0@a", "v1@a"}, {0, 0, 1}, "", 2, "host:a", "tcp"},
      {{"w0@a", "w1@a"}, {0, 1, 1}, "ivshmem", 3, "host:a", "ivshmem"},
      {{"w0@a", "c1@a"}, {0, 0, 1}, "", 1, "host:a", "ivshmem"},
      {{"w0@a", "w1@b"}, {0, 0, 1}, "", 3, "host:b", "tcp+tls"},
  };
  for (const auto& row : rows) {
    const auto graph = flow(2, 1, "one-of", row.forced);
    const auto plan = place(row.nodes, row.node_of);
    const auto layout = lay_out(graph, plan);
    ASSERT_TRUE(layout) << layout.error().message();
    check(graph, plan, *layout);
    const auto shown = ::testing::PrintToString(row.nodes) + " " + row.forced;
    EXPECT_THAT(layout->carries, SizeIs(row.carries)) << shown;
    EXPECT_THAT(transports(graph, *layout), ElementsAre(row.transport)) << shown;
    const auto& home = layout->queues[layout->queues.front().tree];
    EXPECT_EQ(layout->domains[home.domain].name, row.home) << shown;
  }
  const auto graph = flow(2, 1, "one-of");
  const auto layout = *lay_out(graph, place({"w0@a", "w1@a"}, {0, 0, 1}));
  EXPECT_THAT(hosts_with_proxy(layout), IsEmpty());
}

TEST(Wiring, BetweenGuestsOfTwoHostsItGoesOverBothHosts) {
  const auto graph = flow(1, 1, "one-of");
  const auto plan = place({"v0@a", "v1@b"}, {0, 1});
  const auto layout = *lay_out(graph, plan);
  check(graph, plan, layout);
  // The guest's feeder, a relay on its host, the home on the consumer's host, the consumer's guest.
  EXPECT_THAT(layout.queues, SizeIs(4));
  EXPECT_THAT(layout.carries, SizeIs(3));
  EXPECT_THAT(hosts_with_proxy(layout), ElementsAre("a", "b"));
}

TEST(Wiring, ProducersEverywhereShareOneHome) {
  const auto graph = flow(6, 2, "one-of");
  const auto plan = place({"c0@a", "c1@b", "v2@b", "v3@a"}, {0, 1, 2, 2, 3, 0, 0, 1});
  const auto layout = *lay_out(graph, plan);
  check(graph, plan, layout);
  const auto home =
      std::find_if(layout.ends.begin(), layout.ends.end(), [](const auto& end) { return end.process == 6; });
  EXPECT_EQ(layout.domains[layout.queues[home->queue].domain].name, "host:a")
      << "where its first consumer is";
}

TEST(Wiring, AnyGraphOnAnyPlan) {
  std::mt19937 random(3);
  for (int round = 0; round < 150; ++round) {
    const int sources = 1 + static_cast<int>(random() % 6);
    const int sinks = 1 + static_cast<int>(random() % 5);
    const char* const rules[] = {"one-of", "every-one", "by-key"};
    const char* const transports[] = {"", "", "tcp", "ivshmem"};
    const std::string forced = transports[random() % 4];
    const auto graph = flow(sources, sinks, rules[random() % 3], forced);
    const std::vector<std::string> nodes = {"c0@a", "v1@a", "c2@b", "v3@b", "v4@c", "c5@a",
                                            "v6@a", "w7@a", "w8@a", "w9@b", "w10@a"};
    std::vector<std::uint32_t> node_of;
    for (int p = 0; p < sources + sinks; ++p)
      node_of.push_back(static_cast<std::uint32_t>(random() % nodes.size()));
    const auto plan = place(nodes, node_of);
    const auto layout = lay_out(graph, plan);
    if (!layout) {
      EXPECT_THAT(layout.error().message(), ::testing::HasSubstr("transport " + forced + " is forced"));
      continue;
    }
    check(graph, plan, *layout);
    if (HasFailure()) FAIL() << "round " << round;
  }
}

TEST(Wiring, PatternsOfManyLinks) {
  for (const auto* text :
       {R"(<topology ref="butterfly"><set param="n" value="16"/></topology>)", R"(<topology ref="torus"/>)",
        R"(<topology ref="all-to-all"/>)", R"(<topology ref="tree"/>)"}) {
    const auto profile = read(std::string("<lab xmlns=\"urn:mvm:lab:1\" name=\"t\">") + text + "</lab>");
    std::vector<std::uint32_t> node_of;
    for (ProcessId p = 0; p < profile.graph.process_count(); ++p) node_of.push_back(p % 4);
    const auto plan = place({"c0@a", "v1@a", "c2@b", "v3@b"}, node_of);
    const auto layout = lay_out(profile.graph, plan);
    ASSERT_TRUE(layout) << text;
    check(profile.graph, plan, *layout);
  }
}

TEST(Wiring, AQueueHasOnlySoManyEnds) {
  const auto graph = flow(5000, 1, "one-of");
  std::vector<std::uint32_t> node_of(5001, 0);
  const auto layout = lay_out(graph, place({"c0@a"}, node_of));
  ASSERT_FALSE(layout);
  EXPECT_EQ(layout.error().code(), ErrorCode::kInvalid);
}

TEST(Wiring, WhatATopologySaysOfAQueueReachesItsStep) {
  const auto graph = graph_of(
      "<role name=\"s\"><port name=\"out\" direction=\"out\"/></role>"
      "<role name=\"t\"><port name=\"in\" direction=\"in\"/></role>"
      "<link from=\"s.out\" to=\"t.in\"><queue type=\"priority\" capacity=\"1000000\" bytes=\"2MiB\" "
      "when-full=\"drop-oldest\" timeout=\"5s\" ttl=\"250ms\"/></link>",
      {"s", "t"});
  const auto plan = place({"c0@a"}, {0, 0});
  const auto layout = *lay_out(graph, plan);
  const auto steps = make_steps(graph, plan, layout, {.attempt = "1.1", .generation = 1});
  ASSERT_THAT(steps, SizeIs(1));
  const nlohmann::json create = steps[0].wiring.steps["queues"][0]["create"];
  EXPECT_EQ(create["kind"], "priority");
  EXPECT_EQ(create["when_full"], "drop-oldest");
  EXPECT_EQ(create["capacity"], 65536);  // as many as a queue with books of its messages may hold
  EXPECT_EQ(create["bytes"], 2 << 20);
  EXPECT_EQ(create["timeout_ms"], 5000);
  EXPECT_EQ(create["ttl_ms"], 250);
}

TEST(Wiring, CodecsAndTheirKeysReachBothHalvesOfACarry) {
  const auto graph = graph_of(
      "<role name=\"s\" count=\"2\"><port name=\"out\" direction=\"out\"/></role>"
      "<role name=\"t\" count=\"2\"><port name=\"in\" direction=\"in\"/></role>"
      "<link from=\"s[0].out\" to=\"t[0].in\" codec=\"zstd:3 encrypt\"/>"
      "<link from=\"s[1].out\" to=\"t[1].in\" codec=\"checksum\"/>",
      {"s", "t"});
  const auto plan = place({"c0@a", "c1@b"}, {0, 0, 1, 1});
  const auto layout = *lay_out(graph, plan);
  WiringContext context{.attempt = "1.1", .codec_seed = "seed", .generation = 1};
  const auto halves = [&] {
    std::vector<nlohmann::json> found;
    for (const auto& step : make_steps(graph, plan, layout, context))
      for (const auto& half : step.wiring.steps["proxies"]) found.push_back(half);
    return found;
  };
  const auto first = halves();
  ASSERT_THAT(first, SizeIs(4));
  std::set<std::string> keys;
  for (const auto& half : first) {
    const bool encrypts = half["codecs"] == nlohmann::json{"zstd:3", "encrypt"};
    EXPECT_TRUE(encrypts || half["codecs"] == nlohmann::json{"checksum"});
    ASSERT_EQ(half.contains("key"), encrypts) << "nobody gets a key that he needs not";
    if (encrypts) keys.insert(half["key"]);
  }
  ASSERT_THAT(keys, SizeIs(1)) << "both halves have one key";
  EXPECT_EQ(keys.begin()->size(), 64U);
  EXPECT_EQ(halves(), first) << "steps may be repeated";
  context.attempt = "1.2";
  for (const auto& half : halves())
    EXPECT_FALSE(half.contains("key") && keys.contains(half["key"])) << "another attempt has another key";
  EXPECT_THAT(link_details(graph, plan, layout),
              testing::ElementsAre("tcp+tls, zstd:3 encrypt", "tcp+tls, checksum"));
  const auto together = place({"c0@a"}, {0, 0, 0, 0});
  EXPECT_THAT(link_details(graph, together, *lay_out(graph, together)), testing::ElementsAre("shm", "shm"));
}

TEST(Wiring, TheStepsSayWhatEachDomainMakes) {
  const auto graph = flow(2, 1, "one-of");
  const auto plan = place({"v0@a", "c1@a", "c2@b"}, {0, 1, 2});
  const auto layout = *lay_out(graph, plan);
  check(graph, plan, layout);
  WiringContext context{
      .job = "7",
      .attempt = "7.2",
      .secret = "s3cret",
      .generation = 1,
      .link_base = 1000,
      .hosts =
          {{"a",
            {.bridge = "10.1.1.1", .bridge_port = 4101, .proxy_address = "192.0.2.1", .proxy_port = 4001}},
           {"b",
            {.bridge = "10.1.2.1", .bridge_port = 4102, .proxy_address = "192.0.2.2", .proxy_port = 4002}}},
      .params = {{.name = "n", .type = topologies::ParamType::kInteger, .value = "3", .integer = 3}}};
  const auto steps = make_steps(graph, plan, layout, context);
  std::map<std::string, nlohmann::json> by_domain;
  for (const auto& step : steps) by_domain[step.wiring.steps["domain"]] = step.wiring.steps;
  ASSERT_THAT(by_domain, SizeIs(3));
  const auto& guest = by_domain["node:v0"];
  const auto& a = by_domain["host:a"];
  const auto& b = by_domain["host:b"];
  for (const auto* some : {&guest, &a, &b}) {
    EXPECT_EQ((*some)["attempt"], "7.2");
    EXPECT_EQ((*some)["generation"], 1);
    EXPECT_EQ((*some)["secret"], "s3cret");
    EXPECT_EQ((*some)["queues"].size(), 1U);
    EXPECT_EQ((*some)["queues"][0]["create"]["kind"], "fifo");
    EXPECT_EQ((*some)["queues"][0]["create"]["deliver"], "one-of");
    EXPECT_FALSE((*some)["queues"][0]["create"].contains("timeout_ms"));
    EXPECT_FALSE((*some)["queues"][0]["create"].contains("ttl_ms"));
  }
  // The guest dials its host at the lab's own network; of the hosts the later name dials the earlier.
  EXPECT_EQ(guest["peers"], nlohmann::json::parse(R"([{"name":"host:a","address":"10.1.1.1","port":4101}])"));
  EXPECT_EQ(a["peers"], nlohmann::json::parse(R"([{"name":"node:v0","address":"","port":0},
                                                  {"name":"host:b","address":"","port":0,"tls":true}])"));
  EXPECT_EQ(b["peers"],
            nlohmann::json::parse(R"([{"name":"host:a","address":"192.0.2.1","port":4001,"tls":true}])"));
  // Halves of one carry have one number and name each other.
  EXPECT_EQ(guest["proxies"].size(), 1U);
  EXPECT_EQ(guest["proxies"][0]["flow"], "out");
  EXPECT_EQ(guest["proxies"][0]["peer"], "host:a");
  EXPECT_GE(guest["proxies"][0]["link"], 1000U);
  ASSERT_EQ(a["proxies"].size(), 2U);
  std::set<std::uint64_t> in;
  std::set<std::uint64_t> out;
  for (const auto* some : {&guest, &a, &b})
    for (const auto& half : (*some)["proxies"])
      (half["flow"] == "in" ? in : out).insert(half["link"].get<std::uint64_t>());
  EXPECT_EQ(in, out);
  EXPECT_EQ(in.size(), 2U);
  // Processes know themselves; in a host's domain also their node.
  ASSERT_EQ(guest["processes"].size(), 1U);
  EXPECT_EQ(guest["processes"][0]["proc"], "7.2/s[0]");
  EXPECT_EQ(guest["processes"][0]["count"], 2);
  EXPECT_EQ(guest["processes"][0]["parameters"]["n"], "3");
  EXPECT_FALSE(guest["processes"][0].contains("node"));
  EXPECT_EQ(a["processes"][0]["node"], "c1");
  const auto& port = b["processes"][0]["ports"][0];
  EXPECT_EQ(port["name"], "in");
  EXPECT_EQ(port["direction"], "in");
  EXPECT_EQ(port["ends"].size(), 1U);
}

}  // namespace
}  // namespace mvm::broker
