// libuv closes descriptors by the bare system call, which ThreadSanitizer does not see: the next thread that
// is given the same number seems to race with the one that had it before. Only calls that make descriptors
// are excused.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {  // NOLINT: the sanitizer's name
  return "race:^open$\nrace:^open64$\nrace:^eventfd$\nrace:^pipe2$\nrace:^epoll_create1$\nrace:^socket$"
         "\nrace:^accept4$\n";
}
