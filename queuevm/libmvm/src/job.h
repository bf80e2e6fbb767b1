// SPDX-License-Identifier: Apache-2.0
#pragma once
// This process's place in its job: what mvm_attach received.

#include <sys/types.h>

#include <memory>
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
  /// Asks for the wiring again and joins or leaves links accordingly. Open ports keep their handles.
  int refresh(std::string& why);
  void close(ring::SlotState how);

  [[nodiscard]] const wire::Table& table() const { return table_; }
  [[nodiscard]] std::vector<std::unique_ptr<Port>>& ports() { return ports_; }
  [[nodiscard]] int find(const char* name, unsigned index) const;
  [[nodiscard]] ring::Interrupt interrupt() const;
  [[nodiscard]] pid_t process() const { return process_; }

 private:
  Job() = default;
  int receive(wire::Table& table, std::vector<int>& descriptors, std::string& why);
  int map_table(int fd, std::string& why);
  int read_table(wire::Table& table, std::string& why);
  int join(const wire::Table& table, std::vector<int>& descriptors, std::string& why);
  int join_link(Port& port, const wire::Link& link, std::vector<int>& descriptors, std::string& why);

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
  std::vector<std::unique_ptr<Port>> ports_;
};

}  // namespace mvm::lib
