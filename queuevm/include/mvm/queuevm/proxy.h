#pragma once
// Carries links between memory domains: from a queue here to a queue there, over one connection per pair of
// domains. docs/formats/link-protocol.md. [MVM 003, §3.2; Harness 004, sl. 27-28]
//
// A link whose ends lie in two domains is two queues. In the producers' domain the proxy holds a consumer
// slot of the first queue (an outgoing half); in the consumers' domain the other proxy holds a producer slot
// of the second (an incoming half). A message leaves the first queue when the second has it, so a broken
// connection loses and doubles nothing. End of stream and death are carried both ways.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/queuevm/codec.h"
#include "mvm/queuevm/queue.h"

namespace mvm::queuevm {

/// What the two ends of a connection know once each has proved itself to the other.
struct Session {
  std::string own, peer;     ///< domains
  std::uint64_t number = 0;  ///< of this connection and no other
  std::size_t unsent = 0;    ///< bytes of the greeting that are still to be written
};

/// A byte stream to a peer, non-blocking. TCP is one; TLS and shared memory are put in by other factories.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Bytes moved (> 0), 0: would block, or an error; end of file is kUnavailable.
  [[nodiscard]] virtual Result<std::size_t> read(std::span<std::byte> buffer) = 0;
  [[nodiscard]] virtual Result<std::size_t> write(std::span<const std::byte> bytes) = 0;
  /// Reads into `first`, and what comes behind it into `second`: one step where the stream can, else two.
  [[nodiscard]] virtual Result<std::size_t> read_both(std::span<std::byte> first,
                                                      std::span<std::byte> second);
  /// Writes pieces, of which there is one at least and none is empty, one behind the other: as many as the
  /// stream takes in one step, at least a part of the first.
  [[nodiscard]] virtual Result<std::size_t> write_pieces(std::span<const std::span<const std::byte>> pieces) {
    return write(pieces.front());
  }
  /// The descriptor to poll.
  [[nodiscard]] virtual int fd() const = 0;
  /// True where progress needs the descriptor writable.
  [[nodiscard]] virtual bool wants_write() const { return false; }
  /// False while it must hear from the peer before it can carry anything.
  [[nodiscard]] virtual bool ready() const { return true; }
  /// The domain that the stream itself proves to be at the other end, once bytes were read; empty: none, as
  /// over plain TCP.
  [[nodiscard]] virtual std::string peer() const { return {}; }
  /// The greeting is over: but for its unsent bytes, all that follows may take another way.
  [[nodiscard]] virtual Status established(const Session&) { return ok(); }
  /// The loop is about to sleep on fd(), which will be readable once there is something to do. False: there
  /// is already.
  [[nodiscard]] virtual bool arm() { return true; }
};

/// Makes a stream of a connected, non-blocking socket. `dialled`: we connected; else we accepted.
using StreamFactory = std::function<std::unique_ptr<ByteStream>(UniqueFd socket, bool dialled)>;
[[nodiscard]] std::unique_ptr<ByteStream> make_tcp_stream(UniqueFd socket, bool dialled);

/// What a connection runs on. Two domains have at most one connection of each.
enum class Carrier {
  kPlain,    ///< TCP
  kSecure,   ///< TLS
  kRegion,   ///< memory that machines of one host share (region.h)
  kPosixMq,  ///< POSIX message queues, within one host
  kBoostMq,  ///< Boost.Interprocess message queues, within one host
};

/// One end of a carried link.
struct LinkHalf {
  std::uint64_t link = 0;  ///< the same number in both domains, unique per pair of domains and direction
  enum class Flow { kOutgoing, kIncoming } flow = Flow::kOutgoing;  ///< seen from here
  std::string peer;                                                 ///< the other domain's name
  Carrier carrier = Carrier::kPlain;                                ///< the peer over this one
  std::filesystem::path queue;  ///< the queue's file here; or, where empty, `descriptor`
  UniqueFd descriptor;          ///< an own open description of a queue without a name
  std::uint32_t slot = 0;       ///< outgoing: a consumer slot; incoming: a producer slot
  std::uint64_t window = 0;     ///< incoming: bytes the peer may have on the way; 0: the queue's bytes
  std::vector<std::string>
      codecs;       ///< applied to what leaves; the same on both sides: docs/formats/codecs.md
  std::string key;  ///< secret of the link, for codecs that need one: kCodecKeySize bytes
};

struct LinkStats {
  std::uint64_t link = 0;
  LinkHalf::Flow flow = LinkHalf::Flow::kOutgoing;
  std::string peer;
  Carrier carrier = Carrier::kPlain;
  bool connected = false;
  bool ended = false;          ///< end of stream or death was carried
  std::uint64_t messages = 0;  ///< outgoing: acknowledged by the peer; incoming: put in the queue
  std::uint64_t bytes = 0;
  std::uint64_t in_flight = 0;  ///< outgoing: sent and not acknowledged
  std::uint64_t resent = 0;
  std::uint64_t duplicates = 0;     ///< incoming: seen before, thrown away
  std::uint64_t undeliverable = 0;  ///< incoming: too big for this end's queue; the link was ended as dead
  std::string codecs;               ///< "zstd:3 encrypt"
  std::string failure;              ///< why a codec ended the link; empty: none did
};

struct PeerStats {
  std::string name;
  Carrier carrier = Carrier::kPlain;
  bool connected = false;
  std::uint64_t connections = 0;  ///< how often a connection came up
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t refused = 0;  ///< connections that failed the handshake or broke the protocol
};

/// What a codec ended.
struct LinkFailure {
  std::uint64_t link = 0;
  std::string peer;
  std::string codecs;         ///< of the link
  std::uint64_t message = 0;  ///< its number
  std::string why;
};

/// One domain's proxy. Public calls are thread-safe and return quickly; a thread of its own moves the data.
class Proxy {
 public:
  struct Options {
    std::string domain;                       ///< this domain's name, unique in the lab, at most 255 bytes
    std::string secret;                       ///< shared by the lab's proxies, at least 16 bytes
    StreamFactory stream = &make_tcp_stream;  ///< of Carrier::kPlain
    std::shared_ptr<const CodecRegistry> codecs;  ///< those that links may name; null: none
    /// Hears of each half of a link that a codec ended, once. On the proxy's thread: must not wait, nor call
    /// the proxy.
    std::function<void(const LinkFailure&)> on_failure;
    std::size_t max_peers = 1024;
    std::chrono::milliseconds handshake_timeout{5000};
    std::chrono::milliseconds redial{50};  ///< first pause before dialling again; doubles up to 40 times it
    std::chrono::milliseconds keepalive{1000};  ///< a peer silent for 10 of these is disconnected (not dead)
  };
  [[nodiscard]] static Result<std::unique_ptr<Proxy>> start(Options options);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  /// Streams of one carrier, for connections made from now on. Without them no peer is reached over it; only
  /// kPlain has some from the beginning.
  void set_streams(Carrier carrier, StreamFactory streams);
  /// Accepts connections at a numeric address. Port 0 picks one; the port is returned. Or at "@NAME", an
  /// abstract UNIX socket of this network namespace, without a port. May be called again for another place,
  /// 8 in all.
  [[nodiscard]] Result<std::uint16_t> listen(const std::string& address, std::uint16_t port,
                                             Carrier carrier = Carrier::kPlain);
  /// Makes a domain known. With an address (as for listen()), we dial it (and again whenever the connection
  /// breaks); without, we wait for it to dial us. Exactly one of the two must dial. Calling again changes the
  /// address. A domain that is reached over both carriers is two peers, each with links of its own; over a
  /// carrier for which it was not added it is not taken.
  Status add_peer(const std::string& name, const std::string& address = "", std::uint16_t port = 0,
                  Carrier carrier = Carrier::kPlain);
  /// Forgets a domain over one carrier; its links there must be gone (kConflict).
  Status remove_peer(const std::string& name, Carrier carrier = Carrier::kPlain);
  /// Begins to carry a link; attaches to the slot. The peer's half may come later or have come before.
  /// kNotFound where it names a codec that is not registered here.
  Status add_link(LinkHalf half);
  /// Stops carrying it. The slot stays attached-but-vacant: close it with Queue::close_end, or add it again.
  Status remove_link(std::uint64_t link, LinkHalf::Flow flow, const std::string& peer,
                     Carrier carrier = Carrier::kPlain);
  /// Cuts the connection to a peer now; it is made again (for tests and for moving a peer).
  Status disconnect(const std::string& peer, Carrier carrier = Carrier::kPlain);

  [[nodiscard]] std::vector<LinkStats> links() const;
  [[nodiscard]] std::vector<PeerStats> peers() const;

 private:
  struct State;
  explicit Proxy(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::queuevm
