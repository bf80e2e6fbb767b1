// The library as a user's build finds it: installed to a prefix, moved elsewhere, used through pkg-config
// from C.
#include <gmock/gmock.h>

#include <filesystem>

#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"

namespace mvm {
namespace {

using namespace std::chrono_literals;

constexpr const char* kProgram = R"(
#include <mvm.h>
#include <stdio.h>
int main(void) {
  mvm_packer packer;
  unsigned char bytes[16];
  mvm_opts options = MVM_OPTS_INIT;
  options.timeout_ns = MVM_MS(5);
  mvm_pack_init(&packer, bytes, sizeof bytes);
  if (mvm_pack_i32(&packer, 7) != MVM_OK || packer.size != 5) return 1;
  if (mvm_attach() != MVM_ENOTMVM) return 2;
  if (mvm_enqueue(0, "x", 1, &options) != MVM_ENOTMVM) return 3;
  printf("%s\n", mvm_strerror(MVM_EOS));
  return 0;
}
)";

Captured shell(const std::string& command) {
  return run_captured({.argv = {"/bin/sh", "-c", command}}, 60s).value();
}

class Installed : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef MVM_SANITIZED
    GTEST_SKIP() << "a program compiled without sanitizers cannot load an instrumented libmvm";
#endif
    folder_ = make_temporary_folder("/tmp", "mvm-install-").value();
    const Captured done =
        shell("cmake --install " MVM_BINARY_DIR " --component libmvm --prefix " + first().string());
    ASSERT_TRUE(done.status.success()) << done.output << done.errors;
    ASSERT_TRUE(make_folders(folder_ / "opt"));
    std::filesystem::rename(first(), prefix());  // nothing may remember where it was put first
  }
  void TearDown() override {
    if (!folder_.empty()) {
      EXPECT_TRUE(remove_tree(folder_));
    }
  }
  [[nodiscard]] std::filesystem::path first() const { return folder_ / "first"; }
  [[nodiscard]] std::filesystem::path prefix() const { return folder_ / "opt/mvm"; }
  std::filesystem::path folder_;
};

TEST_F(Installed, ACProgramBuildsThroughPkgConfigAndRuns) {
  ASSERT_TRUE(write_file_durably(folder_ / "a.c", kProgram));
  const std::string flags =
      "PKG_CONFIG_PATH=" + (prefix() / "lib/pkgconfig").string() + " pkg-config --cflags --libs mvm";
  const Captured built = shell("cd " + folder_.string() +
                               " && gcc -std=c11 -Wall -Wextra -pedantic -Werror a.c -o a $(" + flags + ")");
  ASSERT_TRUE(built.status.success()) << built.errors;
  const Captured ran = shell((folder_ / "a").string());
  EXPECT_EQ(ran.status.code, 0);
  EXPECT_EQ(ran.output, "end of stream\n");
  const Captured linked = shell("readelf -d " + (folder_ / "a").string());
  EXPECT_THAT(linked.output, ::testing::HasSubstr("libmvm.so.1"));
}

TEST_F(Installed, TheStaticLibraryWillDo) {
  ASSERT_TRUE(write_file_durably(folder_ / "a.c", kProgram));
  const Captured built =
      shell("cd " + folder_.string() + " && gcc -std=c11 a.c -I" + (prefix() / "include").string() +
            " -o a " + (prefix() / "lib/libmvm.a").string() + " -lstdc++ -lm");
  ASSERT_TRUE(built.status.success()) << built.errors;
  EXPECT_EQ(shell((folder_ / "a").string()).status.code, 0);
}

TEST_F(Installed, NothingButTheApiIsVisible) {
  const Captured symbols = shell("nm -D --defined-only " + (prefix() / "lib/libmvm.so.1").string() +
                                 " | grep -v ' mvm_' | grep -v MVM_1");
  EXPECT_EQ(symbols.output, "");
  const Captured needs = shell("readelf -d " + (prefix() / "lib/libmvm.so.1").string() + " | grep NEEDED");
  EXPECT_THAT(needs.output, ::testing::Not(::testing::HasSubstr("crypto")));
}

TEST_F(Installed, TheCppFaceBuildsThroughCmake) {
  ASSERT_TRUE(make_folders(folder_ / "user"));
  ASSERT_TRUE(write_file_durably(
      folder_ / "user/CMakeLists.txt",
      "cmake_minimum_required(VERSION 3.25)\nproject(user CXX)\nset(CMAKE_CXX_STANDARD 20)\n"
      "find_package(mvm 1 REQUIRED)\nadd_executable(a a.cpp)\ntarget_link_libraries(a mvm::mvm)\n"));
  ASSERT_TRUE(write_file_durably(
      folder_ / "user/a.cpp",
      "#include <mvm.hpp>\nint main() { try { mvm::Process self; } catch (const mvm::Failure& e) "
      "{ return e.code() == MVM_ENOTMVM ? 0 : 1; } return 2; }\n"));
  const Captured built =
      shell("cd " + (folder_ / "user").string() +
            " && cmake -S . -B b -DCMAKE_PREFIX_PATH=" + prefix().string() + " && cmake --build b && b/a");
  EXPECT_TRUE(built.status.success()) << built.output << built.errors;
}

}  // namespace
}  // namespace mvm
