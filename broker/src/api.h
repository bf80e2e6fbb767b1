#pragma once
// The services of soap::BrokerApi over the core. Any thread but the loop's.

#include <map>
#include <mutex>

#include "core.h"
#include "rest.h"

namespace mvm::broker {

/// May this caller see, and act on, what belongs to `user` in `lab`? kRefused where not.
[[nodiscard]] Status allowed(const soap::Caller& caller, const std::string& user, const std::string& lab);

class JobService final : public soap::JobApi {
 public:
  explicit JobService(Core& core) : core_(core) {}
  Result<std::vector<soap::Diagnostic>> validate(const soap::Caller&, const soap::SubmitRequest&) override;
  Result<soap::PlanView> plan(const soap::Caller&, const soap::SubmitRequest&) override;
  Result<std::string> submit(const soap::Caller&, const soap::SubmitRequest&) override;
  Result<std::vector<soap::JobView>> jobs(const soap::Caller&, bool ended_too) override;
  Result<soap::JobDetail> job(const soap::Caller&, const std::string& id) override;
  Result<soap::JobDetail> wait_job(const soap::Caller&, const std::string& id, const std::string& state,
                                   std::chrono::milliseconds wait) override;
  Status cancel(const soap::Caller&, const std::string& id) override;
  Result<soap::LogPage> logs(const soap::Caller&, const soap::LogQuery&) override;
  Result<std::vector<soap::ResultFile>> results(const soap::Caller&, const std::string& id) override;
  Status remove(const soap::Caller&, const std::string& id) override;

 private:
  Core& core_;
};

class LabService final : public soap::LabApi {
 public:
  explicit LabService(Core& core) : core_(core) {}
  Result<std::string> create_lab(const soap::Caller&, const soap::SubmitRequest&) override;
  Result<std::vector<soap::LabView>> labs(const soap::Caller&) override;
  Result<soap::LabView> lab(const soap::Caller&, const std::string& id) override;
  Status destroy_lab(const soap::Caller&, const std::string& id) override;
  Result<std::string> graph(const soap::Caller&, const std::string& lab, soap::GraphFormat) override;
  Result<std::vector<soap::VmView>> vms(const soap::Caller&, const std::string& lab) override;
  Result<std::vector<soap::LinkView>> links(const soap::Caller&, const std::string& lab) override;
  Result<std::vector<soap::QueueView>> queues(const soap::Caller&, const std::string& lab) override;
  Result<soap::RewireView> rewire(const soap::Caller&, const soap::RewireRequest&) override;
  Result<soap::RewireView> rewiring(const soap::Caller&, const std::string& job, std::uint64_t number,
                                    std::chrono::milliseconds wait) override;
  Status suspend(const soap::Caller&, const std::string& lab, const std::string& node, bool suspend) override;
  Result<std::string> console(const soap::Caller&, const std::string& lab, const std::string& node,
                              std::uint64_t offset, std::chrono::milliseconds wait) override;
  Result<std::string> exec(const soap::Caller&, const soap::ExecRequest&) override;
  Result<soap::ExecPage> exec_output(const soap::Caller&, const std::string& id, std::uint64_t cursor,
                                     std::chrono::milliseconds wait) override;

 private:
  struct Target {
    host::HostAgent* agent = nullptr;
    std::string lab, node, host;
  };
  [[nodiscard]] Result<Target> target(const soap::Caller&, const std::string& lab, const std::string& node);
  Core& core_;
};

class StoreService final : public soap::StoreApi {
 public:
  explicit StoreService(Core& core) : core_(core) {}
  Result<std::vector<std::string>> missing_blobs(const soap::Caller&,
                                                 const std::vector<std::string>&) override;
  Status put_blob(const soap::Caller&, const std::string& digest, const soap::PieceReader&) override;
  Status get_blob(const soap::Caller&, const std::string& digest, const soap::PieceWriter&) override;
  Result<std::vector<soap::BuildView>> builds(const soap::Caller&) override;
  Result<soap::LogPage> build_log(const soap::Caller&, const std::string& key, std::uint64_t cursor,
                                  std::chrono::milliseconds wait) override;
  Result<std::uint64_t> drop_builds(const soap::Caller&, const std::string& key) override;

 private:
  Core& core_;
};

class SystemService final : public soap::SystemApi {
 public:
  explicit SystemService(Core& core) : core_(core) {}
  Result<soap::WhoAmI> whoami(const soap::Caller&) override;
  Result<soap::EventPage> events(const soap::Caller&, std::uint64_t cursor,
                                 std::chrono::milliseconds wait) override;
  Result<std::vector<soap::HostView>> hosts(const soap::Caller&) override;

 private:
  Core& core_;
};

class HostsService final : public soap::HostsApi {
 public:
  explicit HostsService(Core& core) : core_(core) {}
  Result<soap::HostInvite> invite(const soap::Caller&, const std::string& name,
                                  std::chrono::seconds valid) override;
  Result<soap::JoinedHost> join(const soap::HostJoin&) override;
  Status drain(const soap::Caller&, const std::string& host, bool drain) override;
  Status remove_host(const soap::Caller&, const std::string& host, bool force) override;

 private:
  Core& core_;
};

class QueueService final : public soap::QueueApi {
 public:
  explicit QueueService(Core& core) : core_(core) {}
  Result<soap::PutAnswer> put(const soap::Caller&, const soap::PutRequest&) override;
  Result<soap::TakeAnswer> take(const soap::Caller&, const soap::TakeRequest&) override;
  Result<std::vector<soap::PeekedQueue>> peek(const soap::Caller&, const soap::PeekRequest&) override;
  Result<std::vector<soap::DrainedQueue>> drain(const soap::Caller&, const soap::DrainRequest&) override;

 private:
  struct Place;
  [[nodiscard]] Result<Place> place(const soap::Caller&, const std::string& job, const std::string& port,
                                    bool producer);
  [[nodiscard]] Status pause(std::chrono::milliseconds most);
  [[nodiscard]] static Result<std::optional<host::CallReply>> call(const Place& place, const char* op,
                                                                   nlohmann::json args,
                                                                   const std::string& bytes);
  [[nodiscard]] Result<std::shared_ptr<Rest>> open_rest(const Place& place, const std::string& job);
  [[nodiscard]] Result<soap::TakeAnswer> take_rest(const Place& place, const soap::TakeRequest& request);

  Core& core_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Rest>> rests_;  ///< "job/link"
};

}  // namespace mvm::broker
