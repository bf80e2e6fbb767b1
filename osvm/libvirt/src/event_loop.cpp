#include <atomic>
#include <thread>

#include "handles.h"
#include "mvm/osvm/libvirt/libvirt.h"

namespace mvm::osvm::libvirt {
namespace {

/// libvirt prints errors to standard error unless somebody takes them; we turn each into an Error.
void take_error(void*, virErrorPtr) {}

/// The loop sleeps in poll(2); a timer that does nothing lets it look at the stop flag.
void tick(int, void*) {}

}  // namespace

struct EventLoop::State {
  std::atomic<bool> stop{false};
  int timer = -1;
  std::thread thread;
};

Result<std::unique_ptr<EventLoop>> EventLoop::start() {
  // Twice in one process is refused by libvirt's design, not by an error: the implementation is kept.
  static const bool registered = [] {
    virSetErrorFunc(nullptr, take_error);
    return virInitialize() == 0 && virEventRegisterDefaultImpl() == 0;
  }();
  if (!registered) return Error(ErrorCode::kUnavailable, "libvirt's event loop cannot be registered");
  auto state = std::make_unique<State>();
  state->timer = virEventAddTimeout(-1, tick, nullptr, nullptr);
  if (state->timer < 0) return last_error("add a timer to libvirt's event loop");
  State* raw = state.get();
  state->thread = std::thread([raw] {
    while (!raw->stop.load())
      if (virEventRunDefaultImpl() < 0) static_cast<void>(last_error("run libvirt's event loop"));
  });
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(state)));
}

EventLoop::EventLoop(std::unique_ptr<State> state) : state_(std::move(state)) {}

EventLoop::~EventLoop() {
  state_->stop.store(true);
  virEventUpdateTimeout(state_->timer, 0);  // wakes the loop from its poll
  state_->thread.join();
  virEventRemoveTimeout(state_->timer);
}

}  // namespace mvm::osvm::libvirt
