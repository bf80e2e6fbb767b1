// The program that the tests start as a job's process. It knows libmvm and its ports' names, nothing else.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "mvm.h"
#include "mvm.hpp"
#include "queuevm/content.h"

namespace {

int fail(const char* what, long long result) {
  std::printf("%s: %s (%s)\n", what, mvm_strerror(result), mvm_error());
  return 3;
}

volatile sig_atomic_t enough = 0;

// produce COUNT MOST-SIZE [copy|place] [keys]: numbered messages, then the end; SIGTERM ends them sooner.
int produce(long count, std::size_t most, const std::string& how, unsigned keys) {
  const int out = mvm_port("out", 0);
  if (out < 0) return fail("port", out);
  std::mt19937 random(mvm_index() + 1);
  long dropped = 0;
  long full = 0;
  ::signal(SIGTERM, [](int) { enough = 1; });
  long i = 0;
  for (; i < count && enough == 0; ++i) {
    const std::size_t size = most <= 128 ? 16 + random() % (most - 15) : mvm::test::some_size(random, most);
    const auto message = mvm::test::make_message(mvm_index(), static_cast<std::uint64_t>(i), size);
    mvm_opts opts = MVM_OPTS_INIT;
    opts.key = keys == 0 ? 0 : static_cast<std::uint64_t>(i) % keys;
    int result = MVM_OK;
    if (how == "place") {
      void* room = nullptr;
      result = mvm_reserve(out, size + 8, &room, &opts);
      if (result == MVM_OK) {
        std::memcpy(room, message.data(), size);
        result = mvm_commit(out, size);
      }
    } else {
      result = mvm_enqueue(out, message.data(), size, &opts);
    }
    if (result == MVM_DROPPED)
      ++dropped;
    else if (result == MVM_FULL)
      ++full;
    else if (result == MVM_REWIRED)
      --i;
    else if (result != MVM_OK)
      return fail("enqueue", result);
  }
  std::printf("sent %ld dropped %ld full %ld\n", i, dropped, full);
  return 0;
}

// consume [copy|place] [port] [pause-us]: all messages to the end; prints "producer:number" of each.
int consume(const std::string& how, const char* name, unsigned pause) {
  const int in = mvm_port(name, 0);
  if (in < 0) return fail("port", in);
  std::vector<unsigned char> buffer(16);
  std::map<std::uint32_t, std::int64_t> last;
  std::string lines;
  bool disorder = false;
  int deaths = 0;
  for (;;) {
    const void* data = buffer.data();
    std::int64_t size = how == "place" ? mvm_peek(in, &data, nullptr)
                                       : mvm_dequeue(in, buffer.data(), buffer.size(), nullptr);
    if (size == MVM_TOOBIG) {
      const std::int64_t needed = mvm_next_size(in);
      if (needed > 0) buffer.resize(static_cast<std::size_t>(needed));
      continue;
    }
    if (size == MVM_REWIRED) continue;
    if (size == MVM_EOS) break;
    if (size == MVM_PEERDEAD) {
      if (++deaths > 8) break;
      continue;
    }
    if (size < 0) return fail("dequeue", size);
    mvm::test::Stamp stamp;
    if (!mvm::test::check_message(data, static_cast<std::size_t>(size), stamp)) {
      std::printf("torn\n");
      return 4;
    }
    if (how == "place" && mvm_release(in) != MVM_OK) return fail("release", -1);
    auto [known, fresh] = last.emplace(stamp.producer, -1);
    if (static_cast<std::int64_t>(stamp.number) <= known->second) disorder = true;
    known->second = static_cast<std::int64_t>(stamp.number);
    lines += std::to_string(stamp.producer) + ":" + std::to_string(stamp.number) + "\n";
    if (pause != 0) ::usleep(pause);
  }
  if (disorder) std::printf("disorder\n");
  if (deaths != 0) std::printf("deaths %d\n", deaths > 8 ? 1 : deaths);
  std::fputs(lines.c_str(), stdout);
  return disorder ? 5 : 0;
}

// relay: every message from in to out, in C++.
int relay() {
  mvm::In<unsigned char> in(mvm_port("in", 0));
  const mvm::Out<unsigned char> out(mvm_port("out", 0));
  while (auto message = in.receive_all()) {
    if (out.send(*message) != mvm::Sent::kYes) return 6;
  }
  return 0;
}

// wait: from the ports a[0], a[1], b, whichever is ready, to their ends.
int wait_several() {
  const int ports[] = {mvm_port("a", 0), mvm_port("a", 1), mvm_port("b", 0)};
  bool open[] = {true, true, true};
  long counts[] = {0, 0, 0};
  if (mvm_port_size("a") != 2) return 7;
  mvm_opts soon = MVM_OPTS_INIT;
  soon.timeout_ns = MVM_MS(20);
  if (mvm_wait(ports, 3, &soon) != MVM_TIMEOUT) return 8;
  std::printf("idle\n");
  std::fflush(stdout);
  for (int left = 3; left > 0;) {
    int waiting[3];
    int which[3];
    std::size_t count = 0;
    for (int i = 0; i < 3; ++i) {
      if (!open[i]) continue;
      waiting[count] = ports[i];
      which[count++] = i;
    }
    const int ready = mvm_wait(waiting, count, nullptr);
    if (ready < 0) return fail("wait", ready);
    const int at = which[ready];
    unsigned char buffer[4096];
    mvm_opts now = MVM_OPTS_INIT;
    now.timeout_ns = 0;
    const std::int64_t size = mvm_dequeue(ports[at], buffer, sizeof buffer, &now);
    if (size == MVM_EOS) {
      open[at] = false;
      --left;
    } else if (size >= 0) {
      ++counts[at];
    } else {
      return fail("dequeue", size);
    }
  }
  std::printf("%ld %ld %ld\n", counts[0], counts[1], counts[2]);
  return 0;
}

// big SIZE COUNT: long messages through a small queue. bigread: reads them.
int big(std::size_t size, int count) {
  const int out = mvm_port("out", 0);
  for (int i = 0; i < count; ++i) {
    const auto message =
        mvm::test::make_message(0, static_cast<std::uint64_t>(i), size + static_cast<std::size_t>(i));
    if (const int result = mvm_enqueue(out, message.data(), message.size(), nullptr); result != MVM_OK) {
      return fail("enqueue", result);
    }
  }
  return 0;
}

int limits() {
  const int out = mvm_port("out", 0);
  void* room = nullptr;
  const int results[] = {mvm_reserve(out, 4097, &room, nullptr),
                         mvm_reserve(out, 4096, &room, nullptr),
                         mvm_enqueue(out, "x", 1, nullptr),
                         mvm_commit(out, 5000),
                         mvm_cancel(out),
                         mvm_commit(out, 0),
                         mvm_port("nonsense", 0)};
  for (const int result : results) std::printf("%d ", result);
  std::printf("\n%s\n", mvm_error());
  std::printf("%lld\n", static_cast<long long>(mvm_dequeue(out, room, 1, nullptr)));
  return 0;
}

int who() {
  const char* steps = mvm_param("steps");
  std::printf("%s %s %u %u %s %s\n", mvm_job(), mvm_role(), mvm_index(), mvm_count(),
              steps == nullptr ? "-" : steps, mvm_param("none") == nullptr ? "none" : "?");
  return 0;
}

/// Says how many processes the role has until it is one.
int count() {
  unsigned last = 0;
  while (last != 1) {
    const unsigned now = mvm_count();
    if (now != last) {
      std::printf("%u\n", now);
      std::fflush(stdout);
    }
    last = now;
    ::usleep(1000);
  }
  return mvm_count() == 1 ? 0 : 9;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const auto number = [&](int at, long otherwise) {
    return argc > at ? std::strtol(argv[at], nullptr, 10) : otherwise;
  };
  const auto text = [&](int at, const char* otherwise) { return argc > at ? argv[at] : otherwise; };
  if (const int result = mvm_attach(); result != MVM_OK) return fail("attach", result);
  if (what == "produce")
    return produce(number(2, 1), static_cast<std::size_t>(number(3, 64)), text(4, "copy"),
                   static_cast<unsigned>(number(5, 0)));
  if (what == "consume") return consume(text(2, "copy"), text(3, "in"), static_cast<unsigned>(number(4, 0)));
  if (what == "relay") return relay();
  if (what == "wait") return wait_several();
  if (what == "big") return big(static_cast<std::size_t>(number(2, 1 << 20)), static_cast<int>(number(3, 3)));
  if (what == "limits") return limits();
  if (what == "who") return who();
  if (what == "count") return count();
  if (what == "die") {  // in the middle of a message that is larger than the queue
    const int out = mvm_port("out", 0);
    const std::vector<unsigned char> bytes(1 << 20);
    ::alarm(1);
    ::signal(SIGALRM, SIG_DFL);
    mvm_enqueue(out, bytes.data(), bytes.size(), nullptr);
    return 9;
  }
  if (what == "die-writing") {  // a message half of which cannot be read: the copying ends the process
    constexpr std::size_t kHalf = 131072;
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would explain it, and exit
    void* memory = ::mmap(nullptr, 2 * kHalf, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || ::mprotect(static_cast<char*>(memory) + kHalf, kHalf, PROT_NONE) != 0)
      return 9;
    mvm_enqueue(mvm_port("out", 0), memory, 2 * kHalf, nullptr);
    return 9;
  }
  if (what == "exit") return static_cast<int>(number(2, 0));
  return 2;
}
