#include "mvm/queuevm/proxy.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "mvm.h"
#include "mvm/base/log.h"
#include "proxy_state.h"
#include "ring/guard.h"
#include "ring/wait.h"
#include "tcp.h"

namespace mvm::queuevm {
namespace {

using link::Connection;
using link::InHalf;
using link::kOutLimit;
using link::Moment;
using link::OutHalf;
using link::Peer;

constexpr std::size_t kMaxListeners = 8;
constexpr std::size_t kMaxStrangers = 64;                    // connections that have not proved themselves
constexpr auto kStayAwake = std::chrono::microseconds(200);  // after the last progress, before sleeping
/// Turns, awake, between two looks for strangers: connections are read in each.
constexpr unsigned kLooksSeldom = 16;
constexpr auto kLookAround = std::chrono::milliseconds(250);  // how often processes' lives are looked at

/// Attaches to a slot of the half's queue.
Result<ring::End> attach(LinkHalf& half) {
  if (half.queue.empty() && !half.descriptor) return Error(ErrorCode::kInvalid, "a link half names no queue");
  ring::survive_cut_files();
  // A descriptor is an open description of its own already; a proxy without privileges could not open it
  // afresh.
  UniqueFd fd = std::move(half.descriptor);
  if (!half.queue.empty()) {
    MVM_ASSIGN(const Queue queue, Queue::open(half.queue));
    MVM_ASSIGN(fd, queue.open_descriptor());
  }
  ring::Region region;
  std::string why;
  if (region.open(fd.get(), why) != MVM_OK) return Error(ErrorCode::kCorrupt, why);
  static_cast<void>(fd.release());
  ring::End end;
  const bool out = half.flow == LinkHalf::Flow::kOutgoing;
  const int result = end.attach(std::move(region), out ? ring::Side::kConsumer : ring::Side::kProducer,
                                half.slot, true, why);
  if (result != MVM_OK) {
    return Error(result == MVM_EBUSY    ? ErrorCode::kConflict
                 : result == MVM_EINVAL ? ErrorCode::kInvalid
                                        : ErrorCode::kCorrupt,
                 why);
  }
  return end;
}

/// The codecs that a half names.
Result<CodecChain> codecs_of(const LinkHalf& half, const CodecRegistry* registry) {
  static const CodecRegistry none;
  auto chain = CodecChain::make(registry == nullptr ? none : *registry, half.codecs, half.key);
  if (!chain) return std::move(chain).error().wrap("link " + std::to_string(half.link));
  return chain;
}

}  // namespace

std::vector<pollfd> Proxy::State::poll_set() const {
  std::vector<pollfd> fds{{bell.get(), POLLIN, 0}};
  for (const auto& [listener, carrier] : listeners) fds.push_back({listener.get(), POLLIN, 0});
  const auto add = [&](Connection& connection) {
    const bool writes = connection.stage() == Connection::Stage::kConnecting ||
                        (connection.pending() > 0 && connection.stream().ready()) ||
                        connection.stream().wants_write();
    fds.push_back({connection.stream().fd(), static_cast<short>(POLLIN | (writes ? POLLOUT : 0)), 0});
  };
  for (const auto& stranger : strangers) add(*stranger.connection);
  for (const auto& [key, peer] : peers) {
    if (peer.connection) add(*peer.connection);
  }
  return fds;
}

// ---- connections ----

void Proxy::State::accept_all(const UniqueFd& at, Carrier carrier, Moment now) {
  while (UniqueFd socket = tcp::accept(at.get())) {
    if (strangers.size() >= kMaxStrangers) strangers.pop_front();  // the oldest has had its time
    strangers.push_back({std::make_unique<Connection>(streams.at(carrier)(std::move(socket), false),
                                                      options.domain, options.secret, "", now),
                         carrier});
  }
}

bool Proxy::State::greet_strangers(Moment now) {
  bool progress = false;
  for (auto at = strangers.begin(); at != strangers.end();) {
    Connection& stranger = *at->connection;
    bool keep = now - stranger.started() < options.handshake_timeout;
    if (auto got = stranger.read(now); !got) {
      keep = false;
    } else {
      progress = progress || got->bytes > 0;
    }
    if (keep && !stranger.next()) {
      keep = false;
      ++refused_strangers;
    }
    const auto peer = peers.find({stranger.peer(), at->carrier});
    if (keep && stranger.stage() != Connection::Stage::kHello && peer == peers.end())
      keep = false;  // not yet known
    if (keep && !stranger.write()) keep = false;
    if (keep && stranger.stage() == Connection::Stage::kReady) {
      // A peer that dials again has lost its old connection, whatever we still think of it.
      if (peer->second.connection)
        drop(peer->second, now, Error(ErrorCode::kUnavailable, "the peer dialled again"));
      peer->second.connection = std::move(at->connection);
      at = strangers.erase(at);
      came_up(peer->second, now);
      progress = true;
      continue;
    }
    if (!keep) count_refused(stranger);
    at = keep ? std::next(at) : strangers.erase(at);
  }
  return progress;
}

/// With the peer that it claims to be, over whichever carrier that one is known.
void Proxy::State::count_refused(const Connection& stranger) {
  const auto peer = peers.lower_bound({stranger.peer(), Carrier::kPlain});
  if (peer != peers.end() && peer->first.first == stranger.peer()) ++peer->second.stats.refused;
}

void Proxy::State::dial(Peer& peer, Moment now) {
  peer.pause = peer.pause.count() == 0 ? options.redial : std::min(peer.pause * 2, options.redial * 40);
  peer.dial_at = now + peer.pause;
  const auto made = streams.find(peer.carrier);
  if (made == streams.end()) return;
  auto socket = tcp::connect(peer.address, peer.port);
  if (!socket) return;
  peer.connection = std::make_unique<Connection>(made->second(std::move(*socket), true), options.domain,
                                                 options.secret, peer.name, now);
}

void Proxy::State::came_up(Peer& peer, Moment now) {
  peer.stats.connections += 1;
  peer.pause = std::chrono::milliseconds(0);
  peer.connection->last_ping = now;
  for (auto& [number, half] : peer.outs) half->connected();
  log::info("link.peer.up", {{"domain", options.domain}, {"peer", peer.name}, {"tls", peer.secure()}});
}

void Proxy::State::drop(Peer& peer, Moment now, const Error& why) {
  if (peer.up()) {
    for (auto& [number, half] : peer.outs) half->disconnected();
    for (auto& [number, half] : peer.ins) half->disconnected();
    log::info(
        "link.peer.down",
        {{"domain", options.domain}, {"peer", peer.name}, {"tls", peer.secure()}, {"why", why.message()}});
  }
  if (why.code() == ErrorCode::kCorrupt || why.code() == ErrorCode::kRefused) ++peer.stats.refused;
  peer.connection.reset();
  peer.untold_since = {};
  if (peer.pause.count() == 0) peer.dial_at = now;
}

void Proxy::State::keep_alive(Peer& peer, Moment now) {
  Connection& connection = *peer.connection;
  if (now - connection.last_ping < options.keepalive) return;
  connection.last_ping = now;
  if (connection.pending() < kOutLimit) link::append_simple(connection.out().tail(), link::Type::kPing, 0);
}

bool Proxy::State::serve(Peer& peer, Moment now) {
  if (!peer.connection) {
    if (peer.address.empty() || now < peer.dial_at) return false;
    dial(peer, now);
    return true;
  }
  bool progress = false;
  Connection& connection = *peer.connection;
  Status status = ok();
  if (connection.stage() == Connection::Stage::kConnecting) {
    pollfd item{connection.stream().fd(), POLLOUT, 0};
    if (::poll(&item, 1, 0) == 1) {
      status = connection.on_connected();
      progress = true;
    }
  } else {
    status = read_frames(peer, now, progress);
    if (status && peer.up()) {
      keep_alive(peer, now);
      status = move_messages(peer, now, progress);
    } else if (status) {
      if (auto put = connection.write(); !put) status = std::move(put).error();
    }
  }
  if (status && !peer.up() && now - connection.started() > options.handshake_timeout) {
    status = Error(ErrorCode::kTimeout, "the peer does not complete the greeting");
  }
  if (status && peer.up() && now - connection.last_heard() > options.keepalive * 10) {
    status = Error(ErrorCode::kTimeout, "the peer is silent");
  }
  if (!status) {
    drop(peer, now, status.error());
    return true;
  }
  return progress;
}

// Processes that died, on either side of our queues.
void Proxy::State::look_around() {
  for (auto& [key, peer] : peers) {
    for (auto& [number, half] : peer.outs) half->end().check_peers();
    for (auto& [number, half] : peer.ins) {
      half->end().check_peers();
      half->check_readers();
    }
  }
}

// ---- the loop ----

bool Proxy::State::step(Moment now, const std::vector<pollfd>& fds) {
  bool progress = false;
  for (const pollfd& item : fds) {
    if (item.revents == 0) continue;
    if (item.fd == bell.get()) {
      eventfd_t ignored = 0;
      ::eventfd_read(bell.get(), &ignored);
      watched.clear();
      progress = true;
      continue;
    }
    for (const auto& [listener, carrier] : listeners)
      if (item.fd == listener.get()) accept_all(listener, carrier, now);
  }
  if (!strangers.empty()) progress = greet_strangers(now) || progress;
  for (auto& [key, peer] : peers) progress = serve(peer, now) || progress;
  if (now >= look_at) {
    look_around();
    look_at = now + kLookAround;
  }
  return progress;
}

// Has the watchers ring when a queue we wait for changes. False where one has changed already.
bool Proxy::State::arm() {
  std::vector<ring::End*> ends;
  for (auto& [key, peer] : peers) {
    if (peer.connection && !peer.connection->arm()) return false;
    if (!peer.up()) continue;
    for (auto& [number, half] : peer.outs) {
      if (half->wants_more()) ends.push_back(&half->end());
    }
    for (auto& [number, half] : peer.ins) {
      if (half->waits_for_room()) ends.push_back(&half->end());
    }
  }
  std::vector<WatchedWord> words;
  words.reserve(ends.size());
  for (ring::End* end : ends) {
    words.push_back({&end->event().step, end->arm()});
  }
  ring::fence_peers();
  if (std::any_of(ends.begin(), ends.end(), [](ring::End* end) { return end->maybe(); })) return false;
  const auto same = [](const WatchedWord& a, const WatchedWord& b) {
    return a.word == b.word && a.value == b.value;
  };
  if (words.size() == watched.size() && std::equal(words.begin(), words.end(), watched.begin(), same))
    return true;
  watched = words;
  for (std::size_t at = 0, i = 0; at < words.size() || i < watchers.size(); at += Watcher::kMost, ++i) {
    if (i == watchers.size()) watchers.push_back(std::make_unique<Watcher>(bell.get()));
    const std::size_t begin = std::min(at, words.size());
    const std::size_t end = std::min(at + Watcher::kMost, words.size());
    watchers[i]->watch({words.begin() + static_cast<std::ptrdiff_t>(begin),
                        words.begin() + static_cast<std::ptrdiff_t>(end)});
  }
  return true;
}

void Proxy::State::stop_watching() {
  for (auto& watcher : watchers) watcher->stop_watching();
  watched.clear();
}

std::chrono::nanoseconds Proxy::State::sleep_time(Moment now) const {
  Moment until = now + std::chrono::seconds(5);
  bool links = false;
  for (const auto& [key, peer] : peers) {
    links = links || !peer.outs.empty() || !peer.ins.empty();
    if (!peer.connection && !peer.address.empty()) until = std::min(until, peer.dial_at);
    if (peer.connection) until = std::min(until, now + options.keepalive / 2);
  }
  if (links) until = std::min(until, look_at);
  if (!strangers.empty()) until = std::min(until, now + options.handshake_timeout / 4);
  return std::max(until - now, Moment::duration(0));
}

void Proxy::State::run() {
  Moment progress_at = std::chrono::steady_clock::now();
  bool waited = false;   // awake, since the last progress
  ring::Patience awake;  // its peers may need this core
  std::vector<pollfd> fds;
  unsigned turns = 0;
  std::unique_lock lock(mutex);
  while (!quit) {
    const Moment now = std::chrono::steady_clock::now();
    const bool progress = step(now, fds);
    const Moment after = std::chrono::steady_clock::now();
    if (progress) {
      if (waited) awake.helped();
      progress_at = after;
    }
    std::chrono::nanoseconds pause{0};
    if (!progress && (!awake.has() || after - progress_at > kStayAwake) && !acknowledge_all(now) && arm())
      pause = sleep_time(now);
    waited = !progress && pause.count() == 0;
    if (pause.count() > 0) awake.failed();
    const bool looks = pause.count() > 0 || ++turns % kLooksSeldom == 0;
    fds.clear();
    if (looks) fds = poll_set();
    lock.unlock();
    if (pause.count() == 0) ::sched_yield();
    const timespec time{static_cast<time_t>(pause.count() / 1'000'000'000),
                        static_cast<long>(pause.count() % 1'000'000'000)};
    if (looks) ::ppoll(fds.data(), fds.size(), &time, nullptr);
    while (callers.load() > 0) ::sched_yield();
    lock.lock();
  }
}

// ---- public ----

Proxy::Proxy(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Proxy>> Proxy::start(Options options) {
  if (options.domain.empty() || options.domain.size() > link::kMaxName) {
    return Error(ErrorCode::kInvalid, "a domain's name has 1 to 255 bytes");
  }
  if (options.secret.size() < 16)
    return Error(ErrorCode::kInvalid, "a lab's link secret has at least 16 bytes");
  if (!options.stream) return Error(ErrorCode::kInvalid, "no way to make streams");
  auto state = std::make_unique<State>(std::move(options));
  if (!state->bell) return Error(ErrorCode::kExhausted, "no eventfd to be had");
  std::unique_ptr<Proxy> proxy(new Proxy(std::move(state)));
  State* shared = proxy->state_.get();
  shared->thread = std::thread([shared] { shared->run(); });
  return proxy;
}

Proxy::~Proxy() {
  {
    auto lock = state_->enter();
    state_->quit = true;
  }
  state_->ring_bell();
  state_->thread.join();
  state_->watchers.clear();
}

void Proxy::set_streams(Carrier carrier, StreamFactory streams) {
  auto lock = state_->enter();
  state_->streams[carrier] = std::move(streams);
}

Result<std::uint16_t> Proxy::listen(const std::string& address, std::uint16_t port, Carrier carrier) {
  MVM_ASSIGN(auto socket, tcp::listen(address, port));
  auto lock = state_->enter();
  if (!state_->streams.contains(carrier))
    return Error(ErrorCode::kConflict, "this proxy has no streams for that yet");
  if (state_->listeners.size() >= kMaxListeners)
    return Error(ErrorCode::kExhausted, "this proxy listens at too many places");
  state_->listeners.emplace_back(std::move(socket.first), carrier);
  state_->ring_bell();
  return socket.second;
}

Status Proxy::add_peer(const std::string& name, const std::string& address, std::uint16_t port,
                       Carrier carrier) {
  if (name.empty() || name.size() > link::kMaxName || name == state_->options.domain) {
    return Error(ErrorCode::kInvalid, "a peer's name has 1 to 255 bytes, and is not our own");
  }
  if (!address.empty()) MVM_TRY(tcp::check_address(address));
  auto lock = state_->enter();
  if (!state_->peers.contains({name, carrier}) && state_->peers.size() >= state_->options.max_peers) {
    return Error(ErrorCode::kExhausted, "too many peers");
  }
  Peer& peer = state_->peers[{name, carrier}];
  peer.name = name;
  peer.address = address;
  peer.port = port;
  peer.carrier = carrier;
  peer.dial_at = {};
  peer.pause = std::chrono::milliseconds(0);
  state_->ring_bell();
  return ok();
}

Status Proxy::remove_peer(const std::string& name, Carrier carrier) {
  auto lock = state_->enter();
  const auto peer = state_->peers.find({name, carrier});
  if (peer == state_->peers.end()) return ok();
  if (!peer->second.outs.empty() || !peer->second.ins.empty()) {
    return Error(ErrorCode::kConflict, "links to " + name + " are still carried");
  }
  state_->peers.erase(peer);
  state_->ring_bell();
  return ok();
}

Status Proxy::add_link(LinkHalf half) {
  auto lock = state_->enter();
  const auto found = state_->peers.find({half.peer, half.carrier});
  if (found == state_->peers.end()) return Error(ErrorCode::kNotFound, "no such peer: " + half.peer);
  Peer& peer = found->second;
  const bool out = half.flow == LinkHalf::Flow::kOutgoing;
  if (out ? peer.outs.contains(half.link) : peer.ins.contains(half.link)) {
    return Error(ErrorCode::kExists, "link " + std::to_string(half.link) + " is carried already");
  }
  MVM_ASSIGN(CodecChain codecs, codecs_of(half, state_->options.codecs.get()));
  MVM_ASSIGN(ring::End end, attach(half));
  if (out) {
    auto made = std::make_unique<OutHalf>(half.link, std::move(end), std::move(codecs));
    if (peer.up()) made->connected();
    peer.outs[half.link] = std::move(made);
  } else {
    auto made = std::make_unique<InHalf>(half.link, std::move(end), half.window, std::move(codecs));
    if (peer.up()) made->answer();
    peer.ins[half.link] = std::move(made);
  }
  state_->ring_bell();
  return ok();
}

Status Proxy::remove_link(std::uint64_t link, LinkHalf::Flow flow, const std::string& name, Carrier carrier) {
  auto lock = state_->enter();
  const auto peer = state_->peers.find({name, carrier});
  if (peer == state_->peers.end()) return Error(ErrorCode::kNotFound, "no such peer: " + name);
  state_->stop_watching();
  const std::size_t removed =
      flow == LinkHalf::Flow::kOutgoing ? peer->second.outs.erase(link) : peer->second.ins.erase(link);
  state_->ring_bell();
  return removed == 1 ? ok()
                      : Error(ErrorCode::kNotFound, "link " + std::to_string(link) + " is not carried");
}

Status Proxy::disconnect(const std::string& name, Carrier carrier) {
  auto lock = state_->enter();
  const auto peer = state_->peers.find({name, carrier});
  if (peer == state_->peers.end()) return Error(ErrorCode::kNotFound, "no such peer: " + name);
  state_->drop(peer->second, std::chrono::steady_clock::now(),
               Error(ErrorCode::kUnavailable, "cut on demand"));
  state_->ring_bell();
  return ok();
}

std::vector<LinkStats> Proxy::links() const {
  auto lock = state_->enter();
  std::vector<LinkStats> all;
  for (const auto& [key, peer] : state_->peers) {
    for (const auto& [number, half] : peer.outs) all.push_back(half->stats());
    for (const auto& [number, half] : peer.ins) all.push_back(half->stats());
    for (LinkStats& stats : all) {
      if (!stats.peer.empty()) continue;
      stats.peer = peer.name;
      stats.carrier = peer.carrier;
      stats.connected = peer.up();
    }
  }
  return all;
}

std::vector<PeerStats> Proxy::peers() const {
  auto lock = state_->enter();
  std::vector<PeerStats> all;
  for (const auto& [key, peer] : state_->peers) {
    all.push_back(peer.stats);
    all.back().name = peer.name;
    all.back().carrier = peer.carrier;
    all.back().connected = peer.up();
  }
  return all;
}

}  // namespace mvm::queuevm
