#include "connection.h"

#include <algorithm>

#include "mvm/base/log.h"

namespace mvm::osvm::libvirt {
namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};
// A daemon that answers nothing for interval x count seconds is gone. Generous: a loaded machine is slow.
constexpr int kKeepAliveInterval = 3;
constexpr unsigned kKeepAliveCount = 4;

}  // namespace

Connection::Connection(std::string uri, Callbacks callbacks)
    : uri_(std::move(uri)), callbacks_(std::move(callbacks)), thread_([this] { watch(); }) {}

Connection::~Connection() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->changed.notify_all();
  thread_.join();
}

Result<ConnectHandle> Connection::get() {
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait(lock, [this] { return shared_->phase != Phase::kFirstAttempt || shared_->stop; });
  if (shared_->phase == Phase::kOpen && !shared_->dropped) return shared_->connect;
  const std::string why = shared_->problem ? ": " + shared_->problem->message() : " is lost";
  return Error(ErrorCode::kUnavailable, "the connection with libvirt at " + uri_ + why);
}

Result<ConnectHandle> Connection::open() const {
  ConnectHandle connect(virConnectOpen(uri_.c_str()), [](virConnectPtr raw) {
    if (raw != nullptr) virConnectClose(raw);
  });
  if (!connect) return last_error("connect");
  // Local drivers (test:///) know no keep-alive.
  if (virConnectSetKeepAlive(connect.get(), kKeepAliveInterval, kKeepAliveCount) < 0) virResetLastError();
  return connect;
}

void Connection::closed(virConnectPtr, int, void* opaque) {
  const auto* note = static_cast<const CloseNote*>(opaque);
  {
    const std::lock_guard lock(note->shared->mutex);
    if (note->generation != note->shared->generation) return;
    note->shared->dropped = true;
  }
  note->shared->changed.notify_all();
}

/// Publishes a fresh connection and waits until it breaks or we are to stop.
void Connection::serve(const ConnectHandle& connect, bool first) {
  auto* note = new CloseNote{shared_, 0};  // libvirt owns it once registered
  {
    const std::lock_guard lock(shared_->mutex);
    note->generation = ++shared_->generation;
    shared_->dropped = false;
  }
  const auto forget = [](void* opaque) { delete static_cast<CloseNote*>(opaque); };
  const bool noted = virConnectRegisterCloseCallback(connect.get(), closed, note, forget) == 0;
  if (!noted) {
    forget(note);
    virResetLastError();
  }
  callbacks_.opened(connect.get());
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->connect = connect;
    shared_->phase = Phase::kOpen;
    shared_->problem.reset();
  }
  shared_->changed.notify_all();
  log::info("libvirt.connected", {{"uri", uri_}});
  if (!first) callbacks_.restored();
  {
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait(lock, [this] { return shared_->dropped || shared_->stop; });
    shared_->connect.reset();
    shared_->phase = Phase::kBroken;
  }
  if (noted) virConnectUnregisterCloseCallback(connect.get(), closed);
  callbacks_.closing(connect.get());
}

void Connection::watch() {
  auto pause = kFirstPause;
  bool first = true;
  for (;;) {
    auto connect = open();
    if (connect) {
      serve(*connect, first);
      first = false;
      pause = kFirstPause;
      {
        const std::lock_guard lock(shared_->mutex);
        if (shared_->stop) return;
      }
      log::warning("libvirt.lost", {{"uri", uri_}});
      callbacks_.lost("libvirt closed the connection");
      continue;
    }
    std::unique_lock lock(shared_->mutex);
    if (!shared_->problem)
      log::warning("libvirt.unreachable", {{"uri", uri_}, {"why", connect.error().message()}});
    shared_->problem = std::move(connect).error();
    shared_->phase = Phase::kBroken;
    shared_->changed.notify_all();
    if (shared_->changed.wait_for(lock, pause, [this] { return shared_->stop; })) return;
    pause = std::min(pause * 2, kLongestPause);
  }
}

}  // namespace mvm::osvm::libvirt
