// A guest that is taken over by its job must not hurt the host.
#include <gmock/gmock.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>

#include "componentvm/channel/relay.h"
#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/channel/host_end.h"

namespace mvm::channel {
namespace {

using namespace std::chrono_literals;

class HostileKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-hostile-");
    HostEnd::Options options{.way = HostEnd::Way::kListen, .path = folder_ / "s", .node = "lab/a"};
    options.redial = 1ms;
    HostEnd::Callbacks callbacks;
    callbacks.event = [this](const Event&) {
      std::unique_lock lock(mutex_);
      ++events_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return !blocked_; });
      return ok();
    };
    auto host = HostEnd::start(std::move(options), std::move(callbacks));
    ASSERT_TRUE(host) << host.error().describe();
    host_ = std::move(*host);
  }
  void TearDown() override {
    {
      const std::lock_guard lock(mutex_);
      blocked_ = false;
      changed_.notify_all();
    }
    host_.reset();
    ASSERT_TRUE(remove_tree(folder_));
  }
  UniqueFd join() {
    UniqueFd fd = connect_socket(folder_ / "s");
    EXPECT_TRUE(fd);
    FrameReader reader(fd.get());
    EXPECT_TRUE(send_frame(fd.get(), {{"t", "hello"}, {"protocol", 1}, {"node", "lab/a"}, {"boot", "b"}}));
    auto greeting = reader.read(10'000);
    EXPECT_TRUE(greeting) << greeting.error().describe();
    if (!greeting) return fd;
    EXPECT_TRUE(send_frame(fd.get(), {{"t", "hello"},
                                      {"protocol", 1},
                                      {"node", "lab/a"},
                                      {"boot", "b"},
                                      {"for", greeting->head.at("session")}}));
    EXPECT_TRUE(host_->wait_up(10s));
    return fd;
  }
  /// True once the host has closed our connection.
  static bool closed(int fd) {
    pollfd item{fd, POLLIN, 0};
    std::string piece(65536, '\0');
    while (::poll(&item, 1, 10'000) == 1)
      if (::recv(fd, piece.data(), piece.size(), MSG_DONTWAIT) <= 0) return true;
    return false;
  }

  std::filesystem::path folder_;
  std::unique_ptr<HostEnd> host_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int events_ = 0;
  bool blocked_ = false;
};

TEST_F(HostileKernelTest, GarbageCutsOnlyThisConnection) {
  for (const std::string& bytes :
       {std::string(100, 'x'), std::string("MVM1") + std::string(100, '\xff'), std::string(16, '\0'),
        encode_frame({{"t", "hello"}, {"protocol", 2}}),
        encode_frame({{"t", "hello"}, {"protocol", 1}, {"node", "lab/b"}, {"boot", "b"}}),
        encode_frame({{"t", "hello"}, {"protocol", 1}, {"node", 5}, {"boot", {1, 2}}})}) {
    UniqueFd fd = connect_socket(folder_ / "s");
    ASSERT_TRUE(fd);
    ASSERT_GT(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
    EXPECT_TRUE(closed(fd.get()));
  }
  const UniqueFd good = join();
  EXPECT_TRUE(host_->up());
}

TEST_F(HostileKernelTest, FieldsOfTheWrongTypeAreHarmless) {
  const UniqueFd fd = join();
  for (const nlohmann::json& head :
       {nlohmann::json{{"t", 1}}, nlohmann::json{{"t", "rep"}, {"id", 5}, {"ok", "x"}},
        nlohmann::json{{"t", "rep"}, {"id", "-"}},
        nlohmann::json{{"t", "rep"}, {"id", "99999999999999999999999"}},
        nlohmann::json{{"t", "ack"}, {"seq", -1}}, nlohmann::json::object(), nlohmann::json{{"t", "ping"}}})
    ASSERT_TRUE(send_frame(fd.get(), head));
  FrameReader reader(fd.get());
  auto pong = reader.read(10'000);
  ASSERT_TRUE(pong) << pong.error().describe();
  EXPECT_EQ(pong->head.at("t"), "pong");
}

TEST_F(HostileKernelTest, AFloodOfEventsIsCutBeforeItTakesMemory) {
  blocked_ = true;
  const UniqueFd fd = join();
  const std::string blob(kMaxFrameBlob, 'x');
  Status sent = ok();
  int count = 0;
  for (; count < 1000 && sent; ++count)
    sent = send_frame(fd.get(), {{"t", "ev"}, {"seq", count + 1}, {"event", "flood"}}, blob);
  EXPECT_FALSE(sent);
  EXPECT_LT(count, 40);
}

TEST_F(HostileKernelTest, AnswersToNobodyAreDropped) {
  const UniqueFd fd = join();
  std::thread caller([&] {
    auto reply = host_->call("x", {}, 20s);
    ASSERT_TRUE(reply) << reply.error().describe();
    EXPECT_EQ(reply->result.at("right"), true);
  });
  FrameReader reader(fd.get());
  auto request = reader.read(10'000);
  ASSERT_TRUE(request);
  const std::string id = request->head.at("id");
  for (int i = 0; i < 50; ++i)
    ASSERT_TRUE(send_frame(fd.get(), {{"t", "rep"}, {"id", id + std::to_string(i)}, {"ok", true}},
                           std::string(100'000, 'x')));
  ASSERT_TRUE(send_frame(fd.get(), {{"t", "rep"}, {"id", id}, {"ok", true}, {"result", {{"right", true}}}}));
  ASSERT_TRUE(send_frame(fd.get(), {{"t", "rep"}, {"id", id}, {"ok", true}, {"result", {{"right", false}}}}));
  caller.join();
}

TEST_F(HostileKernelTest, DescriptorsThatNobodyAskedForAreClosed) {
  const UniqueFd fd = join();
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd mine(ends[0]);
  UniqueFd theirs(ends[1]);
  ASSERT_TRUE(send_frame(fd.get(), {{"t", "ping"}}, {}, {theirs.get()}));
  theirs.reset();
  FrameReader reader(fd.get());
  ASSERT_TRUE(reader.read(10'000));
  char c = 0;
  EXPECT_EQ(::recv(mine.get(), &c, 1, 0), 0);  // the other end exists nowhere any more
}

}  // namespace
}  // namespace mvm::channel
