#pragma once
// What a proxy knows, shared by proxy.cpp (connections, the loop) and proxy_messages.cpp (what goes over
// them).

#include <poll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mvm/queuevm/proxy.h"
#include "proxy_connection.h"
#include "proxy_link.h"
#include "watcher.h"

namespace mvm::queuevm {
namespace link {

inline constexpr std::size_t kOutLimit = 256 << 10;  // bytes a connection may have waiting

struct Peer {
  std::string name;
  std::string address;  // empty: it dials us
  std::uint16_t port = 0;
  Carrier carrier = Carrier::kPlain;
  std::unique_ptr<Connection> connection;
  std::map<std::uint64_t, std::unique_ptr<OutHalf>> outs;
  std::map<std::uint64_t, std::unique_ptr<InHalf>> ins;
  std::uint64_t turn = 0;  // the link that offered its messages first, last time
  Moment untold_since{};   // messages of its wait for their acknowledgement; zero: none
  Moment dial_at{};
  std::chrono::milliseconds pause{0};
  PeerStats stats;
  [[nodiscard]] bool secure() const { return carrier == Carrier::kSecure; }
  [[nodiscard]] bool up() const {
    return connection != nullptr && connection->stage() == Connection::Stage::kReady;
  }
};

/// A domain over one carrier: the same domain over another one is another peer.
using PeerKey = std::pair<std::string, Carrier>;

/// Accepted, not proved yet.
struct Stranger {
  std::unique_ptr<Connection> connection;
  Carrier carrier = Carrier::kPlain;  // of the place where it was accepted
};

}  // namespace link

/// All state is under `mutex`; the thread holds it while it works and lets go while it sleeps.
struct Proxy::State {
  explicit State(Options given) : options(std::move(given)), bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    streams[Carrier::kPlain] = options.stream;
  }

  const Options options;
  const UniqueFd bell;
  mutable std::mutex mutex;
  mutable std::atomic<int> callers{0};  // public calls that want the mutex: the thread makes way
  bool quit = false;
  std::map<Carrier, StreamFactory> streams;
  std::vector<std::pair<UniqueFd, Carrier>> listeners;
  std::list<link::Stranger> strangers;
  std::map<link::PeerKey, link::Peer> peers;
  std::uint64_t refused_strangers = 0;
  std::vector<std::unique_ptr<Watcher>> watchers;
  std::vector<WatchedWord> watched;  // what the watchers watch, unless they rang
  link::Moment look_at{};
  std::thread thread;

  /// The mutex, for a public call.
  [[nodiscard]] std::unique_lock<std::mutex> enter() const {
    callers.fetch_add(1);
    std::unique_lock lock(mutex);
    callers.fetch_sub(1);
    return lock;
  }
  void ring_bell() const { ::eventfd_write(bell.get(), 1); }

  void run();
  bool step(link::Moment now, const std::vector<pollfd>& fds);
  std::vector<pollfd> poll_set() const;
  std::chrono::nanoseconds sleep_time(link::Moment now) const;
  bool arm();
  void stop_watching();

  void accept_all(const UniqueFd& socket, Carrier carrier, link::Moment now);
  bool greet_strangers(link::Moment now);
  void count_refused(const link::Connection& stranger);
  void dial(link::Peer& peer, link::Moment now);
  void drop(link::Peer& peer, link::Moment now, const Error& why);
  void came_up(link::Peer& peer, link::Moment now);
  bool serve(link::Peer& peer, link::Moment now);
  Status read_frames(link::Peer& peer, link::Moment now, bool& progress);
  Status handle(link::Peer& peer, const link::Frame& frame);
  Status move_messages(link::Peer& peer, link::Moment now, bool& progress);
  bool acknowledge(link::Peer& peer);
  bool acknowledge_all(link::Moment now);
  bool offer_messages(link::Peer& peer);
  void tell(const link::Peer& peer, link::Failure& failure) const;
  void keep_alive(link::Peer& peer, link::Moment now);
  void look_around();
};

}  // namespace mvm::queuevm
