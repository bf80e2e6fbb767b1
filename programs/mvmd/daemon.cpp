#include "daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <thread>

#include "images.h"
#include "mvm/base/blob_store.h"
#include "mvm/base/file.h"
#include "mvm/base/thread_pool.h"
#include "mvm/broker/broker.h"
#include "mvm/broker/sqlite_store.h"
#include "mvm/host/local_host_agent.h"
#include "mvm/host/remote_host_agent.h"
#include "mvm/osvm/libvirt/libvirt.h"
#include "mvm/osvm/process/process.h"
#include "mvm/soap/certificate.h"
#include "mvm/soap/host_service.h"
#include "mvm/soap/identity.h"
#include "mvm/soap/server.h"
#include "mvm/topologies/shipped.h"

namespace mvm::programs {
namespace {

constexpr int kStopMs = 30'000;
/// Common name of the broker's certificate.
constexpr std::string_view kBrokerName = "broker";

/// One daemon a state folder; the lock's file holds its process number for --stop.
Result<UniqueFd> lock_state(const DaemonConfig& config) {
  MVM_TRY(make_folders(config.state, 0711));
  const std::filesystem::path path = config.state / "lock";
  UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return Error::from_errno(errno, "open " + path.string());
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return Error(ErrorCode::kExists, "another mvmd uses the state folder " + config.state.string() +
                                         "; stop it with: mvmd --stop --state " + config.state.string());
  const std::string number = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.get(), 0) != 0) return Error::from_errno(errno, "write " + path.string());
  MVM_TRY(write_all(lock.get(), number));
  return lock;
}

/// The administrator's token at STATE/token, drawn at the first start, and further ones in STATE/tokens.
Status load_identity(const DaemonConfig& config, soap::Identity& identity) {
  const std::filesystem::path own = config.state / "token";
  std::error_code ignored;
  if (!std::filesystem::exists(own, ignored))
    MVM_TRY(soap::create_token_file(own, {.user = "admin", .role = "admin", .lab = ""}));
  MVM_TRY(make_folders(config.state / "tokens", 0700));
  MVM_TRY(identity.load(config.state / "tokens"));
  MVM_ASSIGN(const soap::Token token, soap::read_token_file(own));
  identity.add(token);
  return ok();
}

class Hypervisors {
 public:
  static Result<Hypervisors> open(const DaemonConfig& config) {
    Hypervisors result;
    for (const std::string& driver : config.drivers) {
      if (driver == "process") {
        MVM_ASSIGN(auto opened, osvm::process::open({.state = config.state / "processes"}));
        result.list.push_back(std::move(opened));
        continue;
      }
      if (!result.loop) {
        MVM_ASSIGN(result.loop, osvm::libvirt::EventLoop::start());
      }
      osvm::libvirt::Options options;
      options.uri = driver == "lxc" ? config.lxc_uri : config.qemu_uri;
      if (!config.qemu_image.empty()) {
        options.kernel = config.qemu_image / "kernel";
        options.initramfs = config.qemu_image / "initramfs";
      }
      result.list.push_back(driver == "lxc" ? osvm::libvirt::open_lxc(options)
                                            : osvm::libvirt::open_qemu(options));
    }
    return result;
  }
  std::unique_ptr<osvm::libvirt::EventLoop> loop;
  std::vector<std::unique_ptr<osvm::Hypervisor>> list;
};

/// Everything that lives as long as the daemon, in the order in which it is built.
struct Daemon {
  SystemClock clock;
  UniqueFd lock;
  std::optional<BlobStore> blobs;
  std::unique_ptr<broker::Store> store;
  std::unique_ptr<osvm::libvirt::EventLoop> libvirt_loop;
  std::unique_ptr<host::LocalHostAgent> agent;
  broker::RunLoop loop{clock};
  ThreadPool pool{{.minimum = 1, .maximum = 64, .queue = 256}};
  soap::Identity identity;
  std::unique_ptr<broker::Broker> broker;
  std::unique_ptr<broker::PoolExecutor> executor;
  std::vector<std::unique_ptr<soap::HostClient>> host_clients;
  std::vector<std::unique_ptr<host::HostAgent>> remote_hosts;
  std::unique_ptr<soap::HostService> host_service;
  std::optional<soap::BrokerApi> api;
  std::unique_ptr<soap::SoapServer> server;
};

broker::BrokerConfig broker_config(const DaemonConfig& config) {
  broker::BrokerConfig result;
  result.name = config.name;
  result.version = MVM_VERSION;
  result.subnet_pool = config.subnets;
  result.crash_at = config.crash_at;
  result.policies.placement = config.placement;
  result.policies.order = config.order;
  result.policies.folder = config.program.parent_path().parent_path() / "lib/mvm/policies";
  result.policies.command = {config.program.string(), "policy"};
  return result;
}

/// This machine as a host.
Status build_host(const DaemonConfig& config, Daemon& daemon) {
  MVM_ASSIGN(daemon.lock, lock_state(config));
  MVM_ASSIGN(daemon.blobs, BlobStore::open(config.state / "blobs"));
  MVM_ASSIGN(std::vector<host::HostImage> images, load_images(config));
  MVM_ASSIGN(Hypervisors hypervisors, Hypervisors::open(config));
  daemon.libvirt_loop = std::move(hypervisors.loop);
  MVM_ASSIGN(daemon.agent,
             host::LocalHostAgent::create({.name = config.name,
                                           .state = config.state,
                                           .shared_memory = config.shared_memory,
                                           .node_tree = config.node_tree,
                                           .program = config.program,
                                           .advertise = config.advertise,
                                           .vcpus = config.vcpus,
                                           .memory = config.memory,
                                           .images = std::move(images)},
                                          std::move(hypervisors.list), *daemon.blobs, daemon.clock));
  MVM_TRY(daemon.agent->recover());
  // Drivers are tried before anybody is told that we are ready: the first request finds a host.
  MVM_ASSIGN(const host::HostInfo host, daemon.agent->describe());
  for (const host::DriverInfo& driver : host.drivers)
    if (!driver.usable) log::warning("driver.unusable", {{"driver", driver.driver}, {"why", driver.detail}});
  return ok();
}

/// The broker's certificate: hosts serve whoever holds it.
Result<soap::TlsFiles> broker_certificate(const DaemonConfig& config) {
  MVM_ASSIGN(const soap::CertificateAuthority authority,
             soap::CertificateAuthority::open(config.state / "ca"));
  return authority.ensure(config.state / "tls", std::string(kBrokerName), {});
}

Status connect_hosts(const DaemonConfig& config, Daemon& daemon) {
  if (config.hosts.empty()) return ok();
  MVM_ASSIGN(const soap::TlsFiles tls, broker_certificate(config));
  for (const auto& [name, url] : config.hosts) {
    soap::HostClientOptions options;
    options.url = url;
    options.tls = tls;
    MVM_ASSIGN(auto client, soap::HostClient::create(options));
    daemon.host_clients.push_back(std::move(client));
    daemon.remote_hosts.push_back(host::make_remote_host_agent(*daemon.host_clients.back(), *daemon.blobs));
  }
  return ok();
}

Status build_broker(const DaemonConfig& config, Daemon& daemon) {
  MVM_ASSIGN(daemon.store, broker::open_sqlite_store(config.state / "broker.db", daemon.clock));
  MVM_TRY(connect_hosts(config, daemon));
  std::vector<host::HostAgent*> hosts{daemon.agent.get()};
  for (const auto& remote : daemon.remote_hosts) hosts.push_back(remote.get());
  daemon.executor = std::make_unique<broker::PoolExecutor>(daemon.pool);
  MVM_ASSIGN(daemon.broker,
             broker::Broker::create(broker_config(config), *daemon.store, std::move(hosts), *daemon.blobs,
                                    daemon.clock, daemon.loop, *daemon.executor));
  MVM_TRY(load_identity(config, daemon.identity));
  daemon.api.emplace(daemon.broker->api());
  daemon.broker->start();
  return ok();
}

Status build(const DaemonConfig& config, Daemon& daemon) {
  MVM_TRY(build_host(config, daemon));
  soap::ServerOptions options;
  options.address = config.address;
  options.port = config.port;
  options.spool = config.state / "spool";
  MVM_TRY(make_folders(options.spool, 0700));
  soap::Services services;
  if (config.host_of.empty()) {
    MVM_TRY(build_broker(config, daemon));
    for (const char* root : {"lab", "job", "topology", "policy", "image"})
      options.documents["/schemas/" + std::string(root) + ".xsd"] = topologies::schema_text(root);
    services.identity = &daemon.identity;
    services.broker = &*daemon.api;
  } else {
    daemon.host_service = host::make_host_service(*daemon.agent, *daemon.blobs, std::string(kBrokerName));
    services.host = daemon.host_service.get();
    options.tls = soap::TlsFiles{.certificate = config.host_of / "host.crt",
                                 .key = config.host_of / "host.key",
                                 .ca = config.host_of / "ca.crt"};
  }
  MVM_ASSIGN(daemon.server, soap::SoapServer::start(options, services));
  return write_file_durably(config.state / "url", daemon.server->url() + "/\n");
}

sigset_t stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

/// Ends what build() has made so far, in the order that lets each part finish with the others.
void end(Daemon& daemon) {
  daemon.loop.stop();
  if (daemon.server) daemon.server->stop();
  if (daemon.broker) daemon.broker->stop();
  if (daemon.agent) daemon.agent->stop();
  daemon.executor.reset();
}

int serve(const DaemonConfig& config, const std::function<void()>& ready) {
  log::start("mvmd", config.log_level, config.log_file.string());
  ::signal(SIGPIPE, SIG_IGN);
  const sigset_t stops = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &stops, nullptr);  // inherited by every thread: only sigwait takes them

  Daemon daemon;
  if (const Status built = build(config, daemon); !built) {
    log::error("mvmd.failed", {{"why", built.error().describe()}});
    if (!config.log_file.empty()) std::fprintf(stderr, "mvmd: %s\n", built.error().describe().c_str());
    end(daemon);
    return built.error().code() == ErrorCode::kInvalid ? 2 : 1;
  }
  std::thread waiter([&daemon, stops] {
    int number = 0;
    while (::sigwait(&stops, &number) != 0) continue;
    log::info("mvmd.stopping", {{"signal", number}});
    daemon.loop.stop();
  });
  log::info("mvmd.ready", {{"url", daemon.server->url()}, {"host", config.name}});
  ready();
  daemon.loop.run();
  waiter.join();
  end(daemon);
  return 0;
}

int stop_daemon(const DaemonConfig& config) {
  auto text = read_file(config.state / "lock", 64);
  const UniqueFd lock(::open((config.state / "lock").c_str(), O_RDWR | O_CLOEXEC));
  if (!text || !lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) {
    std::fprintf(stderr, "mvmd: no daemon uses %s\n", config.state.c_str());
    return 0;
  }
  pid_t pid = 0;
  std::from_chars(text->data(), text->data() + text->size(), pid);
  if (pid <= 1) {
    std::fprintf(stderr, "mvmd: %s/lock names no process\n", config.state.c_str());
    return 1;
  }
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd || ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0) != 0) {
    std::fprintf(stderr, "mvmd: cannot signal process %d\n", pid);
    return 1;
  }
  pollfd item{pidfd.get(), POLLIN, 0};
  if (::poll(&item, 1, kStopMs) > 0) return 0;
  std::fprintf(stderr, "mvmd: process %d did not end within %d s\n", pid, kStopMs / 1000);
  return 1;
}

int issue_host(const DaemonCommand& command) {
  const auto issue = [&]() -> Status {
    MVM_ASSIGN(const soap::CertificateAuthority authority,
               soap::CertificateAuthority::open(command.config.state / "ca"));
    MVM_ASSIGN(const soap::Certificate issued, authority.issue(command.issue_name, command.issue_addresses));
    MVM_TRY(make_folders(command.issue_folder, 0700));
    MVM_TRY(write_file_durably(command.issue_folder / "host.key", issued.key, 0600));
    MVM_TRY(write_file_durably(command.issue_folder / "host.crt", issued.certificate));
    return write_file_durably(command.issue_folder / "ca.crt", authority.certificate());
  };
  if (const Status issued = issue(); !issued) {
    std::fprintf(stderr, "mvmd: %s\n", issued.error().describe().c_str());
    return 1;
  }
  return 0;
}

}  // namespace mvm::programs
