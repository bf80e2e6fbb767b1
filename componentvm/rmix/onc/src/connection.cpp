#include "connection.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>

#include "message.h"
#include "mvm/base/digest.h"
#include "mvm/rmix/lines.h"

namespace mvm::rmix::onc {
namespace {

using std::chrono::steady_clock;

constexpr unsigned kWidth = 16;

struct Nothing {};
using Lines = sockets::Lines<Nothing>;

std::uint32_t milliseconds_to(Clock::Instant deadline) {
  if (deadline == kNever) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(left, 1, std::numeric_limits<std::int32_t>::max()));
}

/// Why a call was not run, by its reply; only of replies that are not a success.
Failure failure_of(const ReplyHead& head, const std::string& what) {
  const auto not_run = [&](ErrorCode code, const std::string& why) {
    return Failure{Error(code, what + ": " + why), Fate::kNotRun};
  };
  if (head.stat == MSG_DENIED)
    return not_run(ErrorCode::kRefused, "the server refuses this caller (authentication status " +
                                            std::to_string(head.refused) + ")");
  switch (head.accepted) {
    case PROG_UNAVAIL:
      return not_run(ErrorCode::kNotFound, "no such service there");
    case PROG_MISMATCH:
      return not_run(ErrorCode::kUnsupported, "the service has another interface, of versions " +
                                                  std::to_string(head.low) + " to " +
                                                  std::to_string(head.high));
    case PROC_UNAVAIL:
      return not_run(ErrorCode::kUnsupported, "the service has no such method");
    case GARBAGE_ARGS:
      return not_run(ErrorCode::kInvalid, "the server could not read the arguments");
    default:
      return Failure{Error(ErrorCode::kFailed, what + ": the server failed"), Fate::kUnknown};
  }
}

class OncConnection final : public Connection {
 public:
  OncConnection(sockets::Place place, const ConnectOptions& options)
      : lines_(std::move(place)), interface_(options.interface), what_(options.service + " over ONC RPC") {
    credentials_ = {.service = options.service,
                    .token = options.token,
                    .digest = digest(*interface_),
                    .reference = random_hex(sizeof(std::uint64_t))};
  }

  /// Asks whether the service is there. A stock server does not know our credentials, and is asked without.
  Status open(Clock::Instant deadline) {
    for (const bool stock : {false, true}) {
      stock_ = stock;
      MVM_ASSIGN(const std::string record, record_of(0, {}, {}, deadline));
      ReplyHead head;
      const Outcome asked = exchange(record, deadline, [&](const ReplyHead& said, XdrReader&) -> Outcome {
        head = said;
        return Value();
      });
      if (const auto* failure = std::get_if<Failure>(&asked)) return failure->error;
      const bool unknown =
          head.stat == MSG_DENIED && head.refused != AUTH_TOOWEAK && head.refused != AUTH_BADCRED;
      if (!stock && unknown) continue;
      if (head.stat == MSG_ACCEPTED && head.accepted == SUCCESS) return ok();
      return failure_of(head, what_).error;
    }
    return ok();
  }

  std::uint64_t call(const Request& request, Done done) override {
    const std::uint64_t number = ++last_;
    done(run(request));
    return number;
  }
  bool blocking() const override { return true; }
  unsigned width() const override { return kWidth; }
  bool usable() const override { return usable_; }
  void shut() override {
    usable_ = false;
    lines_.shut();
  }

 private:
  Outcome run(const Request& request) {
    const Method& method = interface_->methods[request.method];
    if (size_of(request.arguments, method.parameters) > kMostBytes - MAX_AUTH_BYTES - 64)
      return failed(ErrorCode::kExhausted, "the arguments are too large", Fate::kNotRun);
    const auto record = record_of(request.method + 1, request.arguments, method.parameters, request.deadline);
    if (!record) return Failure{record.error(), Fate::kNotRun};
    return exchange(*record, request.deadline, [&](const ReplyHead& head, XdrReader& reader) -> Outcome {
      if (head.stat != MSG_ACCEPTED || head.accepted != SUCCESS) return failure_of(head, what_);
      if (method.one_way) return Value();
      auto outcome = read_outcome(reader, method);
      if (!outcome || reader.left() != 0) {
        usable_ = false;
        return failed(ErrorCode::kCorrupt, what_ + ": the answer of " + method.name + " cannot be read",
                      Fate::kRan);
      }
      return *std::move(outcome);
    });
  }

  Result<std::string> record_of(std::uint32_t procedure, const std::vector<Value>& arguments,
                                const std::vector<Field>& parameters, Clock::Instant deadline) {
    CallHead head{.xid = ++xid_,
                  .program = interface_->program,
                  .version = interface_->version,
                  .procedure = procedure,
                  .flavor = AUTH_NONE};
    if (!stock_) {
      Credentials credentials = credentials_;
      credentials.deadline_ms = milliseconds_to(deadline);
      head.flavor = kFlavor;
      MVM_ASSIGN(head.credentials, write_credentials(credentials));
    }
    XdrWriter writer(size_of(head) + size_of(arguments, parameters));
    write(writer, head);
    writer.values(arguments, parameters);
    return writer.take();
  }

  /// Sends a record and reads the reply to it.
  template <class Read>
  Outcome exchange(const std::string& record, Clock::Instant deadline, Read read) {
    auto line = lines_.take(deadline);
    if (!line) {
      usable_ = usable_ && line.error().code() == ErrorCode::kTimeout;
      return Failure{std::move(line).error().wrap(what_), Fate::kNotRun};
    }
    const auto broken = [&](Error error) -> Outcome {
      lines_.drop(*line);
      // Late is not broken: the next call has a line of its own.
      if (error.code() != ErrorCode::kTimeout) usable_ = false;
      return Failure{std::move(error).wrap(what_), Fate::kUnknown};
    };
    if (Status sent = write_record(line->socket.get(), record, deadline); !sent) return broken(sent.error());
    const auto reply = read_record(line->socket.get(), deadline, kMostBytes);
    if (!reply) return broken(reply.error());
    XdrReader reader(*reply);
    const auto head = read_reply(reader);
    if (!head) return broken(head.error());
    if (record.compare(4, 4, *reply, 0, 4) != 0)
      return broken(Error(ErrorCode::kCorrupt, "the reply is to another call"));
    Outcome outcome = read(*head, reader);
    lines_.give(*std::move(line));
    return outcome;
  }

  Lines lines_;
  const InterfacePtr interface_;
  const std::string what_;
  Credentials credentials_;
  bool stock_ = false;  // constant after open()
  std::atomic<std::uint32_t> xid_{0};
  std::atomic<std::uint64_t> last_{0};
  std::atomic<bool> usable_{true};
};

}  // namespace

Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options) {
  if (options.interface->program == 0)
    return Error(ErrorCode::kUnsupported, options.interface->text() + " has no ONC RPC program number");
  MVM_ASSIGN(sockets::Place place, sockets::Place::read(options.endpoint));
  auto connection = std::make_unique<OncConnection>(std::move(place), options);
  MVM_TRY(connection->open(options.deadline));
  return std::unique_ptr<Connection>(std::move(connection));
}

}  // namespace mvm::rmix::onc
