#pragma once
// What mvm-kernel is told when it starts, by command line or configuration file.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mvm/base/thread_pool.h"

namespace mvm::kernel {

/// From where plug-ins may come besides the preset folder (docs/formats/repository.md).
struct LocatorConfig {
  std::vector<std::string> repositories;  ///< folders or URLs where URNs are looked for, in this order
  std::vector<std::string> keys;          ///< whose signatures are trusted: "ed25519:" and hexadecimal digits
  bool allow_unsigned = false;            ///< also what nobody signed
  std::vector<std::string> folders;       ///< file URLs only below these
  std::string authorities;                ///< of https (PEM file); empty: the system's
  std::string cache;                      ///< empty: <work>/plugin-cache
  std::uint64_t cache_bytes = 1 << 30;    ///< that plug-ins in it may take
  std::uint64_t time_ms = 120'000;        ///< one download
};

/// The whole configuration, checked and then constant.
struct Config {
  std::string lab;
  std::string node;
  std::string channel;  ///< as channel::KernelEnd::Options::address; empty: alone, without a host
  std::filesystem::path work = "/work";
  std::filesystem::path run = "/run/mvm";
  std::filesystem::path prefix = "/opt/mvm";
  std::filesystem::path plugin_folder;            ///< empty: <prefix>/lib/mvm/plugins
  std::vector<std::string> plugins;               ///< loaded at start, in this order; each must be there
  std::vector<std::vector<std::string>> spawned;  ///< programs started with the kernel, as argument lists
  std::map<std::string, std::string> settings;    ///< of plug-ins, "PLUGIN.NAME" to its value
  std::vector<std::vector<std::string>> started;  ///< plug-ins whose code is run then: name, arguments
  bool debug = false;                             ///< the debug kernel: prefers plug-ins' .debug variants
  bool default_plugins = true;  ///< also those of job, builder, queue and node that are there
  LocatorConfig locators;
  std::vector<std::filesystem::path> programs;  ///< preset program folders
  unsigned user = 1000;                         ///< uid of job processes, where started by root
  unsigned group = 1000;
  std::uint64_t spool = 8 << 20;  ///< bytes of unacknowledged output kept for each stream
  ThreadPoolLimits pool{.minimum = 1, .maximum = 16, .queue = 256, .idle_timeout = std::chrono::seconds(10)};
};

}  // namespace mvm::kernel
