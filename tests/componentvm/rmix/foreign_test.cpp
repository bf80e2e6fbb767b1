// Other people's tools call our services, and ours call theirs: python3-zeep by the WSDL, rpcgen's stubs by
// the definition.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <mutex>

#include "componentvm/rmix/ways.h"
#include "desk.rmix.h"
#include "mvm/base/subprocess.h"
#include "mvm/rmix/client.h"
#include "mvm/rmix/server.h"

namespace mvm::rmix::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class DeskImpl final : public DeskServer {
 public:
  Reply<std::int32_t> add(std::int32_t a, std::int32_t b) override { return a + b; }
  Reply<Guest> welcome(Guest guest) override {
    if (guest.name == "nobody") return Full{.beds = -5};
    if (guest.name == "stranger") return Error(ErrorCode::kConflict, "not you");
    return guest;
  }
  Status ring(std::uint32_t times) override {
    rung_ += times;
    return ok();
  }
  Reply<std::uint64_t> rings() override { return rung_.load(); }
  Reply<std::vector<double>> measure(std::vector<double> of) override { return of; }

 private:
  std::atomic<std::uint64_t> rung_ = 0;
};

class Foreign : public testing::Test {
 protected:
  /// Serves the desk; the address behind "://".
  std::string serve(const std::string& scheme, Permission permission = {}) {
    server_ = Server::create(providers(), {.permission = std::move(permission)});
    EXPECT_TRUE(server_->add("desk", std::make_shared<DeskImpl>()));
    const auto open = server_->listen(scheme + "://127.0.0.1:0");
    EXPECT_TRUE(open) << open.error().describe();
    return open->substr(scheme.size() + 3);
  }
  static Captured run(std::vector<std::string> argv) {
    auto done = run_captured({.argv = std::move(argv)}, 60s);
    EXPECT_TRUE(done) << done.error().describe();
    return done ? *done : Captured{};
  }
  std::unique_ptr<Server> server_;
};

/// Sends bytes as they are; what comes back until the end of the connection.
std::string talk(const std::string& address, const std::string& bytes) {
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  (void)::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  ::shutdown(fd.get(), SHUT_WR);
  auto answer = read_all(fd.get(), 1 << 20);
  return answer ? *answer : "";
}

std::string post(const std::string& body, const std::string& path = "/desk") {
  return "POST " + path +
         " HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\nConnection: close\r\n\r\n" + body;
}

std::string envelope(const std::string& inner) {
  return "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body>" + inner +
         "</e:Body></e:Envelope>";
}

TEST_F(Foreign, ZeepCallsByTheWsdlAlone) {
  const std::string address =
      serve("soap+http", [](const Caller& caller, const Interface&, const Method&) -> Status {
        if (caller.token == "sesame") return ok();
        return Error(ErrorCode::kRefused, "say the word");
      });
  const Captured done = run({"/usr/bin/python3", MVM_SOURCE_DIR "/tests/componentvm/rmix/desk_zeep.py",
                             "http://" + address + "/desk?wsdl", "sesame"});
  EXPECT_EQ(done.output, "good\n") << done.errors;
  const std::string refused = talk(address, post(envelope("<rings xmlns=\"urn:mvm:rmix:Desk:2\"/>")));
  EXPECT_THAT(refused, HasSubstr("HTTP/1.1 500"));
  EXPECT_THAT(refused, HasSubstr("say the word"));
}

TEST_F(Foreign, WhatIsNoCallOfSoapIsAnsweredWithAFault) {
  const std::string address = serve("soap+http");
  const auto fault = [&](const std::string& body) {
    std::string said = talk(address, post(body));
    EXPECT_THAT(said, HasSubstr("HTTP/1.1 500")) << body.substr(0, 200);
    EXPECT_THAT(said, HasSubstr("<fate>not-run</fate>")) << body.substr(0, 200);
    return said;
  };
  EXPECT_THAT(fault(envelope("<sing/>")), HasSubstr("no method"));
  EXPECT_THAT(fault(envelope("<add><a>1</a></add>")), HasSubstr("expected \"b\""));
  EXPECT_THAT(fault(envelope("<add><b>1</b><a>1</a></add>")), HasSubstr("expected \"a\""));
  EXPECT_THAT(fault(envelope("<add><a>1</a><b>2</b><c>3</c></add>")), HasSubstr("expected no more"));
  EXPECT_THAT(fault(envelope("<add><a>one</a><b>2</b></add>")), HasSubstr("expected int32"));
  EXPECT_THAT(fault(envelope("<add><a>1<x/></a><b>2</b></add>")), HasSubstr("SOAP message"));
  fault(envelope("<measure><of><thing>1</thing></of></measure>"));
  fault(envelope(""));
  fault("<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"/>");
  fault("<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]>" + envelope("<rings/>"));
  fault(envelope("<rings>") + "x");
  fault("\xff\xfe");
  fault("");
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "<a>";
  fault(envelope(deep));
  std::string many = "<rings";
  for (int i = 0; i < 5000; ++i) many += " a" + std::to_string(i) + "=''";
  fault(envelope(many + "/>"));
  EXPECT_THAT(talk(address, post(envelope("<rings/>"), "/nobody")), HasSubstr("not-found"));
  EXPECT_THAT(talk(address, "GET /desk HTTP/1.1\r\n\r\n"), HasSubstr("404"));
  EXPECT_THAT(talk(address, "PUT /desk HTTP/1.1\r\n\r\n"), HasSubstr("405"));
  EXPECT_THAT(
      talk(address, "POST /desk HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: 10000000000\r\n\r\n"),
      HasSubstr("413"));
  EXPECT_THAT(talk(address,
                   "POST /desk HTTP/1.1\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "zz\r\n"),
              HasSubstr("400"));
  // Far more than is read: the answer comes all the same.
  for (const std::size_t size : {(std::size_t{16} << 10U) - 4, std::size_t{1} << 20U, std::size_t{8} << 20U})
    EXPECT_THAT(talk(address, "GET /" + std::string(size, 'x')), HasSubstr("431")) << size;
  // And it still serves.
  EXPECT_THAT(talk(address, post(envelope("<add><a> 1 </a><b>+2</b></add>"))),
              HasSubstr("<result>3</result>"));
}

TEST_F(Foreign, AStockClientCallsOverOncRpc) {
  const std::string address = serve("onc+tcp");
  const Captured done =
      run({MVM_BINARY_DIR "/tests/rmix_stock_client", address.substr(address.rfind(':') + 1)});
  EXPECT_TRUE(done.status.success()) << done.status.code << done.errors;
  EXPECT_EQ(done.output,
            "sum 42\nguest Ada 36 r\xc3\xb6tlich 3\nfull -5\nfailure ran conflict\nrings 3\nversion 1\n");
}

TEST_F(Foreign, WeCallAStockServerOverOncRpc) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd out(ends[0]);
  UniqueFd in(ends[1]);
  auto server =
      Subprocess::spawn({.argv = {MVM_BINARY_DIR "/tests/rmix_stock_server"}, .standard_output = in.get()});
  ASSERT_TRUE(server) << server.error().describe();
  in.reset();
  std::string port;
  for (char c = 0; ::read(out.get(), &c, 1) == 1 && c != '\n';) port += c;
  const auto client = Client::create(providers(), {.token = "unseen"});
  auto desk = DeskClient::bind(*client, {"desk", {"onc+tcp://127.0.0.1:" + port}});
  ASSERT_TRUE(desk) << desk.error().describe();
  EXPECT_EQ(*desk->add(40, 2), 42);
  const Guest guest{.name = "Ada", .age = 36, .bags = {"a", ""}, .stamp = {std::byte{0}, std::byte{255}}};
  const auto welcome = desk->welcome(guest);
  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->name, "Ada");
  EXPECT_EQ(welcome->bags, guest.bags);
  EXPECT_EQ(welcome->stamp, guest.stamp);
  const auto full = desk->welcome({.name = "nobody"});
  ASSERT_TRUE(full.as<Full>());
  EXPECT_EQ(full.as<Full>()->beds, -5);
  const auto failed = desk->welcome({.name = "stranger"});
  ASSERT_NE(failed.failure(), nullptr);
  EXPECT_EQ(failed.failure()->error.code(), ErrorCode::kConflict);
  EXPECT_EQ(failed.failure()->fate, Fate::kRan);
  EXPECT_TRUE(desk->ring(3));
  EXPECT_EQ(*desk->rings(), 3U);
  EXPECT_EQ((*desk->measure(std::vector<double>(1000, 0.5))).size(), 1000U);
}

TEST_F(Foreign, WhatIsNoCallOfOncRpcEndsTheConnection) {
  const std::string address = serve("onc+tcp");
  EXPECT_EQ(talk(address, "GET / HTTP/1.1\r\n\r\n"), "");
  EXPECT_EQ(talk(address, std::string(100, '\xff')), "");
  EXPECT_EQ(talk(address, std::string("\x80\0\0\4abcd", 8)), "");
  const std::string call(
      "\0\0\0\1\0\0\0\0\0\0\0\2\x20\0\x4d\2\0\0\0\2\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 40);
  const auto record = [](const std::string& text) {
    return std::string("\x80\0\0", 3) + static_cast<char>(text.size()) + text;
  };
  // 1 + 2; in two fragments; too few arguments; too many; a procedure that is not there.
  const std::string sum = talk(address, record(call + std::string("\0\0\0\1\0\0\0\2", 8)));
  EXPECT_EQ(sum.substr(sum.size() - 8), std::string("\0\0\0\0\0\0\0\3", 8));
  EXPECT_EQ(
      talk(address, std::string("\0\0\0\x28", 4) + call + std::string("\x80\0\0\x08\0\0\0\1\0\0\0\2", 12)),
      sum);
  const auto status = [&](const std::string& text) {
    const std::string said = talk(address, record(text));
    return said.size() == 28 ? said.back() : char(-1);
  };
  EXPECT_EQ(status(call + std::string("\0\0\0\1", 4)), 4);  // GARBAGE_ARGS
  EXPECT_EQ(status(call + std::string("\0\0\0\1\0\0\0\2\0\0\0\3", 12)), 4);
  std::string other = call;
  other[23] = 99;
  EXPECT_EQ(status(other), 3);  // PROC_UNAVAIL
  other = call;
  other[15] = 99;
  EXPECT_EQ(status(other), 1);  // PROG_UNAVAIL
}

}  // namespace
}  // namespace mvm::rmix::test
