// The kernel as the first program of real VMs: containers and machines of libvirt.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <condition_variable>
#include <map>
#include <mutex>

#include "mvm/base/blob_store.h"
#include "mvm/build/archive.h"
#include "mvm/channel/blob_transfer.h"
#include "mvm/channel/host_end.h"
#include "osvm/private_libvirt.h"

namespace mvm::kernel {
namespace {

using namespace std::chrono_literals;
using channel::HostEnd;
using osvm::Driver;

struct Platform {
  Platform() : missing(libvirt.missing()) {
    if (!missing.empty()) return;
    auto said = run_captured({.argv = {MVM_SOURCE_DIR "/packaging/make-qemu-image", image.string()}}, 60s);
    if (!said || !said->status.success()) missing = said ? said->errors : said.error().describe();
  }
  osvm::contract::PrivateLibvirt libvirt;
  std::filesystem::path image = std::filesystem::path(MVM_BINARY_DIR) / "tests/qemu-image";
  std::string missing;
};

Platform& platform() {
  static Platform one;
  return one;
}

class VmTest : public testing::TestWithParam<Driver> {
 protected:
  void SetUp() override {
    if (!platform().missing.empty()) GTEST_SKIP() << platform().missing;
    folder_ = *make_temporary_folder("/tmp", "mvm-kernel-vm-");
    ::chmod(folder_.c_str(), 0711);
    store_.emplace(*BlobStore::open(folder_ / "store"));
    const bool machine = GetParam() == Driver::kQemu;
    vms_ = machine ? osvm::libvirt::open_qemu({.uri = platform().libvirt.uri("QEMU"),
                                               .kernel = platform().image / "kernel",
                                               .initramfs = platform().image / "initramfs",
                                               .cache = platform().libvirt.cache()})
                   : osvm::libvirt::open_lxc(
                         {.uri = platform().libvirt.uri("LXC"), .cache = platform().libvirt.cache()});
    osvm::VmSpec spec;
    spec.id = "mvm-kernel-a";
    spec.labels = {"lab", "j", "a", 1};
    spec.limits.memory_bytes = machine ? 768 << 20 : 512 << 20;
    spec.folder = folder_ / "a";
    spec.tools = MVM_BINARY_DIR "/stage/opt/mvm";
    spec.argv = {"/opt/mvm/bin/mvm-kernel", "--node", "lab/a", "--channel",
                 machine ? "virtio:" + std::string(osvm::kControlPort) : "unix:/run/mvm/channel.sock"};
    ASSERT_TRUE(make_folders(osvm::run_folder(spec.folder)));
    if (!machine) listen(spec);
    for (int attempt = 0; attempt < 200; ++attempt) {
      auto made = vms_->create(spec);
      if (made) break;
      ASSERT_EQ(made.error().code(), ErrorCode::kUnavailable) << made.error().describe();
      ::usleep(50'000);
    }
    if (machine) listen(spec);
    auto up = host_->wait_up(60s);
    ASSERT_TRUE(up) << up.error().describe() << "\n" << console();
  }
  void TearDown() override {
    host_.reset();
    if (vms_) {
      EXPECT_TRUE(vms_->destroy("mvm-kernel-a"));
    }
    if (!folder_.empty()) {
      EXPECT_TRUE(remove_tree(folder_));
    }
  }
  void listen(const osvm::VmSpec& spec) {
    HostEnd::Options options{.path = osvm::channel_socket(spec.folder), .node = "lab/a"};
    options.way = GetParam() == Driver::kQemu ? HostEnd::Way::kConnect : HostEnd::Way::kListen;
    if (GetParam() == Driver::kLxc) options.peer_user = osvm::kFirstGuestId;
    HostEnd::Callbacks callbacks;
    callbacks.event = [this](const channel::Event& event) {
      const std::lock_guard lock(mutex_);
      if (event.name.ends_with(".output")) output_ += event.blob;
      if (event.name == "proc.exit" || event.name == "build.done") ended_ = event.args;
      changed_.notify_all();
      return ok();
    };
    auto host = HostEnd::start(std::move(options), std::move(callbacks));
    ASSERT_TRUE(host) << host.error().describe();
    host_ = std::move(*host);
  }
  nlohmann::json must(const std::string& op, const nlohmann::json& args = nlohmann::json::object()) {
    auto reply = host_->call(op, args, 60s);
    EXPECT_TRUE(reply) << op << ": " << reply.error().describe() << "\n" << console();
    return reply ? reply->result : nlohmann::json::object();
  }
  nlohmann::json wait_end() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 120s, [&] { return !ended_.is_null(); })) << console();
    return std::exchange(ended_, nlohmann::json());
  }
  std::string console() {
    auto piece = vms_->console("mvm-kernel-a", 0, 1 << 20);
    return piece ? piece->bytes : piece.error().describe();
  }
  std::string send_source(const std::string& name, const std::string& text) {
    std::string digest = *store_->put(*build::pack_text(name, text));
    const Status sent = channel::send_blob(*host_, *store_, digest, 30s);
    EXPECT_TRUE(sent) << sent.error().describe();
    return digest;
  }

  std::filesystem::path folder_;
  std::optional<BlobStore> store_;
  std::unique_ptr<osvm::Hypervisor> vms_;
  std::unique_ptr<HostEnd> host_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string output_;
  nlohmann::json ended_;
};

TEST_P(VmTest, BuildsAndRunsInside) {
  const nlohmann::json info = must("node.info");
  EXPECT_EQ(info.at("node"), "lab/a");
  EXPECT_THAT(info.at("plugins").get<std::vector<std::string>>(),
              testing::IsSupersetOf({"job", "builder", "queue"}));
  const std::string source =
      send_source("hello.c",
                  "#include <stdio.h>\n#include <unistd.h>\n"
                  "int main(void) { printf(\"hello from user %d\\n\", (int)getuid()); return 3; }\n");
  must("build.start",
       {{"key", sha256_hex("hello")},
        {"source", source},
        {"command", "gcc hello.c -o hello && ls /sys/class/net /proc/self/ns >/dev/null; id -un"}});
  const nlohmann::json built = wait_end();
  ASSERT_TRUE(built.at("ok").get<bool>()) << built.dump() << output_ << console();
  EXPECT_EQ(output_, "mvm\n");
  output_.clear();
  must("proc.start", {{"proc", "j.1/x"},
                      {"attempt", "j.1"},
                      {"argv", {"./hello"}},
                      {"tree", built.at("output").at("digest")}});
  EXPECT_EQ(wait_end().at("code"), 3);
  EXPECT_EQ(output_, "hello from user 1000\n");
  must("attempt.clean", {{"attempt", "j.1"}});
  RecordProperty("build_ms", std::to_string(built.at("wall_ms").get<int>()));
}

TEST_P(VmTest, TheHostEndMayGoAndComeBack) {
  must("proc.start", {{"proc", "j.1/x"},
                      {"attempt", "j.1"},
                      {"argv", {"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done"}}});
  host_.reset();
  osvm::VmSpec spec;
  spec.folder = folder_ / "a";
  {
    const std::lock_guard lock(mutex_);
    output_.clear();  // the new end has seen nothing
  }
  listen(spec);
  EXPECT_EQ(wait_end().at("code"), 0);
  {
    const std::lock_guard lock(mutex_);
    EXPECT_THAT(output_, testing::EndsWith("5\n6\n7\n8\n"));
  }
  must("attempt.clean", {{"attempt", "j.1"}});
}

INSTANTIATE_TEST_SUITE_P(Node, VmTest, testing::Values(Driver::kLxc, Driver::kQemu),
                         [](const auto& which) { return which.param == Driver::kLxc ? "Lxc" : "Qemu"; });

}  // namespace
}  // namespace mvm::kernel
