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
#include "membership.h"
#include "mvm/base/blob_store.h"
#include "mvm/base/file.h"
#include "mvm/base/host_port.h"
#include "mvm/base/thread_pool.h"
#include "mvm/broker/broker.h"
#include "mvm/broker/sqlite_store.h"
#include "mvm/host/local_host_agent.h"
#include "mvm/host/remote_host_agent.h"
#include "mvm/osvm/libvirt/libvirt.h"
#include "mvm/osvm/process/process.h"
#include "mvm/repository/download.h"
#include "mvm/soap/certificate.h"
#include "mvm/soap/host_service.h"
#include "mvm/soap/identity.h"
#include "mvm/soap/server.h"
#include "mvm/topologies/shipped.h"

namespace mvm::programs {
namespace {

constexpr int kStopMs = 30'000;

/// One daemon a state folder; the lock's file holds its process number for --stop.
Result<UniqueFd> lock_state(const DaemonConfig& config) {
  MVM_TRY(make_folders(config.state, 0711));
  const std::filesystem::path path = config.state / "lock";
  auto lock = lock_file(path);
  if (!lock && lock.error().code() == ErrorCode::kExists)
    return Error(ErrorCode::kExists, "another mvmd uses the state folder " + config.state.string() +
                                         "; stop it with: mvmd --stop --state " + config.state.string());
  if (!lock) return lock;
  const std::string number = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock->get(), 0) != 0) return Error::from_errno(errno, "write " + path.string());
  MVM_TRY(write_all(lock->get(), number));
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
  std::optional<soap::CertificateAuthority> authority;
  soap::TlsFiles tls;                      ///< the broker's own
  std::vector<soap::HostClient*> clients;  ///< of joined hosts; the broker owns them as long as it lives
  std::unique_ptr<broker::Broker> broker;
  std::unique_ptr<broker::PoolExecutor> executor;
  std::unique_ptr<soap::HostService> host_service;
  std::optional<soap::BrokerApi> api;
  std::unique_ptr<soap::SoapServer> server;
  std::unique_ptr<soap::SoapServer> tls_server;  ///< a broker's, for other machines
};

broker::BrokerConfig broker_config(const DaemonConfig& config) {
  broker::BrokerConfig result;
  result.name = config.name;
  result.version = MVM_VERSION;
  result.subnet_pool = config.subnets;
  result.crash_at = config.crash_at;
  result.policies.placement = config.placement;
  result.policies.order = config.order;
  if (!config.links.empty()) {
    mvm::broker::PolicyUse use{.component = config.links, .options = {}};
    for (const std::string& option : config.links_options) {
      const std::size_t equals = std::min(option.find('='), option.size());
      use.options[option.substr(0, equals)] = option.substr(std::min(equals + 1, option.size()));
    }
    result.policies.links.push_back(std::move(use));
  }
  result.policies.folder = config.program.parent_path().parent_path() / "lib/mvm/policies";
  result.policies.command = {config.program.string(), "policy"};
  return result;
}

/// From where the kernels of this host's nodes load plug-ins.
std::vector<std::string> kernel_options(const DaemonConfig& config) {
  std::vector<std::string> options;
  for (const std::string& url : config.repositories) options.insert(options.end(), {"--repository", url});
  for (const std::string& key : config.trusted) options.insert(options.end(), {"--trust", key});
  return options;
}

/// This machine as a host.
Status build_host(const DaemonConfig& config, Daemon& daemon) {
  MVM_ASSIGN(daemon.blobs, BlobStore::open(config.state / "blobs"));
  MVM_ASSIGN(std::vector<host::HostImage> images, load_images(config));
  MVM_ASSIGN(Hypervisors hypervisors, Hypervisors::open(config));
  daemon.libvirt_loop = std::move(hypervisors.loop);
  MVM_ASSIGN(daemon.agent,
             host::LocalHostAgent::create({.name = config.name,
                                           .state = config.state,
                                           .shared_memory = config.shared_memory,
                                           .node_tree = config.node_tree,
                                           .kernel_options = kernel_options(config),
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

/// The authority, and the certificate of the broker: hosts serve whoever holds it, and machines that join
/// know the broker by it.
Status build_authority(const DaemonConfig& config, Daemon& daemon) {
  MVM_ASSIGN(daemon.authority, soap::CertificateAuthority::open(config.state / "ca"));
  std::vector<std::string> names;
  for (const std::string& address : {config.advertise, config.tls_address})
    if (!address.empty() && address != "0.0.0.0" && address != "::") names.push_back(address);
  MVM_ASSIGN(daemon.tls,
             daemon.authority->ensure(config.state / "tls", std::string(soap::kBrokerName), names));
  return ok();
}

/// How other machines become hosts of this broker.
broker::HostGate make_gate(const DaemonConfig& config, Daemon& daemon) {
  broker::HostGate gate;
  gate.authority = &*daemon.authority;
  if (!config.tls_address.empty()) {
    const std::string& address = config.advertise.empty() ? config.tls_address : config.advertise;
    gate.url = "https://" + HostPort{address, config.tls_port}.text();
  }
  gate.connect = [&daemon](const std::string& url) -> Result<std::unique_ptr<host::HostAgent>> {
    MVM_ASSIGN(auto client, soap::HostClient::create({.url = url, .tls = daemon.tls}));
    daemon.clients.push_back(client.get());
    return host::make_remote_host_agent(std::move(client), *daemon.blobs);
  };
  return gate;
}

Status build_broker(const DaemonConfig& config, Daemon& daemon) {
  MVM_ASSIGN(daemon.store, broker::open_sqlite_store(config.state / "broker.db", daemon.clock));
  MVM_TRY(build_authority(config, daemon));
  daemon.executor = std::make_unique<broker::PoolExecutor>(daemon.pool);
  broker::BrokerConfig settings = broker_config(config);
  settings.gate = make_gate(config, daemon);
  MVM_ASSIGN(daemon.broker,
             broker::Broker::create(std::move(settings), *daemon.store, {daemon.agent.get()}, *daemon.blobs,
                                    daemon.clock, daemon.loop, *daemon.executor));
  MVM_TRY(load_identity(config, daemon.identity));
  daemon.api.emplace(daemon.broker->api());
  daemon.broker->start();
  return ok();
}

Result<soap::ServerOptions> server_options(const DaemonConfig& config) {
  soap::ServerOptions options;
  options.address = config.address;
  options.port = config.port;
  if (!config.sockets.empty()) options.listener = config.sockets[0];
  options.spool = config.state / "spool";
  if (!config.plugins.empty())
    options.plugins = [folder = config.plugins](const std::string& path) {
      constexpr std::uint64_t kMost = 64 << 20;  // several at a time are held in memory
      return repository::download(repository::url_below(folder, path), {.folders = {folder}}, kMost);
    };
  MVM_TRY(make_folders(options.spool, 0700));
  return options;
}

Status serve_as_broker(const DaemonConfig& config, Daemon& daemon) {
  MVM_TRY(build_broker(config, daemon));
  MVM_ASSIGN(soap::ServerOptions options, server_options(config));
  for (const char* root : {"lab", "job", "topology", "policy", "image"})
    options.documents["/schemas/" + std::string(root) + ".xsd"] = topologies::schema_text(root);
  const soap::Services services{.identity = &daemon.identity, .broker = &*daemon.api};
  MVM_ASSIGN(daemon.server, soap::SoapServer::start(options, services));
  if (config.tls_address.empty()) return ok();
  options.address = config.tls_address;
  options.port = config.tls_port;
  options.listener = config.sockets.size() > 1 ? config.sockets[1] : -1;
  options.tls = daemon.tls;
  MVM_ASSIGN(daemon.tls_server, soap::SoapServer::start(options, services));
  return ok();
}

Status serve_as_host(const DaemonConfig& config, const Membership& member, Daemon& daemon) {
  MVM_ASSIGN(soap::ServerOptions options, server_options(config));
  daemon.host_service = host::make_host_service(*daemon.agent, *daemon.blobs, std::string(soap::kBrokerName));
  options.tls = member.tls;
  MVM_ASSIGN(daemon.server, soap::SoapServer::start(options, {.host = daemon.host_service.get()}));
  return ok();
}

/// Where other hosts' proxies reach this one's: without being told, where the services are.
std::string advertised(const DaemonConfig& config) {
  if (!config.advertise.empty() || config.tls_address == "0.0.0.0" || config.tls_address == "::")
    return config.advertise;
  return config.tls_address;
}

Status build(DaemonConfig config, Daemon& daemon) {
  MVM_ASSIGN(const auto member, read_membership(config.state));
  if (member) {
    config.name = member->name;
    if (!config.listen_given) config.address = member->address;
    if (!config.listen_given) config.port = member->port;
    if (config.advertise.empty()) config.advertise = member->address;
  } else {
    config.advertise = advertised(config);
  }
  MVM_TRY(build_host(config, daemon));
  MVM_TRY(member ? serve_as_host(config, *member, daemon) : serve_as_broker(config, daemon));
  return write_file_durably(config.state / "url", daemon.server->url() + "/\n");
}

/// Joins where that was asked. Of a state folder that was made for it nothing stays if it fails.
Status enter(const DaemonConfig& config, Daemon& daemon) {
  std::error_code ignored;
  const bool fresh = !std::filesystem::exists(config.state, ignored);
  MVM_ASSIGN(daemon.lock, lock_state(config));
  if (config.join.empty()) return ok();
  Status joined = join(config);
  if (!joined && fresh) {
    std::filesystem::remove(config.state / "lock", ignored);
    std::filesystem::remove(config.state, ignored);
  }
  return joined;
}

int fail(const DaemonConfig& config, const Error& error, int code) {
  log::error("mvmd.failed", {{"why", error.describe()}});
  if (!config.log_file.empty()) std::fprintf(stderr, "mvmd: %s\n", error.describe().c_str());
  return code;
}

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return 2;
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
      return 6;
    case ErrorCode::kRefused:
      return 7;
    default:
      return 1;
  }
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
  // First whoever waits is woken, then nobody asks any more, then what is under way ends.
  if (daemon.broker) daemon.broker->stop();
  if (daemon.agent) daemon.agent->stop();
  for (soap::HostClient* client : daemon.clients) client->stop();
  if (daemon.tls_server) daemon.tls_server->stop();
  if (daemon.server) daemon.server->stop();
  daemon.executor.reset();
}

int serve(const DaemonConfig& config, const std::function<void()>& ready) {
  log::start("mvmd", config.log_level, config.log_file.string());
  ::signal(SIGPIPE, SIG_IGN);
  const sigset_t stops = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &stops, nullptr);  // inherited by every thread: only sigwait takes them

  Daemon daemon;
  if (const Status entered = enter(config, daemon); !entered)
    return fail(config, entered.error(), exit_code_of(entered.error().code()));
  if (const Status built = build(config, daemon); !built) {
    end(daemon);
    return fail(config, built.error(), built.error().code() == ErrorCode::kInvalid ? 2 : 1);
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

int leave_broker(const DaemonConfig& config) {
  std::error_code ignored;
  Status left = Error(ErrorCode::kNotFound, config.state.string() + " is no joined host's state folder");
  if (std::filesystem::exists(config.state, ignored)) {
    const auto lock = lock_state(config);
    left = lock ? leave(config) : Status(lock.error());
  }
  if (left) return 0;
  std::fprintf(stderr, "mvmd: %s\n", left.error().describe().c_str());
  return 1;
}

}  // namespace mvm::programs
