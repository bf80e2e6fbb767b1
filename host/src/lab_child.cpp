#include "mvm/host/lab_child.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "codec.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/log.h"
#include "mvm/base/unique_fd.h"
#include "mvm/queuevm/codecs/builtin.h"
#include "mvm/queuevm/mq/mq_streams.h"
#include "mvm/queuevm/proxy.h"
#include "mvm/queuevm/region.h"
#include "mvm/queuevm/tls/tls_stream.h"
#include "unix_socket.h"

namespace mvm::host {
namespace {

using nlohmann::json;
using queuevm::Carrier;
using queuevm::LinkHalf;

constexpr int kFolderCheckMs = 60'000;
constexpr int kFrameTimeoutMs = 5'000;
constexpr std::size_t kMaxClients = 8;
constexpr std::size_t kMaxFailures = 1000;  // not told yet

/// The proxy and what it carries, by attempt.
class LabChild {
 public:
  static Result<std::unique_ptr<LabChild>> open(const LabChildOptions& options) {
    auto child = std::unique_ptr<LabChild>(new LabChild(options));
    child->folder_.reset(::open(options.folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    MVM_ASSIGN(child->secret_, read_file(options.folder / "secret", 256));
    MVM_ASSIGN(child->proxy_, child->start_proxy(options.domain));
    MVM_ASSIGN(child->port_, child->proxy_->listen(child->own_address(), 0));  // for this host's guests
    MVM_ASSIGN(child->listener_, listen_unix(options.folder / "child.sock"));
    return child;
  }

  int run() {
    sigset_t stops;
    ::sigemptyset(&stops);
    ::sigaddset(&stops, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &stops, nullptr);
    const UniqueFd signals(::signalfd(-1, &stops, SFD_CLOEXEC));
    while (!stopping_) {
      std::vector<pollfd> items{
          {signals.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}, {failures_bell_.get(), POLLIN, 0}};
      for (const Client& client : clients_) items.push_back({client.socket.get(), POLLIN, 0});
      const int ready = ::poll(items.data(), items.size(), kFolderCheckMs);
      if (ready == 0 && folder_is_gone()) {
        log::warning("lab.folder_gone", {{"lab", options_.lab}});
        break;
      }
      if (ready <= 0) continue;
      if (items[0].revents != 0) break;
      serve_clients(items);
      if (items[1].revents != 0) accept_client();
      if (items[2].revents != 0) tell_failures();
    }
    return 0;
  }

 private:
  struct Client {
    UniqueFd socket;
    FrameReader reader;
    bool hears_events = false;
    explicit Client(UniqueFd fd) : socket(std::move(fd)), reader(socket.get()) {}
  };

  explicit LabChild(LabChildOptions options) : options_(std::move(options)) {}

  /// True once somebody removed the lab's folder: then nobody will ever ask us to stop.
  [[nodiscard]] bool folder_is_gone() const {
    struct stat info {};
    return ::fstat(folder_.get(), &info) != 0 || info.st_nlink == 0;
  }

  /// On the proxy's thread.
  void failed(const queuevm::LinkFailure& failure) {
    {
      const std::lock_guard lock(failures_mutex_);
      if (failures_.size() < kMaxFailures) failures_.push_back(failure);
    }
    ::eventfd_write(failures_bell_.get(), 1);
  }

  /// To every client that asked for events; what nobody hears is in the log alone.
  void tell_failures() {
    eventfd_t ignored = 0;
    ::eventfd_read(failures_bell_.get(), &ignored);
    std::vector<queuevm::LinkFailure> untold;
    {
      const std::lock_guard lock(failures_mutex_);
      untold.swap(failures_);
    }
    for (const queuevm::LinkFailure& failure : untold) {
      const auto owner = std::find_if(carried_.begin(), carried_.end(), [&](const auto& item) {
        const std::string& peer = std::get<3>(item.first);
        return std::get<1>(item.first) == failure.link &&
               (failure.peer == peer || failure.peer == loop_name(peer));
      });
      const json event = {{"event", "link.failed"},
                          {"args",
                           {{"attempt", owner == carried_.end() ? std::string() : std::get<0>(owner->first)},
                            {"link", failure.link},
                            {"peer", failure.peer},
                            {"codecs", failure.codecs},
                            {"message", failure.message},
                            {"why", failure.why}}}};
      for (const Client& client : clients_)
        if (client.hears_events) static_cast<void>(send_frame(client.socket.get(), event));
    }
  }

  void accept_client() {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) return;
    if (clients_.size() >= kMaxClients) clients_.pop_front();
    clients_.emplace_back(std::move(socket));
  }

  void serve_clients(const std::vector<pollfd>& items) {
    std::size_t at = 3;
    for (auto client = clients_.begin(); client != clients_.end(); ++at) {
      const bool keep = items[at].revents == 0 || serve_one(*client);
      client = keep ? std::next(client) : clients_.erase(client);
    }
  }

  bool serve_one(Client& client) {
    auto request = client.reader.read(kFrameTimeoutMs);
    if (!request) return false;
    json reply;
    if (request->head.value("op", "") == "events") client.hears_events = true;
    auto result = answer(*request);
    if (result)
      reply = {{"ok", true}, {"result", std::move(*result)}};
    else
      reply = {
          {"ok", false},
          {"error", {{"code", to_string(result.error().code())}, {"message", result.error().describe()}}}};
    return send_frame(client.socket.get(), reply).has_value();
  }

  Result<json> answer(Frame& request) {
    try {
      const std::string op = request.head.at("op");
      const json& args = request.head.at("args");
      if (op == "hello")
        return json{{"pid", ::getpid()},           {"port", port_},
                    {"secure_port", secure_port_}, {"plain_port", plain_port_},
                    {"region_port", region_port_}, {"lab", options_.lab}};
      if (op == "events") return json::object();
      if (op == "identity") return identify(args);
      if (op == "plain") return listen_plainly();
      if (op == "region") return share(request.descriptors);
      if (op == "proxy.carry") return carry(args, request.descriptors);
      if (op == "proxy.drop") return drop(args.at("attempt"), args.value("keep", json::array()));
      if (op == "stats") return stats();
      if (op == "stop") {
        stopping_ = true;
        return json::object();
      }
      return Error(ErrorCode::kUnsupported, "unknown operation " + op);
    } catch (const json::exception& problem) {
      return Error(ErrorCode::kCorrupt, problem.what());
    }
  }

  Result<std::unique_ptr<queuevm::Proxy>> start_proxy(const std::string& domain) {
    queuevm::Proxy::Options proxy;
    proxy.domain = domain;
    proxy.secret = secret_;
    proxy.codecs = queuevm::codecs::builtin();
    proxy.on_failure = [this](const queuevm::LinkFailure& failure) { failed(failure); };
    return queuevm::Proxy::start(std::move(proxy));
  }

  /// Where this host's own guests reach the proxy, and it itself.
  [[nodiscard]] std::string own_address() const {
    return options_.bridge_address.empty() ? "127.0.0.1" : options_.bridge_address;
  }

  /// From here on other hosts' proxies are reached, and reach us, by TLS; guests too where a link says so.
  Result<json> identify(const json& args) {
    MVM_ASSIGN(const LinkIdentity identity, link_identity_from(args));
    MVM_ASSIGN(auto streams, queuevm::tls::make_streams({.certificate = identity.certificate,
                                                         .key = identity.key,
                                                         .authority = identity.authority}));
    proxy_->set_streams(Carrier::kSecure, std::move(streams));
    if (secure_port_ == 0) {
      const bool v6 = options_.advertise.find(':') != std::string::npos;
      const std::string everywhere = v6 ? "::" : "0.0.0.0";
      MVM_ASSIGN(secure_port_, proxy_->listen(options_.advertise.empty() ? own_address() : everywhere, 0,
                                              Carrier::kSecure));
    }
    identified_ = true;
    return json{{"secure_port", secure_port_}};
  }

  /// From here on other hosts' proxies may reach us without TLS, for links that say so, at one address only.
  Result<json> listen_plainly() {
    if (options_.advertise.empty())
      return Error(ErrorCode::kUnavailable, "this host has no address for other hosts (--advertise)");
    if (plain_port_ == 0) {
      MVM_ASSIGN(plain_port_, proxy_->listen(options_.advertise, 0));
    }
    return json{{"plain_port", plain_port_}};
  }

  /// From here on this host's guests reach us through the lab's shared memory, too.
  Result<json> share(const std::vector<UniqueFd>& descriptors) {
    if (descriptors.size() != 1) return Error(ErrorCode::kCorrupt, "one descriptor was expected");
    if (!region_) {
      MVM_ASSIGN(auto region, queuevm::Region::map(descriptors.front()));
      region_.emplace(std::move(region));
      proxy_->set_streams(Carrier::kRegion, region_->factory());
      MVM_ASSIGN(region_port_, proxy_->listen(own_address(), 0, Carrier::kRegion));
    }
    return json{{"region_port", region_port_}};
  }

  static std::string loop_name(const std::string& domain) { return domain + "/loop"; }

  /// A second proxy in this process, through which links pass that must not stay in shared memory.
  Result<queuevm::Proxy*> loop(Carrier carrier) {
    const std::string name = loop_name(options_.domain);
    if (!loop_) {
      MVM_ASSIGN(loop_, start_proxy(name));
    }
    if (looped_.contains(carrier)) return loop_.get();
    std::string address = own_address();
    if (carrier != Carrier::kPlain) {
      MVM_ASSIGN(address, open_message_queues(carrier));
    }
    MVM_TRY(loop_->add_peer(options_.domain, address, port_, carrier));
    MVM_TRY(proxy_->add_peer(name, "", 0, carrier));
    looped_.insert(carrier);
    return loop_.get();
  }

  /// From here on both proxies can join over message queues; where the first one listens for that.
  Result<std::string> open_message_queues(Carrier carrier) {
    MVM_ASSIGN(const queuevm::StreamFactory streams, carrier == Carrier::kPosixMq
                                                         ? queuevm::mq::make_posix_streams(secret_)
                                                         : queuevm::mq::make_boost_streams(secret_));
    proxy_->set_streams(carrier, streams);
    loop_->set_streams(carrier, streams);
    const std::string address = "@mvm-" + random_hex(16);
    MVM_ASSIGN(const std::uint16_t none, proxy_->listen(address, 0, carrier));
    static_cast<void>(none);
    return address;
  }

  /// Who holds one half of a link, and towards whom: a link to our own domain leaves by the loop.
  struct Holder {
    queuevm::Proxy* proxy = nullptr;
    std::string peer;
  };
  Result<Holder> holder(LinkHalf::Flow flow, const std::string& peer, Carrier carrier) {
    if (peer != options_.domain) return Holder{proxy_.get(), peer};
    MVM_ASSIGN(queuevm::Proxy* const other, loop(carrier));
    if (flow == LinkHalf::Flow::kOutgoing) return Holder{other, peer};
    return Holder{proxy_.get(), loop_name(peer)};
  }

  using Carried = std::tuple<std::string, std::uint64_t, LinkHalf::Flow, std::string, Carrier>;

  static Carrier carrier_of(const json& link) {
    const std::string name = link.value("carrier", "");
    if (name == "posix-mq") return Carrier::kPosixMq;
    if (name == "boost-mq") return Carrier::kBoostMq;
    if (name == "ivshmem") return Carrier::kRegion;
    return link.value("tls", false) ? Carrier::kSecure : Carrier::kPlain;
  }

  static Carried key_of(const std::string& attempt, const json& link) {
    return {attempt, link.at("link"),
            link.at("flow") == "out" ? LinkHalf::Flow::kOutgoing : LinkHalf::Flow::kIncoming, link.at("peer"),
            carrier_of(link)};
  }

  /// A peer that steps name, with what its carrier needs.
  Status add_peer(const json& peer) {
    const Carrier carrier = carrier_of(peer);
    if (carrier == Carrier::kSecure && !identified_)
      return Error(ErrorCode::kUnavailable, "this lab has no certificate for links by TLS");
    if (carrier == Carrier::kRegion) {
      if (!region_) return Error(ErrorCode::kUnavailable, "this lab has no shared memory");
      const json& part = peer.at("part");
      MVM_TRY(region_->give(peer.at("name"), {.offset = part.at("offset"), .bytes = part.at("bytes")}));
    }
    return proxy_->add_peer(peer.at("name"), peer.value("address", ""), peer.value("port", std::uint16_t{0}),
                            carrier);
  }

  Result<json> carry(const json& args, std::vector<UniqueFd>& descriptors) {
    const std::string attempt = args.at("attempt");
    for (const json& peer : args.at("peers")) MVM_TRY(add_peer(peer));
    const json& links = args.at("links");
    if (links.size() != descriptors.size())
      return Error(ErrorCode::kCorrupt, "a descriptor for each link was expected");
    for (std::size_t i = 0; i < links.size(); ++i) {
      const json& link = links[i];
      const Carried key = key_of(attempt, link);
      if (carried_.contains(key)) continue;
      MVM_ASSIGN(const Holder place, holder(std::get<2>(key), std::get<3>(key), std::get<4>(key)));
      LinkHalf half;
      half.link = std::get<1>(key);
      half.flow = std::get<2>(key);
      half.peer = place.peer;
      half.carrier = std::get<4>(key);
      half.descriptor = std::move(descriptors[i]);
      half.slot = link.at("slot");
      half.codecs = link.value("codecs", std::vector<std::string>());
      MVM_ASSIGN(half.key, queuevm::codec_key_from(link.value("key", "")));
      MVM_TRY(place.proxy->add_link(std::move(half)));
      carried_[key] = true;
    }
    return json::object();
  }

  /// Ends the carrying of an attempt's links, all but those to keep.
  Result<json> drop(const std::string& attempt, const json& keep) {
    std::set<Carried> kept;
    for (const json& link : keep) kept.insert(key_of(attempt, link));
    for (auto item = carried_.begin(); item != carried_.end();) {
      const auto& [owner, link, flow, peer, carrier] = item->first;
      if (owner != attempt || kept.contains(item->first)) {
        ++item;
        continue;
      }
      MVM_ASSIGN(const Holder place, holder(flow, peer, carrier));
      if (auto removed = place.proxy->remove_link(link, flow, place.peer, carrier); !removed)
        log::warning("proxy.remove", {{"link", link}, {"why", removed.error().describe()}});
      item = carried_.erase(item);
    }
    return json::object();
  }

  json stats() const {
    json links = json::array();
    auto all = proxy_->links();
    if (loop_) std::ranges::move(loop_->links(), std::back_inserter(all));
    for (const queuevm::LinkStats& link : all)
      links.push_back({{"link", link.link},
                       {"flow", link.flow == LinkHalf::Flow::kOutgoing ? "out" : "in"},
                       {"peer", link.peer},
                       {"tls", link.carrier == Carrier::kSecure},
                       {"ivshmem", link.carrier == Carrier::kRegion},
                       {"connected", link.connected},
                       {"messages", link.messages},
                       {"bytes", link.bytes},
                       {"in_flight", link.in_flight},
                       {"codecs", link.codecs},
                       {"failure", link.failure}});
    return {{"links", links}};
  }

  LabChildOptions options_;
  UniqueFd folder_;
  UniqueFd listener_;
  std::string secret_;
  std::uint16_t port_ = 0;
  std::uint16_t secure_port_ = 0;
  std::uint16_t plain_port_ = 0;
  std::uint16_t region_port_ = 0;
  std::optional<queuevm::RegionStreams> region_;
  bool identified_ = false;
  std::list<Client> clients_;
  std::map<Carried, bool> carried_;
  UniqueFd failures_bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex failures_mutex_;
  std::vector<queuevm::LinkFailure> failures_;
  bool stopping_ = false;
  std::set<Carrier> looped_;               // over which the two proxies can join
  std::unique_ptr<queuevm::Proxy> proxy_;  // these last: their threads use the others
  std::unique_ptr<queuevm::Proxy> loop_;
};

/// Everything that needs privilege is open; from here on the process can do nothing but move messages.
Status drop_privileges(unsigned user) {
  if (user != 0) {
    // All labs' children are one user, whose message queues the system counts together.
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_MSGQUEUE, &unlimited);
    if (::setgroups(0, nullptr) != 0 || ::setresgid(user, user, user) != 0 ||
        ::setresuid(user, user, user) != 0)
      return Error::from_errno(errno, "become user " + std::to_string(user));
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Error::from_errno(errno, "no_new_privs");
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  return ok();
}

}  // namespace

int lab_child_main(const LabChildOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  auto child = LabChild::open(options);
  Status ready = child ? drop_privileges(options.user) : Status(child.error());
  if (!ready) {
    log::error("lab.failed", {{"lab", options.lab}, {"why", ready.error().describe()}});
    return 1;
  }
  log::info("lab.ready", {{"lab", options.lab}});
  return (*child)->run();
}

}  // namespace mvm::host
