#include "tcp_connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include "mvm/base/digest.h"
#include "mvm/base/json.h"
#include "mvm/dvm/address.h"

namespace mvm::dvm {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kGreeting = std::chrono::seconds(10);  // a busy machine, not a slow network
constexpr std::size_t kLongestGreeting = 4096;
constexpr std::size_t kMostWaiting = 2 * kLongestMessage;

Error broken(const error_code& problem) {
  return {ErrorCode::kUnavailable, "connection between kernels: " + problem.message()};
}

bool is_nonce(const std::string& text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

TcpConnection::TcpConnection(Socket socket, bool caller, const Identity& identity, Events events)
    : socket_(std::move(socket)),
      deadline_(socket_.get_executor()),
      caller_(caller),
      identity_(identity),
      events_(std::move(events)) {}

std::shared_ptr<TcpConnection> TcpConnection::start(Socket socket, bool caller, const Identity& identity,
                                                    Events events) {
  std::shared_ptr<TcpConnection> connection(
      new TcpConnection(std::move(socket), caller, identity, std::move(events)));
  connection->begin();
  return connection;
}

void TcpConnection::begin() {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  introduction_.vm = identity_.vm;
  deadline_.expires_after(kGreeting);
  deadline_.async_wait([self = self()](const error_code& stopped) {
    if (!stopped && !self->ready_)
      self->fail(Error(ErrorCode::kTimeout, "connection between kernels: no greeting"));
  });
  if (caller_) {
    introduction_.caller = identity_.kernel;
    introduction_.caller_nonce = random_hex(16);
    put(encode_frame({{"hello", kProtocol},
                      {"vm", identity_.vm},
                      {"kernel", identity_.kernel},
                      {"nonce", introduction_.caller_nonce}}));
  } else {
    introduction_.called = identity_.kernel;
    introduction_.called_nonce = random_hex(16);
  }
  wait();
}

void TcpConnection::wait() {
  socket_.async_wait(Socket::wait_read, [self = self()](const error_code& problem) {
    if (self->closed_) return;
    if (problem) return self->fail(broken(problem));
    self->read();
  });
}

/// One read for all connections' buffer: a thousand idle ones hold none.
void TcpConnection::read() {
  static thread_local std::array<char, 65536> buffer;
  error_code problem;
  const std::size_t size = socket_.read_some(asio::buffer(buffer), problem);
  if (problem == asio::error::would_block || problem == asio::error::interrupted) return wait();
  if (problem) return fail(broken(problem));
  if (!ready_ && (before_ready_ += size) > kLongestGreeting)
    return fail(Error(ErrorCode::kRefused, "connection between kernels: greeting too long"));
  decoder_.feed({buffer.data(), size});
  for (;;) {
    auto frame = decoder_.next();
    if (!frame) return fail(frame.error());
    if (!*frame) break;
    if (Status taken = take(**frame); !taken) return fail(taken.error());
    if (closed_) return;
  }
  wait();
}

Status TcpConnection::take(const Frame& frame) {
  if (!ready_) return greet(frame);
  MVM_ASSIGN(const std::optional<nlohmann::json> message, opener_->open(frame));
  const auto kept = shared_from_this();
  if (message) events_.message(*message);
  return ok();
}

/// hello → nonce and proof of the called → proof of the caller
Status TcpConnection::greet(const Frame& frame) {
  const nlohmann::json& head = frame.head;
  const std::string kernel = text_or(head, "kernel");
  const std::string nonce = text_or(head, "nonce");
  const auto establish = [&] {
    peer_ = caller_ ? introduction_.called : introduction_.caller;
    sealer_.emplace(introduction_.key(identity_.secret, caller_));
    opener_.emplace(introduction_.key(identity_.secret, !caller_));
    ready_ = true;
    deadline_.cancel();
    const auto kept = shared_from_this();
    events_.ready();
  };
  const auto prove = [&](bool of_caller) -> Status {
    if (same_secret(text_or(head, "proof"), introduction_.proof(identity_.secret, of_caller))) return ok();
    return Error(ErrorCode::kRefused, "the other kernel does not know the secret of " + identity_.vm);
  };
  if (!caller_ && introduction_.caller.empty()) {
    if (number_or(head, "hello") != kProtocol || text_or(head, "vm") != identity_.vm ||
        !valid_name(kernel, kLongestKernel) || !is_nonce(nonce))
      return Error(ErrorCode::kRefused, "not a kernel of " + identity_.vm + ", or of another protocol");
    introduction_.caller = kernel;
    introduction_.caller_nonce = nonce;
    put(encode_frame({{"kernel", identity_.kernel},
                      {"nonce", introduction_.called_nonce},
                      {"proof", introduction_.proof(identity_.secret, false)}}));
    return ok();
  }
  if (!caller_) {
    MVM_TRY(prove(true));
    establish();
    return ok();
  }
  if (!valid_name(kernel, kLongestKernel) || !is_nonce(nonce))
    return Error(ErrorCode::kRefused, "the other kernel's greeting is ill-formed");
  introduction_.called = kernel;
  introduction_.called_nonce = nonce;
  MVM_TRY(prove(false));
  put(encode_frame({{"proof", introduction_.proof(identity_.secret, true)}}));
  establish();
  return ok();
}

void TcpConnection::send_text(std::string_view text) {
  if (closed_ || !ready_) return;
  if (text.size() > kLongestMessage)
    return fail(Error(ErrorCode::kExhausted, "a message between kernels is too long"));
  put(sealer_->seal(text));
}

void TcpConnection::put(const std::string& bytes) {
  if (closed_) return;
  if (waiting_.size() + bytes.size() > kMostWaiting)
    return fail(Error(ErrorCode::kExhausted, "the kernel at the other end does not read"));
  waiting_ += bytes;
  if (!busy_) write();
}

void TcpConnection::write() {
  busy_ = true;
  writing_ = std::move(waiting_);
  waiting_.clear();
  // Most go at once, without a turn of the loop.
  error_code problem;
  const std::size_t done = socket_.write_some(asio::buffer(writing_), problem);
  if (!problem && done == writing_.size()) {
    busy_ = false;
    writing_.clear();
    if (close_when_sent_) close();
    return;
  }
  if (problem && problem != asio::error::would_block) {
    // Not from inside send(): whoever sends may be in the middle of something.
    asio::post(socket_.get_executor(), [self = self(), problem] { self->fail(broken(problem)); });
    return;
  }
  if (!problem) writing_.erase(0, done);
  asio::async_write(socket_, asio::buffer(writing_), [self = self()](const error_code& failed, std::size_t) {
    if (self->closed_) return;
    if (failed) return self->fail(broken(failed));
    self->busy_ = false;
    self->writing_.clear();
    if (!self->waiting_.empty())
      self->write();
    else if (self->close_when_sent_)
      self->close();
  });
}

void TcpConnection::fail(const Error& error) {
  if (closed_) return;
  const auto kept = shared_from_this();
  const auto closed = std::move(events_.closed);
  close();
  if (closed) closed(error);
}

void TcpConnection::close() {
  if (closed_) return;
  closed_ = true;
  deadline_.cancel();
  error_code ignored;
  socket_.close(ignored);
  // Their captures may hold whoever holds us; one of them may be running.
  asio::post(socket_.get_executor(), [self = self()] { self->events_ = {}; });
}

void TcpConnection::close_when_sent() {
  close_when_sent_ = true;
  if (!busy_ && waiting_.empty()) close();
}

}  // namespace mvm::dvm
