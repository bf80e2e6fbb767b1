#pragma once
// What mvmd is configured with: command line over environment over file; validated whole, then frozen.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mvm/base/log.h"
#include "mvm/base/result.h"

namespace mvm::programs {

struct DaemonConfig {
  std::string name;  ///< of this host
  std::filesystem::path state = "/var/lib/mvm";
  std::filesystem::path shared_memory = "/dev/shm/mvm";
  std::filesystem::path node_tree = "/opt/mvm";  ///< where it is installed: lib/mvm/node beside the programs
  std::filesystem::path images;      ///< folder of image descriptions (*.xml); empty: shipped only
  std::filesystem::path qemu_image;  ///< folder made by packaging/make-qemu-image; empty: none
  std::filesystem::path program;     ///< mvmd itself
  std::string address = "127.0.0.1";
  std::uint16_t port = 7780;
  bool listen_given = false;  ///< --listen was used
  std::string tls_address;    ///< empty: no services for other machines
  std::uint16_t tls_port = 7780;
  std::vector<int> sockets;  ///< that systemd passed: the first for --listen, a second for --listen-tls
  std::string advertise;
  std::vector<std::string> drivers = {"lxc", "qemu"};
  std::string lxc_uri;
  std::string qemu_uri;
  std::uint32_t vcpus = 0;
  std::uint64_t memory = 0;
  std::string subnets = "10.181.0.0/16";
  std::string placement = "placement-pack";
  std::string order = "order-fifo";
  std::filesystem::path plugins;           ///< plug-in repository that is served; empty: none
  std::vector<std::string> repositories;   ///< where the kernels of labs look for plug-ins
  std::vector<std::string> trusted;        ///< public keys whose plug-ins they load
  std::string links;                       ///< policy component; empty: none
  std::vector<std::string> links_options;  ///< "name=value"
  log::Level log_level = log::Level::kInfo;
  std::filesystem::path log_file;
  std::string join;      ///< broker to join as a host; empty: none
  std::string token;     ///< with which
  std::string crash_at;  ///< for tests: die at this crash point
};

/// What the command line asks for.
struct DaemonCommand {
  enum class Verb { kServe, kStop, kListCrashPoints, kLeave, kLabChild, kPolicyChild, kExit };
  Verb verb = Verb::kServe;
  bool detach = false;  ///< kServe: go to the background once ready
  int exit_code = 0;    ///< kExit: help was shown, or the usage was wrong
  DaemonConfig config;
};

/// Reads the command line, the MVM_* environment and the configuration file it names.
[[nodiscard]] DaemonCommand read_command(int argc, char** argv);

}  // namespace mvm::programs
