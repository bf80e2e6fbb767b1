#include "mvm/osvm/process/process.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <thread>
#include <vector>

#include "mvm/base/file.h"
#include "mvm/base/log.h"
#include "mvm/osvm/root_tree.h"
#include "mvm/osvm/vm_roster.h"
#include "proc.h"
#include "record.h"
#include "supervisor.h"

namespace mvm::osvm::process {
namespace {

using namespace std::chrono_literals;

constexpr auto kGentle = 3s;  // the supervisor gives the program half a second of it
constexpr auto kForcible = 5s;

UniqueFd open_pidfd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

bool ends_within(const UniqueFd& pidfd, std::chrono::milliseconds limit) {
  pollfd item{pidfd.get(), POLLIN, 0};
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const int ready = ::poll(&item, 1, static_cast<int>(std::max<long long>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

std::string variable_of(const std::string& id) { return "MVM_VM_ID=" + id; }

/// For the case that somebody killed the supervisor: finds what it left by the variable all inherit.
Status sweep(const std::string& id) {
  const auto deadline = std::chrono::steady_clock::now() + kForcible;
  for (;;) {
    bool found = false;
    for (const pid_t pid : with_variable(variable_of(id))) {
      const auto stat = stat_of(pid);
      if (!stat || stat->state == 'Z') continue;
      ::kill(pid, SIGKILL);
      found = true;
    }
    if (!found) return ok();
    if (std::chrono::steady_clock::now() > deadline)
      return Error(ErrorCode::kTimeout, "processes of VM " + id + " do not die");
    std::this_thread::sleep_for(2ms);
  }
}

/// The first program as the host names it: /opt/mvm inside is the tools' folder outside.
std::string host_path(const VmSpec& spec, const std::string& inside) {
  constexpr std::string_view kTools = "/opt/mvm/";
  if (!inside.starts_with(kTools)) return inside;
  return (spec.tools / inside.substr(kTools.size())).native();
}

Program program_of(const VmSpec& spec, const std::filesystem::path& end_note) {
  Program program;
  program.argv = spec.argv;
  program.argv[0] = host_path(spec, spec.argv[0]);
  program.environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                         "MVM_RUN=" + run_folder(spec.folder).native(),
                         "MVM_WORK=" + work_folder(spec.folder).native(), "MVM_TOOLS=" + spec.tools.native(),
                         variable_of(spec.id)};
  for (const auto& [name, value] : spec.environment) program.environment.push_back(name + "=" + value);
  program.folder = work_folder(spec.folder);
  program.log = console_log(spec.folder, Driver::kProcess);
  program.end_note = end_note;
  return program;
}

std::string machine() {
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "unknown";
}

class ProcessVms final : public Hypervisor, public Suspendable {
 public:
  ProcessVms(Options options, UniqueFd wake) : state_(std::move(options.state)), wake_(std::move(wake)) {
    for (Record& record : read_records(state_)) adopt(std::move(record));
    watcher_ = std::thread([this] { watch(); });
  }
  ~ProcessVms() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    poke();
    watcher_.join();
  }

  Driver driver() const override { return Driver::kProcess; }
  DriverStatus probe() override {
    DriverStatus status;
    status.driver = Driver::kProcess;
    status.works = true;
    status.detail = "plain processes of this host: no isolation, no limits";
    return status;
  }
  Result<VmInfo> create(const VmSpec& spec) override;
  Status destroy(const std::string& id) override;
  Result<std::vector<VmInfo>> list() override;
  Result<VmInfo> find(const std::string& id) override;
  Result<VmStats> stats(const std::string& id) override;
  Result<ConsolePiece> console(const std::string& id, std::uint64_t cursor, std::size_t limit) override;
  void on_event(EventHandler handler) override { roster_.set_handler(std::move(handler)); }
  Suspendable* suspendable() override { return this; }
  Status suspend(const std::string& id) override {
    return signal_all(id, SIGSTOP, VmEvent::Kind::kSuspended);
  }
  Status resume(const std::string& id) override { return signal_all(id, SIGCONT, VmEvent::Kind::kResumed); }

 private:
  struct Vm {
    Record record;
    std::shared_ptr<UniqueFd> pidfd;
  };
  void adopt(Record record);
  Result<VmInfo> start(const VmSpec& spec);
  Result<Vm> living(const std::string& id);
  VmState state_of(const Vm& vm) const;
  Status signal_all(const std::string& id, int number, VmEvent::Kind kind);
  void watch();
  void bury(const Vm& vm);
  void poke() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t put = ::write(wake_.get(), &one, sizeof one);
  }

  const std::filesystem::path state_;
  const UniqueFd wake_;
  VmRoster roster_;
  IdGate gate_;
  std::mutex mutex_;
  std::map<std::string, Vm> vms_;
  bool stop_ = false;
  std::thread watcher_;
};

/// A record of an earlier daemon: its VM lives, or is buried.
void ProcessVms::adopt(Record record) {
  auto pidfd = std::make_shared<UniqueFd>(open_pidfd(record.supervisor));
  Vm vm{std::move(record), std::move(pidfd)};
  const Record& kept = vm.record;
  // pidfd first, identity second: the pid cannot be reused in between.
  if (*vm.pidfd && kept.boot == boot_id() && is_alive(kept.supervisor, kept.start_ticks)) {
    roster_.remember(kept.info);
    vms_.emplace(kept.info.id, std::move(vm));
    return;
  }
  if (kept.boot == boot_id())
    if (auto swept = sweep(kept.info.id); !swept)
      log::warning("vm.leftover", {{"why", swept.error().message()}});
  remove_record(state_, kept.info.id);
}

Result<VmInfo> ProcessVms::create(const VmSpec& spec) {
  MVM_TRY(validate(spec));
  if (spec.image.kind != ImageKind::kHost || spec.image.arch != machine())
    return Error(ErrorCode::kUnsupported, "driver process runs the host's own image only");
  if (spec.network) return Error(ErrorCode::kUnsupported, "driver process has no networks");
  const IdGate::Pass pass(gate_, spec.id);
  if (auto existing = living(spec.id)) {
    const VmLabels& labels = existing->record.info.labels;
    if (labels.lab == spec.labels.lab && labels.job == spec.labels.job && labels.node == spec.labels.node &&
        labels.attempt == spec.labels.attempt)
      return existing->record.info;
    return Error(ErrorCode::kConflict, "VM " + spec.id + " exists for lab " + labels.lab + ", job " +
                                           labels.job + ", node " + labels.node + ", attempt " +
                                           std::to_string(labels.attempt));
  }
  return start(spec);
}

Result<VmInfo> ProcessVms::start(const VmSpec& spec) {
  MVM_TRY(make_shared_folders(spec, ::geteuid()));
  remove_record(state_, spec.id);
  MVM_ASSIGN(Supervisor supervisor, Supervisor::fork(program_of(spec, end_note_file(state_, spec.id))));
  Vm vm;
  vm.pidfd = std::make_shared<UniqueFd>(open_pidfd(supervisor.pid()));
  const auto stat = stat_of(supervisor.pid());
  if (!*vm.pidfd || !stat) return Error(ErrorCode::kIo, "the VM's supervisor ended before it began");
  vm.record = {
      {spec.id, Driver::kProcess, spec.labels, VmState::kRunning, spec.folder, "", spec.image.arch, 0},
      supervisor.pid(),
      stat->start_ticks,
      boot_id()};
  // On disk before the program runs: a daemon that dies here leaves a supervisor that ends by itself.
  MVM_TRY(write_record(state_, vm.record));
  auto program = supervisor.start();
  if (!program) {
    remove_record(state_, spec.id);
    return std::move(program).error().wrap("start VM " + spec.id + " (" + spec.argv[0] + ")");
  }
  vm.record.info.pid = *program;
  MVM_TRY(write_record(state_, vm.record));
  roster_.remember(vm.record.info);
  const VmInfo info = vm.record.info;
  {
    const std::lock_guard lock(mutex_);
    vms_.insert_or_assign(spec.id, std::move(vm));
  }
  poke();
  return info;
}

Result<ProcessVms::Vm> ProcessVms::living(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = vms_.find(id);
  if (found == vms_.end()) return Error(ErrorCode::kNotFound, "there is no VM " + id);
  if (ends_within(*found->second.pidfd, 0ms)) return Error(ErrorCode::kNotFound, "VM " + id + " has ended");
  return found->second;
}

Status ProcessVms::destroy(const std::string& id) {
  const IdGate::Pass pass(gate_, id);
  Vm vm;
  {
    const std::lock_guard lock(mutex_);
    const auto found = vms_.find(id);
    if (found == vms_.end()) return ok();
    vm = found->second;
  }
  const auto tell = [&](int number) {
    ::syscall(SYS_pidfd_send_signal, vm.pidfd->get(), number, nullptr, 0);
  };
  tell(SIGTERM);
  if (!ends_within(*vm.pidfd, kGentle)) {
    tell(SIGKILL);
    if (!ends_within(*vm.pidfd, kForcible)) return Error(ErrorCode::kTimeout, "VM " + id + " does not end");
  }
  bury(vm);
  return ok();
}

/// After the supervisor's end: nothing of the VM lives, its record goes, its end is told. May be called
/// twice.
void ProcessVms::bury(const Vm& vm) {
  const std::string& id = vm.record.info.id;
  const auto note = read_file(end_note_file(state_, id), 64);
  // Without a note the supervisor was killed before it could clean up.
  if (!note)
    if (auto swept = sweep(id); !swept) log::warning("vm.leftover", {{"why", swept.error().message()}});
  {
    const std::lock_guard lock(mutex_);
    const auto found = vms_.find(id);
    if (found == vms_.end() || found->second.pidfd != vm.pidfd) return;
    vms_.erase(found);
    remove_record(state_, id);
  }
  roster_.ended(id, note ? *note : "its supervisor was killed");
}

Result<std::vector<VmInfo>> ProcessVms::list() {
  std::vector<Vm> vms;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, vm] : vms_)
      if (!ends_within(*vm.pidfd, 0ms)) vms.push_back(vm);
  }
  std::vector<VmInfo> result;
  for (const Vm& vm : vms) {
    result.push_back(vm.record.info);
    result.back().state = state_of(vm);
  }
  return result;
}

Result<VmInfo> ProcessVms::find(const std::string& id) {
  MVM_ASSIGN(const Vm vm, living(id));
  VmInfo info = vm.record.info;
  info.state = state_of(vm);
  return info;
}

VmState ProcessVms::state_of(const Vm& vm) const {
  const auto stat = stat_of(static_cast<pid_t>(vm.record.info.pid));
  return stat && stat->state == 'T' ? VmState::kSuspended : VmState::kRunning;
}

Result<VmStats> ProcessVms::stats(const std::string& id) {
  MVM_ASSIGN(const Vm vm, living(id));
  static const auto kTicks = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  static const auto kPage = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  VmStats stats;
  std::vector<ProcessStat> all = descendants(vm.record.supervisor);
  if (const auto own = stat_of(vm.record.supervisor)) all.push_back(*own);
  for (const ProcessStat& item : all) {
    stats.cpu_ns += item.cpu_ticks * (1'000'000'000 / kTicks);
    stats.memory_bytes += item.resident_pages * kPage;
  }
  return stats;
}

Result<ConsolePiece> ProcessVms::console(const std::string& id, std::uint64_t cursor, std::size_t limit) {
  const auto known = roster_.recall(id);
  if (!known) return Error(ErrorCode::kNotFound, "there is no VM " + id);
  return read_console(console_log(known->folder, Driver::kProcess), cursor, limit);
}

Status ProcessVms::signal_all(const std::string& id, int number, VmEvent::Kind kind) {
  MVM_ASSIGN(const Vm vm, living(id));
  const bool stopping = number == SIGSTOP;
  bool changed = false;
  // A process may fork while we walk: again until all are as wanted.
  for (int round = 0; round < 100; ++round) {
    bool missed = false;
    for (const ProcessStat& item : descendants(vm.record.supervisor)) {
      if ((item.state == 'T') == stopping) continue;
      missed = changed = true;
      ::kill(item.pid, number);
    }
    if (!missed) {
      if (changed) roster_.emit({kind, id, ""});
      return ok();
    }
    std::this_thread::sleep_for(1ms);
  }
  return Error(ErrorCode::kTimeout, "VM " + id + " makes processes faster than they can be stopped");
}

void ProcessVms::watch() {
  for (;;) {
    std::vector<Vm> vms;
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return;
      for (const auto& [id, vm] : vms_) vms.push_back(vm);
    }
    std::vector<pollfd> items{{wake_.get(), POLLIN, 0}};
    for (const Vm& vm : vms) items.push_back({vm.pidfd->get(), POLLIN, 0});
    if (::poll(items.data(), items.size(), -1) < 0 && errno != EINTR) return;
    if (items[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof count);
    }
    for (std::size_t i = 0; i < vms.size(); ++i)
      if (items[i + 1].revents != 0) bury(vms[i]);
  }
}

}  // namespace

Result<std::unique_ptr<Hypervisor>> open(Options options) {
  MVM_TRY(make_folders(options.state, 0700));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return Error::from_errno(errno, "eventfd");
  return std::unique_ptr<Hypervisor>(std::make_unique<ProcessVms>(std::move(options), std::move(wake)));
}

}  // namespace mvm::osvm::process
