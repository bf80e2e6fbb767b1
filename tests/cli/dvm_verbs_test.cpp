// mvm dvm ...: what it asks for, and how it shows what it gets.

#include "cli/cli_fixture.h"

namespace mvm::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class DvmVerbs : public CliTest {
 public:
  void SetUp() override {
    CliTest::SetUp();
    job = add_job();
    lab = broker.jobs({}, true)->front().lab;
    ASSERT_TRUE(broker.create_lab({"ada", "user", ""}, {}));
    broker.vm_list = {{.lab = lab, .node = "cell-0"}, {.lab = lab, .node = "cell-1"}};
    broker.dvm.list = {{.lab = lab,
                        .name = "blue",
                        .server = "cell-0",
                        .term = 3,
                        .number = 17,
                        .baseline = {"loader/1.0.0"},
                        .members = {{.name = "cell-0",
                                     .address = "10.0.0.2:7000",
                                     .architecture = "x86_64",
                                     .server = true,
                                     .voter = true,
                                     .services = {"dvm", "post"}},
                                    {.name = "cell-1", .lost = true}},
                        .trouble = {}},
                       {.lab = lab, .name = "red", .trouble = "no status server: silence"}};
  }
  void answer(std::initializer_list<soap::DvmAnswer> answers) { broker.dvm.outcome.answers = answers; }
  std::string job, lab;
};

TEST_F(DvmVerbs, ConfShowsMembersAndWhoIsWhat) {
  const Ran shown = run({"dvm", "conf", job, "blue"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_EQ(broker.dvm.last_target.lab, lab);
  EXPECT_EQ(broker.dvm.last_target.name, "blue");
  EXPECT_THAT(shown.out, HasSubstr("2 kernels, 1 of them lost; 1 voter; status server cell-0 (term 3)"));
  EXPECT_THAT(shown.out, HasSubstr("baseline loader/1.0.0"));
  EXPECT_THAT(shown.out, HasSubstr("10.0.0.2:7000"));
  EXPECT_THAT(shown.out, HasSubstr("dvm post"));
  EXPECT_EQ(run({"dvm", "conf", job, "green"}).code, 1);
  EXPECT_EQ(run({"dvm", "conf"}).code, 2);
}

TEST_F(DvmVerbs, ConfOfAllSaysWhichIsInTrouble) {
  const Ran shown = run({"dvm", "conf", job, "-o", "json"});
  EXPECT_EQ(shown.code, 4);
  EXPECT_THAT(shown.err, HasSubstr("red: no status server"));
  const Json json = shown.json();
  EXPECT_EQ(json["schema"], "mvm.dvm/1");
  ASSERT_EQ(json["items"].size(), 2U);
  EXPECT_EQ(json["items"][0]["members"][0]["server"], true);
  EXPECT_EQ(json["items"][0]["members"][1]["state"], "lost");
  EXPECT_EQ(json["items"][0]["number"], 17);
  broker.dvm.list.erase(broker.dvm.list.begin());
  EXPECT_EQ(run({"dvm", "conf", job}).code, 1);
  broker.dvm.list.clear();
  EXPECT_EQ(run({"dvm", "conf", job}).code, 0);
}

TEST_F(DvmVerbs, CreateIsAllOrNone) {
  broker.dvm.outcome = {.committed = true,
                        .answers = {{.node = "cell-0", .done = true, .reason = {}}},
                        .user = "ada",
                        .password = "5ec2e7"};
  const Ran made = run({"dvm", "create", job, "blue", "cell-0", job + "/cell-1"});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(broker.dvm.last_verb, "create");
  EXPECT_THAT(broker.dvm.last_nodes, ElementsAre("cell-0", "cell-1"));
  EXPECT_THAT(made.out, HasSubstr("register as ada with the password 5ec2e7"));
  EXPECT_EQ(run({"dvm", "create", job, "blue", "-o", "json"}).json()["items"][0]["password"], "5ec2e7");
  EXPECT_THAT(broker.dvm.last_nodes, IsEmpty());
  broker.dvm.outcome = {.committed = false,
                        .answers = {{.node = "cell-0", .done = false, .reason = "it is suspended"}},
                        .user = {},
                        .password = {}};
  const Ran none = run({"dvm", "create", job, "blue"});
  EXPECT_EQ(none.code, 5);
  EXPECT_THAT(none.out, HasSubstr("it is suspended"));
  EXPECT_THAT(none.out, Not(HasSubstr("password")));
  EXPECT_EQ(run({"dvm", "create", job, "blue", "other-lab/cell-0"}).code, 2);
}

TEST_F(DvmVerbs, AddRemoveAndHalt) {
  broker.dvm.outcome.committed = true;
  answer({{.node = "cell-1", .done = true, .reason = {}}});
  EXPECT_EQ(run({"dvm", "add", job, "blue", "cell-1"}).code, 0);
  EXPECT_EQ(broker.dvm.last_verb, "add");
  EXPECT_EQ(run({"dvm", "remove", job, "blue", "cell-1"}).code, 0);
  EXPECT_EQ(broker.dvm.last_verb, "remove");
  EXPECT_THAT(broker.dvm.last_nodes, ElementsAre("cell-1"));
  EXPECT_EQ(run({"dvm", "halt", job, "blue"}).code, 0);
  EXPECT_EQ(broker.dvm.last_verb, "halt");
  answer(
      {{.node = "cell-0", .done = true, .reason = {}}, {.node = "cell-1", .done = false, .reason = "lost"}});
  EXPECT_EQ(run({"dvm", "halt", job, "blue"}).code, 4);
  broker.dvm.outcome.committed = false;
  answer({{.node = "cell-1", .done = false, .reason = "lost"}});
  EXPECT_EQ(run({"dvm", "halt", job, "blue"}).code, 1);
  EXPECT_EQ(run({"dvm", "add", job, "blue", "cell-1"}).code, 1);
  EXPECT_EQ(run({"dvm", "remove", job, "blue"}).code, 2);
}

}  // namespace
}  // namespace mvm::cli
