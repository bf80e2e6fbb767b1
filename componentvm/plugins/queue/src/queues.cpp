#include "queues.h"

#include <set>

#include "mvm/base/json.h"
#include "steps.h"

namespace mvm::plugins::queue {
namespace {

using kernel::Answer;
using kernel::Call;

constexpr std::size_t kMaxAttempts = 1024;
constexpr int kMaxBusy = 4;

Result<std::string> attempt_of(const Call& call) {
  MVM_ASSIGN(std::string attempt, need_text(call.args, "attempt", 190));
  // It becomes a part of the names under which the launcher keeps things.
  if (attempt.find('/') != std::string::npos)
    return Error(ErrorCode::kInvalid, "an attempt's name has no slash");
  return attempt;
}

}  // namespace

Status Queues::offer() {
  MVM_ASSIGN(loop_, AttachLoop::start());
  MVM_TRY(recover());
  MVM_TRY(kernel_.handle("wire.queues", [this](Call& call) { return give(call); }));
  MVM_TRY(kernel_.handle("wire.apply", [this](Call& call) { return apply(call); }));
  MVM_TRY(kernel_.handle("wire.stats", [this](Call& call) { return stats(call); }));
  MVM_TRY(kernel_.handle("wire.peek", [this](const Call& call) { return peek(call); }));
  MVM_TRY(kernel_.handle("wire.drain", [this](const Call& call) { return drain(call); }));
  for (const char* op : {"wire.put", "wire.take", "wire.rest"})
    MVM_TRY(kernel_.handle(op, [this](Call& call) { return outside(call); }));
  // For the job runner.
  MVM_TRY(kernel_.handle("wire.attach", [this](Call& call) { return attach(call); }));
  MVM_TRY(kernel_.handle("wire.ended", [this](Call& call) { return ended(call); }));
  return kernel_.handle("wire.clean", [this](Call& call) { return clean(call); });
}

Result<Answer> Queues::give(Call& call) {
  MVM_ASSIGN(const auto attempt, find_or_make(call));
  MVM_ASSIGN(const std::vector<std::string> ids, texts_of(call.args, "ids", 64, 256));
  MVM_TRY(attempt->give(text_or(call.args, "proc"), number_or(call.args, "first"), ids,
                        std::move(call.descriptors)));
  return Answer{};
}

Result<Answer> Queues::apply(const Call& call) {
  MVM_TRY(steps_from(call.args));
  MVM_ASSIGN(const auto attempt, find_or_make(call));
  MVM_TRY(attempt->apply(call.args));
  return Answer{};
}

Result<Answer> Queues::stats(const Call& call) {
  auto attempt = find(call);
  if (!attempt) return Answer{{{"queues", nlohmann::json::array()}}, {}, {}};
  nlohmann::json result = {{"queues", (*attempt)->stats()}};
  if (flag_or(call.args, "processes")) result["processes"] = (*attempt)->joined();
  return Answer{std::move(result), {}, {}};
}

Result<Answer> Queues::peek(const Call& call) {
  MVM_ASSIGN(const auto attempt, find(call));
  return attempt->peek(call.args);
}

Result<Answer> Queues::drain(const Call& call) {
  MVM_ASSIGN(const auto attempt, find(call));
  return attempt->drain(call.args);
}

Result<Answer> Queues::outside(const Call& call) {
  MVM_ASSIGN(const auto attempt, find(call));
  MVM_ASSIGN(const std::string queue, need_text(call.args, "queue", 256));
  struct Turn {
    std::atomic<int>& busy;
    const int before = busy.fetch_add(1);
    ~Turn() { busy.fetch_sub(1); }
  } const turn{busy_};
  // The pool has threads for other things too.
  if (turn.before >= kMaxBusy && call.op != "wire.rest")
    return Error(ErrorCode::kUnavailable, "busy: too many clients at once");
  if (call.op == "wire.put") {
    MVM_ASSIGN(const auto intake, attempt->intake(queue));
    MVM_ASSIGN(nlohmann::json result, intake->put(call.args, call.blob));
    return Answer{std::move(result), {}, {}};
  }
  MVM_ASSIGN(const auto outlet, attempt->outlet(queue));
  return call.op == "wire.take" ? outlet->take(call.args) : outlet->rest(call.args);
}

Result<Answer> Queues::attach(const Call& call) {
  MVM_ASSIGN(const auto attempt, find(call));
  MVM_ASSIGN(UniqueFd socket, attempt->attach(text_or(call.args, "proc")));
  Answer answer;
  answer.descriptors.push_back(std::move(socket));
  return answer;
}

Result<Answer> Queues::ended(const Call& call) {
  MVM_ASSIGN(const auto attempt, find(call));
  MVM_TRY(attempt->ended(text_or(call.args, "proc"), flag_or(call.args, "ok")));
  return Answer{};
}

Result<Answer> Queues::clean(const Call& call) {
  std::shared_ptr<Attempt> attempt;
  {
    const std::lock_guard lock(mutex_);
    const auto found = attempts_.find(text_or(call.args, "attempt"));
    if (found == attempts_.end()) return Answer{};
    attempt = std::move(found->second);
    attempts_.erase(found);
  }
  attempt->close();
  return Answer{};
}

Result<std::shared_ptr<Attempt>> Queues::find(const Call& call) {
  const std::lock_guard lock(mutex_);
  const auto found = attempts_.find(text_or(call.args, "attempt"));
  if (found == attempts_.end()) return Error(ErrorCode::kNotFound, "this attempt has no wiring here");
  return found->second;
}

Result<std::shared_ptr<Attempt>> Queues::find_or_make(const Call& call) {
  MVM_ASSIGN(const std::string name, attempt_of(call));
  const std::lock_guard lock(mutex_);
  if (attempts_.size() >= kMaxAttempts && !attempts_.contains(name))
    return Error(ErrorCode::kExhausted,
                 "this node has wiring for " + std::to_string(kMaxAttempts) + " attempts already");
  std::shared_ptr<Attempt>& attempt = attempts_[name];
  if (!attempt) attempt = make(name);
  return attempt;
}

std::shared_ptr<Attempt> Queues::make(const std::string& name) {
  // Telling is durable, and may wait for the launcher: the proxy's thread must not.
  return std::make_shared<Attempt>(
      name, kernel_.processes(), *loop_, proxy_,
      [&kernel = kernel_, name](const queuevm::LinkFailure& failure) {
        const nlohmann::json args = {
            {"attempt", name},          {"link", failure.link},       {"peer", failure.peer},
            {"codecs", failure.codecs}, {"message", failure.message}, {"why", failure.why}};
        const Status begun =
            kernel.submit([&kernel, args] { static_cast<void>(kernel.tell("link.failed", args)); });
        if (!begun) log::warning("link.failed-untold", {{"link", failure.link}});
      });
}

Status Queues::recover() {
  MVM_ASSIGN(std::vector<kernel::Kept> all, kernel_.processes().kept("queue/"));
  std::map<std::string, std::vector<kernel::Kept>> by_attempt;
  for (kernel::Kept& one : all) {
    const std::size_t begin = std::string("queue/").size();
    by_attempt[one.name.substr(begin, one.name.find('/', begin) - begin)].push_back(std::move(one));
  }
  for (auto& [name, kept] : by_attempt) {
    auto attempt = make(name);
    if (Status recovered = attempt->recover(std::move(kept)); !recovered)
      log::error("queue.not-recovered", {{"attempt", name}, {"reason", recovered.error().describe()}});
    attempts_.emplace(name, std::move(attempt));
  }
  return ok();
}

}  // namespace mvm::plugins::queue
