// The rules of a machine, without any machine: status, commands, names, seals, users.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "mvm/base/file.h"
#include "mvm/base/secret_file.h"
#include "mvm/dvm/address.h"
#include "mvm/dvm/commit_table.h"
#include "mvm/dvm/log.h"
#include "mvm/dvm/node.h"
#include "mvm/dvm/status.h"
#include "mvm/dvm/users.h"
#include "mvm/dvm/wire.h"

namespace mvm::dvm {
namespace {

Member member(const std::string& name, const std::string& incarnation = "i1") {
  return {.name = name,
          .address = "127.0.0.1:1",
          .incarnation = incarnation,
          .attributes = {{"arch", "x86_64"}},
          .core = core_services(),
          .services = {},
          .threads = {}};
}

Command command(const std::string& id, const std::string& targets = "all", Qos qos = Qos::kAllOrNone) {
  Command made;
  made.id = id;
  made.verb = "load";
  made.locator = "solver@1.2";
  made.targets = *Targets::read(targets);
  made.qos = qos;
  made.user = "ada";
  return made;
}

VmStatus of_kernels(int count) {
  VmStatus status;
  status.vm = "lab";
  for (int i = 1; i <= count; ++i) dvm::apply(status, event::joined(member("k" + std::to_string(i))));
  return status;
}

TEST(Name, IsMappedToAGroupOfItsOwnScope) {
  EXPECT_EQ(multicast_group("lab").text(), "239.193.181.208:7763");
  EXPECT_NE(multicast_group("lab").text(), multicast_group("lab2").text());
  for (int i = 0; i < 200; ++i) {
    const std::string host = multicast_group("vm" + std::to_string(i)).host;
    const int second = std::stoi(host.substr(4));
    EXPECT_TRUE(host.starts_with("239.") && second >= 192 && second <= 195) << host;
  }
}

TEST(Endpoint, ReadsOnlyAddressAndPort) {
  EXPECT_EQ(Endpoint::read("10.0.0.1:77")->port, 77);
  for (const char* wrong : {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:70000", "host:1", "1.2.3.4:5x", ":5"})
    EXPECT_FALSE(Endpoint::read(wrong)) << wrong;
}

TEST(CommitTable, DecidesOnceAndNothingElseFollows) {
  EXPECT_EQ(commit_step(Phase::kPreparing, Happening::kCommit)->to, Phase::kCommitted);
  EXPECT_EQ(commit_step(Phase::kPreparing, Happening::kAbort)->to, Phase::kAborted);
  for (const Phase decided : {Phase::kCommitted, Phase::kAborted, Phase::kFinished})
    for (const Happening again :
         {Happening::kCommit, Happening::kAbort, Happening::kBegun, Happening::kAble, Happening::kUnable})
      EXPECT_EQ(commit_step(decided, again), nullptr);
}

TEST(CommitTable, QualityOfServiceRulesTheOutcome) {
  EXPECT_FALSE(outcome(Qos::kAllOrNone, {.asked = 3, .able = 2}).certain);
  EXPECT_EQ(outcome(Qos::kAllOrNone, {.asked = 3, .able = 3}).happening, Happening::kAble);
  EXPECT_EQ(outcome(Qos::kAllOrNone, {.asked = 3, .able = 2, .unable = 1}).happening, Happening::kUnable);
  EXPECT_EQ(outcome(Qos::kBestEffort, {.asked = 3, .able = 1, .unable = 2}).happening, Happening::kAble);
  EXPECT_EQ(outcome(Qos::kBestEffort, {.asked = 3, .able = 0, .unable = 3}).happening, Happening::kUnable);
  EXPECT_EQ(outcome(Qos::kAllOrNone, {.asked = 3, .able = 2, .late = true}).happening, Happening::kUnable);
  EXPECT_EQ(outcome(Qos::kAllOrNone, {}).happening, Happening::kUnable);
}

TEST(CrashPoints, AreKnownByName) {
  EXPECT_TRUE(CrashPoint::parse(""));
  EXPECT_TRUE(CrashPoint::parse("decide-commit:before"));
  EXPECT_FALSE(CrashPoint::parse("nowhere:before"));
}

TEST(Targets, AreReadStrictly) {
  EXPECT_EQ(Targets::read("4:arch=x86_64")->count, 4U);
  EXPECT_EQ(Targets::read("k1,k2")->names.size(), 2U);
  EXPECT_EQ(Targets::read("all:arch=x86_64")->attributes.at("arch"), "x86_64");
  for (const char* wrong : {"", "0", "K1", "k1,", "4:", "4:=x", "k1:arch=x", "a b"}) {
    const auto read = Targets::read(wrong);
    if (std::string(wrong) == "4:" || std::string(wrong) == "k1,") continue;  // an empty rest is none
    EXPECT_FALSE(read) << wrong;
  }
}

TEST(Command, KnowsThePluginInItsLocator) {
  const auto plugin = [](const char* locator) {
    Command one;
    one.locator = locator;
    return one.plugin();
  };
  EXPECT_EQ(plugin("hello"), "hello");
  EXPECT_EQ(plugin("hello@1.2"), "hello");
  EXPECT_EQ(plugin("https://host/p/hello.so?x=1"), "hello");
  EXPECT_EQ(plugin("file:///p/hello.1.2.3.so"), "hello");
  EXPECT_EQ(plugin("urn:mvm:plugin:hello@2"), "hello");
}

TEST(Status, KeepsALostKernelAndForgetsOneThatLeft) {
  VmStatus status = of_kernels(2);
  EXPECT_TRUE(dvm::apply(status, event::lost("k1", "i1", "silent")).membership);
  EXPECT_EQ(status.present(), 1U);
  EXPECT_FALSE(dvm::apply(status, event::lost("k2", "other", "late news")).changed);
  EXPECT_TRUE(dvm::apply(status, event::back("k1", "i1")).changed);
  EXPECT_EQ(status.present(), 2U);
  dvm::apply(status, event::left("k1"));
  EXPECT_FALSE(status.members.contains("k1"));
  EXPECT_EQ(status.number, 6U);
}

TEST(Status, ADecisionTakesEffectOnThoseThatAreAble) {
  VmStatus status = of_kernels(3);
  EXPECT_EQ(dvm::apply(status, event::begun(command("k1.x.1"))).kernels.size(), 3U);
  EXPECT_FALSE(dvm::apply(status, event::begun(command("k1.x.1"))).changed);
  dvm::apply(status, event::decided("k1.x.1", true, {{"k2", "no room"}}));
  EXPECT_TRUE(status.members["k1"].services.contains("solver"));
  EXPECT_FALSE(status.members["k2"].services.contains("solver"));
  // The first decision is the decision.
  EXPECT_FALSE(dvm::apply(status, event::decided("k1.x.1", false, {})).changed);
  dvm::apply(status, event::finished("k1.x.1", {{"k3", "it broke"}}, {}));
  EXPECT_FALSE(status.members["k3"].services.contains("solver"));
  EXPECT_EQ(status.commands["k1.x.1"].phase, Phase::kFinished);
}

TEST(Status, AnAbortedCommandChangesNoService) {
  VmStatus status = of_kernels(2);
  dvm::apply(status, event::begun(command("k1.x.1")));
  dvm::apply(status, event::decided("k1.x.1", false, {{"k2", "no"}}));
  EXPECT_TRUE(status.members["k1"].services.empty());
  EXPECT_FALSE(status.commands["k1.x.1"].carried_out_by("k1"));
}

TEST(Status, TargetsAreDrawnAlikeEverywhere) {
  VmStatus status = of_kernels(4);
  dvm::apply(status, event::lost("k1", "i1", ""));
  Member arm = member("arm");
  arm.attributes["arch"] = "aarch64";
  dvm::apply(status, event::joined(arm));
  const auto drawn = [&](const std::string& targets) {
    VmStatus copy = status;
    dvm::apply(copy, event::begun(command("k1.x.9", targets)));
    return copy.commands.at("k1.x.9").participants;
  };
  EXPECT_EQ(drawn("2:arch=x86_64"), (Names::Set{"k2", "k3"}));
  EXPECT_EQ(drawn("all:arch=aarch64"), (Names::Set{"arm"}));
  EXPECT_EQ(drawn("all").size(), 5U);  // a lost one belongs to all, and cannot be able
  EXPECT_EQ(drawn("k9"), (Names::Set{"k9"}));
}

/// What is put off for a machine of many kernels amounts to what is noted at each of few.
TEST(Status, LateChangesAmountToWhatWasDecided) {
  VmStatus status = of_kernels(40);
  status.own = "k7";
  unsigned count = 0;
  const auto done = [&](const std::string& verb, const std::string& plugin,
                        const std::string& targets = "all",
                        const std::map<std::string, std::string>& failed = {}) {
    Command one = command("k1.x." + std::to_string(++count), targets);
    one.verb = verb;
    one.locator = plugin;
    dvm::apply(status, event::begun(one));
    dvm::apply(status, event::decided(one.id, true, {}));
    if (!failed.empty()) dvm::apply(status, event::finished(one.id, failed, {}));
  };
  const auto at = [&](const char* kernel) {
    std::string text;
    for (const auto& [plugin, service] : services_of(status, status.members.at(kernel)))
      text += plugin + "=" + service.locator + " ";
    return text;
  };
  done("load", "one", "k3");
  done("load", "one@1");  // k3 has it already
  EXPECT_FALSE(status.late.empty());
  EXPECT_EQ(at("k3") + at("k4") + at("k7"), "one=one one=one@1 one=one@1 ");
  EXPECT_TRUE(status.members.at("k7").services.contains("one"));
  done("unload", "one");
  EXPECT_EQ(at("k3") + at("k4") + at("k7"), "");
  done("load", "one@2");
  EXPECT_EQ(at("k3") + at("k4") + at("k7"), "one=one@2 one=one@2 one=one@2 ");
  EXPECT_EQ(status.late.size(), 1U);
  const auto again = status_from(to_json(status));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->members.at("k40").services.contains("one"));
  done("unload", "one", "k5");
  EXPECT_TRUE(status.late.empty());
  EXPECT_EQ(at("k4") + at("k5"), "one=one@2 ");
  done("load", "two", "all", {{"k9", "it broke"}});
  EXPECT_EQ(at("k8") + at("k9"), "one=one@2 two=two one=one@2 ");
  done("unload", "two");
  // Another process of a kernel has what it says it has.
  dvm::apply(status, event::joined(member("k4", "i2")));
  EXPECT_EQ(at("k4") + at("k6"), "one=one@2 ");
}

TEST(Status, WhatWasDecidedWhileAKernelRestoredItsStatusIsNotForgotten) {
  VmStatus status = of_kernels(2);
  const auto decide = [&](const std::string& id, const std::string& verb) {
    Command one = command(id);
    one.verb = verb;
    dvm::apply(status, event::begun(one));
    dvm::apply(status, event::decided(id, true, {}));
  };
  decide("k1.x.1", "load");
  const std::uint64_t restored_at = status.number;
  EXPECT_EQ(status.commands.at("k1.x.1").decided, restored_at);
  const Member old = status.members.at("k2");
  ASSERT_TRUE(old.services.contains("solver"));
  // Ids say nothing of the order.
  decide("k1.x.9", "unload");
  decide("k1.x.2", "load");
  decide("k1.x.3", "unload");
  Member again = old;
  again.incarnation = "i2";
  EXPECT_TRUE(dvm::apply(status, event::joined(again, restored_at)).services.contains("solver"));
  EXPECT_FALSE(status.members.at("k2").services.contains("solver"));
  again.incarnation = "i3";
  dvm::apply(status, event::joined(again, status.number));
  EXPECT_TRUE(status.members.at("k2").services.contains("solver")) << "there is nothing after it";
}

TEST(Status, OwingKernelsKeepACommandUntilTheyAreBack) {
  VmStatus status = of_kernels(2);
  dvm::apply(status, event::begun(command("k1.x.1")));
  dvm::apply(status, event::decided("k1.x.1", true, {}));
  dvm::apply(status, event::lost("k2", "i1", ""));
  dvm::apply(status, event::finished("k1.x.1", {}, {"k2"}));
  for (int i = 0; i < 400; ++i) {
    const std::string id = "k1.x." + std::to_string(100 + i);
    dvm::apply(status, event::begun(command(id, "k1")));
    dvm::apply(status, event::decided(id, true, {}));
    dvm::apply(status, event::finished(id, {}, {}));
  }
  EXPECT_TRUE(status.commands.contains("k1.x.1"));
  EXPECT_LE(status.commands.size(), kRemembered + 1);
  dvm::apply(status, event::finished("k1.x.1", {}, {}));
  EXPECT_FALSE(status.commands.contains("k1.x.1"));
}

TEST(Status, StatesOfPluginsAreKeptAndForgotten) {
  VmStatus status = of_kernels(1);
  dvm::apply(status, event::state("farm", "next", "17"));
  EXPECT_EQ(status.states["farm"]["next"], "17");
  EXPECT_FALSE(dvm::apply(status, event::state("farm", "next", std::string(kLargestState + 1, 'x'))).changed);
  dvm::apply(status, event::state("farm", "next", nullptr));
  EXPECT_TRUE(status.states.empty());
}

TEST(Status, AnotherProcessOfAKernelHoldsNoLogUntilItSaysSo) {
  VmStatus status = of_kernels(1);
  dvm::apply(status, event::voter("k1", 7, 1));
  dvm::apply(status, event::joined(member("k1", "i1")));
  EXPECT_EQ(status.members["k1"].copy, 7U);
  dvm::apply(status, event::joined(member("k1", "i2")));
  EXPECT_EQ(status.members["k1"].copy, 0U);
}

TEST(Status, SurvivesBeingWrittenDown) {
  VmStatus status = of_kernels(3);
  dvm::apply(status, event::baseline({{"recovery", "1"}}));
  dvm::apply(status, event::begun(command("k1.x.1")));
  dvm::apply(status, event::decided("k1.x.1", true, {{"k3", "no"}}));
  dvm::apply(status, event::state("farm", "next", "17"));
  dvm::apply(status, event::server("k2", 4));
  const auto again = status_from(to_json(status));
  ASSERT_TRUE(again);
  EXPECT_EQ(text_of(to_json(*again)), text_of(to_json(status)));
}

TEST(Status, WhatIsNoEventTakesANumberOnly) {
  VmStatus status = of_kernels(1);
  const std::string before = text_of(to_json(status));
  for (const char* text :
       {"null", "[]", "{}", R"({"event":"joined"})", R"({"event":"begun","command":{"id":1}})",
        R"({"event":"decided","id":"x"})", R"({"event":"state","plugin":""})", R"({"event":"boo"})"})
    EXPECT_FALSE(dvm::apply(status, *parse_json(text)).changed) << text;
  EXPECT_EQ(status.number, 9U);
  status.number = 1;
  EXPECT_EQ(text_of(to_json(status)), before);
}

TEST(Baseline, NamesEverythingThatIsMissing) {
  Member one = member("k1");
  EXPECT_TRUE(check_baseline(core_services(), one).empty());
  one.core["loader"] = "1.9";
  one.services["solver"] = {.version = "2.0.1"};
  const auto reasons = check_baseline({{"loader", "2"}, {"solver", "2.0"}, {"farm", "1"}}, one);
  ASSERT_EQ(reasons.size(), 2U);
  EXPECT_NE(reasons[0].find("farm"), std::string::npos);
  EXPECT_NE(reasons[1].find("1.9"), std::string::npos);
}

TEST(Record, NumbersEventsAndKeepsThem) {
  Record record;
  record.status.vm = "lab";
  EXPECT_NE(record.apply(text_of(event::joined(member("k1")))), nullptr);
  EXPECT_EQ(record.apply("no event"), nullptr);
  EXPECT_EQ(record.status.number, 2U);
  Record other;
  ASSERT_TRUE(other.restore(record.snapshot()));
  EXPECT_EQ(other.snapshot(), record.snapshot());
  EXPECT_FALSE(other.restore("{"));
}

// ---- seals
// -------------------------------------------------------------------------------------------------

Introduction introduction() { return {"lab", "k1", "k2", std::string(32, 'a'), std::string(32, 'b')}; }

Frame frame_of(const std::string& bytes) {
  FrameDecoder decoder;
  decoder.feed(bytes);
  return std::move(**decoder.next());
}

TEST(Seal, ProofsBelongToOneEndAndOneIntroduction) {
  const Introduction one = introduction();
  Introduction other = one;
  other.called = "k3";
  EXPECT_NE(one.proof("secret", true), one.proof("secret", false));
  EXPECT_NE(one.proof("secret", true), one.proof("terces", true));
  EXPECT_NE(one.proof("secret", true), other.proof("secret", true));
  EXPECT_NE(one.key("secret", true), one.key("secret", false));
}

TEST(Seal, OpensInOrderAndNothingElse) {
  const std::string key = introduction().key("secret", true);
  Sealer sealer(key);
  const std::string first = sealer.seal(R"({"t":"a"})"), second = sealer.seal(R"({"t":"b"})");
  Opener right(key);
  EXPECT_EQ(text_of(**right.open(frame_of(first))), R"({"t":"a"})");
  EXPECT_EQ(text_of(**right.open(frame_of(second))), R"({"t":"b"})");
  EXPECT_FALSE(right.open(frame_of(second)));  // again
  Opener skipping(key);
  EXPECT_FALSE(skipping.open(frame_of(second)));  // one is missing
  Opener other(introduction().key("secret", false));
  EXPECT_FALSE(other.open(frame_of(first)));
  std::string changed = first;
  changed.back() = ' ';
  Opener wary(key);
  EXPECT_FALSE(wary.open(frame_of(changed)));
}

TEST(Seal, LongMessagesTravelInPieces) {
  Sealer sealer("key");
  Opener opener("key");
  const std::string text = text_of({{"text", std::string(3 << 20, 'x')}});
  FrameDecoder decoder;
  decoder.feed(sealer.seal(text));
  std::optional<nlohmann::json> message;
  int frames = 0;
  for (auto frame = decoder.next(); frame && *frame; frame = decoder.next(), ++frames) {
    EXPECT_FALSE(message);
    auto opened = opener.open(**frame);
    ASSERT_TRUE(opened);
    message = *opened;
  }
  EXPECT_GT(frames, 3);
  ASSERT_TRUE(message);
  EXPECT_EQ((*message)["text"].get<std::string>().size(), 3U << 20);
}

TEST(Join, DatagramsNeedTheSecret) {
  const std::string bytes = join_datagram({"lab", "k1", "127.0.0.1:5"}, "secret");
  EXPECT_EQ(read_join_datagram(bytes, "secret")->kernel, "k1");
  EXPECT_FALSE(read_join_datagram(bytes, "terces"));
  EXPECT_FALSE(read_join_datagram(bytes.substr(0, bytes.size() - 1), "secret"));
  EXPECT_FALSE(read_join_datagram(join_datagram({"lab", "K 1", "127.0.0.1:5"}, "secret"), "secret"));
}

// ---- files
// -------------------------------------------------------------------------------------------------

class Files : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = *make_temporary_folder("/tmp", "dvm-rules-"); }
  void TearDown() override { (void)remove_tree(folder_); }
  std::filesystem::path folder_;
};

TEST_F(Files, UsersAreKnownByTheirPasswords) {
  const Users users(folder_ / "users");
  EXPECT_FALSE(users.exist());
  ASSERT_TRUE(users.add("ada", UserRole::kAdministrator, "lovelace"));
  ASSERT_TRUE(users.add("bob", UserRole::kViewer, "builder"));
  EXPECT_EQ(users.check("ada", "lovelace")->role, UserRole::kAdministrator);
  EXPECT_EQ(users.check("bob", "builder")->role, UserRole::kViewer);
  EXPECT_FALSE(users.check("ada", "builder"));
  EXPECT_FALSE(users.check("eve", "lovelace"));
  EXPECT_FALSE(users.check("", ""));
  const std::string text = *read_file(folder_ / "users", 4096);
  EXPECT_EQ(text.find("lovelace"), std::string::npos);
  ASSERT_TRUE(users.remove("bob"));
  EXPECT_FALSE(users.check("bob", "builder"));
  EXPECT_FALSE(users.add("a b", UserRole::kViewer, "x"));
}

TEST_F(Files, OfOthersAreNotTrusted) {
  const Users users(folder_ / "users");
  ASSERT_TRUE(users.add("ada", UserRole::kAdministrator, "lovelace"));
  ::chmod((folder_ / "users").c_str(), 0640);
  EXPECT_EQ(users.check("ada", "lovelace").error().code(), ErrorCode::kRefused);
  ASSERT_TRUE(write_file_durably(folder_ / "secret", "0123456789abcdef\n", 0600));
  EXPECT_EQ(*read_secret_file(folder_ / "secret", kShortestSecret), "0123456789abcdef");
  ASSERT_TRUE(write_file_durably(folder_ / "secret", "short\n", 0600));
  EXPECT_FALSE(read_secret_file(folder_ / "secret", kShortestSecret));
}

TEST_F(Files, SettingsAreCheckedFieldByField) {
  // One by one: GCC 12 takes a temporary of an aggregate's defaults for uninitialised.
  Settings defaults;
  defaults.vm = "lab";
  defaults.kernel = "k1";
  defaults.secret = "/s";
  defaults.users = "/u";
  defaults.state = "/t";
  const auto read = [&](const std::string& text) {
    EXPECT_TRUE(write_file_durably(folder_ / "dvm.json", text));
    return read_settings(folder_ / "dvm.json", defaults);
  };
  const auto good = read(
      R"({"listen":"10.0.0.1:7","seeds":["10.0.0.2:8"],"found":"never","voters":3,"baseline":{"solver":"1"}})");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->listen.port, 7);
  EXPECT_EQ(good->founding, Founding::kNever);
  for (const char* wrong :
       {"", "[]", R"({"vm":"a b"})", R"({"listen":"x"})", R"({"found":"maybe"})", R"({"voters":8})",
        R"({"beat-ms":1})", R"({"seeds":["x"]})", R"({"state":"relative"})"})
    EXPECT_FALSE(read(wrong)) << wrong;
}

}  // namespace
}  // namespace mvm::dvm
