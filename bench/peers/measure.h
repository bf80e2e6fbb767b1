#pragma once
// What every program of bench/queue does with its channel, so that ours and the peers are measured by the
// same lines. A channel has send(data, size) and receive(data, size) of whole messages, and flush(); it may
// have windows (several messages under way, with one wait for all) and loans (messages written and read in
// place).
//
//   PROGRAM MODE SIZE SECONDS START PINS [WORDS]
//
// MODE   round-trip | stream | pairs | idle | fan; and, without these loops, barrier
// START  seconds since 1970 at which `pairs` begins in all processes at once
// PINS   cores by rank, "0,1", or "-": wherever the system puts them
// WORDS  "dirty": every byte is written before and read after; "window", "in-place"
//
// A line "KEY VALUE" on standard output for each figure; bench/queue knows what they mean.
#include <sched.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace measure {

struct Config {
  std::string mode;
  std::size_t size = 8;
  double seconds = 0.1;
  double start = 0;
  std::string pins;
  bool dirty = false;
  bool window = false;
  bool in_place = false;
};

inline Config read_arguments(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s MODE SIZE SECONDS START PINS [dirty] [window] [in-place]\n", argv[0]);
    std::exit(2);
  }
  Config config{argv[1], std::strtoul(argv[2], nullptr, 10), std::strtod(argv[3], nullptr),
                std::strtod(argv[4], nullptr), argv[5]};
  for (int i = 6; i < argc; ++i) {
    const std::string word = argv[i];
    config.dirty |= word == "dirty";
    config.window |= word == "window";
    config.in_place |= word == "in-place";
  }
  return config;
}

inline double clock_of(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}
inline double now() { return clock_of(CLOCK_MONOTONIC); }

/// The rank-th of the pins' cores, over and over.
inline void pin(const Config& config, unsigned rank) {
  if (config.pins == "-") return;
  std::vector<int> cores;
  for (const char* at = config.pins.c_str(); *at != '\0';) {
    char* end = nullptr;
    cores.push_back(static_cast<int>(std::strtol(at, &end, 10)));
    at = *end == ',' ? end + 1 : end;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cores[rank % cores.size()]), &set);
  sched_setaffinity(0, sizeof set, &set);
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// Writes every byte; the first 8 are `stop`.
inline void fill(char* data, std::size_t size, std::uint64_t stop) {
  std::memset(data, static_cast<int>(stop) | 2, size);
  std::memcpy(data, &stop, 8);
}

/// Reads every byte.
inline std::uint64_t sum(const char* data, std::size_t size) {
  typedef long long Vector __attribute__((vector_size(64), aligned(1), may_alias));
  Vector first{};
  Vector second{};
  std::size_t i = 0;
  for (; i + 128 <= size; i += 128) {
    first += *reinterpret_cast<const Vector*>(data + i);
    second += *reinterpret_cast<const Vector*>(data + i + 64);
  }
  first += second;
  std::uint64_t total = 0;
  for (int j = 0; j < 8; ++j) total += static_cast<std::uint64_t>(first[j]);
  return total;
}
inline volatile std::uint64_t sink = 0;

template <class Channel>
constexpr bool has_loans = requires(Channel& channel) {
  channel.reserve(8);
};
template <class Channel>
constexpr bool has_windows = requires(Channel& channel) {
  channel.send_window(nullptr, 8, 1);
};

/// One side of the measurements between a pair. Messages begin with a u64: 0, or 1 in the last one.
template <class Channel>
class Pair {
 public:
  Pair(Channel& channel, const Config& config)
      : channel_(channel),
        config_(config),
        out_(std::max<std::size_t>(config.size, 8) * (config.window ? kWindow : 1)),
        in_(out_.size()) {}

  void lead() {
    if (config_.mode == "round-trip") lead_round_trips();
    if (config_.mode == "pairs") lead_pairs();
    if (config_.mode == "stream") lead_stream();
    if (config_.mode == "idle") lead_idle();
  }
  void follow() {
    if (config_.mode == "round-trip" || config_.mode == "pairs") follow_round_trips();
    if (config_.mode == "stream") follow_stream();
    if (config_.mode == "idle") follow_idle();
  }

 private:
  static constexpr int kWindow = 64;

  __attribute__((always_inline)) void put(std::uint64_t stop) {
    if constexpr (has_loans<Channel>) {
      if (config_.in_place) {
        char* room = channel_.reserve(config_.size);
        if (config_.dirty)
          fill(room, config_.size, stop);
        else
          std::memcpy(room, &stop, 8);
        channel_.commit(config_.size);
        return;
      }
    }
    if (config_.dirty)
      fill(out_.data(), config_.size, stop);
    else
      std::memcpy(out_.data(), &stop, 8);
    channel_.send(out_.data(), config_.size);
  }

  __attribute__((always_inline)) std::uint64_t get() {
    std::uint64_t stop = 0;
    if constexpr (has_loans<Channel>) {
      if (config_.in_place) {
        const char* data = channel_.peek();
        std::memcpy(&stop, data, 8);
        if (config_.dirty) sink = sink + sum(data, config_.size);
        channel_.release();
        return stop;
      }
    }
    channel_.receive(in_.data(), config_.size);
    if (config_.dirty) sink = sink + sum(in_.data(), config_.size);
    std::memcpy(&stop, in_.data(), 8);
    return stop;
  }

  void lead_round_trips() {
    const double warm = now();
    for (int i = 0; i < 2000 && now() - warm < config_.seconds / 4; ++i) put(0), get();
    std::vector<double> batches;
    long each = 1;
    const double begin = now();
    for (double at = begin; at - begin < config_.seconds;) {
      const double from = at;
      for (long i = 0; i < each; ++i) put(0), get();
      at = now();
      batches.push_back((at - from) / static_cast<double>(each) / 2 * 1e6);
      if (at - from < 2e-4 && each < 100000) {  // batches of about 0.2 ms
        each *= 2;
        batches.clear();
      }
    }
    put(1), get();
    channel_.flush();
    std::printf("half_us %.4f\n", median(batches));
  }

  void follow_round_trips() {
    for (std::uint64_t stop = 0; stop == 0;) {
      stop = get();
      put(stop);
    }
    channel_.flush();
  }

  void lead_pairs() {
    for (int i = 0; i < 100; ++i) put(0), get();
    const double wait = config_.start - clock_of(CLOCK_REALTIME);
    if (wait < 0) std::printf("late %.3f\n", -wait);
    if (wait > 0) usleep(static_cast<useconds_t>(wait * 1e6));
    long trips = 0;
    const double begin = now();
    double at = begin;
    for (; at - begin < config_.seconds; at = now()) {
      for (int i = 0; i < 20; ++i) put(0), get();
      trips += 20;
    }
    put(1), get();
    channel_.flush();
    std::printf("trips_per_second %.1f\n", static_cast<double>(trips) / (at - begin));
  }

  long send_for(double seconds) {
    long each = 1;
    long sent = 0;
    const double begin = now();
    for (double at = begin; at - begin < seconds;) {
      const double from = at;
      for (long i = 0; i < each; ++i) put(0);
      at = now();
      sent += each;
      if (at - from < 1e-4 && each < 100000) each *= 2;
    }
    put(1);
    channel_.flush();
    return sent + 1;
  }

  long send_windows_for(double seconds) {
    long sent = 0;
    const double begin = now();
    for (bool last = false; !last;) {
      last = now() - begin >= seconds;
      for (int repeat = last || config_.size > 8 ? 1 : 100; repeat > 0; --repeat) {
        const std::uint64_t stop = last ? 1 : 0;
        for (int i = 0; i < kWindow && config_.dirty; ++i)
          fill(out_.data() + static_cast<std::size_t>(i) * config_.size, config_.size, stop);
        std::memcpy(out_.data(), &stop, 8);
        if constexpr (has_windows<Channel>) channel_.send_window(out_.data(), config_.size, kWindow);
        sent += kWindow;
      }
    }
    return sent;
  }

  void receive_windows() {
    for (std::uint64_t stop = 0; stop == 0;) {
      if constexpr (has_windows<Channel>) channel_.receive_window(in_.data(), config_.size, kWindow);
      for (int i = 0; i < kWindow && config_.dirty; ++i)
        sink = sink + sum(in_.data() + static_cast<std::size_t>(i) * config_.size, config_.size);
      std::memcpy(&stop, in_.data(), 8);
    }
  }

  void lead_stream() {
    char ack[8]{};
    for (const double seconds : {config_.seconds / 4, config_.seconds}) {  // warm, then measured
      const double begin = now();
      const long sent = config_.window ? send_windows_for(seconds) : send_for(seconds);
      channel_.receive(ack, sizeof ack);
      const double took = now() - begin;
      if (seconds == config_.seconds)
        std::printf("messages_per_second %.1f\n", static_cast<double>(sent) / took);
    }
  }

  void follow_stream() {
    char ack[8]{};
    for (int round = 0; round < 2; ++round) {
      if (config_.window)
        receive_windows();
      else
        while (get() == 0) {
        }
      channel_.send(ack, sizeof ack);
      channel_.flush();
    }
  }

  void lead_idle() {
    put(0), get();
    usleep(static_cast<useconds_t>(config_.seconds * 1e6));
    put(1), get();
    channel_.flush();
  }
  void follow_idle() {
    get(), put(0);
    const double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    const double begin = now();
    get();
    std::printf("cpu_share %.6f\n", (clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (now() - begin));
    put(1);
    channel_.flush();
  }

  Channel& channel_;
  const Config& config_;
  std::vector<char> out_;
  std::vector<char> in_;
};

/// One producer of `consumers`: sends for a while, then one last message for each of them, which it returns.
template <class Send>
std::vector<char> fan_out(const Config& config, int consumers, Send send) {
  std::vector<char> message(std::max<std::size_t>(config.size, 8));
  std::printf("begin %.6f\n", clock_of(CLOCK_REALTIME));
  const double begin = now();
  while (now() - begin < config.seconds) {
    for (int i = 0; i < 64; ++i) send(message.data());
  }
  message[0] = 1;
  for (int i = 0; i < consumers; ++i) send(message.data());
  return message;
}

/// One of the consumers: until the last message.
template <class Receive>
void fan_in(const Config& config, Receive receive) {
  std::vector<char> message(std::max<std::size_t>(config.size, 8));
  long got = 0;
  do {
    receive(message.data());
    ++got;
  } while (message[0] == 0);
  std::printf("got %ld\nend %.6f\n", got, clock_of(CLOCK_REALTIME));
}

}  // namespace measure
