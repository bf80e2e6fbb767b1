// Rewirings of running jobs on fake hosts.

#include <gmock/gmock.h>

#include "broker/world.h"
#include "mvm/broker/rewire_machine.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

soap::RewireRequest cut(const std::string& job, const std::string& link) {
  soap::RewireRequest request{.target = job};
  request.edits.push_back({.kind = soap::LinkEdit::Kind::kDisconnect, .link = link});
  return request;
}

soap::RewireRequest join(const std::string& job, const std::string& from, const std::string& to) {
  soap::RewireRequest request{.target = job};
  request.edits.push_back({.kind = soap::LinkEdit::Kind::kConnect, .from = from, .to = to});
  return request;
}

soap::RewireRequest change(const std::string& job, const std::string& link,
                           const soap::Settings& attributes) {
  soap::RewireRequest request{.target = job};
  request.edits.push_back({.kind = soap::LinkEdit::Kind::kSet, .link = link, .attributes = attributes});
  return request;
}

/// The queues that a process's port is joined to, in what its node has.
std::vector<std::string> queues_at(const nlohmann::json& steps, const std::string& proc,
                                   const std::string& port) {
  std::vector<std::string> ids;
  for (const auto& process : steps.at("processes"))
    if (process.at("proc") == proc)
      for (const auto& one : process.at("ports"))
        if (one.at("name") == port)
          for (const auto& end : one.at("ends")) ids.push_back(end.at("queue"));
  return ids;
}

class Rewire : public ::testing::Test {
 protected:
  Rewire() { world.host().auto_exit = false; }
  void TearDown() override { EXPECT_THAT(world.state.violations, IsEmpty()); }
  std::string run() {
    world.start();
    auto id = world.submit(plain_job());
    world.pump();
    EXPECT_EQ(world.state_of(id), "RUNNING");
    return id;
  }
  soap::RewireView outcome(const std::string& job, std::uint64_t number) {
    auto view = world.labs().rewiring(world.user, job, number, {});
    EXPECT_TRUE(view) << view.error().describe();
    return view ? *view : soap::RewireView{};
  }
  std::vector<std::string> links(const std::string& job) {
    std::vector<std::string> names;
    const auto all = world.labs().links(world.user, world.job(job).job.lab);
    for (const auto& link : *all) names.push_back(link.link);
    return names;
  }
  const nlohmann::json& wiring() { return world.host().wiring("1.1", ""); }
  World world;
};

TEST_F(Rewire, ALinkIsTakenAndAnotherMade) {
  const auto id = run();
  ASSERT_EQ(queues_at(wiring(), "1.1/cell[0]", "to-right"), std::vector<std::string>{"q0"});
  world.host().never_drained = true;
  auto begun = *world.labs().rewire(world.user, cut(id, "ring[0]"));
  EXPECT_EQ(begun.number, 1U);
  EXPECT_EQ(begun.state, "preparing");
  EXPECT_EQ(begun.removed, 1U);
  EXPECT_EQ(begun.unchanged, 3U);
  EXPECT_THAT(begun.steps,
              ElementsAre("part cell[0].to-right from ring[0]", "drain ring[0], then remove its queues"));
  world.pump();
  EXPECT_EQ(outcome(id, 1).state, "switched");
  EXPECT_THAT(outcome(id, 1).draining, ElementsAre("ring[0]"));
  EXPECT_THAT(links(id), ElementsAre("ring[1]", "ring[2]", "ring[3]"));
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[0]", "to-right"), IsEmpty()) << "its producer has no link";
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[1]", "from-left"), ElementsAre("q0")) << "what is in it is read";
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[1]", "to-right"), ElementsAre("q1"))
      << "the others stay as they are";

  // Another one while that drains: its consumer reads the old one first.
  ASSERT_TRUE(world.labs().rewire(world.user, join(id, "cell[0].to-right", "cell[1].from-left")));
  world.pump();
  EXPECT_EQ(outcome(id, 2).state, "switched");
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[0]", "to-right"), ElementsAre("q4"));
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[1]", "from-left"), ElementsAre("q0", "q4"));
  EXPECT_THAT(wiring().dump(), HasSubstr(R"("after":[0])"));
  world.host().never_drained = false;
  world.advance(std::chrono::seconds(3));
  EXPECT_THAT(outcome(id, 2).draining, IsEmpty());
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[1]", "from-left"), ElementsAre("q4"));
  EXPECT_THAT(wiring().at("queues"), SizeIs(4));
  EXPECT_THAT(wiring().dump(), Not(HasSubstr("after")));
}

TEST_F(Rewire, ATopologyFileIsApplied) {
  const auto id = run();
  const std::string star = R"(<topology xmlns="urn:mvm:topology:1" name="backwards">
    <role name="cell" count="4">
      <port name="from-left" direction="in"/><port name="to-right" direction="out"/></role>
    <link for="i in 0..3" from="cell[${i}].to-right" to="cell[${(i+3)%4}].from-left" name="ring"/>
    </topology>)";
  auto dry = *world.labs().rewire(world.user, {.target = id, .profile = star, .dry_run = true});
  EXPECT_EQ(dry.state, "planned");
  EXPECT_EQ(dry.redirected, 4U);
  EXPECT_THAT(dry.steps, Contains("join cell[0].to-right to ring[0]"));
  EXPECT_THAT(links(id), SizeIs(4));
  const auto before = wiring();
  world.pump();
  EXPECT_EQ(wiring(), before) << "a dry run does nothing";

  ASSERT_TRUE(world.labs().rewire(world.user, {.target = world.job(id).job.lab, .profile = star}));
  world.pump();
  EXPECT_EQ(outcome(id, 1).state, "switched");
  const auto now = *world.labs().links(world.user, world.job(id).job.lab);
  EXPECT_EQ(now[0].to, "cell[3].from-left");
  EXPECT_EQ(world.labs().rewire(world.user, {.target = id, .profile = star})->state, "unchanged");

  // A new attempt begins with the wiring that the job has now, and so does a new broker.
  world.host().lose_node(world.job(id).job.lab, "node-1");
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(world.job(id).job.attempt, 2U);
  EXPECT_EQ(world.state_of(id), "RUNNING");
  world.restart();
  world.pump();
  EXPECT_EQ((*world.labs().links(world.user, world.job(id).job.lab))[0].to, "cell[3].from-left");
  EXPECT_THAT(queues_at(world.host().wiring("1.2", ""), "1.2/cell[3]", "from-left"), ElementsAre("q0"));
}

TEST_F(Rewire, AttributesOfALinkAreChanged) {
  const auto id = run();
  world.host().never_drained = true;
  auto wish = change(id, "ring[0]", {{"capacity", "9"}, {"when-full", "drop-newest"}, {"ttl", "2s"}});
  wish.dry_run = true;
  const auto dry = *world.labs().rewire(world.user, wish);
  EXPECT_EQ(dry.state, "planned");
  EXPECT_EQ(dry.changed, 1U);
  EXPECT_EQ(dry.unchanged, 3U);
  EXPECT_THAT(dry.steps, Contains("drain ring[0], then remove its queues"));
  wish.dry_run = false;
  ASSERT_TRUE(world.labs().rewire(world.user, wish));
  world.pump();
  EXPECT_EQ(outcome(id, 1).state, "switched");
  EXPECT_THAT(outcome(id, 1).draining, ElementsAre("ring[0]"));
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[0]", "to-right"), ElementsAre("q4"));
  EXPECT_THAT(queues_at(wiring(), "1.1/cell[1]", "from-left"), ElementsAre("q0", "q4"))
      << "the old one first";
  const auto now = *world.labs().links(world.user, world.job(id).job.lab);
  EXPECT_EQ(now[0].link, "ring[0]");
  EXPECT_EQ(now[0].capacity, 9U);
  EXPECT_EQ(now[0].when_full, "drop-newest");
  EXPECT_EQ(now[1].capacity, 256U);
  EXPECT_EQ(world.labs().rewire(world.user, change(id, "ring[0]", {{"capacity", "9"}}))->state, "unchanged");

  // A new broker goes on with it, and the next change builds on it.
  world.restart();
  world.pump();
  world.host().never_drained = false;
  ASSERT_TRUE(world.labs().rewire(world.user, change(id, "ring", {{"capacity", "5"}})));
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(outcome(id, 2).state, "switched");
  EXPECT_EQ(outcome(id, 2).changed, 4U);
  EXPECT_THAT(outcome(id, 2).draining, IsEmpty());
  const auto all = *world.labs().links(world.user, world.job(id).job.lab);
  EXPECT_THAT(all, Each(Field(&soap::LinkView::capacity, 5U)));
  EXPECT_THAT(wiring().dump(), HasSubstr(R"("when_full":"drop-newest")"));
  EXPECT_THAT(wiring().at("queues"), SizeIs(4));

  const auto fault = [&](const std::string& link, const soap::Settings& attributes) {
    return world.labs().rewire(world.user, change(id, link, attributes)).error();
  };
  EXPECT_EQ(fault("ring[9]", {{"capacity", "5"}}).code(), ErrorCode::kNotFound);
  EXPECT_EQ(fault("ring[0]", {}).code(), ErrorCode::kInvalid);
  EXPECT_THAT(fault("ring[0]", {{"capcity", "5"}}).message(), HasSubstr("did you mean capacity?"));
}

TEST_F(Rewire, WhatCannotBePreparedIsUndone) {
  const auto id = run();
  const auto before = wiring();
  world.host().fail["wire"] = {Error(ErrorCode::kExhausted, "no memory for queues")};
  ASSERT_TRUE(
      world.labs().rewire(world.user, join(id, "cell[0].to-right", "cell[2].from-left")).error().code() ==
      ErrorCode::kConflict)
      << "the port has a link";
  soap::RewireRequest both = cut(id, "ring[0]");
  both.edits.push_back(
      {.kind = soap::LinkEdit::Kind::kConnect, .from = "cell[0].to-right", .to = "cell[2].from-left"});
  ASSERT_TRUE(world.labs().rewire(world.user, both));
  world.pump();
  EXPECT_EQ(outcome(id, 1).state, "undone");
  EXPECT_THAT(outcome(id, 1).reason, HasSubstr("no memory for queues"));
  EXPECT_THAT(links(id), Contains("ring[0]"));
  EXPECT_EQ(wiring().at("processes"), before.at("processes"));
  EXPECT_EQ(wiring().at("queues"), before.at("queues"));
}

TEST_F(Rewire, WhatIsNotPreparedInTimeIsUndone) {
  const auto id = run();
  world.host().down = true;
  world.advance(std::chrono::seconds(1));
  auto request = cut(id, "ring[0]");
  request.deadline = std::chrono::seconds(2);
  ASSERT_TRUE(world.labs().rewire(world.user, request));
  world.advance(std::chrono::seconds(3));
  EXPECT_EQ(world.labs().rewiring(world.user, id, 1, {})->state, "undone");
  world.host().down = false;
  world.advance(std::chrono::seconds(30));
  EXPECT_EQ(world.state_of(id), "RUNNING");
  EXPECT_THAT(links(id), SizeIs(4));
  ASSERT_TRUE(world.labs().rewire(world.user, request)) << "and another try is welcome";
  world.pump();
  EXPECT_EQ(outcome(id, 2).state, "switched");
}

TEST_F(Rewire, WhatARunningJobCannotChangeIsRefused) {
  const auto id = run();
  const auto code = [&](const soap::RewireRequest& request) {
    return world.labs().rewire(world.user, request).error().code();
  };
  EXPECT_EQ(code(cut(id, "ring[9]")), ErrorCode::kNotFound);
  EXPECT_EQ(code(cut("99", "ring[0]")), ErrorCode::kNotFound);
  EXPECT_EQ(code(join(id, "cell[0].nothing", "cell[1].from-left")), ErrorCode::kInvalid);
  EXPECT_EQ(code({.target = id}), ErrorCode::kInvalid);
  EXPECT_EQ(code({.target = id, .profile = "<topology"}), ErrorCode::kInvalid);
  const soap::Caller other{.user = "bob", .role = "user", .lab = {}};
  EXPECT_EQ(world.labs().rewire(other, cut(id, "ring[0]")).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(world.labs().rewiring(other, id, 1, {}).error().code(), ErrorCode::kRefused);
  ASSERT_TRUE(world.jobs().cancel(world.user, id));
  world.pump();
  EXPECT_EQ(code(cut(id, "ring[0]")), ErrorCode::kConflict);
}

/// A source on one host and a sink on another.
std::string pair_of(const std::string& transport) {
  return R"(<topology xmlns="urn:mvm:topology:1" name="pair">
  <role name="s"><port name="out" direction="out"/></role><role name="t"><port name="in" direction="in"/></role>
  <link from="s.out" to="t.in" name="flow")" +
         (transport.empty() ? "" : " transport=\"" + transport + "\"") + "/></topology>";
}

std::string across() {
  return R"(<job xmlns="urn:mvm:job:1" name="across">)" + pair_of("") + R"(
  <program role="s"><run>/bin/true</run></program><program role="t"><run>/bin/true</run></program>
  <machines role="s" driver="lxc" image="host" host="alpha" count="1" vcpus="1" memory="256MiB"/>
  <machines role="t" driver="lxc" image="host" host="beta" count="1" vcpus="1" memory="256MiB"/></job>)";
}

/// "tls:5000 plain:6000": how a host's proxy reaches others.
std::string peers_of(const nlohmann::json& steps) {
  std::string text;
  for (const auto& peer : steps.at("peers"))
    text += (text.empty() ? "" : " ") + std::string(peer.value("tls", false) ? "tls:" : "plain:") +
            peer.at("port").dump();
  return text;
}

TEST(RewireTransport, ALinkBetweenHostsIsSwappedForOneInTheClear) {
  World world({"alpha", "beta"});
  for (const auto& host : world.hosts) {
    host->auto_exit = false;
    host->never_drained = true;
  }
  world.start();
  const auto id = world.submit(across());
  world.pump();
  ASSERT_EQ(world.state_of(id), "RUNNING");
  const auto wiring = [&] { return world.host(1).wiring("1.1", ""); };
  const auto shown = [&] { return (*world.labs().links(world.user, world.job(id).job.lab)).at(0); };
  EXPECT_EQ(peers_of(wiring()), "tls:5000") << "of two hosts the later name dials";
  EXPECT_EQ(shown().transport, "tcp+tls");

  ASSERT_TRUE(world.labs().rewire(world.user, {.target = id, .profile = pair_of("tcp")}));
  world.pump();
  EXPECT_EQ(world.labs().rewiring(world.user, id, 1, {})->state, "switched");
  EXPECT_EQ(peers_of(wiring()), "plain:6000 tls:5000") << "the host opened what it had not needed before";
  ASSERT_THAT(wiring().at("proxies"), SizeIs(2));
  EXPECT_TRUE(wiring().at("proxies")[0].value("tls", false)) << "what was sent by TLS arrives by TLS";
  EXPECT_FALSE(wiring().at("proxies")[1].value("tls", false));
  EXPECT_EQ(shown().transport, "tcp");
  EXPECT_EQ(shown().forced, "tcp");

  // A broker that starts anew goes on with both, and lets go of the old one when it is empty.
  world.restart();
  world.pump();
  for (const auto& host : world.hosts) host->never_drained = false;
  world.advance(std::chrono::seconds(5));
  EXPECT_THAT(world.labs().rewiring(world.user, id, 1, {})->draining, IsEmpty());
  EXPECT_EQ(peers_of(wiring()), "plain:6000");
  ASSERT_THAT(wiring().at("proxies"), SizeIs(1));
  EXPECT_FALSE(wiring().at("proxies")[0].value("tls", false));

  const auto refused = world.labs().rewire(world.user, {.target = id, .profile = pair_of("shm")}).error();
  EXPECT_EQ(refused.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(refused.message(), HasSubstr("transport shm is forced, but from host:alpha to host:beta"));
  EXPECT_THAT(refused.message(), HasSubstr("stay where they are"));
  EXPECT_THAT(world.state.violations, IsEmpty());
}

// A producer that leaves its old link before the consumer knows of the new one would seem to end the stream.
TEST(RewireRounds, ConsumersHaveTheirLinksBeforeProducersLeaveTheOldOnes) {
  World world({"alpha", "beta"});
  for (const auto& host : world.hosts) host->auto_exit = false;
  world.start();
  const auto id = world.submit(across());
  world.pump();
  world.state.steps.clear();
  ASSERT_TRUE(world.labs().rewire(world.user, {.target = id, .profile = pair_of("tcp")}));
  world.pump();
  ASSERT_EQ(world.labs().rewiring(world.user, id, 1, {})->state, "switched");
  std::string rounds;
  for (const auto& steps : world.state.steps)
    rounds +=
        (rounds.empty() ? "" : " ") + steps.at("generation").dump() + (steps.value("hold", false) ? "h" : "");
  EXPECT_THAT(rounds, ::testing::StartsWith("2 2 3h 3h 4 4")) << "prepared, joined, switched";
  EXPECT_THAT(world.state.violations, IsEmpty());
}

// A job may end at any instant of a rewiring and of what comes after it; the broker goes on.
TEST_F(Rewire, AJobEndsAtAnyInstantOfIt) {
  world.start();
  bool swept = false;
  for (int instant = 0; instant < 100; ++instant) {
    world.host().auto_exit = false;
    const auto id = world.submit(plain_job());
    world.pump();
    ASSERT_TRUE(world.labs().rewire(world.user, cut(id, "ring[0]")));
    world.tick(instant);
    const auto view = outcome(id, 1);
    swept = view.state == "switched" && view.draining.empty();
    ASSERT_TRUE(world.jobs().cancel(world.user, id)) << instant;
    world.pump();
    world.advance(std::chrono::seconds(3));
    ASSERT_EQ(world.state_of(id), "CANCELLED") << instant;
  }
  EXPECT_TRUE(swept) << "the last instant is behind its end";
}

// The broker dies at every point of a rewiring: the job ends up wholly in its old or wholly in its new
// wiring.
class RewireCrash : public ::testing::TestWithParam<std::string> {};

TEST_P(RewireCrash, EndsInTheOldOrTheNewWiring) {
  World world;
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(plain_job());
  world.pump();
  const auto before = world.host().wiring("1.1", "");
  world.restart(GetParam());
  bool died = world.pump();
  try {
    if (!died) (void)world.labs().rewire(world.user, cut(id, "ring[0]"));
    died = died || world.pump() || world.advance(std::chrono::seconds(5));
  } catch (const Died&) {
    died = true;
  }
  if (!died) return;  // a point of another way
  world.restart();
  world.pump();
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(world.state_of(id), "RUNNING");
  const auto& now = world.host().wiring("1.1", "");
  const auto names = *world.labs().links(world.user, world.job(id).job.lab);
  if (names.size() == 4) {
    EXPECT_EQ(now.at("processes"), before.at("processes"));
    EXPECT_EQ(now.at("queues"), before.at("queues"));
  } else {
    EXPECT_EQ(names.size(), 3U);
    EXPECT_THAT(queues_at(now, "1.1/cell[0]", "to-right"), IsEmpty());
    EXPECT_THAT(queues_at(now, "1.1/cell[1]", "from-left"), IsEmpty());
    EXPECT_THAT(now.at("queues"), SizeIs(3));
  }
  const bool decided = GetParam().starts_with("rewire-switch") || GetParam().starts_with("SWITCHING") ||
                       GetParam().starts_with("STEADY>SWEEPING") || GetParam().starts_with("rewire-sweep") ||
                       GetParam().starts_with("SWEEPING") || GetParam() == "PREPARING>SWITCHING:committed";
  if (decided) {
    EXPECT_EQ(names.size(), 3U) << "what was decided is carried out";
  }
  EXPECT_THAT(world.state.violations, IsEmpty());
}

std::vector<std::string> rewire_points() {
  std::vector<std::string> points;
  for (const auto& point : list_crash_points())
    for (const auto* mark : {"rewire", "STEADY", "PREPARING"})
      if (point.find(mark) != std::string::npos && (points.empty() || points.back() != point))
        points.push_back(point);
  return points;
}

INSTANTIATE_TEST_SUITE_P(EveryPoint, RewireCrash, ::testing::ValuesIn(rewire_points()),
                         [](const auto& point) {
                           std::string name = point.param;
                           for (auto& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace mvm::broker
