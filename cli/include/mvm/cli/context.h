#pragma once
// Everything the command line needs from outside, so that every verb runs in a test as it runs in a shell.

#include <chrono>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::cli {

/// Where the broker is and how to be known there.
struct ConnectOptions {
  std::string url;                            ///< "http://127.0.0.1:7780/"
  std::string token;                          ///< the secret itself; empty: none was found
  std::filesystem::path ca;                   ///< authority of the broker's certificate; empty: none
  std::chrono::milliseconds timeout{30'000};  ///< longest wait for one answer, beside its long poll
};

/// A connection with its services. `owner` keeps what the services refer to.
struct Connection {
  std::shared_ptr<void> owner;
  soap::BrokerApi api;
};

using Connect = std::function<Result<Connection>(const ConnectOptions&)>;

/// One thing `mvm doctor` looked at.
struct Check {
  enum class Level { kOk, kWarning, kFault };
  std::string name;  ///< stable: "disk", "broker", ...
  Level level = Level::kOk;
  std::string found;  ///< what is there
  std::string mend;   ///< how to mend it; empty where ok
};

/// What `mvm doctor` is to look at; the same flags as mvmd's.
struct DoctorOptions {
  std::string libvirt_lxc = "lxc:///";
  std::string libvirt_qemu = "qemu:///system";
  std::filesystem::path qemu_image;              ///< folder with kernel and initramfs; empty: none
  std::filesystem::path state = "/var/lib/mvm";  ///< folder of the daemon's state
  bool quick = false;                            ///< start no VMs
};
using DoctorCheck = std::function<std::vector<Check>(const DoctorOptions&)>;

/// Ctrl-C, counted instead of obeyed once armed.
class Interrupts {
 public:
  virtual ~Interrupts() = default;
  /// From now on Ctrl-C only counts.
  virtual void arm() = 0;
  /// How often it was pressed since.
  [[nodiscard]] virtual int count() const = 0;
};

/// The outside world of one run of `mvm`. All references outlive the run.
struct Context {
  std::istream& in;   ///< read only by verbs that are asked to
  std::ostream& out;  ///< results
  std::ostream& err;  ///< errors, progress, hints
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  int columns = 80;  ///< of the terminal
  const Clock& clock;
  Connect connect;
  std::function<std::optional<std::string>(const std::string&)> environment;
  /// Sleeps; returns early where Ctrl-C was pressed.
  std::function<void(std::chrono::milliseconds)> sleep;
  Interrupts& interrupts;
  /// Packs a folder into one archive; the same content gives the same bytes.
  std::function<Status(const std::filesystem::path& folder, const std::filesystem::path& archive)> pack;
  std::vector<DoctorCheck> checks;  ///< of the machine, for `mvm doctor`
  std::string version;
  std::filesystem::path directory = ".";  ///< results land here
};

}  // namespace mvm::cli
