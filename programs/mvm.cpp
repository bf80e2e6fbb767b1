// mvm: the command line. This file gives the verbs their outside world, and nothing else.

#include <fcntl.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/build/archive.h"
#include "mvm/cli/run.h"
#include "mvm/osvm/doctor.h"
#include "mvm/osvm/libvirt/libvirt.h"
#include "mvm/soap/client.h"

namespace {

using namespace mvm;

std::atomic<int> pressed{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler adds to it");

class CtrlC final : public cli::Interrupts {
 public:
  void arm() override {
    struct sigaction action {};
    action.sa_handler = [](int) { pressed.fetch_add(1); };
    sigaction(SIGINT, &action, nullptr);
  }
  [[nodiscard]] int count() const override { return pressed.load(); }
};

Result<cli::Connection> connect(const cli::ConnectOptions& asked) {
  soap::BrokerClientOptions options;
  options.url = asked.url;
  options.token = asked.token;
  options.ca = asked.ca;
  options.timeout = asked.timeout;
  options.connect_timeout = std::min(asked.timeout, options.connect_timeout);
  MVM_ASSIGN(auto client, soap::BrokerClient::create(options));
  const std::shared_ptr<soap::BrokerClient> shared = std::move(client);
  return cli::Connection{shared, shared->api()};
}

Status pack(const std::filesystem::path& folder, const std::filesystem::path& archive) {
  UniqueFd fd(open(archive.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return Error::from_errno(errno, "create " + archive.string());
  const auto packed =
      build::pack_directory(folder, [&](std::string_view bytes) { return write_all(fd.get(), bytes); });
  if (!packed) return packed.error();
  return ok();
}

std::vector<cli::Check> told(const std::vector<osvm::Check>& found) {
  std::vector<cli::Check> checks;
  for (const osvm::Check& check : found) {
    checks.push_back(
        {check.name, check.ok ? cli::Check::Level::kOk : cli::Check::Level::kFault, check.found, check.mend});
  }
  return checks;
}

std::vector<cli::Check> check_hypervisors(const cli::DoctorOptions& asked) {
  if (asked.quick) return {};
  osvm::libvirt::Options lxc, qemu;
  lxc.uri = asked.libvirt_lxc;
  qemu.uri = asked.libvirt_qemu;
  if (!asked.qemu_image.empty()) {
    qemu.kernel = asked.qemu_image / "kernel";
    qemu.initramfs = asked.qemu_image / "initramfs";
  }
  return told(osvm::libvirt::check_libvirt(lxc, qemu));
}

int columns_of(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// A signal ends the sleep early.
void sleep_for(std::chrono::milliseconds time) {
  const timespec wanted{time.count() / 1000, (time.count() % 1000) * 1'000'000};
  nanosleep(&wanted, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of the write, and told as one
  std::ios::sync_with_stdio(false);
  log::start("mvm", log::Level::kError, "");
  const SystemClock clock;
  CtrlC interrupts;
  cli::Context context{
      .in = std::cin,
      .out = std::cout,
      .err = std::cerr,
      .out_is_terminal = isatty(STDOUT_FILENO) == 1,
      .err_is_terminal = isatty(STDERR_FILENO) == 1,
      .columns = columns_of(STDERR_FILENO),
      .clock = clock,
      .connect = connect,
      .environment = [](const std::string& name) -> std::optional<std::string> {
        const char* value = std::getenv(name.c_str());
        if (value == nullptr) return std::nullopt;
        return std::string(value);
      },
      .sleep = sleep_for,
      .interrupts = interrupts,
      .pack = pack,
      .checks = {[](const cli::DoctorOptions& asked) { return told(osvm::check_machine(asked.state)); },
                 check_hypervisors},
      .version = MVM_VERSION,
      .directory = "."};
  return cli::run(context, {argv + 1, argv + argc});
}
