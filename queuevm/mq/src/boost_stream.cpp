// A process that is killed while it holds a queue's lock leaves it locked: whoever waits for it gets an
// exception after this time.
#define BOOST_INTERPROCESS_ENABLE_TIMEOUT_WHEN_LOCKING
#define BOOST_INTERPROCESS_TIMEOUT_WHEN_LOCKING_DURATION_MS 1000

#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <filesystem>
#include <memory>
#include <string_view>

#include "message_stream.h"
#include "mvm/base/digest.h"
#include "mvm/queuevm/mq/mq_streams.h"

namespace mvm::queuevm::mq {
namespace {

namespace ipc = boost::interprocess;
using Queue = std::unique_ptr<ipc::message_queue>;

constexpr std::string_view kWords = "MVMBMQ1\n";
constexpr std::size_t kMessages = 16;
constexpr std::size_t kLargest = 32 << 10;
constexpr std::size_t kRandomBytes = 8;

std::string there(const std::string& name) { return name + "-there"; }
std::string back(const std::string& name) { return name + "-back"; }

void remove_both(const std::string& name) {
  ipc::message_queue::remove(there(name).c_str());
  ipc::message_queue::remove(back(name).c_str());
}

/// Runs what may throw, as everything of Boost's queues may.
template <class Action>
auto caught(const char* what, Action action) -> Result<decltype(action())> {
  try {
    return action();
  } catch (const ipc::interprocess_exception& problem) {
    const bool space = problem.get_error_code() == ipc::out_of_space_error ||
                       problem.get_error_code() == ipc::out_of_memory_error ||
                       problem.get_error_code() == ipc::out_of_resource_error;
    return Error(space ? ErrorCode::kExhausted : ErrorCode::kUnavailable,
                 std::string("boost-mq: ") + what + ": " + problem.what());
  } catch (const std::exception& problem) {
    return Error(ErrorCode::kUnavailable, std::string("boost-mq: ") + what + ": " + problem.what());
  }
}

Result<Queue> make_queue(const std::string& name) {
  return caught("making a message queue", [&] {
    return std::make_unique<ipc::message_queue>(ipc::create_only, name.c_str(), kMessages, kLargest,
                                                ipc::permissions(0600));
  });
}

Result<Queue> open_queue(const std::string& name) {
  struct stat info {};
  const UniqueFd file(::shm_open(("/" + name).c_str(), O_RDONLY, 0));
  if (!file || ::fstat(file.get(), &info) != 0) return Error::from_errno(errno, "boost-mq: opening " + name);
  if (info.st_uid != ::geteuid())
    return Error(ErrorCode::kRefused, "boost-mq: " + name + " is somebody else's");
  return caught("opening a message queue",
                [&] { return std::make_unique<ipc::message_queue>(ipc::open_only, name.c_str()); });
}

/// One queue each way. Neither can be polled: whoever fills an empty queue or takes from a full one rings.
class BoostStream final : public MessageStream {
 public:
  BoostStream(UniqueFd socket, bool dialled, std::string prefix)
      : MessageStream(std::move(socket), dialled), prefix_(std::move(prefix)) {}
  ~BoostStream() override { remove_names(); }

 protected:
  Status offer() override {
    name_ = prefix_ + "-" + random_hex(kRandomBytes);
    MVM_ASSIGN(out_, make_queue(there(name_)));
    MVM_ASSIGN(in_, make_queue(back(name_)));
    return send_greeting(std::string(kWords) + name_, {});
  }

  Result<bool> accept() override {
    MVM_ASSIGN(const auto greeting,
               receive_greeting(kWords.size() + prefix_.size() + 1 + 2 * kRandomBytes, 0));
    if (!greeting) return false;
    const std::string begin = std::string(kWords) + prefix_ + "-";
    const std::string name = greeting->text.substr(kWords.size());
    if (!greeting->text.starts_with(begin) ||
        greeting->text.find_first_not_of("0123456789abcdef", begin.size()) != std::string::npos)
      return Error(ErrorCode::kRefused, "a peer offers other message queues");
    MVM_ASSIGN(in_, open_queue(there(name)));
    MVM_ASSIGN(out_, open_queue(back(name)));
    ring();  // their names can go
    return true;
  }

  [[nodiscard]] std::size_t largest_message() const override { return kLargest; }

  Result<bool> send(std::span<const std::byte> message) override {
    return caught("sending", [&] {
      if (!out_->try_send(message.data(), message.size(), 0)) return false;
      // Only who has found the queue empty waits for the bell.
      if (out_->get_num_msg() == 1) ring();
      return true;
    });
  }

  Result<std::optional<std::size_t>> receive(std::span<std::byte> room) override {
    return caught("receiving", [&]() -> std::optional<std::size_t> {
      std::size_t got = 0;
      unsigned priority = 0;
      if (!in_->try_receive(room.data(), room.size(), got, priority)) return std::nullopt;
      // Only who has found it full waits for room.
      if (in_->get_num_msg() + 1 == in_->get_max_msg()) ring();
      return got;
    });
  }

  void set_blocked(bool) override {}

  /// Both ends have the queues, or never will: nobody needs the names any more.
  void heard() override { remove_names(); }

 private:
  void remove_names() {
    if (!name_.empty()) remove_both(name_);
    name_.clear();
  }

  const std::string prefix_;
  std::string name_;  // while it is there
  Queue in_;
  Queue out_;
};

}  // namespace

Result<StreamFactory> make_boost_streams(const std::string& secret) {
  const std::string prefix = name_of(secret);
  sweep_boost(prefix);
  const std::string name = prefix + "-" + random_hex(kRandomBytes);
  const auto first = make_queue(there(name));
  const auto second = make_queue(back(name));
  remove_both(name);
  if (!first || !second) return first ? second.error() : first.error();
  return StreamFactory([prefix](UniqueFd socket, bool dialled) {
    return std::make_unique<BoostStream>(std::move(socket), dialled, prefix);
  });
}

/// Boost's queues are files of the C library's shared memory.
void sweep_boost(const std::string& name) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", ignored))
    if (const std::string file = entry.path().filename(); file.starts_with(name + "-"))
      ipc::message_queue::remove(file.c_str());
}

}  // namespace mvm::queuevm::mq
