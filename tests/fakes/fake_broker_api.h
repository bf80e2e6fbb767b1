#pragma once
// A broker that keeps its jobs, labs and blobs in memory: what SOAP and the command line are tested against.
//
// It behaves like the real one towards its caller: ids count up, waits end when something happens, a wrong
// profile is refused with diagnostics, unknown ids are kNotFound. Jobs do not run: a test moves them with
// set_state() and add_log(). Every method may be called from any thread.

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fakes/fake_dvm_api.h"
#include "fakes/fake_kernel_api.h"
#include "fakes/fake_registry_api.h"
#include "mvm/base/digest.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

class FakeBrokerApi final : public JobApi,
                            public LabApi,
                            public StoreApi,
                            public SystemApi,
                            public HostsApi,
                            public QueueApi {
 public:
  /// With other parts in place of this one's, where a test has them.
  struct Others {
    JobApi* jobs = nullptr;
    StoreApi* store = nullptr;
    SystemApi* system = nullptr;
  };
  [[nodiscard]] BrokerApi api(Others others) {
    return {.jobs = others.jobs != nullptr ? *others.jobs : *this,
            .labs = *this,
            .store = others.store != nullptr ? *others.store : *this,
            .system = others.system != nullptr ? *others.system : *this,
            .hosts = *this,
            .queues = *this,
            .kernels = kernels,
            .registry = registry,
            .dvm = dvm};
  }
  [[nodiscard]] BrokerApi api() { return api(Others{}); }
  FakeKernelApi kernels;
  FakeRegistryApi registry;
  FakeDvmApi dvm;

  // ---- what a test does to it ------------------------------------------------------------------------

  /// Moves a job to a state and wakes who waits for it. DONE, FAILED and CANCELLED end its log.
  void set_state(const std::string& id, const std::string& state, const std::string& reason = {},
                 int exit_code = 0) {
    const std::lock_guard lock(mutex_);
    JobDetail& detail = jobs_[id].detail;
    detail.transitions.push_back(
        {.at_ms = ++now_, .from = detail.job.state, .to = state, .reason = reason, .attempt = 1});
    detail.job.state = state;
    detail.job.reason = reason;
    detail.job.exit_code = exit_code;
    if (ended(state)) detail.job.ended_ms = now_;
    events_.push_back({.seq = events_.size() + 1,
                       .at_ms = now_,
                       .event = "job.state",
                       .lab = detail.job.lab,
                       .job = id,
                       .detail = state});
    changed_.notify_all();
  }
  /// Output of one of its processes.
  void add_log(const std::string& id, LogPiece piece) {
    const std::lock_guard lock(mutex_);
    jobs_[id].log.push_back(std::move(piece));
    changed_.notify_all();
  }
  void add_process(const std::string& id, ProcessView process) {
    const std::lock_guard lock(mutex_);
    jobs_[id].detail.processes.push_back(std::move(process));
  }
  /// A result file of a job; its bytes go to the store.
  void add_result(const std::string& id, const std::string& name, const std::string& content,
                  const std::string& process = "cell[0]") {
    const std::lock_guard lock(mutex_);
    const std::string digest = sha256_hex(content);
    blobs_[digest] = content;
    jobs_[id].results.push_back({.name = name, .process = process, .digest = digest, .size = content.size()});
  }
  /// Puts other bytes where a digest's own should be.
  void corrupt(const std::string& digest, const std::string& content) {
    const std::lock_guard lock(mutex_);
    blobs_[digest] = content;
  }
  /// What the next calls of these kinds answer.
  std::vector<Diagnostic> diagnostics;
  PlanView planned;
  std::vector<VmView> vm_list;
  std::vector<LinkView> link_list;
  std::vector<QueueView> queue_list;
  std::vector<PeekedQueue> peek_list;
  std::deque<std::vector<DrainedQueue>> drain_answers;  ///< one a call
  RewireView rewire_view, rewire_result;
  std::vector<HostView> host_list;
  std::vector<std::string> hosts_asked;  ///< calls of HostsApi, in order
  std::optional<JoinedHost> join_answer;
  std::vector<BuildView> build_list;
  LogPage build_page;
  std::string picture = "digraph lab {}\n";
  std::string console_text;
  ExecPage exec_page;
  std::string broker_name = "fake", version = "0.1.0";
  bool keep_blobs = true;  ///< false: only their size is counted, for very large ones

  /// What was asked of it last.
  [[nodiscard]] Caller last_caller() const { return locked(last_caller_); }
  [[nodiscard]] SubmitRequest last_request() const { return locked(last_request_); }
  [[nodiscard]] ExecRequest last_exec() const { return locked(last_exec_); }
  [[nodiscard]] std::string last_suspend() const { return locked(last_suspend_); }
  [[nodiscard]] PeekRequest last_peek() const { return locked(last_peek_); }
  [[nodiscard]] std::vector<DrainRequest> drains() const { return locked(drains_); }
  [[nodiscard]] std::uint64_t blob_bytes() const { return locked(blob_bytes_); }
  [[nodiscard]] std::size_t waiting() const { return locked(waiting_); }
  [[nodiscard]] std::string blob(const std::string& digest) const {
    const std::lock_guard lock(mutex_);
    const auto found = blobs_.find(digest);
    return found == blobs_.end() ? std::string() : found->second;
  }
  void put(const std::string& content) {
    const std::lock_guard lock(mutex_);
    blobs_[sha256_hex(content)] = content;
  }

  // ---- JobApi ------------------------------------------------------------------------------------------

  Result<std::vector<Diagnostic>> validate(const Caller& caller, const SubmitRequest& request) override {
    const std::lock_guard lock(mutex_);
    note(caller, request);
    return diagnostics;
  }
  Result<PlanView> plan(const Caller& caller, const SubmitRequest& request) override {
    const std::lock_guard lock(mutex_);
    note(caller, request);
    if (!diagnostics.empty()) return refused();
    return planned;
  }
  Result<std::string> submit(const Caller& caller, const SubmitRequest& request) override {
    const std::lock_guard lock(mutex_);
    note(caller, request);
    if (!diagnostics.empty()) return refused();
    if (!request.request.empty())
      if (const auto known = requests_.find(request.request); known != requests_.end()) return known->second;
    const std::string id = std::to_string(++last_id_);
    JobDetail& detail = jobs_[id].detail;
    detail.job = {.id = id,
                  .lab = request.lab.empty() ? "lab-" + id : request.lab,
                  .name = "job",
                  .user = caller.user,
                  .state = "SUBMITTED",
                  .submitted_ms = ++now_};
    detail.transitions.push_back({.at_ms = now_, .to = "SUBMITTED"});
    if (!request.request.empty()) requests_[request.request] = id;
    events_.push_back({.seq = events_.size() + 1,
                       .at_ms = now_,
                       .event = "job.submitted",
                       .lab = detail.job.lab,
                       .job = id});
    changed_.notify_all();
    return id;
  }
  Result<std::vector<JobView>> jobs(const Caller& caller, bool ended_too) override {
    const std::lock_guard lock(mutex_);
    last_caller_ = caller;
    std::vector<JobView> views;
    for (const auto& [id, kept] : jobs_)
      if (ended_too || !ended(kept.detail.job.state)) views.push_back(kept.detail.job);
    return views;
  }
  Result<JobDetail> job(const Caller& caller, const std::string& id) override {
    const std::lock_guard lock(mutex_);
    last_caller_ = caller;
    if (!jobs_.contains(id)) return no("job", id);
    return jobs_[id].detail;
  }
  Result<JobDetail> wait_job(const Caller&, const std::string& id, const std::string& state,
                             std::chrono::milliseconds wait) override {
    std::unique_lock lock(mutex_);
    if (!jobs_.contains(id)) return no("job", id);
    wait_for(lock, wait, [&] { return jobs_[id].detail.job.state != state; });
    return jobs_[id].detail;
  }
  Status cancel(const Caller&, const std::string& id) override {
    {
      const std::lock_guard lock(mutex_);
      if (!jobs_.contains(id)) return no("job", id);
      if (ended(jobs_[id].detail.job.state))
        return Error(ErrorCode::kConflict, "job " + id + " has already ended");
      jobs_[id].detail.job.cancel_asked = true;
    }
    set_state(id, "CANCELLED", "cancelled by its user");
    return ok();
  }
  Result<LogPage> logs(const Caller&, const LogQuery& query) override {
    std::unique_lock lock(mutex_);
    if (!jobs_.contains(query.job)) return no("job", query.job);
    Kept& kept = jobs_[query.job];
    wait_for(lock, query.wait,
             [&] { return kept.log.size() > query.cursor || ended(kept.detail.job.state); });
    LogPage page{.cursor = kept.log.size(), .ended = ended(kept.detail.job.state)};
    for (std::size_t i = query.cursor; i < kept.log.size(); ++i)
      if (query.process.empty() || kept.log[i].process == query.process) page.pieces.push_back(kept.log[i]);
    return page;
  }
  Result<std::vector<ResultFile>> results(const Caller&, const std::string& id) override {
    const std::lock_guard lock(mutex_);
    if (!jobs_.contains(id)) return no("job", id);
    return jobs_[id].results;
  }
  Status remove(const Caller&, const std::string& id) override {
    const std::lock_guard lock(mutex_);
    if (!jobs_.contains(id)) return no("job", id);
    if (!ended(jobs_[id].detail.job.state)) return Error(ErrorCode::kConflict, "job " + id + " still runs");
    jobs_.erase(id);
    return ok();
  }

  // ---- LabApi ------------------------------------------------------------------------------------------

  Result<std::string> create_lab(const Caller& caller, const SubmitRequest& request) override {
    const std::lock_guard lock(mutex_);
    note(caller, request);
    if (!diagnostics.empty()) return refused();
    const std::string id = "lab-" + std::to_string(++last_id_);
    labs_[id] = {.id = id,
                 .name = "lab",
                 .user = caller.user,
                 .state = "UP",
                 .subnet = "10.181.7.0/24",
                 .created_ms = ++now_};
    return id;
  }
  Result<std::vector<LabView>> labs(const Caller&) override {
    const std::lock_guard lock(mutex_);
    std::vector<LabView> views;
    for (const auto& [id, view] : labs_) views.push_back(view);
    return views;
  }
  Result<LabView> lab(const Caller&, const std::string& id) override {
    const std::lock_guard lock(mutex_);
    if (!labs_.contains(id)) return no("lab", id);
    return labs_[id];
  }
  Status destroy_lab(const Caller&, const std::string& id) override {
    const std::lock_guard lock(mutex_);
    if (labs_.erase(id) == 0) return no("lab", id);
    return ok();
  }
  Result<std::string> graph(const Caller&, const std::string& lab, GraphFormat format) override {
    const std::lock_guard lock(mutex_);
    if (!labs_.contains(lab)) return no("lab", lab);
    return format == GraphFormat::kSvg ? "<svg>" + picture + "</svg>" : picture;
  }
  Result<std::vector<VmView>> vms(const Caller&, const std::string& lab) override {
    return of_lab(vm_list, lab);
  }
  Result<std::vector<LinkView>> links(const Caller&, const std::string& lab) override {
    return of_lab(link_list, lab);
  }
  Result<RewireView> rewire(const Caller& caller, const RewireRequest& request) override {
    const std::lock_guard lock(mutex_);
    last_caller_ = caller;
    last_rewire_ = request;
    if (request.target != rewire_view.job && request.target != rewire_view.lab)
      return Error(ErrorCode::kNotFound, "there is no job or lab " + request.target);
    RewireView view = rewire_view;
    if (request.dry_run) view.state = "planned", view.number = 0;
    return view;
  }
  Result<RewireView> rewiring(const Caller&, const std::string&, std::uint64_t,
                              std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    return rewire_result;
  }
  [[nodiscard]] RewireRequest last_rewire() const { return locked(last_rewire_); }
  Result<std::vector<QueueView>> queues(const Caller&, const std::string& lab) override {
    return of_lab(queue_list, lab);
  }
  Status suspend(const Caller&, const std::string& lab, const std::string& node, bool suspend) override {
    const std::lock_guard lock(mutex_);
    last_suspend_ = lab + "/" + node + (suspend ? " off" : " on");
    return ok();
  }
  Result<std::string> console(const Caller&, const std::string&, const std::string&, std::uint64_t offset,
                              std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    return offset >= console_text.size() ? std::string() : console_text.substr(offset);
  }
  Result<std::string> exec(const Caller&, const ExecRequest& request) override {
    const std::lock_guard lock(mutex_);
    last_exec_ = request;
    return std::string("exec-1");
  }
  Result<ExecPage> exec_output(const Caller&, const std::string& id, std::uint64_t,
                               std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    if (id != "exec-1") return no("program", id);
    return exec_page;
  }

  // ---- StoreApi ----------------------------------------------------------------------------------------

  Result<std::vector<std::string>> missing_blobs(const Caller&,
                                                 const std::vector<std::string>& digests) override {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> missing;
    for (const auto& digest : digests)
      if (!blobs_.contains(digest)) missing.push_back(digest);
    return missing;
  }
  Status put_blob(const Caller& caller, const std::string& digest, const PieceReader& reader) override {
    Sha256 sum;
    std::string content;
    std::uint64_t size = 0;
    for (;;) {
      MVM_ASSIGN(const std::string piece, reader());
      if (piece.empty()) break;
      sum.update(piece);
      size += piece.size();
      if (keep_blobs) content += piece;
    }
    const std::string found = sum.hex();
    if (found != digest) return Error(ErrorCode::kCorrupt, "the bytes have digest " + found);
    const std::lock_guard lock(mutex_);
    last_caller_ = caller;
    blob_bytes_ += size;
    blobs_[digest] = std::move(content);
    return ok();
  }
  Status get_blob(const Caller&, const std::string& digest, const PieceWriter& writer) override {
    std::string content;
    {
      const std::lock_guard lock(mutex_);
      const auto found = blobs_.find(digest);
      if (found == blobs_.end()) return no("blob", digest);
      content = found->second;
    }
    for (std::size_t at = 0; at < content.size(); at += 65536)
      MVM_TRY(writer(std::string_view(content).substr(at, 65536)));
    return ok();
  }
  Result<std::vector<BuildView>> builds(const Caller&) override {
    const std::lock_guard lock(mutex_);
    return build_list;
  }
  Result<LogPage> build_log(const Caller&, const std::string&, std::uint64_t,
                            std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    return build_page;
  }
  Result<std::uint64_t> drop_builds(const Caller&, const std::string& key) override {
    const std::lock_guard lock(mutex_);
    return static_cast<std::uint64_t>(
        std::erase_if(build_list, [&](const BuildView& build) { return key.empty() || build.key == key; }));
  }

  // ---- SystemApi ---------------------------------------------------------------------------------------

  Result<WhoAmI> whoami(const Caller& caller) override {
    return WhoAmI{.caller = caller, .broker = broker_name, .version = version};
  }
  Result<EventPage> events(const Caller&, std::uint64_t cursor, std::chrono::milliseconds wait) override {
    std::unique_lock lock(mutex_);
    wait_for(lock, wait, [&] { return events_.size() > cursor; });
    EventPage page{.cursor = events_.size()};
    for (std::size_t i = cursor; i < events_.size(); ++i) page.events.push_back(events_[i]);
    return page;
  }
  Result<std::vector<HostView>> hosts(const Caller&) override {
    const std::lock_guard lock(mutex_);
    return host_list;
  }

  // ---- HostsApi ----------------------------------------------------------------------------------------

  Result<HostInvite> invite(const Caller&, const std::string& name, std::chrono::seconds valid) override {
    const std::lock_guard lock(mutex_);
    hosts_asked.push_back("invite " + name + " " + std::to_string(valid.count()));
    return HostInvite{
        .token = "mvm1-token", .broker = "https://10.0.0.1:7780", .expires_ms = 1'767'225'600'000};
  }
  Result<JoinedHost> join(const HostJoin& host) override {
    const std::lock_guard lock(mutex_);
    hosts_asked.push_back("join " + host.secret + " " + host.name + " " + host.address);
    if (join_answer) return *join_answer;
    return Error(ErrorCode::kRefused, "this join token is not known here");
  }
  Status drain(const Caller&, const std::string& host, bool drain) override {
    const std::lock_guard lock(mutex_);
    hosts_asked.push_back((drain ? "drain " : "enable ") + host);
    return ok();
  }
  Status remove_host(const Caller&, const std::string& host, bool force) override {
    const std::lock_guard lock(mutex_);
    hosts_asked.push_back((force ? "force " : "remove ") + host);
    if (host == "h9") return Error(ErrorCode::kNotFound, "there is no host h9");
    return ok();
  }

  // ---- queues: what is put into a port comes out of the same one

  struct Port {
    std::map<std::string, std::uint64_t> accepted;  ///< by client
    std::uint64_t total = 0;
    std::uint64_t capacity = 1'000'000;  ///< accepted messages until it is full
    std::vector<TakenMessage> messages;  ///< not acknowledged
    bool closed = false;
    std::string end = "done";
  };
  Port& port(const std::string& job_and_port) { return ports_[job_and_port]; }
  Result<PutAnswer> put(const Caller&, const PutRequest& request) override {
    const std::lock_guard lock(mutex_);
    Port& port = ports_[request.job + "." + request.port];
    std::uint64_t& accepted = port.accepted[request.client];
    for (std::size_t i = 0; i < request.messages.size(); ++i) {
      if (request.first + i < accepted || port.total >= port.capacity) continue;
      ++accepted;
      const Message& message = request.messages[i];
      port.messages.push_back({.number = ++port.total,
                               .size = message.data.size(),
                               .offset = 0,
                               .data = message.data,
                               .key = message.key,
                               .priority = message.priority,
                               .again = false});
    }
    port.closed = port.closed || (request.done && accepted >= request.first + request.messages.size());
    changed_.notify_all();
    return PutAnswer{.accepted = accepted, .ticket = "1/t", .end = {}, .closed = port.closed};
  }
  Result<TakeAnswer> take(const Caller&, const TakeRequest& request) override {
    std::unique_lock lock(mutex_);
    Port& port = ports_[request.job + "." + request.port];
    std::erase_if(port.messages, [&](const TakenMessage& one) { return one.number <= request.acknowledged; });
    if (request.leave) return TakeAnswer{.messages = {}, .ticket = "1/", .end = {}};
    wait_for(lock, request.wait, [&] { return !port.messages.empty() || port.closed; });
    TakeAnswer answer{.messages = port.messages, .ticket = "1/", .end = {}};
    if (answer.messages.size() > request.count) answer.messages.resize(request.count);
    if (answer.messages.empty() && port.closed) answer.end = port.end;
    return answer;
  }
  Result<std::vector<PeekedQueue>> peek(const Caller& caller, const PeekRequest& request) override {
    const std::lock_guard lock(mutex_);
    last_caller_ = caller;
    last_peek_ = request;
    return peek_list;
  }
  Result<std::vector<DrainedQueue>> drain(const Caller& caller, const DrainRequest& request) override {
    const std::lock_guard lock(mutex_);
    last_caller_ = caller;
    drains_.push_back(request);
    if (drain_answers.empty()) return std::vector<DrainedQueue>();
    auto answer = std::move(drain_answers.front());
    drain_answers.pop_front();
    return answer;
  }

 private:
  struct Kept {
    JobDetail detail;
    std::vector<LogPiece> log;
    std::vector<ResultFile> results;
  };
  static bool ended(const std::string& state) {
    return state == "DONE" || state == "FAILED" || state == "CANCELLED";
  }
  static Error no(const std::string& what, const std::string& id) {
    return Error(ErrorCode::kNotFound, "no " + what + " " + id);
  }
  [[nodiscard]] Error refused() const {
    std::string text;
    for (const auto& one : diagnostics)
      text += (text.empty() ? "" : "\n") + one.file + ":" + std::to_string(one.line) + ":" +
              std::to_string(one.column) + ": " + one.message;
    return Error(ErrorCode::kInvalid, text);
  }
  void note(const Caller& caller, const SubmitRequest& request) {
    last_caller_ = caller;
    last_request_ = request;
  }
  template <class Ready>
  void wait_for(std::unique_lock<std::mutex>& lock, std::chrono::milliseconds wait, Ready ready) {
    ++waiting_;
    changed_.wait_for(lock, wait, ready);
    --waiting_;
  }
  template <class T>
  T locked(const T& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }
  template <class View>
  std::vector<View> of_lab(const std::vector<View>& all, const std::string& lab) const {
    const std::lock_guard lock(mutex_);
    std::vector<View> some;
    std::copy_if(all.begin(), all.end(), std::back_inserter(some),
                 [&](const View& view) { return lab.empty() || view.lab == lab; });
    return some;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Kept> jobs_;
  std::map<std::string, LabView> labs_;
  std::map<std::string, std::string> requests_;
  std::map<std::string, std::string> blobs_;
  std::vector<EventView> events_;
  Caller last_caller_;
  SubmitRequest last_request_;
  PeekRequest last_peek_;
  std::vector<DrainRequest> drains_;
  ExecRequest last_exec_;
  std::map<std::string, Port> ports_;
  RewireRequest last_rewire_;
  std::string last_suspend_;
  std::uint64_t blob_bytes_ = 0;
  std::size_t waiting_ = 0;
  std::uint64_t last_id_ = 0;
  std::int64_t now_ = 1'700'000'000'000;
};

}  // namespace mvm::soap
