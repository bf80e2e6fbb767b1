#include "lab_child_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "codec.h"
#include "mvm/base/subprocess.h"
#include "unix_socket.h"

namespace mvm::host {
namespace {

constexpr const char* kLog = "child.log";
constexpr int kAnswerMs = 10'000;
constexpr std::chrono::seconds kStartTimeout{10};

/// The process at the other end, pinned so that its number cannot come to mean another one.
Result<UniqueFd> pidfd_of_peer(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return Error::from_errno(errno, "peer credentials");
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0)));
  if (!pidfd) return Error::from_errno(errno, "pidfd of the lab child");
  return pidfd;
}

bool ended(int pidfd, int wait_ms) {
  pollfd item{pidfd, POLLIN, 0};
  int ready = 0;
  do ready = ::poll(&item, 1, wait_ms);
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}

}  // namespace

LabChildClient::LabChildClient(UniqueFd socket, UniqueFd pidfd)
    : socket_(std::move(socket)), pidfd_(std::move(pidfd)), reader_(socket_.get()) {}

bool LabChildClient::was_started(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::exists(folder / kLog, ignored);
}

LabChildClient::~LabChildClient() {
  if (!alive()) reap();
}

Result<std::unique_ptr<LabChildClient>> LabChildClient::adopt(const std::filesystem::path& folder) {
  MVM_ASSIGN(UniqueFd socket, connect_unix(folder / "child.sock"));
  MVM_ASSIGN(UniqueFd pidfd, pidfd_of_peer(socket.get()));
  std::unique_ptr<LabChildClient> client(new LabChildClient(std::move(socket), std::move(pidfd)));
  MVM_ASSIGN(const nlohmann::json hello, client->call("hello", nlohmann::json::object()));
  client->port_ = hello.value("port", std::uint16_t{0});
  client->secure_port_ = hello.value("secure_port", std::uint16_t{0});
  client->plain_port_ = hello.value("plain_port", std::uint16_t{0});
  client->region_port_ = hello.value("region_port", std::uint16_t{0});
  client->hear_events(folder);
  return client;
}

void LabChildClient::hear_events(const std::filesystem::path& folder) {
  auto socket = connect_unix(folder / "child.sock");
  if (!socket || !send_frame(socket->get(), {{"op", "events"}, {"args", nlohmann::json::object()}})) return;
  FrameReader reader(socket->get());
  const auto reply = reader.read(kAnswerMs);
  if (!reply || !reply->head.value("ok", false)) return;
  events_ = std::move(*socket);
  events_reader_.emplace(events_.get());
}

Result<HostEvent> LabChildClient::next_event() {
  auto frame = events_reader_->read(kAnswerMs);
  if (!frame || !frame->head.is_object() || !frame->head.contains("args")) {
    events_reader_.reset();
    events_.reset();
    return Error(ErrorCode::kUnavailable, "the lab child tells nothing any more");
  }
  HostEvent event;
  event.event = frame->head.value("event", "");
  event.args = frame->head["args"];
  return event;
}

Result<std::unique_ptr<LabChildClient>> LabChildClient::start(const std::filesystem::path& program,
                                                              const LabChildOptions& options) {
  const std::filesystem::path log = options.folder / kLog;
  const UniqueFd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!output) return Error::from_errno(errno, "open " + log.string());
  SpawnOptions spawn;
  spawn.argv = {program.string(),
                "lab",
                options.lab,
                "--domain",
                options.domain,
                "--folder",
                options.folder.string(),
                "--user",
                std::to_string(options.user)};
  if (!options.bridge_address.empty())
    spawn.argv.insert(spawn.argv.end(), {"--bridge", options.bridge_address});
  if (!options.advertise.empty()) spawn.argv.insert(spawn.argv.end(), {"--advertise", options.advertise});
  spawn.standard_output = output.get();
  spawn.standard_error = output.get();
  // No session of its own: see supervisor.cpp.
  spawn.new_group = true;
  MVM_ASSIGN(Subprocess child, Subprocess::spawn(spawn));
  const auto deadline = std::chrono::steady_clock::now() + kStartTimeout;
  for (;;) {
    if (auto client = adopt(options.folder)) {
      child.detach();
      return std::move(*client);
    }
    if (child.wait_for(std::chrono::milliseconds(5)))
      return Error(ErrorCode::kFailed, "the lab child ended at once; see " + log.string());
    if (std::chrono::steady_clock::now() > deadline)
      return Error(ErrorCode::kTimeout, "the lab child did not listen in time; see " + log.string());
  }
}

Status LabChildClient::identify(const LinkIdentity& identity) {
  MVM_ASSIGN(const nlohmann::json answer, call("identity", to_json(identity)));
  secure_port_ = answer.value("secure_port", std::uint16_t{0});
  return ok();
}

Status LabChildClient::listen_plainly() {
  MVM_ASSIGN(const nlohmann::json answer, call("plain", nlohmann::json::object()));
  plain_port_ = answer.value("plain_port", std::uint16_t{0});
  return ok();
}

Status LabChildClient::share(const UniqueFd& region) {
  MVM_ASSIGN(const nlohmann::json answer, call("region", nlohmann::json::object(), {region.get()}));
  region_port_ = answer.value("region_port", std::uint16_t{0});
  return ok();
}

bool LabChildClient::alive() const { return !ended(pidfd_.get(), 0); }

/// Where it was our own child its exit status waits for us; otherwise there is nothing to do.
void LabChildClient::reap() const {
  siginfo_t info{};
  ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG);
}

Result<nlohmann::json> LabChildClient::call(const std::string& op, const nlohmann::json& args,
                                            const std::vector<int>& descriptors) {
  const std::lock_guard lock(mutex_);
  return call_locked(op, args, descriptors);
}

Result<nlohmann::json> LabChildClient::call_locked(const std::string& op, const nlohmann::json& args,
                                                   const std::vector<int>& descriptors) {
  MVM_TRY(send_frame(socket_.get(), {{"op", op}, {"args", args}}, {}, descriptors));
  MVM_ASSIGN(const Frame reply, reader_.read(kAnswerMs));
  if (reply.head.value("ok", false)) return reply.head.value("result", nlohmann::json::object());
  const nlohmann::json problem = reply.head.value("error", nlohmann::json::object());
  return Error(error_code_from(problem.value("code", "failed")),
               "lab child: " + problem.value("message", std::string("no reason given")));
}

void LabChildClient::stop() {
  const std::lock_guard lock(mutex_);
  if (!ended(pidfd_.get(), 0)) static_cast<void>(call_locked("stop", nlohmann::json::object(), {}));
  if (!ended(pidfd_.get(), 2000)) {
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
    ended(pidfd_.get(), 5000);
  }
  reap();
}

}  // namespace mvm::host
