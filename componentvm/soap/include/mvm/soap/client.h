#pragma once
// The broker over the wire, for the command line and whoever else.

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

/// How to reach a broker.
struct BrokerClientOptions {
  std::string url;           ///< "http://127.0.0.1:7780" or "https://..."; a path is not needed
  std::string token;         ///< the secret (identity.h: read_token_file)
  std::filesystem::path ca;  ///< authority of the broker's certificate, for https
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{60'000};    ///< silence that ends a call
  std::chrono::milliseconds busy_retry{5'000};  ///< how long to try again while the broker says Busy
};

/// Implements the broker's interfaces by calling it. Every method may be called from any thread; each call
/// under way has a connection, kept for the next. The `Caller` given is ignored: the token says who calls.
///
/// A fault comes back with the code that the broker gave, and with the first of its diagnostics as position;
/// kUnavailable where the broker cannot be reached, kTimeout where it was silent too long. Blobs are
/// streamed in constant memory.
class BrokerClient final : public JobApi,
                           public LabApi,
                           public StoreApi,
                           public SystemApi,
                           public HostsApi,
                           public QueueApi {
 public:
  /// Does not connect yet. kInvalid where the URL is none, kRefused where plain HTTP would leave the machine.
  [[nodiscard]] static Result<std::unique_ptr<BrokerClient>> create(const BrokerClientOptions& options);
  ~BrokerClient() override;

  [[nodiscard]] BrokerApi api();

  [[nodiscard]] Result<std::vector<Diagnostic>> validate(const Caller&, const SubmitRequest&) override;
  [[nodiscard]] Result<PlanView> plan(const Caller&, const SubmitRequest&) override;
  [[nodiscard]] Result<std::string> submit(const Caller&, const SubmitRequest&) override;
  [[nodiscard]] Result<std::vector<JobView>> jobs(const Caller&, bool ended_too) override;
  [[nodiscard]] Result<JobDetail> job(const Caller&, const std::string& id) override;
  [[nodiscard]] Result<JobDetail> wait_job(const Caller&, const std::string& id, const std::string& state,
                                           std::chrono::milliseconds wait) override;
  [[nodiscard]] Status cancel(const Caller&, const std::string& id) override;
  [[nodiscard]] Result<LogPage> logs(const Caller&, const LogQuery&) override;
  [[nodiscard]] Result<std::vector<ResultFile>> results(const Caller&, const std::string& id) override;
  [[nodiscard]] Status remove(const Caller&, const std::string& id) override;

  [[nodiscard]] Result<std::string> create_lab(const Caller&, const SubmitRequest&) override;
  [[nodiscard]] Result<std::vector<LabView>> labs(const Caller&) override;
  [[nodiscard]] Result<LabView> lab(const Caller&, const std::string& id) override;
  [[nodiscard]] Status destroy_lab(const Caller&, const std::string& id) override;
  [[nodiscard]] Result<std::string> graph(const Caller&, const std::string& lab, GraphFormat) override;
  [[nodiscard]] Result<std::vector<VmView>> vms(const Caller&, const std::string& lab) override;
  [[nodiscard]] Result<std::vector<LinkView>> links(const Caller&, const std::string& lab) override;
  [[nodiscard]] Result<std::vector<QueueView>> queues(const Caller&, const std::string& lab) override;
  [[nodiscard]] Result<RewireView> rewire(const Caller&, const RewireRequest&) override;
  [[nodiscard]] Result<RewireView> rewiring(const Caller&, const std::string& job, std::uint64_t number,
                                            std::chrono::milliseconds wait) override;
  [[nodiscard]] Status suspend(const Caller&, const std::string& lab, const std::string& node,
                               bool suspend) override;
  [[nodiscard]] Result<std::string> console(const Caller&, const std::string& lab, const std::string& node,
                                            std::uint64_t offset, std::chrono::milliseconds wait) override;
  [[nodiscard]] Result<std::string> exec(const Caller&, const ExecRequest&) override;
  [[nodiscard]] Result<ExecPage> exec_output(const Caller&, const std::string& id, std::uint64_t cursor,
                                             std::chrono::milliseconds wait) override;

  [[nodiscard]] Result<std::vector<std::string>> missing_blobs(const Caller&,
                                                               const std::vector<std::string>&) override;
  [[nodiscard]] Status put_blob(const Caller&, const std::string& digest, const PieceReader&) override;
  [[nodiscard]] Status get_blob(const Caller&, const std::string& digest, const PieceWriter&) override;
  [[nodiscard]] Result<std::vector<BuildView>> builds(const Caller&) override;
  [[nodiscard]] Result<LogPage> build_log(const Caller&, const std::string& key, std::uint64_t cursor,
                                          std::chrono::milliseconds wait) override;
  [[nodiscard]] Result<std::uint64_t> drop_builds(const Caller&, const std::string& key) override;

  [[nodiscard]] Result<WhoAmI> whoami(const Caller&) override;
  [[nodiscard]] Result<EventPage> events(const Caller&, std::uint64_t cursor,
                                         std::chrono::milliseconds wait) override;
  [[nodiscard]] Result<std::vector<HostView>> hosts(const Caller&) override;

  [[nodiscard]] Result<HostInvite> invite(const Caller&, const std::string& name,
                                          std::chrono::seconds valid) override;
  /// join_broker() (join.h) does this for a machine that does not know the broker's authority yet.
  [[nodiscard]] Result<JoinedHost> join(const HostJoin&) override;
  [[nodiscard]] Status drain(const Caller&, const std::string& host, bool drain) override;
  [[nodiscard]] Status remove_host(const Caller&, const std::string& host, bool force) override;

  [[nodiscard]] Result<PutAnswer> put(const Caller&, const PutRequest&) override;
  [[nodiscard]] Result<TakeAnswer> take(const Caller&, const TakeRequest&) override;
  [[nodiscard]] Result<std::vector<PeekedQueue>> peek(const Caller&, const PeekRequest&) override;
  [[nodiscard]] Result<std::vector<DrainedQueue>> drain(const Caller&, const DrainRequest&) override;

 private:
  struct State;
  explicit BrokerClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::soap
