// Boost.Interprocess message queue: from one process to four.
#include <sys/wait.h>

#include <boost/interprocess/ipc/message_queue.hpp>

#include "measure.h"

namespace {

constexpr int kConsumers = 4;
constexpr std::size_t kDepth = 4096;
using Queue = boost::interprocess::message_queue;

}  // namespace

int main(int argc, char** argv) {
  const measure::Config config = measure::read_arguments(argc, argv);
  const std::string name = "mvm-bench-boost." + std::to_string(getpid());
  {
    Queue queue(boost::interprocess::create_only, name.c_str(), kDepth, config.size);
    for (int i = 0; i <= kConsumers; ++i) {
      if (fork() != 0) continue;
      std::size_t size = 0;
      unsigned priority = 0;
      if (i < kConsumers) {
        measure::fan_in(config, [&](char* data) { queue.receive(data, config.size, size, priority); });
      } else {
        measure::fan_out(config, kConsumers, [&](const char* data) { queue.send(data, config.size, 0); });
      }
      std::fflush(stdout);
      _exit(0);
    }
    while (wait(nullptr) > 0) {
    }
  }
  Queue::remove(name.c_str());
  return 0;
}
