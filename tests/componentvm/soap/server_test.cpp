// Every operation through the wire and back; faults; tokens; blobs.

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "componentvm/soap/fixture.h"

namespace mvm::soap {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

class ServerTest : public SoapServerTest {
 protected:
  void SetUp() override {
    SoapServerTest::SetUp();
    serve();
  }
  /// Waits for a condition that another thread brings about.
  template <class Condition>
  static bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
};

const SubmitRequest kRequest{
    .profile = "<lab xmlns=\"urn:mvm:lab:1\" name=\"x\">\n\t<!-- \"ä\" & <![CDATA[]]> -->\r\n</lab>",
    .settings = {{"n", "8"}, {"text", "a<b>&\"c\" ü"}},
    .lab = {},
    .request = "r-1",
    .file = "lab.xml"};

TEST_F(ServerTest, WhoAmI) {
  const auto who = client_->whoami({.user = "somebody else"});
  ASSERT_TRUE(who) << who.error().describe();
  EXPECT_EQ(who->caller.user, "ada");
  EXPECT_EQ(who->caller.role, "user");
  EXPECT_EQ(who->caller.lab, "");
  EXPECT_EQ(who->broker, "fake");
  EXPECT_EQ(who->version, "0.1.0");
}

TEST_F(ServerTest, ARequestArrivesAsItWas) {
  const auto id = client_->submit({}, kRequest);
  ASSERT_TRUE(id) << id.error().describe();
  EXPECT_EQ(*id, "1");
  const SubmitRequest seen = fake_.last_request();
  EXPECT_EQ(seen.profile, kRequest.profile) << "every byte, line ends and tabs too";
  EXPECT_EQ(seen.settings, kRequest.settings);
  EXPECT_EQ(seen.request, "r-1");
  EXPECT_EQ(seen.file, "lab.xml");
  EXPECT_EQ(fake_.last_caller().user, "ada");
  EXPECT_EQ(*client_->submit({}, kRequest), "1") << "sent twice, submitted once";
}

TEST_F(ServerTest, DiagnosticsOfValidate) {
  EXPECT_THAT(*client_->validate({}, kRequest), IsEmpty());
  fake_.diagnostics = {{"lab.xml", 3, 7, "found <a>, expected <b>"},
                       {"top.xml", 1, 2, "did you mean to-right?"}};
  const auto found = client_->validate({}, kRequest);
  ASSERT_TRUE(found);
  ASSERT_THAT(*found, SizeIs(2));
  EXPECT_EQ((*found)[0].file, "lab.xml");
  EXPECT_EQ((*found)[0].line, 3);
  EXPECT_EQ((*found)[0].column, 7);
  EXPECT_EQ((*found)[0].message, "found <a>, expected <b>");
  EXPECT_EQ((*found)[1].file, "top.xml");
}

TEST_F(ServerTest, AnInvalidProfileComesBackAsTypedFault) {
  fake_.diagnostics = {{"lab.xml", 3, 7, "found <a>, expected <b>"}, {"lab.xml", 9, 1, "second & last"}};
  const auto refused = client_->submit({}, kRequest);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(refused.error().message(), "lab.xml:3:7: found <a>, expected <b>\nlab.xml:9:1: second & last");
  EXPECT_EQ(refused.error().where().file, "lab.xml");
  EXPECT_EQ(refused.error().where().line, 3);
  EXPECT_EQ(refused.error().where().column, 7);
  const std::string raw =
      exchange(post(envelope("<b:submit><b:request><t:profile>x</t:profile></b:request></b:submit>")));
  EXPECT_THAT(raw, StartsWith("HTTP/1.1 500 "));
  EXPECT_THAT(raw, HasSubstr("<t:code>invalid</t:code>"));
  EXPECT_THAT(raw, HasSubstr("<t:file>lab.xml</t:file><t:line>9</t:line><t:column>1</"
                             "t:column><t:message>second &amp; last</t:message>"));
  expect_alive();
}

TEST_F(ServerTest, PlanWithAllItsParts) {
  fake_.planned = {.name = "heat",
                   .nodes = {{.node = "n0",
                              .host = "h",
                              .driver = "lxc",
                              .image = "host",
                              .architecture = "x86_64",
                              .vcpus = 2,
                              .memory = 5ULL << 32,
                              .processes = {"cell[0]", "cell[1]"},
                              .state = "new"},
                             {.node = "n1", .host = "h"}},
                   .links = {{"l0", "cell[0].out", "cell[1].in", "shm", "h"}},
                   .process_count = 2,
                   .link_count = 70'000,
                   .builds = {"cell: g++", "cached"},
                   .reasons = {"host a: 2 of 4 vcpus free, 8 asked"}};
  const auto plan = client_->plan({}, kRequest);
  ASSERT_TRUE(plan) << plan.error().describe();
  EXPECT_EQ(plan->name, "heat");
  ASSERT_THAT(plan->nodes, SizeIs(2));
  EXPECT_EQ(plan->nodes[0].memory, 5ULL << 32);
  EXPECT_EQ(plan->nodes[0].vcpus, 2U);
  EXPECT_THAT(plan->nodes[0].processes, testing::ElementsAre("cell[0]", "cell[1]"));
  EXPECT_EQ(plan->nodes[0].state, "new");
  EXPECT_EQ(plan->nodes[1].node, "n1");
  ASSERT_THAT(plan->links, SizeIs(1));
  EXPECT_EQ(plan->links[0].transport, "shm");
  EXPECT_EQ(plan->link_count, 70'000U);
  EXPECT_THAT(plan->builds, SizeIs(2));
  EXPECT_EQ(plan->reasons[0], "host a: 2 of 4 vcpus free, 8 asked");
}

TEST_F(ServerTest, TheLifeOfAJob) {
  const auto id = *client_->submit({}, kRequest);
  fake_.add_process(id, {.process = "cell[0]", .node = "n0", .state = "running", .max_rss = 1ULL << 40});
  fake_.set_state(id, "FAILED", "exit code 3", 3);
  const auto detail = client_->job({}, id);
  ASSERT_TRUE(detail) << detail.error().describe();
  EXPECT_EQ(detail->job.id, id);
  EXPECT_EQ(detail->job.user, "ada");
  EXPECT_EQ(detail->job.state, "FAILED");
  EXPECT_EQ(detail->job.exit_code, 3);
  EXPECT_GT(detail->job.ended_ms, 1'600'000'000'000);
  ASSERT_THAT(detail->processes, SizeIs(1));
  EXPECT_EQ(detail->processes[0].max_rss, 1ULL << 40);
  ASSERT_THAT(detail->transitions, SizeIs(2));
  EXPECT_EQ(detail->transitions[1].from, "SUBMITTED");
  EXPECT_EQ(detail->transitions[1].reason, "exit code 3");
  EXPECT_THAT(*client_->jobs({}, false), IsEmpty());
  EXPECT_THAT(*client_->jobs({}, true), SizeIs(1));
  EXPECT_EQ(client_->cancel({}, id).error().code(), ErrorCode::kConflict);
  EXPECT_TRUE(client_->remove({}, id));
  EXPECT_EQ(client_->job({}, id).error().code(), ErrorCode::kNotFound);
  const auto second = *client_->submit({}, {.profile = "<x/>"});
  EXPECT_EQ(client_->remove({}, second).error().code(), ErrorCode::kConflict);
  EXPECT_TRUE(client_->cancel({}, second));
  EXPECT_EQ(client_->job({}, second)->job.state, "CANCELLED");
}

TEST_F(ServerTest, WaitingEndsWhenTheStateChanges) {
  const auto id = *client_->submit({}, kRequest);
  std::atomic<bool> back{false};
  std::thread waiter([&] {
    const auto detail = client_->wait_job({}, id, "SUBMITTED", milliseconds(20'000));
    EXPECT_TRUE(detail && detail->job.state == "RUNNING");
    back = true;
  });
  EXPECT_TRUE(eventually([&] { return fake_.waiting() == 1; }));
  EXPECT_FALSE(back);
  EXPECT_EQ(server_->stats().long_polls, 1U);
  fake_.set_state(id, "RUNNING");
  waiter.join();
  EXPECT_EQ(client_->wait_job({}, id, "RUNNING", milliseconds(1))->job.state, "RUNNING") << "time is over";
  EXPECT_TRUE(eventually([&] { return server_->stats().long_polls == 0; }));
}

TEST_F(ServerTest, LogsCarryAnyBytes) {
  const auto id = *client_->submit({}, kRequest);
  std::string bytes;
  for (int c = 0; c < 256; ++c) bytes += static_cast<char>(c);
  fake_.add_log(id, {.process = "cell[0]", .node = "n0", .stream = "out", .at_ms = 7, .text = bytes});
  fake_.add_log(id, {.process = "cell[1]", .node = "n0", .stream = "err", .at_ms = 8, .text = ""});
  auto page = client_->logs({}, {.job = id});
  ASSERT_TRUE(page) << page.error().describe();
  ASSERT_THAT(page->pieces, SizeIs(2));
  EXPECT_EQ(page->pieces[0].text, bytes);
  EXPECT_EQ(page->pieces[0].stream, "out");
  EXPECT_EQ(page->pieces[0].at_ms, 7);
  EXPECT_EQ(page->pieces[1].text, "");
  EXPECT_EQ(page->cursor, 2U);
  EXPECT_FALSE(page->ended);
  EXPECT_THAT(client_->logs({}, {.job = id, .process = "cell[1]"})->pieces, SizeIs(1));
  fake_.set_state(id, "DONE");
  page = client_->logs({}, {.job = id, .cursor = 2, .wait = milliseconds(20'000)});
  EXPECT_TRUE(page->ended);
  EXPECT_EQ(client_->logs({}, {.job = "77"}).error().code(), ErrorCode::kNotFound);
}

TEST_F(ServerTest, ResultsAreFetchedByDigest) {
  const auto id = *client_->submit({}, kRequest);
  fake_.add_result(id, "out.bin", std::string("a\0b\r\n--mvm", 10));
  const auto results = client_->results({}, id);
  ASSERT_TRUE(results);
  ASSERT_THAT(*results, SizeIs(1));
  EXPECT_EQ((*results)[0].size, 10U);
  std::string content;
  const auto got = client_->get_blob({}, (*results)[0].digest, [&](std::string_view piece) {
    content += piece;
    return ok();
  });
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(content, std::string("a\0b\r\n--mvm", 10));
}

TEST_F(ServerTest, Labs) {
  const auto id = client_->create_lab({}, kRequest);
  ASSERT_TRUE(id) << id.error().describe();
  EXPECT_EQ(client_->lab({}, *id)->subnet, "10.181.7.0/24");
  EXPECT_THAT(*client_->labs({}), SizeIs(1));
  fake_.picture = "digraph \"<ä>\" {\n a -> b\n}\n";
  EXPECT_EQ(*client_->graph({}, *id, GraphFormat::kDot), fake_.picture);
  EXPECT_EQ(*client_->graph({}, *id, GraphFormat::kSvg), "<svg>" + fake_.picture + "</svg>");
  EXPECT_TRUE(client_->suspend({}, *id, "n0", true));
  EXPECT_EQ(fake_.last_suspend(), *id + "/n0 off");
  EXPECT_TRUE(client_->destroy_lab({}, *id));
  EXPECT_EQ(client_->lab({}, *id).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(client_->destroy_lab({}, *id).error().code(), ErrorCode::kNotFound);
}

TEST_F(ServerTest, ListsOfALab) {
  fake_.vm_list = {
      {.lab = "a", .node = "n0", .wsdl = "http://10.0.0.2:7781/?wsdl", .vcpus = 3, .memory = 1ULL << 33},
      {.lab = "b", .node = "n0"}};
  fake_.link_list = {{.lab = "a",
                      .link = "l",
                      .type = "fifo",
                      .deliver = "one-of",
                      .when_full = "block",
                      .transport = "shm",
                      .capacity = 64}};
  fake_.queue_list = {{.lab = "a",
                       .link = "l",
                       .depth = 1,
                       .capacity = 2,
                       .bytes = 3,
                       .enqueued = 4,
                       .dequeued = 5,
                       .dropped = 6,
                       .waiting = "cell[0]"}};
  fake_.host_list = {{.name = "h",
                      .state = "up",
                      .architecture = "x86_64",
                      .vcpus = 8,
                      .vcpus_used = 2,
                      .memory = 9,
                      .memory_used = 4,
                      .drivers = {"lxc", "qemu (tcg)"},
                      .images = {"host"}}};
  EXPECT_THAT(*client_->vms({}, ""), SizeIs(2));
  const auto vms = *client_->vms({}, "a");
  ASSERT_THAT(vms, SizeIs(1));
  EXPECT_EQ(vms[0].wsdl, "http://10.0.0.2:7781/?wsdl");
  EXPECT_EQ(vms[0].memory, 1ULL << 33);
  const auto links = *client_->links({}, "a");
  EXPECT_EQ(links.at(0).when_full, "block");
  EXPECT_EQ(links.at(0).capacity, 64U);
  const auto queues = *client_->queues({}, "a");
  EXPECT_EQ(queues.at(0).dropped, 6U);
  EXPECT_EQ(queues.at(0).waiting, "cell[0]");
  const auto hosts = *client_->hosts({});
  EXPECT_THAT(hosts.at(0).drivers, testing::ElementsAre("lxc", "qemu (tcg)"));
  EXPECT_EQ(hosts.at(0).memory_used, 4U);
}

TEST_F(ServerTest, ConsoleAndExec) {
  fake_.console_text = std::string("boot\x1b[0m\0ok\xff", 12);
  EXPECT_EQ(*client_->console({}, "a", "n0", 0, milliseconds(0)), fake_.console_text);
  EXPECT_EQ(*client_->console({}, "a", "n0", 1, milliseconds(100)), fake_.console_text.substr(1));
  const auto id = client_->exec({}, {.lab = "a",
                                     .node = "n0",
                                     .argv = {"sh", "-c", "echo \"<&>\"\t\n"},
                                     .input = std::string("\0\x01in", 4)});
  ASSERT_TRUE(id) << id.error().describe();
  EXPECT_EQ(fake_.last_exec().argv[2], "echo \"<&>\"\t\n");
  EXPECT_EQ(fake_.last_exec().input, std::string("\0\x01in", 4));
  fake_.exec_page = {.pieces = {{.stream = "out", .text = "hi"}}, .cursor = 1, .ended = true, .code = 130};
  const auto page = client_->exec_output({}, *id, 0, milliseconds(10));
  ASSERT_TRUE(page);
  EXPECT_EQ(page->pieces.at(0).text, "hi");
  EXPECT_TRUE(page->ended);
  EXPECT_EQ(page->code, 130);
  EXPECT_EQ(client_->exec({}, {.lab = "a", .node = "n0", .argv = {"bad\x01"}}).error().code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(client_->exec({}, {.lab = "a", .node = "n0", .argv = {"x"}, .input = std::string(2 << 20, 'i')})
                .error()
                .code(),
            ErrorCode::kExhausted);
}

TEST_F(ServerTest, EventsAfterACursor) {
  const auto first = client_->events({}, 0, milliseconds(0));
  EXPECT_THAT(first->events, IsEmpty());
  const auto id = *client_->submit({}, kRequest);
  const auto page = client_->events({}, first->cursor, milliseconds(20'000));
  ASSERT_THAT(page->events, SizeIs(1));
  EXPECT_EQ(page->events[0].event, "job.submitted");
  EXPECT_EQ(page->events[0].job, id);
  EXPECT_EQ(page->events[0].seq, 1U);
  EXPECT_THAT(client_->events({}, page->cursor, milliseconds(1))->events, IsEmpty());
}

TEST_F(ServerTest, BuildCache) {
  fake_.build_list = {
      {.key = "k", .state = "done", .command = "g++ a.cpp && true", .size = 7, .wall_ms = 8, .hits = 9}};
  EXPECT_EQ(client_->builds({})->at(0).command, "g++ a.cpp && true");
  EXPECT_EQ(client_->builds({})->at(0).hits, 9U);
  fake_.build_page = {
      .pieces = {{.stream = "build", .text = "error: \x1b[31mno"}}, .cursor = 4, .ended = true};
  EXPECT_EQ(client_->build_log({}, "k", 0, milliseconds(5))->pieces.at(0).text, "error: \x1b[31mno");
  EXPECT_EQ(*client_->drop_builds({}, "other"), 0U);
  EXPECT_EQ(*client_->drop_builds({}, ""), 1U);
}

// ---- blobs ---------------------------------------------------------------------------------------------

PieceReader pieces_of(std::string content, std::size_t piece = 10'000) {
  auto at = std::make_shared<std::size_t>(0);
  return [content = std::move(content), at, piece]() -> Result<std::string> {
    std::string some = content.substr(std::min(*at, content.size()), piece);
    *at += some.size();
    return some;
  };
}

TEST_F(ServerTest, BlobsOfAllSizesGoBothWays) {
  for (const std::size_t size : {0UL, 1UL, 1023UL, 65536UL, 300'000UL, 3'000'001UL}) {
    std::string content(size, '\0');
    for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>((i * 2654435761U) >> 13);
    const std::string digest = sha256_hex(content);
    EXPECT_THAT(*client_->missing_blobs({}, {digest}), SizeIs(1));
    const auto put = client_->put_blob({}, digest, pieces_of(content));
    ASSERT_TRUE(put) << size << ": " << put.error().describe();
    EXPECT_THAT(*client_->missing_blobs({}, {digest}), IsEmpty());
    std::string back;
    const auto got = client_->get_blob({}, digest, [&](std::string_view piece) {
      back += piece;
      return ok();
    });
    ASSERT_TRUE(got) << size << ": " << got.error().describe();
    EXPECT_EQ(back, content) << size;
  }
}

TEST_F(ServerTest, WrongBytesAreRefused) {
  EXPECT_EQ(client_->put_blob({}, sha256_hex("right"), pieces_of("wrong")).error().code(),
            ErrorCode::kCorrupt);
  EXPECT_EQ(client_->put_blob({}, "not a digest", pieces_of("x")).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(client_->get_blob({}, sha256_hex("absent"), [](std::string_view) { return ok(); }).error().code(),
            ErrorCode::kNotFound);
  expect_alive();
}

TEST_F(ServerTest, ErrorsOfReaderAndWriterComeThrough) {
  const auto broken = client_->put_blob(
      {}, sha256_hex("x"), []() -> Result<std::string> { return Error(ErrorCode::kIo, "the disk is gone"); });
  EXPECT_EQ(broken.error().code(), ErrorCode::kIo);
  EXPECT_EQ(broken.error().message(), "the disk is gone");
  const std::string content(1'000'000, 'q');
  fake_.put(content);
  const auto full = client_->get_blob({}, sha256_hex(content), [](std::string_view) -> Status {
    return Error(ErrorCode::kExhausted, "no space");
  });
  EXPECT_EQ(full.error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(full.error().message(), "no space");
  expect_alive();
}

TEST_F(ServerTest, PartsForClientsWithoutMtom) {
  const std::string content = "0123456789";
  fake_.put(content);
  const std::string head =
      "<s:getBlobPart xmlns:s=\"urn:mvm:store:1\"><s:digest>" + sha256_hex(content) + "</s:digest>";
  const auto part = [&](int offset, int length) {
    return exchange(post(envelope(head + "<s:offset>" + std::to_string(offset) + "</s:offset><s:length>" +
                                  std::to_string(length) + "</s:length></s:getBlobPart>")));
  };
  EXPECT_THAT(part(0, 4), testing::AllOf(HasSubstr(">MDEyMw==<"), HasSubstr(">false<")));
  EXPECT_THAT(part(8, 4), testing::AllOf(HasSubstr(">ODk=<"), HasSubstr(">true<")));
  EXPECT_THAT(part(0, 10), testing::AllOf(HasSubstr(">MDEyMzQ1Njc4OQ==<"), HasSubstr(">true<")));
  EXPECT_THAT(part(50, 4), HasSubstr(">true<"));
}

TEST_F(ServerTest, InlineBase64IsTakenToo) {
  const std::string put = "<s:putBlob xmlns:s=\"urn:mvm:store:1\"><s:digest>" + sha256_hex("hello") +
                          "</s:digest><s:data>aGVsbG8=</s:data></s:putBlob>";
  EXPECT_THAT(exchange(post(envelope(put))), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(fake_.blob(sha256_hex("hello")), "hello");
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;  // sanitizers keep what was freed
#else
constexpr bool kMemoryIsOurs = true;
#endif

std::size_t resident() {
  std::ifstream in("/proc/self/statm");
  std::size_t size = 0, pages = 0;
  in >> size >> pages;
  return pages * 4096;
}

TEST_F(ServerTest, LargeBlobsDoNotFillTheMemory) {
  constexpr std::size_t kSize = 200 << 20;
  // The fake keeps no bytes here; server and client share this process, so both are measured.
  fake_.keep_blobs = false;
  const std::string piece(256 << 10, 'm');
  Sha256 sum;
  for (std::size_t at = 0; at < kSize; at += piece.size()) sum.update(piece);
  const std::string digest = sum.hex();
  const std::size_t before = resident();
  std::size_t left = kSize, peak = before;
  const auto put = client_->put_blob({}, digest, [&]() -> Result<std::string> {
    peak = std::max(peak, resident());
    if (left == 0) return std::string();
    left -= piece.size();
    return piece;
  });
  ASSERT_TRUE(put) << put.error().describe();
  EXPECT_EQ(fake_.blob_bytes(), kSize);
  if (kMemoryIsOurs) {
    EXPECT_LT(std::max(peak, resident()) - before, 32U << 20);
  }
}

/// A store whose one blob is made up while it is read.
class EndlessStore final : public StoreApi {
 public:
  explicit EndlessStore(std::size_t size) : size_(size) {}
  Result<std::vector<std::string>> missing_blobs(const Caller&, const std::vector<std::string>&) override {
    return std::vector<std::string>{};
  }
  Status put_blob(const Caller&, const std::string&, const PieceReader&) override { return ok(); }
  Status get_blob(const Caller&, const std::string&, const PieceWriter& writer) override {
    const std::string piece(256 << 10, 'm');
    for (std::size_t at = 0; at < size_; at += piece.size()) {
      if (at == break_at) return Error(ErrorCode::kIo, "torn");
      MVM_TRY(writer(piece));
    }
    return ok();
  }
  Result<std::vector<BuildView>> builds(const Caller&) override { return std::vector<BuildView>{}; }
  Result<LogPage> build_log(const Caller&, const std::string&, std::uint64_t, milliseconds) override {
    return LogPage{};
  }
  Result<std::uint64_t> drop_builds(const Caller&, const std::string&) override { return std::uint64_t{0}; }
  std::atomic<std::size_t> break_at = ~0UL;

 private:
  std::size_t size_;
};

TEST_F(SoapServerTest, LargeBlobsComeDownInConstantMemory) {
  constexpr std::size_t kSize = 200 << 20;
  EndlessStore store(kSize);
  broker_ = std::make_unique<BrokerApi>(fake_.api({.store = &store}));
  serve();
  Sha256 sum;
  const std::string piece(256 << 10, 'm');
  for (std::size_t at = 0; at < kSize; at += piece.size()) sum.update(piece);
  const std::size_t before = resident();
  std::size_t peak = before, size = 0;
  const auto got = client_->get_blob({}, sum.hex(), [&](std::string_view some) {
    size += some.size();
    peak = std::max(peak, resident());
    return ok();
  });
  ASSERT_TRUE(got) << got.error().describe();
  EXPECT_EQ(size, kSize);
  if (kMemoryIsOurs) {
    EXPECT_LT(peak - before, 32U << 20);
  }

  store.break_at = 10UL * piece.size();
  EXPECT_FALSE(client_->get_blob({}, sum.hex(), [](std::string_view) { return ok(); }))
      << "cut short is told";
  store.break_at = 0;
  EXPECT_EQ(client_->get_blob({}, sum.hex(), [](std::string_view) { return ok(); }).error().code(),
            ErrorCode::kIo);
  expect_alive();
}

// ---- tokens --------------------------------------------------------------------------------------------

TEST_F(ServerTest, WithoutAGoodTokenNothingIsAnswered) {
  for (const std::string& wrong : {std::string(), std::string("nonsense"), std::string(64, 'a')}) {
    const auto stranger = connect(wrong);
    EXPECT_EQ(stranger->whoami({}).error().code(), ErrorCode::kRefused) << wrong;
    EXPECT_EQ(stranger->submit({}, kRequest).error().code(), ErrorCode::kRefused);
    EXPECT_EQ(stranger->missing_blobs({}, {}).error().code(), ErrorCode::kRefused);
    EXPECT_EQ(stranger->put_blob({}, sha256_hex("x"), pieces_of("x")).error().code(), ErrorCode::kRefused);
    EXPECT_EQ(stranger->get_blob({}, sha256_hex("x"), [](std::string_view) { return ok(); }).error().code(),
              ErrorCode::kRefused);
  }
  EXPECT_EQ(fake_.blob_bytes(), 0U);
  EXPECT_THAT(*client_->jobs({}, true), IsEmpty());
}

TEST_F(ServerTest, AnUploadByAStrangerIsStoppedAtOnce) {
  std::size_t asked = 0;
  const auto refused = connect("nonsense")->put_blob({}, sha256_hex("x"), [&]() -> Result<std::string> {
    asked += 1 << 20;
    return std::string(asked > (1UL << 30) ? 0 : 1 << 20, 'x');
  });
  EXPECT_EQ(refused.error().code(), ErrorCode::kRefused) << refused.error().describe();
  EXPECT_LT(asked, 64U << 20) << "it did not swallow the gigabyte";
}

TEST_F(ServerTest, TheTokenMayComeInTheSoapHeader) {
  const auto request = [&](const std::string& token) {
    const std::string body =
        "<E:Envelope xmlns:E=\"http://schemas.xmlsoap.org/soap/envelope/\"><E:Header><t:token "
        "xmlns:t=\"urn:mvm:types:1\">" +
        token +
        "</t:token></E:Header><E:Body><whoami xmlns=\"urn:mvm:broker:1\"/>"
        "</E:Body></E:Envelope>";
    return exchange("POST /broker HTTP/1.1\r\nContent-Type: text/xml\r\nContent-Length: " +
                    std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  const std::string answer = request(user_.secret);
  EXPECT_THAT(answer, HasSubstr("<b:user>ada</b:user>"));
  EXPECT_THAT(answer, testing::Not(HasSubstr(user_.secret)));
  EXPECT_THAT(request("wrong"), HasSubstr("<t:code>refused</t:code>"));
}

TEST_F(ServerTest, ALabsTokenReachesItsOwnLabOnly) {
  const auto own = *client_->create_lab({}, kRequest);
  const auto other = *client_->create_lab({}, kRequest);
  const auto own_job = *client_->submit({}, {.profile = "<x/>", .lab = own});
  const auto other_job = *client_->submit({}, {.profile = "<x/>", .lab = other});
  fake_.vm_list = {{.lab = own}, {.lab = other}};
  const auto lab = connect(identity_.issue({.user = "ada", .role = "lab", .lab = own}).secret);
  EXPECT_TRUE(lab->lab({}, own));
  EXPECT_TRUE(lab->job({}, own_job));
  EXPECT_THAT(*lab->labs({}), SizeIs(1));
  EXPECT_THAT(*lab->jobs({}, true), SizeIs(1));
  EXPECT_THAT(*lab->vms({}, ""), SizeIs(1));
  EXPECT_THAT(lab->events({}, 0, milliseconds(0))->events, SizeIs(1));
  const auto refused = [](const auto& result) {
    return !result && result.error().code() == ErrorCode::kRefused;
  };
  EXPECT_TRUE(refused(lab->lab({}, other)));
  EXPECT_TRUE(refused(lab->destroy_lab({}, other)));
  EXPECT_TRUE(refused(lab->create_lab({}, kRequest)));
  EXPECT_TRUE(refused(lab->graph({}, other, GraphFormat::kDot)));
  EXPECT_TRUE(refused(lab->vms({}, other)));
  EXPECT_TRUE(refused(lab->queues({}, other)));
  EXPECT_TRUE(refused(lab->console({}, other, "n0", 0, milliseconds(0))));
  EXPECT_TRUE(refused(lab->exec({}, {.lab = other, .node = "n0", .argv = {"id"}})));
  EXPECT_TRUE(refused(lab->suspend({}, other, "n0", true)));
  EXPECT_TRUE(refused(lab->job({}, other_job)));
  EXPECT_TRUE(refused(lab->wait_job({}, other_job, "", milliseconds(1))));
  EXPECT_TRUE(refused(lab->cancel({}, other_job)));
  EXPECT_TRUE(refused(lab->logs({}, {.job = other_job})));
  EXPECT_TRUE(refused(lab->results({}, other_job)));
  EXPECT_TRUE(refused(lab->remove({}, other_job)));
  EXPECT_TRUE(refused(lab->submit({}, {.profile = "<x/>", .lab = other})));
  EXPECT_TRUE(refused(lab->hosts({})));
  EXPECT_TRUE(refused(lab->builds({})));
  EXPECT_TRUE(refused(lab->drop_builds({}, "")));
  const auto inside = lab->submit({}, {.profile = "<x/>"});
  ASSERT_TRUE(inside);
  EXPECT_EQ(lab->job({}, *inside)->job.lab, own) << "without a name its own is meant";
}

// ---- connections ---------------------------------------------------------------------------------------

TEST_F(ServerTest, OneConnectionServesManyCalls) {
  for (int i = 0; i < 50; ++i) expect_alive();
  EXPECT_EQ(server_->stats().accepted, 1U);
  EXPECT_EQ(server_->stats().requests, 50U);
  EXPECT_FALSE(client_->job({}, "none"));
  expect_alive();
  EXPECT_LE(server_->stats().accepted, 2U);
}

TEST_F(ServerTest, ABrokerThatIsNotThereIsUnavailable) {
  const auto port = server_->port();
  expect_alive();
  server_.reset();
  const auto gone = client_->whoami({});
  EXPECT_EQ(gone.error().code(), ErrorCode::kUnavailable) << gone.error().describe();
  EXPECT_THAT(gone.error().message(), HasSubstr(std::to_string(port)));
}

TEST_F(ServerTest, StoppingEndsLongPolls) {
  const auto id = *client_->submit({}, kRequest);
  std::thread waiter([&] { EXPECT_FALSE(client_->wait_job({}, id, "SUBMITTED", milliseconds(25'000))); });
  EXPECT_TRUE(eventually([&] { return fake_.waiting() == 1; }));
  const auto begin = std::chrono::steady_clock::now();
  server_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  waiter.join();
}

TEST_F(ServerTest, ManyThreadsShareOneClient) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < 16; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i)
        if (client_->whoami({})) ++good;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 400);
}

TEST_F(ServerTest, AddressesAreChecked) {
  EXPECT_EQ(BrokerClient::create({.url = "ftp://x"}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(BrokerClient::create({.url = "http://x:99999"}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(BrokerClient::create({.url = "http://broker.example:80"}).error().code(), ErrorCode::kRefused)
      << "plain HTTP would show the token to the network";
  EXPECT_EQ(SoapServer::start({.address = "0.0.0.0"}, {.identity = &identity_, .broker = broker_.get()})
                .error()
                .code(),
            ErrorCode::kInvalid);
  EXPECT_EQ(SoapServer::start({}, {.broker = broker_.get()}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(SoapServer::start({.port = server_->port()}, {.identity = &identity_, .broker = broker_.get()})
                .error()
                .code(),
            ErrorCode::kIo);
}

TEST_F(ServerTest, WsdlCarriesTheAddressItWasAskedAt) {
  const std::string answer = exchange("GET /broker?wsdl HTTP/1.0\r\nHost: lab.example:99\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(answer, HasSubstr("location=\"http://lab.example:99/broker\""));
  EXPECT_THAT(exchange("GET /?wsdl HTTP/1.0\r\n\r\n"), HasSubstr(server_->url() + "/broker\""));
  EXPECT_THAT(exchange("GET /store?WSDL HTTP/1.0\r\n\r\n"), HasSubstr("urn:mvm:store:1"));
  EXPECT_THAT(exchange("GET /host?wsdl HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 404 ")) << "not offered here";
  EXPECT_THAT(exchange("GET / HTTP/1.0\r\nHost: \"><x\r\n\r\n"), HasSubstr("/store?wsdl"));
}

}  // namespace
}  // namespace mvm::soap
