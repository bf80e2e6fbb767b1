// PVM, direct route: this process starts a virtual machine of its own (PVM_TMP says where its files are),
// spawns the other one, and halts it in the end. Data is packed as it is, without an encoding.
#include <pvm3.h>

#include <csignal>

#include "measure.h"

namespace {

constexpr int kMessage = 1;

[[noreturn]] void die(const char* what) {
  pvm_perror(const_cast<char*>(what));
  pvm_halt();
  std::exit(1);
}

struct Task {
  int id;
  void send(const char* data, std::size_t size) {
    if (pvm_initsend(PvmDataRaw) < 0 || pvm_pkbyte(const_cast<char*>(data), static_cast<int>(size), 1) < 0 ||
        pvm_send(id, kMessage) < 0)
      die("send");
  }
  void receive(char* data, std::size_t size) {
    if (pvm_recv(id, kMessage) < 0 || pvm_upkbyte(data, static_cast<int>(size), 1) < 0) die("receive");
  }
  void flush() {}
};

}  // namespace

int main(int argc, char** argv) {
  const bool spawned = std::getenv("PVMEPID") != nullptr;
  if (!spawned) {
    std::signal(SIGTERM, SIG_IGN);  // halting ends every task
    std::string name = "-nlocalhost";
    char* words[] = {name.data()};
    if (pvm_start_pvmd(1, words, 1) < 0) die("pvmd");
  }
  if (pvm_mytid() < 0) return 1;
  pvm_setopt(PvmRoute, PvmRouteDirect);
  const measure::Config config = measure::read_arguments(argc, argv);
  measure::pin(config, spawned ? 1 : 0);
  if (spawned) {
    Task channel{pvm_parent()};
    measure::Pair(channel, config).follow();
    pvm_exit();
    return 0;
  }
  Task channel{0};
  std::string self(4096, '\0');
  self.resize(
      static_cast<std::size_t>(std::max<ssize_t>(readlink("/proc/self/exe", self.data(), self.size()), 0)));
  if (pvm_spawn(self.data(), argv + 1, PvmTaskDefault, nullptr, 1, &channel.id) != 1) die("spawn");
  measure::Pair(channel, config).lead();
  std::fflush(stdout);
  pvm_halt();
  return 0;
}
