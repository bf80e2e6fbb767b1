#pragma once
// A node's kernel in small, for tests: makes queues, starts real programs wired to them, serves their attach
// sockets, and tells the queues when a process has ended.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "mvm/base/subprocess.h"
#include "mvm/queuevm/attach_server.h"

namespace mvm::test {

class Node {
 public:
  using End = queuevm::End;
  using Queue = queuevm::Queue;
  using QueueSpec = queuevm::QueueSpec;

  Node() : server_([this] { serve(); }) {}
  ~Node() {
    stop_ = true;
    server_.join();
  }

  /// The number of a new queue.
  std::uint32_t add_queue(QueueSpec spec) {
    std::lock_guard lock(mutex_);
    spec.id = queues_.size();
    queues_.push_back(Queue::create_in_memory(spec, "test").value());
    return static_cast<std::uint32_t>(queues_.size() - 1);
  }
  Queue& queue(std::uint32_t number) { return queues_[number]; }

  /// A program and what it is joined to. Links name queues by number in `descriptor`.
  struct Process {
    Subprocess child;
    UniqueFd output;  // its standard output
    queuevm::WiringTable table;
    std::unique_ptr<queuevm::AttachServer> server;
    std::vector<std::pair<std::uint32_t, End>> ends;
    std::string text;
    std::optional<ExitStatus> status;
  };

  Process& start(const std::vector<std::string>& command, queuevm::Wiring wiring) {
    std::vector<std::uint32_t> numbers;
    auto made = number_descriptors(wiring, numbers);
    auto sockets = queuevm::AttachServer::make_sockets().value();
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0) std::abort();
    UniqueFd read_end(pipe[0]);
    UniqueFd write_end(pipe[1]);
    SpawnOptions options;
    options.argv = command;
    options.environment = {{"MVM_FD", "7"}};
    options.descriptors = {{sockets.second.get(), 7}};
    options.standard_output = write_end.get();
    auto child = Subprocess::spawn(options);
    if (!child) std::abort();
    std::lock_guard lock(mutex_);
    processes_.push_back(Process{std::move(*child),
                                 std::move(read_end),
                                 queuevm::WiringTable::create(wiring).value(),
                                 nullptr,
                                 std::move(made),
                                 "",
                                 {}});
    Process& process = processes_.back();
    process.server = std::make_unique<queuevm::AttachServer>(
        std::move(sockets.first), process.table,
        [this, numbers](std::uint32_t n) { return queues_[numbers[n]].open_descriptor(); });
    return process;
  }

  /// Waits for a process's end, tells its queues, and returns its exit status and output.
  ExitStatus finish(Process& process, std::chrono::seconds patience = std::chrono::seconds(30)) {
    char buffer[65536];
    pollfd item{process.output.get(), POLLIN, 0};
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0 || ::poll(&item, 1, static_cast<int>(left.count())) <= 0) break;
      const ssize_t got = ::read(process.output.get(), buffer, sizeof buffer);
      if (got <= 0) break;
      process.text.append(buffer, static_cast<std::size_t>(got));
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    process.status = process.child.wait_for(std::max(left, std::chrono::milliseconds(1)));
    if (!process.status) process.status = process.child.stop(std::chrono::milliseconds(0));
    const bool good = process.status->success();
    for (const auto& [number, end] : process.ends) {
      static_cast<void>(
          queues_[number].close_end(end, good ? queuevm::EndState::kDone : queuevm::EndState::kDead));
    }
    return *process.status;
  }

  /// The next line of a process's output; empty at its end.
  std::string read_line(Process& process) {
    std::string line;
    for (char letter = 0; ::read(process.output.get(), &letter, 1) == 1 && letter != '\n';) line += letter;
    return line;
  }

  /// Gives a running process another wiring; queue numbers as in start().
  Status rewire(Process& process, queuevm::Wiring wiring) {
    std::lock_guard lock(mutex_);
    std::vector<std::uint32_t> numbers;
    process.ends = number_descriptors(wiring, numbers);
    UniqueFd socket(::fcntl(process.server->fd(), F_DUPFD_CLOEXEC, 3));
    process.server = std::make_unique<queuevm::AttachServer>(
        std::move(socket), process.table,
        [this, numbers](std::uint32_t n) { return queues_[numbers[n]].open_descriptor(); });
    return process.table.update(wiring);
  }

 private:
  // Every link gets a descriptor of its own; before, it named a queue.
  static std::vector<std::pair<std::uint32_t, End>> number_descriptors(queuevm::Wiring& wiring,
                                                                       std::vector<std::uint32_t>& numbers) {
    std::vector<std::pair<std::uint32_t, End>> ends;
    for (auto& port : wiring.ports) {
      for (auto& link : port.links) {
        const bool out = port.direction == queuevm::Direction::kOut;
        ends.push_back(
            {link.descriptor, {out ? queuevm::Side::kProducer : queuevm::Side::kConsumer, link.slot}});
        numbers.push_back(link.descriptor);
        link.id = link.descriptor;
        link.descriptor = static_cast<std::uint32_t>(numbers.size() - 1);
      }
    }
    wiring.descriptors = static_cast<std::uint32_t>(numbers.size());
    return ends;
  }

  void serve() {
    while (!stop_) {
      std::vector<pollfd> items;
      std::vector<Process*> served;
      {
        std::lock_guard lock(mutex_);
        for (Process& process : processes_) {
          if (process.server == nullptr) continue;
          items.push_back({process.server->fd(), POLLIN, 0});
          served.push_back(&process);
        }
      }
      ::poll(items.data(), items.size(), 5);
      std::lock_guard lock(mutex_);
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i].revents == 0 || served[i]->server == nullptr || served[i]->server->fd() != items[i].fd)
          continue;
        if (!served[i]->server->on_readable()) served[i]->server.reset();
      }
    }
  }

  std::mutex mutex_;
  std::deque<Queue> queues_;
  std::deque<Process> processes_;
  std::atomic<bool> stop_{false};
  std::thread server_;
};

/// Shorthands for wirings; a link's "descriptor" is a queue's number.
inline queuevm::WiringPort in_port(std::string name,
                                   std::vector<std::pair<std::uint32_t, std::uint32_t>> links,
                                   std::uint32_t index = 0) {
  queuevm::WiringPort port{std::move(name), index, queuevm::Direction::kIn, queuevm::Deliver::kOneOf, {}};
  for (const auto& [queue, slot] : links) port.links.push_back({0, queue, slot});
  return port;
}
inline queuevm::WiringPort out_port(std::string name,
                                    std::vector<std::pair<std::uint32_t, std::uint32_t>> links,
                                    queuevm::Deliver deliver = queuevm::Deliver::kOneOf,
                                    std::uint32_t index = 0) {
  queuevm::WiringPort port{std::move(name), index, queuevm::Direction::kOut, deliver, {}};
  for (const auto& [queue, slot] : links) port.links.push_back({0, queue, slot});
  return port;
}
inline queuevm::Wiring wiring(std::string role, std::vector<queuevm::WiringPort> ports,
                              std::uint32_t index = 0, std::uint32_t count = 1) {
  queuevm::Wiring made;
  made.job = "job-1";
  made.role = std::move(role);
  made.index = index;
  made.count = count;
  made.ports = std::move(ports);
  return made;
}

}  // namespace mvm::test
