// What codecs cost: GB/s of messages through each chain on one core, encoding and decoding apart, and from a
// producer to a consumer through two proxies over loopback TCP that apply it.
//
//   codecs CONTENT-FILE SIZE SECONDS CHAIN    (words of the chain separated by blanks; "" is none)
//
// prints: encode decode ratio link
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

#include "mvm/base/log.h"
#include "mvm/queuevm/codecs/builtin.h"
#include "mvm/queuevm/proxy.h"

namespace {

using namespace mvm::queuevm;
using Clock = std::chrono::steady_clock;

const std::string kKey(kCodecKeySize, 'k');

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <class T>
T must(mvm::Result<T> result, const char* what) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s: %s\n", what, result.error().describe().c_str());
  std::exit(1);
}

/// GB/s of a step that handles `size` bytes.
template <class Step>
double rate(std::size_t size, double seconds, Step step) {
  const auto start = Clock::now();
  std::uint64_t count = 0;
  while ((count & 15) != 0 || seconds_since(start) < seconds) {
    step();
    ++count;
  }
  return static_cast<double>(count * size) / seconds_since(start) / 1e9;
}

std::unique_ptr<Proxy> proxy(const std::string& domain) {
  Proxy::Options options;
  options.domain = domain;
  options.secret = "0123456789abcdef";
  options.codecs = codecs::builtin();
  return must(Proxy::start(std::move(options)), "proxy");
}

void carry(Proxy& at, LinkHalf::Flow flow, const std::string& peer, const Queue& queue,
           const std::vector<std::string>& specs) {
  LinkHalf half;
  half.link = 1;
  half.flow = flow;
  half.peer = peer;
  half.descriptor = must(queue.open_descriptor(), "descriptor");
  half.codecs = specs;
  half.key = kKey;
  if (!at.add_link(std::move(half))) std::exit(1);
}

double through_proxies(std::span<const std::byte> message, double seconds,
                       const std::vector<std::string>& specs) {
  const Queue from = must(Queue::create_in_memory({.bytes = 4 << 20}, "bench"), "queue");
  const Queue to = must(Queue::create_in_memory({.bytes = 4 << 20}, "bench"), "queue");
  const auto a = proxy("a");
  const auto b = proxy("b");
  const auto port = must(b->listen("127.0.0.1", 0), "listen");
  if (!a->add_peer("b", "127.0.0.1", port) || !b->add_peer("a")) std::exit(1);
  carry(*a, LinkHalf::Flow::kOutgoing, "b", from, specs);
  carry(*b, LinkHalf::Flow::kIncoming, "a", to, specs);
  Consumer consumer = must(to.consumer(0), "consumer");
  std::thread producing([&] {
    Producer producer = must(from.producer(0), "producer");
    const auto start = Clock::now();
    while (seconds_since(start) < seconds)
      static_cast<void>(must(producer.put(message, std::chrono::seconds(10)), "put"));
    static_cast<void>(producer.close(EndState::kDone));
  });
  std::uint64_t bytes = 0;
  Clock::time_point first;
  for (;;) {
    MessageView view;
    if (must(consumer.take(view, std::chrono::seconds(30)), "take") != Outcome::kDone) break;
    if (bytes == 0) first = Clock::now();
    bytes += view.data.size();
    static_cast<void>(consumer.release(view));
  }
  const double rate = static_cast<double>(bytes) / seconds_since(first) / 1e9;
  producing.join();
  return rate;
}

}  // namespace

int main(int count, char** words) {
  if (count != 5) return 2;
  mvm::log::start("codecs", mvm::log::Level::kError, "");
  std::ifstream file(words[1], std::ios::binary);
  std::vector<char> content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::size_t size = std::strtoul(words[2], nullptr, 10);
  const double seconds = std::strtod(words[3], nullptr);
  if (content.empty() || size == 0) return 2;
  while (content.size() < size) content.insert(content.end(), content.begin(), content.end());
  content.resize(size);
  const auto message = std::as_bytes(std::span(content));
  std::vector<std::string> specs;
  std::istringstream chain_text(words[4]);
  for (std::string word; chain_text >> word;) specs.push_back(word);

  CodecChain chain = must(CodecChain::make(*codecs::builtin(), specs, kKey), "chain");
  const MessageHead head;
  std::size_t encoded_size = 0;
  const double encode =
      rate(size, seconds, [&] { encoded_size = must(chain.encode(message, head), "encode").size(); });
  const auto view = must(chain.encode(message, head), "encode");
  const std::vector<std::byte> encoded(view.begin(), view.end());
  const double decode =
      rate(size, seconds, [&] { static_cast<void>(must(chain.decode(encoded, head, size), "decode")); });
  std::printf("%g %g %g %g\n", encode, decode, static_cast<double>(size) / static_cast<double>(encoded_size),
              through_proxies(message, seconds, specs));
  return 0;
}
