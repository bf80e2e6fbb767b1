// Two processes, each on a core of its own, and the queues between them: through the public API, on links
// given by a wiring table. The peer is a pair of UNIX sockets; both run alternately, and medians of the
// repetitions are printed as bench/all wants them: name, ours, peer, unit, ratio, bar.
//
//   queue [ROW...] [--repetitions N]
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "mvm.h"
#include "mvm/base/subprocess.h"
#include "mvm/queuevm/attach_server.h"

namespace {

using mvm::queuevm::AttachServer;
using mvm::queuevm::Direction;
using mvm::queuevm::Queue;
using mvm::queuevm::Wiring;
using mvm::queuevm::WiringTable;

struct Row {
  const char* name;
  std::size_t size;
  long count;     // round trips, or messages
  bool stream;    // one way, else to and fro
  bool dirty;     // every byte is written and read
  bool in_place;  // without a copy
  const char* unit;
};

constexpr Row kRows[] = {
    {"queue.half-round-trip.8", 8, 200000, false, false, false, "us"},
    {"queue.half-round-trip.1k", 1024, 100000, false, false, false, "us"},
    {"queue.half-round-trip.64k.dirty", 65536, 5000, false, true, false, "us"},
    {"queue.rate.8", 8, 5000000, true, false, false, "M/s"},
    {"queue.stream.64k", 65536, 40000, true, false, false, "GB/s"},
    {"queue.stream.64k.dirty", 65536, 30000, true, true, false, "GB/s"},
    {"queue.stream.64k.dirty.in-place", 65536, 30000, true, true, true, "GB/s"},
};

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "bench/queue: %s\n", what);
  std::_Exit(1);
}

/// One side's way to send and receive whole messages.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual void send(const char* data, std::size_t size) = 0;
  virtual void receive(char* data, std::size_t size) = 0;
};

class Ours : public Channel {
 public:
  Ours() {
    if (mvm_attach() != MVM_OK) die(mvm_error());
    in_ = mvm_port("in", 0);
    out_ = mvm_port("out", 0);
  }
  void send(const char* data, std::size_t size) override {
    if (mvm_enqueue(out_, data, size, nullptr) != MVM_OK) die(mvm_error());
  }
  void receive(char* data, std::size_t size) override {
    if (mvm_dequeue(in_, data, size, nullptr) != static_cast<int64_t>(size)) die(mvm_error());
  }
  [[nodiscard]] int in() const { return in_; }
  [[nodiscard]] int out() const { return out_; }

 private:
  int in_ = -1;
  int out_ = -1;
};

class Sockets : public Channel {
 public:
  explicit Sockets(int fd) : fd_(fd) {}
  void send(const char* data, std::size_t size) override {
    for (std::size_t done = 0; done < size;) {
      const ssize_t put = ::write(fd_, data + done, size - done);
      if (put <= 0) die("write to a socket");
      done += static_cast<std::size_t>(put);
    }
  }
  void receive(char* data, std::size_t size) override {
    for (std::size_t done = 0; done < size;) {
      const ssize_t got = ::read(fd_, data + done, size - done);
      if (got <= 0) die("read from a socket");
      done += static_cast<std::size_t>(got);
    }
  }

 private:
  int fd_;
};

unsigned long sum_of(const char* data, std::size_t size) {
  unsigned long sum = 0;
  for (std::size_t i = 0; i < size; i += 8) {
    unsigned long word = 0;
    std::memcpy(&word, data + i, 8);
    sum += word;
  }
  return sum;
}

volatile unsigned long sink = 0;

void run_in_place(const Row& row, Ours& ours, bool first) {
  for (long i = 0; i < row.count; ++i) {
    if (first) {
      void* room = nullptr;
      if (mvm_reserve(ours.out(), row.size, &room, nullptr) != MVM_OK) die(mvm_error());
      std::memset(room, static_cast<int>(i), row.size);
      mvm_commit(ours.out(), row.size);
    } else {
      const void* data = nullptr;
      if (mvm_peek(ours.in(), &data, nullptr) < 0) die(mvm_error());
      sink = sink + sum_of(static_cast<const char*>(data), row.size);
      mvm_release(ours.in());
    }
  }
}

/// One of the two processes. The first measures: it prints seconds.
int child(const Row& row, bool first, bool peer) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(first ? 0 : 1, &cores);
  ::sched_setaffinity(0, sizeof cores, &cores);
  std::unique_ptr<Channel> channel;
  if (peer) {
    channel = std::make_unique<Sockets>(8);
  } else {
    channel = std::make_unique<Ours>();
  }
  std::vector<char> buffer(row.size, 'x');
  // Both are there, and warm.
  for (int i = 0; i < 1000; ++i) {
    if (first) channel->send(buffer.data(), row.size);
    channel->receive(buffer.data(), row.size);
    if (!first) channel->send(buffer.data(), row.size);
  }
  const auto begin = std::chrono::steady_clock::now();
  if (row.in_place && !peer) {
    run_in_place(row, static_cast<Ours&>(*channel), first);
  } else {
    for (long i = 0; i < row.count; ++i) {
      if (first) {
        if (row.dirty) std::memset(buffer.data(), static_cast<int>(i), row.size);
        channel->send(buffer.data(), row.size);
      }
      if (!first || !row.stream) {
        channel->receive(buffer.data(), row.size);
        if (row.dirty) sink = sink + sum_of(buffer.data(), row.size);
      }
      if (!first && !row.stream) {
        if (row.dirty) std::memset(buffer.data(), static_cast<int>(i), row.size);
        channel->send(buffer.data(), row.size);
      }
    }
  }
  if (row.stream) {  // until the last one has arrived
    if (first)
      channel->receive(buffer.data(), row.size);
    else
      channel->send(buffer.data(), row.size);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (first) std::printf("%.9f\n", took.count());
  return 0;
}

Wiring wiring_of(std::uint32_t in, std::uint32_t out) {
  Wiring wiring;
  wiring.job = "bench";
  wiring.role = "end";
  wiring.descriptors = 2;
  wiring.ports = {{"in", 0, Direction::kIn, mvm::queuevm::Deliver::kOneOf, {{in, in, 0}}},
                  {"out", 0, Direction::kOut, mvm::queuevm::Deliver::kOneOf, {{out, out, 0}}}};
  return wiring;
}

/// Starts both processes over fresh queues or sockets; the seconds the first measured.
double once(const Row& row, bool peer) {
  mvm::queuevm::QueueSpec spec;
  spec.bytes = 4 << 20;
  spec.capacity = 1 << 20;
  std::vector<Queue> queues;
  queues.reserve(2);
  for (int i = 0; i < 2; ++i) queues.push_back(Queue::create_in_memory(spec, "bench").value());
  int pair[2];
  int output[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || ::pipe2(output, O_CLOEXEC) != 0)
    die("sockets");
  std::vector<WiringTable> tables;
  std::vector<std::unique_ptr<AttachServer>> servers;
  std::vector<mvm::Subprocess> children;
  tables.push_back(WiringTable::create(wiring_of(0, 1)).value());
  tables.push_back(WiringTable::create(wiring_of(1, 0)).value());
  for (std::size_t i = 0; i < 2; ++i) {
    auto sockets = AttachServer::make_sockets().value();
    servers.push_back(std::make_unique<AttachServer>(
        std::move(sockets.first), tables[i], [&](std::uint32_t n) { return queues[n].open_descriptor(); }));
    mvm::SpawnOptions options;
    options.argv = {"/proc/self/exe", "--child", row.name, i == 0 ? "first" : "second",
                    peer ? "peer" : "ours"};
    options.environment = {{"MVM_FD", "7"}};
    options.descriptors = {{sockets.second.get(), 7}, {pair[i], 8}};
    options.standard_output = output[1];
    children.push_back(mvm::Subprocess::spawn(options).value());
  }
  for (const int fd : {pair[0], pair[1], output[1]}) ::close(fd);
  for (std::size_t open = peer ? 0 : 2; open > 0;) {
    pollfd items[] = {{servers[0] ? servers[0]->fd() : -1, POLLIN, 0},
                      {servers[1] ? servers[1]->fd() : -1, POLLIN, 0}};
    ::poll(items, 2, -1);
    for (std::size_t i = 0; i < 2; ++i) {
      if (items[i].revents == 0 || !servers[i]) continue;
      if (!servers[i]->on_readable() || servers[i]->attached()) {
        servers[i].reset();
        --open;
      }
    }
  }
  char text[64]{};
  const ssize_t got = ::read(output[0], text, sizeof text - 1);
  ::close(output[0]);
  for (auto& process : children) {
    if (!process.wait().success()) die("a process failed");
  }
  return got > 0 ? std::strtod(text, nullptr) : 0;
}

double figure(const Row& row, double seconds) {
  const auto count = static_cast<double>(row.count);
  if (!row.stream) return seconds / count / 2 * 1e6;
  return std::string(row.unit) == "M/s" ? count / seconds / 1e6
                                        : count * static_cast<double>(row.size) / seconds / 1e9;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 5 && std::string(argv[1]) == "--child") {
    for (const Row& row : kRows) {
      if (row.name == std::string(argv[2]))
        return child(row, std::string(argv[3]) == "first", std::string(argv[4]) == "peer");
    }
    return 2;
  }
  int repetitions = 7;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--repetitions" && i + 1 < argc)
      repetitions = std::max(1, static_cast<int>(std::strtol(argv[++i], nullptr, 10)));
    else
      wanted.emplace_back(argv[i]);
  }
  for (const Row& row : kRows) {
    const auto names_it = [&](const std::string& word) { return std::string(row.name).starts_with(word); };
    if (!wanted.empty() && std::none_of(wanted.begin(), wanted.end(), names_it)) continue;
    std::vector<double> ours;
    std::vector<double> peer;
    for (int i = 0; i < repetitions; ++i) {
      ours.push_back(figure(row, once(row, false)));
      peer.push_back(figure(row, once(row, true)));
    }
    const double mine = median(ours);
    const double theirs = median(peer);
    std::printf("%s\t%.4g\t%.4g\t%s\t%.3g\t-\n", row.name, mine, theirs, row.unit, mine / theirs);
    std::fflush(stdout);
  }
  return 0;
}
