#pragma once
// What streams over message queues have in common: bytes are cut into messages, and a UNIX socket introduces
// the ends to each other, wakes them where the queues cannot, and tells of a peer's end.

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/proxy.h"

namespace mvm::queuevm::mq {

class MessageStream : public ByteStream {
 public:
  Result<std::size_t> read(std::span<std::byte> buffer) final;
  Result<std::size_t> write(std::span<const std::byte> bytes) final;
  /// The socket until the ends know each other; then what is readable whenever something can go on.
  [[nodiscard]] int fd() const final { return joined_ ? events_.get() : socket_.get(); }
  [[nodiscard]] bool ready() const final { return joined_; }

 protected:
  /// What the dialling end says first, with descriptors that go with it.
  struct Greeting {
    std::string text;
    std::vector<UniqueFd> descriptors;
  };

  MessageStream(UniqueFd socket, bool dialled);

  /// Dialling end: makes the queues and tells the other end.
  [[nodiscard]] virtual Status offer() = 0;
  /// Other end: opens them. Nothing where the greeting is not there yet: false.
  [[nodiscard]] virtual Result<bool> accept() = 0;
  [[nodiscard]] virtual std::size_t largest_message() const = 0;
  /// False: the queue is full.
  [[nodiscard]] virtual Result<bool> send(std::span<const std::byte> message) = 0;
  /// The size of the next message, put into `room` of at least largest_message(); nothing where the queue is
  /// empty.
  [[nodiscard]] virtual Result<std::optional<std::size_t>> receive(std::span<std::byte> room) = 0;
  /// The last write found the queue full, or not.
  virtual void set_blocked(bool blocked) = 0;
  /// The other end rang the bell.
  virtual void heard() {}

  /// Makes the other end look at the queues.
  void ring() const;
  [[nodiscard]] Status send_greeting(const std::string& text, std::span<const int> descriptors) const;
  /// A greeting of exactly `size` bytes and `descriptors` descriptors, from a process of our own user.
  /// Nothing where it is not there yet; kRefused where it is another.
  [[nodiscard]] Result<std::optional<Greeting>> receive_greeting(std::size_t size,
                                                                 std::size_t descriptors) const;
  /// fd() becomes readable when this descriptor has these events; again for the same one: changes them.
  [[nodiscard]] Status watch(int descriptor, std::uint32_t events) const;

 private:
  [[nodiscard]] Result<bool> join();
  [[nodiscard]] Result<bool> listen();
  [[nodiscard]] Result<std::optional<std::size_t>> receive_checked(std::span<std::byte> room);

  UniqueFd socket_;
  UniqueFd events_;  // an epoll set
  bool dialled_;
  bool joined_ = false;
  std::vector<std::byte> rest_;  // of a message that was larger than its reader's room
  std::size_t rest_at_ = 0;
};

/// What the names of a lab's queues begin with, without a slash.
[[nodiscard]] std::string name_of(const std::string& secret);
/// Each removes what it may have left under such a name.
void sweep_posix(const std::string& name);
void sweep_boost(const std::string& name);

}  // namespace mvm::queuevm::mq
