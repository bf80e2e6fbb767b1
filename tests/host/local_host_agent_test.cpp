// The host agent with real nodes: plain processes running the real kernel.
#include "mvm/host/local_host_agent.h"

#include <gmock/gmock.h>
#include <signal.h>

#include <fstream>
#include <future>
#include <thread>

#include "lab_region.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/osvm/process/process.h"

namespace mvm::host {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

class LocalHostAgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = make_temporary_folder("/tmp", "mvm-host-").value();
    ASSERT_EQ(::chmod(folder_.c_str(), 0711), 0);
    rings_ = std::filesystem::path("/dev/shm") / folder_.filename();
    blobs_.emplace(BlobStore::open(folder_ / "blobs").value());
    start();
  }
  void TearDown() override {
    if (agent_) {
      EXPECT_TRUE(agent_->destroy_lab("l1"));
      agent_->stop();
      agent_.reset();
    }
    EXPECT_TRUE(remove_tree(folder_));
    EXPECT_TRUE(remove_tree(rings_));
  }
  void start() {
    std::vector<std::unique_ptr<osvm::Hypervisor>> drivers;
    drivers.push_back(osvm::process::open({.state = folder_ / "processes"}).value());
    HostConfig config{.name = "h1",
                      .state = folder_,
                      .shared_memory = rings_,
                      .node_tree = std::filesystem::path(MVM_BINARY_DIR) / "stage/opt/mvm",
                      .program = std::filesystem::path(MVM_BINARY_DIR) / "bin/mvmd",
                      .images = {{.info = {.name = "host", .kind = "host"}, .spec = {}}}};
    agent_ = LocalHostAgent::create(std::move(config), std::move(drivers), *blobs_, clock_).value();
    const Status recovered = agent_->recover();
    ASSERT_TRUE(recovered) << recovered.error().describe();
  }
  void restart() {
    agent_->stop();
    agent_.reset();
    start();
  }
  void make_node() {
    const auto lab = agent_->ensure_lab(lab_);
    ASSERT_TRUE(lab) << lab.error().describe();
    const auto node = agent_->ensure_node(node_, seconds(30));
    ASSERT_TRUE(node) << node.error().describe();
    EXPECT_EQ(node->state, NodeState::kUp);
    boot_ = node->boot;
  }
  /// Handles events until one has this name; its arguments.
  json await(const std::string& name) {
    const auto deadline = clock_.now() + seconds(30);
    while (clock_.now() < deadline) {
      auto page = agent_->events(epoch_, seq_, milliseconds(500));
      if (!page) break;
      epoch_ = page->epoch;
      for (const HostEvent& event : page->events) {
        seq_ = event.seq;
        if (event.event == "proc.output") output_ += event.blob;
        if (event.event == name) return event.args;
      }
    }
    ADD_FAILURE() << "no event " << name;
    return {};
  }
  /// Sends a signal to all processes of this program that work for our labs; how many there were.
  std::size_t signal_all(const std::string& program, int number) const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string line = read_file(entry.path() / "cmdline", 1 << 20).value_or("");  // it may be gone
      if (line.substr(0, line.find('\0')).ends_with("/" + program) &&
          line.find((folder_ / "labs").string()) != std::string::npos)
        count += ::kill(std::stoi(name), number) == 0 ? 1U : 0U;
    }
    return count;
  }
  Result<CallReply> call(const std::string& op, const json& args) {
    return agent_->call("l1", "n1", op, args, {}, seconds(20));
  }
  Status wire_alone(const std::string& proc) {
    const json steps = {{"attempt", "j1.1"},
                        {"generation", 1},
                        {"domain", "host:h1"},
                        {"queues", json::array()},
                        {"peers", json::array()},
                        {"proxies", json::array()},
                        {"processes",
                         {{{"proc", proc},
                           {"node", "n1"},
                           {"role", "r"},
                           {"index", 0},
                           {"count", 1},
                           {"job", "j1"},
                           {"parameters", json::object()},
                           {"ports", json::array()}}}}};
    return agent_->wire("l1", "j1.1", {.node = "", .steps = steps});
  }
  static json shell(const std::string& proc, const std::string& script) {
    return {{"proc", proc},
            {"attempt", "j1.1"},
            {"job", "j1"},
            {"role", "r"},
            {"index", 0},
            {"count", 1},
            {"argv", {"/bin/sh", "-c", script}},
            {"environment", json::object()},
            {"tree", ""},
            {"staged", json::array()},
            {"limits", json::object()},
            {"kind", "job"}};
  }

  SystemClock clock_;
  std::filesystem::path folder_;
  std::filesystem::path rings_;
  std::optional<BlobStore> blobs_;
  std::unique_ptr<LocalHostAgent> agent_;
  LabSpec lab_{.lab = "l1", .owner = "u", .secret = sha256_hex("secret"), .subnet = "", .proxy = false};
  NodeSpec node_{.lab = "l1",
                 .node = "n1",
                 .job = "",
                 .driver = "process",
                 .image = "host",
                 .vcpus = 1,
                 .memory = 64 << 20,
                 .address = ""};
  std::string boot_;
  std::string epoch_;
  std::uint64_t seq_ = 0;
  std::string output_;
};

TEST_F(LocalHostAgentTest, ANodeBootsTellsWhatItIsAndGoes) {
  make_node();
  const auto info = call("node.info", json::object());
  ASSERT_TRUE(info) << info.error().describe();
  EXPECT_EQ(info->result.value("node", ""), "l1/n1");
  EXPECT_TRUE(agent_->ensure_node(node_, seconds(5))) << "again is no error";
  ASSERT_TRUE(agent_->destroy_lab("l1"));
  EXPECT_TRUE(agent_->inventory()->labs.empty());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "labs/l1"));
  EXPECT_TRUE(agent_->destroy_lab("l1")) << "again is no error";
}

TEST_F(LocalHostAgentTest, AProcessRunsAndItsOutputAndEndArrive) {
  make_node();
  ASSERT_TRUE(wire_alone("j1.1/r[0]"));
  const auto started = call("proc.start", shell("j1.1/r[0]", "echo hello; exit 7"));
  ASSERT_TRUE(started) << started.error().describe();
  EXPECT_EQ(await("proc.exit").value("code", -1), 7);
  EXPECT_EQ(output_, "hello\n");
}

TEST_F(LocalHostAgentTest, ARestartedDaemonAdoptsItsNodesAndMissesNothing) {
  make_node();
  ASSERT_TRUE(wire_alone("j1.1/r[0]"));
  ASSERT_TRUE(call("proc.start", shell("j1.1/r[0]", "read line; echo got $line; exit 5")));
  restart();
  epoch_.clear();
  seq_ = 0;
  EXPECT_TRUE(await("node.up").value("adopted", false));
  const auto again = agent_->ensure_node(node_, seconds(30));
  ASSERT_TRUE(again) << again.error().describe();
  EXPECT_EQ(again->boot, boot_) << "the same boot: it was adopted, not booted again";
  EXPECT_EQ(await("proc.exit").value("code", -1), 5);
  EXPECT_EQ(output_, "got\n");
}

TEST_F(LocalHostAgentTest, AKilledNodeIsReportedLost) {
  make_node();
  ASSERT_TRUE(call("node.info", json::object()));
  signal_all("mvm-kernel", SIGKILL);
  EXPECT_THAT(await("node.lost").value("reason", ""), ::testing::HasSubstr("ended"));
  EXPECT_EQ(call("node.info", json::object()).error().code(), ErrorCode::kUnavailable);
}

TEST_F(LocalHostAgentTest, WhoeverWaitsForANodeThatGoesIsToldAtOnce) {
  const auto ask = [&] {
    return std::async(std::launch::async, [&] {
      return agent_->call("l1", "n1", "node.info", json::object(), {}, seconds(120));
    });
  };
  make_node();
  signal_all("mvm-kernel", SIGSTOP);
  auto asked = ask();
  EXPECT_EQ(asked.wait_for(milliseconds(200)), std::future_status::timeout) << "it is silent, not dead";
  signal_all("mvm-kernel", SIGKILL);
  ASSERT_EQ(asked.wait_for(seconds(30)), std::future_status::ready);
  EXPECT_THAT(asked.get().error().message(), ::testing::HasSubstr("n1 is lost: its VM ended"));
  ASSERT_TRUE(agent_->destroy_lab("l1"));

  make_node();
  signal_all("mvm-kernel", SIGSTOP);
  asked = ask();
  EXPECT_EQ(asked.wait_for(milliseconds(200)), std::future_status::timeout);
  ASSERT_TRUE(agent_->destroy_lab("l1"));
  ASSERT_EQ(asked.wait_for(seconds(1)), std::future_status::ready) << "its lab is destroyed already";
  EXPECT_EQ(asked.get().error().code(), ErrorCode::kUnavailable);
}

TEST_F(LocalHostAgentTest, ALabIsDestroyedThoughOneOfItsNodesNeverComesUp) {
  ASSERT_TRUE(agent_->ensure_lab(lab_));
  auto booting = std::async(std::launch::async, [&] { return agent_->ensure_node(node_, seconds(120)); });
  while (signal_all("mvm-kernel", SIGSTOP) == 0) std::this_thread::yield();
  ASSERT_TRUE(agent_->destroy_lab("l1"));
  ASSERT_EQ(booting.wait_for(seconds(1)), std::future_status::ready);
  EXPECT_TRUE(agent_->inventory()->labs.empty());
}

TEST_F(LocalHostAgentTest, TheDeathOfALabChildIsTold) {
  lab_.proxy = true;
  const auto first = agent_->ensure_lab(lab_);
  ASSERT_TRUE(first) << first.error().describe();
  ASSERT_EQ(signal_all("mvmd", SIGKILL), 1U);
  EXPECT_EQ(await("lab.child").value("port", 0), first->bridge_port);
  const auto second = agent_->ensure_lab(lab_);
  ASSERT_TRUE(second) << "it is loaded again: " << second.error().describe();

  // While nobody looked.
  agent_->stop();
  agent_.reset();
  ASSERT_EQ(signal_all("mvmd", SIGKILL), 1U);
  start();
  epoch_.clear();
  seq_ = 0;
  EXPECT_EQ(await("lab.child").value("port", 1), 0);
}

TEST_F(LocalHostAgentTest, MemoryForGuestsComesAndGoesWithTheLab) {
  lab_.proxy = true;
  lab_.seats = kMostRegionSeats + 1;
  EXPECT_EQ(agent_->ensure_lab(lab_).error().code(), ErrorCode::kInvalid);
  lab_.seats = 2;
  const auto first = agent_->ensure_lab(lab_);
  ASSERT_TRUE(first) << first.error().describe();
  EXPECT_NE(first->region_port, 0);
  EXPECT_NE(first->region_port, first->bridge_port);
  const auto file = region_file(rings_, "l1");
  EXPECT_EQ(std::filesystem::file_size(file), 8U << 20U);
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << "in use";
  restart();
  EXPECT_EQ(agent_->ensure_lab(lab_)->region_port, first->region_port) << "its child lives on";
  EXPECT_EQ(read_file(file, 9 << 20)->substr(0, 6), "in use") << "and so does what is in it";
  // Seats that nobody has.
  const nlohmann::json steps = {{"generation", 1},
                                {"queues", json::array()},
                                {"processes", json::array()},
                                {"peers", {{{"name", "node:n7"}, {"carrier", "ivshmem"}}}}};
  EXPECT_EQ(agent_->wire("l1", "j.1", {.node = "", .steps = steps}).error().code(), ErrorCode::kInvalid);
  ASSERT_EQ(signal_all("mvmd", SIGKILL), 1U);
  EXPECT_TRUE(agent_->destroy_lab("l1"));
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(LocalHostAgentTest, BlobsTravelBothWays) {
  make_node();
  std::string bytes(3'000'000, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 + i / 1000);
  const std::string digest = blobs_->put(bytes).value();
  const Status sent = agent_->send_blob("l1", "n1", digest);
  ASSERT_TRUE(sent) << sent.error().describe();
  ASSERT_TRUE(blobs_->remove(digest));
  const Status fetched = agent_->fetch_blob("l1", "n1", digest);
  ASSERT_TRUE(fetched) << fetched.error().describe();
  EXPECT_EQ(blobs_->read_whole(digest, bytes.size()).value(), bytes);
}

TEST_F(LocalHostAgentTest, TheSameBlobMayBeSentByManyAtOnce) {
  make_node();
  const std::string digest = blobs_->put(std::string(2'000'000, 's')).value();
  std::vector<std::future<Status>> senders;
  for (int i = 0; i < 6; ++i)
    senders.push_back(std::async(std::launch::async, [&] { return agent_->send_blob("l1", "n1", digest); }));
  for (auto& sender : senders) {
    const Status sent = sender.get();
    EXPECT_TRUE(sent) << sent.error().describe();
  }
}

TEST_F(LocalHostAgentTest, WhatCannotBeIsRefusedAndLeavesNothing) {
  EXPECT_EQ(agent_->ensure_lab({.lab = "../x", .owner = "u", .secret = sha256_hex("s")}).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(agent_->ensure_node(node_, seconds(1)).error().code(), ErrorCode::kNotFound);
  ASSERT_TRUE(agent_->ensure_lab(lab_));
  NodeSpec wrong = node_;
  wrong.image = "no-such";
  EXPECT_EQ(agent_->ensure_node(wrong, seconds(1)).error().code(), ErrorCode::kNotFound);
  wrong = node_;
  wrong.node = "n2";
  wrong.driver = "lxc";
  EXPECT_EQ(agent_->ensure_node(wrong, seconds(1)).error().code(), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace mvm::host
