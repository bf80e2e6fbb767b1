// mvm-kernel: the Harness kernel, the first program of every node, or alone on any machine. This file reads
// the command line; the launcher and the kernel are in componentvm/kernel.

#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "mvm/base/detach.h"
#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/kernel/config.h"
#include "mvm/kernel/run.h"

namespace {

namespace fs = std::filesystem;
using mvm::kernel::Config;
using mvm::kernel::LauncherLink;

/// What the command line or the configuration file said, before it is checked.
struct Said {
  std::string node;
  std::string work, run, prefix, plugin_folder;
  std::vector<std::string> programs;
  std::vector<std::string> spawn, start;
  std::vector<std::string> settings;
  std::string log_level = "info";
  std::string log_file;
  bool daemon = false;
  Config config;
  LauncherLink link;
  fs::path own_folder;  // of work and run, where they were not said: made by us, and removed at the end
};

void describe(CLI::App& app, Said& said) {
  app.set_config("--config", "", "read options from this file (TOML or INI, option names without dashes)");
  app.add_option("--node", said.node, "name of this node: LAB/NODE [alone/kPID]")->take_last();
  app.add_option("--channel", said.config.channel,
                 "guest channel to a host: unix:PATH, virtio:NAME or line:PATH [none: the kernel is alone]");
  app.add_option("--work", said.work,
                 "folder for jobs [/work, or $MVM_WORK; one of its own where it is alone or not root]")
      ->take_last();
  app.add_option("--run", said.run,
                 "folder for the kernel itself [/run/mvm, or $MVM_RUN; one of its own likewise]")
      ->take_last();
  app.add_option("--prefix", said.prefix, "read-only tree of MVM [where this program lies]");
  app.add_option("--plugins", said.plugin_folder, "preset plug-in folder [PREFIX/lib/mvm/plugins]");
  app.add_option("--plugin", said.config.plugins, "load this plug-in at start; may be repeated");
  app.add_option("--set", said.settings, "a setting of a plug-in: PLUGIN.NAME=VALUE; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option(
         "--spawn", said.spawn,
         "start this program with its arguments once the plug-ins are there: in the work folder, from "
         "a program folder, without a shell; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  app.add_option(
         "--start", said.start,
         "run code of this plug-in with its arguments, on a thread: PLUGIN[:FUNCTION] ARGUMENT..; may be "
         "repeated")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("!--no-default-plugins", said.config.default_plugins, "load only the plug-ins named");
  app.add_flag("--debug", said.config.debug,
               "the debug kernel: prefers plug-ins' .debug variants, logs more (also where it is called "
               "mvm-kernel.debug)");
  auto& locators = said.config.locators;
  app.add_option("--repository", locators.repositories,
                 "folder or URL where plug-ins named by URN are looked for, in this order; may be repeated");
  app.add_option(
      "--trust", locators.keys,
      "public key (ed25519:...) whose signature on plug-ins from elsewhere is trusted; may be repeated");
  app.add_flag("--allow-unsigned", locators.allow_unsigned,
               "also load plug-ins from elsewhere that nobody signed");
  app.add_option("--plugin-source", locators.folders,
                 "folder below which file URLs may lie; may be repeated");
  app.add_option("--authorities", locators.authorities,
                 "PEM file of those who vouch for https servers [system's]");
  app.add_option("--plugin-cache", locators.cache,
                 "folder of plug-ins that were fetched [WORK/plugin-cache]");
  app.add_option("--plugin-cache-size", locators.cache_bytes,
                 "bytes that plug-ins in it may take: those not used for longest go")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{1} << 50));
  app.add_option("--fetch-time", locators.time_ms, "milliseconds that one download may take")
      ->capture_default_str();
  app.add_option("--programs", said.programs, "preset program folder; may be repeated");
  app.add_option("--user", said.config.user, "user id of job processes")->capture_default_str();
  app.add_option("--group", said.config.group, "group id of job processes")->capture_default_str();
  app.add_option("--spool", said.config.spool, "bytes of unread output kept for each stream")
      ->capture_default_str();
  app.add_option("--threads-min", said.config.pool.minimum, "threads kept when idle")->capture_default_str();
  app.add_option("--threads-max", said.config.pool.maximum, "threads at most")->capture_default_str();
  app.add_option("--threads-queue", said.config.pool.queue, "jobs that may wait")->capture_default_str();
  app.add_option("--log", said.log_level, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  app.add_flag(
      "--daemon", said.daemon,
      "go on in the background: ends with 0 and the launcher's process id when the kernel has all that it "
      "was told to have");
  app.add_option("--log-file", said.log_file, "file that a daemon's words are appended to [RUN/kernel.log]");
  app.set_version_flag("--version", "mvm-kernel 0.1.0");
  // From the launcher to the kernel that it starts.
  app.add_option("--control", said.link.control)->group("");
  app.add_option("--lock", said.link.lock)->group("");
  app.add_option("--boot", said.link.boot)->group("");
  app.add_option("--restarts", said.link.restarts)->group("");
}

std::string from_environment(const char* name, const char* otherwise) {
  const char* value = ::getenv(name);  // NOLINT(concurrency-mt-unsafe): no thread runs yet
  return value != nullptr && *value != '\0' ? value : otherwise;
}

fs::path own_prefix() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return !error && self.parent_path().filename() == "bin" ? self.parent_path().parent_path()
                                                          : fs::path("/opt/mvm");
}

bool valid_name(const std::string& name, std::size_t limit) {
  return !name.empty() && name.size() <= limit && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

/// A folder that nobody else can have put there: $XDG_RUNTIME_DIR or /tmp, then mvm-kernel-USER/NODE.
fs::path folder_of(const std::string& node) {
  std::string name = node;
  std::replace(name.begin(), name.end(), '/', '-');
  return fs::path(from_environment("XDG_RUNTIME_DIR", "/tmp")) /
         ("mvm-kernel-" + std::to_string(::geteuid())) / name;
}

bool make_own(const fs::path& folder) {
  // Others pass through to the work folder, where a root's kernel starts processes of another user.
  struct stat info {};
  if (::mkdir(folder.c_str(), 0711) != 0 && errno != EEXIST) return false;
  return ::lstat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid() &&
         (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/// Name and folders of a kernel that was told none. The kernel that this launcher starts is told them.
std::string complete_alone(Said& said) {
  const bool alone = said.config.channel.empty();
  if (said.node.empty() && !alone) return "--node is required beside --channel";
  if (said.node.empty()) said.node = "alone/k" + std::to_string(::getpid());
  if (!alone && ::geteuid() == 0) return {};
  const auto missing = [](const std::string& text, const char* variable) {
    return text.empty() && from_environment(variable, "").empty();
  };
  const bool work = missing(said.work, "MVM_WORK");
  const bool run = missing(said.run, "MVM_RUN");
  if (!work && !run) return {};
  said.own_folder = folder_of(said.node);
  if (work) said.work = said.own_folder / "work";
  if (run) said.run = said.own_folder / "run";
  return {};
}

/// Splits what --spawn or --start said; quotes hold words together.
std::string split(const char* option, const std::vector<std::string>& said,
                  std::vector<std::vector<std::string>>& lists) {
  for (const std::string& text : said) {
    std::vector<std::string> words;
    for (const std::string& word : CLI::detail::split_up(text))
      if (!word.empty()) words.push_back(word);
    if (words.empty()) return std::string(option) + ": found nothing, expected a name and arguments";
    lists.push_back(std::move(words));
  }
  return lists.size() > 64 ? std::string(option) + ": at most 64" : "";
}

std::string read_settings(Said& said) {
  for (const std::string& text : said.settings) {
    const std::size_t equals = text.find('=');
    const std::size_t dot = text.find('.');
    if (equals == std::string::npos || dot == 0 || dot + 1 >= equals)
      return "--set: found \"" + text + "\", expected PLUGIN.NAME=VALUE";
    said.config.settings[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return {};
}

/// Checks and completes; the text says what is wrong.
std::string complete(Said& said) {
  Config& config = said.config;
  if (std::string wrong = complete_alone(said); !wrong.empty()) return wrong;
  if (std::string wrong = split("--spawn", said.spawn, config.spawned); !wrong.empty()) return wrong;
  if (std::string wrong = split("--start", said.start, config.started); !wrong.empty()) return wrong;
  if (std::string wrong = read_settings(said); !wrong.empty()) return wrong;
  const std::size_t slash = said.node.find('/');
  config.lab = said.node.substr(0, slash);
  config.node = slash == std::string::npos ? "" : said.node.substr(slash + 1);
  if (!valid_name(config.lab, 32) || !valid_name(config.node, 24))
    return "--node: found \"" + said.node + "\", expected LAB/NODE of letters a-z, digits and dashes";
  config.work = said.work.empty() ? from_environment("MVM_WORK", "/work") : said.work;
  config.run = said.run.empty() ? from_environment("MVM_RUN", "/run/mvm") : said.run;
  config.prefix = said.prefix.empty() ? own_prefix() : fs::path(said.prefix);
  config.plugin_folder =
      said.plugin_folder.empty() ? config.prefix / "lib/mvm/plugins" : fs::path(said.plugin_folder);
  if (said.programs.empty())
    said.programs = {"/usr/local/bin", "/usr/bin", "/bin", (config.prefix / "bin").string()};
  config.programs.assign(said.programs.begin(), said.programs.end());
  for (const fs::path& path : {config.work, config.run, config.prefix, config.plugin_folder})
    if (!path.is_absolute()) return "folder " + path.string() + ": expected an absolute path";
  for (const std::string& path : config.locators.folders)
    if (!path.starts_with('/')) return "--plugin-source: found \"" + path + "\", expected an absolute path";
  if (!config.locators.cache.empty() && !config.locators.cache.starts_with('/'))
    return "--plugin-cache: found \"" + config.locators.cache + "\", expected an absolute path";
  for (const fs::path& path : config.programs)
    if (!path.is_absolute()) return "--programs: found \"" + path.string() + "\", expected an absolute path";
  if (config.pool.maximum < 4 || config.pool.minimum > config.pool.maximum)
    return "--threads-max: expected at least 4 and --threads-min";
  if (config.spool < (64U << 10)) return "--spool: expected at least 65536";
  if (::geteuid() == 0 && config.user == 0) return "--user: job processes must not be root";
  if (!said.log_file.empty() && !said.daemon) return "--log-file: found it without --daemon";
  if (said.daemon && ::getpid() == 1) return "--daemon: a node's first program stays where it is";
  return {};
}

mvm::log::Level level_of(const std::string& name) {
  if (name == "debug") return mvm::log::Level::kDebug;
  if (name == "warning") return mvm::log::Level::kWarning;
  return name == "error" ? mvm::log::Level::kError : mvm::log::Level::kInfo;
}

int launch(Said said, std::vector<std::string> arguments) {
  // Another kernel that ends may take the empty folder of all away.
  const auto made = [&] { return make_own(said.own_folder.parent_path()) && make_own(said.own_folder); };
  if (!said.own_folder.empty() && !made() && !made() && !made()) {
    std::cerr << "mvm-kernel: folder " << said.own_folder.string()
              << " cannot be made, or is not ours alone; say --work and --run\n";
    return 1;
  }
  arguments.insert(arguments.end(), {"--node", said.node, "--work", said.config.work.string(), "--run",
                                     said.config.run.string()});
  const auto run = [&](const std::function<void()>& begun) {
    mvm::log::start("mvm-launcher", level_of(said.log_level), "");
    const int code = mvm::kernel::run_launcher(said.config, arguments, begun);
    if (!said.own_folder.empty()) {
      (void)mvm::remove_tree(said.own_folder);
      (void)::rmdir(said.own_folder.parent_path().c_str());  // where it is empty
    }
    return code;
  };
  if (!said.daemon) return run([] {});
  if (said.log_file.empty()) {
    if (const mvm::Status there = mvm::make_folders(said.config.run); !there) {
      std::cerr << "mvm-kernel: " << there.error().describe() << '\n';
      return 1;
    }
    said.log_file = said.config.run / "kernel.log";
  }
  return mvm::run_detached({.log = said.log_file, .begun = [](pid_t pid) { std::cout << pid << '\n'; }}, run);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "The kernel of an MVM node: launches and watches a job's processes, builds sources, wires queues");
  Said said;
  said.config.debug = argc > 0 && std::string_view(argv[0]).ends_with(".debug");
  describe(app, said);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  }
  if (said.config.debug && app.count("--log") == 0) said.log_level = "debug";
  if (const std::string wrong = complete(said); !wrong.empty()) {
    std::cerr << "mvm-kernel: " << wrong << '\n';
    return 2;
  }
  const bool kernel_half = said.link.control >= 0;
  if (!kernel_half) return launch(said, std::vector<std::string>(argv, argv + argc));
  mvm::log::start("mvm-kernel", level_of(said.log_level), "");
  return mvm::kernel::run_kernel(said.config, said.link);
}
