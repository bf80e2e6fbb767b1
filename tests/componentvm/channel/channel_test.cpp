#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <future>
#include <map>
#include <mutex>

#include "componentvm/channel/relay.h"
#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/channel/blob_transfer.h"
#include "mvm/channel/host_end.h"
#include "mvm/channel/kernel_end.h"

namespace mvm::channel {
namespace {

using namespace std::chrono_literals;

class ChannelTest : public testing::Test {
 protected:
  void SetUp() override { folder_ = *make_temporary_folder("/tmp", "mvm-channel-"); }
  void TearDown() override {
    host_.reset();
    kernel_.reset();
    ASSERT_TRUE(remove_tree(folder_));
  }

  std::unique_ptr<KernelEnd> make_kernel(const std::string& address, const std::string& boot) {
    KernelEnd::Options options{
        .address = address, .node = "lab/a", .boot = boot, .journal = folder_ / "journal"};
    options.redial = 5ms;
    KernelEnd::Callbacks callbacks;
    callbacks.request = [this](Request request) { serve(std::move(request)); };
    callbacks.read_spool = [](const SpoolPart& part) { return std::string(part.length, 's'); };
    auto kernel = KernelEnd::open(std::move(options), std::move(callbacks));
    EXPECT_TRUE(kernel) << kernel.error().describe();
    return std::move(*kernel);
  }
  void start_kernel(const std::string& address, const std::string& boot = "boot1") {
    kernel_ = make_kernel(address, boot);
    ASSERT_TRUE(kernel_->start());
  }
  void start_host(HostEnd::Way way, const std::filesystem::path& path, Position position = {}) {
    HostEnd::Options options{.way = way, .path = path, .node = "lab/a", .position = std::move(position)};
    options.redial = 5ms;
    HostEnd::Callbacks callbacks;
    callbacks.event = [this](const Event& event) { return take(event); };
    callbacks.up = [this](const std::string& boot) {
      const std::lock_guard lock(mutex_);
      ups_.push_back(boot);
      changed_.notify_all();
    };
    callbacks.lost = [this](const Error&) {
      const std::lock_guard lock(mutex_);
      ++lost_;
      changed_.notify_all();
    };
    auto host = HostEnd::start(std::move(options), std::move(callbacks));
    ASSERT_TRUE(host) << host.error().describe();
    host_ = std::move(*host);
  }

  virtual void serve(Request request) {
    {
      const std::lock_guard lock(mutex_);
      ++served_[request.args.value("n", -1)];
    }
    if (request.op == "fail") {
      kernel_->reply(request.id, Error(ErrorCode::kNotFound, "no such thing"));
    } else if (request.op == "silent") {
      const std::lock_guard lock(mutex_);
      unanswered_.push_back(request.id);
      changed_.notify_all();
    } else if (request.op == "descriptors") {
      std::string text;
      for (const UniqueFd& fd : request.descriptors) text += *read_all(fd.get(), 100) + ";";
      kernel_->reply(request.id, Reply{{{"text", text}}, {}});
    } else {
      kernel_->reply(request.id, Reply{{{"op", request.op}, {"args", request.args}}, request.blob});
    }
  }
  Status take(const Event& event) {
    const std::lock_guard lock(mutex_);
    if (refuse_ > 0) {
      --refuse_;
      return Error(ErrorCode::kUnavailable, "not now");
    }
    seen_.push_back(event.args.value("n", -1));
    blobs_.push_back(event.blob);
    changed_.notify_all();
    return ok();
  }
  template <class Predicate>
  bool wait(Predicate predicate) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, predicate);
  }
  std::string unix_address() const { return "unix:" + (folder_ / "s").string(); }

  std::filesystem::path folder_;
  std::unique_ptr<KernelEnd> kernel_;
  std::unique_ptr<HostEnd> host_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> seen_;
  std::vector<std::string> blobs_;
  std::vector<std::string> ups_;
  std::vector<std::string> unanswered_;
  std::map<int, int> served_;
  int lost_ = 0;
  int refuse_ = 0;
};

std::vector<int> numbers(int count) {
  std::vector<int> all;
  for (int i = 0; i < count; ++i) all.push_back(i);
  return all;
}

TEST_F(ChannelTest, AnswersCallsWithTheirBlobsAndErrors) {
  start_kernel(unix_address());
  start_host(HostEnd::Way::kListen, folder_ / "s");
  const std::string blob(kMaxFrameBlob, 'b');
  auto reply = host_->call("echo", {{"n", 1}}, 10s, blob);
  ASSERT_TRUE(reply) << reply.error().describe();
  EXPECT_EQ(reply->result.at("op"), "echo");
  EXPECT_EQ(reply->blob, blob);
  auto failed = host_->call("fail", {}, 10s);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(failed.error().message(), "no such thing");
  EXPECT_EQ(host_->call("silent", {}, 20ms).error().code(), ErrorCode::kTimeout);
}

TEST_F(ChannelTest, ManyThreadsCallAtOnce) {
  start_kernel(unix_address());
  start_host(HostEnd::Way::kListen, folder_ / "s");
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        auto reply = host_->call("echo", {{"n", t * 1000 + i}}, 20s);
        if (reply && reply->result.at("args").at("n") == t * 1000 + i) ++right;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 1600);
}

TEST_F(ChannelTest, DescriptorsArriveWithTheirOwnRequest) {
  start_kernel(unix_address());
  start_host(HostEnd::Way::kListen, folder_ / "s");
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string name = folder_ / (std::to_string(t) + "-" + std::to_string(i));
        std::ofstream(name) << name;
        const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
        (void)host_->call("echo", {{"n", i}}, 20s, "between");
        auto reply = host_->call("descriptors", {}, 20s, {}, {fd.get()});
        if (reply && reply->result.at("text") == name + ";") ++right;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 200);
}

TEST_F(ChannelTest, EventsComeInOrderAndOnceThoughHandlingFailsAtFirst) {
  start_kernel(unix_address());
  refuse_ = 2;
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(kernel_->tell({.name = "e", .args = {{"n", i}}, .blob = "x"}));
  start_host(HostEnd::Way::kListen, folder_ / "s");
  ASSERT_TRUE(wait([&] { return seen_.size() >= 300; }));
  EXPECT_EQ(seen_, numbers(300));
  while (kernel_->pending() > 0) std::this_thread::yield();  // all acknowledged in the end
}

TEST_F(ChannelTest, NothingIsLostOrDoubledWhenEitherEndRestarts) {
  start_host(HostEnd::Way::kListen, folder_ / "s");
  std::size_t told = 0;
  for (int round = 0; round < 20; ++round) {
    kernel_.reset();
    start_kernel(unix_address());
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(kernel_->tell({.name = "e", .args = {{"n", told++}}}));
    if (round % 3 == 1) {
      const Position position = [&] {
        Position before = host_->position();
        host_.reset();  // events in flight are not handled
        const std::lock_guard lock(mutex_);
        before.after = seen_.size();
        return before;
      }();
      start_host(HostEnd::Way::kListen, folder_ / "s", position);
    }
    const std::size_t some = static_cast<std::size_t>(round) * 30;
    ASSERT_TRUE(wait([&] { return seen_.size() >= some; })) << round;
  }
  ASSERT_TRUE(wait([&] { return seen_.size() >= told; }));
  EXPECT_EQ(seen_, numbers(static_cast<int>(told)));
}

TEST_F(ChannelTest, ARequestInFlightIsDoneOnceThoughTheConnectionBreaks) {
  start_kernel(unix_address());
  start_host(HostEnd::Way::kListen, folder_ / "s");
  Result<Reply> reply = Error(ErrorCode::kFailed, "not called");
  std::thread caller([&] { reply = host_->call("silent", {{"n", 7}}, 20s); });
  // The session must be known before it breaks: one that came and went unnoticed is not told.
  ASSERT_TRUE(wait([&] { return unanswered_.size() == 1 && ups_.size() == 1; }));
  // A second connection by the same user replaces the first, then leaves: the kernel connects again.
  connect_socket(folder_ / "s").reset();
  ASSERT_TRUE(wait([&] { return lost_ >= 1 && ups_.size() >= 2; }));
  kernel_->reply(unanswered_.at(0), Reply{{{"late", true}}, {}});
  caller.join();
  ASSERT_TRUE(reply) << reply.error().describe();
  EXPECT_EQ(reply->result.at("late"), true);
  EXPECT_EQ(served_[7], 1);
}

TEST_F(ChannelTest, ANodeThatWasBootedAgainAbortsCallsAndCountsEventsAnew) {
  start_kernel(unix_address());
  start_host(HostEnd::Way::kListen, folder_ / "s");
  ASSERT_TRUE(kernel_->tell({.name = "e", .args = {{"n", 0}}}));
  ASSERT_TRUE(wait([&] { return seen_.size() == 1; }));
  Result<Reply> reply = Reply{};
  std::thread caller([&] { reply = host_->call("silent", {}, 20s); });
  ASSERT_TRUE(wait([&] { return unanswered_.size() == 1; }));
  kernel_.reset();
  start_kernel(unix_address(), "boot2");
  caller.join();
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code(), ErrorCode::kAborted);
  ASSERT_TRUE(kernel_->tell({.name = "e", .args = {{"n", 1}}}));
  ASSERT_TRUE(wait([&] { return seen_.size() == 2; }));
  EXPECT_EQ(host_->position().boot, "boot2");
  EXPECT_THAT(ups_, testing::ElementsAre("boot1", "boot2"));
}

TEST_F(ChannelTest, NobodyWaitsForANodeThatIsKnownToBeGone) {
  start_host(HostEnd::Way::kListen, folder_ / "s");
  start_kernel(unix_address());
  ASSERT_TRUE(host_->call("echo", {{"n", 1}}, 20s));
  auto asked = std::async(std::launch::async, [&] { return host_->call("silent", {{"n", 2}}, 60s); });
  ASSERT_TRUE(wait([&] { return !unanswered_.empty(); }));
  host_->give_up(Error(ErrorCode::kUnavailable, "its VM ended"));
  host_->give_up(Error(ErrorCode::kUnavailable, "said too late"));
  ASSERT_EQ(asked.wait_for(20s), std::future_status::ready);
  const auto answer = asked.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(answer.error().message(), "its VM ended");
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(host_->call("silent", {{"n", 3}}, 60s).error().message(), "its VM ended");
  EXPECT_LT(std::chrono::steady_clock::now() - began, 20s);
}

TEST_F(ChannelTest, AMarkedEventIsToldOnceAndAGroupCanBeWithdrawn) {
  kernel_ = make_kernel(unix_address(), "boot1");
  EXPECT_EQ(*kernel_->tell({.name = "e", .args = {{"n", 0}}, .mark = "m"}), 1U);
  kernel_ = make_kernel(unix_address(), "boot1");
  ASSERT_EQ(kernel_->recovered().size(), 1U);
  EXPECT_EQ(kernel_->recovered()[0].mark, "m");
  EXPECT_EQ(*kernel_->tell({.name = "e", .args = {{"n", 99}}, .mark = "m"}), 0U);
  EXPECT_EQ(*kernel_->tell({.name = "e", .args = {{"n", 98}}, .group = "g"}), 2U);
  kernel_->withdraw("g");
  EXPECT_EQ(*kernel_->tell({.name = "e", .args = {{"n", 1}}, .spool = SpoolPart{"id", 5, 9}}), 3U);
  kernel_ = make_kernel(unix_address(), "boot1");
  ASSERT_TRUE(kernel_->start());
  start_host(HostEnd::Way::kListen, folder_ / "s");
  ASSERT_TRUE(wait([&] { return seen_.size() == 2; }));
  EXPECT_EQ(seen_, numbers(2));
  EXPECT_EQ(blobs_[1], "sssssssss");
}

TEST_F(ChannelTest, AJournalCutInItsLastFrameLosesOnlyThat) {
  kernel_ = make_kernel(unix_address(), "boot1");
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(kernel_->tell({.name = "e", .args = {{"n", i}}, .blob = "content"}));
  kernel_.reset();
  std::filesystem::resize_file(folder_ / "journal", std::filesystem::file_size(folder_ / "journal") - 3);
  kernel_ = make_kernel(unix_address(), "boot1");
  EXPECT_EQ(kernel_->recovered().size(), 2U);
  EXPECT_EQ(*kernel_->tell({.name = "e", .args = {{"n", 2}}}), 3U);
  kernel_ = make_kernel(unix_address(), "boot1");
  EXPECT_EQ(kernel_->recovered().size(), 3U);
}

TEST_F(ChannelTest, ASerialLineThatIsCutInTheMiddleOfFramesLosesNothing) {
  SerialLine line(folder_ / "guest", folder_ / "host");
  start_kernel("line:" + (folder_ / "guest").string());
  start_host(HostEnd::Way::kConnect, folder_ / "host");
  ASSERT_TRUE(host_->wait_up(20s));
  std::atomic<bool> end{false};
  std::thread cutter([&] {
    for (int i = 0; i < 6; ++i) {
      const int before = line.cuts();
      line.cut_host();
      while (line.cuts() == before && !end) std::this_thread::yield();
      if (!host_->wait_up(20s)) return;
      std::unique_lock lock(mutex_);
      const std::size_t have = seen_.size();
      changed_.wait_for(lock, 20s, [&] { return seen_.size() >= have + 10; });
    }
  });
  for (int i = 0; i < 200; ++i)
    ASSERT_TRUE(kernel_->tell({.name = "e", .args = {{"n", i}}, .blob = std::string(50'000, 'e')}));
  int right = 0;
  for (int i = 0; i < 40; ++i) {
    const std::string blob(200'000, static_cast<char>('a' + i % 26));
    auto reply = host_->call("echo", {{"n", 1000 + i}}, 30s, blob);
    ASSERT_TRUE(reply) << i << ": " << reply.error().describe();
    if (reply->blob == blob) ++right;
  }
  EXPECT_EQ(right, 40);
  ASSERT_TRUE(wait([&] { return seen_.size() >= 200; }));
  end = true;
  cutter.join();
  EXPECT_EQ(seen_, numbers(200));
  for (const std::string& blob : blobs_) EXPECT_EQ(blob, std::string(50'000, 'e'));
}

TEST_F(ChannelTest, ASerialLineWhoseKernelRestartsComesUpAgain) {
  SerialLine line(folder_ / "guest", folder_ / "host");
  start_host(HostEnd::Way::kConnect, folder_ / "host");
  start_kernel("line:" + (folder_ / "guest").string());
  ASSERT_TRUE(host_->call("echo", {}, 20s));
  kernel_.reset();
  start_kernel("line:" + (folder_ / "guest").string());
  ASSERT_TRUE(kernel_->tell({.name = "e", .args = {{"n", 0}}}));
  ASSERT_TRUE(wait([&] { return seen_.size() == 1; }));
  ASSERT_TRUE(host_->call("echo", {}, 20s));
}

}  // namespace
}  // namespace mvm::channel
