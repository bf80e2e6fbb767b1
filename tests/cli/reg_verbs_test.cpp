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

}  // namespace
}  // namespace mvm::cli
