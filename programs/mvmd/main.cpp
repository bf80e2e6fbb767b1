// mvmd: the host daemon. `mvmd lab ID` and `mvmd policy FILE` are its children.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <iostream>

#include "config.h"
#include "daemon.h"
#include "mvm/broker/crash_point.h"
#include "mvm/broker/policy_child.h"
#include "mvm/host/lab_child.h"

namespace {

using mvm::programs::DaemonCommand;

int run_lab_child(int argc, char** argv) {
  mvm::host::LabChildOptions options;
  CLI::App app("mvmd lab: the proxies of one lab on this host; started by mvmd");
  app.add_option("lab", options.lab)->required();
  app.add_option("--domain", options.domain)->required();
  app.add_option("--folder", options.folder)->required();
  app.add_option("--bridge", options.bridge_address);
  app.add_option("--advertise", options.advertise);
  app.add_option("--user", options.user);
  try {
    app.parse(argc - 1, argv + 1);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem, std::cout, std::cerr) == 0 ? 0 : 2;
  }
  mvm::log::start("mvmd-lab", mvm::log::Level::kInfo, "");
  return mvm::host::lab_child_main(options);
}

/// Starts the daemon in the background and waits for its word that it is ready, or for its end.
int run_detached(const mvm::programs::DaemonConfig& config) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return 1;
  const pid_t child = ::fork();
  if (child < 0) return 1;
  if (child == 0) {
    ::close(ends[0]);
    ::setsid();
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(null, 0);
    ::dup2(null, 1);
    const int code = mvm::programs::serve(config, [&] {
      [[maybe_unused]] const ssize_t told = ::write(ends[1], "r", 1);
      ::close(ends[1]);
      ::dup2(null, 2);
    });
    ::_exit(code);
  }
  ::close(ends[1]);
  char word = 0;
  ssize_t got = 0;
  do got = ::read(ends[0], &word, 1);
  while (got < 0 && errno == EINTR);
  if (got == 1) return 0;
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const DaemonCommand command = mvm::programs::read_command(argc, argv);
  switch (command.verb) {
    case DaemonCommand::Verb::kExit:
      return command.exit_code;
    case DaemonCommand::Verb::kLabChild:
      return run_lab_child(argc, argv);
    case DaemonCommand::Verb::kPolicyChild:
      return mvm::broker::policy_child_main(argc - 1, argv + 1);
    case DaemonCommand::Verb::kListCrashPoints:
      for (const std::string& point : mvm::broker::list_crash_points()) std::puts(point.c_str());
      return 0;
    case DaemonCommand::Verb::kLeave:
      return mvm::programs::leave_broker(command.config);
    case DaemonCommand::Verb::kStop:
      return mvm::programs::stop_daemon(command.config);
    case DaemonCommand::Verb::kServe:
      break;
  }
  return command.detach ? run_detached(command.config) : mvm::programs::serve(command.config, [] {});
}
