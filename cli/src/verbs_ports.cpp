// mvm queue put, mvm queue get: open ports of a job on standard input and output.

#include <istream>
#include <ostream>

#include "common.h"
#include "format.h"
#include "message_printer.h"
#include "messages.h"
#include "mvm/base/digest.h"

namespace mvm::cli {
namespace {

using std::chrono::milliseconds;

constexpr const char* kExpected = "JOB.PORT such as 12.work or 12.cell[0].work";
constexpr milliseconds kPatience{60'000};
constexpr milliseconds kPoll{1'000};  // Ctrl-C waits no longer than this
constexpr std::size_t kBatchBytes = 256 << 10;

/// JOB.PORT and how messages look outside.
struct PortOptions {
  std::string target;
  bool whole = false, size = false;

  [[nodiscard]] Framing framing() const {
    return whole ? Framing::kWhole : size ? Framing::kSize : Framing::kLines;
  }
};

/// --timeout, where it was given: longest time in which nothing moves.
std::optional<milliseconds> limit_of(Session& session) {
  if (!session.globals().timeout_given) return std::nullopt;
  return session.globals().timeout;
}

void add_port(Grammar& grammar, CLI::App& verb, PortOptions& options, const std::string& whole) {
  grammar.completes(
      verb.add_option("JOB.PORT", options.target, "an open port: 12.work, 12.cell[0].work[1]")->required(),
      Completes::kJob);
  auto* const size =
      verb.add_flag("--size", options.size, "each message follows its size, 4 bytes, little-endian");
  verb.add_flag("--whole", options.whole, whole)->excludes(size);
}

// ---- put

struct PutOptions : PortOptions {
  std::uint64_t key = 0;
  std::uint32_t priority = 0;
  bool done = false;
};

/// Messages that are there already are sent together; none waits for one that is still to be typed.
Result<bool> read_batch(Session& session, const PutOptions& options, std::vector<soap::Message>& batch) {
  std::istream& in = session.context().in;
  std::size_t bytes = 0;
  batch.clear();
  while (batch.size() < soap::kMostMessages && bytes < kBatchBytes) {
    MVM_ASSIGN(auto message, read_message(in, options.framing()));
    if (!message) return false;
    bytes += message->size();
    batch.push_back({.data = std::move(*message), .key = options.key, .priority = options.priority});
    if (in.rdbuf()->in_avail() <= 0) break;
  }
  return true;
}

class Putter {
 public:
  Putter(Session& session, soap::BrokerApi& api, const JobPart& target, std::optional<milliseconds> limit)
      : session_(session), api_(api), limit_(limit) {
    request_.job = target.job;
    request_.port = target.part;
    request_.client = random_hex(16);
    request_.wait = kPoll;
  }

  /// Until all of them are in the queue.
  Status put(std::vector<soap::Message> batch, bool done) {
    const std::uint64_t all = request_.first + batch.size();
    auto moved = session_.context().clock.now();
    request_.done = done;
    request_.messages = std::move(batch);
    Pacer pacer(session_);
    for (;;) {
      pacer.begin();
      MVM_ASSIGN(const soap::PutAnswer answer, patiently(session_, kPatience, [&] {
                   return api_.queues.put(session_.caller(), request_);
                 }));
      request_.ticket = answer.ticket;
      const bool progress = answer.accepted > request_.first;
      const auto count = std::min<std::uint64_t>(answer.accepted - request_.first, request_.messages.size());
      request_.messages.erase(request_.messages.begin(),
                              request_.messages.begin() + static_cast<std::ptrdiff_t>(count));
      request_.first += count;
      if (request_.first == all && (!done || answer.closed)) return ok();
      if (!answer.end.empty())
        return Error(ErrorCode::kFailed, answer.end == "dead" ? "the process that reads the port died"
                                                              : "nobody reads the port any more");
      if (progress) moved = session_.context().clock.now();
      if (limit_ && session_.context().clock.now() - moved >= *limit_)
        return Error(ErrorCode::kTimeout, "the queue was full, or the job did not run, for " +
                                              std::to_string(limit_->count()) + " ms");
      pacer.end(progress);
    }
  }
  [[nodiscard]] std::uint64_t count() const { return request_.first; }

 private:
  Session& session_;
  soap::BrokerApi& api_;
  const std::optional<milliseconds> limit_;
  soap::PutRequest request_;
};

Result<int> put(Session& session, const PutOptions& options) {
  MVM_ASSIGN(const JobPart target, job_part(options.target, kExpected));
  const auto limit = limit_of(session);
  MVM_ASSIGN(auto api, session.api());
  Putter putter(session, api, target, limit);
  std::vector<soap::Message> batch;
  for (bool more = true; more;) {
    auto read = read_batch(session, options, batch);
    more = read && *read;
    // What came before a fault in the input is sent all the same.
    const bool last = read && !more;
    if (!batch.empty() || (last && options.done)) MVM_TRY(putter.put(std::move(batch), last && options.done));
    if (!read) return read.error();
  }
  if (!session.as_table()) {
    Json json = schema_object("queue-put");
    json["job"] = target.job;
    json["port"] = target.part;
    json["messages"] = putter.count();
    json["done"] = options.done;
    print_json(session.out(), session.format(), json);
  }
  return kDone;
}

// ---- get

struct GetOptions : PortOptions {
  std::uint64_t count = 0;
  bool follow = false;
};

/// One client's taking: what was written is acknowledged with the next call, or with the last.
class Getter {
 public:
  Getter(Session& session, soap::BrokerApi& api, const JobPart& target, const GetOptions& options)
      : session_(session),
        api_(api),
        options_(options),
        printer_(session, session.out(), options.framing(), session.as_table()) {
    request_.job = target.job;
    request_.port = target.part;
    request_.client = random_hex(16);
  }

  Result<int> run(std::optional<milliseconds> limit) {
    const bool waits = options_.follow || options_.count > 0 || limit.has_value();
    auto moved = session_.context().clock.now();
    const int pressed = session_.context().interrupts.count();
    Pacer pacer(session_);
    while (session_.context().interrupts.count() == pressed) {
      const std::uint64_t left = options_.count > 0 ? options_.count - taken_ : soap::kMostMessages;
      request_.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, soap::kMostMessages));
      request_.wait = waits ? kPoll : milliseconds(0);
      if (limit) request_.wait = std::min(request_.wait, *limit);
      pacer.begin();
      MVM_ASSIGN(const soap::TakeAnswer answer, patiently(session_, kPatience, [&] {
                   return api_.queues.take(session_.caller(), request_);
                 }));
      request_.ticket = answer.ticket;
      if (!write(answer)) return kDone;  // nobody reads any more
      if (options_.count > 0 && taken_ >= options_.count) break;
      if (!answer.end.empty()) {
        dead_ = answer.end == "dead";
        break;
      }
      if (!answer.messages.empty()) moved = session_.context().clock.now();
      if (answer.messages.empty() && !waits) break;
      if (limit && session_.context().clock.now() - moved >= *limit)
        return Error(ErrorCode::kTimeout, "no message for " + std::to_string(limit->count()) + " ms");
      if (waits) pacer.end(!answer.messages.empty());
    }
    printer_.finish();
    if (dead_)
      return Error(ErrorCode::kFailed, "a process that writes the port died; what it had sent came first");
    return kDone;
  }

  /// What was written is acknowledged, what was not is free for others at once.
  void leave() {
    request_.leave = true;
    request_.wait = milliseconds(0);
    if (const auto left = api_.queues.take(session_.caller(), request_); !left)
      session_.err() << "mvm: the last messages may come again: " << left.error().describe() << '\n';
  }

 private:
  bool write(const soap::TakeAnswer& answer) {
    std::uint64_t acknowledged = request_.acknowledged;
    for (const soap::TakenMessage& message : answer.messages) {
      if (printer_.print(message)) {
        acknowledged = message.number;
        ++taken_;
        request_.partial = request_.offset = 0;
      } else {
        request_.partial = message.number;
        request_.offset = message.offset + message.data.size();
      }
    }
    session_.out().flush();
    if (!session_.out()) return false;  // nobody reads any more: not acknowledged
    request_.acknowledged = acknowledged;
    return true;
  }

  Session& session_;
  soap::BrokerApi& api_;
  const GetOptions& options_;
  MessagePrinter printer_;
  soap::TakeRequest request_;
  std::uint64_t taken_ = 0;
  bool dead_ = false;
};

Result<int> get(Session& session, const GetOptions& options) {
  MVM_ASSIGN(const JobPart target, job_part(options.target, kExpected));
  const auto limit = limit_of(session);
  MVM_ASSIGN(auto api, session.api());
  session.context().interrupts.arm();
  Getter getter(session, api, target, options);
  auto done = getter.run(limit);
  getter.leave();
  return done;
}

}  // namespace

void add_port_verbs(Grammar& grammar, CLI::App& queue) {
  auto putting = std::make_shared<PutOptions>();
  CLI::App& put_verb = grammar.verb(
      queue, "put", "puts standard input into an open in port of a job, a message a line",
      {"seq 100 | mvm queue put 12.work --done", "mvm queue put 12.cell[0].image --whole < picture.png",
       "mvm queue put 12.orders --priority 9 < urgent.txt"},
      [putting](Session& session) { return put(session, *putting); });
  add_port(grammar, put_verb, *putting, "all of the input is one message");
  put_verb.add_option("--key", putting->key, "the messages' key")->type_name("NUMBER");
  put_verb.add_option("--priority", putting->priority, "their priority, 0 to 255")
      ->type_name("NUMBER")
      ->check(CLI::Range(0, 255));
  put_verb.add_flag("--done", putting->done, "then end the stream: nobody puts anything more");

  auto getting = std::make_shared<GetOptions>();
  CLI::App& get_verb = grammar.verb(
      queue, "get", "takes messages out of an open out port of a job and writes them, one a line",
      {"mvm queue get 12.result --follow", "mvm queue get 12.cell[0].result -n 10",
       "mvm queue get 12.image -n 1 --whole > picture.png"},
      [getting](Session& session) { return get(session, *getting); });
  add_port(grammar, get_verb, *getting, "nothing between messages");
  get_verb.add_option("-n,--count", getting->count, "COUNT messages; waits for them")->type_name("COUNT");
  get_verb.add_flag("-f,--follow", getting->follow, "wait for more until the end of the stream");
}

}  // namespace mvm::cli
