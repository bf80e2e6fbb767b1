// SPDX-License-Identifier: Apache-2.0
#include "guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>

namespace mvm::ring {
namespace {

/// Entries are reused and never freed, so that a handler may walk the list at any time.
struct Guarded {
  std::atomic<std::uintptr_t> begin{0};  // 0: unused
  std::atomic<std::size_t> size{0};
  Guarded* next = nullptr;
};
std::atomic<Guarded*> guarded_first{nullptr};
std::mutex guarded_mutex;  // of those who change the list
struct sigaction before_ours {};
std::uintptr_t page_size = 4096;

void on_bus_error(int number, siginfo_t* info, void* context) {
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const Guarded* entry = guarded_first.load(); entry != nullptr; entry = entry->next) {
    const std::uintptr_t begin = entry->begin.load();
    if (begin == 0 || at < begin || at - begin >= entry->size.load()) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address from the system is all there is
    void* page = reinterpret_cast<void*>(at & ~(page_size - 1));
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (::mmap(page, page_size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED) return;
  }
  if ((before_ours.sa_flags & SA_SIGINFO) != 0 && before_ours.sa_sigaction != nullptr) {
    before_ours.sa_sigaction(number, info, context);
  } else {
    ::sigaction(SIGBUS, &before_ours, nullptr);  // and the same instruction faults again
  }
}

}  // namespace

void survive_cut_files() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = &on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(SIGBUS, &action, &before_ours);
  });
}

void guard_add(const void* begin, std::size_t size) {
  std::lock_guard lock(guarded_mutex);
  Guarded* entry = guarded_first.load();
  while (entry != nullptr && entry->begin.load() != 0) entry = entry->next;
  const bool fresh = entry == nullptr;
  if (fresh) entry = new Guarded;
  entry->size.store(size);
  entry->begin.store(reinterpret_cast<std::uintptr_t>(begin));
  if (fresh) {
    entry->next = guarded_first.load();
    guarded_first.store(entry);
  }
}

void guard_remove(const void* begin) {
  std::lock_guard lock(guarded_mutex);
  for (Guarded* entry = guarded_first.load(); entry != nullptr; entry = entry->next) {
    if (entry->begin.load() == reinterpret_cast<std::uintptr_t>(begin)) entry->begin.store(0);
  }
}

}  // namespace mvm::ring
