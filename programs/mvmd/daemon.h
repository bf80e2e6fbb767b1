#pragma once
// mvmd as a daemon: host, broker and back-end on one machine, or a host of another machine's broker.

#include <functional>

#include "config.h"

namespace mvm::programs {

/// Builds everything bottom-up, serves until SIGTERM or SIGINT, and lets go of it: labs live on. `ready` is
/// called once the services answer. The exit code of the process: 2 bad configuration, 6 the broker to join
/// does not answer, 7 it refuses, 1 anything else.
[[nodiscard]] int serve(const DaemonConfig& config, const std::function<void()>& ready);

/// Ends the daemon that holds this state folder and waits until it is gone.
[[nodiscard]] int stop_daemon(const DaemonConfig& config);

/// Ends this machine's membership as a host of another's broker.
[[nodiscard]] int leave_broker(const DaemonConfig& config);

}  // namespace mvm::programs
