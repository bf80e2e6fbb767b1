#include "policy_runner.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <numeric>

#include "json_fields.h"
#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/log.h"
#include "mvm/base/subprocess.h"
#include "mvm/topologies/codecs.h"
#include "policy_codec.h"

namespace mvm::broker {

OrderAnswer first_come(const std::vector<WaitingJob>& jobs) {
  OrderAnswer answer;
  answer.order.resize(jobs.size());
  std::iota(answer.order.begin(), answer.order.end(), 0U);
  std::stable_sort(answer.order.begin(), answer.order.end(),
                   [&](auto a, auto b) { return jobs[a].number < jobs[b].number; });
  return answer;
}

/// One component's process, started with its first question. Any thread; questions go one by one.
class PolicyChild {
 public:
  PolicyChild(std::vector<std::string> command, std::filesystem::path file, std::string options,
              std::string kind, std::chrono::milliseconds deadline)
      : command_(std::move(command)),
        file_(std::move(file)),
        options_(std::move(options)),
        kind_(std::move(kind)),
        deadline_(deadline) {}
  ~PolicyChild() { stop(); }

  /// The plan's bytes. Whatever goes wrong, the child is ended; the next question starts another.
  [[nodiscard]] Result<std::string> decide(std::string_view question) {
    const std::lock_guard lock(mutex_);
    auto answer = ask(question);
    if (!answer) end();
    return answer;
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    end();
  }

 private:
  [[nodiscard]] Status begin();
  [[nodiscard]] Result<std::string> ask(std::string_view question);
  void end() {
    reader_.reset();
    stream_.reset();
    process_.reset();  // kills and reaps
  }

  const std::vector<std::string> command_;
  const std::filesystem::path file_;
  const std::string options_;  ///< `name=value` lines
  const std::string kind_;
  const std::chrono::milliseconds deadline_;
  std::mutex mutex_;
  UniqueFd stream_;
  std::optional<FrameReader> reader_;
  std::optional<Subprocess> process_;
  std::uint64_t last_id_ = 0;
};

Status PolicyChild::begin() {
  if (process_) return ok();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return Error::from_errno(errno, "socketpair");
  stream_.reset(ends[0]);
  UniqueFd theirs(ends[1]);
  SpawnOptions options;
  options.argv = command_;
  options.argv.push_back(file_.string());
  if (!options_.empty()) options.argv.push_back(options_);
  options.inherit_environment = false;
  options.environment = {{"PATH", "/usr/bin:/bin"}};
  options.descriptors = {{theirs.get(), 3}};
  MVM_ASSIGN(auto process, Subprocess::spawn(options));
  theirs.reset();  // or its death would not end the stream
  process_.emplace(std::move(process));
  reader_.emplace(stream_.get());
  MVM_ASSIGN(const auto hello, reader_->read(static_cast<int>(deadline_.count())));
  const auto kind =
      fields::text(hello.head, "t") == "hello" ? fields::text(hello.head, "kind") : std::string();
  if (kind == kind_) return ok();
  if (!kind.empty()) return Error(ErrorCode::kInvalid, "it is of kind " + kind + ", expected " + kind_);
  return Error(ErrorCode::kInvalid, "it refuses: " + fields::text(hello.head, "reason"));
}

/// The question's bytes where nobody can change them any more.
Result<UniqueFd> seal(std::string_view bytes) {
  UniqueFd fd(::memfd_create("mvm-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return Error::from_errno(errno, "memfd_create");
  MVM_TRY(write_all(fd.get(), bytes));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return Error::from_errno(errno, "seal the snapshot");
  return fd;
}

Result<std::string> PolicyChild::ask(std::string_view question) {
  // One that ended between two questions failed at none of them.
  if (process_ && process_->wait_for(std::chrono::milliseconds(0))) end();
  MVM_TRY(begin());
  MVM_ASSIGN(const auto snapshot, seal(question));
  const auto id = ++last_id_;
  MVM_TRY(send_frame(stream_.get(), {{"t", "decide"}, {"id", id}, {"size", question.size()}}, {},
                     {snapshot.get()}));
  MVM_ASSIGN(auto answer, reader_->read(static_cast<int>(deadline_.count())));
  if (fields::number(answer.head, "id") != id) return Error(ErrorCode::kCorrupt, "it answers out of turn");
  if (fields::text(answer.head, "t") != "plan") return Error(ErrorCode::kUnavailable, "it has no answer");
  return std::move(answer.blob);
}

// ---- the runner

namespace {

/// Children at once: a component is named by profiles too.
constexpr std::size_t kMaxChildren = 16;

/// A file's name, not a path.
bool is_component_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

}  // namespace

PolicyRunner::PolicyRunner(Core& core) : core_(core) {}

PolicyRunner::~PolicyRunner() = default;

/// None where components are not configured, or this one has no proper name.
std::shared_ptr<PolicyChild> PolicyRunner::child(const std::string& component, const char* kind,
                                                 const std::string& options) {
  const auto& policies = core_.config.policies;
  if (policies.command.empty() || policies.folder.empty() || component.empty()) return nullptr;
  const std::string key = component + "\n" + options;
  if (const auto known = children_.find(key); known != children_.end()) return known->second;
  if (!is_component_name(component)) {
    fell_back(component.substr(0, 64),
              Error(ErrorCode::kInvalid, "a component's name has a-z, 0-9 and - only"));
    return nullptr;
  }
  if (children_.size() >= kMaxChildren) children_.clear();
  auto made = std::make_shared<PolicyChild>(policies.command, policies.folder / (component + ".so"), options,
                                            kind, policies.deadline);
  children_[key] = made;
  return made;
}

void PolicyRunner::stop() {
  for (const auto& [name, child] : children_) child->stop();
}

void PolicyRunner::fell_back(const std::string& component, const Error& error) {
  report(component, error, "the built-in rule decides instead");
}

void PolicyRunner::report(const std::string& component, const Error& error, const std::string& consequence) {
  log::warning("policy.failed", {{"component", component}, {"error", error.describe()}});
  core_.journal.event({.event = "policy.failed",
                       .lab = {},
                       .job = {},
                       .node = {},
                       .detail = component + ": " + error.describe() + "; " + consequence,
                       .user = {}});
}

void PolicyRunner::order(std::vector<WaitingJob> jobs, const UsageByUser& usage,
                         std::function<void(OrderAnswer)> answer) {
  const auto order_by = child(core_.config.policies.order, "order");
  if (!order_by) {
    answer(first_come(jobs));
    return;
  }
  auto question = encode_question(jobs, usage);
  rest_later();
  core_.run([child = order_by, question = std::move(question)] { return child->decide(question); },
            [this, jobs = std::move(jobs), answer = std::move(answer)](Result<std::string> plan) {
              auto order = plan ? decode_order(*plan, jobs.size()) : Result<OrderAnswer>(plan.error());
              if (!order) fell_back(core_.config.policies.order, order.error());
              answer(order ? std::move(*order) : first_come(jobs));
            });
}

void PolicyRunner::place(const std::string& component, PlacementProblem problem,
                         std::function<void(std::optional<Placement>)> answer) {
  const auto place_by = child(component, "placement");
  if (!place_by) {
    answer(pack(problem));
    return;
  }
  auto question = encode_question(problem);
  rest_later();
  core_.run(
      [child = place_by, question = std::move(question)] { return child->decide(question); },
      [this, component, problem = std::move(problem), answer = std::move(answer)](Result<std::string> plan) {
        auto placement = plan ? decode_placement(*plan) : Result<std::optional<Placement>>(plan.error());
        if (placement && *placement)
          if (const auto valid = check_placement(problem, **placement); !valid) placement = valid.error();
        if (!placement) fell_back(component, placement.error());
        answer(placement ? std::move(*placement) : pack(problem));
      });
}

namespace {

std::string lines_of(const std::map<std::string, std::string>& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    std::string line = name + "=" + value;
    std::replace(line.begin(), line.end(), '\n', ' ');
    text += line + "\n";
  }
  return text;
}

/// Adds the codecs that the links lack. kInvalid where a chain becomes too long.
Status add_codecs(std::vector<CarriedLink>& links, const std::vector<std::vector<std::string>>& added) {
  for (std::size_t i = 0; i < links.size(); ++i) {
    auto& chain = links[i].codecs;
    for (const auto& codec : added[i]) {
      const auto same = [&](const std::string& other) {
        return topologies::codec_name(other) == topologies::codec_name(codec);
      };
      if (std::none_of(chain.begin(), chain.end(), same)) chain.push_back(codec);
    }
    if (const auto fault = topologies::check_codecs(chain))
      return Error(ErrorCode::kInvalid, "link " + links[i].name + ": " + fault->message);
  }
  return ok();
}

}  // namespace

void PolicyRunner::extend(std::vector<PolicyUse> uses, std::vector<CarriedLink> links,
                          std::function<void(Result<std::vector<CarriedLink>>)> answer) {
  if (uses.empty()) {
    answer(std::move(links));
    return;
  }
  const auto use = std::move(uses.front());
  uses.erase(uses.begin());
  const auto asked = child(use.component, "links", lines_of(use.options));
  if (!asked) {
    answer(Error(ErrorCode::kUnavailable, "this broker runs no policy component " + use.component));
    return;
  }
  auto question = encode_question(links);
  rest_later();
  core_.run([asked, question = std::move(question)] { return asked->decide(question); },
            [this, component = use.component, uses = std::move(uses), links = std::move(links),
             answer = std::move(answer)](Result<std::string> plan) mutable {
              auto added = plan ? decode_links(*plan, links.size())
                                : Result<std::vector<std::vector<std::string>>>(plan.error());
              Status status = added ? add_codecs(links, *added) : Status(added.error());
              if (!status) {
                report(component, status.error(), "jobs whose links it decides on wait");
                answer(std::move(status).error().wrap("policy component " + component));
                return;
              }
              extend(std::move(uses), std::move(links), std::move(answer));
            });
}

/// Nothing was asked for a while: the children go, so that an idle broker is one small process.
void PolicyRunner::rest_later() {
  core_.loop.cancel(rest_timer_);
  rest_timer_ = core_.after(std::chrono::seconds(10), [this] {
    core_.run(
        [children = children_] {
          for (const auto& [name, child] : children) child->stop();
          return ok();
        },
        [](const Status&) {});
  });
}

}  // namespace mvm::broker
