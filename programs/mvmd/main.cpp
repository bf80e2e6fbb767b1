// mvmd: the host daemon. `mvmd lab ID` and `mvmd policy FILE` are its children.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "config.h"
#include "daemon.h"
#include "mvm/base/detach.h"
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
  const auto serve = [&](const std::function<void()>& ready) {
    return mvm::programs::serve(command.config, ready);
  };
  return command.detach ? mvm::run_detached({}, serve) : serve([] {});
}
