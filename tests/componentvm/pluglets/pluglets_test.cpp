// Pluglets in a container, components over two of them, and the plug-in in a real kernel.

#include <future>

#include "componentvm/kernel/node.h"
#include "componentvm/pluglets/calc.h"
#include "mvm/pluglets/builder.h"
#include "mvm/rmix/providers.h"

namespace mvm::pluglets {
namespace {

using rmix::Outcome;
using rmix::Value;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::chrono_literals;
namespace calc = testing_calc;

constexpr const char* kTree = MVM_BINARY_DIR "/tests/pluglets";
const Actor kProvider{.provider = true, .names = {}};

const rmix::Providers& providers() {
  static const rmix::Providers all = rmix::Providers::load(MVM_BINARY_DIR "/lib/mvm/rmix");
  return all;
}

std::unique_ptr<Container> container(const std::string& node = "lab/a", const std::string& rules = "[]",
                                     const std::string& token = {}) {
  auto policy =
      Policy::read("{\"rules\": " + rules + ", \"tokens\": {\"" + sha256_hex("ada's") + "\": \"ada\"}}");
  EXPECT_TRUE(policy) << policy.error().describe();
  return Container::create({.folder = std::string(kTree) + "/lib/mvm/pluglets",
                            .node = node,
                            .policy = policy ? *policy : Policy(),
                            .tls = {},
                            .token = token},
                           providers());
}

Deployment calc_of(const std::string& id, std::map<std::string, std::string> parameters = {}) {
  return {.type = "calc", .id = id, .parameters = std::move(parameters)};
}

std::vector<Value> numbers(std::int32_t a, std::int32_t b) {
  return {Value::of<std::int32_t>(a), Value::of<std::int32_t>(b)};
}

/// -1 and the reason on standard output where it is no number.
std::int32_t number_in(const Outcome& outcome) {
  if (const auto* value = std::get_if<Value>(&outcome))
    if (const auto* number = value->get<std::int32_t>()) return *number;
  if (const auto* failure = std::get_if<rmix::Failure>(&outcome))
    std::cout << failure->error.describe() << '\n';
  return -1;
}

ErrorCode code_of(const Outcome& outcome) {
  const auto* failure = std::get_if<rmix::Failure>(&outcome);
  return failure != nullptr ? failure->error.code() : ErrorCode::kExists;
}

bool eventually(const std::function<bool()>& so) {
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (!so()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

class PlugletsTest : public testing::Test {
 protected:
  std::shared_ptr<rmix::Remote> bind(Container& to, const std::string& id, rmix::InterfacePtr interface,
                                     const std::string& token = "ada's") {
    const auto reference = to.reference(kProvider, id, "sum");
    EXPECT_TRUE(reference) << reference.error().describe();
    clients_.push_back(rmix::Client::create(providers(), {.token = token}));
    auto remote = clients_.back()->bind(*rmix::Address::read(*reference), std::move(interface));
    EXPECT_TRUE(remote) << remote.error().describe();
    return remote ? *remote : nullptr;
  }
  /// Started.
  static void run(Container& in, const Deployment& deployment) {
    const auto uri = in.deploy(kProvider, deployment);
    ASSERT_TRUE(uri) << uri.error().describe();
    const Status started = in.act(kProvider, deployment.id, Event::kStart);
    ASSERT_TRUE(started) << started.error().describe();
  }
  std::vector<std::unique_ptr<rmix::Client>> clients_;
};

constexpr const char* kAnyoneCalls = R"([{"who": ["anyone"], "may": ["call"], "pluglets": ["*"]}])";

TEST_F(PlugletsTest, APlugletIsDeployedServesSleepsAndGoes) {
  auto here = container("lab/a", kAnyoneCalls);
  ASSERT_TRUE(here->listen("native+tcp://127.0.0.1:0"));
  EXPECT_EQ(*here->deploy(kProvider, calc_of("one", {{"bonus", "5"}})), "pluglet:lab/a/one");
  EXPECT_EQ(here->deploy(kProvider, calc_of("one")).error().code(), ErrorCode::kExists);
  EXPECT_EQ(here->deploy(kProvider, {.type = "none", .id = "n", .parameters = {}}).error().code(),
            ErrorCode::kNotFound);
  EXPECT_EQ(here->deploy(kProvider, {.type = "../calc", .id = "n", .parameters = {}}).error().code(),
            ErrorCode::kRefused);
  EXPECT_EQ(here->deploy(kProvider, calc_of("Wrong/Name")).error().code(), ErrorCode::kInvalid);
  const auto remote = bind(*here, "one", calc::calc_interface());
  ASSERT_TRUE(remote);
  EXPECT_EQ(code_of(remote->call(calc::kAdd, numbers(1, 2))), ErrorCode::kUnavailable) << "not started";
  ASSERT_TRUE(here->act(kProvider, "one", Event::kStart));
  EXPECT_EQ(number_in(remote->call(calc::kAdd, numbers(1, 2))), 8);
  EXPECT_EQ(here->act(kProvider, "one", Event::kStart).error().code(), ErrorCode::kConflict);
  EXPECT_EQ(here->act(kProvider, "one", Event::kDestroy).error().code(), ErrorCode::kConflict);
  ASSERT_TRUE(here->act(kProvider, "one", Event::kSuspend));
  EXPECT_EQ(code_of(remote->call(calc::kAdd, numbers(1, 2))), ErrorCode::kUnavailable);
  ASSERT_TRUE(here->act(kProvider, "one", Event::kResume));
  EXPECT_EQ(number_in(remote->call(calc::kAdd, numbers(1, 2))), 8);
  ASSERT_TRUE(here->act(kProvider, "one", Event::kStop));
  ASSERT_TRUE(here->act(kProvider, "one", Event::kStart)) << "again";
  ASSERT_TRUE(here->act(kProvider, "one", Event::kStop));
  ASSERT_TRUE(here->act(kProvider, "one", Event::kDestroy));
  EXPECT_NE(code_of(remote->call(calc::kAdd, numbers(1, 2))), ErrorCode::kExists);
  EXPECT_EQ(here->act(kProvider, "one", Event::kStart).error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(here->list(kProvider), IsEmpty());
  // Several of one type, each with its own state; names are drawn where none is given.
  EXPECT_EQ(*here->deploy(kProvider, calc_of("")), "pluglet:lab/a/calc-1");
  EXPECT_EQ(*here->deploy(kProvider, calc_of("")), "pluglet:lab/a/calc-2");
  ASSERT_TRUE(here->deploy(kProvider, {.type = "other", .id = "awake", .parameters = {}}));
  ASSERT_TRUE(here->act(kProvider, "awake", Event::kStart));
  EXPECT_EQ(here->act(kProvider, "awake", Event::kSuspend).error().code(), ErrorCode::kUnsupported);
}

TEST_F(PlugletsTest, WhatFailsLeavesNothingOrIsFailed) {
  auto here = container();
  EXPECT_THAT(here->deploy(kProvider, calc_of("one", {{"fail", "init"}})).error().describe(),
              HasSubstr("told to fail"));
  EXPECT_THAT(here->list(kProvider), IsEmpty());
  ASSERT_TRUE(here->deploy(kProvider, calc_of("one", {{"fail", "start"}})));
  EXPECT_FALSE(here->act(kProvider, "one", Event::kStart));
  ASSERT_THAT(here->list(kProvider), SizeIs(1));
  EXPECT_EQ(here->list(kProvider)[0].state, State::kFailed);
  EXPECT_THAT(here->list(kProvider)[0].reason, HasSubstr("told to fail"));
  EXPECT_EQ(here->act(kProvider, "one", Event::kStart).error().code(), ErrorCode::kConflict);
  EXPECT_TRUE(here->act(kProvider, "one", Event::kDestroy));
}

TEST_F(PlugletsTest, ThePolicyDecidesWhoDeploysControlsAndCalls) {
  auto here = container("lab/a", R"([{"who": ["user:ada"], "may": ["deploy"], "pluglets": ["calc"]},
                                     {"who": ["owner"], "may": ["all"], "pluglets": ["*"]},
                                     {"who": ["user:bob"], "may": ["call"], "pluglets": ["open*"]}])");
  const Actor ada{.provider = false, .names = {"user:ada"}}, eve{.provider = false, .names = {"user:eve"}};
  EXPECT_EQ(here->deploy(eve, calc_of("x")).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(here->deploy(ada, {.type = "other", .id = "x", .parameters = {}}).error().code(),
            ErrorCode::kRefused);
  ASSERT_TRUE(here->deploy(ada, calc_of("mine")));
  EXPECT_EQ(here->act(eve, "mine", Event::kStart).error().code(), ErrorCode::kRefused);
  EXPECT_TRUE(here->act(ada, "mine", Event::kStart));
  EXPECT_THAT(here->list(eve), IsEmpty());
  EXPECT_THAT(here->list(ada), SizeIs(1));
  EXPECT_EQ(here->reference(eve, "mine", "sum").error().code(), ErrorCode::kRefused);
  EXPECT_EQ(here->connect(eve, "mine", "next", "mine.sum").error().code(), ErrorCode::kRefused);
  // From elsewhere: ada by her token, a client without one not at all.
  ASSERT_TRUE(here->listen("native+tcp://127.0.0.1:0"));
  const auto hers = bind(*here, "mine", calc::calc_interface());
  ASSERT_TRUE(hers);
  EXPECT_EQ(number_in(hers->call(calc::kAdd, numbers(1, 2))), 3);
  const auto client = rmix::Client::create(providers(), {.token = "guessed"});
  const auto address = *rmix::Address::read(*here->reference(kProvider, "mine", "sum"));
  if (auto remote = client->bind(address, calc::calc_interface())) {
    EXPECT_EQ(code_of((*remote)->call(calc::kAdd, numbers(1, 2))), ErrorCode::kRefused);
  } else {
    EXPECT_EQ(remote.error().code(), ErrorCode::kRefused);
  }
}

TEST_F(PlugletsTest, StoppingLetsCallsEndFirst) {
  auto here = container("lab/a", kAnyoneCalls);
  run(*here, calc_of("one", {{"bonus", "7"}}));
  ASSERT_TRUE(here->listen("native+tcp://127.0.0.1:0"));
  const auto remote = bind(*here, "one", calc::calc_interface());
  ASSERT_TRUE(remote);
  std::vector<rmix::Pending> held;
  for (int i = 0; i < 2; ++i) held.push_back(remote->start(calc::kHold, {}));
  ASSERT_TRUE(eventually([&] { return number_in(remote->call(calc::kHolding, {})) == 2; }));
  auto stopping = std::async(std::launch::async, [&] { return here->act(kProvider, "one", Event::kStop); });
  ASSERT_TRUE(eventually([&] {
    return code_of(remote->call(calc::kHolding, {})) == ErrorCode::kUnavailable;
  })) << "new calls are refused";
  EXPECT_EQ(stopping.wait_for(0s), std::future_status::timeout);
  EXPECT_FALSE(held[0].over());
  // What they wait for comes from within: a file, here.
  ASSERT_TRUE(write_file_durably(calc::hold_file(), "go"));
  EXPECT_TRUE(stopping.get());
  for (const auto& one : held) EXPECT_EQ(number_in(one.get()), 7);
  std::filesystem::remove(calc::hold_file());
}

// ---- components -------------------------------------------------------------------------------------------

TEST_F(PlugletsTest, ComponentsAreWiredRewiredAndRefusedByType) {
  auto here = container();
  Builder builder;
  builder.add_site("here", make_site(*here, kProvider));
  const auto made = builder.build({{"front", "here", calc_of("front")},
                                   {"ten", "here", calc_of("ten", {{"bonus", "10"}})},
                                   {"twenty", "here", calc_of("twenty", {{"bonus", "20"}})},
                                   {"alien", "here", {.type = "other", .id = "alien", .parameters = {}}}},
                                  {{"front", "next", "ten", "sum"}});
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ(made->at("front"), "pluglet:lab/a/front");
  const auto views = here->list(kProvider);
  EXPECT_EQ(views[0].wires.at("next"), "ten.sum");
  EXPECT_EQ(views[0].uses.at("next"), "Calc/1");
  ASSERT_TRUE(builder.connect(made->at("front"), "next", made->at("twenty"), "sum"));
  EXPECT_EQ(here->list(kProvider)[0].wires.at("next"), "twenty.sum");
  const Status refused = builder.connect(made->at("front"), "next", made->at("alien"), "sum");
  EXPECT_EQ(refused.error().code(), ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message(), HasSubstr("Other/1"));
  EXPECT_EQ(here->list(kProvider)[0].wires.at("next"), "twenty.sum") << "the old wire stays";
  EXPECT_EQ(builder.connect(made->at("front"), "none", made->at("ten"), "sum").error().code(),
            ErrorCode::kNotFound);
  EXPECT_EQ(builder.connect(made->at("front"), "next", made->at("ten"), "none").error().code(),
            ErrorCode::kNotFound);
  ASSERT_TRUE(builder.disconnect(made->at("front"), "next"));
  EXPECT_THAT(here->list(kProvider)[0].wires, IsEmpty());
  ASSERT_TRUE(builder.destroy(made->at("front")));
  EXPECT_EQ(builder.destroy(made->at("front")).error().code(), ErrorCode::kNotFound);
  // All of an assembly or nothing.
  const auto wrong = builder.build(
      {{"a", "here", calc_of("a")}, {"b", "here", {.type = "other", .id = "b", .parameters = {}}}},
      {{"a", "next", "b", "sum"}});
  EXPECT_EQ(wrong.error().code(), ErrorCode::kUnsupported);
  for (const auto& view : here->list(kProvider)) EXPECT_TRUE(view.id != "a" && view.id != "b");
}

TEST_F(PlugletsTest, OverTwoKernelsCallsInFlightEndOnTheOldWire) {
  auto a = container("lab/a", kAnyoneCalls, "ada's");
  auto b = container("lab/b", R"([{"who": ["user:ada"], "may": ["all"], "pluglets": ["*"]}])");
  ASSERT_TRUE(a->listen("native+tcp://127.0.0.1:0"));
  const auto endpoint = b->listen("native+tcp://127.0.0.1:0");
  ASSERT_TRUE(endpoint) << endpoint.error().describe();
  const auto client = rmix::Client::create(providers(), {.token = "ada's"});
  auto site = make_site(*client, "pluglets " + *endpoint);
  ASSERT_TRUE(site) << site.error().describe();
  Builder builder;
  builder.add_site("a", make_site(*a, kProvider));
  builder.add_site("b", std::move(*site));
  const auto made = builder.build({{"front", "a", calc_of("front")},
                                   {"near", "a", calc_of("near", {{"bonus", "1"}})},
                                   {"far", "b", calc_of("far", {{"bonus", "2"}})}},
                                  {{"front", "next", "far", "sum"}});
  ASSERT_TRUE(made) << made.error().describe();
  EXPECT_EQ(made->at("far"), "pluglet:lab/b/far");
  const auto front = bind(*a, "front", calc::calc_interface());
  const auto far = bind(*b, "far", calc::calc_interface());
  ASSERT_TRUE(front && far);
  EXPECT_EQ(number_in(front->call(calc::kVia, numbers(10, 20))), 1032) << "to the other kernel";
  EXPECT_EQ(code_of(front->call(calc::kVia, numbers(10, 20))), ErrorCode::kExists);
  const rmix::Pending held = front->start(calc::kVia, numbers(-1, 0));
  ASSERT_TRUE(eventually([&] { return number_in(far->call(calc::kHolding, {})) == 1; }));
  ASSERT_TRUE(builder.connect(made->at("front"), "next", made->at("near"), "sum"));
  EXPECT_EQ(number_in(front->call(calc::kVia, numbers(10, 20))), 1031) << "rewired";
  EXPECT_FALSE(held.over());
  ASSERT_TRUE(write_file_durably(calc::hold_file(), "go"));
  EXPECT_EQ(number_in(held.get()), 1002) << "a call that was under way ends on the old wire";
  std::filesystem::remove(calc::hold_file());
  // A stream of calls while it is rewired to and fro: every one is answered by one of the two.
  std::atomic<bool> over = false;
  std::atomic<int> wrong = 0, calls = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&] {
      while (!over) {
        const auto sum = number_in(front->call(calc::kVia, numbers(10, 20)));
        wrong += sum != 1031 && sum != 1032;
        ++calls;
      }
    });
  for (int i = 0; i < 40; ++i)
    EXPECT_TRUE(builder.connect(made->at("front"), "next", made->at(i % 2 == 0 ? "far" : "near"), "sum"));
  EXPECT_TRUE(eventually([&] { return calls > 100; }));
  over = true;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  // A type that does not fit is refused over the wire, too.
  const auto alien = builder.create("b", {.type = "other", .id = "alien", .parameters = {}});
  ASSERT_TRUE(alien) << alien.error().describe();
  EXPECT_FALSE(builder.connect(made->at("front"), "next", *alien, "sum"));
  EXPECT_EQ(number_in(front->call(calc::kVia, numbers(10, 20))), 1031);
  // A stranger's builder may do nothing there.
  const auto stranger = rmix::Client::create(providers(), {.token = "guessed"});
  if (auto theirs = make_site(*stranger, "pluglets " + *endpoint)) {
    EXPECT_EQ((*theirs)->deploy(calc_of("x")).error().code(), ErrorCode::kRefused);
  }
  for (const char* name : {"front", "near", "far"}) EXPECT_TRUE(builder.destroy(made->at(name))) << name;
}

// ---- in a kernel ------------------------------------------------------------------------------------------

TEST_F(PlugletsTest, TheKernelsPluginDeploysAndServesThem) {
  namespace fs = std::filesystem;
  const fs::path prefix = *make_temporary_folder("/tmp", "mvm-prefix-");
  ::chmod(prefix.c_str(), 0755);
  const std::shared_ptr<void> cleanup(nullptr, [&](void*) { EXPECT_TRUE(remove_tree(prefix)); });
  fs::create_directories(prefix / "lib/mvm");
  fs::create_directory_symlink(std::string(kTree) + "/lib/mvm/pluglets", prefix / "lib/mvm/pluglets");
  fs::create_directory_symlink(MVM_BINARY_DIR "/lib/mvm/rmix", prefix / "lib/mvm/rmix");
  {
    kernel::Node node(
        {.arguments = {"--prefix", prefix.string(), "--plugins", MVM_BINARY_DIR "/lib/mvm/plugins"}});
    node.must("node.info");  // its folders are there
    ASSERT_TRUE(
        write_file_durably(node.folder / "run/pluglets.json",
                           R"({"rules": [{"who": ["anyone"], "may": ["call"], "pluglets": ["open"]}]})"));
    node.must("kernel.load", {{"plugins", {"pluglets"}}});
    const auto deployed =
        node.must("pluglet.deploy", {{"type", "calc"}, {"id", "open"}, {"parameters", {{"bonus", "3"}}}});
    EXPECT_EQ(deployed.at("uri"), "pluglet:lab/a/open");
    node.must("pluglet.deploy", {{"type", "calc"}, {"id", "closed"}});
    EXPECT_EQ(node.call("pluglet.deploy", {{"type", "calc"}, {"as", {"user:eve"}}}).error().code(),
              ErrorCode::kRefused);
    EXPECT_EQ(node.call("pluglet.listen", {{"endpoint", "native+tcp://127.0.0.1:0"}, {"as", {"user:eve"}}})
                  .error()
                  .code(),
              ErrorCode::kRefused);
    node.must("pluglet.listen", {{"endpoint", "native+tcp://127.0.0.1:0"}});
    node.must("pluglet.act", {{"id", "open"}, {"event", "start"}});
    node.must("pluglet.act", {{"id", "closed"}, {"event", "start"}});
    node.must("pluglet.connect", {{"id", "open"}, {"port", "next"}, {"target", "closed.sum"}});
    const auto list = node.must("pluglet.list").at("pluglets");
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[0].at("state"), "started");
    EXPECT_EQ(list[0].at("wires").at("next"), "closed.sum");
    const std::string address =
        node.must("pluglet.reference", {{"id", "open"}, {"port", "sum"}}).at("address");
    const auto client = rmix::Client::create(providers(), {});
    const auto remote = client->bind(*rmix::Address::read(address), calc::calc_interface());
    ASSERT_TRUE(remote) << remote.error().describe();
    EXPECT_EQ(number_in((*remote)->call(calc::kAdd, numbers(1, 2))), 6);
    EXPECT_EQ(number_in((*remote)->call(calc::kVia, numbers(1, 2))), 1003);
    EXPECT_EQ(node.call("pluglet.act", {{"id", "open"}, {"event", "fly"}}).error().code(),
              ErrorCode::kInvalid);
    node.must("kernel.unload", {{"plugin", "pluglets"}});
    // A policy that others can write, or that is none, is no policy.
    fs::permissions(node.folder / "run/pluglets.json", fs::perms::others_write, fs::perm_options::add);
    EXPECT_THAT(node.call("kernel.load", {{"plugins", {"pluglets"}}}).error().describe(),
                HasSubstr("pluglets.json"));
    ASSERT_TRUE(write_file_durably(node.folder / "run/pluglets.json", "{"));
    EXPECT_THAT(node.call("kernel.load", {{"plugins", {"pluglets"}}}).error().describe(),
                HasSubstr("pluglets.json"));
  }
}

}  // namespace
}  // namespace mvm::pluglets
