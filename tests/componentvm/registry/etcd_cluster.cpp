#include "componentvm/registry/etcd_cluster.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>

#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"

namespace mvm::registry {
namespace {

/// Ports that are free now, chosen by the kernel, all at once so that they differ.
std::vector<std::uint16_t> free_ports(std::size_t count) {
  std::vector<UniqueFd> sockets;
  std::vector<std::uint16_t> ports;
  for (std::size_t i = 0; i < count; ++i) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    ports.push_back(ntohs(address.sin_port));
    sockets.push_back(std::move(fd));
  }
  return ports;
}

class SharedCluster final : public ::testing::Environment {
 public:
  void TearDown() override { cluster.reset(); }
  static inline std::unique_ptr<EtcdCluster> cluster;
};

[[maybe_unused]] const auto* const kShared = ::testing::AddGlobalTestEnvironment(new SharedCluster);

}  // namespace

EtcdCluster& shared_cluster() {
  if (!SharedCluster::cluster) SharedCluster::cluster = std::make_unique<EtcdCluster>();
  return *SharedCluster::cluster;
}

EtcdCluster::EtcdCluster()
    : folder_(*make_temporary_folder(std::filesystem::temp_directory_path(), "registry-etcd-")),
      ports_(free_ports(2 * kMembers)) {
  for (std::size_t i = 0; i < kMembers; ++i) start(i);
}

EtcdCluster::~EtcdCluster() {
  for (auto& member : members_) member.reset();
  std::filesystem::remove_all(folder_);
}

void EtcdCluster::start(std::size_t member) {
  std::string cluster;
  for (std::size_t i = 0; i < kMembers; ++i)
    cluster += (i == 0 ? "m" : ",m") + std::to_string(i) + "=" + url(2 * i + 1);
  const std::string name = "m" + std::to_string(member);
  const UniqueFd log(
      ::open((folder_ / (name + ".log")).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  SpawnOptions options;
  options.argv = {"etcd",
                  "--name=" + name,
                  "--data-dir=" + (folder_ / name).string(),
                  "--listen-client-urls=" + url(2 * member),
                  "--advertise-client-urls=" + url(2 * member),
                  "--listen-peer-urls=" + url(2 * member + 1),
                  "--initial-advertise-peer-urls=" + url(2 * member + 1),
                  "--initial-cluster=" + cluster,
                  "--initial-cluster-token=" + folder_.filename().string(),
                  "--initial-cluster-state=new",
                  "--heartbeat-interval=100",
                  "--election-timeout=1000",
                  "--logger=zap",
                  "--log-level=error"};
  options.standard_output = log.get();
  options.standard_error = log.get();
  auto spawned = Subprocess::spawn(options);
  ASSERT_TRUE(spawned) << spawned.error().describe() << " (Debian: etcd-server)";
  members_[member] = std::move(*spawned);
}

void EtcdCluster::kill(std::size_t member) { members_[member].reset(); }

std::vector<std::string> EtcdCluster::endpoints() const {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < kMembers; ++i) result.push_back(url(2 * i));
  return result;
}

}  // namespace mvm::registry
