#include "attach_loop.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "mvm/base/log.h"

namespace mvm::plugins::queue {

Result<std::unique_ptr<AttachLoop>> AttachLoop::start() {
  std::unique_ptr<AttachLoop> loop(new AttachLoop());
  loop->wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!loop->wake_) return Error::from_errno(errno, "eventfd");
  loop->thread_ = std::thread([raw = loop.get()] { raw->run(); });
  return loop;
}

AttachLoop::~AttachLoop() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

void AttachLoop::add(const std::string& name, std::unique_ptr<queuevm::AttachServer> server,
                     Attached attached) {
  {
    const std::lock_guard lock(mutex_);
    served_[name] = {std::move(server), std::move(attached), false};
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(wake_.get(), &one, sizeof one);
}

void AttachLoop::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  served_.erase(name);
}

void AttachLoop::run() {
  for (;;) {
    std::vector<pollfd> items{{wake_.get(), POLLIN, 0}};
    std::vector<std::string> names{""};
    {
      const std::lock_guard lock(mutex_);
      if (ending_) return;
      for (const auto& [name, served] : served_) {
        items.push_back({served.server->fd(), POLLIN, 0});
        names.push_back(name);
      }
    }
    if (::poll(items.data(), items.size(), -1) < 0) continue;  // EINTR
    if (items[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof count);
    }
    for (std::size_t i = 1; i < items.size(); ++i)
      if (items[i].revents != 0) serve(names[i]);
  }
}

void AttachLoop::serve(const std::string& name) {
  Attached attached;
  {
    const std::lock_guard lock(mutex_);
    const auto found = served_.find(name);
    if (found == served_.end()) return;
    // A server that was exchanged since the poll answers that nothing is there to read.
    const Status answered = found->second.server->on_readable();
    if (found->second.server->attached() && !std::exchange(found->second.told, true))
      attached = found->second.attached;
    if (!answered) {
      if (answered.error().code() != ErrorCode::kUnavailable)
        log::warning("attach.refused", {{"process", name}, {"reason", answered.error().describe()}});
      served_.erase(found);
    }
  }
  if (attached) attached();
}

}  // namespace mvm::plugins::queue
