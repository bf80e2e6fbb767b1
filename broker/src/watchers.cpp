#include "watchers.h"

#include <utility>

namespace mvm::broker {

struct Watchers::State {
  struct Registered {
    std::string prefix;
    Store::Watcher watcher;
    std::size_t first = 0;  ///< number of the first commit it sees
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::uint64_t, Registered> watchers;
  std::deque<std::vector<Change>> queue;
  std::size_t front = 0;  ///< number of the commit at the queue's front
  std::uint64_t last_id = 0;
  std::uint64_t running = 0;  ///< watcher being called now
  std::thread::id thread;
  bool stopping = false;

  void deliver(std::unique_lock<std::mutex>& lock);
  void run();
};

class Watchers::Handle final : public Watch {
 public:
  Handle(std::shared_ptr<State> state, std::uint64_t id) : state_(std::move(state)), id_(id) {}
  ~Handle() override {
    std::unique_lock lock(state_->mutex);
    state_->watchers.erase(id_);
    // A watcher may end itself from inside its own call.
    if (std::this_thread::get_id() == state_->thread) return;
    state_->changed.wait(lock, [&] { return state_->running != id_; });
  }

 private:
  std::shared_ptr<State> state_;
  std::uint64_t id_;
};

void Watchers::State::deliver(std::unique_lock<std::mutex>& lock) {
  const auto changes = std::move(queue.front());
  queue.pop_front();
  const std::size_t number = front++;
  std::vector<std::uint64_t> ids;
  for (const auto& [id, registered] : watchers) ids.push_back(id);
  for (const auto id : ids) {
    const auto found = watchers.find(id);
    if (found == watchers.end() || found->second.first > number) continue;
    std::vector<Change> mine;
    for (const auto& change : changes)
      if (change.entry.key.starts_with(found->second.prefix)) mine.push_back(change);
    if (mine.empty()) continue;
    const auto watcher = found->second.watcher;
    running = id;
    lock.unlock();
    watcher(mine);
    lock.lock();
    running = 0;
    changed.notify_all();
  }
}

void Watchers::State::run() {
  std::unique_lock lock(mutex);
  thread = std::this_thread::get_id();
  for (;;) {
    changed.wait(lock, [&] { return stopping || !queue.empty(); });
    if (queue.empty()) return;
    deliver(lock);
  }
}

Watchers::Watchers() : state_(std::make_shared<State>()) {}

std::unique_ptr<Watch> Watchers::add(std::string prefix, Store::Watcher watcher) {
  const std::lock_guard lock(state_->mutex);
  if (!thread_.joinable()) thread_ = std::thread([state = state_] { state->run(); });
  const auto id = ++state_->last_id;
  state_->watchers[id] = State::Registered{.prefix = std::move(prefix),
                                           .watcher = std::move(watcher),
                                           .first = state_->front + state_->queue.size()};
  return std::make_unique<Handle>(state_, id);
}

void Watchers::publish(std::vector<Change> changes) {
  const std::lock_guard lock(state_->mutex);
  if (state_->watchers.empty()) return;
  state_->queue.push_back(std::move(changes));
  state_->changed.notify_all();
}

bool Watchers::watched() const {
  const std::lock_guard lock(state_->mutex);
  return !state_->watchers.empty();
}

Watchers::~Watchers() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace mvm::broker
