#pragma once
// The command line in process: string streams, a clock moved by hand, a broker in memory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "fakes/fake_broker_api.h"
#include "mvm/base/file.h"
#include "mvm/build/archive.h"
#include "mvm/cli/run.h"
#include "mvm/soap/identity.h"

namespace mvm::cli {

using Json = nlohmann::ordered_json;

/// Time that stands still but for sleeping.
class HandClock final : public Clock {
 public:
  [[nodiscard]] Instant now() const override { return Instant{} + std::chrono::hours(1) + passed; }
  [[nodiscard]] std::int64_t wall_ms() const override { return 1'700'000'100'000 + passed.count(); }
  std::chrono::milliseconds passed{0};
};

class CountedInterrupts final : public Interrupts {
 public:
  void arm() override { armed = true; }
  [[nodiscard]] int count() const override { return pressed; }
  bool armed = false;
  int pressed = 0;
};

/// Jobs of the fake broker behind a line that a test can cut, and with a word in before each long poll.
class UnreliableJobs final : public soap::JobApi {
 public:
  explicit UnreliableJobs(soap::FakeBrokerApi& fake) : fake_(fake) {}
  int broken = 0;                          ///< so many calls fail as if nobody listened
  bool lose_answer = false;                ///< the next submission arrives, but its answer is lost
  std::function<void(int)> before_logs;    ///< with the number of the poll, from 1
  std::vector<std::uint64_t> log_cursors;  ///< of every poll that got through
  int submissions = 0;

  Result<std::vector<soap::Diagnostic>> validate(const soap::Caller& caller,
                                                 const soap::SubmitRequest& request) override {
    return fake_.validate(caller, request);
  }
  Result<soap::PlanView> plan(const soap::Caller& caller, const soap::SubmitRequest& request) override {
    if (down()) return gone();
    return fake_.plan(caller, request);
  }
  Result<std::string> submit(const soap::Caller& caller, const soap::SubmitRequest& request) override {
    ++submissions;
    if (std::exchange(lose_answer, false)) {
      static_cast<void>(fake_.submit(caller, request));
      return gone();
    }
    if (down()) return gone();
    return fake_.submit(caller, request);
  }
  Result<std::vector<soap::JobView>> jobs(const soap::Caller& caller, bool ended) override {
    if (down()) return gone();
    return fake_.jobs(caller, ended);
  }
  Result<soap::JobDetail> job(const soap::Caller& caller, const std::string& id) override {
    if (down()) return gone();
    return fake_.job(caller, id);
  }
  Result<soap::JobDetail> wait_job(const soap::Caller& caller, const std::string& id,
                                   const std::string& state, std::chrono::milliseconds wait) override {
    return fake_.wait_job(caller, id, state, wait);
  }
  Status cancel(const soap::Caller& caller, const std::string& id) override {
    if (down()) return gone();
    return fake_.cancel(caller, id);
  }
  Result<soap::LogPage> logs(const soap::Caller& caller, const soap::LogQuery& query) override {
    if (before_logs) before_logs(++polls_);
    if (down()) return gone();
    log_cursors.push_back(query.cursor);
    soap::LogQuery at_once = query;
    at_once.wait = std::chrono::milliseconds(0);
    return fake_.logs(caller, at_once);
  }
  Result<std::vector<soap::ResultFile>> results(const soap::Caller& caller, const std::string& id) override {
    return fake_.results(caller, id);
  }
  Status remove(const soap::Caller& caller, const std::string& id) override {
    return fake_.remove(caller, id);
  }

 private:
  bool down() { return broken > 0 && broken-- > 0; }
  static Error gone() { return Error(ErrorCode::kUnavailable, "connect: Connection refused"); }
  soap::FakeBrokerApi& fake_;
  int polls_ = 0;
};

/// As the program does it.
inline Status pack_for_real(const std::filesystem::path& folder, const std::filesystem::path& archive) {
  std::ofstream out(archive, std::ios::binary);
  const auto packed = build::pack_directory(folder, [&](std::string_view bytes) -> Status {
    out << bytes;
    return ok();
  });
  if (!packed) return packed.error();
  out.close();
  if (!out) return Error(ErrorCode::kIo, "cannot write " + archive.string());
  return ok();
}

struct Ran {
  int code = 0;
  std::string out, err;
  [[nodiscard]] Json json() const { return Json::parse(out); }
};

class CliTest : public testing::Test {
 public:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    auto made = make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-cli-test-");
    ASSERT_TRUE(made) << made.error().describe();
    folder = *made;
    const auto token = soap::create_token_file(folder / "token", {"ada", "user", ""});
    ASSERT_TRUE(token) << token.error().describe();
    secret = token->secret;
    environment["MVM_TOKEN_FILE"] = (folder / "token").string();
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(folder)); }

  Ran run(const std::vector<std::string>& args) {
    std::istringstream in(input);
    std::ostringstream out, err;
    Context context{.in = in,
                    .out = out,
                    .err = err,
                    .out_is_terminal = out_is_terminal,
                    .err_is_terminal = err_is_terminal,
                    .columns = 100,
                    .clock = clock,
                    .connect = [this](const ConnectOptions& options) -> Result<Connection> {
                      asked = options;
                      if (connect) return connect(options);
                      ++connections;
                      if (unreachable) return Error(ErrorCode::kUnavailable, "connect: Connection refused");
                      return Connection{nullptr, broker.api({.jobs = &jobs})};
                    },
                    .environment = [this](const std::string& name) -> std::optional<std::string> {
                      const auto found = environment.find(name);
                      if (found == environment.end()) return std::nullopt;
                      return found->second;
                    },
                    .sleep =
                        [this](std::chrono::milliseconds time) {
                          clock.passed += time;
                          if (on_sleep) on_sleep();
                        },
                    .interrupts = interrupts,
                    .pack = pack_for_real,
                    .checks = checks,
                    .version = "9.8.7",
                    .directory = folder};
    Ran ran;
    ran.code = cli::run(context, args);
    ran.out = out.str();
    ran.err = err.str();
    return ran;
  }

  std::string write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }
  std::string read(const std::filesystem::path& path) {
    std::ifstream stream(path);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  /// A job of the broker in some state.
  std::string add_job(const std::string& state = "RUNNING", const std::string& reason = {}) {
    const auto id = broker.submit({"ada", "user", ""}, {});
    if (state != "SUBMITTED") broker.set_state(*id, state, reason);
    return *id;
  }
  /// A job file with a source folder; its path.
  std::string write_job(const std::string& more = {}) {
    write("ring.xml", R"xml(<?xml version="1.0" encoding="UTF-8"?>
<topology xmlns="urn:mvm:topology:1" name="ring">
  <param name="n" type="integer" min="2" max="64" default="4"/>
  <role name="cell" count="${n}">
    <port name="from-left" direction="in"/>
    <port name="to-right" direction="out"/>
  </role>
  <pattern kind="ring" role="cell" out="to-right" in="from-left"/>
</topology>
)xml");
    write("src/heat.cpp", "int main() {}\n");
    write("data.csv", "1,2,3\n");
    return write("job.xml", R"xml(<?xml version="1.0" encoding="UTF-8"?>
<job xmlns="urn:mvm:job:1" name="heat">
  <topology ref="ring.xml"/>
  <program role="cell">
    <source path="src/"/>
    <build command="g++ heat.cpp -o heat"/>
    <run>./heat</run>
  </program>
  <machines name="node" role="cell" driver="lxc" image="host" count="2" memory="256MiB"/>
  <stage in="data.csv" to="cell[0]"/>
  <stage out="result.csv" from="cell[0]"/>
)xml" + more + "</job>\n");
  }

  std::filesystem::path folder;
  std::string secret, input;
  HandClock clock;
  CountedInterrupts interrupts;
  soap::FakeBrokerApi broker;
  UnreliableJobs jobs{broker};
  ConnectOptions asked;
  Connect connect;  ///< instead of the broker in memory
  int connections = 0;
  bool unreachable = false;
  bool out_is_terminal = false, err_is_terminal = false;
  std::map<std::string, std::string> environment;
  std::function<void()> on_sleep;
  std::vector<DoctorCheck> checks;
};

}  // namespace mvm::cli
