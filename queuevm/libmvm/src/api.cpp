// SPDX-License-Identifier: Apache-2.0
// The C API: arguments checked, results explained, the rest delegated. The library's one piece of global
// state, the job this process belongs to, lives here.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <span>

#include "job.h"
#include "mvm.h"

namespace {

using mvm::lib::Job;
using mvm::lib::Port;

constexpr mvm_opts kDefaults = MVM_OPTS_INIT;

Job* current = nullptr;
// Of current's ports, at hand for every message.
std::atomic<const std::unique_ptr<Port>*> port_table = nullptr;
std::atomic<unsigned> port_count = 0;
bool exit_hook_set = false;
thread_local std::string last_error;

std::int64_t failed(std::int64_t result, std::string why) {
  last_error = std::move(why);
  return result;
}

std::int64_t explained(std::int64_t result, const Port& port) {
  if (result < 0) {
    last_error = "port " + port.name() + "[" + std::to_string(port.index()) + "]: " + mvm_strerror(result);
  }
  return result;
}

Port* port_of(int handle) {
  if (current == nullptr) {
    last_error = "this process has not attached: call mvm_attach first";
    return nullptr;
  }
  if (handle < 0 || static_cast<std::size_t>(handle) >= current->ports().size()) {
    last_error = "no such port handle";
    return nullptr;
  }
  return current->ports()[static_cast<std::size_t>(handle)].get();
}

// After a change of `current` or of its ports.
void know_ports() {
  const auto ports = current == nullptr ? std::span<const std::unique_ptr<Port>>() : current->ports();
  port_table.store(ports.data(), std::memory_order_relaxed);
  port_count.store(static_cast<unsigned>(ports.size()), std::memory_order_release);
}

int no_port() { return current == nullptr ? MVM_ENOTMVM : MVM_EINVAL; }

/// The caller's options, or the defaults; nullptr where they make no sense.
const mvm_opts* checked(const mvm_opts* opts) {
  if (opts == nullptr) return &kDefaults;
  if (opts->struct_size != sizeof(mvm_opts) || opts->timeout_ns < MVM_DEFAULT || opts->flags != 0 ||
      opts->priority > MVM_PRIORITY_MAX) {
    last_error = "options: set them with MVM_OPTS_INIT; priority is at most 255, flags 0";
    return nullptr;
  }
  return opts;
}

/// As port_of, without a word: where the port is ready for this thread.
Port* quick_port_of(int handle) {
  const auto index = static_cast<unsigned>(handle);
  if (index >= port_count.load(std::memory_order_acquire)) return nullptr;
  Port* const port = port_table.load(std::memory_order_relaxed)[index].get();
  return port->ready() ? port : nullptr;
}

/// Makes the port this thread's, with the links that the wiring gives it now.
int enter(Port& port) {
  if (port.ready()) return MVM_OK;
  std::string why;
  const int result = current->enter(port, why);
  know_ports();
  return result == MVM_OK ? result : static_cast<int>(failed(result, why));
}

/// Calls on a port. A new wiring that leaves the port's links as they are goes unnoticed; another one is told
/// to a call that waited, with the new links joined. Nor is an end told that a new wiring has overtaken: what
/// came after it comes on another link.
template <class Call>
std::int64_t on_port(Port& port, const mvm_opts& options, Call call) {
  if (const int result = enter(port); result != MVM_OK) return result;
  static_cast<void>(port.take_changed());
  mvm_opts rest = options;
  const std::int64_t deadline = mvm::ring::deadline_after(options.timeout_ns);
  for (;;) {
    const std::int64_t result = call(rest);
    if (result != MVM_REWIRED && (result != MVM_EOS || port.ready())) return explained(result, port);
    if (const int entered = enter(port); entered != MVM_OK) return entered;
    if (port.take_changed() && result == MVM_REWIRED) return explained(result, port);
    if (rest.timeout_ns > 0) rest.timeout_ns = std::max<std::int64_t>(0, deadline - mvm::ring::now_ns());
  }
}

__attribute__((noinline)) int enqueue_slowly(int port, const void* data, size_t size, const mvm_opts* opts) {
  Port* found = port_of(port);
  const mvm_opts* options = checked(opts);
  if (found == nullptr) return no_port();
  if (options == nullptr || (data == nullptr && size != 0)) return MVM_EINVAL;
  return static_cast<int>(
      on_port(*found, *options, [&](const mvm_opts& rest) { return found->enqueue(data, size, rest); }));
}

__attribute__((noinline)) int64_t dequeue_slowly(int port, void* buffer, size_t capacity,
                                                 const mvm_opts* opts) {
  Port* found = port_of(port);
  const mvm_opts* options = checked(opts);
  if (found == nullptr) return no_port();
  if (options == nullptr || (buffer == nullptr && capacity != 0)) return MVM_EINVAL;
  return on_port(*found, *options, [&](const mvm_opts& rest) {
    const int64_t result = opts == nullptr && buffer != nullptr ? found->await_dequeue(buffer, capacity) : -1;
    return result < 0 ? found->dequeue(buffer, capacity, rest) : result;
  });
}

// exit(0) and the end of main close the ports in order; exit(n) tells the peers at once that this process
// failed. Not in a child that fork() made.
void at_exit(int status, void*) {
  if (current != nullptr && current->process() == ::getpid()) {
    current->close(status == 0 ? mvm::ring::kDone : mvm::ring::kDead);
  }
}

}  // namespace

extern "C" {

const char* mvm_error(void) { return last_error.c_str(); }

int mvm_attach(void) {
  if (current != nullptr) return MVM_OK;
  const char* text =
      std::getenv("MVM_FD");  // NOLINT(concurrency-mt-unsafe): before any thread, as mvm.h asks
  if (text == nullptr || *text == '\0') {
    return static_cast<int>(failed(MVM_ENOTMVM, "not started by MVM: run it with mvm submit"));
  }
  int fd = -1;
  const char* end = text + std::strlen(text);
  if (const auto [stop, error] = std::from_chars(text, end, fd);
      error != std::errc{} || stop != end || fd < 0) {
    return static_cast<int>(failed(MVM_ENOTMVM, "MVM_FD is not a descriptor's number"));
  }
  std::unique_ptr<Job> job;
  std::string why;
  if (const int result = Job::attach(fd, job, why); result != MVM_OK)
    return static_cast<int>(failed(result, why));
  current = job.release();
  know_ports();
  if (!exit_hook_set) exit_hook_set = ::on_exit(&at_exit, nullptr) == 0;
  return MVM_OK;
}

int mvm_detach(void) {
  if (current == nullptr) return static_cast<int>(failed(MVM_ENOTMVM, "this process has not attached"));
  if (current->process() == ::getpid()) current->close(mvm::ring::kDone);
  delete current;
  current = nullptr;
  know_ports();
  return MVM_OK;
}

const char* mvm_job(void) { return current == nullptr ? "" : current->table().job.c_str(); }
const char* mvm_role(void) { return current == nullptr ? "" : current->table().role.c_str(); }
unsigned mvm_index(void) { return current == nullptr ? 0 : current->index(); }
unsigned mvm_count(void) {
  if (current == nullptr) return 0;
  const unsigned count = current->count();
  know_ports();
  return count;
}

const char* mvm_param(const char* name) {
  if (current == nullptr || name == nullptr) return nullptr;
  for (const auto& [known, value] : current->table().parameters) {
    if (known == name) return value.c_str();
  }
  return nullptr;
}

int mvm_port(const char* name, unsigned index) {
  if (current == nullptr) {
    return static_cast<int>(failed(MVM_ENOTMVM, "this process has not attached: call mvm_attach first"));
  }
  const int handle = name == nullptr ? MVM_ENOENT : current->find(name, index);
  if (handle >= 0) return handle;
  std::string known;
  for (const auto& port : current->ports()) {
    known += (known.empty() ? "" : ", ") + port->name() + "[" + std::to_string(port->index()) + "]";
    if (known.size() > 500) break;
  }
  return static_cast<int>(failed(MVM_ENOENT, "role " + current->table().role + " has no port " +
                                                 (name == nullptr ? "(null)" : name) + "[" +
                                                 std::to_string(index) + "]; it has: " + known));
}

unsigned mvm_port_size(const char* name) {
  unsigned size = 0;
  if (current == nullptr || name == nullptr) return 0;
  for (const auto& port : current->ports()) size += port->name() == name ? 1U : 0U;
  return size;
}

int mvm_port_done(int port) {
  Port* found = port_of(port);
  if (found == nullptr) return no_port();
  if (const int result = enter(*found); result != MVM_OK) return result;
  return found->done();
}

// The commonest calls go straight through: no frame, no options, nothing but the port's short way.
int mvm_enqueue(int port, const void* data, size_t size, const mvm_opts* opts) {
  Port* found = quick_port_of(port);
  if (opts == nullptr && found != nullptr && data != nullptr &&
      (found->quick_enqueue(data, size) || found->claims_enqueue(data, size))) {
    return MVM_OK;
  }
  return enqueue_slowly(port, data, size, opts);
}

int64_t mvm_dequeue(int port, void* buffer, size_t capacity, const mvm_opts* opts) {
  Port* found = quick_port_of(port);
  if (opts == nullptr && found != nullptr && buffer != nullptr) {
    int64_t size = found->quick_dequeue(buffer, capacity);
    if (size < 0) size = found->claims_dequeue(buffer, capacity);
    if (size >= 0) return size;
  }
  return dequeue_slowly(port, buffer, capacity, opts);
}

int64_t mvm_next_size(int port) {
  Port* found = port_of(port);
  if (found == nullptr) return no_port();
  for (;;) {
    if (const int result = enter(*found); result != MVM_OK) return result;
    const std::int64_t size = found->next_size();
    if (size != MVM_EOS || found->ready()) return explained(size, *found);
  }
}

int mvm_reserve(int port, size_t size, void** data, const mvm_opts* opts) {
  Port* found = port_of(port);
  const mvm_opts* options = checked(opts);
  if (found == nullptr) return no_port();
  if (options == nullptr || data == nullptr) return MVM_EINVAL;
  return static_cast<int>(
      on_port(*found, *options, [&](const mvm_opts& rest) { return found->reserve(size, data, rest); }));
}

int mvm_commit(int port, size_t size) {
  Port* found = port_of(port);
  return found == nullptr ? no_port() : static_cast<int>(explained(found->commit(size), *found));
}

int mvm_cancel(int port) {
  Port* found = port_of(port);
  return found == nullptr ? no_port() : static_cast<int>(explained(found->cancel(), *found));
}

int64_t mvm_peek(int port, const void** data, const mvm_opts* opts) {
  Port* found = port_of(port);
  const mvm_opts* options = checked(opts);
  if (found == nullptr) return no_port();
  if (options == nullptr || data == nullptr) return MVM_EINVAL;
  return on_port(*found, *options, [&](const mvm_opts& rest) { return found->peek(data, rest); });
}

int mvm_release(int port) {
  Port* found = port_of(port);
  return found == nullptr ? no_port() : static_cast<int>(explained(found->release(), *found));
}

int mvm_last(int port, mvm_info* info) {
  const Port* found = port_of(port);
  if (found == nullptr) return no_port();
  if (info == nullptr || info->struct_size != sizeof(mvm_info)) return MVM_EINVAL;
  *info = found->last();
  return MVM_OK;
}

int mvm_wait(const int* ports, size_t count, const mvm_opts* opts) {
  const mvm_opts* options = checked(opts);
  if (options == nullptr || ports == nullptr || count == 0) return MVM_EINVAL;
  std::vector<Port*> found;
  found.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    Port* port = port_of(ports[i]);
    if (port == nullptr) return no_port();
    found.push_back(port);
  }
  const std::int64_t wait = options->timeout_ns == MVM_DEFAULT ? MVM_FOREVER : options->timeout_ns;
  const std::int64_t deadline = mvm::ring::deadline_after(wait);
  const auto renew = [&](bool& changed) {
    for (Port* one : found) {
      if (const int result = enter(*one); result != MVM_OK) return result;
      changed = one->take_changed() || changed;
    }
    return MVM_OK;
  };
  bool changed = false;
  if (const int result = renew(changed); result != MVM_OK) return result;
  for (;;) {
    const std::int64_t left = wait <= 0 ? wait : std::max<std::int64_t>(0, deadline - mvm::ring::now_ns());
    const std::int64_t result = mvm::lib::wait_ports(found.data(), count, left);
    changed = false;
    if (result == MVM_REWIRED) {
      if (const int renewed = renew(changed); renewed != MVM_OK) return renewed;
      if (!changed) continue;
    }
    if (result < 0) last_error = mvm_strerror(result);
    return static_cast<int>(result);
  }
}

}  // extern "C"
