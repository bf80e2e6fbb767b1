#include "vms.h"

#include <algorithm>
#include <array>
#include <span>
#include <thread>

#include "domain_xml.h"
#include "leftovers.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/log.h"
#include "mvm/osvm/root_tree.h"

namespace mvm::osvm::libvirt {
namespace {

/// A guest that dies while libvirtd is down leaves a transient domain that is shut off, which libvirt can
/// neither start nor remove: making it persistent for a moment lets it be undefined.
Status bury(virConnectPtr connect, virDomainPtr dead, const std::string& id) {
  const TextHandle xml(virDomainGetXMLDesc(dead, 0));
  if (!xml) return last_error("describe what is left of VM " + id);
  if (std::string_view(xml.get()).find(kMetadataUri) == std::string_view::npos)
    return Error(ErrorCode::kConflict, "a VM " + id + " exists that is not of MVM's making");
  const DomainHandle defined(virDomainDefineXML(connect, xml.get()));
  if (!defined || virDomainUndefine(defined.get()) != 0) return last_error("remove what is left of VM " + id);
  return ok();
}

/// The living domain of that name; empty where there is none.
Result<DomainHandle> look_up(virConnectPtr connect, const std::string& id) {
  DomainHandle domain(virDomainLookupByName(connect, id.c_str()));
  const int active = domain ? virDomainIsActive(domain.get()) : -1;
  if (active == 1) return domain;
  if (active == 0) {
    MVM_TRY(bury(connect, domain.get(), id));
    return DomainHandle();
  }
  if (last_error_number() != VIR_ERR_NO_DOMAIN) return last_error("find VM " + id);
  virResetLastError();
  return DomainHandle();
}

Result<DomainHandle> must_find(virConnectPtr connect, const std::string& id) {
  MVM_ASSIGN(DomainHandle domain, look_up(connect, id));
  if (!domain) return Error(ErrorCode::kNotFound, "there is no VM " + id);
  return domain;
}

VmState state_from(int state) {
  switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
      return VmState::kRunning;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED:
      return VmState::kSuspended;
    case VIR_DOMAIN_SHUTDOWN:
      return VmState::kStopping;
    default:
      return VmState::kStopped;
  }
}

Result<VmState> state_of(virDomainPtr domain) {
  int state = 0;
  if (virDomainGetState(domain, &state, nullptr, 0) != 0) return last_error("state of a VM");
  return state_from(state);
}

std::string stop_reason(int detail) {
  switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
      return "shutdown";
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
      return "destroyed";
    case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
      return "crashed";
    case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
      return "migrated";
    case VIR_DOMAIN_EVENT_STOPPED_SAVED:
      return "saved";
    default:
      return "failed";
  }
}

int on_lifecycle(virConnectPtr, virDomainPtr domain, int event, int detail, void* opaque) {
  VmRoster& roster = **static_cast<std::shared_ptr<VmRoster>*>(opaque);
  const char* name = virDomainGetName(domain);
  if (name == nullptr || !roster.recall(name)) return 0;
  switch (event) {
    case VIR_DOMAIN_EVENT_STOPPED:
      roster.ended(name, stop_reason(detail));
      break;
    case VIR_DOMAIN_EVENT_CRASHED:
      roster.ended(name, "crashed");
      break;
    case VIR_DOMAIN_EVENT_SUSPENDED:
      roster.emit({VmEvent::Kind::kSuspended, name, ""});
      break;
    case VIR_DOMAIN_EVENT_RESUMED:
      roster.emit({VmEvent::Kind::kResumed, name, ""});
      break;
    default:
      break;
  }
  return 0;
}

void forget_roster(void* opaque) { delete static_cast<std::shared_ptr<VmRoster>*>(opaque); }

bool same_labels(const VmLabels& a, const VmLabels& b) {
  return a.lab == b.lab && a.job == b.job && a.node == b.node && a.attempt == b.attempt;
}

}  // namespace

// --- LibvirtVms
// ------------------------------------------------------------------------------------------------

LibvirtVms::LibvirtVms(Driver driver, Options options)
    : options_(std::move(options)),
      driver_(driver),
      connection_(options_.uri, {.opened = [this](virConnectPtr connect) { subscribe(connect); },
                                 .closing = [this](virConnectPtr connect) { unsubscribe(connect); },
                                 .lost =
                                     [this](const std::string& why) {
                                       roster_->emit({VmEvent::Kind::kConnectionLost, "", why});
                                     },
                                 .restored =
                                     [this] {
                                       roster_->emit({VmEvent::Kind::kConnectionRestored, "", ""});
                                       if (auto vms = list()) roster_->reconcile(*vms);
                                     }}) {}

void LibvirtVms::subscribe(virConnectPtr connect) {
  auto* roster = new std::shared_ptr<VmRoster>(roster_);  // libvirt frees it by forget_roster
  subscription_ =
      virConnectDomainEventRegisterAny(connect, nullptr, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                       VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), roster, forget_roster);
  if (subscription_ < 0) {
    forget_roster(roster);
    const Error problem = last_error("subscribe to events");
    log::warning("libvirt.no-events", {{"why", problem.message()}});
  }
  // VMs of an earlier daemon: their events and consoles are ours now.
  if (auto vms = list_on(connect))
    for (const VmInfo& info : *vms)
      if (!roster_->recall(info.id)) roster_->remember(info);
}

void LibvirtVms::unsubscribe(virConnectPtr connect) {
  if (subscription_ >= 0 && virConnectDomainEventDeregisterAny(connect, subscription_) < 0)
    virResetLastError();
  subscription_ = -1;
}

Result<VmInfo> LibvirtVms::describe(virDomainPtr domain) const {
  const TextHandle metadata(
      virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, kMetadataUri, VIR_DOMAIN_AFFECT_CURRENT));
  if (!metadata) return last_error("read a VM's metadata");
  MVM_ASSIGN(VmInfo info, read_metadata(metadata.get()));
  MVM_ASSIGN(info.state, state_of(domain));
  info.id = virDomainGetName(domain);
  info.driver = driver_;
  return info;
}

Result<VmInfo> LibvirtVms::adopt(virDomainPtr domain, const VmSpec& spec) {
  auto info = describe(domain);
  if (!info && info.error().code() == ErrorCode::kUnavailable) return info;
  if (!info) return Error(ErrorCode::kConflict, "a VM " + spec.id + " exists that is not of MVM's making");
  if (!same_labels(info->labels, spec.labels))
    return Error(ErrorCode::kConflict, "VM " + spec.id + " exists for lab " + info->labels.lab + ", job " +
                                           info->labels.job + ", node " + info->labels.node + ", attempt " +
                                           std::to_string(info->labels.attempt));
  roster_->remember(*info);
  return info;
}

Result<VmInfo> LibvirtVms::create(const VmSpec& spec) {
  MVM_TRY(validate(spec));
  const IdGate::Pass pass(gate_, spec.id);  // a second call for one id waits, then adopts
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const DomainHandle existing, look_up(connect.get(), spec.id));
  if (existing) return adopt(existing.get(), spec);
  auto started = start(connect.get(), spec);
  if (started) return started;
  // Another daemon made the same one meanwhile?
  if (auto other = look_up(connect.get(), spec.id); other && *other) return adopt(other->get(), spec);
  roster_->forget(spec.id);
  if (auto removed = remove_root(spec.folder, spec.scratch); !removed)
    log::warning("vm.leftover", {{"vm", spec.id}, {"why", removed.error().describe()}});
  return started;
}

Result<VmInfo> LibvirtVms::start(virConnectPtr connect, const VmSpec& spec) {
  MVM_ASSIGN(const std::string xml, prepare(spec));
  VmInfo info;
  info.id = spec.id;
  info.driver = driver_;
  info.labels = spec.labels;
  info.folder = spec.folder;
  info.scratch = spec.scratch;
  info.address = spec.network ? spec.network->address : "";
  info.arch = spec.image.arch;
  // Known before it lives: a guest that ends at once must not end unseen.
  roster_->remember(info);
  const DomainHandle domain(virDomainCreateXML(connect, xml.c_str(), 0));
  if (!domain) return last_error("start VM " + spec.id);
  return info;
}

Status LibvirtVms::destroy(const std::string& id) {
  const IdGate::Pass pass(gate_, id);
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const DomainHandle domain, look_up(connect.get(), id));
  const auto known = roster_->recall(id);
  std::filesystem::path folder = known ? known->folder : std::filesystem::path();
  std::filesystem::path scratch = known ? known->scratch : std::filesystem::path();
  if (domain) {
    auto info = describe(domain.get());
    if (info) {
      folder = info->folder;
      scratch = info->scratch;
    }
    if (!info && info.error().code() == ErrorCode::kCorrupt)
      return Error(ErrorCode::kRefused, "VM " + id + " is not of MVM's making");
    if (!info && info.error().code() != ErrorCode::kNotFound) return info.error();
    if (virDomainDestroy(domain.get()) != 0) {
      // It may have ended by itself meanwhile.
      if (const int number = last_error_number();
          number != VIR_ERR_NO_DOMAIN && number != VIR_ERR_OPERATION_INVALID)
        return last_error("destroy VM " + id);
      virResetLastError();
    }
  }
  if (driver_ == Driver::kLxc && (domain || known || id.starts_with("mvm-")))
    MVM_TRY(kill_container_leftovers(id));
  if (!folder.empty()) MVM_TRY(remove_root(folder, scratch));
  return ok();
}

Result<std::vector<VmInfo>> LibvirtVms::list_on(virConnectPtr connect) const {
  virDomainPtr* raw = nullptr;
  const int count = virConnectListAllDomains(connect, &raw, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
  if (count < 0) return last_error("list VMs");
  std::vector<DomainHandle> domains;
  for (virDomainPtr domain : std::span(raw, static_cast<std::size_t>(count))) domains.emplace_back(domain);
  std::free(raw);
  std::vector<VmInfo> result;
  for (const DomainHandle& domain : domains) {
    auto info = describe(domain.get());
    if (info) {
      result.push_back(std::move(*info));
    } else if (info.error().code() == ErrorCode::kUnavailable) {
      return info.error();  // half a list would look like dead VMs
    }
  }
  return result;
}

Result<std::vector<VmInfo>> LibvirtVms::list() {
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  return list_on(connect.get());
}

Result<VmInfo> LibvirtVms::find(const std::string& id) {
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const DomainHandle domain, must_find(connect.get(), id));
  MVM_ASSIGN(VmInfo info, describe(domain.get()));
  if (info.state == VmState::kStopped) return Error(ErrorCode::kNotFound, "VM " + id + " has ended");
  return info;
}

Result<VmStats> LibvirtVms::stats(const std::string& id) {
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const DomainHandle domain, must_find(connect.get(), id));
  virDomainInfo info{};
  if (virDomainGetInfo(domain.get(), &info) != 0) return last_error("statistics of VM " + id);
  VmStats stats;
  stats.cpu_ns = info.cpuTime;
  stats.memory_bytes = std::uint64_t{info.memory} * 1024;
  stats.memory_limit_bytes = std::uint64_t{info.maxMem} * 1024;
  if (driver_ == Driver::kQemu) {
    // For a machine, `memory` is what it was given; what it takes from the host is the resident set.
    std::array<virDomainMemoryStatStruct, VIR_DOMAIN_MEMORY_STAT_NR> items{};
    const int count = virDomainMemoryStats(domain.get(), items.data(), items.size(), 0);
    for (int i = 0; i < count; ++i)
      if (const auto& item = items[static_cast<std::size_t>(i)]; item.tag == VIR_DOMAIN_MEMORY_STAT_RSS)
        stats.memory_bytes = std::uint64_t{item.val} * 1024;
    if (count < 0) virResetLastError();
  }
  return stats;
}

Result<ConsolePiece> LibvirtVms::console(const std::string& id, std::uint64_t cursor, std::size_t limit) {
  if (const auto known = roster_->recall(id))
    return read_console(console_log(known->folder, driver_), cursor, limit);
  MVM_ASSIGN(const VmInfo info, find(id));
  roster_->remember(info);
  return read_console(console_log(info.folder, driver_), cursor, limit);
}

Status LibvirtVms::suspend(const std::string& id) {
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const DomainHandle domain, must_find(connect.get(), id));
  MVM_ASSIGN(const VmState state, state_of(domain.get()));
  if (state == VmState::kSuspended) return ok();
  if (virDomainSuspend(domain.get()) != 0) return last_error("suspend VM " + id);
  return ok();
}

Status LibvirtVms::resume(const std::string& id) {
  MVM_ASSIGN(const ConnectHandle connect, connection_.get());
  MVM_ASSIGN(const DomainHandle domain, must_find(connect.get(), id));
  MVM_ASSIGN(const VmState state, state_of(domain.get()));
  if (state == VmState::kRunning) return ok();
  if (virDomainResume(domain.get()) != 0) return last_error("resume VM " + id);
  return ok();
}

namespace {

/// What booted once since this machine started boots again: where that is written down.
std::filesystem::path probe_record(const Options& options, Driver driver, unsigned long version) {
  auto boot = read_file("/proc/sys/kernel/random/boot_id", 64);
  if (!boot || options.cache.empty()) return {};
  const std::string key =
      *boot + options.uri + options.kernel.string() + options.initramfs.string() + std::to_string(version);
  return options.cache /
         ("probe-" + std::string(to_string(driver)) + "-" + sha256_hex(key).substr(0, 16) + ".json");
}

std::optional<DriverStatus> recorded_probe(const std::filesystem::path& record, DriverStatus status) {
  if (record.empty()) return std::nullopt;
  auto text = read_file(record, 65536);
  auto json = text ? parse_json(*text) : Result<nlohmann::json>(std::move(text).error());
  if (!json || !json->is_object() || json->value("works", nlohmann::json()) != true) return std::nullopt;
  status.works = true;
  const auto word = [&](const char* name) {
    const auto found = json->find(name);
    return found != json->end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto flag = [&](const char* name) {
    const auto found = json->find(name);
    return found != json->end() && found->is_boolean() && found->get<bool>();
  };
  status.accelerator = word("accelerator");
  status.detail = word("detail");
  status.isolates = flag("isolates");
  status.limits_memory = flag("limits_memory");
  status.limits_cpu = flag("limits_cpu");
  status.limits_pids = flag("limits_pids");
  status.networks = flag("networks");
  return status;
}

void record_probe(const std::filesystem::path& record, const DriverStatus& status) {
  if (record.empty() || !status.works) return;
  const nlohmann::json json = {{"works", true},
                               {"accelerator", status.accelerator},
                               {"detail", status.detail},
                               {"isolates", status.isolates},
                               {"limits_memory", status.limits_memory},
                               {"limits_cpu", status.limits_cpu},
                               {"limits_pids", status.limits_pids},
                               {"networks", status.networks}};
  // A probe that cannot be written down is only done again.
  if (make_folders(record.parent_path())) static_cast<void>(write_file_durably(record, json.dump(), 0600));
}

}  // namespace

DriverStatus LibvirtVms::probe() {
  const std::lock_guard lock(probe_mutex_);
  if (probed_) return *probed_;
  DriverStatus status;
  status.driver = driver_;
  auto connect = connection_.get();
  if (!connect) {
    status.detail = connect.error().message() +
                    "; start libvirtd, or a private one: packaging/libvirtd-private start DIR";
    return status;  // not kept: it may be reachable the next time
  }
  unsigned long version = 0;
  if (virConnectGetVersion(connect->get(), &version) != 0) virResetLastError();
  const std::filesystem::path record = probe_record(options_, driver_, version);
  if (auto known = recorded_probe(record, status)) {
    know(*known);
    probed_ = *known;
    return *known;
  }
  try_out(connect->get(), status);
  record_probe(record, status);
  probed_ = status;
  return status;
}

Status LibvirtVms::boot_probe(const std::string& id_prefix, std::chrono::milliseconds deadline) {
  constexpr std::string_view kWord = "mvm-probe-alive";
  MVM_ASSIGN(const std::filesystem::path folder,
             make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-probe-"));
  std::filesystem::permissions(folder, std::filesystem::perms(0711));
  VmSpec spec;
  spec.id = id_prefix + random_hex(6);
  spec.labels = {"probe", "", "probe", 1};
  // It lives until it is destroyed: libvirt takes one that is over at once for one that failed to start.
  spec.argv = {"/bin/sh", "-c", "echo " + std::string(kWord) + "; exec sleep 3600"};
  spec.folder = folder / "node";
  spec.tools = "/usr/share/doc";  // any folder: the probe runs nothing from it
  Status result = ok();
  if (auto created = create(spec); !created) {
    result = std::move(created).error();
  } else {
    const auto latest = std::chrono::steady_clock::now() + deadline;
    bool alive = false;
    while (!alive && std::chrono::steady_clock::now() < latest) {
      const auto said = read_console(console_log(spec.folder, driver_), 0, 1 << 20);
      alive = said && said->bytes.find(kWord) != std::string::npos;
      if (!alive) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    if (!alive)
      result = Error(ErrorCode::kTimeout,
                     "a probe VM did not boot within " + std::to_string(deadline.count()) + " ms");
  }
  if (auto gone = destroy(spec.id); !gone && result) result = std::move(gone).error();
  if (auto removed = remove_tree(folder); !removed && result) result = std::move(removed).error();
  return result;
}

}  // namespace mvm::osvm::libvirt
