#include "runs.h"

#include <algorithm>
#include <chrono>

#include "mvm/base/log.h"

namespace mvm::kernel {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kRemembered = 256;  // that have ended
constexpr std::size_t kLongestName = 200;

bool plain(const std::string& name) {
  return name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127; });
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

/// Its fields belong to the mutex of Runs, except those that never change.
class Runs::One final : public Run {
 public:
  One(Runs& runs, RunOrder order, std::shared_ptr<RunBody> body)
      : runs_(runs), order_(std::move(order)), body_(std::move(body)) {}
  const std::string& id() const override { return order_.run; }
  const std::vector<std::string>& arguments() const override { return order_.arguments; }
  bool stopping() const override {
    const std::lock_guard lock(runs_.mutex_);
    return state_ == State::kStopping;
  }
  bool wait_stop(milliseconds time) override {
    std::unique_lock lock(runs_.mutex_);
    return runs_.changed_.wait_for(lock, time, [&] { return state_ == State::kStopping; });
  }
  [[nodiscard]] bool alive() const { return state_ != State::kEnded; }

  Runs& runs_;
  const RunOrder order_;
  std::shared_ptr<RunBody> body_;
  State state_ = State::kPrepared;
  bool dropped_ = false;
  std::int64_t began_ms_ = 0, ended_ms_ = 0;
  std::string reason_;  // why it failed
};

Status Runs::offer(const std::string& plugin, const std::string& function, RunBody body) {
  if (function.empty() || !plain(function))
    return Error(ErrorCode::kInvalid, "\"" + function.substr(0, 40) + "\" is not the name of a function");
  const std::lock_guard lock(mutex_);
  if (!functions_[plugin].try_emplace(function, std::make_shared<RunBody>(std::move(body))).second)
    return Error(ErrorCode::kExists, "plug-in " + plugin + " has offered function " + function + " already");
  return ok();
}

/// Called with the mutex held.
Runs::Ptr Runs::find(const std::string& run) const {
  const auto found =
      std::find_if(runs_.begin(), runs_.end(), [&](const Ptr& one) { return one->order_.run == run; });
  return found == runs_.end() ? nullptr : *found;
}

/// Likewise.
void Runs::forget_old() {
  auto ended = static_cast<std::size_t>(
      std::count_if(runs_.begin(), runs_.end(), [](const Ptr& one) { return !one->alive(); }));
  std::erase_if(runs_, [&](const Ptr& one) { return !one->alive() && ended > kRemembered && ended-- > 0; });
}

Result<std::string> Runs::prepare(const RunOrder& asked) {
  RunOrder order = asked;
  if (order.function.empty()) order.function = "main";
  if (!plain(order.run)) return Error(ErrorCode::kInvalid, "run: expected a name of at most 200 letters");
  Ptr one;
  {
    const std::lock_guard lock(mutex_);
    if (order.run.empty()) order.run = order.plugin + "/" + std::to_string(next_++);
    if (find(order.run)) return Error(ErrorCode::kExists, "run " + order.run + " is there already");
    const auto plugin = functions_.find(order.plugin);
    const auto function = plugin == functions_.end()
                              ? std::map<std::string, std::shared_ptr<RunBody>>::iterator()
                              : plugin->second.find(order.function);
    if (plugin == functions_.end() || function == plugin->second.end())
      return Error(ErrorCode::kNotFound, "plug-in " + order.plugin.substr(0, 80) + " has no function " +
                                             order.function + " that can be run");
    const auto held = std::count_if(runs_.begin(), runs_.end(), [](const Ptr& run) { return run->alive(); });
    if (static_cast<std::size_t>(held) >= hooks_.most())
      return Error(ErrorCode::kExhausted, std::to_string(held) +
                                              " threads run plug-ins already; more are there once the pool's "
                                              "maximum is raised (kernel.pool)");
    one = std::make_shared<One>(*this, order, function->second);
    runs_.push_back(one);
  }
  if (Status submitted = hooks_.submit([this, one] { run(one); }); !submitted) {
    const std::lock_guard lock(mutex_);
    runs_.remove(one);
    changed_.notify_all();
    return submitted.error();
  }
  return order.run;
}

Status Runs::release(const std::string& run) {
  const std::lock_guard lock(mutex_);
  const Ptr one = find(run);
  if (!one) return Error(ErrorCode::kNotFound, "there is no run " + run.substr(0, 80));
  if (one->state_ == State::kPrepared) one->state_ = State::kRunning;
  changed_.notify_all();
  return ok();
}

void Runs::drop(const std::string& run) {
  const std::lock_guard lock(mutex_);
  const Ptr one = find(run);
  if (!one || one->state_ != State::kPrepared) return;
  one->dropped_ = true;
  changed_.notify_all();
}

Result<std::string> Runs::start(const RunOrder& order) {
  if (!order.run.empty()) {
    const std::lock_guard lock(mutex_);
    const Ptr one = find(order.run);
    if (one && one->order_.plugin == order.plugin && one->state_ != State::kPrepared) return order.run;
  }
  MVM_ASSIGN(std::string run, prepare(order));
  MVM_TRY(release(run));
  return run;
}

void Runs::run(const Ptr& one) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return one->dropped_ || one->state_ != State::kPrepared; });
  if (one->dropped_) {
    one->body_.reset();
    runs_.remove(one);
    changed_.notify_all();
    return;
  }
  one->began_ms_ = now_ms();
  lock.unlock();
  const RunOrder& order = one->order_;
  log::info("run.began", {{"run", order.run}, {"plugin", order.plugin}, {"function", order.function}});
  Status done = ok();
  hooks_.as(order.plugin, [&] { done = (*one->body_)(*one); });
  const std::string reason = done ? "" : done.error().describe();
  done = ok();
  log::info("run.ended", {{"run", order.run}, {"plugin", order.plugin}, {"reason", reason}});
  lock.lock();
  one->body_.reset();  // its code is the plug-in's, which may go from here on
  one->state_ = State::kEnded;
  one->ended_ms_ = now_ms();
  one->reason_ = reason;
  forget_old();
  changed_.notify_all();
  lock.unlock();
  if (!order.notify.empty())
    hooks_.tell(order.notify, {{"run", order.run},
                               {"plugin", order.plugin},
                               {"function", order.function},
                               {"ok", reason.empty()},
                               {"reason", reason}});
}

Status Runs::stop(const std::string& run) {
  const std::lock_guard lock(mutex_);
  const Ptr one = find(run);
  if (!one) return Error(ErrorCode::kNotFound, "there is no run " + run.substr(0, 80));
  if (one->state_ == State::kPrepared) one->dropped_ = true;
  if (one->state_ == State::kRunning) one->state_ = State::kStopping;
  changed_.notify_all();
  return ok();
}

std::size_t Runs::stop_of(const std::string& plugin) {
  const std::lock_guard lock(mutex_);
  std::size_t count = 0;
  for (const Ptr& one : runs_) {
    if (one->order_.plugin != plugin || one->state_ != State::kRunning) continue;
    one->state_ = State::kStopping;
    ++count;
  }
  changed_.notify_all();
  return count;
}

bool Runs::there(const std::string& run) const {
  const std::lock_guard lock(mutex_);
  return find(run) != nullptr;
}

std::vector<std::string> Runs::functions_of(const std::string& plugin) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  if (const auto found = functions_.find(plugin); found != functions_.end())
    for (const auto& [name, body] : found->second) names.push_back(name);
  return names;
}

nlohmann::json Runs::list() const {
  static constexpr const char* kNames[] = {"prepared", "running", "stopping", "ended"};
  const std::lock_guard lock(mutex_);
  nlohmann::json all = nlohmann::json::array();
  for (const Ptr& one : runs_)
    all.push_back({{"run", one->order_.run},
                   {"plugin", one->order_.plugin},
                   {"function", one->order_.function},
                   {"arguments", one->order_.arguments},
                   {"state", kNames[static_cast<std::size_t>(one->state_)]},
                   {"began_ms", one->began_ms_},
                   {"ended_ms", one->ended_ms_},
                   {"ok", one->reason_.empty()},
                   {"reason", one->reason_}});
  return all;
}

void Runs::retire(const std::string& plugin) {
  std::unique_lock lock(mutex_);
  functions_.erase(plugin);
  for (const Ptr& one : runs_) {
    if (one->order_.plugin != plugin) continue;
    if (one->state_ == State::kPrepared) one->dropped_ = true;
    if (one->state_ == State::kRunning) one->state_ = State::kStopping;
  }
  changed_.notify_all();
  changed_.wait(lock, [&] {
    return std::none_of(runs_.begin(), runs_.end(),
                        [&](const Ptr& one) { return one->order_.plugin == plugin && one->alive(); });
  });
}

}  // namespace mvm::kernel
