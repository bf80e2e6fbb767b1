// A job's process for the tests: `send N [PAUSE_MS]` numbers the messages of port "out"; `receive` prints
// those of port "in" and how the stream ended.
#include <mvm.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

int main(int argc, char** argv) {
  if (mvm_attach() != MVM_OK) {
    std::fprintf(stderr, "attach: %s\n", mvm_error());
    return 9;
  }
  std::printf("%s %s[%u] of %u, color %s\n", mvm_job(), mvm_role(), mvm_index(), mvm_count(),
              mvm_param("color") != nullptr ? mvm_param("color") : "?");
  std::fflush(stdout);
  if (argc > 2 && std::strcmp(argv[1], "send") == 0) {
    const int port = mvm_port("out", 0);
    for (int i = 0; i < std::atoi(argv[2]); ++i) {
      char text[32];
      std::snprintf(text, sizeof text, "message %d", i);
      if (mvm_enqueue(port, text, std::strlen(text), nullptr) < 0) {
        std::printf("enqueue: %s\n", mvm_error());
        return 8;
      }
      if (argc > 3) ::usleep(static_cast<unsigned>(std::atoi(argv[3])) * 1000);
    }
    return 0;
  }
  const int port = mvm_port("in", 0);
  char text[64];
  for (;;) {
    const long got = mvm_dequeue(port, text, sizeof text, nullptr);
    if (got < 0) {
      std::printf("%s\n", got == MVM_EOS ? "end" : got == MVM_PEERDEAD ? "peer dead" : mvm_error());
      return got == MVM_EOS ? 0 : 7;
    }
    std::printf("%.*s\n", static_cast<int>(got), text);
    std::fflush(stdout);
  }
}
