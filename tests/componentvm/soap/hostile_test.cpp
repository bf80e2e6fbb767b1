// Clients that mean harm: each is refused within its limits, and the server still answers.

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <thread>

#include "componentvm/soap/fixture.h"

namespace mvm::soap {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

ServerLimits quick() {
  ServerLimits limits;
  limits.header_time = milliseconds(300);
  limits.body_time = milliseconds(300);
  limits.stall = milliseconds(1000);
  return limits;
}

class HostileTest : public SoapServerTest {
 protected:
  void SetUp() override { SoapServerTest::SetUp(); }
  /// The fault's code in the answer to a body.
  std::string code_of(const std::string& body) const {
    const std::string answer = exchange(post(body));
    const auto at = answer.find("<t:code>");
    if (at == std::string::npos) return "none: " + answer.substr(0, 300);
    return answer.substr(at + 8, answer.find('<', at + 8) - at - 8);
  }
  static milliseconds cpu() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return std::chrono::duration_cast<milliseconds>(std::chrono::seconds(usage.ru_utime.tv_sec) +
                                                    std::chrono::microseconds(usage.ru_utime.tv_usec));
  }
};

TEST_F(HostileTest, FortyThousandAttributes) {
  serve();
  std::string body = "<b:whoami";
  for (int i = 0; i < 40'000; ++i) body += " a" + std::to_string(i) + "=\"1\"";
  const auto before = cpu();
  EXPECT_EQ(code_of(envelope(body + "/>")), "invalid");
  EXPECT_LT(cpu() - before, milliseconds(1000)) << "the parser alone takes seconds for it";
  expect_alive();
}

TEST_F(HostileTest, DeepNesting) {
  serve();
  std::string body, end;
  for (int i = 0; i < 100'000; ++i) body += "<a>";
  EXPECT_EQ(code_of(envelope(body)), "invalid");
  expect_alive();
}

TEST_F(HostileTest, TooManyElements) {
  serve();
  std::string body = "<b:submit><b:request>";
  for (int i = 0; i < 210'000; ++i) body += "<t:setting/>";
  EXPECT_EQ(code_of(envelope(body)), "invalid");
  expect_alive();
}

TEST_F(HostileTest, DocumentTypesAndEntities) {
  serve();
  const std::string who = "<b:whoami/>";
  EXPECT_EQ(code_of("<!DOCTYPE a [<!ENTITY x \"y\">]>" + envelope(who)), "invalid");
  EXPECT_EQ(code_of("<!DOCTYPE a SYSTEM \"file:///etc/passwd\">" + envelope(who)), "invalid");
  EXPECT_EQ(code_of(envelope("<b:job><b:id>&x;</b:id></b:job>")), "invalid");
  EXPECT_EQ(code_of(envelope("<b:job><b:id>&#0;</b:id></b:job>")), "invalid");
  EXPECT_EQ(code_of(envelope("<b:job><b:id>&#xD800;</b:id></b:job>")), "invalid");
  EXPECT_EQ(code_of(envelope("<b:job><b:id>&#55;&#x37;&lt;</b:id></b:job>")), "not-found")
      << "good ones pass";
  EXPECT_EQ(code_of(envelope("<!-- x --><b:job><b:id><![CDATA[<&>]]></b:id></b:job>")), "not-found");
  expect_alive();
}

TEST_F(HostileTest, BytesThatAreNoText) {
  serve();
  for (const std::string& bad :
       {std::string("\xC3\x28"), std::string("\xE2\x28\xA1"), std::string("\xC0\xAF"),
        std::string("\xED\xA0\x80"), std::string("\xF5\x80\x80\x80"), std::string("\xFF"),
        std::string("\x01"), std::string("\x00", 1), std::string("\xEF\xBF\xBF")})
    EXPECT_EQ(code_of(envelope("<b:job><b:id>a" + bad + "b</b:id></b:job>")), "invalid");
  EXPECT_EQ(code_of(envelope("<b:job><b:id>\xC3\xA4\xF0\x9F\x98\x80</b:id></b:job>")), "not-found");
  expect_alive();
}

TEST_F(HostileTest, BrokenXml) {
  serve();
  EXPECT_EQ(code_of(envelope("<b:job><b:id>x</b:job></b:id>")), "invalid");
  EXPECT_EQ(code_of(envelope("<b:job></b:job>")), "invalid") << "an element is missing";
  EXPECT_EQ(code_of(envelope("<b:jobs><b:endedToo>maybe</b:endedToo></b:jobs>")), "invalid");
  EXPECT_EQ(code_of(envelope("<b:nothing/>")), "unsupported");
  EXPECT_EQ(code_of("no xml at all"), "invalid");
  EXPECT_EQ(code_of("<a/>"), "invalid");
  EXPECT_EQ(code_of(""), "invalid");
  EXPECT_EQ(code_of(envelope("<b:job><b:id>x</b:id></b:job>").substr(0, 190)), "invalid");
  EXPECT_EQ(code_of(envelope("<s:putBlob xmlns:s=\"urn:mvm:store:1\"><s:digest>" + sha256_hex("hello") +
                             "</s:digest><s:data>!!!not base64!!!</s:data></s:putBlob>")),
            "invalid");
  EXPECT_EQ(fake_.blob_bytes(), 0U);
  expect_alive();
}

TEST_F(HostileTest, LengthsThatLie) {
  serve(quick());
  const std::string head =
      "POST /broker HTTP/1.1\r\nContent-Type: text/xml\r\nAuthorization: Bearer " + user_.secret + "\r\n";
  EXPECT_THAT(exchange(head + "Content-Length: 10000000000\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 4"), HasSubstr("too large")));
  EXPECT_THAT(exchange(head + "Content-Length: 99999999999999999999999\r\n\r\n"), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange(head + "Content-Length: -1\r\n\r\n"), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange(head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange(head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
              StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange(head + "Transfer-Encoding: gzip\r\n\r\n"), StartsWith("HTTP/1.1 5"));
  EXPECT_THAT(exchange(head + "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"),
              StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange(head + "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n"),
              HasSubstr("<t:code>"));
  EXPECT_THAT(exchange(head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), HasSubstr("<t:code>"));
  expect_alive();
}

TEST_F(HostileTest, HeadersWithoutEnd) {
  serve(quick());
  const std::string start = "POST /broker HTTP/1.1\r\n";
  std::string many = start, longest = start + "X: ";
  for (int i = 0; i < 200; ++i) many += "X-" + std::to_string(i) + ": 1\r\n";
  longest += std::string(100'000, 'a');
  EXPECT_THAT(exchange(many + "\r\n"), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange(longest), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange("POST  /broker HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange("BREW /pot HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange("GET / HTTP/9.9\r\n\r\n"), StartsWith("HTTP/1.1 5"));
  EXPECT_THAT(exchange("GET /../../etc/passwd HTTP/1.1\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(exchange(std::string("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 11)), StartsWith("HTTP/1.1 4"))
      << "TLS greeting";
  EXPECT_THAT(exchange("GET / HTTP/1.1\r\n Folded: x\r\n\r\n"), StartsWith("HTTP/1.1 4"));
  expect_alive();
}

TEST_F(HostileTest, AStrangerMayNotSendMuch) {
  serve(quick());
  const std::string head = "POST /broker HTTP/1.1\r\nContent-Type: text/xml\r\n";
  EXPECT_THAT(exchange(head + "Content-Length: 1000000\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 4"), HasSubstr("too large")));
  EXPECT_THAT(exchange(head + "Transfer-Encoding: chunked\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 401"), HasSubstr("refused")));
  expect_alive();
}

TEST_F(HostileTest, AttachmentsAreStoredForKnownCallersOnly) {
  serve(quick());
  const std::string digest = sha256_hex("hello");
  const std::string xml =
      "<E:Envelope xmlns:E=\"http://schemas.xmlsoap.org/soap/envelope/\"><E:Body><putBlob "
      "xmlns=\"urn:mvm:store:1\"><digest>" +
      digest +
      "</digest><data><x:Include xmlns:x=\"http://www.w3.org/2004/08/xop/include\" "
      "href=\"cid:a@b\"/></data></putBlob></E:Body></E:Envelope>";
  const auto multipart = [&](const std::string& token, const std::string& first,
                             const std::string& encoding = "binary") {
    const std::string body = "--B\r\n" + first + "\r\n\r\n" + xml +
                             "\r\n--B\r\nContent-ID: <a@b>\r\n"
                             "Content-Transfer-Encoding: " +
                             encoding + "\r\n\r\nhello\r\n--B--\r\n";
    return exchange(
        "POST /store HTTP/1.1\r\nContent-Type: multipart/related; boundary=B; "
        "type=\"application/xop+xml\"; start=\"<a@b>\"\r\n" +
        (token.empty() ? "" : "Authorization: Bearer " + token + "\r\n") +
        "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  const std::string good = "Content-Type: application/xop+xml; type=\"text/xml\"";
  EXPECT_THAT(multipart("", good), HasSubstr("<t:code>refused</t:code>"));
  EXPECT_THAT(multipart("wrong", good), HasSubstr("<t:code>refused</t:code>"));
  EXPECT_EQ(fake_.blob_bytes(), 0U);
  EXPECT_THAT(multipart(user_.secret, good, "base64"), HasSubstr("<t:code>invalid</t:code>"));
  // What would make guard and parser see different documents.
  EXPECT_THAT(multipart(user_.secret, good + "\r\n Folded: <a/>"), HasSubstr("<t:code>invalid</t:code>"));
  EXPECT_THAT(multipart(user_.secret, "\r\n\r\n--B\r\n" + good), HasSubstr("<t:code>"));
  EXPECT_EQ(fake_.blob_bytes(), 0U);
  EXPECT_THAT(multipart(user_.secret, good), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(fake_.blob(digest), "hello");
  expect_alive();
}

TEST_F(HostileTest, AnAttachmentBeyondTheLimit) {
  ServerLimits limits = quick();
  limits.blob_bytes = 1 << 20;
  serve(limits);
  const auto refused = client_->put_blob({}, sha256_hex("x"), [n = 0]() mutable -> Result<std::string> {
    return std::string(++n > 64 ? 0 : 1 << 20, 'x');
  });
  EXPECT_EQ(refused.error().code(), ErrorCode::kExhausted) << refused.error().describe();
  expect_alive();
}

TEST_F(HostileTest, SlowHeadersAreCutOff) {
  serve(quick());
  RawSocket slow(server_->port());
  const auto begin = steady_clock::now();
  slow.send("POST /broker HTTP/1.1\r\nX: ");
  EXPECT_EQ(slow.receive(), "");
  EXPECT_TRUE(slow.closed());
  EXPECT_LT(steady_clock::now() - begin, milliseconds(3000));
}

TEST_F(HostileTest, SlowBodiesHoldNoWorker) {
  ServerLimits limits = quick();
  limits.body_time = milliseconds(5000);
  limits.workers = 2;
  serve(limits);
  std::vector<std::unique_ptr<RawSocket>> slow;
  for (int i = 0; i < 50; ++i) {
    slow.push_back(std::make_unique<RawSocket>(server_->port()));
    const std::string whole = post(envelope("<b:whoami/>"));
    slow.back()->send(whole.substr(0, whole.size() - 10));
  }
  const auto begin = steady_clock::now();
  for (int i = 0; i < 20; ++i) expect_alive();
  EXPECT_LT(steady_clock::now() - begin, milliseconds(3000));
  const std::string whole = post(envelope("<b:whoami/>"));
  slow[7]->send(whole.substr(whole.size() - 10));
  EXPECT_THAT(slow[7]->receive(), HasSubstr("<b:user>ada</b:user>")) << "late, but in time";
}

TEST_F(HostileTest, ASlowUploadEndsByItself) {
  serve(quick());
  RawSocket slow(server_->port());
  slow.send("POST /store HTTP/1.1\r\nContent-Type: multipart/related; boundary=B\r\nAuthorization: Bearer " +
            user_.secret + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n--B\r\n\r\n");
  EXPECT_THAT(slow.receive(), HasSubstr("<t:code>timeout</t:code>"));
  expect_alive();
}

TEST_F(HostileTest, FiveHundredIdleConnectionsBlockNobody) {
  ServerLimits limits;
  limits.workers = 2;
  serve(limits);
  std::vector<std::unique_ptr<RawSocket>> idle;
  for (int i = 0; i < 500; ++i) {
    idle.push_back(std::make_unique<RawSocket>(server_->port()));
    ASSERT_TRUE(idle.back()->open());
    if (i % 2 == 1) idle.back()->send("POST ");
  }
  const auto begin = steady_clock::now();
  for (int i = 0; i < 50; ++i) expect_alive();
  EXPECT_LT(steady_clock::now() - begin, milliseconds(5000));
  EXPECT_GE(server_->stats().connections, 500U);
  EXPECT_LE(server_->stats().threads, 2U);
}

TEST_F(HostileTest, TooManyConnectionsAreClosedAtOnce) {
  ServerLimits limits;
  limits.connections = 10;
  serve(limits);
  expect_alive();
  std::vector<std::unique_ptr<RawSocket>> sockets;
  int closed = 0;
  for (int i = 0; i < 20; ++i) sockets.push_back(std::make_unique<RawSocket>(server_->port()));
  for (auto& socket : sockets) {
    (void)socket->receive(milliseconds(50));
    closed += socket->closed() ? 1 : 0;
  }
  EXPECT_EQ(closed, 11);
  expect_alive();
}

TEST_F(HostileTest, LongPollsLeaveTheWorkersAlone) {
  ServerLimits limits;
  limits.workers = 1;
  limits.long_polls = 20;
  serve(limits);
  const auto id = *client_->submit({}, {.profile = "<x/>"});
  std::vector<std::thread> followers;
  for (int i = 0; i < 20; ++i)
    followers.emplace_back([&] {
      const auto detail = client_->wait_job({}, id, "SUBMITTED", milliseconds(25'000));
      EXPECT_TRUE(detail && detail->job.state == "DONE");
    });
  const auto end = steady_clock::now() + std::chrono::seconds(20);
  while (fake_.waiting() < 20 && steady_clock::now() < end) std::this_thread::yield();
  ASSERT_EQ(fake_.waiting(), 20U);
  const auto begin = steady_clock::now();
  for (int i = 0; i < 20; ++i) expect_alive();
  EXPECT_LT(steady_clock::now() - begin, milliseconds(3000));
  const std::string beyond = exchange(post(envelope("<b:waitJob><b:id>" + id +
                                                    "</b:id><b:state>SUBMITTED</b:state>"
                                                    "<b:waitMs>1000</b:waitMs></b:waitJob>")));
  EXPECT_THAT(beyond, AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("busy")));
  fake_.set_state(id, "DONE");
  for (auto& follower : followers) follower.join();
}

TEST_F(HostileTest, AFollowerThatLeavesGivesItsPlaceBack) {
  ServerLimits limits;
  limits.long_polls = 1;
  serve(limits);
  const auto id = *client_->submit({}, {.profile = "<x/>"});
  {
    RawSocket gone(server_->port());
    gone.send(post(envelope("<b:waitJob><b:id>" + id +
                            "</b:id><b:state>SUBMITTED</b:state><b:waitMs>25000</b:waitMs></b:waitJob>")));
    const auto end = steady_clock::now() + std::chrono::seconds(10);
    while (fake_.waiting() < 1 && steady_clock::now() < end) std::this_thread::yield();
    ASSERT_EQ(fake_.waiting(), 1U);
  }
  // The client tries again while it is told Busy; the place is free within one slice.
  const auto begin = steady_clock::now();
  EXPECT_TRUE(client_->wait_job({}, id, "SUBMITTED", milliseconds(1)));
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(6));
}

/// A broker that answers only when it is let.
class SlowSystem final : public SystemApi {
 public:
  explicit SlowSystem(SystemApi& behind) : behind_(behind) {}
  Result<WhoAmI> whoami(const Caller& caller) override {
    std::unique_lock lock(mutex);
    ++inside;
    go.wait(lock, [&] { return open; });
    return behind_.whoami(caller);
  }
  Result<EventPage> events(const Caller& c, std::uint64_t cursor, milliseconds wait) override {
    return behind_.events(c, cursor, wait);
  }
  Result<std::vector<HostView>> hosts(const Caller& caller) override { return behind_.hosts(caller); }
  std::mutex mutex;
  std::condition_variable go;
  int inside = 0;
  bool open = false;

 private:
  SystemApi& behind_;
};

TEST_F(HostileTest, OverloadIsAnsweredBusy) {
  SlowSystem slow(fake_);
  broker_ = std::make_unique<BrokerApi>(fake_.api({.system = &slow}));
  ServerLimits limits;
  limits.workers = 2;
  limits.queue = 3;
  serve(limits);
  std::vector<std::unique_ptr<RawSocket>> sockets;
  for (int i = 0; i < 8; ++i) {
    sockets.push_back(std::make_unique<RawSocket>(server_->port()));
    sockets.back()->send(post(envelope("<b:whoami/>")));
  }
  int busy = 0, good = 0;
  const auto end = steady_clock::now() + std::chrono::seconds(10);
  const auto inside = [&] {
    const std::lock_guard lock(slow.mutex);
    return slow.inside;
  };
  while ((server_->stats().busy < 3 || inside() < 2) && steady_clock::now() < end) std::this_thread::yield();
  {
    const std::lock_guard lock(slow.mutex);
    EXPECT_EQ(slow.inside, 2) << "no more than the workers";
    slow.open = true;
  }
  slow.go.notify_all();
  for (auto& socket : sockets) {
    const std::string answer = socket->receive();
    busy += answer.starts_with("HTTP/1.1 503") ? 1 : 0;
    good += answer.starts_with("HTTP/1.1 200") ? 1 : 0;
  }
  EXPECT_EQ(busy, 3);
  EXPECT_EQ(good, 5);
  expect_alive();
}

TEST_F(HostileTest, RequestsInOneGoAreAnsweredInTurn) {
  serve();
  const std::string one = post(envelope("<b:whoami/>"));
  RawSocket socket(server_->port());
  socket.send(one + one + one);
  std::string all;
  for (int i = 0; i < 5 && all.size() < 4096; ++i) {
    all += socket.receive(milliseconds(500));
    std::size_t count = 0;
    for (auto at = all.find("HTTP/1.1 200"); at != std::string::npos; at = all.find("HTTP/1.1 200", at + 1))
      ++count;
    if (count == 3) return;
  }
  FAIL() << all;
}

TEST_F(HostileTest, ExpectContinueIsHonoured) {
  serve();
  RawSocket socket(server_->port());
  const std::string whole = post(envelope("<b:whoami/>"), "Expect: 100-continue\r\n");
  const auto end = whole.find("\r\n\r\n") + 4;
  socket.send(whole.substr(0, end));
  EXPECT_THAT(socket.receive(milliseconds(300)), StartsWith("HTTP/1.1 100 Continue"));
  socket.send(whole.substr(end));
  EXPECT_THAT(socket.receive(), HasSubstr("<b:user>ada</b:user>"));
}

TEST_F(HostileTest, ABrokerThatThrowsHarmsNobody) {
  class Thrower final : public SystemApi {
   public:
    Result<WhoAmI> whoami(const Caller& caller) override {
      if (first_) {
        first_ = false;
        throw std::runtime_error("boom");
      }
      return WhoAmI{.caller = caller, .broker = {}, .version = {}};
    }
    Result<EventPage> events(const Caller&, std::uint64_t, milliseconds) override { return EventPage{}; }
    Result<std::vector<HostView>> hosts(const Caller&) override { return std::vector<HostView>{}; }

   private:
    bool first_ = true;
  } thrower;
  broker_ = std::make_unique<BrokerApi>(fake_.api({.system = &thrower}));
  serve();
  const auto failed = client_->whoami({});
  EXPECT_EQ(failed.error().code(), ErrorCode::kFailed);
  EXPECT_THAT(failed.error().message(), Not(HasSubstr("boom")));
  expect_alive();
}

}  // namespace
}  // namespace mvm::soap
