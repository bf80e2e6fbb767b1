// packaging/libvirtd-private: several side by side, in network namespaces of their own, gone when stopped.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "mvm/base/digest.h"
#include "private_libvirt.h"

namespace mvm::osvm::contract {
namespace {

bool succeeds(std::vector<std::string> argv) {
  SpawnOptions options;
  options.argv = std::move(argv);
  const auto done = run_captured(std::move(options), 60s);
  return done && done->status.success();
}

class LibvirtdPrivate : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, for libvirtd and namespaces";
    folder_ = *make_temporary_folder("/tmp", "mvm-lvp-");
    ::chmod(folder_.c_str(), 0711);
    ASSERT_TRUE(succeeds({"ip", "netns", "add", netns_}));
    ASSERT_TRUE(run("start", "a").success());
    ASSERT_TRUE(run("start", "b", {"--netns", netns_}).success());
  }
  void TearDown() override {
    if (folder_.empty()) return;
    static_cast<void>(run("stop", "a"));
    static_cast<void>(run("stop", "b"));
    static_cast<void>(succeeds({"ip", "netns", "delete", netns_}));
    EXPECT_TRUE(remove_tree(folder_)) << "no mount may be left in it";
  }

  ExitStatus run(const std::string& verb, const std::string& which, std::vector<std::string> more = {}) {
    SpawnOptions options;
    options.argv = {std::string(MVM_SOURCE_DIR) + "/packaging/libvirtd-private", verb,
                    (folder_ / which).string()};
    options.argv.insert(options.argv.end(), more.begin(), more.end());
    const auto done = run_captured(std::move(options), 60s);
    if (!done) return {255, 0};
    if (!done->status.success()) std::fprintf(stderr, "%s", done->errors.c_str());
    return done->status;
  }
  /// A container that does nothing, on a network of this name.
  bool start_guest(const std::string& which, const std::string& name, const std::string& network) {
    const std::string uri = "lxc:///?socket=" + (folder_ / which / "sock/libvirt-sock").string();
    const auto file = folder_ / "guest.xml";
    EXPECT_TRUE(write_file_durably(
        file, "<network><name>" + network + "</name><bridge name='" + network +
                  "'/><dns enable='no'/><ip address='10.214.9.1' prefix='24'/></network>"));
    if (!succeeds({"virsh", "-c", uri, "net-create", file.string()})) return false;
    EXPECT_TRUE(write_file_durably(
        file,
        "<domain type='lxc'><name>" + name +
            "</name><memory unit='MiB'>64</memory><os><type>exe</type><init>/bin/sleep</init>"
            "<initarg>1000</initarg></os><features><privnet/></features><devices><filesystem type='mount'>"
            "<source dir='/'/><target dir='/'/><readonly/></filesystem><interface type='network'><source "
            "network='" +
            network + "'/></interface><console type='pty'/></devices></domain>"));
    return succeeds({"virsh", "-c", uri, "create", file.string()});
  }

  std::filesystem::path folder_;
  const std::string tag_ = random_hex(3);
  const std::string netns_ = "mvm-t" + tag_;
};

TEST_F(LibvirtdPrivate, TwoRunSideBySideAndLeaveNothing) {
  EXPECT_TRUE(run("start", "a").success()) << "starting twice is no error";
  EXPECT_TRUE(run("status", "a").success());
  // The same bridge and subnet twice: only their network namespaces keep them apart.
  const std::string bridge = "mb" + tag_;
  ASSERT_TRUE(start_guest("a", "mvm-" + tag_ + "-ga", bridge));
  ASSERT_TRUE(start_guest("b", "mvm-" + tag_ + "-gb", bridge));
  EXPECT_EQ(processes_with("mvm-" + tag_ + "-ga").size(), 1u);
  ASSERT_TRUE(run("stop", "b").success());
  EXPECT_EQ(run("status", "b").code, 3);
  EXPECT_TRUE(processes_with("mvm-" + tag_ + "-gb").empty());
  EXPECT_FALSE(processes_with("mvm-" + tag_ + "-ga").empty()) << "the other is left alone";
  EXPECT_FALSE(succeeds({"ip", "-n", netns_, "link", "show", bridge}));
  ASSERT_TRUE(run("stop", "a").success());
  EXPECT_TRUE(processes_with("mvm-" + tag_ + "-ga").empty());
  EXPECT_FALSE(std::filesystem::exists("/sys/class/net/" + bridge));
  EXPECT_TRUE(run("stop", "a").success()) << "stopping twice is no error";
}

TEST_F(LibvirtdPrivate, StopCleansUpAfterADeadDaemon) {
  const std::string bridge = "mb" + tag_;
  const std::string name = "mvm-" + tag_ + "-gc";
  ASSERT_TRUE(start_guest("a", name, bridge));
  const auto pid = read_file(folder_ / "a/run/libvirtd.pid", 64);
  ASSERT_TRUE(pid);
  ASSERT_EQ(::kill(std::stoi(*pid), SIGKILL), 0);
  ASSERT_TRUE(run("stop", "a").success());
  EXPECT_TRUE(processes_with(name).empty());
  EXPECT_FALSE(std::filesystem::exists("/sys/class/net/" + bridge));
  SpawnOptions rules;
  rules.argv = {"/usr/sbin/iptables", "-w", "-S"};
  const auto listed = run_captured(std::move(rules), 10s);
  ASSERT_TRUE(listed && listed->status.success());
  EXPECT_EQ(listed->output.find(bridge), std::string::npos) << "the firewall's rules go with the bridge";
  ASSERT_TRUE(run("start", "a").success());
  EXPECT_TRUE(start_guest("a", name, bridge)) << "nothing of the dead is in the way";
}

TEST_F(LibvirtdPrivate, RestartKeepsGuests) {
  const std::string name = "mvm-" + tag_ + "-gd";
  ASSERT_TRUE(start_guest("b", name, "mb" + tag_));
  ASSERT_TRUE(run("restart", "b").success());
  EXPECT_FALSE(processes_with(name).empty());
  EXPECT_TRUE(succeeds(
      {"virsh", "-c", "lxc:///?socket=" + (folder_ / "b/sock/libvirt-sock").string(), "dominfo", name}));
}

}  // namespace
}  // namespace mvm::osvm::contract
