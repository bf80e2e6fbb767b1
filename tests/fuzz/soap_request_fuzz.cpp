// A request from its first byte: HTTP header, guard, gSOAP, the broker's services. Whatever comes, the answer
// is a whole HTTP answer, the guard judges pieces as it judges the whole, and nothing is stored for
// strangers.

#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "exchange.h"
#include "fakes/fake_broker_api.h"

namespace {

using namespace mvm::soap;

class NoPlaces final : public Places {
 public:
  bool move(Place, Place) override { return true; }
  [[nodiscard]] bool stopping() const override { return true; }  // nobody waits
};

void check(bool good) {
  if (!good) std::abort();
}

void guard_agrees_with_itself(std::string_view text) {
  XmlGuard whole, pieces;
  const auto verdict = whole.feed(text);
  auto last = XmlGuard::Verdict::kGood;
  for (std::size_t at = 0; at < text.size(); at += 7) last = pieces.feed(text.substr(at, 7));
  check(verdict == last && whole.done() == pieces.done());
}

struct World {
  FakeBrokerApi fake;
  BrokerApi api = fake.api();
  Identity identity;
  Services services{.identity = &identity, .broker = &api};
  ServerOptions options;
  NoPlaces places;
  int sockets[2] = {-1, -1};
  struct soap* context = make_context();
  World() {
    identity.add({.secret = "known", .caller = {.user = "ada", .role = "user", .lab = {}}});
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) == 0);
    options.limits.stall = std::chrono::milliseconds(1);
  }
  /// What a streamed answer left in the socket.
  void drain() const {
    char piece[4096];
    while (::recv(sockets[1], piece, sizeof piece, 0) > 0) {
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World& world = *new World;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  guard_agrees_with_itself(text);
  const HttpParse parse = parse_http_head(text, 16384, 64);
  if (parse.kind != HttpParse::Kind::kDone || parse.head.method != "POST" || parse.head.chunked) return 0;
  HttpHead head = parse.head;
  head.content_length = size - head.size;  // the loop hands over whole bodies only
  const std::uint64_t before = world.fake.blob_bytes();
  Connection connection(world.sockets[0], nullptr);
  Exchange exchange(world.options, world.services, world.places, connection, head, text.substr(head.size),
                    false, Place::kWorker);
  exchange.run(world.context);
  const std::string answer = exchange.take_answer();
  check(answer.empty() || answer.starts_with("HTTP/1.1 "));
  const bool stranger = text.find("known") == std::string_view::npos;
  check(!stranger || world.fake.blob_bytes() == before);
  world.drain();
  return 0;
}
