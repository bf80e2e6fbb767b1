// What every provider promises: docs/formats/rmix.md. One suite over all of them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <csignal>
#include <fstream>
#include <future>
#include <limits>
#include <optional>
#include <set>
#include <thread>

#include "componentvm/rmix/probe.h"
#include "componentvm/rmix/ways.h"
#include "mvm/base/subprocess.h"
#include "mvm/rmix/client.h"
#include "mvm/rmix/server.h"
#include "mvm/soap/certificate.h"

namespace mvm::rmix::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using testing::ElementsAre;
using testing::IsEmpty;

Clock::Instant in(std::chrono::milliseconds time) { return steady_clock::now() + time; }

template <class Condition>
bool eventually(Condition condition) {
  const auto deadline = in(20s);
  while (!condition()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// A folder with the certificates of two ends, and a server in this process at every endpoint.
class World {
 public:
  World() : folder_(*make_temporary_folder("/tmp", "mvm-rmix.")) {
    // The same for all: making keys takes its time.
    static const std::array<TlsIdentity, 2> kIdentities = make_identities(folder_ / "authority");
    own_ = kIdentities[0];
    other_ = kIdentities[1];
    write("own.crt", own_.certificate);
    write("own.key", own_.key);
    write("ca.crt", own_.authority);
  }
  ~World() { EXPECT_TRUE(remove_tree(folder_)); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] Server::Options server_options() const { return {.permission = {}, .tls = own_}; }
  [[nodiscard]] std::unique_ptr<Client> client(std::string token = {}) const {
    return Client::create(providers(), {.token = std::move(token), .tls = other_});
  }

 private:
  static std::array<TlsIdentity, 2> make_identities(const std::filesystem::path& folder) {
    const auto authority = soap::CertificateAuthority::open(folder);
    std::array<TlsIdentity, 2> made;
    for (std::size_t i = 0; i < made.size(); ++i) {
      const auto issued = authority->issue_for_links("lab", "end-" + std::to_string(i));
      made[i] = {issued->certificate, issued->key, authority->certificate()};
    }
    return made;
  }
  void write(const char* name, const std::string& text) const { std::ofstream(folder_ / name) << text; }

  std::filesystem::path folder_;
  TlsIdentity own_, other_;
};

class Conformance : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    server_ = Server::create(providers(), world_.server_options());
    ASSERT_TRUE(server_->add("probe", probe_));
    const auto open = server_->listen(endpoint_in(GetParam(), world_.folder()));
    ASSERT_TRUE(open) << open.error().describe();
    client_ = world_.client("secret");
  }
  void TearDown() override { (void)probe_->release(); }

  ProbeClient bind() {
    auto bound = ProbeClient::bind(*client_, *Address::read(*server_->reference("probe")));
    EXPECT_TRUE(bound) << bound.error().describe();
    return std::move(*bound);
  }
  bool held(std::uint32_t how_many = 1) {
    return eventually([&] { return *probe_->holding() == how_many; });
  }

  /// Whoever uses RMIX need not ignore it; where a provider's ways need that, they see to it.
  struct SignalsOfPipes {
    SignalsOfPipes() { (void)std::signal(SIGPIPE, SIG_DFL); }
  } signals_;
  World world_;
  std::shared_ptr<ProbeImpl> probe_ = std::make_shared<ProbeImpl>();
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
};

template <class T>
const Failure& failure_of(const Reply<T>& reply) {
  static const Failure none{Error(ErrorCode::kFailed, "it did not fail"), Fate::kRan};
  return reply.failure() == nullptr ? none : *reply.failure();
}

Everything smallest() {
  return {.truth = false,
          .i8 = std::numeric_limits<std::int8_t>::min(),
          .i16 = std::numeric_limits<std::int16_t>::min(),
          .i32 = std::numeric_limits<std::int32_t>::min(),
          .i64 = std::numeric_limits<std::int64_t>::min(),
          .f32 = std::numeric_limits<float>::denorm_min(),
          .f64 = -std::numeric_limits<double>::infinity()};
}

Everything largest() {
  return {.truth = true,
          .i8 = std::numeric_limits<std::int8_t>::max(),
          .i16 = std::numeric_limits<std::int16_t>::max(),
          .i32 = std::numeric_limits<std::int32_t>::max(),
          .i64 = std::numeric_limits<std::int64_t>::max(),
          .u8 = 255,
          .u16 = 65535,
          .u32 = 4294967295U,
          .u64 = 18446744073709551615ULL,
          .f32 = std::numeric_limits<float>::max(),
          .f64 = std::numeric_limits<double>::denorm_min(),
          .text = " <&>\"' \xc3\xa4\xe2\x82\xac\xf0\x9d\x84\x9e\ttab\nline\rreturn ",
          .raw = {std::byte{0}, std::byte{255}, std::byte{7}},
          .point = {0.1, -1e300},
          .points = {{1, 2}, {3, 4}},
          .texts = {"", "a", ""},
          .raws = {{}, {std::byte{1}}},
          .rows = {{1, -2}, {}, {3}},
          .flags = {true, false, true},
          .version = 3};
}

TEST_P(Conformance, EveryTypeOfValueTravels) {
  ProbeClient probe = bind();
  for (const Everything& value : {smallest(), largest()}) {
    auto back = probe.echo(value);
    ASSERT_TRUE(back) << failure_of(back).error.describe();
    EXPECT_TRUE(*back == value);
  }
  Everything odd;
  odd.f64 = std::nan("");
  odd.f32 = -0.0F;
  const auto back = probe.echo(odd);
  ASSERT_TRUE(back) << failure_of(back).error.describe();
  EXPECT_TRUE(std::isnan(back->f64));
  EXPECT_TRUE(std::signbit(back->f32));
}

TEST_P(Conformance, ExceptionsAndFailuresDiffer) {
  ProbeClient probe = bind();
  EXPECT_EQ(*probe.walk({1, 2}, 3), (Point{4, 2}));
  const auto far = probe.walk({1, 2}, 2000);
  ASSERT_NE(far.exception(), nullptr);
  EXPECT_EQ(far.as<TooFar>(), (TooFar{2000, {1, 2}}));
  EXPECT_FALSE(far.as<Nowhere>());
  const auto nowhere = probe.walk({1, 2}, std::nan(""));
  EXPECT_TRUE(nowhere.as<Nowhere>());

  const auto stumbled = probe.stumble("over a <stone>");
  EXPECT_EQ(failure_of(stumbled).error.code(), ErrorCode::kConflict);
  EXPECT_THAT(failure_of(stumbled).error.message(), testing::HasSubstr("over a <stone>"));
  EXPECT_EQ(failure_of(stumbled).fate, Fate::kRan);

  const auto wrong = probe.stumble("bell \x07");
  EXPECT_EQ(failure_of(wrong).error.code(), ErrorCode::kInvalid);
  EXPECT_EQ(failure_of(wrong).fate, Fate::kNotRun);
}

TEST_P(Conformance, CallsOfAReferenceRunInOrder) {
  ProbeClient probe = bind();
  std::vector<std::string> expected;
  std::vector<Future<void>> futures;
  for (int i = 0; i < 300; ++i) {
    std::string text = std::to_string(i);
    expected.push_back(text);
    if (i % 3 == 0) {
      ASSERT_TRUE(probe.note(text));
    } else {
      futures.push_back(probe.start_append(text));
    }
    text[0] = 'x';  // the call has its own
  }
  const auto list = probe.list();
  ASSERT_TRUE(list) << failure_of(list).error.describe();
  EXPECT_EQ(*list, expected);
  for (const auto& future : futures) EXPECT_TRUE(future.get());
}

TEST_P(Conformance, ArgumentsAreCopiedBeforeTheCallReturns) {
  ProbeClient probe = bind();
  auto held_call = probe.start_hold();
  ASSERT_TRUE(held());
  std::vector<Value> arguments{Value::of<std::string>("as it was")};
  const auto call = probe.remote().start(*probe.description()->find("append"), arguments);
  *arguments[0].get<std::string>() = "as it is now";
  (void)probe_->release();
  EXPECT_TRUE(*held_call.get());
  EXPECT_TRUE(std::holds_alternative<Value>(call.get()));
  EXPECT_THAT(*probe.list(), ElementsAre("as it was"));
}

TEST_P(Conformance, ConcurrentMethodsOvertake) {
  ProbeClient probe = bind();
  auto held_call = probe.start_hold();
  ASSERT_TRUE(held());
  auto behind = probe.start_append("behind");
  EXPECT_EQ(*probe.holding(), 1U);
  EXPECT_EQ(*probe.double_(21), 42);
  EXPECT_FALSE(behind.call().over());
  EXPECT_TRUE(probe.release());
  EXPECT_TRUE(*held_call.get());
  EXPECT_TRUE(behind.get());
}

TEST_P(Conformance, ACallThatWaitsIsCancelledAsNotRun) {
  ProbeClient probe = bind();
  auto held_call = probe.start_hold();
  ASSERT_TRUE(held());
  auto doomed = probe.start_append("doomed");
  auto other = probe.start_append("other");
  EXPECT_EQ(doomed.call().cancel(in(20s)), Fate::kNotRun);
  const auto reply = doomed.get();
  EXPECT_EQ(failure_of(reply).error.code(), ErrorCode::kCancelled);
  (void)probe_->release();
  EXPECT_TRUE(other.get());
  EXPECT_TRUE(*held_call.get());
  EXPECT_THAT(*probe.list(), ElementsAre("other"));
  EXPECT_EQ(other.call().cancel(in(20s)), Fate::kRan) << "it is over";
}

TEST_P(Conformance, ACallThatRunsIsToldToStop) {
  ProbeClient probe = bind();
  auto patient = probe.start_hold();
  ASSERT_TRUE(held());
  if (GetParam().tells_cancel) {
    EXPECT_EQ(patient.call().cancel(in(20s)), Fate::kRan);
    EXPECT_FALSE(*patient.get());
  } else {
    EXPECT_EQ(patient.call().cancel(in(-1s)), Fate::kUnknown);
    (void)probe_->release();
  }
  ASSERT_TRUE(held(0));

  auto hasty = probe.start_hold();
  ASSERT_TRUE(held());
  if (const Fate fate = hasty.call().cancel(in(-1s)); GetParam().tells_cancel && fate == Fate::kRan) {
    EXPECT_FALSE(*hasty.get()) << "it was told, and quicker than who asked";
  } else {
    EXPECT_EQ(fate, Fate::kUnknown) << "nobody waited for the answer";
    EXPECT_EQ(failure_of(hasty.get()).error.code(), ErrorCode::kCancelled);
  }
  (void)probe_->release();
  ASSERT_TRUE(held(0));
  EXPECT_THAT(*probe.list(), IsEmpty());
}

TEST_P(Conformance, ACallbackThatWaitsOrDropsItsReferenceHangsNobody) {
  auto probe = std::make_unique<ProbeClient>(bind());
  auto held_call = probe->start_hold();
  ASSERT_TRUE(held());
  const auto behind = probe->start_append("behind");
  std::promise<ErrorCode> told;
  auto code = told.get_future();
  held_call.call().then([&](const Outcome&) {
    const auto* failure = std::get_if<Failure>(&behind.call().get());
    probe.reset();
    told.set_value(failure == nullptr ? ErrorCode::kConflict : failure->error.code());  // it was quicker
  });
  (void)probe_->release();
  ASSERT_EQ(code.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(code.get(), ErrorCode::kConflict);
  EXPECT_TRUE(held_call.call().over());
}

TEST_P(Conformance, ADeadlineEndsTheCall) {
  ProbeClient probe = bind();
  const auto begin = steady_clock::now();
  auto held_call = probe.start_hold({.deadline = in(100ms)});
  ASSERT_TRUE(held());
  auto behind = probe.start_append("behind", {.deadline = in(50ms)});
  const auto late = held_call.get();
  EXPECT_EQ(failure_of(late).error.code(), ErrorCode::kTimeout);
  EXPECT_EQ(failure_of(late).fate, Fate::kUnknown);
  EXPECT_EQ(failure_of(behind.get()).error.code(), ErrorCode::kTimeout);
  EXPECT_LT(steady_clock::now() - begin, 10s);
  (void)probe_->release();
  ASSERT_TRUE(held(0));
  EXPECT_THAT(*probe.list(), IsEmpty()) << "its deadline had passed when its turn came";
}

TEST_P(Conformance, OneWayCallsRunOnceInOrder) {
  ProbeClient probe = bind();
  std::vector<std::string> expected;
  for (int i = 0; i < 200; ++i) {
    expected.push_back(std::to_string(i));
    ASSERT_TRUE(probe.note(expected.back()));
  }
  ASSERT_TRUE(probe.remote().flush(in(20s)));
  EXPECT_EQ(*probe_->list(), expected);
  EXPECT_EQ(probe.note("bell \x07").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(
      probe.remote().send(*probe.description()->find("append"), {Value::of<std::string>("")}).error().code(),
      ErrorCode::kInvalid);
}

TEST_P(Conformance, BigValuesTravelAndTooBigOnesDoNot) {
  ProbeClient probe = bind();
  Bytes big(9 << 20);
  for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<std::byte>(i * 7 + i / 251);
  const auto back = probe.echo_bytes(big);
  ASSERT_TRUE(back) << failure_of(back).error.describe();
  EXPECT_TRUE(*back == big);
  std::vector<double> numbers(50'000);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = 1.0 / static_cast<double>(i + 1);
  EXPECT_TRUE(*probe.echo_numbers(numbers) == numbers);

  const auto too_big = probe.echo_bytes(Bytes(kMostBytes + 1));
  EXPECT_EQ(failure_of(too_big).error.code(), ErrorCode::kExhausted);
  EXPECT_EQ(failure_of(too_big).fate, Fate::kNotRun);
  EXPECT_EQ(*probe.double_(4), 8) << "the reference goes on";
}

TEST_P(Conformance, ManyThreadsShareAReference) {
  ProbeClient probe = bind();
  std::mutex mutex;
  std::set<std::uint64_t> seen;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const auto count = probe.count();
        ASSERT_TRUE(count) << failure_of(count).error.describe();
        EXPECT_EQ(*probe.double_(t * 1000 + i), 2 * (t * 1000 + i));
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(seen.insert(*count).second);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen.size(), 360U);
  EXPECT_EQ(*seen.rbegin(), 360U);
}

TEST_P(Conformance, WhoCallsIsKnown) {
  ProbeClient probe = bind();
  const auto who = probe.who();
  ASSERT_TRUE(who) << failure_of(who).error.describe();
  const std::string uid = GetParam().scheme == "native+shm" ? std::to_string(::geteuid()) : "-";
  EXPECT_EQ(*who, GetParam().scheme + (GetParam().tells_token ? " secret " : "  ") + uid);
}

TEST_P(Conformance, WhoMayNotCallIsRefused) {
  const auto guarded = std::make_shared<ProbeImpl>();
  ASSERT_TRUE(
      server_->add("guarded", guarded, [](const Caller& caller, const Interface&, const Method& method) {
        if (method.name == "count" && caller.token == "half") return ok();
        if (caller.token == "whole") return ok();
        return Status(Error(ErrorCode::kRefused, "you may not call " + method.name));
      }));
  const auto address = *Address::read(*server_->reference("guarded"));
  if (GetParam().tells_token) {
    const auto whole = world_.client("whole");
    EXPECT_TRUE(ProbeClient::bind(*whole, address)->append("whole"));
    const auto half = world_.client("half");
    auto some = ProbeClient::bind(*half, address);
    ASSERT_TRUE(some) << some.error().describe();
    EXPECT_TRUE(some->count());
    const auto refused = some->append("half");
    EXPECT_EQ(failure_of(refused).error.code(), ErrorCode::kRefused);
    EXPECT_EQ(failure_of(refused).fate, Fate::kNotRun);
  }
  // Providers that connect with their first call say it then.
  auto nobody = ProbeClient::bind(*client_, address);
  const ErrorCode code = nobody ? failure_of(nobody->append("nobody")).error.code() : nobody.error().code();
  EXPECT_EQ(code, ErrorCode::kRefused);
  EXPECT_LE(guarded->list()->size(), 1U);
}

TEST_P(Conformance, AnotherInterfaceIsNotTaken) {
  auto other = std::make_shared<Interface>(*Probe::description());
  other->version = 4;
  Outcome outcome;
  auto bound = client_->bind(*Address::read(*server_->reference("probe")), other);
  if (bound) outcome = (*bound)->call(*other->find("count"), {});
  const ErrorCode code = bound ? std::get<Failure>(outcome).error.code() : bound.error().code();
  EXPECT_THAT(code, testing::AnyOf(ErrorCode::kUnsupported, ErrorCode::kNotFound));
  EXPECT_EQ(*probe_->count(), 1U);
}

TEST_P(Conformance, AServiceThatIsRemovedIsNotFound) {
  ProbeClient probe = bind();
  auto held_call = probe.start_hold();
  ASSERT_TRUE(held());
  std::thread remover([&] { EXPECT_TRUE(server_->remove("probe")); });
  ASSERT_TRUE(eventually([&] { return !server_->reference("probe"); }));
  (void)probe_->release();
  EXPECT_TRUE(*held_call.get()) << "calls that run are let end";
  remover.join();
  const auto late = probe.append("late");
  EXPECT_EQ(failure_of(late).error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(failure_of(late).fate, Fate::kNotRun);
}

TEST_P(Conformance, AClosedEndpointLetsCallsEnd) {
  ProbeClient probe = bind();
  auto held_call = probe.start_hold();
  ASSERT_TRUE(held());
  std::thread closer([&] { EXPECT_TRUE(server_->close(server_->endpoints().front())); });
  ASSERT_TRUE(eventually([&] { return server_->endpoints().empty(); }));
  (void)probe_->release();
  EXPECT_TRUE(*held_call.get());
  closer.join();
  const auto late = probe.append("late");
  EXPECT_EQ(failure_of(late).error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(*probe_->list(), IsEmpty());
}

/// A server in a process of its own.
struct Elsewhere {
  std::optional<Subprocess> process;
  std::string reference;

  Elsewhere(const std::string& endpoint, const std::filesystem::path& folder) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const UniqueFd read_end(ends[0]);
    UniqueFd write_end(ends[1]);
    auto started = Subprocess::spawn(
        {.argv = {std::string(MVM_BINARY_DIR) + "/tests/rmix_probe_server", endpoint, folder.string()},
         .standard_output = write_end.get()});
    EXPECT_TRUE(started);
    write_end.reset();
    process = std::move(*started);
    char one = 0;
    while (::read(read_end.get(), &one, 1) == 1 && one != '\n') reference += one;
    if (reference.empty()) reference = "none none:";
  }
};

TEST_P(Conformance, AServerThatIsKilledInACallIsKnownAtOnce) {
  ASSERT_TRUE(make_folders(world_.folder() / "elsewhere"));
  const Elsewhere elsewhere(endpoint_in(GetParam(), world_.folder() / "elsewhere"), world_.folder());
  auto probe = ProbeClient::bind(*client_, *Address::read(elsewhere.reference));
  ASSERT_TRUE(probe) << probe.error().describe();
  auto held_call = probe->start_hold();
  auto behind = probe->start_append("behind");
  ASSERT_TRUE(eventually([&] { return *probe->holding() == 1; }));
  elsewhere.process->signal(SIGKILL);
  const auto begin = steady_clock::now();
  EXPECT_EQ(failure_of(held_call.get()).error.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(failure_of(held_call.get()).fate, Fate::kUnknown);
  EXPECT_EQ(failure_of(behind.get()).error.code(), ErrorCode::kUnavailable);
  EXPECT_LT(steady_clock::now() - begin, 5s);
  const auto late = probe->append("late");
  EXPECT_EQ(failure_of(late).error.code(), ErrorCode::kUnavailable);
  EXPECT_EQ(failure_of(late).fate, Fate::kNotRun);
}

TEST_P(Conformance, WhoHearsThatACallIsLostMayCancelOthers) {
  ASSERT_TRUE(make_folders(world_.folder() / "elsewhere"));
  const Elsewhere elsewhere(endpoint_in(GetParam(), world_.folder() / "elsewhere"), world_.folder());
  auto probe = ProbeClient::bind(*client_, *Address::read(elsewhere.reference));
  ASSERT_TRUE(probe) << probe.error().describe();
  const auto held_call = probe->start_hold();
  std::vector<Future<void>> behind;
  for (int i = 0; i < 4; ++i) behind.push_back(probe->start_append("behind"));
  ASSERT_TRUE(eventually([&] { return *probe->holding() == 1; }));
  // Those of a connection end one after another, and those that no other connection takes likewise.
  std::atomic<int> heard{0};
  const auto cancels = [&](const Pending& other) {
    return [&heard, other](const Outcome&) {
      EXPECT_NE(other.cancel(in(60s)), Fate::kRan);
      ++heard;
    };
  };
  held_call.call().then(cancels(behind[3].call()));
  behind[0].call().then(cancels(behind[1].call()));
  behind[1].call().then(cancels(behind[2].call()));
  elsewhere.process->signal(SIGKILL);
  const auto begin = steady_clock::now();
  for (const auto& call : behind) EXPECT_NE(failure_of(call.get()).fate, Fate::kRan);
  ASSERT_TRUE(eventually([&] { return heard == 3; }));
  EXPECT_LT(steady_clock::now() - begin, 15s);
}

INSTANTIATE_TEST_SUITE_P(Providers, Conformance, testing::ValuesIn(ways()), [](const auto& about) {
  std::string name = about.param.scheme;
  std::replace(name.begin(), name.end(), '+', '_');
  return name;
});

/// One service at all endpoints at once.
class AllAtOnce : public testing::Test {
 protected:
  void SetUp() override {
    server_ = Server::create(providers(), world_.server_options());
    ASSERT_TRUE(server_->add("probe", probe_));
    for (const Way& way : ways()) {
      const auto open = server_->listen(endpoint_in(way, world_.folder()));
      ASSERT_TRUE(open) << open.error().describe();
    }
    client_ = world_.client();
    address_ = *Address::read(*server_->reference("probe"));
  }
  void TearDown() override { (void)probe_->release(); }

  World world_;
  std::shared_ptr<ProbeImpl> probe_ = std::make_shared<ProbeImpl>();
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
  Address address_;
};

TEST_F(AllAtOnce, OneServiceBehavesTheSameOverAll) {
  const InterfacePtr interface = Probe::description();
  std::vector<std::shared_ptr<Remote>> remotes;
  for (const Way& way : ways()) {
    auto bound = client_->bind(address_, interface, {.scheme = way.scheme});
    ASSERT_TRUE(bound) << bound.error().describe();
    remotes.push_back(std::move(*bound));
  }
  const auto point = [](double x) { return Convert<Point>::to({x, 0.5}); };
  const std::vector<std::pair<std::string, std::vector<Value>>> calls{
      {"echo", {Convert<Everything>::to(largest())}},
      {"walk", {point(1), Value::of<double>(1)}},
      {"walk", {point(1), Value::of<double>(5000)}},
      {"walk", {point(1), Value::of<double>(std::nan(""))}},
      {"stumble", {Value::of<std::string>("so it is")}},
      {"double", {Value::of<std::int64_t>(-4)}}};
  const auto told = [](const Outcome& outcome) {
    if (const auto* failed = std::get_if<Failure>(&outcome))
      return std::string(to_string(failed->error.code())) + " " + failed->error.message() + " " +
             std::string(to_string(failed->fate));
    const auto* raised = std::get_if<Exception>(&outcome);
    return raised == nullptr ? std::string() : raised->name;
  };
  for (const auto& [name, arguments] : calls) {
    const Outcome expected = remotes.front()->call(*interface->find(name), arguments);
    for (const auto& remote : remotes) {
      const Outcome outcome = remote->call(*interface->find(name), arguments);
      ASSERT_EQ(outcome.index(), expected.index())
          << remote->protocol() << ' ' << name << ' ' << told(outcome);
      EXPECT_EQ(told(outcome), told(expected)) << remote->protocol() << ' ' << name;
      if (const auto* value = std::get_if<Value>(&outcome)) {
        EXPECT_TRUE(*value == std::get<Value>(expected)) << remote->protocol() << ' ' << name;
      }
      if (const auto* raised = std::get_if<Exception>(&outcome)) {
        EXPECT_TRUE(raised->fields == std::get<Exception>(expected).fields)
            << remote->protocol() << ' ' << name;
      }
    }
  }
  // Each reference has its own order; they share the object.
  std::vector<Pending> pending;
  for (int i = 0; i < 20; ++i)
    for (const auto& remote : remotes)
      pending.push_back(
          remote->start(*interface->find("append"), {Value::of<std::string>(std::to_string(i))}));
  for (const Pending& call : pending) EXPECT_TRUE(std::holds_alternative<Value>(call.get()));
  EXPECT_EQ(probe_->list()->size(), 20 * remotes.size());
}

TEST_F(AllAtOnce, TheCheapestThatAnswersIsTaken) {
  ProbeClient cheapest = *ProbeClient::bind(*client_, address_);
  EXPECT_EQ(cheapest.remote().protocol(), "native+shm");
  Address partly = address_;
  for (std::string& endpoint : partly.endpoints)
    if (endpoint.starts_with("native+shm")) endpoint = "native+shm:" + world_.folder().string() + "/nobody";
  partly.endpoints.insert(partly.endpoints.begin(), "carrier-pigeon://roof");
  ProbeClient next = *ProbeClient::bind(*client_, partly);
  EXPECT_EQ(next.remote().protocol(), "native+tcp");
  EXPECT_EQ(*next.double_(1), 2);
  const auto none = ProbeClient::bind(*client_, {.service = "probe", .endpoints = {"carrier-pigeon://roof"}});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::kUnavailable);
}

TEST_F(AllAtOnce, AReferenceSwitchesUnderLoadAndLosesNothing) {
  ProbeClient probe = *ProbeClient::bind(*client_, address_);
  std::atomic<bool> over{false};
  std::mutex mutex;
  std::set<std::uint64_t> counts;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      while (!over) {
        const auto count = probe.count();
        ASSERT_TRUE(count) << failure_of(count).error.describe();
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(counts.insert(*count).second);
      }
    });
  std::vector<std::string> expected;
  std::vector<Future<void>> futures;
  threads.emplace_back([&] {
    for (int i = 0; !over; ++i) {
      expected.push_back(std::to_string(i));
      if (i % 2 == 0) {
        ASSERT_TRUE(probe.note(expected.back()));
      } else {
        futures.push_back(probe.start_append(expected.back()));
      }
      if (i % 64 == 63) {
        ASSERT_TRUE(futures.back().get());
      }
    }
  });
  for (int round = 0; round < 4; ++round)
    for (const Way& way : ways()) {
      const Status switched = probe.remote().switch_to(way.scheme, in(20s));
      ASSERT_TRUE(switched) << switched.error().describe();
      EXPECT_EQ(probe.remote().protocol(), way.scheme);
      const std::size_t before = *probe_->count();
      EXPECT_TRUE(eventually([&] { return *probe_->count() > before + 5; }));
    }
  over = true;
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(probe.remote().flush(in(20s)));
  for (const auto& future : futures) EXPECT_TRUE(future.get());
  EXPECT_EQ(*probe_->list(), expected) << "none lost, doubled or out of order";
}

TEST_F(AllAtOnce, AClientMayGoWhileADeadlineIsTold) {
  auto probe = ProbeClient::bind(*client_, address_);
  ASSERT_TRUE(probe) << probe.error().describe();
  const auto late = probe->start_hold({.deadline = in(500ms)});
  std::promise<void> told, gone;
  auto told_of = told.get_future();
  late.call().then([&told, is_gone = gone.get_future().share()](const Outcome&) {
    told.set_value();
    (void)is_gone.wait_for(20s);
  });
  told_of.wait();
  { const auto dropped = std::move(probe); }
  client_.reset();
  gone.set_value();
  EXPECT_EQ(failure_of(late.get()).error.code(), ErrorCode::kTimeout);
}

TEST_F(AllAtOnce, ASwitchThatCannotBeMadeChangesNothing) {
  ProbeClient probe = *ProbeClient::bind(*client_, address_);
  EXPECT_FALSE(probe.remote().switch_to("carrier-pigeon", in(20s)));
  auto held_call = probe.start_hold();
  ASSERT_TRUE(eventually([&] { return *probe_->holding() == 1; }));
  const Status late = probe.remote().switch_to("native+tcp", in(50ms));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::kTimeout);
  EXPECT_EQ(probe.remote().protocol(), "native+shm");
  EXPECT_EQ(*probe.double_(5), 10);
  (void)probe_->release();
  EXPECT_TRUE(*held_call.get());
}

}  // namespace
}  // namespace mvm::rmix::test
