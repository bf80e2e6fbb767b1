// check_libvirt() with and without a libvirtd.

#include "private_libvirt.h"

namespace mvm::osvm::contract {
namespace {

TEST(LibvirtDoctor, SaysHowToMendAMissingDaemon) {
  const auto checks = libvirt::check_libvirt({.uri = "lxc:///?socket=/nonexistent/libvirt-sock"}, {});
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_FALSE(checks[0].ok);
  EXPECT_NE(checks[0].found.find("/nonexistent/libvirt-sock"), std::string::npos) << checks[0].found;
  EXPECT_NE(checks[0].mend.find("libvirtd-private"), std::string::npos);
}

TEST(LibvirtDoctor, BootsWhatItCallsGood) {
  PrivateLibvirt daemon(PrivateLibvirt::Loop::kNone);
  if (!daemon.missing().empty()) GTEST_SKIP() << daemon.missing();
  const std::filesystem::path image = std::filesystem::path(MVM_BINARY_DIR) / "tests/qemu-image";
  SpawnOptions options;
  options.argv = {std::string(MVM_SOURCE_DIR) + "/packaging/make-qemu-image", image.string()};
  const auto tool = run_captured(std::move(options), 60s);
  ASSERT_TRUE(tool && tool->status.success());
  const auto checks = libvirt::check_libvirt({.uri = daemon.uri("LXC"), .cache = daemon.cache()},
                                             {.uri = daemon.uri("QEMU"),
                                              .kernel = image / "kernel",
                                              .initramfs = image / "initramfs",
                                              .cache = daemon.cache()});
  ASSERT_EQ(checks.size(), 3u);
  for (const Check& check : checks)
    EXPECT_TRUE(check.ok) << check.name << ": " << check.found << "; " << check.mend;

  const auto without = libvirt::check_libvirt({.uri = daemon.uri("LXC"), .cache = daemon.cache()},
                                              {.uri = daemon.uri("QEMU"), .cache = daemon.cache()});
  ASSERT_EQ(without.size(), 3u);
  EXPECT_FALSE(without[2].ok) << "no guest kernel was given";
  EXPECT_NE(without[2].mend.find("make-qemu-image"), std::string::npos);
}

}  // namespace
}  // namespace mvm::osvm::contract
