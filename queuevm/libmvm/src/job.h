// SPDX-License-Identifier: Apache-2.0
#pragma once
// This process's place in its job: what mvm_attach received.

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "port.h"
#include "wire.h"

namespace mvm::lib {

class Job {
 public:
  ~Job();
  /// Joins over the socket `fd`. MVM_OK, or what failed and why.
  static int attach(int fd, std::unique_ptr<Job>& job, std::string& why);
  /// A thread comes to a port that another used before, or whose wiring is not the latest: the port is its
  /// own from here on, and the wiring's. So are those ports that no thread, or this one, used last; the
  /// others wait for their threads. Any thread.
  int enter(Port& port, std::string& why);
  void close(ring::SlotState how);
  /// How many processes the role has by the latest wiring. Any thread.
  [[nodiscard]] unsigned count();

  /// What stays for the life of the process: job, role, parameters.
  [[nodiscard]] const wire::Table& table() const { return table_; }
  /// By the latest wiring that a thread has taken. Any thread.
  [[nodiscard]] unsigned index() const { return index_.load(std::memory_order_relaxed); }
  /// Ports have their places for the life of the process; a new wiring may add some behind them. Any thread.
  [[nodiscard]] std::span<const std::unique_ptr<Port>> ports() const {
    const std::size_t known = known_.load(std::memory_order_acquire);
    return {ports_.data(), known};
  }
  [[nodiscard]] int find(const char* name, unsigned index) const;
  [[nodiscard]] ring::Interrupt interrupt() const;
  [[nodiscard]] pid_t process() const { return process_; }

 private:
  Job() = default;
  int fetch(std::string& why);
  ssize_t ask(std::uint32_t first, unsigned char* reply, std::size_t room, std::vector<int>& fds);
  int receive(wire::Table& table, std::vector<int>& descriptors, std::string& why);
  int map_table(int fd, std::string& why);
  int read_table(wire::Table& table, std::string& why);
  int hand_out(wire::Table& table, std::vector<int>& descriptors, std::string& why);
  void adopt_own();
  [[nodiscard]] bool stale() const;

  std::mutex mutex_;  // of the wiring: everything below, and which thread a port belongs to
  int socket_ = -1;
  pid_t process_ = 0;
  /// A mapping of a table. All are kept: ports may still be waiting on an older one.
  struct Mapping {
    const unsigned char* memory;
    std::size_t size;
    std::uint64_t device;
    std::uint64_t inode;
  };
  const unsigned char* memory_ = nullptr;  // the latest
  std::size_t mapped_ = 0;
  std::vector<Mapping> mappings_;
  std::uint32_t generation_ = 0;  // low half, as stored
  wire::Table table_;
  std::atomic<unsigned> index_ = 0;
  unsigned count_ = 0;                        // under the mutex
  std::vector<std::unique_ptr<Port>> ports_;  // never moves in memory
  std::atomic<std::size_t> known_ = 0;        // of them, for all threads
};

}  // namespace mvm::lib
