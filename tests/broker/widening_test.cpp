// Roles of a running job widened and narrowed, on fake hosts.

#include <gmock/gmock.h>

#include "broker/world.h"
#include "mvm/broker/rewire_machine.h"

namespace mvm::broker {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr const char* kTopology = R"(<topology xmlns="urn:mvm:topology:1" name="farm">
  <param name="n" type="integer" min="1" default="2"/>
  <role name="source"><port name="out" direction="out"/></role>
  <role name="worker" count="${n}"><port name="in" direction="in"/><port name="out" direction="out"/></role>
  <role name="sink"><port name="in" direction="in"/></role>
  <link from="source.out" to="worker[*].in" name="work"/>
  <link from="worker[*].out" to="sink.in" name="done"/>
  </topology>)";

/// A source, workers and a sink on two nodes.
std::string farm(const std::string& machines = {}) {
  return R"(<lab xmlns="urn:mvm:lab:1" name="farm">)" + std::string(kTopology) + R"(
  <machines name="node" role="source worker sink" driver="lxc" image="host" count="2" vcpus="1" memory="256MiB" )" +
         machines + R"(/>
  <job xmlns="urn:mvm:job:1" name="farm">
    <program role="source"><run>/bin/true</run></program>
    <program role="worker"><source name="main.cpp">int main() {}</source><build command="g++ main.cpp -o w"/>
      <run>./w</run></program>
    <program role="sink"><run>/bin/true</run></program>
    <stage out="result.txt" from="worker[*]"/><limit retries="3"/>
  </job></lab>)";
}

soap::RewireRequest wide(const std::string& job, int n) {
  soap::RewireRequest request{.target = job, .profile = kTopology};
  request.settings["n"] = std::to_string(n);
  return request;
}

/// What a node's steps say of a process; null where they do not name it.
nlohmann::json entry_of(const nlohmann::json& steps, const std::string& proc) {
  for (const auto& process : steps.at("processes"))
    if (process.at("proc") == proc) return process;
  return nullptr;
}

std::vector<std::string> queues_at(const nlohmann::json& entry, const std::string& port) {
  std::vector<std::string> ids;
  for (const auto& one : entry.at("ports"))
    if (one.at("name") == port)
      for (const auto& end : one.at("ends")) ids.push_back(end.at("queue"));
  return ids;
}

class Widening : public ::testing::Test {
 protected:
  Widening() { world.host().auto_exit = false; }
  void TearDown() override { EXPECT_THAT(world.state.violations, IsEmpty()); }
  std::string run(const std::string& profile = farm()) {
    world.start();
    auto id = world.submit(profile);
    world.pump();
    EXPECT_EQ(world.state_of(id), "RUNNING") << world.log_of(id);
    return id;
  }
  soap::RewireView outcome(const std::string& job, std::uint64_t number) {
    auto view = world.labs().rewiring(world.user, job, number, {});
    EXPECT_TRUE(view) << view.error().describe();
    return view ? *view : soap::RewireView{};
  }
  void apply(const std::string& job, int n) {
    const auto begun = world.labs().rewire(world.user, wide(job, n));
    ASSERT_TRUE(begun) << begun.error().describe();
    world.pump();
  }
  std::string state_of_process(const std::string& job, const std::string& process) {
    std::string states;
    for (const auto& one : world.job(job).processes)
      if (one.process == process) states += (states.empty() ? "" : " ") + one.state;
    return states;
  }
  const nlohmann::json& wiring() { return world.host().wiring("1.1", ""); }
  World world;
};

TEST_F(Widening, NewProcessesStartAndJoin) {
  const auto id = run();
  auto dry = wide(id, 4);
  dry.dry_run = true;
  const auto planned = *world.labs().rewire(world.user, dry);
  EXPECT_EQ(planned.state, "planned");
  EXPECT_THAT(planned.steps,
              AllOf(Contains("start worker[2] in node node-0 on host alpha"),
                    Contains("start worker[3] in node node-1 on host alpha"),
                    Contains("join worker[3].in to work"), Contains("drain done, then remove its queues")));
  EXPECT_FALSE(world.host().running("1.1/worker[2]+1"));

  world.host().never_drained = true;
  apply(id, 4);
  EXPECT_EQ(outcome(id, 1).state, "switched");
  EXPECT_TRUE(world.host().running("1.1/worker[2]+1"));
  EXPECT_TRUE(world.host().running("1.1/worker[3]+1"));
  const auto old = entry_of(wiring(), "1.1/worker[0]");
  const auto fresh = entry_of(wiring(), "1.1/worker[3]+1");
  EXPECT_EQ(old.at("count"), 4);
  EXPECT_EQ(fresh.at("count"), 4);
  EXPECT_EQ(fresh.at("index"), 3);
  EXPECT_THAT(queues_at(old, "in"), ElementsAre("q0", "q2"))
      << "what is queued is still read by those who could";
  EXPECT_THAT(queues_at(fresh, "in"), ElementsAre("q2"));
  EXPECT_THAT(queues_at(fresh, "out"), ElementsAre("q3"));
  EXPECT_EQ(world.state.compiled.size(), 1U) << "one binary serves all";
  EXPECT_EQ(state_of_process(id, "worker[3]"), "running");
  world.host().never_drained = false;
  world.advance(std::chrono::seconds(3));

  // A new broker knows them, and the job ends with them.
  world.restart();
  world.pump();
  EXPECT_EQ(world.state_of(id), "RUNNING");
  for (const auto* process : {"source[0]", "worker[0]", "worker[1]", "sink[0]"})
    world.host().exit_process("1.1/" + std::string(process), 0);
  world.host().exit_process("1.1/worker[2]+1", 0);
  world.pump();
  EXPECT_EQ(world.state_of(id), "RUNNING") << "one works yet";
  world.host().exit_process("1.1/worker[3]+1", 3);
  world.pump();
  EXPECT_EQ(world.state_of(id), "FAILED");
  EXPECT_EQ(world.job(id).job.exit_code, 3);
  EXPECT_THAT(world.job(id).job.reason, HasSubstr("worker[3] ended with code 3"));
  EXPECT_THAT(*world.jobs().results(world.user, id), SizeIs(4)) << "all workers' files are results";
  EXPECT_THAT(world.leftovers(), IsEmpty());
}

TEST_F(Widening, WhereThereIsNoRoomItIsRefusedWithTheReason) {
  const auto id = run(farm(R"(processes="16")"));
  const auto before = wiring();
  const auto refused = world.labs().rewire(world.user, wide(id, 31)).error();
  EXPECT_EQ(refused.code(), ErrorCode::kNoPlacement);
  EXPECT_THAT(refused.message(), HasSubstr("no room for worker[30]"));
  EXPECT_THAT(refused.message(), HasSubstr("node node-1 has 16 processes, at most 16 are allowed on it"));
  EXPECT_EQ(wiring(), before);
  apply(id, 30);
  EXPECT_EQ(outcome(id, 1).state, "switched");
}

TEST_F(Widening, ABuildThatIsNoLongerCachedIsARefusal) {
  const auto id = run();
  // Its output is lost from the store.
  std::vector<std::filesystem::path> outputs;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(world.folder / "blobs"))
    if (entry.is_regular_file() && read_file(entry.path(), 1000).value_or("").starts_with("binary of"))
      outputs.push_back(entry.path());
  ASSERT_THAT(outputs, SizeIs(1));
  std::filesystem::remove(outputs[0]);
  const auto refused = world.labs().rewire(world.user, wide(id, 3)).error();
  EXPECT_EQ(refused.code(), ErrorCode::kNoPlacement);
  EXPECT_THAT(refused.message(), HasSubstr("the program of worker[2] is not in the cache"));
}

TEST_F(Widening, ANewProcessThatCannotStartUndoesAllOfIt) {
  const auto id = run();
  const auto before = wiring();
  world.host().fail["proc.start"] = {Error(ErrorCode::kExhausted, "no memory for a process")};
  apply(id, 4);
  EXPECT_EQ(outcome(id, 1).state, "undone");
  EXPECT_THAT(outcome(id, 1).reason, HasSubstr("no memory for a process"));
  EXPECT_EQ(wiring().at("processes"), before.at("processes"));
  EXPECT_EQ(wiring().at("queues"), before.at("queues"));
  for (const auto* process : {"1.1/worker[2]+1", "1.1/worker[3]+1"})
    EXPECT_FALSE(world.host().running(process));
  EXPECT_EQ(state_of_process(id, "worker[2]"), "");
  apply(id, 3);
  EXPECT_EQ(outcome(id, 2).state, "switched");
  EXPECT_TRUE(world.host().running("1.1/worker[2]+2"));
  EXPECT_FALSE(world.host().running("1.1/worker[2]+1"));
}

TEST_F(Widening, ANewProcessThatFailsBeforeItJoinsUndoesAllOfIt) {
  const auto id = run();
  const auto before = wiring();
  world.host().idle = {"1.1/worker[2]+1"};
  apply(id, 4);
  EXPECT_EQ(outcome(id, 1).state, "preparing") << "it has not come for its links";
  EXPECT_EQ(entry_of(wiring(), "1.1/worker[0]"), entry_of(before, "1.1/worker[0]"))
      << "nobody else has seen it";
  world.restart();
  world.pump();
  EXPECT_EQ(outcome(id, 1).state, "preparing");
  world.host().exit_process("1.1/worker[2]+1", 0, 11);
  world.advance(std::chrono::seconds(1));
  EXPECT_EQ(outcome(id, 1).state, "undone");
  EXPECT_THAT(outcome(id, 1).reason, HasSubstr("the new process worker[2] was ended by signal 11"));
  EXPECT_FALSE(world.host().running("1.1/worker[3]+1"));
  EXPECT_EQ(wiring().at("processes"), before.at("processes"));
  EXPECT_EQ(world.state_of(id), "RUNNING");
}

TEST_F(Widening, ANewProcessThatNeverJoinsUndoesAllOfIt) {
  const auto id = run();
  world.host().idle = {"1.1/worker[2]+1"};
  apply(id, 3);
  world.advance(std::chrono::seconds(29));
  EXPECT_EQ(outcome(id, 1).state, "preparing");
  world.advance(std::chrono::seconds(3));
  EXPECT_EQ(outcome(id, 1).state, "undone");
  EXPECT_THAT(outcome(id, 1).reason, HasSubstr("the new process worker[2] has not joined its links in time"));
  EXPECT_FALSE(world.host().running("1.1/worker[2]+1"));
}

TEST_F(Widening, ANewProcessThatHasDoneItsWorkAlreadyIsNotWaitedFor) {
  const auto id = run();
  world.host().idle = {"1.1/worker[2]+1"};
  apply(id, 3);
  world.host().exit_process("1.1/worker[2]+1", 0);
  world.advance(std::chrono::seconds(3));
  EXPECT_EQ(outcome(id, 1).state, "switched");
  EXPECT_EQ(state_of_process(id, "worker[2]"), "exited");
  world.restart();
  world.pump();
  for (const auto* process : {"source[0]", "worker[0]", "worker[1]", "sink[0]"})
    world.host().exit_process("1.1/" + std::string(process), 0);
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE");
}

TEST_F(Widening, TheHighestIndicesLeave) {
  const auto id = run();
  apply(id, 4);
  world.advance(std::chrono::seconds(3));
  world.host().never_drained = true;
  auto dry = wide(id, 2);
  dry.dry_run = true;
  EXPECT_THAT(world.labs().rewire(world.user, dry)->steps,
              AllOf(Contains("let worker[3] read what is queued for it, and end"),
                    Not(Contains(HasSubstr("part worker[3]")))));
  apply(id, 2);
  EXPECT_EQ(outcome(id, 2).state, "switched");
  EXPECT_EQ(entry_of(wiring(), "1.1/worker[0]").at("count"), 2);
  const auto leaving = entry_of(wiring(), "1.1/worker[3]+1");
  ASSERT_FALSE(leaving.is_null());
  EXPECT_THAT(queues_at(leaving, "in"), ElementsAre("q2")) << "what it has is still read";
  EXPECT_THAT(queues_at(leaving, "out"), ElementsAre("q3")) << "and what comes of it is still sent";
  EXPECT_EQ(state_of_process(id, "worker[3]"), "leaving");
  EXPECT_EQ(world.labs().rewire(world.user, wide(id, 4)).error().code(), ErrorCode::kNoPlacement)
      << "there would be two of them";
  world.restart();
  world.pump();
  world.host().exit_process("1.1/worker[3]+1", 0);
  world.pump();
  EXPECT_EQ(state_of_process(id, "worker[3]"), "left");
  EXPECT_TRUE(entry_of(wiring(), "1.1/worker[3]+1").is_null());
  EXPECT_FALSE(entry_of(wiring(), "1.1/worker[2]+1").is_null());
  world.host().exit_process("1.1/worker[2]+1", 0);
  world.host().never_drained = false;
  world.advance(std::chrono::seconds(5));
  EXPECT_THAT(wiring().at("queues"), SizeIs(2));
  EXPECT_THAT(wiring().at("processes"), SizeIs(4));

  // Widened again: another process of that name.
  apply(id, 3);
  EXPECT_EQ(outcome(id, 3).state, "switched");
  EXPECT_TRUE(world.host().running("1.1/worker[2]+3"));
  EXPECT_EQ(state_of_process(id, "worker[2]"), "running left");
  for (const auto* process : {"source[0]", "worker[0]", "worker[1]", "sink[0]", "worker[2]+3"})
    world.host().exit_process("1.1/" + std::string(process), 0);
  world.pump();
  EXPECT_EQ(world.state_of(id), "DONE");
  EXPECT_EQ(state_of_process(id, "worker[3]"), "left");
}

TEST_F(Widening, WhoLeavesWithAnErrorFailsTheJobAtItsEnd) {
  const auto id = run();
  apply(id, 1);
  world.host().exit_process("1.1/worker[1]", 5);
  world.pump();
  EXPECT_EQ(world.state_of(id), "RUNNING");
  for (const auto* process : {"source[0]", "worker[0]", "sink[0]"})
    world.host().exit_process("1.1/" + std::string(process), 0);
  world.pump();
  EXPECT_EQ(world.state_of(id), "FAILED");
  EXPECT_EQ(world.job(id).job.exit_code, 5);
  EXPECT_THAT(world.job(id).job.reason, HasSubstr("worker[1] ended with code 5"));
}

TEST_F(Widening, WhoDoesNotLeaveInTimeIsEnded) {
  const auto id = run();
  auto request = wide(id, 1);
  request.deadline = std::chrono::seconds(5);
  ASSERT_TRUE(world.labs().rewire(world.user, request));
  world.pump();
  EXPECT_EQ(outcome(id, 1).state, "switched");
  world.advance(std::chrono::seconds(4));
  EXPECT_EQ(state_of_process(id, "worker[1]"), "leaving");
  world.restart();
  world.pump();
  EXPECT_EQ(state_of_process(id, "worker[1]"), "leaving");
  world.host().deaf = {"1.1/worker[1]"};
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(state_of_process(id, "worker[1]"), "leaving") << "it does not hear that it is to end";
  world.advance(std::chrono::seconds(12));
  EXPECT_EQ(state_of_process(id, "worker[1]"), "left");
  EXPECT_TRUE(entry_of(wiring(), "1.1/worker[1]").is_null());
  for (const auto* process : {"source[0]", "worker[0]", "sink[0]"})
    world.host().exit_process("1.1/" + std::string(process), 0);
  world.pump();
  EXPECT_EQ(world.state_of(id), "FAILED");
  EXPECT_EQ(world.job(id).job.exit_code, 137);
}

TEST_F(Widening, ANewAttemptHasTheNewRole) {
  const auto id = run();
  apply(id, 4);
  apply(id, 3);
  world.host().lose_node(world.job(id).job.lab, "node-1");
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(world.job(id).job.attempt, 2U);
  EXPECT_EQ(world.state_of(id), "RUNNING");
  EXPECT_TRUE(world.host().running("1.2/worker[2]"));
  EXPECT_FALSE(world.host().running("1.2/worker[3]"));
  EXPECT_EQ(state_of_process(id, "worker[3]"), "");
}

// The broker dies at every point of a widening and a narrowing: the job ends up wholly in its old or wholly
// in its new wiring, and nobody runs that is not of it.
class WideningCrash : public ::testing::TestWithParam<std::tuple<std::string, bool>> {};

TEST_P(WideningCrash, EndsInTheOldOrTheNewWiring) {
  const auto& [point, narrow] = GetParam();
  World world;
  world.host().auto_exit = false;
  world.start();
  const auto id = world.submit(farm());
  world.pump();
  world.restart(point);
  bool died = world.pump();
  try {
    if (!died) (void)world.labs().rewire(world.user, wide(id, narrow ? 1 : 4));
    died = died || world.pump();
    if (!died && narrow) world.host().exit_process("1.1/worker[1]", 0);
    died = died || world.advance(std::chrono::seconds(5));
  } catch (const Died&) {
    died = true;
  }
  if (!died) return;  // a point of another way
  world.restart();
  world.pump();
  world.advance(std::chrono::seconds(5));
  EXPECT_EQ(world.state_of(id), "RUNNING");
  const auto running = [&](const std::string& process) { return world.host().running("1.1/" + process); };
  const auto& now = world.host().wiring("1.1", "");
  const auto count = entry_of(now, "1.1/worker[0]").at("count").get<int>();
  EXPECT_THAT(now.at("queues"), SizeIs(2));
  EXPECT_TRUE(running("worker[0]"));
  if (count == 2) {
    EXPECT_FALSE(running("worker[2]+1"));
    EXPECT_FALSE(running("worker[3]+1"));
    EXPECT_THAT(now.at("processes"), SizeIs(4));
  } else if (narrow) {
    EXPECT_EQ(count, 1);
    if (running("worker[1]")) world.host().exit_process("1.1/worker[1]", 0);
    world.advance(std::chrono::seconds(1));
    EXPECT_THAT(world.host().wiring("1.1", "").at("processes"), SizeIs(3));
  } else {
    EXPECT_EQ(count, 4);
    EXPECT_TRUE(running("worker[2]+1"));
    EXPECT_TRUE(running("worker[3]+1"));
    EXPECT_THAT(now.at("processes"), SizeIs(6));
  }
  EXPECT_THAT(world.state.violations, IsEmpty());
}

std::vector<std::string> rewire_points() {
  std::vector<std::string> points;
  for (const auto& point : list_crash_points())
    for (const auto* mark : {"rewire", "STEADY", "PREPARING", "STARTING"})
      if (point.find(mark) != std::string::npos && (points.empty() || points.back() != point))
        points.push_back(point);
  return points;
}

INSTANTIATE_TEST_SUITE_P(EveryPoint, WideningCrash,
                         ::testing::Combine(::testing::ValuesIn(rewire_points()), ::testing::Bool()),
                         [](const auto& point) {
                           std::string name = std::get<0>(point.param) +
                                              (std::get<1>(point.param) ? "_narrowed" : "_widened");
                           for (auto& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace mvm::broker
