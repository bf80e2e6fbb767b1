#pragma once
// mvmd as a daemon: host, broker and back-end on one machine.

#include <functional>

#include "config.h"

namespace mvm::programs {

/// Builds everything bottom-up, serves until SIGTERM or SIGINT, and lets go of it: labs live on. `ready` is
/// called once the services answer. The exit code of the process.
[[nodiscard]] int serve(const DaemonConfig& config, const std::function<void()>& ready);

/// Ends the daemon that holds this state folder and waits until it is gone.
[[nodiscard]] int stop_daemon(const DaemonConfig& config);

/// Makes the certificate with which another machine becomes a host of the broker in this state folder:
/// host.crt, host.key and ca.crt in the folder that --out names.
[[nodiscard]] int issue_host(const DaemonCommand& command);

}  // namespace mvm::programs
