// A job's process for the tests: `send N [PAUSE_MS]` numbers the messages of port "out"; `receive` prints
// those of port "in" and how the stream ended; `both N PAUSE_MS` does the one in a thread and the other too.
#include <mvm.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

namespace {

int send(int count, int pause_ms) {
  const int port = mvm_port("out", 0);
  for (int i = 0; i < count; ++i) {
    if (pause_ms > 0) ::usleep(static_cast<unsigned>(pause_ms) * 1000);
    char text[32];
    std::snprintf(text, sizeof text, "message %d", i);
    int put = MVM_REWIRED;  // where it waited while its links changed: again
    while (put == MVM_REWIRED) put = mvm_enqueue(port, text, std::strlen(text), nullptr);
    if (put < 0) {
      std::printf("enqueue: %s\n", mvm_error());
      return 8;
    }
  }
  return mvm_port_done(port) == MVM_OK ? 0 : 8;
}

int receive() {
  const int port = mvm_port("in", 0);
  char text[64];
  for (;;) {
    const long got = mvm_dequeue(port, text, sizeof text, nullptr);
    if (got == MVM_REWIRED) continue;  // it waited while its links changed
    if (got < 0) {
      std::printf("%s\n", got == MVM_EOS ? "end" : got == MVM_PEERDEAD ? "peer dead" : mvm_error());
      return got == MVM_EOS ? 0 : 7;
    }
    std::printf("%.*s\n", static_cast<int>(got), text);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (mvm_attach() != MVM_OK) {
    std::fprintf(stderr, "attach: %s\n", mvm_error());
    return 9;
  }
  std::printf("%s %s[%u] of %u, color %s\n", mvm_job(), mvm_role(), mvm_index(), mvm_count(),
              mvm_param("color") != nullptr ? mvm_param("color") : "?");
  std::fflush(stdout);
  const std::string what = argc > 1 ? argv[1] : "";
  const int count = argc > 2 ? static_cast<int>(std::strtol(argv[2], nullptr, 10)) : 0;
  const int pause_ms = argc > 3 ? static_cast<int>(std::strtol(argv[3], nullptr, 10)) : 0;
  if (what == "send") return send(count, pause_ms);
  if (what != "both") return receive();
  int sent = 0;
  std::thread sender([&] { sent = send(count, pause_ms); });
  const int received = receive();
  sender.join();
  return sent != 0 ? sent : received;
}
