#include "mvm/dvm/node.h"

#include <utility>
// Boost 1.74's coroutines need it first.
#include <sys/utsname.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <future>
#include <set>
#include <thread>

#include "caller.h"
#include "console.h"
#include "door.h"
#include "follower.h"
#include "multicast.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "mvm/base/secret_file.h"
#include "participant.h"
#include "peers.h"
#include "replica_log.h"
#include "server.h"
#include "tcp_connection.h"
#include "work_queue.h"

namespace mvm::dvm {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr auto kSeekTick = std::chrono::milliseconds(50);
constexpr auto kProbe = std::chrono::milliseconds(500);
constexpr auto kRemember = std::chrono::seconds(1);
constexpr unsigned kAloneAfter = 8;  // rounds of calls that nobody answered

std::string architecture() {
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "unknown";
}

/// Who is there, and has run before, does not crash at the same place for ever.
Result<CrashPoint> arm(const Settings& settings) {
  MVM_ASSIGN(CrashPoint point, CrashPoint::parse(settings.crash_at));
  if (settings.crash_at.empty()) return point;
  const auto marker = settings.state / "crash-armed";
  std::error_code ignored;
  if (std::filesystem::exists(marker, ignored)) return CrashPoint();
  MVM_TRY(write_file_durably(marker, settings.crash_at));
  return point;
}

class Whole final : public Node {
 public:
  Whole(Settings settings, Host host, std::string secret, CrashPoint crash);
  ~Whole() override;
  Status open();

  Result<json> command(const std::vector<std::string>& words, std::chrono::milliseconds patience) override;
  void thread_ended(const std::string& id) override;
  Endpoint address() const override { return address_; }

 private:
  using Link = std::shared_ptr<Connection>;

  Status listen();
  error_code bind(std::uint16_t port);
  void make_follower(std::map<std::string, Service> services);
  Status make_participant();
  Status open_log(bool founds, const json& contacts);
  void reopen_log();
  void announce_copy();
  void drop_log();
  Log::Hooks log_hooks();
  void accept();
  Connection::Events events_of(const std::shared_ptr<std::weak_ptr<Connection>>& link,
                               std::function<void(Link)> ready);
  void take(const Link& link, const json& message);
  void redirect(const Link& link, const json& message);
  void suspect(const std::string& kernel, const std::string& address);
  void look_for_dead();
  std::vector<Endpoint> candidates() const;
  void restore(const Member& old, const std::set<std::string>& unload, std::uint64_t number,
               const std::function<void(std::map<std::string, Service>)>& done);
  void enlist(const json& contacts);
  void lead(std::uint64_t term, Record record);
  void hear(const JoinCall& call);
  void joined();
  void tick();
  void post(std::function<void()> job);
  std::map<std::string, Service> services_now();

  Settings settings_;
  Host host_;
  const CrashPoint crash_;
  const Identity identity_;
  std::string incarnation_ = random_hex(8);
  Endpoint address_;
  asio::io_context loop_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_{loop_.get_executor()};
  tcp::acceptor acceptor_{loop_};
  asio::steady_timer timer_{loop_};
  std::set<Link> called_;  // connections that others made, and those we made to answer a call
  std::unique_ptr<Multicast> multicast_;
  std::set<std::string> answering_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Server> server_;
  std::string known_address_;              // of the status server, by the log
  std::vector<std::string> known_others_;  // of kernels, by the log
  std::unique_ptr<Follower> follower_;
  std::unique_ptr<Participant> participant_;
  std::unique_ptr<Console> console_;
  std::unique_ptr<Door> door_;
  Caller caller_;
  Peers peers_;
  Clock::time_point next_remember_{};
  Clock::time_point next_probe_{};
  Clock::time_point reopen_at_{};  // none: not to be opened
  std::string no_log_;             // why it could not be opened last
  bool ending_ = false;

  WorkQueue work_;
  std::thread thread_;  // last: it uses all of the above
};

Whole::Whole(Settings settings, Host host, std::string secret, CrashPoint crash)
    : settings_(std::move(settings)),
      host_(std::move(host)),
      crash_(std::move(crash)),
      identity_{settings_.vm, settings_.kernel, std::move(secret)},
      caller_(loop_, identity_,
              [this](const auto& link, auto ready) { return events_of(link, std::move(ready)); }),
      peers_(settings_.state / "peers", settings_.kernel),
      work_(host_.submit) {}

Status Whole::open() {
  MVM_TRY(make_folders(settings_.state, 0700));
  peers_.recall();
  MVM_TRY(listen());
  make_follower(services_now());
  MVM_TRY(make_participant());
  console_ =
      std::make_unique<Console>(*follower_, Users(settings_.users),
                                Console::Hooks{.aside = [this](std::function<std::function<void()>()> job) {
                                  work_.add([this, job = std::move(job)] { post(job()); });
                                }});
  if (!settings_.socket.empty()) {
    MVM_ASSIGN(door_, Door::open(loop_, settings_.socket, *console_));
  }
  if (settings_.multicast)
    multicast_ = std::make_unique<Multicast>(loop_, settings_.vm, address_.host, identity_.secret);
  std::error_code ignored;
  const auto founded = settings_.state / "founded";
  if (settings_.founding == Founding::kAtOnce && !std::filesystem::exists(founded, ignored)) {
    // Until it is done, and once only: who lost his log does not found the machine again beside those who
    // have it.
    MVM_TRY(open_log(true, json::array()));
    MVM_TRY(write_file_durably(founded, {}, 0600));
  } else if (std::filesystem::exists(settings_.state / "log", ignored)) {
    reopen_log();
  }
  follower_->start();
  accept();
  tick();
  thread_ = std::thread([this] { loop_.run(); });
  log::info("dvm.started",
            {{"vm", settings_.vm}, {"kernel", settings_.kernel}, {"address", address_.text()}});
  return ok();
}

/// The log first: while anybody may connect to us, its life is not over. [see suspect()]
Whole::~Whole() {
  std::promise<void> ended;
  if (thread_.joinable()) {
    asio::post(loop_, [&] {
      ending_ = true;
      caller_.end();
      timer_.cancel();
      multicast_.reset();
      server_.reset();
      ended.set_value();
    });
    ended.get_future().wait();
  }
  work_.end();
  guard_.reset();
  loop_.stop();
  if (thread_.joinable()) thread_.join();
  log_.reset();
  door_.reset();
  for (const Link& link : called_) link->close();
  follower_.reset();
}

/// At the port of former processes of this kernel, where it was chosen freely: others know that one.
Status Whole::listen() {
  const auto file = settings_.state / "port";
  std::uint16_t port = settings_.listen.port;
  if (const auto text = read_file(file, 16); port == 0 && text)
    std::from_chars(text->data(), text->data() + text->size(), port);
  error_code problem = bind(port);
  if (problem && settings_.listen.port == 0) problem = bind(0);
  if (problem)
    return Error(ErrorCode::kUnavailable, "listen at " + settings_.listen.text() + ": " + problem.message());
  address_ = {settings_.advertise.empty() ? settings_.listen.host : settings_.advertise,
              acceptor_.local_endpoint().port()};
  return write_file_durably(file, std::to_string(address_.port), 0600);
}

error_code Whole::bind(std::uint16_t port) {
  error_code problem, ignored;
  const tcp::endpoint endpoint(asio::ip::make_address_v4(settings_.listen.host), port);
  acceptor_.close(ignored);
  acceptor_.open(endpoint.protocol(), problem);
  if (!problem) acceptor_.set_option(tcp::acceptor::reuse_address(true), problem);
  if (!problem) acceptor_.bind(endpoint, problem);
  if (!problem) acceptor_.listen(4096, problem);
  return problem;
}

void Whole::make_follower(std::map<std::string, Service> services) {
  Member self{.name = settings_.kernel,
              .address = address_.text(),
              .incarnation = incarnation_,
              .attributes = settings_.attributes,
              .core = core_services(),
              .services = std::move(services),
              .threads = {}};
  self.attributes.try_emplace("arch", architecture());
  follower_ = std::make_unique<Follower>(
      std::move(self),
      Follower::Hooks{
          .dial = [this](const Endpoint& to,
                         std::function<void(Link)> done) { caller_.dial(to, std::move(done)); },
          .call_out =
              [this] {
                if (multicast_) multicast_->call({settings_.vm, settings_.kernel, address_.text()});
              },
          .candidates = [this] { return candidates(); },
          .restore = [this](const Member& old, const std::set<std::string>& unload, std::uint64_t number,
                            auto done) { restore(old, unload, number, done); },
          .enlist = [this](const json& contacts) { enlist(contacts); },
          .joined = [this] { joined(); },
          .out =
              [this](const std::string& why) {
                log::warning("dvm.out", {{"why", why}});
                drop_log();
              },
          .halt =
              [this] {
                log::info("dvm.halted");
                if (settings_.ends_with_vm) host_.end();
              }});
  if (!settings_.follow.empty()) follower_->choose(settings_.follow);
}

Status Whole::make_participant() {
  MVM_ASSIGN(participant_,
             Participant::open({.kernel = settings_.kernel,
                                .journal = settings_.state / "journal",
                                .unwilling = settings_.unwilling},
                               {.call = host_.call,
                                .work = [this](std::function<void()> job) { work_.add(std::move(job)); },
                                .post = [this](std::function<void()> job) { post(std::move(job)); },
                                .send = [this](const json& message) { follower_->send(message); },
                                .find = [this](const std::string& id) -> const Command* {
                                  const auto& commands = follower_->view().commands;
                                  const auto found = commands.find(id);
                                  return found == commands.end() ? nullptr : &found->second;
                                },
                                .self = [this]() -> const Member* {
                                  const auto& members = follower_->view().members;
                                  const auto found = members.find(settings_.kernel);
                                  return found == members.end() ? nullptr : &found->second;
                                }},
                               crash_));
  follower_->set_participant(participant_.get());
  return ok();
}

// ---- threads
// -----------------------------------------------------------------------------------------------

void Whole::post(std::function<void()> job) {
  asio::post(loop_, [this, job = std::move(job)] {
    if (!ending_) job();
  });
}

/// On the kernel's pool; not on threads of ours, of which an idle kernel has one.
/// What this kernel has by itself.
std::map<std::string, Service> Whole::services_now() {
  std::map<std::string, Service> services;
  if (auto listed = host_.call("kernel.plugins", json::object()))
    for (const json& plugin : array_or_empty(*listed, "plugins"))
      services[text_or(plugin, "name")] = {text_or(plugin, "version"), {}, {}, text_or(plugin, "sharing")};
  return services;
}

// ---- connections
// -------------------------------------------------------------------------------------------

void Whole::accept() {
  acceptor_.async_accept([this](const error_code& problem, tcp::socket socket) {
    if (problem == asio::error::operation_aborted || ending_) return;
    if (!problem) {
      auto link = std::make_shared<std::weak_ptr<Connection>>();
      const Link connection = TcpConnection::start(std::move(socket), false, identity_, events_of(link, {}));
      *link = connection;
      called_.insert(connection);
    }
    accept();
  });
}

Connection::Events Whole::events_of(const std::shared_ptr<std::weak_ptr<Connection>>& link,
                                    std::function<void(Link)> ready) {
  return {.ready =
              [link, ready = std::move(ready)] {
                if (ready) ready(link->lock());
              },
          .message = [this, link](const json& message) { take(link->lock(), message); },
          .closed =
              [this, link](const Error& why) {
                const Link closed = link->lock();
                if (ending_ || !closed) return;
                called_.erase(closed);
                if (server_) server_->closed(closed, why.message());
                follower_->closed(closed, why.message());
              }};
}

void Whole::take(const Link& link, const json& message) {
  if (ending_ || !link) return;
  if (follower_->take(link, message)) return;
  if (text_or(message, "t") == "here") return follower_->adopt(link, message);
  if (server_) return server_->take(link, message);
  redirect(link, message);
}

void Whole::redirect(const Link& link, const json& message) {
  if (text_or(message, "t") == "join") {
    std::string address = known_address_;
    const VmStatus& view = follower_->view();
    if (const auto server = view.members.find(view.server); follower_->live() && server != view.members.end())
      address = server->second.address;
    if (!address.empty() && address != address_.text())
      link->send({{"t", "redirect"}, {"address", address}});
    else
      link->send({{"t", "wait"}, {"reasons", {"no status server is known"}}});
  }
  link->close_when_sent();
}

/// As the status server.
void Whole::suspect(const std::string& kernel, const std::string& address) {
  const auto member = server_->status().members.find(kernel);
  const auto endpoint = Endpoint::read(address);
  if (member == server_->status().members.end() || !endpoint || kernel == settings_.kernel) return;
  caller_.probe(*endpoint, [this, kernel, incarnation = member->second.incarnation,
                            copy = member->second.copy, life = member->second.life] {
    if (log_ && copy != 0) log_->confirm_death(copy, life);
    if (server_) server_->dead(kernel, incarnation);
  });
}

/// The status server, and while there is none each that holds the log, finds out which other copies are dead.
void Whole::look_for_dead() {
  for (const Log::Life& silent : log_->silent()) {
    if (silent.displaced) {
      log_->confirm_death(silent.copy, silent.life);
      continue;
    }
    const auto endpoint = Endpoint::read(silent.address);
    if (!endpoint) continue;
    caller_.probe(*endpoint, [this, copy = silent.copy, life = silent.life] {
      if (log_) log_->confirm_death(copy, life);
    });
  }
}

/// Whoever is the server; then those that hold the log; then those we were told of, and at last anybody.
std::vector<Endpoint> Whole::candidates() const {
  std::vector<Endpoint> found;
  const auto add = [&](const std::string& text) {
    if (auto endpoint = Endpoint::read(text)) found.push_back(*endpoint);
  };
  if (server_) add(address_.text());
  const VmStatus& view = follower_->view();
  add(known_address_);
  if (const auto server = view.members.find(view.server); server != view.members.end())
    add(server->second.address);
  for (const auto& [name, member] : view.members)
    if (member.copy != 0 && name != settings_.kernel) add(member.address);
  for (const std::string& address : known_others_) add(address);
  found.insert(found.end(), peers_.recalled().begin(), peers_.recalled().end());
  found.insert(found.end(), settings_.seeds.begin(), settings_.seeds.end());
  if (follower_->rounds() > 2) {
    std::size_t more = 8;
    for (const auto& [name, member] : view.members)
      if (member.copy == 0 && !member.lost && name != settings_.kernel && more-- > 0) add(member.address);
  }
  return found;
}

// ---- being the server
// --------------------------------------------------------------------------------------

Log::Hooks Whole::log_hooks() {
  return {.leading = [this](std::uint64_t term, Record record) { lead(term, std::move(record)); },
          .added =
              [this](const std::string& text) {
                if (server_) server_->added(text);
              },
          .following =
              [this](const std::string& address, const std::vector<std::string>& others) {
                server_.reset();
                if (multicast_) multicast_->deafen();
                known_address_ = address;
                known_others_ = others;
              },
          .ended =
              [this](const Error& why) {
                log::warning("dvm.log-ended", {{"why", why.describe()}});
                server_.reset();
                log_.reset();
                reopen_at_ = Clock::now() + kProbe;
              }};
}

Status Whole::open_log(bool founds, const json& contacts) {
  MVM_ASSIGN(log_, ReplicaLog::open({.vm = settings_.vm,
                                     .kernel = settings_.kernel,
                                     .folder = settings_.state / "log",
                                     .secret = identity_.secret,
                                     .host = address_.host,
                                     .beat = settings_.beat,
                                     .voters = settings_.voters,
                                     .founds = founds,
                                     .contacts = contacts,
                                     .post = [this](std::function<void()> job) { post(std::move(job)); }},
                                    log_hooks()));
  return ok();
}

/// A copy's life is over; the next one begins in the same folder. What ails the host may pass, and all
/// kernels may have it at once: then nobody throws his copy away. A folder that is of no use is set aside,
/// and the server enlists us again.
void Whole::reopen_log() {
  reopen_at_ = {};
  const Status opened = open_log(false, json::array());
  const std::string reason = opened ? "" : opened.error().describe();
  if (reason != std::exchange(no_log_, reason) && !opened) log::error("dvm.no-log", {{"reason", reason}});
  if (opened) return;
  const ErrorCode code = opened.error().code();
  if (code != ErrorCode::kCorrupt && code != ErrorCode::kConflict && code != ErrorCode::kRefused) {
    reopen_at_ = Clock::now() + kProbe;
    return;
  }
  const auto folder = settings_.state / "log";
  const auto aside = settings_.state / "log.unusable";
  (void)remove_tree(aside);
  std::error_code problem;
  std::filesystem::rename(folder, aside, problem);
  if (problem) (void)remove_tree(folder);
}

/// The server has to know that we hold the log.
void Whole::announce_copy() {
  const std::uint64_t copy = log_->copy();
  if (copy == follower_->self().copy && log_->life() == follower_->self().life) return;
  follower_->set_copy(copy, copy == 0 ? 0 : log_->life());
}

/// We have left the machine, and so does our copy of its log.
void Whole::drop_log() {
  if (!log_) return;
  log_->leave([this] {
    log_.reset();
    (void)remove_tree(settings_.state / "log");
  });
}

void Whole::lead(std::uint64_t term, Record record) {
  log::info("dvm.server", {{"vm", settings_.vm}, {"kernel", settings_.kernel}, {"term", term}});
  known_address_ = address_.text();
  if (record.status.vm.empty()) record.status.vm = settings_.vm;
  Baseline baseline = core_services();
  for (const auto& [service, version] : settings_.baseline) baseline[service] = version;
  server_.reset();
  server_ = std::make_unique<Server>(
      Server::Options{.kernel = settings_.kernel,
                      .beat = settings_.beat,
                      .voters = settings_.voters,
                      .baseline = std::move(baseline)},
      Server::Hooks{.propose = [this](std::string text) { log_->propose(std::move(text)); },
                    .log_contacts = [this] { return log_->contacts(); },
                    .suspect = [this](const std::string& kernel,
                                      const std::string& address) { suspect(kernel, address); }},
      crash_, term, std::move(record));
  if (multicast_) multicast_->listen([this](const JoinCall& call) { hear(call); });
  announce_copy();
}

/// "The VM server responds by connecting to the inquiring kernel" [§2.2]
void Whole::hear(const JoinCall& call) {
  const auto endpoint = Endpoint::read(call.address);
  if (!endpoint || !server_ || answering_.size() > 64 || !answering_.insert(call.kernel).second) return;
  caller_.dial(*endpoint, [this, kernel = call.kernel](const Link& link) {
    answering_.erase(kernel);
    if (!link) return;
    called_.insert(link);
    link->send({{"t", "here"}, {"server", settings_.kernel}});
  });
}

// ---- being a kernel
// ----------------------------------------------------------------------------------------

/// What the status has, and nothing that it decided against; what the kernel has by itself stays.
void Whole::restore(const Member& old, const std::set<std::string>& unload, std::uint64_t number,
                    const std::function<void(std::map<std::string, Service>)>& done) {
  work_.add([this, old, unload, number, done] {
    std::map<std::string, Service> services = services_now();
    std::map<std::string, std::string> failed;
    for (const std::string& plugin : unload) {
      if (!services.contains(plugin)) continue;
      const auto unloaded = host_.call("kernel.unload", {{"plugin", plugin}});
      if (!unloaded) failed["unload " + plugin] = unloaded.error().describe();
    }
    for (const auto& [plugin, service] : old.services) {
      if (service.locator.empty() || services.contains(plugin)) continue;
      const auto loaded = host_.call("kernel.load", {{"plugins", {service.locator}}});
      if (!loaded) failed["load " + plugin] = loaded.error().describe();
    }
    services = services_now();
    // The kernel's own record may have been at it meanwhile.
    std::erase_if(failed, [&](const auto& one) {
      const auto space = one.first.find(' ');
      return services.contains(one.first.substr(space + 1)) == one.first.starts_with("load");
    });
    for (const auto& [what, reason] : failed)
      log::warning("dvm.not-restored", {{"what", what}, {"reason", reason}});
    for (const auto& [plugin, before] : old.services) {
      const auto service = services.find(plugin);
      if (before.locator.empty() || service == services.end()) continue;
      service->second.locator = before.locator;
      service->second.owner = before.owner;
      service->second.sharing = before.sharing;
    }
    post([this, services = std::move(services), failed = std::move(failed), number, done] {
      participant_->restored(failed, number);
      done(services);
    });
  });
}

void Whole::enlist(const json& contacts) {
  if (log_ || reopen_at_ != Clock::time_point()) return;
  if (Status opened = open_log(false, contacts); !opened)
    log::error("dvm.no-log", {{"reason", opened.error().describe()}});
}

/// Threads whose end nobody could be told of.
void Whole::joined() {
  log::info("dvm.joined", {{"vm", settings_.vm}, {"kernel", settings_.kernel}});
  const auto self = follower_->view().members.find(settings_.kernel);
  if (self == follower_->view().members.end() || self->second.threads.empty()) return;
  std::set<std::string> known;
  for (const auto& [id, thread] : self->second.threads) known.insert(id);
  work_.add([this, known = std::move(known)]() mutable {
    const auto runs = host_.call("kernel.runs", json::object());
    if (!runs) return;
    for (const json& run : array_or_empty(*runs, "runs"))
      if (text_or(run, "state") != "ended") known.erase(text_or(run, "run"));
    for (const std::string& id : known) thread_ended(id);
  });
}

void Whole::thread_ended(const std::string& id) {
  post([this, id] { follower_->send({{"t", "thread-ended"}, {"id", id}}); });
}

void Whole::tick() {
  const auto now = Clock::now();
  if (server_) server_->tick(now);
  follower_->tick(now);
  if (reopen_at_ != Clock::time_point() && now >= reopen_at_) reopen_log();
  if (log_ && follower_->live()) announce_copy();
  // The first others at once: a kernel that was alone would not find the machine again.
  if (follower_->live() && (now >= next_remember_ || peers_.none_remembered())) {
    next_remember_ = now + kRemember;
    peers_.remember(follower_->view());
  }
  if (log_ && (server_ || !follower_->live()) && now >= next_probe_) {
    next_probe_ = now + kProbe;
    look_for_dead();
  }
  if (!log_ && settings_.founding == Founding::kIfAlone && follower_->seeking() && !follower_->met() &&
      follower_->rounds() > kAloneAfter && follower_->view().number == 0) {
    log::info("dvm.founds", {{"vm", settings_.vm}});
    if (Status opened = open_log(true, json::array()); !opened)
      log::error("dvm.no-log", {{"reason", opened.error().describe()}});
  }
  using std::chrono::milliseconds;
  Clock::duration pause = server_ ? settings_.beat / 4 : follower_->live() ? follower_->beat() : kSeekTick;
  if (server_) pause = std::min(pause, server_->pause(now));
  timer_.expires_after(std::max<Clock::duration>(pause, milliseconds(5)));
  timer_.async_wait([this](const error_code& stopped) {
    if (!stopped && !ending_) tick();
  });
}

Result<json> Whole::command(const std::vector<std::string>& words, std::chrono::milliseconds patience) {
  auto promise = std::make_shared<std::promise<Reply>>();
  auto future = promise->get_future();
  post([this, words, promise] {
    console_->run({settings_.kernel, UserRole::kAdministrator}, words,
                  [promise](Reply reply) { promise->set_value(std::move(reply)); });
  });
  if (future.wait_for(patience) != std::future_status::ready)
    return Error(ErrorCode::kTimeout, "no answer of the machine");
  Reply reply = future.get();
  return json{{"code", reply.code}, {"message", reply.message}, {"answer", std::move(reply.answer)}};
}

}  // namespace

Result<std::unique_ptr<Node>> Node::start(Settings settings, Host host) {
  MVM_ASSIGN(std::string secret, read_secret_file(settings.secret, kShortestSecret));
  MVM_TRY(make_folders(settings.state, 0700));
  MVM_ASSIGN(CrashPoint crash, arm(settings));
  auto node =
      std::make_unique<Whole>(std::move(settings), std::move(host), std::move(secret), std::move(crash));
  MVM_TRY(node->open());
  return std::unique_ptr<Node>(std::move(node));
}

}  // namespace mvm::dvm
