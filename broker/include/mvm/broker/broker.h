#pragma once
// The broker: takes profiles, decides, executes, and keeps everything true through crashes [Kim et al. 2006,
// §3.1].

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/blob_store.h"
#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "mvm/broker/host_gate.h"
#include "mvm/broker/loop.h"
#include "mvm/broker/store.h"
#include "mvm/host/host_agent.h"
#include "mvm/soap/broker_api.h"

namespace mvm::broker {

/// Everything a user could grow without end has a bound here.
struct BrokerLimits {
  std::uint32_t jobs_waiting = 10'000;  ///< jobs not ended, all users together
  std::uint32_t jobs_of_user = 5'000;   ///< jobs not ended, of one user
  std::uint32_t labs = 250;             ///< labs at once; the subnet pool bounds them too
  std::uint32_t processes_of_job = 100'000;
  std::uint32_t links_of_job = 1'000'000;
  std::uint32_t nodes_of_lab = 10'000;
  std::uint64_t log_bytes = 64ULL << 20U;  ///< of one job; what comes beyond is counted, not kept
  std::uint32_t events_kept = 50'000;
  std::uint32_t execs_kept = 1'000;
  std::uint32_t retries = 5;  ///< a profile's own number of retries counts up to this
};

/// A policy component with what it is told.
struct PolicyUse {
  std::string component;
  std::map<std::string, std::string> options;
};

/// Which components decide.
struct PolicyConfig {
  std::string placement = "placement-pack";  ///< empty: the built-in rule, in this process
  std::string order = "order-fifo";          ///< empty: the built-in rule, in this process
  std::vector<PolicyUse> links;              ///< add codecs to every job's links that leave a memory domain
  std::filesystem::path folder;  ///< of the components' shared objects; empty: built-in rules only
  /// The program that runs a component: `command... COMPONENT-FILE` calls policy_child_main. Empty: built-in
  /// rules only.
  std::vector<std::string> command;
  std::chrono::milliseconds deadline{2000};  ///< of one decision
};

struct BrokerConfig {
  std::string name = "local";  ///< of this broker, for whoami
  std::string version = "0.1.0";
  std::string subnet_pool = "10.181.0.0/16";  ///< labs get a /24 of it, one for each host they use
  double container_overcommit = 8.0;  ///< vcpus of containers and plain processes that share one of a host's
  double guest_overcommit = 2.0;      ///< the same for QEMU guests
  std::chrono::milliseconds boot_timeout{120'000};  ///< of one node
  std::chrono::milliseconds call_timeout{30'000};   ///< of one operation of a kernel
  std::chrono::milliseconds event_poll{10'000};     ///< long poll for a host's events
  std::chrono::milliseconds retry_first{500};       ///< first pause before an unreachable host is tried again
  std::chrono::milliseconds retry_longest{15'000};
  std::chrono::milliseconds host_patience{
      60'000};  ///< a host silent this long while a job needs it: new attempt
  PolicyConfig policies;
  BrokerLimits limits;
  HostGate gate;
  std::string crash_at;               ///< "EFFECT:PHASE[:N]": die there (tests); see crash_point.h
  std::function<void()> crash_death;  ///< how; empty: SIGKILL to itself
};

/// One broker. create() reads the store; start() adopts what lives, reaps what nobody knows, and goes on.
///
/// All references outlive the broker. State changes on the loop only; api() may be called from any thread but
/// the loop's own (a call waits for the loop), once start() returned, and answers kUnavailable after stop().
class Broker {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Broker>> create(BrokerConfig config, Store& store,
                                                              const std::vector<host::HostAgent*>& hosts,
                                                              const BlobStore& blobs, Clock& clock,
                                                              Loop& loop, Executor& executor);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// What the SOAP server publishes. Valid as long as the broker.
  [[nodiscard]] soap::BrokerApi api();

  /// Recovers and begins to work; the loop must run (or run soon). Returns at once: hosts that do not answer
  /// are tried again.
  void start();
  /// Takes no new work and forgets its timers; running jobs go on without it, the next start() takes them up.
  /// Jobs of the executor that are under way end by themselves and find nobody: destroy the executor before
  /// the broker, and let the host agents wake who waits for events first.
  void stop();

 private:
  class Impl;
  explicit Broker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mvm::broker
