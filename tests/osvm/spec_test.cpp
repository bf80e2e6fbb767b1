#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "mvm/base/file.h"
#include "mvm/osvm/doctor.h"
#include "mvm/osvm/hypervisor.h"
#include "mvm/osvm/root_tree.h"

namespace mvm::osvm {
namespace {

VmSpec good() {
  VmSpec spec;
  spec.id = "mvm-lab-node";
  spec.labels = {"lab", "job", "node", 1};
  spec.argv = {"/opt/mvm/bin/mvm-kernel"};
  spec.folder = "/var/lib/mvm/labs/lab/nodes/node";
  return spec;
}

TEST(VmSpec, GoodOnePasses) { EXPECT_TRUE(validate(good())); }

TEST(VmSpec, EachBadFieldIsNamed) {
  const std::vector<std::pair<std::string, std::function<void(VmSpec&)>>> spoilers = {
      {"id", [](VmSpec& s) { s.id = "A"; }},
      {"id", [](VmSpec& s) { s.id = std::string(64, 'a'); }},
      {"id", [](VmSpec& s) { s.id = "-a"; }},
      {"lab", [](VmSpec& s) { s.labels.lab = "a/b"; }},
      {"lab", [](VmSpec& s) { s.labels.lab = ""; }},
      {"job", [](VmSpec& s) { s.labels.job = "a\nb"; }},
      {"node", [](VmSpec& s) { s.labels.node = "a b"; }},
      {"vcpus", [](VmSpec& s) { s.limits.vcpus = 0; }},
      {"cpu quota", [](VmSpec& s) { s.limits.cpu_quota = -1; }},
      {"cpu quota", [](VmSpec& s) { s.limits.cpu_quota = std::nan(""); }},
      {"memory", [](VmSpec& s) { s.limits.memory_bytes = 1; }},
      {"pids", [](VmSpec& s) { s.limits.pids = 1; }},
      {"network",
       [](VmSpec& s) {
         s.network = NetworkAttachment{"seventeen-letters", "10.0.0.2", 24, "", ""};
       }},
      {"address",
       [](VmSpec& s) {
         s.network = NetworkAttachment{"net", "10.0.0.256", 24, "", ""};
       }},
      {"prefix",
       [](VmSpec& s) {
         s.network = NetworkAttachment{"net", "10.0.0.2", 31, "", ""};
       }},
      {"mac",
       [](VmSpec& s) {
         s.network = NetworkAttachment{"net", "10.0.0.2", 24, "52:54:00:aa:bb:zz", ""};
       }},
      {"gateway",
       [](VmSpec& s) {
         s.network = NetworkAttachment{"net", "10.0.0.2", 24, "", "x"};
       }},
      {"host entry",
       [](VmSpec& s) {
         s.hosts = {{"a\nb", "10.0.0.1"}};
       }},
      {"host entry",
       [](VmSpec& s) {
         s.hosts = {{"a", "10.0.0.1 evil"}};
       }},
      {"shared region",
       [](VmSpec& s) {
         s.region = SharedRegion{"/dev/shm/../etc", 1 << 20};
       }},
      {"shared region",
       [](VmSpec& s) {
         s.region = SharedRegion{"/tmp/mvm-l", 1 << 20};
       }},
      {"shared region",
       [](VmSpec& s) {
         s.region = SharedRegion{"/dev/shm/mvm-l", 3 << 20};
       }},
      {"bind",
       [](VmSpec& s) {
         s.binds = {{"/a/../b", "/c", true}};
       }},
      {"bind",
       [](VmSpec& s) {
         s.binds = {{"/a", "c", true}};
       }},
      {"first program", [](VmSpec& s) { s.argv = {}; }},
      {"first program", [](VmSpec& s) { s.argv = {"kernel"}; }},
      {"argument", [](VmSpec& s) { s.argv.push_back("a\nb"); }},
      {"argument", [](VmSpec& s) { s.argv.push_back(std::string("a\0b", 3)); }},
      {"environment",
       [](VmSpec& s) {
         s.environment = {{"1A", "x"}};
       }},
      {"environment",
       [](VmSpec& s) {
         s.environment = {{"A", "x\ny"}};
       }},
      {"folder", [](VmSpec& s) { s.folder = "relative"; }},
      {"folder", [](VmSpec& s) { s.folder = "/" + std::string(100, 'f'); }},
      {"image", [](VmSpec& s) { s.image.kind = ImageKind::kDisk; }},
      {"image", [](VmSpec& s) { s.image.disk_format = "vmdk"; }},
      {"image", [](VmSpec& s) { s.image.arch = "../x"; }},
      {"tools", [](VmSpec& s) { s.tools = "../x"; }},
  };
  for (const auto& [field, spoil] : spoilers) {
    VmSpec spec = good();
    spoil(spec);
    const auto refused = validate(spec);
    ASSERT_FALSE(refused) << field;
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
    EXPECT_NE(refused.error().message().find(field), std::string::npos) << refused.error().message();
  }
}

TEST(NetworkSpec, ParsesStrictly) {
  EXPECT_EQ(*parse_ipv4("10.1.2.255"), 0x0a0102ffu);
  for (const char* bad :
       {"", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", " 1.2.3.4", "1.2.3.4 ", "1..2.3", "1.2.3.-4"})
    EXPECT_FALSE(parse_ipv4(bad)) << bad;
  EXPECT_EQ(parse_subnet("10.1.2.0/24")->mask, 0xffffff00u);
  for (const char* bad : {"10.1.2.0", "10.1.2.1/24", "10.0.0.0/7", "10.1.2.0/31", "10.1.2.0/2x"})
    EXPECT_FALSE(parse_subnet(bad)) << bad;
  EXPECT_TRUE(validate(NetworkSpec{"br", "lab", "10.1.2.0/24", "10.1.2.1"}));
  EXPECT_FALSE(validate(NetworkSpec{"br", "lab", "10.1.2.0/24", "10.1.3.1"}));
  EXPECT_FALSE(validate(NetworkSpec{"br", "lab", "10.1.2.0/24", "10.1.2.255"}));
  EXPECT_FALSE(validate(NetworkSpec{"a-bridge-too-far", "lab", "10.1.2.0/24", "10.1.2.1"}));
  EXPECT_EQ(mac_for("a"), mac_for("a"));
  EXPECT_NE(mac_for("a"), mac_for("b"));
}

class Folders : public testing::Test {
 protected:
  void SetUp() override { folder_ = *make_temporary_folder("/tmp", "mvm-osvm-"); }
  void TearDown() override { EXPECT_TRUE(remove_tree(folder_)); }
  VmSpec spec() const {
    VmSpec result = good();
    result.folder = folder_ / "node";
    return result;
  }
  std::filesystem::path folder_;
};

TEST_F(Folders, EtcIsOurOwn) {
  VmSpec vm = spec();
  vm.hosts = {{"peer", "10.9.8.7"}};
  const auto made = make_node_folder(vm, ::geteuid(), ::getegid());
  ASSERT_TRUE(made) << made.error().describe();
  const auto root = vm.folder / "root";
  EXPECT_FALSE(std::filesystem::exists(root / "etc/shadow"));
  const auto passwd = read_file(root / "etc/passwd", 1 << 16);
  ASSERT_TRUE(passwd);
  EXPECT_NE(passwd->find("mvm:x:1000:1000"), std::string::npos);
  EXPECT_EQ(std::count(passwd->begin(), passwd->end(), '\n'), 3) << "root, mvm, nobody; none of the host's";
  EXPECT_NE(read_file(root / "etc/hosts", 1 << 16)->find("10.9.8.7 peer\n"), std::string::npos);
  EXPECT_EQ(std::filesystem::read_symlink(root / "bin"), "usr/bin");
  EXPECT_TRUE(std::filesystem::is_directory(work_folder(vm.folder)));
}

TEST_F(Folders, AlternativesAreSharedAndLeadIntoUsr) {
  const auto image = folder_ / "image/etc/alternatives";
  std::filesystem::create_directories(image);
  std::filesystem::create_symlink("/usr/bin/g++-9", image / "c++");
  std::filesystem::create_symlink("/usr/share/man/man1/g++.1.gz", image / "c++.1.gz");
  std::filesystem::create_symlink("/etc/shadow", image / "evil");
  const auto first = alternatives_folder(folder_ / "image", folder_ / "cache");
  ASSERT_TRUE(first) << first.error().describe();
  EXPECT_EQ(std::filesystem::read_symlink(*first / "c++"), "/usr/bin/g++-9");
  EXPECT_FALSE(std::filesystem::is_symlink(*first / "c++.1.gz"));
  EXPECT_FALSE(std::filesystem::is_symlink(*first / "evil"));
  EXPECT_EQ(*alternatives_folder(folder_ / "image", folder_ / "cache"), *first) << "one for all nodes";
  std::filesystem::create_symlink("/usr/bin/gcc-9", image / "cc");
  EXPECT_NE(*alternatives_folder(folder_ / "image", folder_ / "cache"), *first) << "named by content";
}

TEST_F(Folders, TheRootMayBeMadeElsewhere) {
  VmSpec vm = spec();
  vm.scratch = folder_ / "memory/node";
  ASSERT_TRUE(make_node_folder(vm, ::geteuid(), ::getegid()));
  EXPECT_EQ(root_folder(vm), vm.scratch / "root");
  EXPECT_TRUE(std::filesystem::exists(vm.scratch / "root/etc/passwd"));
  EXPECT_FALSE(std::filesystem::exists(vm.folder / "root"));
  if (::geteuid() == 0) {
    EXPECT_EQ(std::filesystem::status(vm.scratch).permissions(), std::filesystem::perms(0710));
  }
  ASSERT_TRUE(remove_root(vm.folder, vm.scratch));
  EXPECT_TRUE(std::filesystem::is_empty(vm.scratch));
  EXPECT_TRUE(std::filesystem::is_directory(work_folder(vm.folder)));
}

TEST_F(Folders, AlternativesAreLookedAtAgainWhenTheyChange) {
  const auto links = folder_ / "image/etc/alternatives";
  std::filesystem::create_directories(links);
  std::filesystem::create_symlink("/usr/bin/gcc-9", links / "cc");
  Alternatives alternatives(folder_ / "cache");
  const auto first = *alternatives.folder(folder_ / "image");
  EXPECT_EQ(*alternatives.folder(folder_ / "image"), first);
  std::filesystem::create_symlink("/usr/bin/g++-9", links / "c++");
  EXPECT_NE(*alternatives.folder(folder_ / "image"), first);
}

TEST_F(Folders, WhatAnEarlierGuestLeftIsNotFollowed) {
  const VmSpec vm = spec();
  ASSERT_TRUE(make_node_folder(vm, ::geteuid(), ::getegid()));
  // The guest owns root/: it may replace anything in it by links out.
  const auto victim = folder_ / "victim";
  std::filesystem::create_directories(victim);
  std::ofstream(victim / "precious") << "1";
  ASSERT_TRUE(remove_tree(vm.folder / "root/etc"));
  std::filesystem::create_symlink(victim, vm.folder / "root/etc");
  ASSERT_TRUE(make_node_folder(vm, ::geteuid(), ::getegid()));
  EXPECT_TRUE(std::filesystem::exists(victim / "precious"));
  EXPECT_FALSE(std::filesystem::exists(victim / "passwd"));
  ASSERT_TRUE(remove_root(vm.folder));
  EXPECT_FALSE(std::filesystem::exists(vm.folder / "root"));
}

TEST_F(Folders, ConsoleRefusesTricks) {
  const auto log = folder_ / "console.log";
  EXPECT_EQ(read_console(log, 0, 10)->bytes, "") << "missing reads as empty";
  std::ofstream(log) << "0123456789";
  EXPECT_EQ(read_console(log, 4, 3)->bytes, "456");
  EXPECT_EQ(read_console(log, 4, 3)->next, 7u);
  const auto link = folder_ / "link";
  std::filesystem::create_symlink("/etc/passwd", link);
  EXPECT_EQ(read_console(link, 0, 10).error().code(), ErrorCode::kRefused);
  const auto fifo = folder_ / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(read_console(fifo, 0, 10).error().code(), ErrorCode::kRefused) << "and it did not block";
}

TEST_F(Folders, DoctorLooksAtTheMachine) {
  const auto checks = check_machine(folder_);
  for (const char* name :
       {"control-groups", "shared-memory", "message-queues", "disk", "compiler", "user-namespaces"}) {
    const auto found =
        std::find_if(checks.begin(), checks.end(), [&](const Check& check) { return check.name == name; });
    ASSERT_NE(found, checks.end()) << name;
    EXPECT_FALSE(found->found.empty()) << name;
    EXPECT_EQ(found->ok, found->mend.empty()) << name << ": " << found->mend;
  }
}

}  // namespace
}  // namespace mvm::osvm
