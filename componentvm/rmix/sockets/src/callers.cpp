#include "mvm/rmix/callers.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <system_error>

#include "mvm/rmix/sockets.h"

namespace mvm::rmix::sockets {

Callers::Callers(UniqueFd listener, std::size_t most, Serve serve)
    : serve_(std::move(serve)),
      most_(most),
      listener_(std::move(listener)),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  thread_ = std::thread([this] { accept_all(); });
}

Callers::~Callers() {
  const std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  thread_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const Caller& caller : callers_)
      if (!caller.over) ::shutdown(caller.socket.get(), SHUT_RD);
  }
  for (Caller& caller : callers_) caller.thread.join();
}

/// Those that are over.
void Callers::reap() {
  std::list<Caller> gone;
  {
    const std::lock_guard lock(mutex_);
    for (auto one = callers_.begin(); one != callers_.end();) {
      const auto next = std::next(one);
      if (one->over) gone.splice(gone.end(), callers_, one);
      one = next;
    }
  }
  for (Caller& caller : gone) caller.thread.join();
}

void Callers::add(UniqueFd socket) {
  const std::lock_guard lock(mutex_);
  if (callers_.size() >= most_) return;  // closed at once
  Caller& caller = callers_.emplace_back();
  caller.socket = std::move(socket);
  try {
    caller.thread = std::thread([this, &caller] {
      serve_(caller.socket.get());
      const std::lock_guard over(mutex_);
      caller.over = true;
      caller.socket.reset();
    });
  } catch (const std::system_error&) {  // no more threads
    callers_.pop_back();
  }
}

void Callers::accept_all() {
  for (;;) {
    std::array<pollfd, 2> waited{pollfd{.fd = listener_.get(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    if (::poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) return;
    if (waited[1].revents != 0) return;
    if (waited[0].revents == 0) continue;
    UniqueFd socket = accept_from(listener_.get());
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)  // until others are gone
        (void)wait_for(stop_.get(), POLLIN,
                       std::chrono::steady_clock::now() + std::chrono::milliseconds(100));
      continue;
    }
    reap();
    add(std::move(socket));
  }
}

}  // namespace mvm::rmix::sockets
