// mvm plugin ..., mvm kernel ...: their tables, JSON, exit codes, and what they ask for.

#include "cli/cli_fixture.h"
#include "plugin_tree.h"

namespace mvm::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

soap::KernelView kernel_of(const std::string& node) {
  soap::KernelView kernel{.lab = "lab-1", .node = node, .host = "alpha"};
  kernel.plugins = {
      {.name = "job",
       .version = "1.0.0",
       .owners = {"kernel"},
       .sharing = "everyone",
       .state = "running",
       .core = true},
      {.name = "post",
       .version = "1.0.0",
       .owners = {"kernel"},
       .offers = {"post/1"},
       .sharing = "kernel",
       .state = "running"},
      {.name = "mail",
       .version = "2.1.0",
       .owners = {"kernel", "post"},
       .needs = {"post/1", "harness.kernel/1"},
       .functions = {"main"},
       .sharing = "everyone",
       .state = "running"},
      {.name = "plain", .version = "3.0.0", .owners = {"mail"}, .sharing = "everyone", .state = "running"}};
  kernel.runs = {
      {.run = "mail/1",
       .plugin = "mail",
       .function = "main",
       .arguments = {"a"},
       .state = "running",
       .began_ms = 1},
      {.run = "mail/0", .plugin = "mail", .function = "main", .state = "ended", .reason = "no luck"}};
  kernel.pool = {.minimum = 1, .maximum = 16, .queue = 256, .idle_ms = 10'000, .threads = 3};
  return kernel;
}

class KernelVerbs : public CliTest {
 public:
  void SetUp() override {
    CliTest::SetUp();
    job = add_job();
    lab = broker.jobs({}, true)->front().lab;
    ASSERT_TRUE(broker.create_lab({"ada", "user", ""}, {}));
    broker.vm_list = {{.lab = lab, .node = "cell-0"}, {.lab = lab, .node = "cell-1"}};
    broker.kernels.list = {kernel_of("cell-0")};
  }
  std::string job, lab;
};

TEST_F(KernelVerbs, PluginsAreListed) {
  const Ran ran = run({"plugin", "list"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("PLUGIN"));
  EXPECT_THAT(ran.out, HasSubstr("core"));
  EXPECT_EQ(broker.kernels.last_targets().lab, "");
  const Json json = run({"plugin", "list", job, "cell-1", "-o", "json"}).json();
  EXPECT_EQ(json["schema"], "mvm.plugin/1");
  EXPECT_EQ(json["items"][2]["owners"], Json({"kernel", "post"}));
  EXPECT_EQ(broker.kernels.last_targets().lab, lab);
  EXPECT_THAT(broker.kernels.last_targets().nodes, ElementsAre("cell-1"));
}

TEST_F(KernelVerbs, TheTreeShowsWhoOwnsAndUsesWhat) {
  EXPECT_EQ(tree_text(kernel_of("cell-0")),
            "lab-1/cell-0 on alpha\n"
            "├─ job 1.0.0 (core)\n"
            "├─ post 1.0.0, for kernel, offers post/1\n"
            "│  └─ mail 2.1.0, uses post/1 of post, uses harness.kernel/1 of kernel\n"
            "│     ├─ plain 3.0.0\n"
            "│     └─ thread mail/1 (main, running)\n"
            "└─ mail 2.1.0, uses post/1 of post, uses harness.kernel/1 of kernel\n"
            "   ├─ plain 3.0.0\n"
            "   └─ thread mail/1 (main, running)\n");
  const Json json = run({"plugin", "tree", "-o", "json"}).json();
  EXPECT_EQ(json["items"][0]["plugins"][1]["loaded"][0]["uses"][0]["of"], "post");
  EXPECT_THAT(run({"plugin", "tree", "--form", "dot"}).out,
              HasSubstr("\"k0/mail\" -> \"k0/post\" [style=dashed"));
  // Plug-ins that have loaded each other end the walk.
  soap::KernelView circle = kernel_of("cell-0");
  circle.plugins[1].owners = {"mail"};
  circle.plugins[2].owners = {"kernel", "post"};
  EXPECT_THAT(tree_text(circle), HasSubstr("…"));
}

TEST_F(KernelVerbs, AKernelThatDoesNotAnswerIsNamed) {
  broker.kernels.list.push_back({.lab = "lab-1", .node = "cell-1", .host = "alpha", .trouble = "it is lost"});
  const Ran ran = run({"plugin", "tree"});
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.err, HasSubstr("lab-1/cell-1: it is lost"));
  broker.kernels.list = {broker.kernels.list.back()};
  EXPECT_EQ(run({"plugin", "list"}).code, 1);
}

TEST_F(KernelVerbs, CommandsGoToTheirTargets) {
  broker.kernels.outcome = {.committed = true,
                            .answers = {{.node = "cell-0", .able = true, .done = true, .run = "x"}}};
  EXPECT_EQ(run({"kernel", "load", "post", "mail@2", "--on", job, "--for", "kernel"}).code, 0);
  auto command = broker.kernels.last_command();
  EXPECT_EQ(command.verb, soap::KernelCommand::Verb::kLoad);
  EXPECT_EQ(command.targets.lab, lab);
  EXPECT_THAT(command.targets.nodes, IsEmpty());
  EXPECT_THAT(command.plugins, ElementsAre("post", "mail@2"));
  EXPECT_EQ(command.sharing, "kernel");
  EXPECT_TRUE(command.all_or_none);
  EXPECT_EQ(run({"kernel", "run", "mail", "a", "b", "--on", "cell-0,cell-1", "--function", "greet", "--name",
                 "r", "--qos", "best-effort", "--deadline", "3s"})
                .code,
            0);
  command = broker.kernels.last_command();
  EXPECT_EQ(command.verb, soap::KernelCommand::Verb::kRun);
  EXPECT_THAT(command.targets.nodes, ElementsAre("cell-0", "cell-1"));
  EXPECT_THAT(command.plugins, ElementsAre("mail"));
  EXPECT_THAT(command.arguments, ElementsAre("a", "b"));
  EXPECT_EQ(command.function, "greet");
  EXPECT_EQ(command.run, "r");
  EXPECT_FALSE(command.all_or_none);
  EXPECT_EQ(command.timeout, std::chrono::seconds(3));
  EXPECT_EQ(run({"kernel", "stop", "mail/1", "--on", job + "/cell-1"}).code, 0);
  EXPECT_EQ(broker.kernels.last_command().run, "mail/1");
  EXPECT_THAT(broker.kernels.last_command().targets.nodes, ElementsAre("cell-1"));
  EXPECT_EQ(run({"kernel", "stop", "--plugin", "mail", "--on", job}).code, 0);
  EXPECT_THAT(broker.kernels.last_command().plugins, ElementsAre("mail"));
  EXPECT_EQ(run({"kernel", "unload", "mail", "--on", job}).code, 0);
  EXPECT_EQ(broker.kernels.last_command().verb, soap::KernelCommand::Verb::kUnload);
  EXPECT_EQ(run({"kernel", "load", "post"}).code, 2) << "no targets";
  EXPECT_EQ(run({"kernel", "load", "post", "--on", "cell-0,,"}).code, 2);
  EXPECT_EQ(run({"kernel", "load", "post", "--on", "no-such"}).code, 1);
}

TEST_F(KernelVerbs, ExitCodesSayWhatBecameOfACommand) {
  const auto code = [&](bool committed, bool first, bool second, const std::string& qos) {
    broker.kernels.outcome = {
        .committed = committed,
        .answers = {{.node = "cell-0", .able = true, .done = first},
                    {.node = "cell-1", .able = second, .done = second, .reason = "no room"}}};
    return run({"kernel", "load", "post", "--on", job, "--qos", qos});
  };
  EXPECT_EQ(code(true, true, true, "all-or-none").code, 0);
  const Ran aborted = code(false, false, false, "all-or-none");
  EXPECT_EQ(aborted.code, 5);
  EXPECT_THAT(aborted.out, HasSubstr("no room"));
  EXPECT_THAT(aborted.err, HasSubstr("nothing was done"));
  EXPECT_EQ(code(true, true, false, "all-or-none").code, 4) << "decided, and one was not told in time";
  EXPECT_EQ(code(true, true, true, "best-effort").code, 0);
  EXPECT_EQ(code(true, true, false, "best-effort").code, 4);
  EXPECT_EQ(code(false, false, false, "best-effort").code, 1);
  broker.kernels.error = Error(ErrorCode::kRefused, "not yours");
  EXPECT_EQ(run({"kernel", "load", "post", "--on", job}).code, 7);
}

TEST_F(KernelVerbs, PoolsAreShownAndChanged) {
  const Ran shown = run({"kernel", "pool"});
  EXPECT_EQ(shown.code, 0);
  EXPECT_THAT(shown.out, HasSubstr("16"));
  EXPECT_EQ(run({"kernel", "pool", job, "--max", "32", "--idle", "30s"}).code, 0);
  EXPECT_EQ(broker.kernels.last_change().maximum, 32);
  EXPECT_EQ(broker.kernels.last_change().minimum, -1);
  EXPECT_EQ(broker.kernels.last_change().idle_ms, 30'000);
  EXPECT_EQ(run({"kernel", "pool", "--max", "32"}).code, 2) << "of which kernels?";
  EXPECT_EQ(run({"kernel", "pool", job, "--max", "1"}).code, 2);
  const Json runs = run({"kernel", "runs", "-o", "json"}).json();
  EXPECT_EQ(runs["items"][1]["reason"], "no luck");
}

}  // namespace
}  // namespace mvm::cli
