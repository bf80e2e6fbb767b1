// The native protocol beside what the conformance suite asks: hostile bytes, deaths, closing in good order;
// and what is made of service definitions.
#include "mvm/rmix/native.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <fstream>
#include <random>
#include <thread>

#include "componentvm/rmix/probe.h"
#include "memory.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/rmix/definition.h"
#include "wire.h"

namespace mvm::rmix::test {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using testing::HasSubstr;

Clock::Instant in(std::chrono::milliseconds time) { return steady_clock::now() + time; }

class Native : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = *make_temporary_folder("/tmp", "mvm-rmix.");
    providers_.add(make_native_provider());
    server_ = Server::create(providers_, {});
    ASSERT_TRUE(server_->add("probe", probe_));
    tcp_ = *server_->listen("native+tcp://127.0.0.1:0");
    shm_ = *server_->listen("native+shm:" + (folder_ / "socket").string());
    client_ = Client::create(providers_, {});
  }
  void TearDown() override {
    (void)probe_->release();
    EXPECT_TRUE(remove_tree(folder_));
  }
  ProbeClient bind(const std::string& endpoint) {
    auto bound = ProbeClient::bind(*client_, {.service = "probe", .endpoints = {endpoint}});
    EXPECT_TRUE(bound) << bound.error().describe();
    return std::move(*bound);
  }
  /// A bare connection to the server.
  UniqueFd stranger() const {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(static_cast<std::uint16_t>(std::stoi(tcp_.substr(tcp_.rfind(':') + 1))));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    return socket;
  }
  static bool hung_up(const UniqueFd& socket) {
    for (;;) {
      pollfd one{socket.get(), POLLIN, 0};
      if (::poll(&one, 1, 20'000) != 1) return false;
      std::array<char, 4096> bytes{};
      if (::recv(socket.get(), bytes.data(), bytes.size(), 0) <= 0) return true;
    }
  }
  std::string hello() const {
    return native::write_hello({.service = "probe",
                                .interface = Probe::description()->text(),
                                .digest = digest(*Probe::description()),
                                .token = {},
                                .server = {}});
  }

  std::filesystem::path folder_;
  Providers providers_;
  std::shared_ptr<ProbeImpl> probe_ = std::make_shared<ProbeImpl>();
  std::unique_ptr<Server> server_;
  std::string tcp_, shm_;
  std::unique_ptr<Client> client_;
};

TEST_F(Native, WhoBreaksTheProtocolIsCutOffAndOthersAreNot) {
  ProbeClient honest = bind(tcp_);
  const std::uint32_t count = *Probe::description()->find("count");
  const std::string first = *native::write_call(1, count, 0, {});
  std::string huge = first;
  huge[3] = '\x7f';
  const std::vector<std::string> hostile{
      "GET / HTTP/1.1\r\n\r\n",
      std::string(64, '\xff'),
      first,  // no greeting
      hello() + native::write_empty(native::FrameType::kResult, 1),
      hello() + hello(),
      hello() + *native::write_call(1, 999, 0, {}),  // no such method
      hello() + first + first,                       // a number twice
      hello() +
          *native::write_call(1, *Probe::description()->find("double"), 0, {}),  // arguments that do not fit
      hello() + huge};
  for (const std::string& bytes : hostile) {
    const UniqueFd socket = stranger();
    ASSERT_TRUE(write_all(socket.get(), bytes));
    EXPECT_TRUE(hung_up(socket)) << bytes.substr(0, 20);
  }
  std::mt19937 random(7);
  for (int i = 0; i < 50; ++i) {
    std::string bytes = hello() + first;
    for (int flips = 0; flips < 4; ++flips) bytes[random() % bytes.size()] = static_cast<char>(random());
    const UniqueFd socket = stranger();
    (void)write_all(socket.get(), bytes);
    ::shutdown(socket.get(), SHUT_WR);
    EXPECT_TRUE(hung_up(socket));
  }
  EXPECT_EQ(*honest.double_(3), 6);
}

TEST_F(Native, WhoReadsLateGetsAWholeAnswer) {
  const UniqueFd socket = stranger();
  ASSERT_TRUE(write_all(socket.get(), hello()));
  std::string got;
  const auto read_until = [&](std::size_t size) {
    std::array<char, 65536> bytes{};
    while (got.size() < size) {
      pollfd one{socket.get(), POLLIN, 0};
      if (::poll(&one, 1, 20'000) != 1) return false;
      const ssize_t more = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
      if (more <= 0) return false;
      got.append(bytes.data(), static_cast<std::size_t>(more));
    }
    return true;
  };
  ASSERT_TRUE(read_until(native::kHeader)) << "welcome";
  // One at a time: the server stays awake for the next.
  const std::uint32_t count = *Probe::description()->find("count");
  std::uint64_t number = 0;
  std::size_t expected = got.size();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(write_all(socket.get(), *native::write_call(++number, count, 0, {})));
    ASSERT_TRUE(read_until(expected + native::kHeader + 8)) << i;
    expected = got.size();
  }
  // The server's own threads are busy: another one runs the call, and nobody reads for the answer's sake.
  ProbeClient first = bind(tcp_);
  ProbeClient second = bind(tcp_);
  std::thread one([&] { EXPECT_TRUE(*first.hold()); });
  std::thread other([&] { EXPECT_TRUE(*second.hold()); });
  for (const auto deadline = in(20s); *probe_->holding() != 2;) ASSERT_LT(steady_clock::now(), deadline);
  // More than sockets hold.
  const int room = 64 << 10;
  ASSERT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room), 0);
  constexpr std::size_t kBig = 9U << 20U;
  const std::uint32_t echo = *Probe::description()->find("echo_bytes");
  ASSERT_TRUE(
      write_all(socket.get(), *native::write_call(++number, echo, 0, {Value::of<Bytes>(Bytes(kBig))})));
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(read_until(expected + native::kHeader + kBig)) << got.size() - expected;
  (void)probe_->release();
  one.join();
  other.join();
}

TEST_F(Native, AServerIsNotTakenForAnotherAtTheSamePath) {
  const std::string other = shm_.substr(0, shm_.find('?')) + "?server=" + std::string(32, '0');
  const auto bound = ProbeClient::bind(*client_, {.service = "probe", .endpoints = {other}});
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(ProbeClient::bind(*client_, {.service = "nobody", .endpoints = {tcp_}}).error().code(),
            ErrorCode::kNotFound);
}

TEST_F(Native, AServerThatComesBackIsCalledAgain) {
  ProbeClient probe = bind(tcp_);
  EXPECT_EQ(*probe.double_(1), 2);
  ASSERT_TRUE(server_->close(tcp_));
  const auto gone = probe.double_(1);
  ASSERT_NE(gone.failure(), nullptr);
  EXPECT_EQ(gone.failure()->fate, Fate::kNotRun);
  ASSERT_TRUE(server_->listen(tcp_));
  EXPECT_EQ(*probe.double_(2), 4);
}

TEST_F(Native, AClientThatIsKilledLeavesNothingRunning) {
  for (const std::string& endpoint : {shm_, tcp_}) {
    const pid_t child = ::fork();
    if (child == 0) {
      Providers own;
      own.add(make_native_provider());
      const auto client = Client::create(own, {});
      auto probe = ProbeClient::bind(*client, {.service = "probe", .endpoints = {endpoint}});
      (void)probe->hold();
      ::_exit(0);
    }
    const auto deadline = in(20s);
    while (*probe_->holding() == 0) ASSERT_LT(steady_clock::now(), deadline);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (*probe_->holding() != 0) ASSERT_LT(steady_clock::now(), deadline) << "it was not told to stop";
    EXPECT_EQ(*bind(endpoint).double_(2), 4);
  }
}

TEST(NativeMemory, AnImpossiblePlaceEndsTheConnection) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
  auto server = native::Memory::make(UniqueFd(ends[0]));
  ASSERT_TRUE(server);
  auto client = native::Memory::join(UniqueFd(ends[1]), in(20s));
  ASSERT_TRUE(client);
  std::vector<std::byte> bytes(300'000, std::byte{5});
  const auto put = (*client)->write(bytes);
  ASSERT_TRUE(put);
  EXPECT_LT(*put, bytes.size()) << "more than there is room for";
  std::vector<std::byte> got(bytes.size());
  EXPECT_EQ(*(*server)->read(got), *put);
  EXPECT_EQ(*(*server)->read(got), 0U);
  EXPECT_TRUE((*server)->arm());
  EXPECT_TRUE((*client)->hear()) << "it rang: there is room";
  EXPECT_EQ(*(*client)->write(std::span(bytes).first(10)), 10U);
  EXPECT_FALSE((*server)->arm());
  client->reset();
  EXPECT_FALSE((*server)->hear());
  EXPECT_EQ(*(*server)->read(got), 10U) << "what was written before is still there";
}

Result<Interface> read_text(const std::string& body) {
  return read_definition("<service xmlns=\"urn:mvm:service:1\" name=\"S\">" + body + "</service>", "s.xml");
}

TEST(Definition, SaysWhereItIsWrong) {
  const std::string method = "<method name=\"m\"/>";
  EXPECT_TRUE(read_text(method));
  for (const auto& [body, said] : std::vector<std::pair<std::string, std::string>>{
           {"", "at least one"},
           {"\n\n<methd name=\"m\"/>", "s.xml:3:1"},
           {method + method, "m twice"},
           {"<method name=\"m\" result=\"Point\"/>", "type Point"},
           {"<method name=\"m m\"/>", "letters, digits"},
           {"<method name=\"m\" one-way=\"yes\"/>", "true or false"},
           {"<method name=\"m\" one-way=\"true\" result=\"bool\"/>", "one-way"},
           {"<method name=\"m\"><raises exception=\"E\"/></method>", "defined before"},
           {"<method name=\"m\" x=\"\"/>", "attribute x"},
           {"<struct name=\"T\"/>" + method, "at least one"},
           {"<struct name=\"T\"><field name=\"t\" type=\"T\"/></struct>" + method, "type T"},
           {"words" + method, "elements only"},
           {"<method name=\"m\" result=\"int8" + std::string(80, '[') + "\"/>", "type"}}) {
    const auto read = read_text(body);
    ASSERT_FALSE(read) << body;
    EXPECT_THAT(read.error().describe(), HasSubstr(said)) << body;
  }
  std::string deep = "int8";
  for (int i = 0; i < 40; ++i) deep += "[]";
  EXPECT_FALSE(read_text("<method name=\"m\" result=\"" + deep + "\"/>"));
  EXPECT_FALSE(read_definition("<service/>", "s.xml"));
  EXPECT_FALSE(read_definition("no xml", "s.xml"));
}

TEST(Definition, IsTheInterfaceThatItsStubsDescribe) {
  const std::string file = std::string(MVM_SOURCE_DIR) + "/tests/componentvm/rmix/probe.xml";
  const auto read = read_definition(*read_file(file, 1 << 20), file);
  ASSERT_TRUE(read) << read.error().describe();
  EXPECT_EQ(digest(*read), digest(*Probe::description()));
  EXPECT_EQ(read->program, Probe::description()->program);
  const auto valid = run_captured(
      {.argv = {"xmllint", "--noout", "--schema",
                std::string(MVM_SOURCE_DIR) + "/componentvm/rmix/definition/schemas/service.xsd", file}},
      30s);
  ASSERT_TRUE(valid);
  EXPECT_TRUE(valid->status.success()) << valid->errors;
}

TEST(Definition, RpcgenTakesWhatIsMadeForIt) {
  const auto folder = *make_temporary_folder("/tmp", "mvm-rmix.");
  std::ofstream(folder / "probe.x") << *write_xdr(*Probe::description());
  for (const char* part : {"-h", "-c", "-l"}) {
    const auto made = run_captured({.argv = {"rpcgen", part, (folder / "probe.x").string()}}, 30s);
    ASSERT_TRUE(made);
    EXPECT_TRUE(made->status.success()) << made->errors;
    EXPECT_THAT(made->output, HasSubstr("robe")) << part;
  }
  EXPECT_TRUE(remove_tree(folder));
}

}  // namespace
}  // namespace mvm::rmix::test
