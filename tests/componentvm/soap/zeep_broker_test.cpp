// python3-zeep and a real mvmd: the source goes up, is compiled and run, the result comes back; and a node's
// own WSDL is answered from inside it.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/soap/client.h"
#include "mvm/soap/identity.h"

namespace mvm::soap {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class ZeepBrokerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-zeep-");
    ASSERT_EQ(::chmod(folder_.c_str(), 0711), 0);
    log_.reset(::open((folder_ / "log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    const std::string tree = std::filesystem::exists(MVM_BINARY_DIR "/stage/opt/mvm") ? MVM_BINARY_DIR
                                 "/stage/opt/mvm"
                                                                                      : MVM_BINARY_DIR;
    auto daemon = Subprocess::spawn(
        {.argv = {std::string(MVM_BINARY_DIR) + "/bin/mvmd", "--state", (folder_ / "state").string(),
                  "--shared-memory", (folder_ / "shm").string(), "--node-tree", tree, "--listen",
                  "127.0.0.1:0", "--drivers", "process"},
         .standard_output = log_.get(),
         .standard_error = log_.get()});
    ASSERT_TRUE(daemon) << daemon.error().describe();
    daemon_.emplace(std::move(*daemon));
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!std::filesystem::exists(folder_ / "state/url") && std::chrono::steady_clock::now() < end &&
           !daemon_->wait_for(20ms)) {
    }
    auto url = read_file(folder_ / "state/url", 1000);
    ASSERT_TRUE(url) << log();
    url_ = url->substr(0, url->find_last_not_of("/\n") + 1);
    token_ = read_token_file(folder_ / "state/token")->secret;
  }
  void TearDown() override {
    if (daemon_) daemon_->stop(20s);
    EXPECT_TRUE(remove_tree(folder_));
  }
  [[nodiscard]] std::string log() const { return read_file(folder_ / "log", 1 << 20).value_or("no log"); }
  [[nodiscard]] Captured run(std::vector<std::string> argv, std::chrono::seconds time) const {
    auto done = run_captured({.argv = std::move(argv)}, time, 4 << 20);
    EXPECT_TRUE(done) << done.error().describe() << log();
    return done ? *done : Captured{};
  }

  std::filesystem::path folder_;
  UniqueFd log_;
  std::optional<Subprocess> daemon_;
  std::string url_, token_;
};

constexpr const char* kSource = R"(
#include <stdio.h>
int main(void) {
  FILE* out = fopen("out.txt", "w");
  fprintf(out, "compiled where it runs\n");
  puts("hello from a node");
  return fclose(out);
}
)";

constexpr const char* kProfile = R"(<lab xmlns="urn:mvm:lab:1" name="zeep">
  <topology xmlns="urn:mvm:topology:1" name="one"><role name="cell"/></topology>
  <job xmlns="urn:mvm:job:1" name="zeep">
    <program role="cell">
      <source digest="@DIGEST@"/>
      <build command="gcc -O1 hello.c -o hello"/>
      <run>./hello</run>
    </program>
    <machines role="cell" driver="process" image="host" count="1"/>
    <stage out="out.txt" from="cell[0]"/>
    <limit walltime="2m"/>
  </job>
</lab>
)";

TEST_F(ZeepBrokerTest, FromSourceToResult) {
  ASSERT_TRUE(write_file_durably(folder_ / "hello.c", kSource));
  ASSERT_TRUE(write_file_durably(folder_ / "lab.xml", kProfile));
  const std::string archive = (folder_ / "src.tar").string();
  ASSERT_EQ(run({"tar", "-C", folder_.string(), "-cf", archive, "hello.c"}, 20s).status.code, 0);
  const auto done = run(
      {"/usr/bin/python3", std::string(MVM_SOURCE_DIR) + "/tests/integration/zeep_client.py", url_, token_,
       (folder_ / "lab.xml").string(), archive, "--result", "out.txt", "--expect", "compiled where it runs"},
      200s);
  EXPECT_EQ(done.status.code, 0) << done.output << done.errors << log();
  EXPECT_THAT(done.output, HasSubstr("hello from a node"));
}

TEST_F(ZeepBrokerTest, ANodeAnswersItsOwnWsdlAndTheBrokerReachesItsKernel) {
  auto client = BrokerClient::create({.url = url_, .token = token_, .timeout = 120s});
  ASSERT_TRUE(client) << client.error().describe();
  const auto lab = (*client)->create_lab(
      {}, {.profile = "<lab xmlns=\"urn:mvm:lab:1\" name=\"two\"><machines name=\"node\" driver=\"process\" "
                      "image=\"host\" count=\"2\"/></lab>",
           .file = "lab.xml"});
  ASSERT_TRUE(lab) << lab.error().describe() << log();
  std::vector<VmView> vms;
  const auto end = std::chrono::steady_clock::now() + 60s;
  const auto ready = [&] {
    vms = (*client)->vms({}, *lab).value_or(std::vector<VmView>());
    return vms.size() == 2 && !vms[0].wsdl.empty() && !vms[1].wsdl.empty();
  };
  while (!ready() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(20ms);
  ASSERT_TRUE(ready()) << log();
  const auto kernels =
      run({"/usr/bin/python3", std::string(MVM_SOURCE_DIR) + "/tests/integration/zeep_kernels.py", url_,
           token_, *lab},
          100s);
  EXPECT_EQ(kernels.status.code, 0) << kernels.output << kernels.errors << log();
  EXPECT_THAT(kernels.output, HasSubstr("kernels reached"));
  for (const VmView& vm : vms) {
    const auto fetched = run({"curl", "-sf", vm.wsdl}, 20s);
    EXPECT_EQ(fetched.status.code, 0) << vm.wsdl;
    EXPECT_THAT(fetched.output, HasSubstr("urn:mvm:node:1"));
    EXPECT_THAT(fetched.output, HasSubstr("location=\"" + vm.wsdl.substr(0, vm.wsdl.find("/?")) + "/node\""));
  }
  EXPECT_TRUE((*client)->destroy_lab({}, *lab));
  const auto gone = [&] { return !(*client)->lab({}, *lab); };
  while (!gone() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(20ms);
}

}  // namespace
}  // namespace mvm::soap
