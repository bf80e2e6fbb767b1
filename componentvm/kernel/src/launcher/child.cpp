#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::kernel {
namespace {

constexpr std::size_t kRead = 65536;
constexpr std::size_t kMaxInput = 2 << 20;  // a whole frame fits, even after another
constexpr std::size_t kMaxArguments = 4096;
constexpr std::size_t kDrainAtMost =
    2 << 20;  // what a pipe may hold when its last reader of interest has ended

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void make_nonblocking(const UniqueFd& fd) {
  (void)::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

bool valid_id(const std::string& id) {
  return std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
}

ProcessLimits limits_from(const nlohmann::json& object) {
  return {.wall_ms = number_or(object, "wall_ms"),
          .cpu_s = number_or(object, "cpu_s"),
          .memory = number_or(object, "memory"),
          .processes = number_or(object, "processes"),
          .file_size = number_or(object, "file_size"),
          .open_files = number_or(object, "open_files")};
}

Result<std::vector<std::string>> environment_from(const nlohmann::json& args) {
  std::vector<std::string> environment;
  MVM_ASSIGN(const auto pairs, text_map_of(args, "environment", 4096));
  for (const auto& [name, value] : pairs) {
    if (name.find('=') != std::string::npos)
      return Error(ErrorCode::kInvalid, "environment variable with = in its name: " + name);
    environment.push_back(name + "=" + value);
  }
  return environment;
}

/// (ours, number in the process) for each descriptor that came with the request.
Result<std::vector<std::pair<int, int>>> numbers_from(const nlohmann::json& args,
                                                      const std::vector<UniqueFd>& descriptors) {
  std::vector<std::pair<int, int>> result;
  const nlohmann::json& numbers = array_or_empty(args, "numbers");
  if (numbers.size() != descriptors.size())
    return Error(ErrorCode::kInvalid, "descriptors: found " + std::to_string(descriptors.size()) +
                                          ", expected " + std::to_string(numbers.size()));
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    if (!numbers[i].is_number_unsigned() || numbers[i].get<std::uint64_t>() < 3 || numbers[i] > 1000)
      return Error(ErrorCode::kInvalid, "descriptor numbers must lie between 3 and 1000");
    result.emplace_back(descriptors[i].get(), numbers[i].get<int>());
  }
  return result;
}

}  // namespace

Result<std::unique_ptr<Child>> Child::start(const ChildContext& context, const nlohmann::json& args,
                                            const std::vector<UniqueFd>& descriptors) {
  std::unique_ptr<Child> child(new Child());
  MVM_ASSIGN(child->id_, need_text(args, "id", 200));
  if (!valid_id(child->id_)) return Error(ErrorCode::kInvalid, "a process id has printable characters only");
  child->owner_ = text_or(args, "owner");
  child->group_ = text_or(args, "group");
  child->output_event_ = text_or(args, "output_event");
  child->output_args_ = object_or_empty(args, "output_args");
  child->memo_ = object_or_empty(args, "memo");
  child->transient_ = flag_or(args, "transient");

  ShepherdPlan plan;
  MVM_ASSIGN(plan.argv, texts_of(args, "argv", kMaxArguments, 131072));
  if (plan.argv.empty()) return Error(ErrorCode::kInvalid, "process " + child->id_ + " has no program");
  MVM_ASSIGN(plan.folder, need_text(args, "folder"));
  if (plan.folder.front() != '/') return Error(ErrorCode::kInvalid, "a working directory must be absolute");
  MVM_ASSIGN(plan.program, find_program(context.config, plan.argv[0], plan.folder));
  MVM_ASSIGN(plan.environment, environment_from(args));
  MVM_ASSIGN(plan.descriptors, numbers_from(args, descriptors));
  plan.limits = limits_from(object_or_empty(args, "limits"));
  plan.isolate = flag_or(args, "isolate");
  plan.drop = context.drop;
  plan.user = context.config.user;
  plan.group = context.config.group;
  plan.filter = plan.isolate ? context.build_filter : context.job_filter;
  plan.launcher = ::getpid();

  child->spool_folder_ = spool_folder(context.config.run, child->id_);
  MVM_TRY(remove_tree(child->spool_folder_));
  MVM_TRY(make_folders(child->spool_folder_, 0700));
  child->out_.spool = Spool(child->spool_folder_, "out", context.config.spool);
  child->err_.spool = Spool(child->spool_folder_, "err", context.config.spool);

  const bool merge = flag_or(args, "merge_output");
  MVM_ASSIGN(Pipe report, make_pipe());
  MVM_ASSIGN(Pipe out, make_pipe());
  Pipe err, in;
  if (!merge) {
    MVM_ASSIGN(err, make_pipe());
  }
  if (flag_or(args, "standard_input")) {
    MVM_ASSIGN(in, make_pipe());
  } else {
    in.read.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!in.read) return Error::from_errno(errno, "open /dev/null");
  }
  Pipe gate;
  if (flag_or(args, "hold")) {
    MVM_ASSIGN(gate, make_pipe());
    child->state_ = Gate::kHeld;
  }
  plan.gate = gate.read.get();
  plan.standard = {in.read.get(), out.write.get(), merge ? out.write.get() : err.write.get()};
  plan.report = report.write.get();
  child->shepherd_ = ::fork();
  if (child->shepherd_ < 0) return Error::from_errno(errno, "fork");
  if (child->shepherd_ == 0) be_shepherd(plan);

  report.write.reset();
  child->report_ = std::move(report.read);
  child->out_.fd = std::move(out.read);
  child->err_.fd = std::move(err.read);
  child->input_ = std::move(in.write);
  child->gate_ = std::move(gate.write);
  child->wall_limit_ms_ = plan.limits.wall_ms;
  auto started = child->await(child->gate_ ? ShepherdReport::Kind::kHeld : ShepherdReport::Kind::kStarted);
  if (!started) {
    child->remove_spool();
    return started.error();
  }
  child->pid_ = started->pid;
  if (!child->gate_) child->begin();
  make_nonblocking(child->report_);
  make_nonblocking(child->out_.fd);
  if (child->err_.fd) make_nonblocking(child->err_.fd);
  if (child->input_) make_nonblocking(child->input_);
  return child;
}

/// Its time counts from now on.
void Child::begin() {
  begin_ = Clock::now();
  if (wall_limit_ms_ > 0)
    deadline_ = begin_ + std::chrono::milliseconds(std::min<std::uint64_t>(wall_limit_ms_, 1ULL << 40));
}

void Child::open_gate() {
  if (state_ != Gate::kHeld) return;
  [[maybe_unused]] const ssize_t put = ::write(gate_.get(), "g", 1);
  gate_.reset();
  state_ = Gate::kOpening;
}

Status Child::await_release() {
  if (state_ == Gate::kLost)
    return Error(ErrorCode::kAborted, "process " + id_ + " ended before it was released");
  if (state_ != Gate::kOpening) return ok();
  (void)::fcntl(report_.get(), F_SETFL, ::fcntl(report_.get(), F_GETFL) & ~O_NONBLOCK);
  const auto started = await(ShepherdReport::Kind::kStarted);
  make_nonblocking(report_);
  state_ = Gate::kOpen;
  if (!started) {
    exited({.kind = ShepherdReport::Kind::kExited, .status = 127 << 8});
    return started.error();
  }
  begin();
  return ok();
}

/// Blocks for the milliseconds that fork and exec take.
Result<ShepherdReport> Child::await(ShepherdReport::Kind wanted) {
  ShepherdReport report;
  ssize_t got = 0;
  do got = ::read(report_.get(), &report, sizeof report);
  while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof report))
    return Error(ErrorCode::kFailed, "process " + id_ + " could not be started: its shepherd died");
  if (report.kind == wanted) return report;
  if (report.kind != ShepherdReport::Kind::kFailed)
    return Error(ErrorCode::kFailed, "process " + id_ + " ended before it could be held");
  report.step.back() = '\0';
  const ErrorCode code =
      report.problem == EAGAIN || report.problem == ENOMEM ? ErrorCode::kExhausted : ErrorCode::kFailed;
  return Error(code, "start process " + id_ + ": " + report.step.data() + ": " +
                         std::generic_category().message(report.problem));
}

void Child::take_report() {
  ShepherdReport report;
  ssize_t got = 0;
  do got = ::read(report_.get(), &report, sizeof report);
  while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  if (got == static_cast<ssize_t>(sizeof report) && report.kind == ShepherdReport::Kind::kStarted) {
    state_ = Gate::kLost;  // its end follows
    gate_.reset();
    return;
  }
  if (got != static_cast<ssize_t>(sizeof report) || report.kind != ShepherdReport::Kind::kExited) {
    // The shepherd was killed; with it its process got SIGKILL.
    report = ShepherdReport{};
    report.status = SIGKILL;
    if (reason_.empty()) reason_ = "its shepherd was killed";
  }
  exited(report);
}

void Child::exited(const ShepherdReport& report) {
  exited_ = true;
  report_.reset();
  gate_.reset();
  if (state_ == Gate::kHeld) state_ = Gate::kLost;
  input_.reset();
  input_waiting_.clear();
  wall_ms_ = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_).count());
  user_ms_ = report.user_ms;
  system_ms_ = report.system_ms;
  max_rss_ = report.max_rss;
  signal_ = WIFSIGNALED(report.status) ? WTERMSIG(report.status) : 0;
  code_ = signal_ != 0 ? 128 + signal_ : WEXITSTATUS(report.status);
  // Its end of the pipes is closed; somebody else may hold a copy, who must not keep us waiting.
  for (OutputPipe* pipe : {&out_, &err_}) {
    std::size_t drained = 0;
    while (pipe->fd && pipe->held.empty() && drained < kDrainAtMost) {
      const std::uint64_t before = pipe->spool.size();
      relay(*pipe);
      if (pipe->spool.size() == before) break;
      drained += static_cast<std::size_t>(pipe->spool.size() - before);
    }
    if (pipe->held.empty()) pipe->fd.reset();
  }
}

void Child::relay(OutputPipe& pipe) {
  std::array<char, kRead> piece;
  if (pipe.held.empty()) {
    ssize_t got = 0;
    do got = ::read(pipe.fd.get(), piece.data(), piece.size());
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (got <= 0) {
      pipe.fd.reset();
      return;
    }
    pipe.held.assign(piece.data(), static_cast<std::size_t>(got));
  }
  if (Status written = pipe.spool.append(pipe.held); !written) {
    log::warning("spool.full", {{"process", id_}, {"reason", written.error().message()}});
    return;
  }
  pipe.held.clear();
  pipe.dirty = true;
  if (exited_ && !report_) {
    // Held back by a full disk when it ended: go on where that stopped.
    pollfd item{pipe.fd.get(), POLLIN, 0};
    if (::poll(&item, 1, 0) <= 0 || (item.revents & POLLIN) == 0) pipe.fd.reset();
  }
}

void Child::feed() {
  while (!input_waiting_.empty() && input_) {
    const ssize_t put = ::write(input_.get(), input_waiting_.data(), input_waiting_.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (put < 0) {  // it does not read any more
      input_.reset();
      input_waiting_.clear();
      return;
    }
    input_waiting_.erase(0, static_cast<std::size_t>(put));
  }
  if (input_end_) input_.reset();
}

Result<std::uint64_t> Child::input(std::uint64_t offset, std::string_view bytes, bool end) {
  if (offset > input_taken_)
    return Error(ErrorCode::kConflict, "input of " + id_ + ": found offset " + std::to_string(offset) +
                                           ", expected at most " + std::to_string(input_taken_));
  if (input_taken_ - offset < bytes.size()) {
    bytes.remove_prefix(static_cast<std::size_t>(input_taken_ - offset));
    if (!input_ || input_end_) return Error(ErrorCode::kConflict, "process " + id_ + " takes no more input");
    const std::string_view fits = bytes.substr(0, kMaxInput - std::min(kMaxInput, input_waiting_.size()));
    input_waiting_ += fits;
    input_taken_ += fits.size();
    bytes.remove_prefix(fits.size());
  } else {
    bytes = {};
  }
  if (end && bytes.empty()) input_end_ = true;
  feed();
  return input_taken_;
}

void Child::signal(int number) const {
  if (exited_ || pid_ <= 0) return;
  if (::kill(-pid_, number) != 0) ::kill(pid_, number);
}

void Child::kill(const std::string& reason) {
  if (exited_) return;
  if (reason_.empty()) reason_ = reason;
  deadline_.reset();
  gate_.reset();  // where it is held, its shepherd hears nothing before it ends
  ::kill(shepherd_, SIGTERM);
}

nlohmann::json Child::describe() const {
  nlohmann::json info{{"id", id_},
                      {"owner", owner_},
                      {"group", group_},
                      {"pid", pid_},
                      {"state", exited_ ? "exited" : "running"},
                      {"code", code_},
                      {"signal", signal_},
                      {"reason", reason_},
                      {"wall_ms", wall_ms_},
                      {"user_ms", user_ms_},
                      {"system_ms", system_ms_},
                      {"max_rss", max_rss_},
                      {"memo", memo_}};
  info["held"] = state_ == Gate::kHeld;
  info["settled"] = settled();
  info["finished"] = finished;
  info["transient"] = transient_;
  info["output_event"] = output_event_;
  info["output_args"] = output_args_;
  info["out"] = {{"size", out_.spool.size()}, {"acked", out_.spool.acknowledged()}};
  info["err"] = {{"size", err_.spool.size()}, {"acked", err_.spool.acknowledged()}};
  return info;
}

bool Child::done_with() const {
  return transient_ && finished && settled() && out_.spool.acknowledged() == out_.spool.size() &&
         err_.spool.acknowledged() == err_.spool.size();
}

void Child::remove_spool() { (void)remove_tree(spool_folder_); }

}  // namespace mvm::kernel
