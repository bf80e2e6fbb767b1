// mvm reg ...: what it asks for, and how it shows what it gets.

#include "cli/cli_fixture.h"

namespace mvm::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RegVerbs : public CliTest {
 public:
  void SetUp() override {
    CliTest::SetUp();
    job = add_job();
    lab = broker.jobs({}, true)->front().lab;
    ASSERT_TRUE(broker.create_lab({"ada", "user", ""}, {}));
    broker.vm_list = {{.lab = lab, .node = "cell-0"}, {.lab = lab, .node = "cell-1"}};
  }
  std::string job, lab;
};

TEST_F(RegVerbs, PutGetAndDelete) {
  const Ran put = run({"reg", "put", job, "motd", "hello"});
  EXPECT_EQ(put.code, 0) << put.err;
  EXPECT_EQ(broker.registry.last_target.lab, lab);
  EXPECT_EQ(broker.registry.last_target.node, "");
  EXPECT_THAT(broker.registry.last_put.flags, ElementsAre("persistent"));
  const Ran got = run({"reg", "get", job + "/cell-1", "motd", "--wait", "1s", "--first"});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out, "hello\n");
  EXPECT_EQ(broker.registry.last_target.node, "cell-1");
  EXPECT_THAT(broker.registry.last_ask.flags, ElementsAre("first-available", "wait"));
  EXPECT_EQ(broker.registry.last_ask.wait.count(), 1000);
  EXPECT_EQ(run({"reg", "get", job, "motd", "-o", "json"}).json()["items"][0]["text"], "hello");
  EXPECT_EQ(run({"reg", "del", job, "motd"}).code, 0);
  const Ran gone = run({"reg", "get", job, "motd"});
  EXPECT_NE(gone.code, 0);
  EXPECT_THAT(gone.err, HasSubstr("no such instance"));
  input = "from a file\n";
  EXPECT_EQ(run({"reg", "put", job, "work", "-", "--multiple", "--anyone", "--with-kernel"}).code, 0);
  EXPECT_EQ(broker.registry.last_put.value, "from a file");
  EXPECT_THAT(broker.registry.last_put.flags, ElementsAre("anyone", "multiple"));
  EXPECT_EQ(run({"reg", "put", job, "work", "x", "--encoding", "other"}).code, 2);
  EXPECT_EQ(run({"reg", "put", "no-such", "work", "x"}).code, 1);
}

TEST_F(RegVerbs, ListsAllPagesAndWatches) {
  EXPECT_EQ(run({"reg", "put", job, "dvm/a", "1"}).code, 0);
  EXPECT_EQ(run({"reg", "put", job, "dvm/b", "2"}).code, 0);
  const Ran listed = run({"reg", "ls", job, "dvm/*"});
  EXPECT_EQ(listed.code, 0) << listed.err;
  EXPECT_THAT(listed.out, HasSubstr("dvm/a"));
  EXPECT_THAT(listed.out, HasSubstr("dvm/b"));
  EXPECT_EQ(broker.registry.last_pattern, "dvm/*");
  const Json json = run({"reg", "ls", job, "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.registry/1");
  EXPECT_EQ(json["items"].size(), 2U);
  EXPECT_EQ(run({"reg", "del", job, "dvm/a"}).code, 0);
  const Ran watched = run({"reg", "watch", job, "--after", "1", "--once"});
  EXPECT_EQ(watched.code, 0) << watched.err;
  EXPECT_THAT(watched.out, HasSubstr("2 put dvm/b[0]"));
  EXPECT_THAT(watched.out, HasSubstr("3 deleted dvm/a[0]"));
  const Ran lines = run({"reg", "watch", job, "--after", "2", "--once", "-o", "jsonl"});
  EXPECT_EQ(Json::parse(lines.out)["event"], "deleted");
}

TEST_F(RegVerbs, WhoServesIt) {
  const Ran served = run({"reg", "serve", job, job + "/cell-0", "cell-1"});
  EXPECT_EQ(served.code, 0) << served.err;
  EXPECT_EQ(broker.registry.last_target.lab, lab);
  EXPECT_THAT(broker.registry.last_nodes, ElementsAre("cell-0", "cell-1"));
  EXPECT_EQ(broker.registry.last_choice.provider, "raft");
  const Ran none = run({"reg", "serve", job, "cell-0", "unable", "--provider", "etcd", "--etcd", "http://a:1",
                        "--etcd", "http://b:1", "--prefix", "p/"});
  EXPECT_EQ(none.code, 5);
  EXPECT_THAT(none.out, HasSubstr("it cannot"));
  EXPECT_THAT(broker.registry.last_choice.endpoints, ElementsAre("http://a:1", "http://b:1"));
  EXPECT_EQ(run({"reg", "serve", job, "--provider", "paper"}).code, 2);
  EXPECT_EQ(run({"reg", "serve", job, "other-lab/cell-0"}).code, 2);

  broker.registry.member_list = {{.node = "cell-0",
                                  .provider = "raft",
                                  .state = "serves",
                                  .id = 7,
                                  .role = "voter",
                                  .address = "a:1",
                                  .leader = true,
                                  .trouble = {}},
                                 {.node = "cell-1",
                                  .provider = {},
                                  .state = "failed",
                                  .id = 0,
                                  .role = {},
                                  .address = {},
                                  .leader = false,
                                  .trouble = "no disk"},
                                 {.node = {},
                                  .provider = "raft",
                                  .state = "silent",
                                  .id = 9,
                                  .role = "voter",
                                  .address = "b:1",
                                  .leader = false,
                                  .trouble = {}}};
  const Ran members = run({"reg", "members", job});
  EXPECT_EQ(members.code, 0) << members.err;
  EXPECT_THAT(members.out, HasSubstr("leader"));
  EXPECT_THAT(members.out, HasSubstr("silent"));
  EXPECT_THAT(members.err, HasSubstr("no disk"));
  const Json json = run({"reg", "members", job, "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.registry-member/1");
  EXPECT_EQ(json["items"][2]["id"], 9);
  EXPECT_EQ(run({"reg", "leave", job, "cell-1", "--force"}).code, 0);
  EXPECT_EQ(broker.registry.last_target.node, "cell-1");
  EXPECT_TRUE(broker.registry.forced);
  EXPECT_EQ(run({"reg", "confirm-lost", job, "9"}).code, 0);
  EXPECT_EQ(broker.registry.lost, 9U);
  EXPECT_EQ(run({"reg", "confirm-lost", job, "nine"}).code, 2);
}

}  // namespace
}  // namespace mvm::cli
