// ZeroMQ over ipc: PAIR between two processes, PUSH and PULL from one to four.
#include <sys/wait.h>
#include <zmq.h>

#include "measure.h"

namespace {

constexpr int kConsumers = 4;

struct Socket {
  void* context = zmq_ctx_new();
  void* socket;
  Socket(int type, const std::string& endpoint, bool bind) : socket(zmq_socket(context, type)) {
    if ((bind ? zmq_bind(socket, endpoint.c_str()) : zmq_connect(socket, endpoint.c_str())) != 0) die();
  }
  ~Socket() {
    zmq_close(socket);
    zmq_ctx_term(context);  // after the last message has left
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[noreturn]] static void die() {
    std::fprintf(stderr, "%s\n", zmq_strerror(zmq_errno()));
    std::exit(1);
  }
  void send(const char* data, std::size_t size) {
    if (zmq_send(socket, data, size, 0) < 0) die();
  }
  void receive(char* data, std::size_t size) {
    if (zmq_recv(socket, data, size, 0) < 0) die();
  }
  void flush() {}
};

template <class Body>
void child(Body body) {
  if (fork() != 0) return;
  body();
  std::fflush(stdout);
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const measure::Config config = measure::read_arguments(argc, argv);
  const std::string path = "/tmp/mvm-bench-zmq." + std::to_string(getpid());
  const std::string endpoint = "ipc://" + path;
  if (config.mode == "fan") {
    for (int i = 0; i < kConsumers; ++i) {
      child([&] {
        Socket pull(ZMQ_PULL, endpoint, false);
        measure::fan_in(config, [&](char* data) { pull.receive(data, config.size); });
      });
    }
    child([&] {
      Socket push(ZMQ_PUSH, endpoint, true);
      usleep(300'000);  // until all have connected: PUSH would give the first of them everything
      const std::vector<char> last =
          measure::fan_out(config, 0, [&](const char* data) { push.send(data, config.size); });
      std::fflush(stdout);
      // A consumer whose queue is full is passed over, so four last messages might not reach all four.
      for (int i = 0; i < 200; ++i) {
        zmq_send(push.socket, last.data(), config.size, ZMQ_DONTWAIT);
        usleep(1000);
      }
      const int linger = 0;
      zmq_setsockopt(push.socket, ZMQ_LINGER, &linger, sizeof linger);
    });
  } else {
    for (unsigned rank = 0; rank < 2; ++rank) {
      child([&] {
        measure::pin(config, rank);
        Socket socket(ZMQ_PAIR, endpoint, rank == 1);
        measure::Pair pair(socket, config);
        rank == 0 ? pair.lead() : pair.follow();
      });
    }
  }
  while (wait(nullptr) > 0) {
  }
  unlink(path.c_str());
  return 0;
}
