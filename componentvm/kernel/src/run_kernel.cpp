#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <thread>

#include "core.h"
#include "mvm/base/log.h"

namespace mvm::kernel {

int run_kernel(const Config& config, const LauncherLink& link) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, number);
  // Before the first thread, so that all have it.
  if (::pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) return 1;
  ::signal(SIGPIPE, SIG_IGN);
  if (link.lock >= 0) (void)::fcntl(link.lock, F_SETFD, FD_CLOEXEC);
  ::prctl(PR_SET_NAME, "mvm-kernel");
  auto core = Core::open(config, link, [] { ::kill(::getpid(), SIGTERM); });
  if (!core) {
    log::error("kernel.failed", {{"reason", core.error().describe()}});
    return 1;
  }
  log::info("kernel.started", {{"node", config.lab + "/" + config.node}, {"restarts", link.restarts}});
  int number = 0;
  do {
    if (::sigwait(&set, &number) != 0) return 1;
  } while (number == SIGHUP);
  log::info("kernel.ending", {{"signal", number}});
  return 0;
}

}  // namespace mvm::kernel
