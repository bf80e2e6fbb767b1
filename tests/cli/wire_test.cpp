// The same verbs over the real wire: our SOAP client, our SOAP server, a broker in memory behind it.

#include <thread>

#include "cli/wire_fixture.h"

namespace mvm::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST_F(Wire, WhoamiAndListsTravel) {
  add_job();
  EXPECT_THAT(run({"whoami"}).out, StartsWith("User     ada\nRole     user\n"));
  EXPECT_EQ(run({"job", "list", "-o", "json"}).json()["items"][0]["id"], "1");
  EXPECT_EQ(run({"job", "status", "77"}).err, "mvm: error: no job 77\ntry: mvm job list --all\n");
}

TEST_F(Wire, AJobFromFileToResult) {
  const std::string file = write_job();
  std::thread runs([&] {
    while (broker.jobs({}, true)->empty()) std::this_thread::yield();
    broker.set_state("1", "RUNNING");
    broker.add_log("1", {"cell[0]", "node-0", "out", 0, "hot\n"});
    broker.add_result("1", "result.csv", std::string(3 << 20, 'r'));
    broker.set_state("1", "DONE");
  });
  const Ran ran = run({"submit", file, "--wait"});
  runs.join();
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out, "cell[0]| hot\n");
  EXPECT_EQ(read(folder / "result.csv").size(), 3U << 20);
  EXPECT_THAT(broker.last_request().profile, HasSubstr("digest="));
  EXPECT_GT(broker.blob_bytes(), 0U);
  EXPECT_EQ(broker.last_request().settings.size(), 0U);
}

TEST_F(Wire, ALinkIsChanged) {
  broker.rewire_view = {.job = "12", .lab = "lab-1", .number = 3, .state = "preparing", .changed = 1};
  broker.rewire_view.steps = {"join cell[0].to-right to ring[0]"};
  broker.rewire_result = broker.rewire_view;
  broker.rewire_result.state = "switched";
  const Ran ran = run({"link", "set", "12", "ring[0]", "capacity=9", "codec=zstd:3 checksum",
                       "ttl=", "--deadline", "2s", "-o", "json"});
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.json()["state"], "switched");
  EXPECT_EQ(ran.json()["changed"], 1);
  EXPECT_EQ(ran.json()["steps"][0], "join cell[0].to-right to ring[0]");
  const soap::RewireRequest sent = broker.last_rewire();
  EXPECT_EQ(sent.deadline, std::chrono::seconds(2));
  ASSERT_EQ(sent.edits.size(), 1U);
  EXPECT_EQ(sent.edits[0].kind, soap::LinkEdit::Kind::kSet);
  EXPECT_EQ(sent.edits[0].link, "ring[0]");
  EXPECT_EQ(sent.edits[0].attributes,
            (soap::Settings{{"capacity", "9"}, {"codec", "zstd:3 checksum"}, {"ttl", ""}}));

  EXPECT_EQ(
      run({"link", "set", "--job", "12", "ring[0]", "ttl=1s", "--dry-run", "-o", "json"}).json()["state"],
      "planned");
  EXPECT_TRUE(broker.last_rewire().dry_run);
  EXPECT_EQ(run({"link", "disconnect", "ring[0]", "--job", "12"}).code, kDone);
  EXPECT_EQ(broker.last_rewire().edits[0].kind, soap::LinkEdit::Kind::kDisconnect);
  EXPECT_EQ(run({"link", "connect", "a.out", "b.in", "--job", "12"}).code, kDone);
  EXPECT_EQ(broker.last_rewire().edits[0].kind, soap::LinkEdit::Kind::kConnect);
  EXPECT_EQ(run({"link", "set", "77", "ring[0]", "ttl=1s"}).code, 1);
  const Ran bad = run({"link", "set", "12", "ring[0]", "capacity"});
  EXPECT_EQ(bad.code, kBadInput);
  EXPECT_THAT(bad.err, HasSubstr("found 'capacity', expected NAME=VALUE"));
  EXPECT_EQ(run({"link", "set", "12", "ring[0]"}).code, kBadInput);
}

TEST_F(Wire, FaultsOfAFileKeepTheirPlaces) {
  broker.diagnostics = {{"job.xml", 3, 5, "error: found image 'x'"},
                        {"job.xml", 9, 1, "error: found no room"}};
  const Ran ran = run({"submit", write_job()});
  EXPECT_EQ(ran.code, kBadInput);
  EXPECT_EQ(ran.err, "job.xml:3:5: error: found image 'x'\njob.xml:9:1: error: found no room\n");
}

TEST_F(Wire, LogsAreFollowedAcrossARestartOfTheServer) {
  add_job();
  broker.add_log("1", {"cell[0]", "node-0", "out", 0, "one\n"});
  const std::uint16_t port = server->port();
  std::thread restarts([&] {
    while (broker.waiting() == 0) std::this_thread::yield();  // the long poll is under way
    up = false;
    server->stop();
    server.reset();
    broker.add_log("1", {"cell[0]", "node-0", "out", 0, "two\n"});
    start(port);
    broker.set_state("1", "DONE");
  });
  const Ran ran = run({"job", "logs", "-f", "1", "--retry-for", "1m"});
  restarts.join();
  EXPECT_EQ(ran.code, kDone) << ran.err;
  EXPECT_EQ(ran.out, "cell[0]| one\ncell[0]| two\n");
}

TEST_F(Wire, NobodyThereIs6AndAnUnknownTokenIs7) {
  ASSERT_TRUE(soap::create_token_file(folder / "other", {"eve", "user", ""}));
  EXPECT_EQ(run({"whoami", "--token-file", (folder / "other").string()}).code, kRefusedByPolicy);
  server->stop();
  server.reset();
  const Ran ran = run({"whoami"});
  EXPECT_EQ(ran.code, kNoBroker);
  EXPECT_THAT(ran.err, HasSubstr("try: mvm doctor"));
}

TEST_F(Wire, PlainHttpBeyondThisMachineIsRefused) {
  const Ran ran = run({"whoami", "--broker", "http://192.0.2.7:7780/"});
  EXPECT_EQ(ran.code, kRefusedByPolicy);
}

}  // namespace
}  // namespace mvm::cli
