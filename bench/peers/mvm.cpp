// Ours: a role's process, over links that its topology made.
#include <mvm.h>

#include "measure.h"

namespace {

[[noreturn]] void die() {
  std::fprintf(stderr, "%s\n", mvm_error());
  std::exit(1);
}

struct Ports {
  int in = mvm_port("in", 0);
  int out = mvm_port("out", 0);
  void send(const char* data, std::size_t size) {
    if (mvm_enqueue(out, data, size, nullptr) != MVM_OK) die();
  }
  void receive(char* data, std::size_t size) {
    if (mvm_dequeue(in, data, size, nullptr) < 0) die();
  }
  char* reserve(std::size_t size) {
    void* room = nullptr;
    if (mvm_reserve(out, size, &room, nullptr) != MVM_OK) die();
    return static_cast<char*>(room);
  }
  void commit(std::size_t size) {
    if (mvm_commit(out, size) != MVM_OK) die();
  }
  const char* peek() {
    const void* data = nullptr;
    if (mvm_peek(in, &data, nullptr) < 0) die();
    return static_cast<const char*>(data);
  }
  void release() {
    if (mvm_release(in) != MVM_OK) die();
  }
  void flush() {}
};

// Everybody has heard of everybody.
void barrier() {
  for (unsigned i = 0; i < mvm_count(); ++i) {
    if (i != mvm_index() && mvm_enqueue(mvm_port("to", i), "", 0, nullptr) != MVM_OK) die();
  }
  for (unsigned i = 0; i < mvm_count(); ++i) {
    char none = 0;
    if (i != mvm_index() && mvm_dequeue(mvm_port("from", i), &none, 1, nullptr) < 0) die();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const measure::Config config = measure::read_arguments(argc, argv);
  if (mvm_attach() != MVM_OK) die();
  const std::string role = mvm_role();
  Ports ports;
  if (role == "source") {
    measure::fan_out(config, 4, [&](const char* data) { ports.send(data, config.size); });
  } else if (role == "worker") {
    measure::fan_in(config, [&](char* data) { ports.receive(data, config.size); });
  } else if (role == "member") {
    barrier();
    std::printf("passed %.6f\n", measure::clock_of(CLOCK_REALTIME));
  } else {
    measure::pin(config, role == "lead" ? 0 : 1);
    measure::Pair pair(ports, config);
    role == "lead" ? pair.lead() : pair.follow();
  }
  return mvm_detach() == MVM_OK ? 0 : 1;
}
