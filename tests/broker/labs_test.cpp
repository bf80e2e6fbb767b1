// Labs without a job, their jobs, programs started by hand, and who may do what.

#include <gmock/gmock.h>

#include "broker/world.h"

namespace mvm::broker {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kLab = R"(<lab xmlns="urn:mvm:lab:1" name="My_Lab">
  <machines name="node" driver="lxc" image="host" count="2" memory="256MiB"/>
  <machines name="guest" driver="qemu" image="qemu-debian" count="1" memory="256MiB"/>
</lab>)";

/// Runs on whatever nodes its lab has.
constexpr const char* kGuest = R"(<job xmlns="urn:mvm:job:1" name="guest">
  <topology ref="ring"><set param="n" value="3"/></topology>
  <program role="cell"><run>/bin/true</run></program>
</job>)";

class LabsTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(world.state.violations, IsEmpty()); }
  std::string create(const std::string& request = {}) {
    auto id = world.labs().create_lab(
        world.user, {.profile = kLab, .settings = {}, .lab = {}, .request = request, .file = "lab.xml"});
    EXPECT_TRUE(id) << id.error().describe();
    world.pump();
    return id ? *id : std::string();
  }
  World world;
};

TEST_F(LabsTest, AProgramStartedByHandEndsWithItsNode) {
  world.host().auto_exit = false;
  world.start();
  world.pump();
  const auto lab = create();
  const auto exec = [&](const std::string& node) {
    return world.labs().exec(world.user, {.lab = lab, .node = node, .argv = {"/bin/cat"}, .input = {}});
  };
  const auto first = exec("node-0");
  const auto second = exec("node-1");
  const auto third = exec((*world.labs().vms(world.user, lab))[2].node);
  ASSERT_TRUE(first) << first.error().describe();
  ASSERT_TRUE(second && third);
  world.pump();
  EXPECT_FALSE(world.labs().exec_output(world.user, *first, 0, {})->ended);

  // Lost, and told.
  for (int i = 0; i < 10; ++i) world.host().fail["ensure_node"].push_back(Error(ErrorCode::kIo, "no more"));
  world.host().lose_node(lab, "node-0");
  world.pump();
  const auto page = *world.labs().exec_output(world.user, *first, 0, {});
  EXPECT_TRUE(page.ended);
  EXPECT_EQ(page.code, 255);
  ASSERT_THAT(page.pieces, Not(IsEmpty()));
  EXPECT_THAT(page.pieces.back().text, HasSubstr("node node-0 was lost: its VM ended"));
  const auto refused = exec("node-0");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(refused.error().message(), HasSubstr("node-0 is lost"));

  // Lost while the broker was dead.
  world.kill();
  world.host().lose_silently(lab, "node-1");
  world.start();
  world.pump();
  EXPECT_TRUE(world.labs().exec_output(world.user, *second, 0, {})->ended);

  // Gone with its lab.
  EXPECT_FALSE(world.labs().exec_output(world.user, *third, 0, {})->ended);
  ASSERT_TRUE(world.labs().destroy_lab(world.user, lab));
  world.advance(std::chrono::seconds(2));
  EXPECT_TRUE(world.labs().exec_output(world.user, *third, 0, {})->ended);
}

TEST_F(LabsTest, ComesUpHoldsJobsAndGoes) {
  world.start();
  world.pump();
  const auto id = create("r");
  EXPECT_EQ(id, "my-lab");
  EXPECT_EQ(create("r"), id) << "the same request";
  EXPECT_EQ(world.labs().lab(world.user, id)->state, "up");
  EXPECT_EQ(world.labs().lab(world.user, id)->nodes, 3U);
  const auto vms = *world.labs().vms(world.user, id);
  ASSERT_THAT(vms, SizeIs(3));
  EXPECT_EQ(vms[0].node, "node-0");
  EXPECT_EQ(vms[0].state, "up");
  EXPECT_EQ(vms[0].address, "10.181.1.2");
  EXPECT_EQ(vms[2].driver, "qemu");
  EXPECT_EQ(vms[2].address, "10.181.1.4");

  for (int turn = 0; turn < 3; ++turn) {
    const auto job = world.submit(kGuest, {}, id);
    world.pump();
    EXPECT_EQ(world.state_of(job), "DONE") << world.job(job).job.reason;
    EXPECT_EQ(world.host().node_count(), 3U) << "the lab stays";
  }
  EXPECT_THAT(world.leftovers(), SizeIs(4)) << "lab and nodes, but nothing of the jobs";
  world.restart();
  world.pump();
  EXPECT_EQ(world.labs().lab(world.user, id)->state, "up");
  ASSERT_TRUE(world.labs().destroy_lab(world.user, id));
  world.advance(std::chrono::seconds(2));
  EXPECT_THAT(*world.labs().labs(world.user), IsEmpty());
  EXPECT_THAT(world.leftovers(), IsEmpty());
  EXPECT_TRUE(world.store->list("labs/")->empty());
  EXPECT_TRUE(world.store->list("plans/lab/")->empty());
}

TEST_F(LabsTest, AJobCrossesItsMemoryDomains) {
  world.host().auto_exit = false;
  world.start();
  world.pump();
  const auto lab = create();
  const auto job = world.submit(kGuest, {}, lab);
  world.pump();
  ASSERT_EQ(world.state_of(job), "RUNNING") << world.job(job).job.reason;
  const auto& host = world.host().wiring(job + ".1", "");
  const auto& guest = world.host().wiring(job + ".1", "guest-0");
  ASSERT_TRUE(host.is_object());
  ASSERT_TRUE(guest.is_object());
  EXPECT_EQ(guest["peers"][0]["address"], "10.181.1.1");
  EXPECT_EQ(guest["peers"][0]["port"], 4000);
  const auto links = *world.labs().links(world.user, lab);
  ASSERT_THAT(links, SizeIs(3));
  EXPECT_EQ(links[0].transport, "shm");
  EXPECT_EQ(links[1].transport, "tcp");
  const auto queues = *world.labs().queues(world.user, lab);
  ASSERT_FALSE(queues.empty());
  EXPECT_EQ(queues[0].depth, 3U);
  EXPECT_EQ(queues[0].link, "ring[0]");
  EXPECT_EQ(queues[0].waiting, "cell[0] waits for cell[1] to take");
  EXPECT_EQ(queues[0].bytes_enqueued, 100U);
  EXPECT_EQ(queues[0].bytes_dequeued, 70U);
  EXPECT_EQ(queues[0].latency_samples, 5U);
  EXPECT_EQ(queues[0].latency_p50_ns, 1500U);
  EXPECT_EQ(queues[0].latency_p99_ns, 2500U);
  for (const auto format : {soap::GraphFormat::kDot, soap::GraphFormat::kSvg, soap::GraphFormat::kText})
    EXPECT_THAT(*world.labs().graph(world.user, lab, format), HasSubstr("guest-0"));
}

TEST_F(LabsTest, QueuesOfARunningJobAreLookedInto) {
  world.host().auto_exit = false;
  world.start();
  world.pump();
  const auto lab = create();
  const auto job = world.submit(kGuest, {}, lab);
  soap::QueueApi& queues = world.broker->api().queues;
  const auto peek = [&](const std::string& name, std::uint32_t count = 5, std::uint32_t bytes = 6) {
    return queues.peek(world.user, {.job = job, .name = name, .count = count, .bytes = bytes});
  };
  EXPECT_EQ(peek("ring[0]").error().code(), ErrorCode::kConflict) << "it does not run yet";
  world.pump();
  ASSERT_EQ(world.state_of(job), "RUNNING") << world.job(job).job.reason;

  const auto one = peek("ring[0]");
  ASSERT_TRUE(one) << one.error().describe();
  ASSERT_THAT(*one, SizeIs(1));
  const soap::PeekedQueue& queue = one->front();
  EXPECT_EQ(queue.link, "ring[0]");
  EXPECT_EQ(queue.depth, 4U);
  EXPECT_TRUE(queue.steady);
  ASSERT_THAT(queue.messages, SizeIs(1));
  EXPECT_EQ(queue.messages[0].number, 7U);
  EXPECT_EQ(queue.messages[0].data, "node-0");
  EXPECT_EQ(queue.messages[0].size, std::string("node-0 q0").size());
  EXPECT_EQ(queue.messages[0].key, 3U);
  EXPECT_EQ(queue.messages[0].age_ns, 900U);

  // A link between two memory domains has a queue in each; each is seen by a node of its own.
  const auto across = peek("ring[1]");
  ASSERT_TRUE(across) << across.error().describe();
  ASSERT_THAT(*across, SizeIs(2));
  EXPECT_NE(across->front().where, across->back().where);
  EXPECT_NE(across->front().messages[0].data, across->back().messages[0].data);
  EXPECT_THAT(*peek("ring"), SizeIs(5)) << "one in the host's memory, two each that cross";
  EXPECT_THAT(*peek("cell[0].to-right"), SizeIs(1));
  EXPECT_THAT(*peek("cell.to-right"), SizeIs(3));
  EXPECT_THAT(*peek("from-left"), SizeIs(3));

  EXPECT_THAT(peek("ring[7]").error().message(), HasSubstr("its links are ring[0], ring[1], ring[2]"));
  EXPECT_EQ(peek("cell[3].to-right").error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(peek("ring", 0).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(peek("ring", 5, 1 << 20).error().code(), ErrorCode::kInvalid);
  world.host().fail["wire.peek"].push_back(Error(ErrorCode::kNotFound, "queue q0 is not here"));
  EXPECT_THAT(peek("ring[0]").error().describe(), HasSubstr("looking into ring[0]"));
  EXPECT_EQ(queues.peek(world.user, {.job = "99", .name = "ring"}).error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(world.jobs().cancel(world.user, job));
  world.advance(std::chrono::seconds(3));
  EXPECT_THAT(peek("ring[0]").error().message(), HasSubstr("has ended"));
}

TEST_F(LabsTest, WhatWaitsIsDrainedQueueByQueue) {
  world.host().auto_exit = false;
  world.start();
  world.pump();
  const auto lab = create();
  const auto job = world.submit(kGuest, {}, lab);
  world.pump();
  ASSERT_EQ(world.state_of(job), "RUNNING") << world.job(job).job.reason;
  soap::QueueApi& queues = world.broker->api().queues;
  const auto drain = [&](soap::DrainRequest request) {
    request.job = job;
    request.name = "ring";
    return queues.drain(world.user, request);
  };
  const auto all = drain({.count = 100, .bytes = 100});
  ASSERT_TRUE(all) << all.error().describe();
  ASSERT_THAT(*all, SizeIs(5));
  for (const soap::DrainedQueue& queue : *all) {
    EXPECT_EQ(queue.drained, 1U);
    EXPECT_EQ(queue.mark.before, 8U);
    EXPECT_TRUE(queue.more);
    ASSERT_THAT(queue.messages, SizeIs(1));
    EXPECT_THAT(queue.messages[0].data, HasSubstr(queue.mark.queue));
  }
  EXPECT_THAT(drain({.count = 100, .bytes = 0})->front().messages, IsEmpty());
  // Going on with two of them, of which the limit leaves one for later.
  soap::DrainRequest going_on{.count = 1, .bytes = 9};
  going_on.marks = {all->front().mark, all->back().mark};
  const auto next = drain(going_on);
  ASSERT_THAT(*next, SizeIs(2));
  EXPECT_EQ(next->front().mark.before, 16U);
  EXPECT_FALSE(next->front().more);
  EXPECT_EQ(next->back().drained, 0U);
  EXPECT_EQ(next->back().mark.before, 8U);
  EXPECT_TRUE(next->back().more);
  // Where one fails, what was taken from those before it is told first.
  world.host().fail["wire.drain"].push_back(Error(ErrorCode::kNotFound, "queue q0 is not here"));
  EXPECT_THAT(drain({.count = 100}).error().describe(), HasSubstr("draining ring[0]"));
  EXPECT_EQ(drain({.count = 0}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(drain({.count = 1, .bytes = 1U << 20}).error().code(), ErrorCode::kInvalid);
  const soap::Caller stranger{.user = "eve", .role = "user", .lab = {}};
  EXPECT_EQ(queues.drain(stranger, {.job = job, .name = "ring", .count = 1}).error().code(),
            queues.peek(stranger, {.job = job, .name = "ring"}).error().code());
}

TEST_F(LabsTest, DestroyingALabEndsItsJobs) {
  world.host().auto_exit = false;
  world.start();
  world.pump();
  const auto lab = create();
  const auto running = world.submit(kGuest, {}, lab);
  world.pump();
  ASSERT_TRUE(world.labs().destroy_lab(world.user, lab));
  world.advance(std::chrono::seconds(3));
  EXPECT_EQ(world.state_of(running), "CANCELLED");
  EXPECT_THAT(world.leftovers(), IsEmpty());
  EXPECT_EQ(
      world.jobs()
          .submit(world.user, {.profile = kGuest, .settings = {}, .lab = lab, .request = {}, .file = "x"})
          .error()
          .code(),
      ErrorCode::kNotFound);
}

TEST_F(LabsTest, ALostNodeComesBackAndItsJobIsTriedAgain) {
  world.host().auto_exit = false;
  world.start();
  world.pump();
  const auto lab = create();
  const auto job = world.submit(kGuest, {}, lab);
  world.pump();
  world.host().lose_node(lab, "node-1");
  world.host().auto_exit = true;
  world.advance(std::chrono::seconds(40));
  EXPECT_EQ(world.state_of(job), "DONE") << world.job(job).job.reason;
  EXPECT_EQ(world.job(job).job.attempt, 2U);
  EXPECT_EQ(world.labs().lab(world.user, lab)->state, "up");
}

TEST_F(LabsTest, ALabKilledHalfWayComesUpOrGoes) {
  for (const auto* moment : {"ensure_lab", "ensure_node", "destroy_lab"}) {
    World fresh;
    fresh.start();
    fresh.pump();
    fresh.host().on_call = [&](const std::string& call) {
      if (call == moment) throw Died{};
    };
    const auto lab = *fresh.labs().create_lab(
        fresh.user, {.profile = kLab, .settings = {}, .lab = {}, .request = {}, .file = "l"});
    bool died = fresh.pump();
    if (!died) {
      ASSERT_TRUE(fresh.labs().destroy_lab(fresh.user, lab));
      died = fresh.advance(std::chrono::seconds(2));
    }
    EXPECT_TRUE(died) << moment;
    fresh.host().on_call = nullptr;
    fresh.restart();
    fresh.advance(std::chrono::seconds(2));
    if (std::string(moment) == "destroy_lab") {
      EXPECT_THAT(fresh.leftovers(), IsEmpty());
      continue;
    }
    EXPECT_EQ(fresh.labs().lab(fresh.user, lab)->state, "up") << moment;
  }
}

TEST_F(LabsTest, WhatDoesNotFitIsSaidAtOnce) {
  world.start();
  world.pump();
  const std::string huge =
      R"(<lab xmlns="urn:mvm:lab:1" name="huge"><machines name="n" driver="lxc" count="500"/></lab>)";
  const auto refused = world.labs().create_lab(
      world.user, {.profile = huge, .settings = {}, .lab = {}, .request = {}, .file = "h"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kNoPlacement);
  EXPECT_THAT(refused.error().message(), HasSubstr("host alpha"));
  EXPECT_THAT(*world.labs().labs(world.user), IsEmpty());
}

TEST_F(LabsTest, ExecRunsInANode) {
  world.start();
  world.pump();
  const auto lab = create();
  world.host().exit_code = 4;
  const auto id =
      world.labs().exec(world.user, {.lab = lab, .node = "node-1", .argv = {"/bin/hostname"}, .input = "in"});
  ASSERT_TRUE(id) << id.error().describe();
  world.pump();
  const auto page = *world.labs().exec_output(world.user, *id, 0, {});
  ASSERT_THAT(page.pieces, SizeIs(1));
  EXPECT_THAT(page.pieces[0].text, HasSubstr("hello from exec/1"));
  EXPECT_TRUE(page.ended);
  EXPECT_EQ(page.code, 4);
  world.restart();
  world.pump();
  EXPECT_EQ(world.labs().exec_output(world.user, *id, 0, {})->code, 4) << "it outlives a restart";
  const soap::Caller other{.user = "bob", .role = "user", .lab = {}};
  EXPECT_EQ(world.labs().exec_output(other, *id, 0, {}).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(
      world.labs().exec(other, {.lab = lab, .node = "node-1", .argv = {"x"}, .input = {}}).error().code(),
      ErrorCode::kRefused);
  EXPECT_EQ(
      world.labs().exec(world.user, {.lab = lab, .node = "none", .argv = {"x"}, .input = {}}).error().code(),
      ErrorCode::kNotFound);
  EXPECT_EQ(
      world.labs().exec(world.user, {.lab = lab, .node = "node-1", .argv = {}, .input = {}}).error().code(),
      ErrorCode::kInvalid);
  EXPECT_EQ(*world.labs().console(world.user, lab, "node-0", 8, {}), "login:");
}

TEST_F(LabsTest, ALabsTokenReachesItsLabOnly) {
  world.start();
  world.pump();
  const auto mine = create();
  const auto other = create();
  EXPECT_EQ(other, "my-lab-2");
  const soap::Caller token{.user = "ada", .role = "lab", .lab = mine};
  EXPECT_THAT(*world.labs().labs(token), SizeIs(1));
  EXPECT_THAT(*world.labs().vms(token, mine), SizeIs(3));
  EXPECT_EQ(world.labs().vms(token, other).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(world.labs().destroy_lab(token, other).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(world.labs()
                .create_lab(token, {.profile = kLab, .settings = {}, .lab = {}, .request = {}, .file = "x"})
                .error()
                .code(),
            ErrorCode::kRefused);
  const auto job =
      world.jobs().submit(token, {.profile = kGuest, .settings = {}, .lab = {}, .request = {}, .file = "x"});
  ASSERT_TRUE(job) << job.error().describe();
  world.pump();
  EXPECT_EQ(world.jobs().job(token, *job)->job.lab, mine);
  EXPECT_EQ(world.jobs()
                .submit(token, {.profile = kGuest, .settings = {}, .lab = other, .request = {}, .file = "x"})
                .error()
                .code(),
            ErrorCode::kRefused);
}

TEST_F(LabsTest, SubnetsNeverOverlapAndAreUsedAgain) {
  world.host().auto_exit = false;
  world.config.subnet_pool = "10.181.0.0/22";
  world.start();
  world.pump();
  std::vector<std::string> jobs;
  for (int i = 0; i < 4; ++i) {
    jobs.push_back(world.submit(ring_job(2, 1)));
    world.pump();
  }
  EXPECT_EQ(world.state_of(jobs[2]), "RUNNING");
  EXPECT_EQ(world.state_of(jobs[3]), "SUBMITTED");
  EXPECT_THAT(world.job(jobs[3]).why, Contains(HasSubstr("no subnet of 10.181.0.0/22 is free")));
  ASSERT_TRUE(world.jobs().cancel(world.user, jobs[0]));
  world.advance(std::chrono::seconds(1));
  EXPECT_EQ(world.state_of(jobs[3]), "RUNNING");
}

}  // namespace
}  // namespace mvm::broker
