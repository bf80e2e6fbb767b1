// Which transport a link gets between two memory domains, and where links with a forced one end up.

#include "mvm/broker/transports.h"

#include <gmock/gmock.h>

#include <set>

#include "broker/profiles.h"
#include "mvm/broker/planner.h"
#include "mvm/broker/wiring_plan.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const MemoryDomain kAlpha{.name = "host:alpha", .host = "alpha", .node = ""};
const MemoryDomain kBeta{.name = "host:beta", .host = "beta", .node = ""};
const MemoryDomain kGuest{.name = "node:v-0", .host = "alpha", .node = "v-0"};
const MemoryDomain kOther{.name = "node:v-1", .host = "alpha", .node = "v-1"};
const MemoryDomain kFar{.name = "node:w-0", .host = "beta", .node = "w-0"};

// Two guests and their host that share memory, and others that do not.
const MemoryDomain kHost{.name = "host:alpha", .host = "alpha", .node = "", .region = true};
const MemoryDomain kOne{.name = "node:w-1", .host = "alpha", .node = "w-1", .region = true};
const MemoryDomain kTwo{.name = "node:w-2", .host = "alpha", .node = "w-2", .region = true};
const MemoryDomain kElsewhere{.name = "node:w-3", .host = "beta", .node = "w-3", .region = true};

/// "tcp", or what was said against it.
std::string agreed(const MemoryDomain& from, const MemoryDomain& to, const std::string& forced = "") {
  const auto transport = negotiate(from, to, transport_from(forced));
  EXPECT_TRUE(transport || transport.error().code() == ErrorCode::kNoPlacement);
  return transport ? std::string(to_string(*transport)) : transport.error().message();
}

TEST(Transports, TheCheapestThatBothOffer) {
  struct Row {
    MemoryDomain from, to;
    const char* expected;
  };
  const Row rows[] = {{kAlpha, kAlpha, "shm"}, {kGuest, kGuest, "shm"},    {kAlpha, kGuest, "tcp"},
                      {kGuest, kAlpha, "tcp"}, {kAlpha, kBeta, "tcp+tls"}, {kBeta, kAlpha, "tcp+tls"}};
  for (const auto& row : rows)
    EXPECT_EQ(agreed(row.from, row.to), row.expected) << row.from.name << row.to.name;
  EXPECT_EQ(agreed(kGuest, kOther), "from node:v-0 to node:v-1 there is nothing");
  EXPECT_EQ(agreed(kGuest, kFar), "from node:v-0 to node:w-0 there is nothing");
}

TEST(Transports, ForcedOnesAndWhatThereIsInstead) {
  EXPECT_EQ(agreed(kAlpha, kAlpha, "tcp"), "tcp");
  EXPECT_EQ(agreed(kAlpha, kBeta, "tcp"), "tcp");
  EXPECT_EQ(agreed(kAlpha, kBeta, "tcp+tls"), "tcp+tls");
  EXPECT_EQ(agreed(kGuest, kAlpha, "tcp+tls"), "tcp+tls");
  EXPECT_EQ(agreed(kGuest, kGuest, "shm"), "shm");
  EXPECT_EQ(
      agreed(kAlpha, kBeta, "shm"),
      "transport shm is forced, but from host:alpha to host:beta there is tcp+tls, or tcp where forced");
  EXPECT_EQ(agreed(kGuest, kAlpha, "shm"),
            "transport shm is forced, but from node:v-0 to host:alpha there is tcp, or tcp+tls where forced");
  EXPECT_EQ(agreed(kGuest, kGuest, "tcp"), "transport tcp is forced, but within node:v-0 there is shm");
  EXPECT_EQ(
      agreed(kAlpha, kAlpha, "tcp+tls"),
      "transport tcp+tls is forced, but within host:alpha there is shm, or tcp, posix-mq or boost-mq where "
      "forced");
}

TEST(Transports, MessageQueuesJoinProcessesOfOneHost) {
  for (const std::string queues : {"posix-mq", "boost-mq"}) {
    EXPECT_EQ(agreed(kAlpha, kAlpha, queues), queues);
    EXPECT_EQ(agreed(kAlpha, kBeta, queues), "transport " + queues +
                                                 " is forced, but from host:alpha to host:beta there is "
                                                 "tcp+tls, or tcp where forced");
    EXPECT_EQ(agreed(kAlpha, kGuest, queues), "transport " + queues +
                                                  " is forced, but from host:alpha to node:v-0 there is tcp, "
                                                  "or tcp+tls where forced");
    EXPECT_EQ(agreed(kGuest, kGuest, queues),
              "transport " + queues + " is forced, but within node:v-0 there is shm");
  }
}

TEST(Transports, MemoryThatMachinesOfAHostShare) {
  EXPECT_EQ(agreed(kOne, kHost), "ivshmem");
  EXPECT_EQ(agreed(kHost, kOne), "ivshmem");
  EXPECT_EQ(agreed(kOne, kTwo), "ivshmem");
  EXPECT_EQ(agreed(kOne, kHost, "ivshmem"), "ivshmem");
  EXPECT_EQ(agreed(kOne, kHost, "tcp"), "tcp");
  EXPECT_EQ(agreed(kOne, kHost, "tcp+tls"), "tcp+tls");
  EXPECT_EQ(agreed(kOne, kOne), "shm");
  EXPECT_EQ(agreed(kHost, kHost), "shm");
  EXPECT_EQ(agreed(kHost, kGuest), "tcp") << "one that has none";
  EXPECT_EQ(agreed(kOne, kGuest), "from node:w-1 to node:v-0 there is nothing");
  EXPECT_EQ(agreed(kOne, kElsewhere), "from node:w-1 to node:w-3 there is nothing");
  EXPECT_EQ(agreed(kOne, kTwo, "tcp"),
            "transport tcp is forced, but from node:w-1 to node:w-2 there is ivshmem");
  EXPECT_EQ(agreed(kHost, kGuest, "ivshmem"),
            "transport ivshmem is forced, but from host:alpha to node:v-0 there is tcp, or tcp+tls where "
            "forced");
  EXPECT_EQ(agreed(kHost, kHost, "ivshmem"),
            "transport ivshmem is forced, but within host:alpha there is shm, or tcp, posix-mq or boost-mq "
            "where forced");
  EXPECT_EQ(agreed(kAlpha, kBeta, "ivshmem"),
            "transport ivshmem is forced, but from host:alpha to host:beta there is tcp+tls, or tcp where "
            "forced");
}

// ---- where the links of a plan go

/// Two roles, each on machines of its own, joined by a link of this transport.
topologies::Profile pair(const std::string& transport, int count = 1, const std::string& more_s = "",
                         const std::string& more_t = "", const std::string& driver = "lxc") {
  const auto machines = [&](const std::string& name, const std::string& more) {
    return "<machines name=\"" + name + "\" role=\"" + name + "\" driver=\"" + driver + "\" count=\"" +
           std::to_string(count) + "\" memory=\"1GiB\" " +
           (driver == "qemu" ? "image=\"qemu-debian\" " : "") + more + "/>";
  };
  return lab_of("<role name=\"s\" count=\"" + std::to_string(count) +
                    "\"><port name=\"out\" direction=\"out\"/></role><role name=\"t\" count=\"" +
                    std::to_string(count) +
                    "\"><port name=\"in\" direction=\"in\"/></role>"
                    "<link from=\"s[*].out\" to=\"t[*].in\" name=\"flow\"" +
                    (transport.empty() ? "" : " transport=\"" + transport + "\"") + "/>",
                machines("s", more_s) + machines("t", more_t), {"s", "t"});
}

HostSnapshot host(const std::string& name, std::uint64_t gib, std::uint64_t used_vcpus = 0) {
  HostSnapshot snapshot;
  snapshot.info = {.name = name,
                   .architecture = "x86_64",
                   .vcpus = 4,
                   .memory = gib << 30U,
                   .disk = 0,
                   .drivers = {{"lxc", true, ""}, {"qemu", true, "tcg"}},
                   .images = {{"host", "host", "x86_64", "h", {}, {"lxc"}},
                              {"qemu-debian", "disk", "x86_64", "d", {}, {"qemu"}}}};
  snapshot.container_vcpus = used_vcpus;
  return snapshot;
}

std::set<std::string> hosts_of(const Plan& plan) {
  std::set<std::string> hosts;
  for (const auto& node : plan.nodes) hosts.insert(node.host);
  return hosts;
}

TEST(Transports, MachinesOfOneMemoryGoOnOneHost) {
  Snapshot snapshot;
  // The used host comes first by itself, and has room for three of four.
  snapshot.hosts = {host("a", 3, 1), host("b", 8)};
  // Within a host there is no tls: producers go to one, consumers to the other.
  const auto secure = plan(snapshot, pair("tcp+tls", 2));
  ASSERT_TRUE(secure.plan) << secure.reasons.front();
  EXPECT_EQ(secure.plan->nodes[0].host, secure.plan->nodes[1].host);
  EXPECT_EQ(secure.plan->nodes[2].host, secure.plan->nodes[3].host);
  EXPECT_NE(secure.plan->nodes[0].host, secure.plan->nodes[2].host);
  const auto free = plan(snapshot, pair("tcp", 2));
  ASSERT_TRUE(free.plan);
  EXPECT_THAT(hosts_of(*free.plan), ElementsAre("a", "b"));
  const auto together = plan(snapshot, pair("shm", 2));
  ASSERT_TRUE(together.plan) << together.reasons.front();
  EXPECT_THAT(hosts_of(*together.plan), ElementsAre("b"));
  EXPECT_EQ(together.plan, plan(snapshot, pair("shm", 2)).plan) << "the same whenever it is asked";
  const auto queues = plan(snapshot, pair("posix-mq", 2));
  ASSERT_TRUE(queues.plan) << queues.reasons.front();
  EXPECT_THAT(hosts_of(*queues.plan), ElementsAre("b"));
}

TEST(Transports, WhereNoHostHasRoomThePlanSaysWhy) {
  Snapshot snapshot;
  snapshot.hosts = {host("a", 3), host("b", 3)};
  const auto outcome = plan(snapshot, pair("shm", 2));
  EXPECT_FALSE(outcome.plan);
  EXPECT_THAT(
      outcome.reasons,
      ElementsAre("link flow: transport shm is forced, but from host:a to host:b there is tcp+tls, or "
                  "tcp where forced",
                  "no host has room for these machines together: s, t"));
  const auto asked = plan(snapshot, pair("shm", 1, "host=\"a\"", "host=\"b\""));
  EXPECT_FALSE(asked.plan);
  EXPECT_THAT(asked.reasons, Contains(HasSubstr("transport shm is forced")));
}

TEST(Transports, GuestsShareNoMemory) {
  Snapshot snapshot;
  snapshot.hosts = {host("a", 8)};
  const auto outcome = plan(snapshot, pair("shm", 1, "", "", "qemu"));
  EXPECT_FALSE(outcome.plan);
  EXPECT_THAT(outcome.reasons, Contains(HasSubstr("link flow: transport shm is forced")));
}

TEST(Transports, GuestsOfOneHostShareARegion) {
  Snapshot snapshot;
  snapshot.hosts = {host("a", 3, 1), host("b", 8)};
  // As with shm, ends go where there is memory for both; here only b has room for all.
  const auto outcome = plan(snapshot, pair("ivshmem", 2, "", "", "qemu"));
  ASSERT_TRUE(outcome.plan) << outcome.reasons.front();
  EXPECT_THAT(hosts_of(*outcome.plan), ElementsAre("b"));
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(outcome.plan->nodes[i].seat, i + 1);
  const auto containers = plan(snapshot, pair("ivshmem", 1));
  EXPECT_FALSE(containers.plan);
  EXPECT_THAT(containers.reasons, Contains(HasSubstr("transport ivshmem is forced")));
  // A host with more guests than a region has seats for.
  snapshot.hosts = {host("b", 80)};
  snapshot.hosts.front().info.vcpus = 64;
  const auto many = plan(snapshot, pair("ivshmem", 16, "", "", "qemu"));
  EXPECT_FALSE(many.plan);
  EXPECT_THAT(many.reasons, Contains(HasSubstr("transport ivshmem is forced")));
  // Where no link asks for it, guests have none.
  const auto none = plan(snapshot, pair("", 2, "", "", "qemu"));
  ASSERT_TRUE(none.plan) << none.reasons.front();
  for (const auto& node : none.plan->nodes) EXPECT_EQ(node.seat, 0U);
}

TEST(Transports, ProcessesAreLaidAsTheirLinksNeedIt) {
  // Two guests with a source and a sink each: in blocks s[0] s[1] | t[0] t[1], in turns s[0] t[0] | s[1]
  // t[1].
  const auto profile = lab_of(
      "<role name=\"s\" count=\"2\"><port name=\"out\" direction=\"out\"/></role>"
      "<role name=\"t\" count=\"2\"><port name=\"in\" direction=\"in\"/></role>"
      "<link for=\"i in 0..1\" from=\"s[i].out\" to=\"t[i].in\" transport=\"shm\"/>",
      "<machines name=\"m\" role=\"s t\" driver=\"qemu\" image=\"qemu-debian\" count=\"2\"/>", {"s", "t"});
  Snapshot snapshot;
  snapshot.hosts = {host("a", 8)};
  const auto outcome = plan(snapshot, profile);
  ASSERT_TRUE(outcome.plan) << outcome.reasons.front();
  EXPECT_THAT(outcome.plan->node_of, ElementsAre(0, 1, 0, 1));
}

// ---- how they are wired

struct Wired {
  topologies::Profile profile;
  Plan plan;
  WiringLayout layout;
  std::vector<HostWiring> steps;
};

Wired wire(const std::string& transport, const std::vector<PlanNode>& nodes) {
  Wired wired{.profile = pair(transport), .plan = {}, .layout = {}, .steps = {}};
  wired.plan.nodes = nodes;
  wired.plan.node_of = {0, static_cast<std::uint32_t>(nodes.size() - 1)};
  auto layout = lay_out(wired.profile.graph, wired.plan);
  EXPECT_TRUE(layout) << layout.error().message();
  wired.layout = *layout;
  WiringContext context;
  context.job = "7";
  context.attempt = "7.1";
  context.hosts = {{"a", {"10.1.1.1", 4101, "192.0.2.1", 4001, 4201, 4301}},
                   {"b", {"10.1.2.1", 4102, "192.0.2.2", 4002, 4202, 4302}}};
  for (const auto& guest : guests_with_tls(wired.layout))
    context.guests[guest.name] = {.certificate = "C " + guest.name, .key = "K", .authority = "A"};
  wired.steps = make_steps(wired.profile.graph, wired.plan, wired.layout, context);
  return wired;
}

PlanNode node(const std::string& name, const std::string& on, const std::string& driver = "lxc") {
  PlanNode entry;
  entry.node = name;
  entry.host = on;
  entry.driver = driver;
  return entry;
}

TEST(Transports, TcpInsideAHostLeavesItsMemoryAndComesBack) {
  const auto wired = wire("tcp", {node("c", "a")});
  EXPECT_THAT(transports(wired.profile.graph, wired.layout), ElementsAre("tcp"));
  EXPECT_THAT(hosts_with_proxy(wired.layout), ElementsAre("a"));
  EXPECT_THAT(hosts_with_plain_links(wired.layout), IsEmpty());
  ASSERT_THAT(wired.layout.queues, SizeIs(2));
  ASSERT_THAT(wired.layout.ends, SizeIs(2));
  EXPECT_NE(wired.layout.ends[0].queue, wired.layout.ends[1].queue);
  ASSERT_THAT(wired.steps, SizeIs(1));
  const auto& steps = wired.steps[0].wiring.steps;
  EXPECT_THAT(steps.at("peers"), IsEmpty());
  ASSERT_THAT(steps.at("proxies"), SizeIs(2));
  EXPECT_EQ(steps.at("proxies")[0].at("peer"), "host:a");
  EXPECT_EQ(steps.at("proxies")[0].at("flow"), "out");
  EXPECT_EQ(steps.at("proxies")[1].at("flow"), "in");
  EXPECT_NE(steps.at("proxies")[0].at("queue"), steps.at("proxies")[1].at("queue"));
  EXPECT_THAT(link_details(wired.profile.graph, wired.plan, wired.layout), ElementsAre("tcp forced"));
}

TEST(Transports, MessageQueuesAreTheCarrierOfBothHalves) {
  for (const std::string queues : {"posix-mq", "boost-mq"}) {
    const auto wired = wire(queues, {node("c", "a"), node("d", "a")});
    EXPECT_THAT(transports(wired.profile.graph, wired.layout), ElementsAre(queues));
    EXPECT_THAT(hosts_with_proxy(wired.layout), ElementsAre("a"));
    EXPECT_THAT(hosts_with_plain_links(wired.layout), IsEmpty());
    ASSERT_THAT(wired.steps, SizeIs(1));
    const auto& steps = wired.steps[0].wiring.steps;
    EXPECT_THAT(steps.at("peers"), IsEmpty());
    ASSERT_THAT(steps.at("proxies"), SizeIs(2));
    for (const auto& half : steps.at("proxies")) {
      EXPECT_EQ(half.at("carrier"), queues);
      EXPECT_EQ(half.at("peer"), "host:a");
    }
    EXPECT_THAT(link_details(wired.profile.graph, wired.plan, wired.layout), ElementsAre(queues + " forced"));
    EXPECT_EQ(*decode_layout(encode(wired.layout), wired.profile.graph, wired.plan), wired.layout);
  }
  EXPECT_FALSE(wire("tcp", {node("c", "a")}).steps[0].wiring.steps.at("proxies")[0].contains("carrier"));
}

TEST(Transports, BetweenHostsWithoutTlsOnlyWhereForced) {
  const auto wired = wire("tcp", {node("c", "a"), node("d", "b")});
  EXPECT_THAT(transports(wired.profile.graph, wired.layout), ElementsAre("tcp"));
  EXPECT_THAT(hosts_with_plain_links(wired.layout), ElementsAre("a", "b"));
  for (const auto& step : wired.steps) {
    const auto& peer = step.wiring.steps.at("peers").at(0);
    EXPECT_FALSE(peer.contains("tls"));
    EXPECT_EQ(peer.at("port"), step.host == "b" ? 4201 : 0) << "the later name dials";
    EXPECT_EQ(peer.at("address"), step.host == "b" ? "192.0.2.1" : "");
    EXPECT_FALSE(step.wiring.steps.at("proxies").at(0).contains("tls"));
  }
  const auto secure = wire("tls", {node("c", "a"), node("d", "b")});
  EXPECT_THAT(hosts_with_plain_links(secure.layout), IsEmpty());
  for (const auto& step : secure.steps) {
    EXPECT_EQ(step.wiring.steps.at("peers").at(0).at("port"), step.host == "b" ? 4001 : 0);
    EXPECT_EQ(step.wiring.steps.at("proxies").at(0).at("tls"), true);
  }
}

TEST(Transports, GuestsDialTheirHostAndEachOther) {
  auto one = node("v", "a", "qemu");
  one.seat = 1;
  one.address = "10.1.1.2";
  auto two = node("w", "a", "qemu");
  two.seat = 2;
  two.address = "10.1.1.3";
  const auto with_host = wire("", {one, node("c", "a")});
  for (const auto& step : with_host.steps) {
    const bool guest = !step.wiring.node.empty();
    const auto& peer = step.wiring.steps.at("peers").at(0);
    EXPECT_EQ(peer.at("carrier"), "ivshmem");
    EXPECT_FALSE(peer.contains("tls"));
    EXPECT_EQ(peer.at("address"), guest ? "10.1.1.1" : "");
    EXPECT_EQ(peer.at("port"), guest ? 4301 : 0);
    EXPECT_EQ(step.wiring.steps.at("proxies").at(0).at("carrier"), "ivshmem");
    EXPECT_FALSE(step.wiring.steps.contains("listen"));
  }
  const auto direct = wire("", {one, two});
  ASSERT_THAT(direct.steps, SizeIs(2)) << "their host has no part in it";
  for (const auto& step : direct.steps) {
    const bool later = step.wiring.node == "w";
    const auto& peer = step.wiring.steps.at("peers").at(0);
    EXPECT_EQ(peer.at("name"), later ? "node:v" : "node:w");
    EXPECT_EQ(peer.at("address"), later ? "10.1.1.2" : "") << "the later name dials";
    EXPECT_EQ(peer.at("port"), later ? 779 : 0);
    EXPECT_EQ(step.wiring.steps.contains("listen"), !later);
    if (!later) {
      EXPECT_EQ(step.wiring.steps.at("listen"), (nlohmann::json{{"address", "10.1.1.2"}, {"port", 779}}));
    }
  }
  EXPECT_THAT(link_details(direct.profile.graph, direct.plan, direct.layout), ElementsAre("ivshmem"));
}

TEST(Transports, AGuestThatUsesTlsGetsACertificate) {
  const auto wired = wire("tls", {node("v", "a", "qemu"), node("c", "a")});
  EXPECT_THAT(transports(wired.profile.graph, wired.layout), ElementsAre("tcp+tls"));
  for (const auto& step : wired.steps) {
    const bool guest = !step.wiring.node.empty();
    const auto& peer = step.wiring.steps.at("peers").at(0);
    EXPECT_EQ(peer.at("tls"), true);
    EXPECT_EQ(peer.at("address"), guest ? "10.1.1.1" : "") << "a guest dials its host, at the lab's bridge";
    EXPECT_EQ(peer.at("port"), guest ? 4001 : 0);
    EXPECT_EQ(step.wiring.steps.contains("identity"), guest);
    if (guest) {
      EXPECT_EQ(step.wiring.steps.at("identity").at("certificate"), "C node:v");
    }
  }
  EXPECT_THAT(guests_with_tls(wire("tcp", {node("v", "a", "qemu"), node("c", "a")}).layout), IsEmpty());
}

}  // namespace
}  // namespace mvm::broker
