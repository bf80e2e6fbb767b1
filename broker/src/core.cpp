#include "core.h"

#include <algorithm>

#include "builds.h"
#include "execs.h"
#include "hosts.h"
#include "jobs.h"
#include "labs.h"
#include "logs.h"
#include "mvm/base/log.h"
#include "rewirings.h"
#include "scheduler.h"

namespace mvm::broker {

Core::Core(BrokerConfig configuration, Store& a_store, const BlobStore& a_blobs, Clock& a_clock, Loop& a_loop,
           Executor& an_executor, const std::vector<host::HostAgent*>& agents)
    : config(std::move(configuration)),
      store(a_store),
      blobs(a_blobs),
      clock(a_clock),
      loop(a_loop),
      executor(an_executor),
      journal(
          a_store, a_clock, [this] { flush_soon(); }, [this](Task task) { post(std::move(task)); }),
      hosts(std::make_unique<Hosts>(*this, agents)),
      labs(std::make_unique<Labs>(*this)),
      jobs(std::make_unique<Jobs>(*this)),
      builds(std::make_unique<Builds>(*this)),
      logs(std::make_unique<Logs>(*this)),
      scheduler(std::make_unique<Scheduler>(*this)),
      execs(std::make_unique<Execs>(*this)),
      rewirings(std::make_unique<Rewirings>(*this)) {}

Core::~Core() = default;

Status Core::load() {
  MVM_ASSIGN(crash, CrashPoints::parse(config.crash_at, config.crash_death));
  MVM_TRY(journal.load(config.limits.events_kept));
  MVM_ASSIGN(const auto numbers, store.list("numbers/"));
  for (const auto& entry : numbers) numbers_[entry.key.substr(8)] = std::stoull(entry.value);
  MVM_TRY(labs->load());
  MVM_TRY(builds->load());
  MVM_TRY(rewirings->load());
  MVM_TRY(jobs->load());
  MVM_TRY(execs->load());
  MVM_TRY(hosts->load());
  return ok();
}

void Core::start() {
  post([this] {
    hosts->start();
    labs->resume();
    jobs->resume();
    rewirings->resume();
    scheduler->wake();
  });
}

void Core::stop() {
  const auto end = [this] {
    stopped = true;
    for (const auto& poll : polls_) {
      const std::lock_guard lock(poll->mutex);
      poll->settled = true;
      poll->changed.notify_all();
    }
    polls_.clear();
  };
  if (!loop.call(end)) end();  // nobody runs the loop any more
  scheduler->stop();
}

void Core::post(Task task) {
  loop.post([self = weak_from_this(), task = std::move(task)] {
    if (const auto core = self.lock(); core && !core->stopped) task();
  });
}

Loop::Timer Core::after(std::chrono::milliseconds delay, Task task) {
  return loop.at(clock.now() + delay, [self = weak_from_this(), task = std::move(task)] {
    if (const auto core = self.lock(); core && !core->stopped) task();
  });
}

void Core::flush_soon() {
  if (flush_posted_) return;
  flush_posted_ = true;
  post([this] { flush_now(); });
}

void Core::flush_now() {
  flush_posted_ = false;
  if (journal.flush()) {
    look();
    return;
  }
  // What was put stays; effects wait for it.
  flush_posted_ = true;
  after(std::chrono::seconds(1), [this] { flush_now(); });
}

void Core::look() {
  if (polls_.empty()) return;
  std::erase_if(polls_, [](const std::shared_ptr<LongPoll>& poll) {
    const std::lock_guard lock(poll->mutex);
    if (!poll->settled && !poll->look()) return false;
    poll->settled = true;
    poll->changed.notify_all();
    return true;
  });
}

bool Core::wait_for(const std::shared_ptr<LongPoll>& poll, std::chrono::milliseconds wait) {
  std::unique_lock lock(poll->mutex);
  const bool settled = poll->changed.wait_for(lock, wait, [&] { return poll->settled; });
  poll->settled = true;  // the loop forgets it at its next look
  return settled;
}

std::uint64_t Core::next_number(const std::string& kind) {
  const auto number = ++numbers_[kind];
  journal.put("numbers/" + kind, std::to_string(number));
  return number;
}

}  // namespace mvm::broker
