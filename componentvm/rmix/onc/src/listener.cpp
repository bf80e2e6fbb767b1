#include "listener.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>

#include "message.h"
#include "mvm/rmix/callers.h"
#include "mvm/rmix/orders.h"
#include "mvm/rmix/sockets.h"

namespace mvm::rmix::onc {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kMostCallers = 512;
constexpr std::chrono::minutes kIdle{10};
constexpr std::chrono::seconds kWriteWithin{60};

/// Answers the calls of one connection.
class Answerer {
 public:
  Answerer(Dispatcher& dispatcher, sockets::Orders<Order>& orders, std::string address)
      : dispatcher_(dispatcher), orders_(orders), address_(std::move(address)) {}

  /// The record that answers; nothing where what came is no call.
  std::optional<std::string> answer(std::string_view record) {
    XdrReader reader(record);
    const auto head = read_call(reader);
    if (!head) return std::nullopt;
    ReplyHead reply{.xid = head->xid};
    const Target target = find(*head, reply);
    if (!target.service) return write_reply(reply);
    if (head->procedure == 0) return write_reply(reply);  // "null": somebody looks whether we are there
    const Interface& interface = target.service->interface();
    if (head->procedure > interface.methods.size()) {
      reply.accepted = PROC_UNAVAIL;
      return write_reply(reply);
    }
    const Method& method = interface.methods[head->procedure - 1];
    auto arguments = reader.values(method.parameters);
    if (!arguments || reader.left() != 0) {
      reply.accepted = GARBAGE_ARGS;
      return write_reply(reply);
    }
    const Outcome outcome = run(target, head->procedure - 1, std::move(*arguments));
    if (method.one_way) {
      if (std::holds_alternative<Failure>(outcome)) reply.accepted = SYSTEM_ERR;
      return write_reply(reply);
    }
    return write_outcome(reply, outcome, method);
  }

 private:
  struct Target {
    std::shared_ptr<Exported> service;
    std::shared_ptr<const Caller> caller;
    Clock::Instant deadline = kNever;
  };

  static std::string write_reply(const ReplyHead& reply) {
    XdrWriter writer(kReplyHead);
    write(writer, reply);
    return writer.take();
  }

  static std::string write_outcome(const ReplyHead& reply, const Outcome& outcome, const Method& method) {
    const std::size_t size = kReplyHead + size_of(outcome, method);
    if (size > kMostBytes)
      return write_outcome(reply, failed(ErrorCode::kExhausted, "the answer is too large", Fate::kRan),
                           method);
    XdrWriter writer(size);
    write(writer, reply);
    write(writer, outcome, method);
    return writer.take();
  }

  /// What the call is for; where it is for nothing, `reply` says why.
  Target find(const CallHead& head, ReplyHead& reply) {
    Caller caller{.scheme = "onc+tcp", .address = address_};
    Target target;
    if (head.flavor == kFlavor) {
      const auto credentials = read_credentials(head.credentials);
      if (!credentials) return refuse(reply, AUTH_BADCRED);
      caller.token = credentials->token;
      if (credentials->deadline_ms > 0)
        target.deadline = steady_clock::now() + std::chrono::milliseconds(credentials->deadline_ms);
      auto found = dispatcher_.find(credentials->service);
      if (!found || (*found)->interface().program != head.program) {
        reply.accepted = PROG_UNAVAIL;
        return {};
      }
      if (digest((*found)->interface()) != credentials->digest)
        return mismatch(reply, (*found)->interface().version);
      target.service = *std::move(found);
      if (credentials->reference != reference_) {
        reference_ = credentials->reference;
        order_ = orders_.of(reference_, [&] { return dispatcher_.make_order(); });
      }
    } else {
      target.service = by_program(head, reply);
      if (!target.service) return {};
    }
    if (!dispatcher_.admit(*target.service, caller)) return refuse(reply, AUTH_TOOWEAK);
    target.caller = std::make_shared<const Caller>(std::move(caller));
    return target;
  }

  /// For stock clients. Of several services with one interface the first by name.
  std::shared_ptr<Exported> by_program(const CallHead& head, ReplyHead& reply) const {
    std::shared_ptr<Exported> found;
    std::uint32_t version = 0;
    for (const auto& one : dispatcher_.all()) {
      if (one->interface().program != head.program || head.program == 0) continue;
      version = one->interface().version;
      if (version == head.version && (!found || one->name() < found->name())) found = one;
    }
    if (found) return found;
    reply.accepted = PROG_UNAVAIL;
    if (version != 0) mismatch(reply, version);
    return nullptr;
  }

  static Target refuse(ReplyHead& reply, auth_stat why) {
    reply.stat = MSG_DENIED;
    reply.refused = why;
    return {};
  }
  static Target mismatch(ReplyHead& reply, std::uint32_t version) {
    reply.accepted = PROG_MISMATCH;
    reply.low = reply.high = version;
    return {};
  }

  Outcome run(const Target& target, std::uint32_t method, std::vector<Value> arguments) {
    std::promise<Outcome> promise;
    auto outcome = promise.get_future();
    dispatcher_.dispatch({.target = target.service,
                          .method = method,
                          .arguments = std::move(arguments),
                          .caller = target.caller,
                          .deadline = target.deadline,
                          .order = order_},
                         [&promise](Outcome how) { promise.set_value(std::move(how)); });
    return outcome.get();
  }

  Dispatcher& dispatcher_;
  sockets::Orders<Order>& orders_;
  const std::string address_;
  std::string reference_;
  std::shared_ptr<Order> order_;
};

class OncListener final : public Listener {
 public:
  OncListener(sockets::Place place, UniqueFd socket, Dispatcher& dispatcher)
      : place_(std::move(place)), callers_(std::move(socket), kMostCallers, [this, &dispatcher](int caller) {
          Answerer answerer(dispatcher, orders_, sockets::peer_address(caller));
          for (;;) {
            const auto record = read_record(caller, steady_clock::now() + kIdle, kMostBytes);
            if (!record) return;
            const auto answer = answerer.answer(*record);
            if (!answer || !write_record(caller, *answer, steady_clock::now() + kWriteWithin)) return;
          }
        }) {}
  std::string endpoint() const override { return place_.text(); }

 private:
  const sockets::Place place_;
  sockets::Orders<Order> orders_;
  sockets::Callers callers_;  // last: its threads use the others
};

}  // namespace

Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher) {
  MVM_ASSIGN(sockets::Place place, sockets::Place::read(options.endpoint));
  MVM_ASSIGN(UniqueFd socket, sockets::listen_at(place));
  return std::unique_ptr<Listener>(new OncListener(std::move(place), std::move(socket), dispatcher));
}

}  // namespace mvm::rmix::onc
