// From a file to a job and back: reading, packing, uploading, submitting, waiting, fetching.

#include <fcntl.h>

#include "cli/cli_fixture.h"
#include "mvm/base/digest.h"

namespace mvm::cli {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Submit : public CliTest {
 public:
  void SetUp() override {
    CliTest::SetUp();
    file = write_job();
  }
  /// What happens to job 1 while somebody follows it, poll by poll.
  void runs_well() {
    jobs.before_logs = [this](int poll) {
      if (poll == 1) broker.set_state("1", "BUILDING");
      if (poll == 2) broker.add_log("1", {"cell", "node-0", "build", 0, "g++ heat.cpp -o heat\n"});
      if (poll == 3) broker.set_state("1", "RUNNING");
      if (poll == 4) broker.add_log("1", {"cell[0]", "node-0", "out", 0, "step 1\nste"});
      if (poll == 5) {
        broker.add_log("1", {"cell[1]", "node-1", "err", 0, "warm\n"});
        broker.add_log("1", {"cell[0]", "node-0", "out", 0, "p 2\nlast"});
      }
      if (poll == 6) {
        broker.add_result("1", "result.csv", "1,2\n");
        broker.set_state("1", "DONE");
      }
    };
  }
  std::string file;
};

// ---- reading

TEST_F(Submit, ValidateSaysWhatTheFileHolds) {
  const Ran ran = run({"validate", file});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out, file + ": valid job heat: 4 processes, 4 links, 2 machines\n");
  const Json json = run({"validate", file, "--set", "n=8", "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.validation/1");
  EXPECT_EQ(json["items"][0]["valid"], true);
  EXPECT_EQ(json["items"][0]["processes"], 8);
  EXPECT_EQ(connections, 0) << "no daemon is needed";
}

TEST_F(Submit, ValidateShowsEveryFaultWithItsPlace) {
  const std::string bad = write("bad.xml", R"xml(<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:mvm:job:1" name="heat">
  <topology ref="ring.xml"/>
  <program role="sell"><run>./heat</run></program>
  <machines name="node" role="cell" driver="lxc" image="hosst" count="2"/>
</job>
)xml");
  const Ran ran = run({"validate", bad});
  EXPECT_EQ(ran.code, kBadInput);
  EXPECT_EQ(ran.out, "");
  EXPECT_THAT(ran.err, StartsWith(bad + ":2:1: error: "));
  EXPECT_THAT(ran.err, HasSubstr(bad + ":4:"));
  EXPECT_THAT(ran.err, HasSubstr(bad + ":5:"));
  EXPECT_THAT(ran.err, HasSubstr("did you mean cell?"));
  const Ran json = run({"validate", bad, "-o", "json"});
  EXPECT_EQ(json.code, kBadInput);
  EXPECT_EQ(json.err, "");
  EXPECT_EQ(json.json()["items"][0]["valid"], false);
  EXPECT_GE(json.json()["items"][0]["faults"].size(), 2U);
  EXPECT_EQ(json.json()["items"][0]["faults"][1]["line"], 4);
  // The same file is refused the same way by every verb, before anybody is asked.
  for (const char* verb : {"plan", "submit", "graph"}) {
    const Ran refused = run({verb, bad});
    EXPECT_EQ(refused.code, kBadInput) << verb;
    EXPECT_EQ(refused.err, ran.err) << verb;
  }
  EXPECT_EQ(connections, 0);
}

TEST_F(Submit, ValidateOfSeveralFilesIsATable) {
  const Ran ran = run({"validate", file, (folder / "ring.xml").string()});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_THAT(ran.out, StartsWith("FILE"));
  EXPECT_THAT(ran.out, HasSubstr("ring.xml  yes    topology  ring"));
}

// ---- plan

TEST_F(Submit, PlanOfflineFillsMachinesInBlocks) {
  const Ran ran = run({"plan", file, "--offline", "--set", "n=5"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out,
            "heat: 2 nodes, 5 processes, 5 links; offline: the broker picks hosts\n"
            "\n"
            "NODE    HOST  DRIVER  IMAGE  ARCH  VCPUS   MEMORY  STATE  PROCESSES\n"
            "node-0  -     lxc     host   -         1  256 MiB  new    cell[0] cell[1] cell[2]\n"
            "node-1  -     lxc     host   -         1  256 MiB  new    cell[3] cell[4]\n"
            "\n"
            "Builds:\n"
            "  cell: g++ heat.cpp -o heat\n");
  EXPECT_EQ(connections, 0);
  const Json json = run({"plan", file, "--offline", "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.plan/1");
  EXPECT_EQ(json["nodes"][1]["processes"][0], "cell[2]");
  EXPECT_EQ(json["nodes"][0]["memory"], 256 << 20);
}

TEST_F(Submit, PlanThatCannotBePlacedSaysWhyAndReturns3) {
  broker.planned = {.name = "heat",
                    .process_count = 4,
                    .link_count = 4,
                    .reasons = {"host alpha: 1 of 8 vcpus free, 2 asked", "host beta: no driver lxc"}};
  const Ran ran = run({"plan", file});
  EXPECT_EQ(ran.code, kNotPlaceable);
  EXPECT_EQ(ran.err,
            "mvm: error: heat cannot be placed now:\n"
            "  host alpha: 1 of 8 vcpus free, 2 asked\n"
            "  host beta: no driver lxc\n"
            "try: mvm host list\n");
  EXPECT_EQ(run({"plan", file, "-o", "json"}).json()["placeable"], false);
  EXPECT_THAT(broker.last_request().profile, HasSubstr("digest="));
  EXPECT_EQ(broker.blob_bytes(), 0U) << "a plan uploads nothing";
}

TEST_F(Submit, PlanWithoutABrokerPointsToOffline) {
  unreachable = true;
  const Ran ran = run({"plan", file});
  EXPECT_EQ(ran.code, kNoBroker);
  EXPECT_THAT(ran.err, HasSubstr("try: mvm plan --offline " + file));
}

// ---- graph

TEST_F(Submit, GraphInEveryForm) {
  EXPECT_THAT(run({"graph", file, "-o", "dot"}).out, HasSubstr("digraph"));
  EXPECT_THAT(run({"graph", file, "-o", "svg"}).out, HasSubstr("<svg"));
  EXPECT_THAT(run({"graph", file}).out, HasSubstr("cell[3]"));
  const Json json = run({"graph", file, "-o", "json"}).json();
  EXPECT_EQ(json["links"][0]["from"][0], "cell[0].to-right");
  EXPECT_EQ(json["processes"][3]["node"], "node-1");
  const std::string out = (folder / "g.svg").string();
  EXPECT_EQ(run({"graph", (folder / "ring.xml").string(), "-o", "svg", "--out", out}).out, "");
  EXPECT_THAT(read(out), HasSubstr("<svg"));
  EXPECT_EQ(connections, 0);
}

// ---- submit

TEST_F(Submit, SendsTheBundleAndOnlyWhatTheStoreLacks) {
  broker.put("1,2,3\n");  // data.csv is there already
  const Ran ran = run({"submit", file, "--set", "n=8"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out, "job 1 submitted\n");
  EXPECT_EQ(ran.err, "") << "hints after success are for terminals";
  const soap::SubmitRequest request = broker.last_request();
  EXPECT_EQ(request.settings.at("n"), "8");
  EXPECT_EQ(request.request.size(), 32U);
  EXPECT_THAT(request.profile, HasSubstr(sha256_hex("1,2,3\n")));
  EXPECT_THAT(request.profile, Not(HasSubstr("path=\"src")));
  EXPECT_THAT(request.profile, HasSubstr("name=\"cell\"")) << "the topology travels in line";
  const std::uint64_t archive = broker.blob_bytes();
  EXPECT_GT(archive, 0U);
  EXPECT_EQ(broker.last_caller().user, "ada");
  EXPECT_EQ(asked.token, secret);

  // The same folder again is the same archive: nothing is sent.
  EXPECT_EQ(run({"submit", file, "--set", "n=8"}).code, kDone);
  EXPECT_EQ(broker.blob_bytes(), archive);
  EXPECT_EQ(broker.last_request().profile, request.profile);
  // One byte changed is another one.
  write("src/heat.cpp", "int main() { return 0; }\n");
  EXPECT_EQ(run({"submit", file}).code, kDone);
  EXPECT_GT(broker.blob_bytes(), archive);
}

TEST_F(Submit, WhatIsSentIsTheFolder) {
  write("src/deep/er/util.h", "#pragma once\n");
  ASSERT_EQ(run({"submit", file}).code, kDone);
  const std::string profile = broker.last_request().profile;
  const std::size_t at = profile.find("<source");
  const std::size_t digest = profile.find("digest=\"", at) + 8;
  const std::string archive = write("archive", broker.blob(profile.substr(digest, 64)));
  const UniqueFd fd(open(archive.c_str(), O_RDONLY | O_CLOEXEC));
  const auto unpacked = build::unpack(fd.get(), folder / "unpacked");
  ASSERT_TRUE(unpacked) << unpacked.error().describe();
  EXPECT_EQ(read(folder / "unpacked/heat.cpp"), "int main() {}\n");
  EXPECT_EQ(read(folder / "unpacked/deep/er/util.h"), "#pragma once\n");
}

TEST_F(Submit, ParsableIsTheIdAlone) { EXPECT_EQ(run({"submit", file, "--parsable"}).out, "1\n"); }

TEST_F(Submit, AsJson) {
  EXPECT_EQ(run({"submit", file, "-o", "jsonl"}).out, "{\"schema\":\"mvm.submission/1\",\"id\":\"1\"}\n");
}

TEST_F(Submit, AnAnswerThatGotLostSubmitsOnce) {
  jobs.lose_answer = true;
  const Ran ran = run({"submit", file, "--parsable"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out, "1\n");
  EXPECT_EQ(jobs.submissions, 2);
  EXPECT_EQ(broker.jobs({}, true)->size(), 1U);
}

TEST_F(Submit, DryRunUploadsAndSubmitsNothing) {
  broker.planned = {.name = "heat", .process_count = 4, .link_count = 4};
  const Ran ran = run({"submit", file, "--dry-run"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("Uploads               2 of 2\n"));
  EXPECT_EQ(broker.blob_bytes(), 0U);
  EXPECT_EQ(broker.jobs({}, true)->size(), 0U);
}

TEST_F(Submit, IntoALab) {
  static_cast<void>(broker.create_lab({"ada", "user", ""}, {}));
  EXPECT_EQ(run({"submit", file, "--lab", "lab"}).code, kDone);
  EXPECT_EQ(broker.last_request().lab, "lab-1");
  EXPECT_EQ(run({"submit", file, "--lab", "nowhere"}).code, kOperationFailed);
}

TEST_F(Submit, AMissingSourceIsAnInvalidFile) {
  std::filesystem::remove_all(folder / "src");
  const Ran ran = run({"submit", file});
  EXPECT_EQ(ran.code, kBadInput);
  EXPECT_THAT(ran.err, HasSubstr("found nothing at " + (folder / "src").string()));
  EXPECT_EQ(connections, 0);
}

TEST_F(Submit, TheBrokersRefusalIs7AndItsDiagnosticsAre2) {
  broker.diagnostics = {{file, 3, 5, "error: found image 'x', expected one of host"}};
  const Ran ran = run({"submit", file});
  EXPECT_EQ(ran.code, kBadInput);
  EXPECT_EQ(ran.err, file + ":3:5: error: found image 'x', expected one of host\n");
}

TEST_F(Submit, LeavesNoArchivesBehind) {
  environment["MVM_WAIT"] = "";
  const auto temporary = [] {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::temp_directory_path())) {
      count += entry.path().filename().string().starts_with("mvm-pack-") ? 1U : 0U;
    }
    return count;
  };
  const std::size_t before = temporary();
  run({"submit", file});
  EXPECT_LE(temporary(), before);
}

// ---- waiting

TEST_F(Submit, WaitStreamsOutputAndFetchesResults) {
  runs_well();
  const Ran ran = run({"submit", file, "--wait"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out,
            "cell[0]| step 1\n"
            "cell[0]| step 2\n"
            "cell[0]| last\n");
  EXPECT_EQ(read(folder / "result.csv"), "1,2\n");
  EXPECT_EQ(ran.err,
            "mvm: job 1 submitted\n"
            "cell[1]| warm\n"
            "mvm: job 1 done in 0:00 on 0 nodes\n"
            "mvm: result " +
                (folder / "result.csv").string() + " (4 B)\n");
}

TEST_F(Submit, WithoutATerminalEachReasonToWaitIsSaidOnce) {
  jobs.before_logs = [this](int poll) {
    if (poll <= 2) broker.set_state("1", "SUBMITTED", "host alpha: 1 of 8 vcpus free, 2 asked");
    if (poll == 3) broker.set_state("1", "SUBMITTED", "host alpha: does not answer");
    if (poll == 4) broker.set_state("1", "RUNNING", "an earlier attempt's end");
    if (poll == 5) broker.set_state("1", "DONE");
  };
  EXPECT_EQ(run({"submit", file, "--wait"}).err,
            "mvm: job 1 submitted\n"
            "mvm: job 1 is SUBMITTED: host alpha: 1 of 8 vcpus free, 2 asked\n"
            "mvm: job 1 is SUBMITTED: host alpha: does not answer\n"
            "mvm: job 1 done in 0:00 on 0 nodes\n");
}

TEST_F(Submit, ProgressOnATerminalOnly) {
  runs_well();
  err_is_terminal = true;
  const Ran ran = run({"submit", file, "--wait"});
  EXPECT_THAT(ran.err, HasSubstr("\r\x1b[Kjob 1  BUILDING"));
  EXPECT_THAT(ran.err, HasSubstr("g++ heat.cpp -o heat"));
  EXPECT_THAT(ran.err, HasSubstr("\r\x1b[Kuploading src/"));
  EXPECT_THAT(ran.err, EndsWith("try: mvm job status 1\n"));
  EXPECT_THAT(ran.out, Not(HasSubstr("\x1b")));
}

TEST_F(Submit, WaitAsJsonKeepsStandardOutputForTheDocument) {
  runs_well();
  const Ran ran = run({"submit", file, "--wait", "-o", "json", "--out", (folder / "results").string()});
  const Json json = ran.json();
  EXPECT_EQ(json["id"], "1");
  EXPECT_EQ(json["job"]["state"], "DONE");
  EXPECT_EQ(json["results"][0]["file"], (folder / "results/result.csv").string());
  EXPECT_THAT(ran.err, HasSubstr("cell[0]| step 2\n"));
}

TEST_F(Submit, AFailedBuildShowsTheCompilersWords) {
  jobs.before_logs = [this](int poll) {
    if (poll == 1) broker.set_state("1", "BUILDING");
    if (poll == 2) broker.add_log("1", {"cell", "node-0", "build", 0, "heat.cpp:1:1: error: expected ';'\n"});
    if (poll == 3) broker.set_state("1", "FAILED", "build of cell failed");
  };
  const Ran ran = run({"submit", file, "--wait"});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_THAT(ran.err, HasSubstr("mvm: error: job 1 failed after 0:00: build of cell failed\n"
                                 "  build cell| heat.cpp:1:1: error: expected ';'\n"));
  EXPECT_THAT(ran.err, HasSubstr("try: mvm job why 1\n"));
}

TEST_F(Submit, WaitCodeReturnsTheJobsOwnCode) {
  jobs.before_logs = [this](int poll) {
    if (poll == 1) broker.add_process("1", {"cell[2]", "node-1", "exited", 17, 0, 0, 0, 0});
    if (poll == 1) broker.set_state("1", "FAILED", "cell[2] exited with 17", 17);
  };
  const Ran ran = run({"submit", file, "--wait=code"});
  EXPECT_EQ(ran.code, 17);
  EXPECT_THAT(ran.err, HasSubstr("  cell[2] on node-1: exit code 17\n"));
}

TEST_F(Submit, WaitWithoutCodeReturns1ForAFailedJob) {
  jobs.before_logs = [this](int) { broker.set_state("1", "FAILED", "cell[2] exited with 17", 17); };
  EXPECT_EQ(run({"submit", file, "--wait"}).code, kOperationFailed);
}

TEST_F(Submit, DetachBeatsTheVariable) {
  environment["MVM_WAIT"] = "code";
  const Ran ran = run({"submit", file, "--detach"});
  EXPECT_EQ(ran.code, kDone);
  EXPECT_EQ(ran.out, "job 1 submitted\n");
}

TEST_F(Submit, WaitSurvivesARestartOfTheBroker) {
  runs_well();
  auto well = jobs.before_logs;
  int poll = 0;
  jobs.before_logs = [&](int) {
    if (jobs.broken > 0) return;
    well(++poll);
    if (poll == 4) jobs.broken = 5;
  };
  const Ran ran = run({"submit", file, "--wait"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("cell[0]| step 1\ncell[0]| step 2\ncell[0]| last\n"));
  EXPECT_GT(clock.passed, std::chrono::seconds(2)) << "it paused between tries";
}

TEST_F(Submit, ABrokerThatStaysAwayEndsTheWaitWith6) {
  jobs.before_logs = [this](int poll) {
    if (poll == 2) jobs.broken = 1'000'000;
  };
  const Ran ran = run({"submit", file, "--wait", "--retry-for", "30s"});
  EXPECT_EQ(ran.code, kNoBroker);
  EXPECT_THAT(ran.err, HasSubstr("try: mvm job status 1\n"));
  EXPECT_GE(clock.passed, std::chrono::seconds(25));
  EXPECT_LE(clock.passed, std::chrono::seconds(40));
}

TEST_F(Submit, CtrlCOnceDetaches) {
  jobs.before_logs = [this](int poll) {
    if (poll == 2) interrupts.pressed = 1;
  };
  const Ran ran = run({"submit", file, "--wait"});
  EXPECT_EQ(ran.code, kDetached);
  EXPECT_TRUE(interrupts.armed);
  EXPECT_THAT(ran.err, HasSubstr("Ctrl-C again within 3 s cancels job 1"));
  EXPECT_THAT(ran.err,
              HasSubstr("mvm: job 1 goes on without you\ntry: mvm job logs -f 1\ntry: mvm job cancel 1\n"));
  EXPECT_EQ(broker.job({}, "1")->job.state, "SUBMITTED");
}

TEST_F(Submit, CtrlCTwiceCancels) {
  jobs.before_logs = [this](int poll) {
    if (poll == 2) interrupts.pressed = 1;
  };
  on_sleep = [this] {
    if (interrupts.pressed == 1) interrupts.pressed = 2;
  };
  const Ran ran = run({"submit", file, "--wait"});
  EXPECT_EQ(ran.code, kOperationFailed);
  EXPECT_THAT(ran.err, HasSubstr("mvm: cancelling job 1\n"));
  EXPECT_THAT(ran.err, HasSubstr("mvm: job 1 cancelled after"));
  EXPECT_EQ(broker.job({}, "1")->job.state, "CANCELLED");
}

// ---- logs

TEST_F(Submit, LogsOnceAndFollowed) {
  run({"submit", file});
  broker.add_log("1", {"cell[0]", "node-0", "out", 1'700'000'000'000, "one\n"});
  broker.add_log("1", {"cell", "node-0", "build", 0, "g++\n"});
  const Ran once = run({"job", "logs", "1"});
  EXPECT_EQ(once.out, "cell[0]| one\n");
  EXPECT_EQ(once.err, "build cell| g++\n");
  EXPECT_EQ(run({"job", "logs", "1", "-o", "jsonl", "--process", "cell[0]"}).out,
            "{\"schema\":\"mvm.log/1\",\"process\":\"cell[0]\",\"node\":\"node-0\",\"stream\":\"out\","
            "\"time\":\"2023-11-14T22:13:20.000Z\",\"text\":\"one\\n\"}\n");
  const Json json = run({"job", "logs", "1", "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.log/1");
  EXPECT_EQ(json["items"].size(), 2U);
}

TEST_F(Submit, LogsAreFollowedAcrossARestart) {
  run({"submit", file});
  broker.add_log("1", {"cell[0]", "node-0", "out", 0, "one\n"});
  int poll = 0;
  jobs.before_logs = [&](int) {
    if (jobs.broken > 0) return;
    ++poll;
    if (poll == 2) {
      jobs.broken = 4;  // the broker goes down, and a line comes meanwhile
      broker.add_log("1", {"cell[0]", "node-0", "out", 0, "two\n"});
    }
    if (poll == 4) broker.set_state("1", "DONE");
  };
  const Ran ran = run({"job", "logs", "-f", "1"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out, "cell[0]| one\ncell[0]| two\n");
  EXPECT_EQ(jobs.log_cursors[1], 1U) << "it asked again from where it was";
}

TEST_F(Submit, FollowingGivesUpAfterAWhile) {
  run({"submit", file});
  jobs.before_logs = [&](int poll) {
    if (poll == 2) jobs.broken = 1'000'000;
  };
  EXPECT_EQ(run({"job", "logs", "-f", "1", "--retry-for", "10s"}).code, kNoBroker);
}

// ---- labs from files

TEST_F(Submit, LabFromAFile) {
  const std::string lab = write("lab.xml", R"xml(<?xml version="1.0" encoding="UTF-8"?>
<lab xmlns="urn:mvm:lab:1" name="lab">
  <machines name="node" driver="lxc" image="host" count="2" memory="256MiB"/>
</lab>
)xml");
  EXPECT_EQ(run({"lab", "create", lab}).out, "lab lab-1 is up\n");
  // Applying finds it, compares its VMs, and makes nothing twice.
  const auto vm = [](const std::string& node, std::uint64_t memory) {
    return soap::VmView{
        .lab = "lab-1", .node = node, .driver = "lxc", .image = "host", .vcpus = 1, .memory = memory};
  };
  broker.vm_list = {vm("node-0", 256 << 20), vm("node-1", 256 << 20)};
  EXPECT_EQ(run({"lab", "apply", lab, "--parsable"}).out, "lab-1\n");
  EXPECT_EQ(run({"lab", "apply", lab}).out, "lab lab-1 is as the file says\n");
  broker.vm_list = {vm("node-0", 512 << 20), vm("node-7", 256 << 20)};
  const Ran differs = run({"lab", "apply", lab});
  EXPECT_EQ(differs.code, kOperationFailed);
  EXPECT_THAT(differs.err,
              HasSubstr("found lab lab-1 with other nodes (changed node-0, new node-1, removed node-7)"));
  EXPECT_EQ(broker.labs({})->size(), 1U);
  const Ran no_job = run({"submit", lab});
  EXPECT_EQ(no_job.code, kBadInput);
  EXPECT_THAT(no_job.err, HasSubstr("try: mvm lab create"));
}

}  // namespace
}  // namespace mvm::cli
