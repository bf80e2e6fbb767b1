#include "config.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>

#include "mvm/base/host_port.h"

namespace mvm::programs {
namespace {

std::string host_name() {
  std::array<char, 65> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  std::string plain;
  for (const char c : std::string_view(name.data()))
    plain += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ? c
             : (c >= 'A' && c <= 'Z')                                     ? static_cast<char>(c + 32)
                                                                          : '-';
  return plain.substr(0, 63);
}

/// "127.0.0.1:7780" in its parts; empty, or what is wrong with it.
std::string take_listen(const std::string& text, std::string& address, std::uint16_t& port) {
  const auto place = read_host_port(text);
  if (!place) return "found \"" + text + "\", expected ADDRESS:PORT with a port of 0 to 65535";
  address = place->host;
  port = place->port;
  return "";
}

/// A number in the environment; -1: none. Before any thread.
int number_of(const char* name) {
  const char* text = ::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  int number = -1;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), number);
  return number;
}

/// The listening sockets that systemd passed, by its protocol: LISTEN_FDS of them from 3 on, for the process
/// LISTEN_PID. Children get neither sockets nor variables.
std::vector<int> passed_sockets() {
  constexpr int kFirst = 3;
  constexpr int kMost = 2;
  std::vector<int> sockets;
  if (number_of("LISTEN_PID") == ::getpid())
    for (int i = 0; i < std::min(number_of("LISTEN_FDS"), kMost); ++i)
      if (::fcntl(kFirst + i, F_SETFD, FD_CLOEXEC) == 0) sockets.push_back(kFirst + i);
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe)
  return sockets;
}

/// Who lists the processes of this machine shall not see the token.
void hide_token(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word(argv[i]);
    char* secret = nullptr;
    if (word == "--token" && i + 1 < argc) secret = argv[i + 1];
    if (word.starts_with("--token=")) secret = argv[i] + 8;
    if (secret != nullptr) std::memset(secret, 'x', std::strlen(secret));
  }
}

}  // namespace

DaemonCommand read_command(int argc, char** argv) {
  DaemonCommand command;
  DaemonConfig& config = command.config;
  std::error_code ignored;
  config.program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  config.name = host_name();
  const auto installed = config.program.parent_path().parent_path() / "lib/mvm/node";
  if (std::filesystem::is_directory(installed, ignored)) config.node_tree = installed;
  if (argc > 1 && std::string_view(argv[1]) == "lab") {
    command.verb = DaemonCommand::Verb::kLabChild;
    return command;
  }
  if (argc > 1 && std::string_view(argv[1]) == "policy") {
    command.verb = DaemonCommand::Verb::kPolicyChild;
    return command;
  }

  CLI::App app("mvmd: the host daemon of MVM. With no configuration it is host and broker on one machine.");
  app.set_config("--config", "", "Read flags from this file (lines of name=value)");
  bool stop = false;
  bool list = false;
  bool foreground = false;
  std::string listen = "127.0.0.1:7780";
  std::string level = "info";
  std::string listen_tls;
  bool leave = false;
  app.add_option("--state", config.state, "Folder of the daemon's state")
      ->envname("MVM_STATE")
      ->capture_default_str();
  app.add_option("--shared-memory", config.shared_memory, "Folder of the labs' rings, on a tmpfs")
      ->envname("MVM_SHARED_MEMORY")
      ->capture_default_str();
  auto* listen_option =
      app.add_option(
             "--listen", listen,
             "ADDRESS:PORT of the services; a broker's are plain HTTP here, so loopback only; a joined "
             "host's are TLS")
          ->envname("MVM_LISTEN")
          ->capture_default_str();
  app.add_option("--listen-tls", listen_tls,
                 "ADDRESS:PORT where a broker offers its services to other machines, by TLS: hosts that join")
      ->envname("MVM_LISTEN_TLS");
  app.add_option("--name", config.name, "Name of this host")->envname("MVM_HOST_NAME")->capture_default_str();
  app.add_option("--node-tree", config.node_tree, "The tree that nodes see as /opt/mvm")
      ->envname("MVM_NODE_TREE")
      ->capture_default_str();
  app.add_option("--images", config.images, "Folder of further image descriptions (*.xml)")
      ->envname("MVM_IMAGES");
  app.add_option("--qemu-image", config.qemu_image, "Folder with kernel and initramfs for QEMU guests")
      ->envname("MVM_QEMU_IMAGE");
  app.add_option("--drivers", config.drivers, "Drivers to offer: lxc, qemu, process (no isolation)")
      ->envname("MVM_DRIVERS")
      ->delimiter(',')
      ->check(CLI::IsMember({"lxc", "qemu", "process"}))
      ->capture_default_str();
  app.add_option("--libvirt-lxc", config.lxc_uri, "libvirt URI of the LXC driver [lxc:///]")
      ->envname("MVM_LIBVIRT_LXC");
  app.add_option("--libvirt-qemu", config.qemu_uri, "libvirt URI of the QEMU driver [qemu:///system]")
      ->envname("MVM_LIBVIRT_QEMU");
  app.add_option("--advertise", config.advertise, "Address where other hosts reach this one")
      ->envname("MVM_ADVERTISE");
  app.add_option("--vcpus", config.vcpus, "Processors that labs may use [all]")->envname("MVM_VCPUS");
  app.add_option("--memory", config.memory, "Memory that labs may use, in bytes or such as 8G [all but 1G]")
      ->envname("MVM_MEMORY")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--subnets", config.subnets, "Address pool of the labs' networks")
      ->envname("MVM_SUBNETS")
      ->capture_default_str();
  app.add_option("--placement", config.placement, "Policy component that places nodes on hosts")
      ->envname("MVM_PLACEMENT")
      ->capture_default_str();
  app.add_option("--order", config.order, "Policy component that orders waiting jobs")
      ->envname("MVM_ORDER")
      ->capture_default_str();
  app.add_option(
         "--plugins", config.plugins,
         "Folder of a plug-in repository that is served at /plugins/, as `mvm plugin publish` makes it")
      ->envname("MVM_PLUGINS");
  app.add_option(
         "--plugin-repository", config.repositories,
         "URL of a repository where the kernels of this host's nodes look for plug-ins; may be repeated")
      ->envname("MVM_PLUGIN_REPOSITORY")
      ->delimiter(' ');
  app.add_option("--plugin-key", config.trusted,
                 "Public key (ed25519:...) of those whose plug-ins these kernels load; may be repeated")
      ->envname("MVM_PLUGIN_KEY")
      ->delimiter(' ');
  app.add_option("--links", config.links,
                 "Policy component that adds codecs to links between memory domains or hosts, for every job")
      ->envname("MVM_LINKS");
  app.add_option("--links-option", config.links_options,
                 "Option of --links, NAME=VALUE such as between-hosts=zstd; may be repeated")
      ->envname("MVM_LINKS_OPTION")
      ->delimiter(';');
  app.add_option("--log-level", level, "debug, info, warning or error")
      ->envname("MVM_LOG_LEVEL")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  app.add_option("--log-file", config.log_file, "Log here instead of standard error")
      ->envname("MVM_LOG_FILE");
  app.add_option(
         "--join", config.join,
         "Become a host of the broker at this ADDRESS[:PORT]; needs --token. Asked once: later starts "
         "with the same --state are that host")
      ->envname("MVM_JOIN");
  app.add_option("--token", config.token, "Join token, made at the broker with: mvm host invite")
      ->envname("MVM_JOIN_TOKEN");
  app.add_flag("--leave", leave, "End the membership that --join began; the daemon must be stopped");
  app.add_option("--crash-at", config.crash_at, "For tests: die at this crash point")
      ->envname("MVM_CRASH_AT");
  app.add_flag("--detach", command.detach, "Go to the background once ready");
  app.add_flag("--foreground", foreground, "Stay in the foreground (the default)");
  app.add_flag("--stop", stop, "Stop the daemon that uses this --state; its labs live on");
  app.add_flag("--list-crash-points", list, "Print the crash points, one a line");
  try {
    app.parse(argc, argv);
    hide_token(argc, argv);
    config.sockets = passed_sockets();
    config.listen_given = listen_option->count() > 0;
    if (const std::string problem = take_listen(listen, config.address, config.port); !problem.empty())
      throw CLI::ValidationError("--listen", problem);
    if (!listen_tls.empty())
      if (const std::string problem = take_listen(listen_tls, config.tls_address, config.tls_port);
          !problem.empty())
        throw CLI::ValidationError("--listen-tls", problem);
    if ((config.tls_address == "0.0.0.0" || config.tls_address == "::") && config.advertise.empty())
      throw CLI::ValidationError("--listen-tls",
                                 "on all addresses needs --advertise ADDRESS, which others use");
    if (!config.join.empty() && config.token.empty())
      throw CLI::ValidationError("--join",
                                 "needs --token TOKEN; make one at the broker with: mvm host invite");
    if (!config.join.empty() && !config.tls_address.empty())
      throw CLI::ValidationError("--join", "makes a host, and --listen-tls is a broker's");
  } catch (const CLI::ParseError& problem) {
    command.verb = DaemonCommand::Verb::kExit;
    command.exit_code = app.exit(problem, std::cout, std::cerr) == 0 ? 0 : 2;
    return command;
  }
  static const std::map<std::string, log::Level> kLevels{{"debug", log::Level::kDebug},
                                                         {"info", log::Level::kInfo},
                                                         {"warning", log::Level::kWarning},
                                                         {"error", log::Level::kError}};
  config.log_level = kLevels.at(level);
  for (std::filesystem::path* path : {&config.state, &config.shared_memory, &config.node_tree, &config.images,
                                      &config.qemu_image, &config.plugins})
    if (!path->empty()) *path = std::filesystem::absolute(*path).lexically_normal();
  if (leave) command.verb = DaemonCommand::Verb::kLeave;
  if (stop) command.verb = DaemonCommand::Verb::kStop;
  if (list) command.verb = DaemonCommand::Verb::kListCrashPoints;
  return command;
}

}  // namespace mvm::programs
