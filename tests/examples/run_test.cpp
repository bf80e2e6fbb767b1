// The examples through the whole product: command line, broker, containers and guests through a libvirtd of
// the test's own. Each is run by its own script, which compares the result with expected/.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"

namespace mvm::test {
namespace {

using testing::HasSubstr;
using Variables = std::vector<std::pair<std::string, std::string>>;

const std::filesystem::path kSource = MVM_SOURCE_DIR;

/// An all-in-one daemon, for all tests of this program.
class Daemon : public testing::Environment {
 public:
  void SetUp() override {
    const auto made = make_temporary_folder("/tmp", "mvm-examples-");
    ASSERT_TRUE(made);
    folder_ = *made;
    std::filesystem::permissions(folder_, std::filesystem::perms(0711));
    memory_ = std::filesystem::path("/dev/shm") / folder_.filename();
    const Captured said = run({tool(), "start", folder_, "--build", MVM_BINARY_DIR, "--port", "0",
                               "--private", "--", "--shared-memory", memory_},
                              std::chrono::minutes(3));
    ASSERT_TRUE(said.status.success()) << said.errors << log_tail();
    std::istringstream lines(said.output);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t sign = line.find('=');
      settings_.emplace_back(line.substr(0, sign), line.substr(sign + 1));
    }
  }

  void TearDown() override {
    const Captured said = run({tool(), "stop", folder_}, std::chrono::minutes(3));
    EXPECT_TRUE(said.status.success()) << said.errors << log_tail();
    EXPECT_TRUE(remove_tree(folder_));
    EXPECT_TRUE(remove_tree(memory_));
  }

  /// Runs a program with the daemon's settings.
  Captured run(std::vector<std::string> argv, std::chrono::seconds limit, Variables more = {}) const {
    more.insert(more.end(), settings_.begin(), settings_.end());
    auto said = run_captured({.argv = std::move(argv), .environment = std::move(more)}, limit);
    if (!said) {
      ADD_FAILURE() << said.error().describe() << log_tail();
      return {.status = {.code = 125}};
    }
    return *said;
  }

  Captured mvm(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), MVM_BINARY_DIR "/bin/mvm");
    return run(std::move(arguments), std::chrono::minutes(1));
  }

  std::string log_tail() const {
    auto text = read_file(folder_ / "mvmd.log", 64 << 20);
    if (!text) return "";
    return "\nthe daemon's log ends:\n" +
           text->substr(text->size() - std::min<std::size_t>(text->size(), 4000));
  }

  /// A new folder below the daemon's.
  std::filesystem::path new_folder(const std::string& name) const {
    std::filesystem::path path = folder_ / name;
    EXPECT_TRUE(make_folders(path));
    return path;
  }

 private:
  static std::string tool() { return kSource / "packaging/all-in-one"; }
  std::filesystem::path folder_, memory_;
  Variables settings_;
};

Daemon* const daemon = static_cast<Daemon*>(testing::AddGlobalTestEnvironment(new Daemon));

class Example : public testing::Test {
 protected:
  /// Runs an example's script; the folder with its results.
  std::filesystem::path run(const std::filesystem::path& example,
                            const std::vector<std::string>& options = {}) {
    static int number = 0;
    auto results = daemon->new_folder("results-" + std::to_string(++number));
    std::vector<std::string> argv{example / "run"};
    argv.insert(argv.end(), options.begin(), options.end());
    const Captured said = daemon->run(argv, std::chrono::minutes(5), {{"MVM_OUT", results}});
    EXPECT_TRUE(said.status.success()) << said.output << said.errors << daemon->log_tail();
    output_ = said.output + said.errors;
    return results;
  }

  /// A copy of an example whose machines are QEMU guests: nothing else changes.
  static std::filesystem::path on_qemu(const std::string& name) {
    std::filesystem::path folder = daemon->new_folder("qemu") / name;
    std::filesystem::copy(kSource / "examples" / name, folder, std::filesystem::copy_options::recursive);
    std::filesystem::copy(kSource / "examples/common.sh", folder.parent_path() / "common.sh",
                          std::filesystem::copy_options::overwrite_existing);
    std::string job = read_file(folder / "job.xml", 1 << 20).value();
    for (const auto& [from, to] :
         {std::pair{R"(driver="lxc" image="host")", R"(driver="qemu" image="qemu-debian")"},
          std::pair{R"(memory="256MiB")", R"(memory="384MiB")"}}) {
      const std::size_t at = job.find(from);
      EXPECT_NE(at, std::string::npos) << from;
      job.replace(at, std::string_view(from).size(), to);
    }
    std::ofstream(folder / "job.xml") << job;
    return folder;
  }

  void TearDown() override {
    // Whatever ran, nothing of it stays.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (count("vm") + count("lab") > 0 && std::chrono::steady_clock::now() < deadline) {
    }
    EXPECT_EQ(count("vm"), 0U);
    EXPECT_EQ(count("lab"), 0U);
  }

  static std::size_t count(const std::string& noun) {
    return nlohmann::json::parse(daemon->mvm({noun, "list", "-o", "json"}).output)["items"].size();
  }

  std::string output_;
};

std::filesystem::path example(const std::string& name) { return kSource / "examples" / name; }

TEST_F(Example, WordCount) { run(example("01-wordcount")); }
TEST_F(Example, WordCountOnMoreProcesses) { run(example("01-wordcount"), {"--set", "n=8"}); }
TEST_F(Example, WordCountOnQemu) { run(on_qemu("01-wordcount")); }

TEST_F(Example, Heat) {
  run(example("02-heat"));
  EXPECT_THAT(output_, HasSubstr("equal the serial answer"));
}
TEST_F(Example, HeatOnQemu) { run(on_qemu("02-heat")); }

TEST_F(Example, FftOnContainersAndAGuest) {
  run(example("03-fft"));
  EXPECT_THAT(output_, HasSubstr("agree with the serial transform to 1e-9"));
}
TEST_F(Example, FftOnTwoProcesses) { run(example("03-fft"), {"--set", "n=2"}); }
TEST_F(Example, FftOnSixteenProcesses) { run(example("03-fft"), {"--set", "n=16"}); }

TEST_F(Example, Farm) { run(example("04-farm")); }

TEST_F(Example, Mimd) { run(example("06-mimd")); }
TEST_F(Example, MimdOnQemu) { run(on_qemu("06-mimd")); }

TEST_F(Example, Lab) {
  run(example("05-lab"));
  EXPECT_THAT(output_, HasSubstr("greeter 1 of 2 says hello"));
  EXPECT_THAT(output_, HasSubstr("the token passed 400 hands"));
}

}  // namespace
}  // namespace mvm::test
