// The broker dies at each of its crash points, in each kind of life a job can have, and another one takes
// over the same store and the same hosts.

#include <gmock/gmock.h>

#include "broker/world.h"

namespace mvm::broker {
namespace {

using ::testing::IsEmpty;

/// A life that a job can have, and how it must end whatever dies on the way.
struct Life {
  const char* name;
  void (*prepare)(World& world);
  void (*meanwhile)(World& world,
                    const std::string& job);  ///< once all has come to rest, again after a restart
  const char* end;
  std::string (*profile)() = [] { return ring_job(4, 2, R"(<limit walltime="5m" retries="2"/>)"); };
};

/// More producers at one queue than a queue has slots for.
std::string impossible_job() {
  return R"(<lab xmlns="urn:mvm:lab:1" name="impossible">
  <topology xmlns="urn:mvm:topology:1" name="funnel">
    <role name="source" count="5000"><port name="out" direction="out"/></role>
    <role name="sink"><port name="in" direction="in"/></role>
    <link from="source[*].out" to="sink.in"/>
  </topology>
  <machines name="node" role="source sink" driver="lxc" image="host"/>
  <job xmlns="urn:mvm:job:1" name="impossible">
    <program role="source"><run>/bin/true</run></program>
    <program role="sink"><run>/bin/true</run></program>
  </job>
</lab>)";
}

/// Asks for the ring without its first link. False: there is nothing to ask for now.
bool cut_the_ring(World& w, const std::string& job) {
  soap::RewireRequest request{.target = job};
  request.edits.push_back({.kind = soap::LinkEdit::Kind::kDisconnect, .link = "ring[0]"});
  return w.labs().rewire(w.user, request).has_value();
}

void end_all(World& w, const std::string& job) {
  const auto detail = w.job(job);
  for (int i = 0; i < 4; ++i)
    w.host().exit_process(job + "." + std::to_string(detail.job.attempt) + "/cell[" + std::to_string(i) + "]",
                          0);
}

/// First one that cannot be prepared, then one that is carried out and drained, then the end.
void rewire_twice(World& w, const std::string& job) {
  if (w.state_of(job) != "RUNNING") return;
  const auto first = w.labs().rewiring(w.user, job, 1, {});
  if (!first) {
    w.host().fail["wire"] = {Error(ErrorCode::kUnavailable, "not now")};
    (void)cut_the_ring(w, job);
    return;
  }
  w.host().fail.clear();
  const auto last = w.labs().rewiring(w.user, job, 2, {});
  if (first->state == "undone" && !last) {
    (void)cut_the_ring(w, job);
    return;
  }
  const auto& decisive = last ? *last : *first;
  if (decisive.state == "switched" && decisive.draining.empty()) end_all(w, job);
}

/// The ring with this many cells.
bool give_cells(World& w, const std::string& job, int n) {
  const std::string ring =
      R"(<topology xmlns="urn:mvm:topology:1" name="ring"><role name="cell" count=")" + std::to_string(n) +
      R"("><port name="from-left" direction="in"/><port name="to-right" direction="out"/>)"
      R"(</role><pattern kind="ring" role="cell" out="to-right" in="from-left"/></topology>)";
  return w.labs().rewire(w.user, {.target = job, .profile = ring}).has_value();
}

/// First a cell that cannot be started, then one that can, which leaves again; then the end.
void widen_and_narrow(World& w, const std::string& job) {
  const auto detail = w.job(job);
  if (detail.job.state != "RUNNING") return;
  std::string fifth;
  for (const auto& process : detail.processes)
    if (process.process == "cell[4]") fifth = process.state;
  std::uint64_t last = 0;
  bool switched = false;
  while (const auto view = w.labs().rewiring(w.user, job, last + 1, {})) {
    ++last;
    switched = switched || view->state == "switched";
    if (view->state == "preparing") return;
  }
  w.host().fail.clear();
  if (last == 0) w.host().fail["proc.start"] = {Error(ErrorCode::kUnavailable, "not now")};
  if (!switched) {
    (void)give_cells(w, job, 5);
  } else if (fifth == "running") {
    (void)give_cells(w, job, 4);
  } else if (fifth == "leaving") {
    const auto name = job + "." + std::to_string(detail.job.attempt) + "/cell[4]";
    w.host().exit_process(name, 0);
    for (std::uint64_t number = 1; number <= last; ++number)
      w.host().exit_process(name + "+" + std::to_string(number), 0);
  } else if (w.labs().rewiring(w.user, job, last, {})->draining.empty()) {
    end_all(w, job);
  }
}

const Life kLives[] = {
    {"widened-and-narrowed", [](World& w) { w.host().auto_exit = false; }, &widen_and_narrow, "DONE"},
    {"cancelled-while-it-is-widened",
     [](World& w) {
       w.host().auto_exit = false;
       w.host().idle = {"1.1/cell[4]+1"};  // so that it rests in STARTING
     },
     [](World& w, const std::string& job) {
       if (w.state_of(job) != "RUNNING") return;
       if (!w.labs().rewiring(w.user, job, 1, {}))
         (void)give_cells(w, job, 5);
       else
         (void)w.jobs().cancel(w.user, job);
     },
     "CANCELLED"},
    {"rewired", [](World& w) { w.host().auto_exit = false; }, &rewire_twice, "DONE"},
    {"cancelled-while-it-is-rewired", [](World& w) { w.host().auto_exit = false; },
     [](World& w, const std::string& job) {
       if (w.state_of(job) == "RUNNING") (void)cut_the_ring(w, job);
       (void)w.jobs().cancel(w.user, job);
     },
     "CANCELLED"},
    {"faults-at-each-state",
     [](World& w) {
       for (const auto* call : {"ensure_lab", "ensure_node", "wire", "proc.start", "file.get"})
         w.host().fail[call].push_back(Error(ErrorCode::kUnavailable, "not now"));
     },
     [](World&, const std::string&) {}, "DONE", [] { return plain_job(4, 2, R"(<limit retries="5"/>)"); }},
    {"cancelled-in-the-queue", [](World&) {},
     [](World& w, const std::string& job) { (void)w.jobs().cancel(w.user, job); }, "CANCELLED",
     [] { return plain_job(100, 100); }},
    {"impossible", [](World&) {}, [](World&, const std::string&) {}, "FAILED", &impossible_job},
    {"plain", [](World&) {}, [](World&, const std::string&) {}, "DONE"},
    {"failed-build", [](World& w) { w.host().build_fails = true; }, [](World&, const std::string&) {},
     "FAILED"},
    {"failed-process", [](World& w) { w.host().exit_code = 2; }, [](World&, const std::string&) {}, "FAILED"},
    {"cancelled", [](World& w) { w.host().auto_exit = false; },
     [](World& w, const std::string& job) { (void)w.jobs().cancel(w.user, job); }, "CANCELLED"},
    {"wall-time", [](World& w) { w.host().auto_exit = false; },
     [](World& w, const std::string&) { w.clock.advance(std::chrono::minutes(10)); }, "FAILED"},
    {"node-lost", [](World& w) { w.host().auto_exit = false; },
     [](World& w, const std::string& job) {
       const auto detail = w.job(job);
       if (detail.job.state == "RUNNING" && detail.job.attempt == 1)
         w.host().lose_node(detail.job.lab, "node-1");
       else
         for (int i = 0; i < 4; ++i)
           w.host().exit_process(
               job + "." + std::to_string(detail.job.attempt) + "/cell[" + std::to_string(i) + "]", 0);
     },
     "DONE"},
    {"always-lost", [](World& w) { w.host().auto_exit = false; },
     [](World& w, const std::string& job) {
       const auto detail = w.job(job);
       if (detail.job.state == "RUNNING") w.host().lose_node(detail.job.lab, "node-0");
     },
     "FAILED"},
};

class Crash : public ::testing::TestWithParam<std::tuple<std::string, std::size_t>> {};

TEST_P(Crash, EndsRightAndLeavesNothing) {
  const auto& [point, number] = GetParam();
  const auto& life = kLives[number];
  World world;
  life.prepare(world);
  world.start(point);
  const auto profile = life.profile();
  std::string id;
  bool died = false;
  try {
    id = world.submit(profile, "the-request");
  } catch (const Died&) {
    died = true;
  }
  // Until the end, at most a few turns: whatever dies once is started again.
  for (int turn = 0; turn < 40; ++turn) {
    if (died || world.pump()) {
      world.restart();
      died = false;
      id = world.submit(profile, "the-request");
      continue;
    }
    const auto state = world.state_of(id);
    if (state == "DONE" || state == "FAILED" || state == "CANCELLED") break;
    try {
      life.meanwhile(world, id);
    } catch (const Died&) {
      died = true;
      continue;
    }
    died = world.advance(std::chrono::seconds(1));
  }
  const auto detail = world.job(id);
  EXPECT_EQ(detail.job.state, life.end) << detail.job.reason;
  EXPECT_EQ(world.jobs().jobs(world.user, true)->size(), 1U) << "submitted once";
  EXPECT_THAT(world.state.violations, IsEmpty());
  EXPECT_THAT(world.leftovers(), IsEmpty());
  if (detail.job.state == "DONE") {
    const auto results = *world.jobs().results(world.user, id);
    ASSERT_EQ(results.size(), 1U);
    EXPECT_EQ(*world.blobs.read_whole(results[0].digest, 1000),
              "result.txt of " + id + "." + std::to_string(detail.job.attempt) + "/cell[0]")
        << "the results of exactly one attempt";
  }
  // Another restart changes nothing, and the store lets go of it.
  world.restart();
  world.pump();
  EXPECT_EQ(world.state_of(id), life.end);
  EXPECT_TRUE(world.jobs().remove(world.user, id));
  EXPECT_TRUE(world.store->list("jobs/")->empty());
  EXPECT_TRUE(world.store->list("labs/")->empty());
  EXPECT_TRUE(world.store->list("plans/")->empty());
  EXPECT_TRUE(world.store->list("ends/")->empty());
  EXPECT_TRUE(world.store->list("logs/job/")->empty());
  for (const auto* kind : {"rewires/", "graphs/", "wirings/", "graphs-next/", "wirings-next/", "plans-next/"})
    EXPECT_TRUE(world.store->list(kind)->empty()) << kind;
}

std::string name_of(const ::testing::TestParamInfo<Crash::ParamType>& info) {
  std::string name = kLives[std::get<1>(info.param)].name + ("_" + std::get<0>(info.param));
  for (auto& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(EveryPoint, Crash,
                         ::testing::Combine(::testing::ValuesIn(list_crash_points()),
                                            ::testing::Range(std::size_t{0}, std::size(kLives))),
                         &name_of);

// Every point must be reached by some life, or its tests prove nothing.
TEST(CrashCoverage, EveryPointIsReachedBySomeLife) {
  std::set<std::string> never;
  for (const auto& point : list_crash_points()) {
    bool reached = false;
    for (const auto& life : kLives) {
      if (reached) break;
      World world;
      life.prepare(world);
      world.start(point);
      try {
        const auto id = world.submit(life.profile());
        for (int turn = 0; turn < 12 && !reached; ++turn) {
          reached = world.pump();
          if (!reached) life.meanwhile(world, id);
          if (!reached) reached = world.advance(std::chrono::seconds(1));
        }
      } catch (const Died&) {
        reached = true;
      }
    }
    if (!reached) never.insert(point);
  }
  EXPECT_THAT(never, IsEmpty());
}

}  // namespace
}  // namespace mvm::broker
