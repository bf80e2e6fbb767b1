// Wrong input, help, variables, completion scripts, and the page that describes it all.

#include "cli/cli_fixture.h"
#include "mvm/base/subprocess.h"

namespace mvm::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Usage : public CliTest {};

struct Wrong {
  std::vector<std::string> args;
  int code;
  std::string says;
};

TEST_F(Usage, WrongInputSaysWhatWasFoundAndWhatExpected) {
  const std::vector<Wrong> cases = {
      {{}, kBadInput, "Usage: mvm"},
      {{"jbo", "list"}, kBadInput, "mvm: error: found 'jbo'; expected one of validate, "},
      {{"job", "lst"}, kBadInput, "did you mean list?"},
      {{"job"}, kBadInput, "mvm: error: found no verb after 'job'; expected one of list, status"},
      {{"job", "list", "--al"}, kBadInput, "did you mean --all?"},
      {{"job", "list", "-o", "yaml"},
       kBadInput,
       "--output: found 'yaml', expected one of table, json, jsonl"},
      {{"job", "status"}, kBadInput, "found no JOB, expected one"},
      {{"job", "status", "1", "2"}, kBadInput, "found '2'"},
      {{"job", "list", "--timeout", "soon"}, kBadInput, "--timeout"},
      {{"validate", "/nonexistent/job.xml"}, kBadInput, "/nonexistent/job.xml"},
      {{"submit", "/nonexistent/job.xml"}, kBadInput, "found nothing, expected a job, lab or topology file"},
      {{"submit", "/tmp"}, kBadInput, "found no plain file"},
      {{"plan", "x.xml", "--set", "n"}, kBadInput, "--set: found 'n', expected NAME=VALUE"},
      {{"plan", "x.xml", "--set", "n=1", "--set", "n=2"}, kBadInput, "two values for 'n'"},
      {{"submit", "x.xml", "--wait=never"}, kBadInput, "--wait: found 'never', expected nothing or 'code'"},
      {{"queue", "top", "-n", "many"}, kBadInput, "many"},
      {{"completion", "tcsh"}, kBadInput, "SHELL: found 'tcsh', expected one of bash, zsh, fish"},
      {{"whoami", "--token-file", "/nonexistent"}, kOperationFailed, "/nonexistent"},
      {{"vm", "exec", "node-0"}, kBadInput, "found no ARGV, expected a program behind --"},
      {{"reserve", "list"}, kBadInput, "found 'reserve'"},
  };
  for (const Wrong& wrong : cases) {
    const Ran ran = run(wrong.args);
    const std::string shown = testing::PrintToString(wrong.args);
    EXPECT_EQ(ran.code, wrong.code) << shown << ran.err;
    EXPECT_THAT(ran.err, HasSubstr(wrong.says)) << shown;
    EXPECT_EQ(ran.out, "") << shown;
    EXPECT_EQ(connections, 0) << shown << ": nobody is asked about wrong input";
  }
}

TEST_F(Usage, ControlCharactersInArgumentsAreNotEchoed) {
  EXPECT_THAT(run({"\x1b[2J"}).err, Not(HasSubstr("\x1b")));
}

TEST_F(Usage, NoBrokerIs6EverywhereWithAHint) {
  unreachable = true;
  const std::vector<std::vector<std::string>> all = {
      {"job", "list"},     {"job", "status", "1"}, {"job", "logs", "1"}, {"job", "cancel", "1"},
      {"lab", "list"},     {"vm", "list"},         {"link", "list"},     {"queue", "top"},
      {"build", "status"}, {"build", "cache"},     {"events"},           {"whoami"},
      {"host", "list"},    {"job", "result", "1"}};
  for (const auto& args : all) {
    const Ran ran = run(args);
    EXPECT_EQ(ran.code, kNoBroker) << args[0];
    EXPECT_THAT(ran.err,
                StartsWith("mvm: error: connect: Connection refused\n"
                           "  found no answer at http://127.0.0.1:7780/; expected a running mvmd there\n"
                           "try: mvm doctor\n"));
  }
}

TEST_F(Usage, ATokenThatOthersCanReadIsRefused) {
  std::filesystem::permissions(folder / "token", std::filesystem::perms(0644));
  const Ran ran = run({"whoami"});
  EXPECT_EQ(ran.code, kRefusedByPolicy);
  EXPECT_EQ(connections, 0);
  EXPECT_THAT(ran.err, Not(HasSubstr(secret)));
}

TEST_F(Usage, FlagsComeFromVariablesAndTheCommandLineBeatsThem) {
  environment["MVM_BROKER"] = "http://127.0.0.1:9999/";
  environment["MVM_TIMEOUT"] = "5";
  environment["MVM_OUTPUT"] = "jsonl";
  environment["MVM_ALL"] = "1";
  add_job("DONE");
  const Ran ran = run({"job", "list"});
  EXPECT_EQ(asked.url, "http://127.0.0.1:9999/");
  EXPECT_EQ(asked.timeout, std::chrono::seconds(5));
  EXPECT_THAT(ran.out, StartsWith("{\"schema\":\"mvm.job/1\",\"id\":\"1\""));
  EXPECT_THAT(run({"job", "list", "-o", "table"}).out, StartsWith("JOBID"));
  run({"--broker=http://127.0.0.1:8888/", "job", "list"});
  EXPECT_EQ(asked.url, "http://127.0.0.1:8888/");
  environment["MVM_ALL"] = "0";
  EXPECT_EQ(run({"job", "list"}).out, "");
}

TEST_F(Usage, SeveralValuesOfAVariableStandOnLines) {
  environment["MVM_SET"] = "n=8\nsteps=3";
  const Ran ran = run({"plan", "--offline", "/nonexistent"});
  EXPECT_THAT(ran.err, HasSubstr("found nothing"));
  environment["MVM_SET"] = "n=8\nn=9";
  EXPECT_THAT(run({"plan", "--offline", "/nonexistent"}).err, HasSubstr("two values for 'n'"));
}

TEST_F(Usage, GlobalFlagsMayStandAnywhere) {
  add_job();
  const std::string json = run({"job", "list", "-o", "jsonl"}).out;
  EXPECT_EQ(run({"-o", "jsonl", "job", "list"}).out, json);
  EXPECT_EQ(run({"job", "-o", "jsonl", "list"}).out, json);
  EXPECT_EQ(run({"job", "list", "--output=jsonl"}).out, json);
}

TEST_F(Usage, VersionAndHelp) {
  EXPECT_EQ(run({"--version"}).out, "mvm 9.8.7\n");
  const Ran help = run({"--help"});
  EXPECT_EQ(help.code, kDone);
  EXPECT_THAT(help.out, HasSubstr("validate"));
  for (const char* other : {"reserve", "checkpoint", "peer"}) {
    EXPECT_THAT(help.out, Not(HasSubstr(std::string("\n  ") + other))) << other;
  }
}

TEST_F(Usage, EveryVerbHasHelpWithExamples) {
  for (const VerbInfo& verb : verbs()) {
    std::vector<std::string> args;
    std::istringstream words(verb.path);
    for (std::string word; words >> word;) args.push_back(word);
    args.emplace_back("--help");
    const Ran ran = run(args);
    EXPECT_EQ(ran.code, kDone) << verb.path;
    EXPECT_THAT(ran.out, HasSubstr("Usage: mvm " + verb.path)) << verb.path;
    EXPECT_THAT(ran.out, HasSubstr("Examples:\n")) << verb.path;
    EXPECT_FALSE(verb.about.empty()) << verb.path;
  }
}

TEST_F(Usage, AWriteThatFailsIsNoSuccess) {
  std::ostringstream err;
  std::ofstream full("/dev/full");
  std::istringstream in;
  Context context{
      .in = in,
      .out = full,
      .err = err,
      .clock = clock,
      .connect = [this](const ConnectOptions&) -> Result<Connection> {
        return Connection{nullptr, broker.api()};
      },
      .environment = [](const std::string&) -> std::optional<std::string> { return std::nullopt; },
      .sleep = [](std::chrono::milliseconds) {},
      .interrupts = interrupts};
  EXPECT_EQ(cli::run(context, {"completion", "bash"}), kOperationFailed);
  EXPECT_THAT(err.str(), HasSubstr("cannot write the result"));
}

// ---- completion

TEST_F(Usage, CompletionScriptsAreSoundAndShipped) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const Ran ran = run({"completion", shell});
    ASSERT_EQ(ran.code, kDone);
    for (const VerbInfo& verb : verbs()) {
      EXPECT_THAT(ran.out, HasSubstr(verb.path.substr(verb.path.rfind(' ') + 1))) << shell;
    }
    const std::string file = write("script." + shell, ran.out);
    if (const auto checked = run_captured({.argv = {shell, "-n", file}}, std::chrono::seconds(20)); checked) {
      EXPECT_TRUE(checked->status.success() || checked->status.code == 127) << shell << checked->errors;
    } else {
      EXPECT_NE(shell, "bash") << checked.error().describe();
    }
    const std::map<std::string, std::string> shipped = {
        {"bash", "mvm.bash"}, {"zsh", "_mvm"}, {"fish", "mvm.fish"}};
    EXPECT_EQ(read(std::string(MVM_SOURCE_DIR) + "/packaging/completions/" + shipped.at(shell)), ran.out)
        << "make it again: mvm completion " << shell << " > packaging/completions/" << shipped.at(shell);
  }
}

/// What bash offers for a command line whose last word is being typed.
std::vector<std::string> offers(const std::string& script, const std::vector<std::string>& words,
                                const std::filesystem::path& bin) {
  std::string command = "source '" + script + "'; COMP_WORDS=(";
  for (const std::string& word : words) command += "'" + word + "' ";
  command +=
      "); COMP_CWORD=" + std::to_string(words.size() - 1) + "; _mvm; printf '%s\\n' \"${COMPREPLY[@]}\"";
  const auto ran = run_captured(
      {.argv = {"bash", "-c", command}, .environment = {{"PATH", bin.string() + ":/usr/bin:/bin"}}},
      std::chrono::seconds(20));
  std::vector<std::string> result;
  if (!ran) return result;
  std::istringstream lines(ran->output);
  for (std::string line; std::getline(lines, line);) result.push_back(line);
  return result;
}

TEST_F(Usage, BashCompletesVerbsFlagsAndIds) {
  const std::string script = write("mvm.bash", run({"completion", "bash"}).out);
  add_job();
  add_job("DONE");
  static_cast<void>(broker.create_lab({"ada", "user", ""}, {}));
  // A command that answers as ours does.
  const std::string jobs_out = run({"job", "list", "--all", "-o", "jsonl"}).out;
  const std::string labs_out = run({"lab", "list", "-o", "jsonl"}).out;
  const std::string mvm = write("bin/mvm", "#!/bin/sh\ncase $1 in job) cat <<'E'\n" + jobs_out +
                                               "E\n;; lab) cat <<'E'\n" + labs_out + "E\n;; esac\n");
  std::filesystem::permissions(mvm, std::filesystem::perms(0755));
  const auto at = [&](const std::vector<std::string>& words) {
    return offers(script, words, folder / "bin");
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(at({"mvm", "va"}), List({"validate"}));
  EXPECT_EQ(at({"mvm", "job", "l"}), List({"list", "logs"}));
  EXPECT_EQ(at({"mvm", "-o", "json", "job", "his"}), List({"history"}));
  EXPECT_EQ(at({"mvm", "job", "logs", "--fo"}), List({"--follow"}));
  EXPECT_EQ(at({"mvm", "job", "list", "--outp"}), List({"--output"}));
  EXPECT_EQ(at({"mvm", "job", "status", ""}), List({"1", "2"}));
  EXPECT_EQ(at({"mvm", "lab", "inspect", ""}), List({"lab-3"}));
  EXPECT_EQ(at({"mvm", "submit", "job.xml", "--lab", ""}), List({"lab-3"}));
  EXPECT_EQ(at({"mvm", "job", "list", "-o", "js"}), List({"json", "jsonl"}));
  EXPECT_EQ(at({"mvm", "completion", "z"}), List({"zsh"}));
}

// ---- documents

TEST_F(Usage, ThePageNamesEveryVerbAndFlag) {
  const std::string page = read(std::string(MVM_SOURCE_DIR) + "/docs/cli.md");
  for (const VerbInfo& verb : verbs()) {
    const std::size_t at = page.find("\n### `mvm " + verb.path + "`");
    ASSERT_NE(at, std::string::npos) << verb.path;
    const std::string section = page.substr(at, page.find("\n### ", at + 1) - at);
    for (const std::string& flag : verb.flags) {
      if (flag == "--help") continue;
      EXPECT_THAT(section, HasSubstr(flag)) << verb.path;
    }
  }
}

}  // namespace
}  // namespace mvm::cli
