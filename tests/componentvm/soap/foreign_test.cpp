// Foreign clients: python3-zeep with our WSDL, and gSOAP's own tools on it.

#include <gmock/gmock.h>

#include <thread>

#include "componentvm/soap/fixture.h"
#include "mvm/base/subprocess.h"

namespace mvm::soap {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

Captured run(std::vector<std::string> argv, const std::string& what) {
  auto done = run_captured({.argv = std::move(argv)}, seconds(100), 4 << 20);
  EXPECT_TRUE(done) << what << ": " << done.error().describe();
  return done ? *done : Captured{};
}

class ForeignTest : public SoapServerTest {
 protected:
  void SetUp() override {
    SoapServerTest::SetUp();
    serve();
  }
  void write(const std::string& name, const std::string& content) const {
    ASSERT_TRUE(write_file_durably(folder_ / name, content));
  }
};

TEST_F(ForeignTest, ZeepSubmitsFollowsAndFetches) {
  write("job.xml", "<job xmlns=\"urn:mvm:job:1\" name=\"<ü>\">@DIGEST@</job>");
  const std::string source("source \0 archive \xff\n", 19);
  write("src.tar", source);
  // The part of the machines: the job runs once it is there.
  std::thread machines([&] {
    const auto end = std::chrono::steady_clock::now() + seconds(60);
    while (client_->jobs({}, true)->empty() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(milliseconds(10));
    fake_.set_state("1", "RUNNING");
    fake_.add_log("1",
                  {.process = "cell[0]", .node = "n0", .stream = "out", .text = "hello from \x1b[1mcell\n"});
    fake_.add_result("1", "out.bin", std::string(3'000'000, 'r') + "the end");
    fake_.set_state("1", "DONE");
  });
  const auto done =
      run({"/usr/bin/python3", std::string(MVM_SOURCE_DIR) + "/tests/integration/zeep_client.py",
           server_->url(), user_.secret, (folder_ / "job.xml").string(), (folder_ / "src.tar").string(),
           "--set", "n=8", "--result", "out.bin", "--expect", "the end"},
          "zeep");
  machines.join();
  EXPECT_EQ(done.status.code, 0) << done.errors;
  EXPECT_THAT(done.output, HasSubstr("hello from \x1b[1mcell"));
  EXPECT_THAT(done.errors, HasSubstr("user ada"));
  EXPECT_EQ(fake_.blob(sha256_hex(source)), source);
  EXPECT_EQ(fake_.last_request().settings, (Settings{{"n", "8"}}));
  EXPECT_EQ(fake_.last_request().profile,
            "<job xmlns=\"urn:mvm:job:1\" name=\"<ü>\">" + sha256_hex(source) + "</job>");
}

TEST_F(ForeignTest, ZeepSeesDiagnosticsLiteralXmlAndAttachments) {
  fake_.diagnostics = {{"lab.xml", 3, 7, "found <a>"}};
  fake_.rewire_view = {.job = "12", .lab = "lab-1", .state = "preparing"};
  fake_.put("attached \r\n--mvm bytes");
  write("more.py", R"(
import sys
sys.path.insert(0, sys.argv[3])
import zeep_client as z
from lxml import etree
broker, store = z.connect(sys.argv[1], sys.argv[2])
found = z.expect_fault("invalid", broker.submit, request={"profile": "<x/>"})
assert found == [("lab.xml", "3", "7", "found <a>")], found
literal = etree.fromstring('<job xmlns="urn:mvm:job:1" name="a"><run>./x &lt; y</run></job>')
broker.validate(request={"document": {"_value_1": literal}})
edit = {"connect": True, "set": True, "link": "ring[0]", "attribute": [{"name": "ttl", "value": "2s"}]}
broker.rewire(request={"target": "12", "edit": [edit], "deadlineMs": 5000, "dryRun": False})
assert store.getBlob(digest=sys.argv[4]) == b"attached \r\n--mvm bytes"
print("seen")
)");
  const auto done =
      run({"/usr/bin/python3", (folder_ / "more.py").string(), server_->url(), user_.secret,
           std::string(MVM_SOURCE_DIR) + "/tests/integration", sha256_hex("attached \r\n--mvm bytes")},
          "zeep");
  EXPECT_THAT(done.output, HasSubstr("seen")) << done.errors;
  EXPECT_THAT(fake_.last_request().profile, HasSubstr("xmlns=\"urn:mvm:job:1\""));
  ASSERT_EQ(fake_.last_rewire().edits.size(), 1U);
  EXPECT_EQ(fake_.last_rewire().edits[0].kind, LinkEdit::Kind::kSet);
  EXPECT_EQ(fake_.last_rewire().edits[0].attributes, (Settings{{"ttl", "2s"}}));
  EXPECT_THAT(fake_.last_request().profile, HasSubstr("<run>./x &lt; y</run></job>"));
}

TEST_F(ForeignTest, GsoapTurnsOurWsdlIntoCodeThatCompiles) {
  write("whoami.cpp", R"(
#include "soapBrokerSoapProxy.h"
#include "BrokerSoap.nsmap"
#include <iostream>
int main(int, char** argv) {
  BrokerSoapProxy proxy(argv[1]);
  proxy.soap->bearer = argv[2];
  _ns1__whoami ask;
  ns1__whoamiResponse answer;
  if (proxy.whoami(&ask, answer) != SOAP_OK) {
    proxy.soap_stream_fault(std::cerr);
    return 1;
  }
  std::cout << "user " << answer.user << std::endl;
}
)");
  const std::string folder = folder_.string();
  for (const std::string service : {"broker", "store", "node", "host"})
    write(service + ".wsdl", wsdl_of(service, server_->url()));
  const std::string script =
      "cd " + folder +
      " && for s in broker store node host; do mkdir $s && wsdl2h -o $s/$s.h $s.wsdl && "
      "soapcpp2 -c++11 -j -C -x -L -I/usr/share/gsoap/import -d $s $s/$s.h || exit 1; done && "
      "g++ -w -O0 -Ibroker whoami.cpp broker/soapC.cpp broker/soap*Proxy.cpp "
      "$(pkg-config --cflags --libs gsoapssl++) -lssl -lcrypto -lz -o whoami";
  const auto built = run({"/bin/sh", "-c", script}, "wsdl2h and soapcpp2");
  ASSERT_EQ(built.status.code, 0) << built.output << built.errors;
  const auto done = run({folder + "/whoami", server_->url() + "/broker", user_.secret}, "whoami");
  EXPECT_EQ(done.output, "user ada\n") << done.errors;
}

}  // namespace
}  // namespace mvm::soap
