#include <algorithm>
#include <climits>

#include "impl.h"

namespace mvm::queuevm {

struct Waiter::State {
  std::atomic<std::uint32_t> word{0};
  std::uint32_t seen = 0;
  ring::Spin spin;
};

Waiter::Waiter() : state_(std::make_unique<State>()) {}
Waiter::~Waiter() = default;

void Waiter::wait(std::span<const Consumer* const> consumers, std::span<const Producer* const> producers,
                  std::chrono::nanoseconds timeout) {
  std::vector<ring::End*> ends;
  ends.reserve(consumers.size() + producers.size());
  for (const Consumer* consumer : consumers) ends.push_back(&consumer->impl_->end);
  for (const Producer* producer : producers) ends.push_back(&producer->impl_->end);
  const ring::Interrupt interrupt{&state_->word, state_->seen, true};
  ring::wait_any(ends.data(), static_cast<unsigned>(ends.size()), &ring::test_maybe,
                 ring::deadline_after(std::max<std::int64_t>(0, timeout.count())), state_->spin, interrupt);
  state_->seen = state_->word.load();
}

void Waiter::wake() {
  state_->word.fetch_add(1);
  ring::futex_wake(state_->word, INT_MAX);
}

}  // namespace mvm::queuevm
