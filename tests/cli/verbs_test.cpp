// Every verb that asks the broker: its table, its JSON, its exit code.

#include "cli/cli_fixture.h"

namespace mvm::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kStart = 1'700'000'000'000;  // 2023-11-14 22:13:20 UTC

/// A broker whose jobs a test states in full.
class Verbs : public CliTest {
 public:
  void SetUp() override {
    CliTest::SetUp();
    broker.vm_list = {
        {.lab = "lab-1",
         .node = "cell-0",
         .host = "alpha",
         .driver = "lxc",
         .image = "host",
         .state = "running",
         .address = "10.181.7.2",
         .wsdl = "http://10.181.7.2:7781/?wsdl",
         .boot = "kernel up",
         .vcpus = 2,
         .memory = 256ULL << 20},
        {.lab = "lab-2", .node = "cell-0", .host = "beta", .driver = "qemu", .state = "paused"},
        {.lab = "lab-2", .node = "sink-0", .host = "beta", .driver = "qemu", .state = "running"}};
    broker.link_list = {{.lab = "lab-1",
                         .link = "ring[0]",
                         .from = "cell[0].to-right",
                         .to = "cell[1].from-left",
                         .type = "fifo",
                         .deliver = "one-of",
                         .when_full = "block",
                         .transport = "tcp",
                         .codec = "zstd:3 encrypt",
                         .forced = "tcp",
                         .capacity = 256}};
    broker.queue_list = {{.lab = "lab-1",
                          .job = "1",
                          .link = "ring[0]",
                          .where = "alpha",
                          .depth = 1,
                          .capacity = 4,
                          .bytes = 2048,
                          .enqueued = 10,
                          .dequeued = 9},
                         {.lab = "lab-1",
                          .job = "1",
                          .link = "ring[1]",
                          .where = "alpha",
                          .depth = 4,
                          .capacity = 4,
                          .bytes = 8192,
                          .enqueued = 10,
                          .dequeued = 6,
                          .dropped = 2,
                          .waiting = "cell[1] waits to put",
                          .bytes_enqueued = 9000,
                          .bytes_dequeued = 808,
                          .latency_samples = 6,
                          .latency_p50_ns = 850,
                          .latency_p99_ns = 12'345}};
    broker.host_list = {{.name = "alpha",
                         .state = "up",
                         .architecture = "x86_64",
                         .vcpus = 8,
                         .vcpus_used = 2,
                         .memory = 16ULL << 30,
                         .memory_used = 256ULL << 20,
                         .drivers = {"lxc", "qemu (tcg)"},
                         .images = {"host"}}};
    broker.build_list = {
        {.key = "3f2a91c0ffee00",
         .state = "cached",
         .role = "cell",
         .image = "host",
         .architecture = "x86_64",
         .command = "g++ heat.cpp -o heat",
         .node = "cell-0",
         .digest = "ab12",
         .at_ms = kStart,
         .size = 1536,
         .wall_ms = 2'500,
         .hits = 3},
        {.key = "3f2a92", .state = "failed", .role = "sink", .command = "false", .at_ms = kStart}};
  }
  std::string add_lab() { return *broker.create_lab({"ada", "user", ""}, {}); }
};

// ---- hosts

TEST_F(Verbs, HostInviteSaysWhatToRunThere) {
  const Ran ran = run({"host", "invite", "h2", "--valid", "10m"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("mvmd --join https://10.0.0.1:7780 --token mvm1-token --name h2"));
  const auto json = run({"host", "invite", "-o", "json"}).json();
  EXPECT_EQ(json["token"], "mvm1-token");
  EXPECT_EQ(json["broker"], "https://10.0.0.1:7780");
  EXPECT_THAT(broker.hosts_asked, testing::ElementsAre("invite h2 600", "invite  3600"));
  EXPECT_EQ(run({"host", "invite", "--valid", "soon"}).code, kBadInput);
}

TEST_F(Verbs, HostsAreDrainedEnabledAndRemoved) {
  EXPECT_THAT(run({"host", "drain", "alpha", "beta"}).out, HasSubstr("drained"));
  EXPECT_EQ(run({"host", "enable", "alpha"}).code, kDone);
  EXPECT_EQ(run({"host", "remove", "beta"}).code, kDone);
  EXPECT_EQ(run({"host", "remove", "--force", "gamma"}).code, kDone);
  EXPECT_THAT(broker.hosts_asked, testing::ElementsAre("drain alpha", "drain beta", "enable alpha",
                                                       "remove beta", "force gamma"));
  const Ran unknown = run({"host", "remove", "h9"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("mvm host list"));
  EXPECT_EQ(run({"host", "drain"}).code, kBadInput);
}

// ---- jobs

TEST_F(Verbs, JobListIsTheTableOfTheContract) {
  add_job();
  const std::string waiting = add_job("SUBMITTED", "");
  broker.set_state(waiting, "SUBMITTED", "no host has 8 vcpus free");
  const Ran ran = run({"job", "list"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out,
            "JOBID  LAB    NAME  USER  ST  TIME  NODES  WHERE(REASON)\n"
            "1      lab-1  job   ada   R   0:00      0  -\n"
            "2      lab-2  job   ada   PD  0:00      0  (no host has 8 vcpus free)\n");
  EXPECT_EQ(ran.err, "");
}

TEST_F(Verbs, ALongReasonIsCutInTheTableOnly) {
  const std::string reason = "build failed: " + std::string(300, 'x');
  add_job("FAILED", reason);
  const Ran table = run({"job", "list", "-a"});
  EXPECT_THAT(table.out, HasSubstr("(build failed: xxx"));
  EXPECT_THAT(table.out, testing::EndsWith("x…\n"));
  EXPECT_LT(table.out.size(), 250U);
  EXPECT_EQ(run({"job", "list", "-a", "-o", "json"}).json()["items"][0]["reason"], reason);
}

TEST_F(Verbs, JobListAsJson) {
  add_job();
  EXPECT_EQ(run({"job", "list", "-o", "json"}).out, R"({
  "schema": "mvm.job/1",
  "items": [
    {
      "id": "1",
      "lab": "lab-1",
      "name": "job",
      "user": "ada",
      "state": "RUNNING",
      "time_ms": 0,
      "nodes": 0,
      "where": [],
      "reason": "",
      "submitted": "2023-11-14T22:13:20.001Z",
      "started": "",
      "ended": "",
      "attempt": 0,
      "exit_code": 0,
      "cancel_asked": false,
      "progress": ""
    }
  ]
}
)");
}

TEST_F(Verbs, JobListLeavesEndedJobsOutUnlessAsked) {
  add_job("DONE");
  add_job("RUNNING");
  EXPECT_EQ(run({"job", "list", "-o", "json"}).json()["items"].size(), 1U);
  EXPECT_EQ(run({"job", "list", "--all", "-o", "json"}).json()["items"].size(), 2U);
  EXPECT_EQ(run({"job", "list", "-a", "--user", "bob", "-o", "json"}).json()["items"].size(), 0U);
  EXPECT_EQ(run({"job", "list", "-a", "--lab", "lab-2", "-o", "json"}).json()["items"].size(), 1U);
}

TEST_F(Verbs, JobStatus) {
  const std::string id = add_job();
  broker.add_process(id, {"cell[0]", "node-0", "exited", 3, 0, 1'000, 500, 4 << 20});
  broker.add_process(id, {"cell[1]", "node-0", "killed", 137, 9, 0, 0, 0});
  broker.set_state(id, "FAILED", "cell[0] failed", 137);
  const Ran ran = run({"job", "status", id});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out,
            "Job        1\n"
            "Name       job\n"
            "Lab        lab-1\n"
            "User       ada\n"
            "State      FAILED\n"
            "Progress   -\n"
            "Reason     cell[0] failed\n"
            "Time       0:00\n"
            "Submitted  2023-11-14 22:13:20\n"
            "Started    -\n"
            "Ended      2023-11-14 22:13:20\n"
            "Attempt    0\n"
            "Nodes      0\n"
            "Hosts      -\n"
            "Exit code  137\n"
            "Processes  cell[0] on node-0: exited with 3, cpu 0:01, memory 4 MiB\n"
            "           cell[1] on node-0: killed by signal 9, cpu 0:00\n");
  const Json json = run({"job", "status", id, "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.job-status/1");
  EXPECT_EQ(json["exit_code"], 137);
  EXPECT_EQ(json["processes"][1]["signal"], 9);
  EXPECT_EQ(json["processes"][0]["max_rss"], 4 << 20);
}

TEST_F(Verbs, JobWhyAndHistory) {
  const std::string id = add_job("FAILED", "build of cell failed");
  EXPECT_EQ(run({"job", "why", id}).out,
            "Job    1\n"
            "State  FAILED\n"
            "Why    build of cell failed\n");
  EXPECT_EQ(run({"job", "why", id, "-o", "jsonl"}).out,
            "{\"schema\":\"mvm.job-why/1\",\"id\":\"1\",\"state\":\"FAILED\",\"why\":[\"build of cell "
            "failed\"]}\n");
  EXPECT_EQ(run({"job", "history", id}).out,
            "WHEN                 ATTEMPT  FROM       TO         REASON\n"
            "2023-11-14 22:13:20        0  -          SUBMITTED  -\n"
            "2023-11-14 22:13:20        1  SUBMITTED  FAILED     build of cell failed\n");
  EXPECT_EQ(run({"job", "history", id, "-o", "json"}).json()["items"][1]["to"], "FAILED");
}

TEST_F(Verbs, UnknownJobSaysWhatToTry) {
  const Ran ran = run({"job", "status", "77"});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err, "mvm: error: no job 77\ntry: mvm job list --all\n");
}

TEST_F(Verbs, CancelOfSeveralSucceedsInPart) {
  const std::string first = add_job();
  const std::string ended = add_job("DONE");
  const Ran ran = run({"job", "cancel", first, ended});
  EXPECT_EQ(ran.code, kPartly);
  EXPECT_EQ(ran.out, "job 1 cancelled\n");
  EXPECT_EQ(ran.err, "mvm: error: job 2: job 2 has already ended\n");
  EXPECT_EQ(run({"job", "cancel", ended}).code, kOperationFailed);
}

TEST_F(Verbs, CancelDryRunCancelsNothing) {
  const std::string id = add_job();
  const Ran ran = run({"job", "cancel", "--dry-run", id});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_EQ(ran.out, "job 1 would be cancelled\n");
  EXPECT_EQ(broker.job({}, id)->job.state, "RUNNING");
}

TEST_F(Verbs, CancelAsJson) {
  const std::string id = add_job();
  EXPECT_EQ(run({"job", "cancel", id, "-o", "jsonl"}).out,
            "{\"schema\":\"mvm.job-action/1\",\"id\":\"1\",\"done\":true,\"error\":\"\"}\n");
}

TEST_F(Verbs, RemoveRefusesARunningJob) {
  const std::string id = add_job();
  const Ran ran = run({"job", "remove", id});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_EQ(ran.err, "mvm: error: job 1 still runs\ntry: mvm job cancel 1\n");
  broker.set_state(id, "DONE");
  EXPECT_EQ(run({"job", "remove", id}).out, "job 1 removed\n");
}

TEST_F(Verbs, ResultsAreFetchedAndListed) {
  const std::string id = add_job("DONE");
  broker.add_result(id, "out/result.csv", std::string(3000, 'x'));
  const Ran listed = run({"job", "result", id, "--list"});
  EXPECT_EQ(listed.out,
            "NAME            PROCESS     SIZE\n"
            "out/result.csv  cell[0]  2.9 KiB\n");
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  const Ran fetched = run({"job", "result", id, "-o", "json"});
  EXPECT_EQ(fetched.code, kDone) << fetched.err;
  EXPECT_EQ(read(folder / "out/result.csv"), std::string(3000, 'x'));
  EXPECT_EQ(fetched.json()["items"][0]["size"], 3000);
  EXPECT_EQ(fetched.json()["items"][0]["file"], (folder / "out/result.csv").string());
}

TEST_F(Verbs, ResultsNeverLeaveTheirFolder) {
  const std::string id = add_job("DONE");
  for (const char* name : {"../evil", "/tmp/mvm-cli-evil", "a/../../evil", ""}) {
    const std::string job = add_job("DONE");
    broker.add_result(job, name, "evil");
    const Ran ran = run({"job", "result", job, "--out", (folder / "in").string()});
    EXPECT_EQ(ran.code, kOperationFailed) << name;
    EXPECT_THAT(ran.err, HasSubstr("leads out of the folder"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "evil"));
}

TEST_F(Verbs, ResultWithOtherBytesThanItsDigestIsRefused) {
  const std::string id = add_job("DONE");
  broker.add_result(id, "result.csv", "right");
  broker.corrupt(sha256_hex("right"), "wrong");
  const Ran ran = run({"job", "result", id});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_THAT(ran.err, HasSubstr("other bytes than its digest names"));
  EXPECT_FALSE(std::filesystem::exists(folder / "result.csv"));
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    EXPECT_THAT(entry.path().string(), Not(HasSubstr(".part-")));
  }
}

TEST_F(Verbs, ResultsOfOneNameHaveFoldersOfTheirProcesses) {
  const std::string id = add_job("DONE");
  broker.add_result(id, "r", "zero");
  broker.add_result(id, "r", "one", "cell[1]");
  EXPECT_EQ(run({"job", "result", id}).code, kDone);
  EXPECT_EQ(read(folder / "cell[0]/r"), "zero");
  EXPECT_EQ(read(folder / "cell[1]/r"), "one");
}

// ---- labs

TEST_F(Verbs, LabList) {
  const std::string id = add_lab();
  EXPECT_EQ(run({"lab", "list"}).out,
            "LAB    NAME  USER  STATE  NODES  JOBS  SUBNET         LIVES            CREATED\n"
            "lab-1  lab   ada   UP         0     0  10.181.7.0/24  until destroyed  2023-11-14 22:13:20\n");
  const Json json = run({"lab", "list", "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.lab/1");
  EXPECT_EQ(json["items"][0]["ephemeral"], false);
}

TEST_F(Verbs, LabInspectByNameOrId) {
  add_lab();
  const Ran by_name = run({"lab", "inspect", "lab"});
  EXPECT_EQ(by_name.code, kDone) << by_name.err;
  EXPECT_THAT(by_name.out, HasSubstr("Links    1\n"));
  EXPECT_THAT(by_name.out, HasSubstr("lab-1  cell-0  alpha  lxc"));
  const Json json = run({"lab", "inspect", "lab-1", "-o", "json"}).json();
  EXPECT_EQ(json["vms"][0]["memory"], 256 << 20);
  EXPECT_EQ(json["links"][0]["when_full"], "block");
}

TEST_F(Verbs, LabOfAnUnknownOrAmbiguousName) {
  add_lab();
  EXPECT_EQ(run({"lab", "inspect", "lab-2"}).err,
            "mvm: error: found no lab 'lab-2'; did you mean lab-1?\ntry: mvm lab list\n");
  add_lab();
  const Ran ran = run({"lab", "inspect", "lab"});
  EXPECT_EQ(ran.code, kBadInput);
  EXPECT_THAT(ran.err, HasSubstr("found 2 labs named 'lab'; expected one: name it by id: lab-1, lab-2"));
}

TEST_F(Verbs, LabGraphInEveryForm) {
  add_lab();
  EXPECT_EQ(run({"lab", "graph", "lab-1", "-o", "dot"}).out, "digraph lab {}\n");
  const std::string file = (folder / "lab.svg").string();
  EXPECT_EQ(run({"lab", "graph", "lab-1", "-o", "svg", "--out", file}).out, "");
  EXPECT_THAT(read(file), HasSubstr("<svg>"));
  EXPECT_EQ(run({"lab", "graph", "lab-1", "-o", "json"}).json()["vms"].size(), 1U);
}

TEST_F(Verbs, LabDestroy) {
  add_lab();
  EXPECT_EQ(run({"lab", "destroy", "lab-1", "--dry-run"}).out, "lab lab-1 would be destroyed\n");
  EXPECT_EQ(broker.labs({})->size(), 1U);
  EXPECT_EQ(run({"lab", "destroy", "lab-1"}).out, "lab lab-1 destroyed\n");
  EXPECT_EQ(broker.labs({})->size(), 0U);
  EXPECT_EQ(run({"lab", "destroy", "lab-1"}).code, kOperationFailed);
}

// ---- VMs, links, queues

TEST_F(Verbs, VmList) {
  add_lab();
  EXPECT_EQ(run({"vm", "list", "lab-1"}).out,
            "LAB    NODE    HOST   DRIVER  IMAGE  STATE    VCPUS   MEMORY  ADDRESS\n"
            "lab-1  cell-0  alpha  lxc     host   running      2  256 MiB  10.181.7.2\n");
  EXPECT_EQ(run({"vm", "list", "-o", "json"}).json()["items"].size(), 3U);
  EXPECT_EQ(run({"vm", "list", "--lab", "lab-1", "-o", "json"}).json()["items"].size(), 1U);
}

TEST_F(Verbs, VmByNodeWhereItIsUnique) {
  broker.console_text = "Linux\nlogin: ";
  EXPECT_EQ(run({"vm", "console", "sink-0"}).out, "Linux\nlogin: ");
  const Ran two = run({"vm", "console", "cell-0"});
  EXPECT_EQ(two.code, kBadInput);
  EXPECT_THAT(two.err, HasSubstr("expected one of lab-1/cell-0, lab-2/cell-0"));
  EXPECT_THAT(run({"vm", "console", "sonk-0"}).err, HasSubstr("did you mean sink-0?"));
  EXPECT_EQ(run({"vm", "console", "sink-0", "-o", "json"}).json()["text"], "Linux\nlogin: ");
}

TEST_F(Verbs, ConsoleOfAVmCannotDriveOurTerminal) {
  broker.console_text = "\x1b]0;owned\x07ok\n";
  out_is_terminal = true;
  EXPECT_EQ(run({"vm", "console", "sink-0"}).out, "?]0;owned?ok\n");
}

TEST_F(Verbs, ExecReturnsTheProgramsCodeAndStreams) {
  add_lab();
  broker.exec_page = {.pieces = {{.stream = "out", .text = "hello\n"}, {.stream = "err", .text = "oops\n"}},
                      .cursor = 2,
                      .ended = true,
                      .code = 42};
  input = "stdin";
  const Ran ran = run({"vm", "exec", "-i", "lab-1/cell-0", "--", "sh", "-c", "exit 42"});
  EXPECT_EQ(ran.code, 42);
  EXPECT_EQ(ran.out, "hello\n");
  EXPECT_EQ(ran.err, "oops\n");
  EXPECT_EQ(broker.last_exec().argv, (std::vector<std::string>{"sh", "-c", "exit 42"}));
  EXPECT_EQ(broker.last_exec().input, "stdin");
  const Json json = run({"vm", "exec", "sink-0", "-o", "json", "--", "ls", "-o", "table"}).json();
  EXPECT_EQ(json["code"], 42);
  EXPECT_EQ(json["out"], "hello\n");
  EXPECT_EQ(broker.last_exec().argv, (std::vector<std::string>{"ls", "-o", "table"}));
  EXPECT_EQ(broker.last_exec().input, "");
}

TEST_F(Verbs, ExecTakesNoMoreInputThanItMay) {
  input = std::string((1 << 20) + 1, 'x');
  const Ran ran = run({"vm", "exec", "-i", "sink-0", "--", "cat"});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_THAT(ran.err, HasSubstr("more than 1 MiB"));
}

TEST_F(Verbs, SuspendAndResume) {
  EXPECT_EQ(run({"vm", "suspend", "sink-0"}).out, "vm sink-0 suspended\n");
  EXPECT_EQ(broker.last_suspend(), "lab-2/sink-0 off");
  EXPECT_EQ(run({"vm", "resume", "sink-0"}).out, "vm sink-0 resumed\n");
  EXPECT_EQ(broker.last_suspend(), "lab-2/sink-0 on");
}

TEST_F(Verbs, LinkListAndQueueTop) {
  add_lab();
  EXPECT_EQ(run({"link", "list", "lab-1"}).out,
            "LAB    LINK     FROM              TO                 TYPE  DELIVER  WHEN-FULL  CAPACITY  "
            "TRANSPORT   CODEC\n"
            "lab-1  ring[0]  cell[0].to-right  cell[1].from-left  fifo  one-of   block           256  tcp "
            "forced  zstd:3 encrypt\n");
  const Json link = run({"link", "list", "lab-1", "-o", "json"}).json()["items"][0];
  EXPECT_EQ(link["codec"], "zstd:3 encrypt");
  EXPECT_EQ(link["transport"], "tcp");
  EXPECT_EQ(link["forced"], true);
  EXPECT_EQ(
      run({"queue", "top"}).out,
      "LAB    JOB  LINK     WHERE  DEPTH  CAPACITY  BYTES  IN  OUT  DROPPED    P50     P99  WAITING\n"
      "lab-1  1    ring[1]  alpha      4         4  8 KiB  10    6        2  850ns  12.3us  cell[1] waits "
      "to put\n"
      "lab-1  1    ring[0]  alpha      1         4  2 KiB  10    9        0      -       -  -\n");
  const Json json = run({"queue", "top", "-n", "1", "-o", "json"}).json();
  ASSERT_EQ(json["items"].size(), 1U);
  EXPECT_EQ(json["items"][0]["bytes"], 8192);
  EXPECT_EQ(json["items"][0]["latencyP99Ns"], 12345);
  EXPECT_EQ(json["items"][0]["latencySamples"], 6);
  EXPECT_EQ(json["items"][0]["bytesEnqueued"], 9000);
  EXPECT_TRUE(run({"queue", "top", "-o", "json"}).json()["items"][1]["latencyP50Ns"].is_null());
}

TEST_F(Verbs, QueuePeek) {
  broker.peek_list = {
      {.link = "ring[0]",
       .where = "host:alpha",
       .depth = 3,
       .bytes = 70,
       .steady = true,
       .messages =
           {{.number = 41, .size = 5, .data = "hello", .key = 9, .age_ns = 1'500'000},
            {.number = 42, .size = 60, .data = std::string("\0\xff", 2), .priority = 7, .again = true}}},
      {.link = "ring[1]", .where = "host:alpha", .depth = 1, .bytes = 1, .steady = false, .messages = {}},
      {.link = "ring[2]", .where = "guest-0", .depth = 0, .bytes = 0, .steady = true, .messages = {}}};
  const Ran ran = run({"queue", "peek", "12.ring", "-n", "2", "--bytes", "5"});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_EQ(broker.last_peek().job, "12");
  EXPECT_EQ(broker.last_peek().name, "ring");
  EXPECT_EQ(broker.last_peek().count, 2U);
  EXPECT_EQ(broker.last_peek().bytes, 5U);
  EXPECT_EQ(ran.out,
            "LINK     WHERE       NUMBER  SIZE  PRIORITY  KEY     AGE  STATE         MESSAGE\n"
            "ring[0]  host:alpha      41     5         0    9  1.50ms  waits         hello\n"
            "ring[0]  host:alpha      42    60         7    0       -  waits, again  0x00ff…\n"
            "ring[2] in guest-0 is empty\n");
  EXPECT_EQ(ran.err,
            "ring[0] in host:alpha: 2 of 3 messages\n"
            "ring[1] in host:alpha: messages left while this looked; others that wait may be missing\n");
  const Json items = run({"queue", "peek", "12.cell[0].out", "-o", "json"}).json()["items"];
  EXPECT_EQ(broker.last_peek().name, "cell[0].out");
  EXPECT_EQ(broker.last_peek().count, 10U);
  ASSERT_EQ(items.size(), 2U);
  EXPECT_EQ(items[0]["base64"], "aGVsbG8=");
  EXPECT_EQ(items[0]["ageNs"], 1'500'000);
  EXPECT_EQ(items[1]["again"], true);
  EXPECT_EQ(items[1]["base64"], "AP8=");
  EXPECT_EQ(run({"queue", "peek", "ring"}).code, kBadInput);
  EXPECT_EQ(run({"queue", "peek", "12.ring", "-n", "0"}).code, kBadInput);
  EXPECT_EQ(run({"queue", "peek", "12.ring", "-n", "2000"}).code, kBadInput);
}

TEST_F(Verbs, QueueDrain) {
  const auto queue = [](std::uint64_t drained, bool more, std::vector<soap::PeekedMessage> messages) {
    return soap::DrainedQueue{.link = "ring[0]",
                              .where = "host:alpha",
                              .mark = {.queue = "q0", .before = 41},
                              .drained = drained,
                              .bytes = drained * 10,
                              .more = more,
                              .messages = std::move(messages)};
  };
  broker.drain_answers = {{queue(32768, true, {})}, {queue(5, false, {})}};
  Ran ran = run({"queue", "drain", "12.ring"});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_EQ(ran.out,
            "LINK     WHERE       DRAINED    BYTES\n"
            "ring[0]  host:alpha    32773  320 KiB\n");
  ASSERT_EQ(broker.drains().size(), 2U);
  EXPECT_EQ(broker.drains()[0].name, "ring");
  EXPECT_EQ(broker.drains()[0].bytes, 0U);
  EXPECT_TRUE(broker.drains()[0].marks.empty());
  ASSERT_EQ(broker.drains()[1].marks.size(), 1U);
  EXPECT_EQ(broker.drains()[1].marks[0].before, 41U);
  // Printed as queue get does, until there were as many as wanted.
  const std::vector<soap::PeekedMessage> two = {{.number = 1, .size = 3, .data = "one"},
                                                {.number = 2, .size = 9, .data = "two"}};
  broker.drain_answers = {{queue(2, true, two)}, {queue(2, true, two)}};
  ran = run({"queue", "drain", "12.ring", "-n", "4", "--print"});
  EXPECT_EQ(ran.out, "one\ntwo\none\ntwo\n");
  EXPECT_EQ(broker.drains()[2].count, 4U);
  EXPECT_EQ(broker.drains()[3].count, 2U);
  EXPECT_THAT(ran.err, HasSubstr("4 messages drained\n"));
  EXPECT_THAT(ran.err, HasSubstr("of 2 messages only the first 960 KiB were kept"));
  broker.drain_answers = {{queue(1, false, {{.number = 1, .size = 3, .data = "one", .key = 7}})}};
  EXPECT_EQ(run({"queue", "drain", "12.ring", "--print", "-o", "json"}).json()["items"][0]["key"], 7);
  // Nothing is taken where it cannot be written.
  EXPECT_EQ(run({"queue", "drain", "12.ring", "--to", "/none/at/all"}).code, kOperationFailed);
  EXPECT_EQ(broker.drains().size(), 5U);
  // A consumer that does not come on.
  auto pending = queue(0, false, {});
  pending.pending = true;
  for (int i = 0; i < 200; ++i) broker.drain_answers.push_back({pending});
  ran = run({"queue", "drain", "12.ring"});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_THAT(ran.err, HasSubstr("has yet to pass over what was drained"));
  EXPECT_LT(broker.drains().size(), 200U);
}

TEST_F(Verbs, QueueTopMeasuresRates) {
  add_lab();
  on_sleep = [&] {
    broker.queue_list[0].enqueued += 2500;
    broker.queue_list[0].dequeued += 1000;
    broker.queue_list[0].dropped += 70;
    broker.queue_list[0].bytes_enqueued += 5'000'000;
    broker.queue_list[0].bytes_dequeued += 4096;
  };
  const Json json = run({"queue", "top", "--rates", "-o", "json"}).json();
  EXPECT_EQ(clock.passed, std::chrono::seconds(1));
  for (const auto& item : json["items"]) {
    const bool moved = item["link"] == broker.queue_list[0].link;
    EXPECT_EQ(item["enqueuedPerSecond"], moved ? 2500 : 0);
    EXPECT_EQ(item["dequeuedPerSecond"], moved ? 1000 : 0);
    EXPECT_EQ(item["droppedPerSecond"], moved ? 70 : 0);
    EXPECT_EQ(item["bytesEnqueuedPerSecond"], moved ? 5'000'000 : 0);
    EXPECT_EQ(item["bytesDequeuedPerSecond"], moved ? 4096 : 0);
  }
  EXPECT_THAT(run({"queue", "top", "--rates"}).out,
              HasSubstr("IN/S  OUT/S  DROPPED/S  BYTES-IN/S  BYTES-OUT/S    P50"));
}

TEST_F(Verbs, WatchShowsAgainUntilCtrlC) {
  int slept = 0;
  on_sleep = [&] {
    broker.queue_list[0].depth += 1;
    if (++slept == 3) interrupts.pressed = 1;
  };
  const Ran ran = run({"queue", "top", "--watch=1s", "-o", "jsonl", "-n", "1"});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_EQ(std::count(ran.out.begin(), ran.out.end(), '\n'), 3);
  EXPECT_EQ(clock.passed, std::chrono::seconds(3));
}

TEST_F(Verbs, WatchClearsTheScreenOnATerminalOnly) {
  on_sleep = [&] { interrupts.pressed += 1; };
  EXPECT_THAT(run({"host", "list", "--watch"}).out, Not(HasSubstr("\x1b")));
  EXPECT_EQ(clock.passed, std::chrono::seconds(2));
  out_is_terminal = true;
  EXPECT_THAT(run({"host", "list", "--watch"}).out, HasSubstr("\x1b[H\x1b[2J"));
}

// ---- builds

TEST_F(Verbs, BuildStatusAndCache) {
  const std::string header =
      "KEY           STATE   ROLE  IMAGE  ARCH    NODE    TOOK     SIZE  HITS  WHEN                 "
      "COMMAND\n";
  const std::string cached =
      "3f2a91c0ffee  cached  cell  host   x86_64  cell-0  0:02  1.5 KiB     3  2023-11-14 22:13:20  g++ "
      "heat.cpp -o heat\n";
  EXPECT_EQ(run({"build", "status"}).out, header + cached +
                                              "3f2a92        failed  sink  -      -       -       0:00      "
                                              "0 B     0  2023-11-14 22:13:20  false\n");
  EXPECT_EQ(run({"build", "cache"}).out, header + cached);
  EXPECT_EQ(run({"build", "cache", "-o", "json"}).json()["items"][0]["key"], "3f2a91c0ffee00");
}

TEST_F(Verbs, BuildLogsByTheBeginningOfAKey) {
  broker.build_page = {.pieces = {{.process = "cell", .stream = "build", .text = "heat.cpp:1: error\n"}},
                       .cursor = 1,
                       .ended = true};
  EXPECT_EQ(run({"build", "logs", "3f2a91"}).out, "cell| heat.cpp:1: error\n");
  EXPECT_EQ(run({"build", "logs", "3f2a91", "-o", "json"}).json()["items"][0]["text"], "heat.cpp:1: error\n");
  EXPECT_EQ(run({"build", "logs", "3f2a9"}).code, kBadInput);
  EXPECT_EQ(run({"build", "logs", "zz"}).code, kOperationFailed);
}

TEST_F(Verbs, BuildCacheClear) {
  EXPECT_THAT(run({"build", "cache", "--clear", "--dry-run"}).out, HasSubstr("3f2a91c0ffee"));
  EXPECT_EQ(broker.build_list.size(), 2U);
  EXPECT_EQ(run({"build", "cache", "--clear", "3f2a92"}).out, "1 build dropped\n");
  EXPECT_EQ(run({"build", "cache", "--clear", "-o", "jsonl"}).out,
            "{\"schema\":\"mvm.build-cache-clear/1\",\"dropped\":1}\n");
}

// ---- system

TEST_F(Verbs, Events) {
  add_job("DONE");
  EXPECT_EQ(run({"events"}).out,
            "SEQ  TIME                 EVENT          LAB    JOB  NODE  DETAIL\n"
            "  1  2023-11-14 22:13:20  job.submitted  lab-1  1    -     -\n"
            "  2  2023-11-14 22:13:20  job.state      lab-1  1    -     DONE\n");
  EXPECT_EQ(run({"events", "--since", "1", "-o", "json"}).json()["items"][0]["detail"], "DONE");
  EXPECT_EQ(run({"events", "--job", "2", "-o", "jsonl"}).out, "");
}

TEST_F(Verbs, EventsAreFollowedLineByLine) {
  add_job("RUNNING");
  on_sleep = [&] { interrupts.pressed = 1; };
  // The second poll waits for something new: give it that.
  std::thread later([&] {
    while (broker.waiting() == 0) std::this_thread::yield();
    interrupts.pressed = 1;
    broker.set_state("1", "DONE");
  });
  const Ran ran = run({"events", "-f"});
  later.join();
  EXPECT_EQ(ran.code, kDone);
  EXPECT_EQ(ran.out,
            "2023-11-14 22:13:20  job.submitted  lab=lab-1  job=1\n"
            "2023-11-14 22:13:20  job.state  lab=lab-1  job=1  RUNNING\n"
            "2023-11-14 22:13:20  job.state  lab=lab-1  job=1  DONE\n");
}

TEST_F(Verbs, WhoamiAndHosts) {
  EXPECT_EQ(run({"whoami"}).out,
            "User     ada\n"
            "Role     user\n"
            "Lab      any\n"
            "Broker   fake\n"
            "Version  0.1.0\n");
  EXPECT_EQ(
      run({"whoami", "-o", "jsonl"}).out,
      "{\"schema\":\"mvm.whoami/1\",\"user\":\"ada\",\"role\":\"user\",\"lab\":\"\",\"broker\":\"fake\","
      "\"version\":\"0.1.0\"}\n");
  EXPECT_EQ(run({"host", "list"}).out,
            "HOST   STATE  ARCH    VCPUS  MEMORY          DRIVERS          IMAGES\n"
            "alpha  up     x86_64  2/8    256 MiB/16 GiB  lxc, qemu (tcg)  host\n");
  EXPECT_EQ(run({"host", "list", "-o", "json"}).json()["items"][0]["memory"], 16ULL << 30);
}

TEST_F(Verbs, ColoursOnATerminalUnlessNoColor) {
  add_job();
  EXPECT_THAT(run({"job", "list"}).out, Not(HasSubstr("\x1b")));
  out_is_terminal = true;
  EXPECT_THAT(run({"job", "list"}).out, HasSubstr("\x1b[32mR\x1b[0m"));
  environment["NO_COLOR"] = "1";
  EXPECT_THAT(run({"job", "list"}).out, Not(HasSubstr("\x1b")));
}

// ---- doctor

TEST_F(Verbs, DoctorWorksWithoutABroker) {
  checks.push_back([](const DoctorOptions&) {
    return std::vector<Check>{{"cgroups", Check::Level::kOk, "v1 and v2", ""}};
  });
  unreachable = true;
  const Ran ran = run({"doctor"});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_THAT(ran.out, HasSubstr("ok      cgroups: v1 and v2\n"));
  EXPECT_THAT(ran.out, HasSubstr("ok      token: " + environment["MVM_TOKEN_FILE"]));
  EXPECT_THAT(ran.out, HasSubstr("warning broker: connect: Connection refused\n        mend: start mvmd"));
  EXPECT_THAT(ran.out, HasSubstr("4 checks, 0 faults, 1 warning\n"));
}

TEST_F(Verbs, DoctorFailsWhereTheMachineDoes) {
  checks.push_back([](const DoctorOptions&) {
    return std::vector<Check>{{"disk", Check::Level::kFault, "3 MiB left", "free 1 GiB in /var"}};
  });
  const Ran ran = run({"doctor", "-q"});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_EQ(ran.out,
            "fault   disk: 3 MiB left\n"
            "        mend: free 1 GiB in /var\n"
            "4 checks, 1 fault, 0 warnings\n");
  const Json json = run({"doctor", "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.check/1");
  EXPECT_EQ(json["items"][0]["state"], "fault");
}

TEST_F(Verbs, DoctorIsToldWhatToLookAt) {
  DoctorOptions seen;
  checks.push_back([&](const DoctorOptions& options) {
    seen = options;
    return std::vector<Check>{};
  });
  environment["MVM_LIBVIRT_QEMU"] = "qemu:///session";
  run({"doctor", "--quick", "--libvirt-lxc", "lxc+unix:///", "--state", "/srv/mvm"});
  EXPECT_EQ(seen.libvirt_qemu, "qemu:///session");
  EXPECT_EQ(seen.libvirt_lxc, "lxc+unix:///");
  EXPECT_EQ(seen.state, "/srv/mvm");
  EXPECT_TRUE(seen.quick);
  EXPECT_EQ(seen.qemu_image, "");
  write("qemu-image/kernel", "");
  run({"doctor", "--state", (folder / "state").string()});
  EXPECT_EQ(seen.qemu_image, folder / "qemu-image");
}

TEST_F(Verbs, DoctorSeesATokenThatOthersCanRead) {
  std::filesystem::permissions(folder / "token", std::filesystem::perms(0644));
  const Ran ran = run({"doctor"});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_THAT(ran.out, HasSubstr("fault   token: "));
}

// ---- open ports

TEST_F(Verbs, QueuePutAndGetCarryMessagesOneALine) {
  input = "one\n\nthree";
  EXPECT_EQ(run({"queue", "put", "12.cell[0].in", "--priority", "9", "--key", "4"}).code, kDone);
  auto& port = broker.port("12.cell[0].in");
  ASSERT_EQ(port.messages.size(), 3U);
  EXPECT_EQ(port.messages[1].data, "");
  EXPECT_EQ(port.messages[2].data, "three");
  EXPECT_EQ(port.messages[2].priority, 9U);
  EXPECT_EQ(port.messages[2].key, 4U);
  EXPECT_FALSE(port.closed);
  EXPECT_EQ(run({"queue", "get", "12.cell[0].in", "-n", "2"}).out, "one\n\n");
  EXPECT_EQ(port.messages.size(), 1U) << "what was written is acknowledged, no more";
  input = "";
  EXPECT_EQ(run({"queue", "put", "12.cell[0].in", "--done"}).code, kDone);
  EXPECT_TRUE(port.closed);
  const Ran rest = run({"queue", "get", "12.cell[0].in", "--follow", "-o", "jsonl"});
  EXPECT_EQ(rest.code, kDone);
  EXPECT_EQ(Json::parse(rest.out)["text"], "three");
  port.end = "dead";
  EXPECT_EQ(run({"queue", "get", "12.cell[0].in", "--follow"}).code, kOperationFailed);
}

TEST_F(Verbs, QueuePutFramesAndRefusesWhatIsNone) {
  input = std::string("\x02\0\0\0a\n\0\0\0\0", 10);
  const Ran put = run({"queue", "put", "1.in", "--size", "-o", "json"});
  EXPECT_EQ(put.json()["messages"], 2);
  EXPECT_EQ(run({"queue", "get", "1.in", "--size"}).out, input);
  input = std::string("a\nb\0", 4);
  run({"queue", "put", "1.in", "--whole"});
  EXPECT_EQ(run({"queue", "get", "1.in", "--whole"}).out, input);
  input = std::string("\x05\0\0\0ab", 6);
  EXPECT_EQ(run({"queue", "put", "1.in", "--size"}).code, kBadInput);
  input = std::string((1 << 20) + 1, 'x');
  EXPECT_EQ(run({"queue", "put", "1.in", "--whole"}).code, kOperationFailed);
  EXPECT_EQ(run({"queue", "put", "nodot"}).code, kBadInput);
  EXPECT_EQ(run({"queue", "put", "1.in", "--priority", "256"}).code, kBadInput);
}

TEST_F(Verbs, QueuePutAndGetGiveUpAfterTheTimeoutAsked) {
  broker.port("1.in").capacity = 1;
  input = "a\nb\n";
  const Ran put = run({"queue", "put", "1.in", "--timeout", "3s"});
  EXPECT_EQ(put.code, kOperationFailed);
  EXPECT_THAT(put.err, HasSubstr("the queue was full"));
  EXPECT_EQ(run({"queue", "get", "1.in", "-n", "1"}).out, "a\n");
  const Ran get = run({"queue", "get", "1.in", "-n", "1", "--timeout", "1ms"});
  EXPECT_EQ(get.code, kOperationFailed);
  EXPECT_THAT(get.err, HasSubstr("no message for 1 ms"));
}

}  // namespace
}  // namespace mvm::cli
