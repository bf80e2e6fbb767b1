// Jobs, labs and the system, as the generated service calls them.

#include <algorithm>

#include "exchange.h"
#include "fields.h"
#include "long_poll.h"
#include "services.h"
#include "soapBrokerService.h"

namespace mvm::soap {
namespace {

constexpr std::size_t kMostInput = 1 << 20;

/// What is named twice is an error: one of them would be lost.
Status settings_from(const std::vector<t__Setting>& wire, const char* what, Settings& settings) {
  for (const t__Setting& one : wire)
    if (!settings.emplace(one.name, one.value).second)
      return Error(ErrorCode::kInvalid, std::string(what) + " " + one.name + " is set twice");
  return ok();
}

Result<RewireRequest> request_from(const t__RewireRequest* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "a request is needed");
  RewireRequest request;
  FromWire from;
  from(wire->target, request.target);
  from(wire->profile, request.profile);
  from(wire->file, request.file);
  if (wire->document != nullptr && wire->document->__any != nullptr) {
    if (wire->profile != nullptr)
      return Error(ErrorCode::kInvalid, "give the profile either as text or as a document");
    request.profile = wire->document->__any;
  }
  MVM_TRY(settings_from(wire->setting, "parameter", request.settings));
  for (const t__LinkEdit& edit : wire->edit) {
    LinkEdit& ours = request.edits.emplace_back();
    ours.kind = edit.set != nullptr && *edit.set ? LinkEdit::Kind::kSet
                : edit.connect                   ? LinkEdit::Kind::kConnect
                                                 : LinkEdit::Kind::kDisconnect;
    from(edit.from, ours.from);
    from(edit.to, ours.to);
    from(edit.link, ours.link);
    MVM_TRY(settings_from(edit.attribute, "attribute", ours.attributes));
  }
  request.deadline = std::chrono::milliseconds(wire->deadlineMs);
  request.dry_run = wire->dryRun;
  return request;
}

Result<SubmitRequest> request_from(const t__SubmitRequest* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "a request is needed");
  SubmitRequest request;
  FromWire from;
  from(wire->profile, request.profile);
  from(wire->lab, request.lab);
  from(wire->request, request.request);
  from(wire->file, request.file);
  const bool literal = wire->document != nullptr && wire->document->__any != nullptr;
  if (literal == (wire->profile != nullptr))
    return Error(ErrorCode::kInvalid, "give the profile either as text or as a document");
  if (literal) request.profile = wire->document->__any;
  MVM_TRY(settings_from(wire->setting, "parameter", request.settings));
  return request;
}

template <class T>
T or_none(const T* wire) {
  return wire != nullptr ? *wire : T();
}

Result<PutRequest> put_from(Exchange& exchange, const t__Enqueue* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "a request is needed");
  if (wire->message.size() > kMostMessages)
    return Error(ErrorCode::kExhausted, std::to_string(wire->message.size()) +
                                            " messages in a call, at most " + std::to_string(kMostMessages));
  PutRequest request{.job = wire->job,
                     .port = wire->port,
                     .client = wire->client,
                     .ticket = or_none(wire->ticket),
                     .first = wire->first,
                     .messages = {},
                     .done = or_none(wire->done)};
  std::size_t bytes = 0;
  for (const t__Message& one : wire->message) {
    request.messages.push_back({.data = {}, .key = or_none(one.key), .priority = or_none(one.priority)});
    xsd__base64Binary data = one.data;
    const PieceReader reader = exchange.attachment(&data);
    for (;;) {
      MVM_ASSIGN(const std::string piece, reader());
      if (piece.empty()) break;
      request.messages.back().data += piece;
      if ((bytes += piece.size()) > kMostMessageBytes)
        return Error(ErrorCode::kExhausted, "the messages of a call have at most 1 MiB together");
    }
  }
  return request;
}

Result<TakeRequest> take_from(const t__Dequeue* wire) {
  if (wire == nullptr) return Error(ErrorCode::kInvalid, "a request is needed");
  return TakeRequest{
      .job = wire->job,
      .port = wire->port,
      .client = wire->client,
      .ticket = or_none(wire->ticket),
      .acknowledged = wire->acknowledged,
      .partial = or_none(wire->partial),
      .offset = or_none(wire->offset),
      .count = wire->count != nullptr ? *wire->count : static_cast<std::uint32_t>(kMostMessages),
      .leave = or_none(wire->leave)};
}

class BrokerImpl final : public BrokerService {
 public:
  BrokerImpl(struct soap* context, Exchange& exchange)
      : BrokerService(context), exchange_(exchange), api_(*exchange.services().broker) {}
  BrokerService* copy() override { return nullptr; }

  // ---- jobs ----
  int validate(t__SubmitRequest* request, b__validateResponse& r) override {
    return with_request(request, [&](const Caller& caller, const SubmitRequest& ours) -> Status {
      return put(r.diagnostic, api_.jobs.validate(caller, ours));
    });
  }
  int plan(t__SubmitRequest* request, b__planResponse& r) override {
    return with_request(request, [&](const Caller& caller, const SubmitRequest& ours) -> Status {
      return put(r.plan, api_.jobs.plan(caller, ours));
    });
  }
  int submit(t__SubmitRequest* request, b__submitResponse& r) override {
    return with_request(request, [&](const Caller& caller, const SubmitRequest& ours) -> Status {
      return put(r.job, api_.jobs.submit(caller, ours));
    });
  }
  int jobs(bool ended_too, b__jobsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(auto all, api_.jobs.jobs(caller, ended_too));
      std::erase_if(all, [&](const JobView& job) { return !may_see(caller, job.lab); });
      return put(r.job, Result<std::vector<JobView>>(std::move(all)));
    });
  }
  int job(const std::string& id, b__jobResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      auto detail = api_.jobs.job(caller, id);
      if (detail) MVM_TRY(check_lab(caller, detail->job.lab));
      return put(r.detail, detail);
    });
  }
  int waitJob(const std::string& id, const std::string& state, unsigned wait_ms,
              b__waitJobResponse& r) override {
    return with_job(id, [&](const Caller& caller) -> Status {
      return put(r.detail, long_poll<JobDetail>(
                               exchange_, wait_ms,
                               [&](std::chrono::milliseconds wait) {
                                 return api_.jobs.wait_job(caller, id, state, wait);
                               },
                               [&](const JobDetail& detail) { return detail.job.state != state; }));
    });
  }
  int cancel(const std::string& id, b__cancelResponse& /*r*/) override {
    return with_job(id, [&](const Caller& caller) { return api_.jobs.cancel(caller, id); });
  }
  int logs(const std::string& job, const std::string& process, ULONG64 cursor, unsigned wait_ms,
           b__logsResponse& r) override {
    return with_job(job, [&](const Caller& caller) -> Status {
      return put(r.page, long_poll<LogPage>(
                             exchange_, wait_ms,
                             [&](std::chrono::milliseconds wait) {
                               return api_.jobs.logs(
                                   caller, {.job = job, .process = process, .cursor = cursor, .wait = wait});
                             },
                             [&](const LogPage& page) {
                               return !page.pieces.empty() || page.ended || page.cursor != cursor;
                             }));
    });
  }
  int results(const std::string& id, b__resultsResponse& r) override {
    return with_job(
        id, [&](const Caller& caller) -> Status { return put(r.result, api_.jobs.results(caller, id)); });
  }
  int remove(const std::string& id, b__removeResponse& /*r*/) override {
    return with_job(id, [&](const Caller& caller) { return api_.jobs.remove(caller, id); });
  }

  // ---- labs ----
  int createLab(t__SubmitRequest* request, b__createLabResponse& r) override {
    return with_request(request, [&](const Caller& caller, const SubmitRequest& ours) -> Status {
      MVM_TRY(no_lab_token(caller));
      return put(r.lab, api_.labs.create_lab(caller, ours));
    });
  }
  int labs(b__labsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(auto all, api_.labs.labs(caller));
      std::erase_if(all, [&](const LabView& lab) { return !may_see(caller, lab.id); });
      return put(r.lab, Result<std::vector<LabView>>(std::move(all)));
    });
  }
  int lab(const std::string& id, b__labResponse& r) override {
    return with_lab(id,
                    [&](const Caller& caller) -> Status { return put(r.lab, api_.labs.lab(caller, id)); });
  }
  int destroyLab(const std::string& id, b__destroyLabResponse& /*r*/) override {
    return with_lab(id, [&](const Caller& caller) { return api_.labs.destroy_lab(caller, id); });
  }
  int graph(const std::string& lab, t__GraphFormat format, b__graphResponse& r) override {
    return with_lab(lab, [&](const Caller& caller) -> Status {
      const GraphFormat ours = format == t__GraphFormat::svg   ? GraphFormat::kSvg
                               : format == t__GraphFormat::dot ? GraphFormat::kDot
                                                               : GraphFormat::kText;
      return put(r.picture, api_.labs.graph(caller, lab, ours));
    });
  }
  int vms(const std::string& lab, b__vmsResponse& r) override {
    return with_lab_or_all(lab, [&](const Caller& caller, const std::string& which) -> Status {
      return put(r.vm, api_.labs.vms(caller, which));
    });
  }
  int links(const std::string& lab, b__linksResponse& r) override {
    return with_lab_or_all(lab, [&](const Caller& caller, const std::string& which) -> Status {
      return put(r.link, api_.labs.links(caller, which));
    });
  }
  int rewire(t__RewireRequest* request, b__rewireResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(const auto ours, request_from(request));
      return put(r.rewiring, api_.labs.rewire(caller, ours));
    });
  }
  int rewiring(const std::string& job, ULONG64 number, unsigned wait_ms, b__rewiringResponse& r) override {
    return with_job(job, [&](const Caller& caller) -> Status {
      return put(r.rewiring, long_poll<RewireView>(
                                 exchange_, wait_ms,
                                 [&](std::chrono::milliseconds wait) {
                                   return api_.labs.rewiring(caller, job, number, wait);
                                 },
                                 [](const RewireView& view) { return view.state != "preparing"; }));
    });
  }
  int queues(const std::string& lab, b__queuesResponse& r) override {
    return with_lab_or_all(lab, [&](const Caller& caller, const std::string& which) -> Status {
      return put(r.queue, api_.labs.queues(caller, which));
    });
  }
  int suspend(const std::string& lab, const std::string& node, bool suspend,
              b__suspendResponse& /*r*/) override {
    return with_lab(lab, [&](const Caller& caller) { return api_.labs.suspend(caller, lab, node, suspend); });
  }
  int console(const std::string& lab, const std::string& node, ULONG64 offset, unsigned wait_ms,
              b__consoleResponse& r) override {
    return with_lab(lab, [&](const Caller& caller) -> Status {
      MVM_ASSIGN(const std::string bytes, long_poll<std::string>(
                                              exchange_, wait_ms,
                                              [&](std::chrono::milliseconds wait) {
                                                return api_.labs.console(caller, lab, node, offset, wait);
                                              },
                                              [](const std::string& text) { return !text.empty(); }));
      bytes_to_wire(soap, r.data, bytes);
      return ok();
    });
  }
  int exec(const std::string& lab, const std::string& node, std::vector<std::string> argument,
           xsd__base64Binary* input, b__execResponse& r) override {
    return with_lab(lab, [&](const Caller& caller) -> Status {
      ExecRequest request{.lab = lab, .node = node, .argv = std::move(argument)};
      const PieceReader reader = exchange_.attachment(input);
      for (;;) {
        MVM_ASSIGN(const std::string piece, reader());
        if (piece.empty()) break;
        request.input += piece;
        if (request.input.size() > kMostInput)
          return Error(ErrorCode::kExhausted, "standard input may have at most 1 MiB");
      }
      return put(r.id, api_.labs.exec(caller, request));
    });
  }
  int execOutput(const std::string& id, ULONG64 cursor, unsigned wait_ms, b__execOutputResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(
          const ExecPage page,
          long_poll<ExecPage>(
              exchange_, wait_ms,
              [&](std::chrono::milliseconds wait) { return api_.labs.exec_output(caller, id, cursor, wait); },
              [&](const ExecPage& some) {
                return !some.pieces.empty() || some.ended || some.cursor != cursor;
              }));
      ToWire to{soap};
      to(r.page, page);
      r.code = page.code;
      return ok();
    });
  }

  // ---- queues ----
  int enqueue(t__Enqueue* wire, b__enqueueResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(PutRequest request, put_from(exchange_, wire));
      return put(r.answer, long_poll<PutAnswer>(
                               exchange_, or_none(wire->waitMs),
                               [&](std::chrono::milliseconds wait) {
                                 request.wait = wait;
                                 return api_.queues.put(caller, request);
                               },
                               [&](const PutAnswer& answer) {
                                 request.ticket = answer.ticket;
                                 return answer.accepted > request.first || answer.closed ||
                                        !answer.end.empty() || request.messages.empty();
                               }));
    });
  }
  int dequeue(t__Dequeue* wire, b__dequeueResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(TakeRequest request, take_from(wire));
      return put(r.answer, long_poll<TakeAnswer>(
                               exchange_, or_none(wire->waitMs),
                               [&](std::chrono::milliseconds wait) {
                                 request.wait = wait;
                                 return api_.queues.take(caller, request);
                               },
                               [&](const TakeAnswer& answer) {
                                 request.ticket = answer.ticket;
                                 return !answer.messages.empty() || !answer.end.empty() || request.leave ||
                                        request.count == 0;
                               }));
    });
  }

  int peek(const std::string& job, const std::string& name, unsigned count, unsigned bytes,
           b__peekResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      return put(r.queue,
                 api_.queues.peek(caller, {.job = job, .name = name, .count = count, .bytes = bytes}));
    });
  }

  int drain(const std::string& job, const std::string& name, unsigned count, unsigned bytes,
            std::vector<t__DrainMark> marks,
            b__drainResponse& r) override {  // NOLINT(performance-unnecessary-value-param): generated
    return with([&](const Caller& caller) -> Status {
      DrainRequest request{.job = job, .name = name, .count = count, .bytes = bytes, .marks = {}};
      FromWire()(marks, request.marks);
      return put(r.queue, api_.queues.drain(caller, request));
    });
  }

  // ---- system ----
  int whoami(b__whoamiResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(const WhoAmI who, api_.system.whoami(caller));
      ToWire to{soap};
      to(r.user, who.caller.user), to(r.role, who.caller.role), to(r.lab, who.caller.lab);
      to(r.broker, who.broker), to(r.version, who.version);
      return ok();
    });
  }
  int events(ULONG64 cursor, unsigned wait_ms, b__eventsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(EventPage page,
                 long_poll<EventPage>(
                     exchange_, wait_ms,
                     [&](std::chrono::milliseconds wait) { return api_.system.events(caller, cursor, wait); },
                     [&](const EventPage& some) { return !some.events.empty() || some.cursor != cursor; }));
      std::erase_if(page.events, [&](const EventView& event) { return !may_see(caller, event.lab); });
      r.cursor = page.cursor;
      ToWire to{soap};
      to(r.event, page.events);
      return ok();
    });
  }
  int hosts(b__hostsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(no_lab_token(caller));
      return put(r.host, api_.system.hosts(caller));
    });
  }
  int inviteHost(const std::string& host, unsigned valid_seconds, b__inviteHostResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(no_lab_token(caller));
      MVM_ASSIGN(const HostInvite invite,
                 api_.hosts.invite(caller, host, std::chrono::seconds(valid_seconds)));
      ToWire to{soap};
      to(r.token, invite.token), to(r.broker, invite.broker);
      r.expires = invite.expires_ms;
      return ok();
    });
  }
  int joinHost(const std::string& secret, const std::string& name, const std::string& address,
               const std::string& request, b__joinHostResponse& r) override {
    const auto joined =
        api_.hosts.join({.secret = secret, .name = name, .address = address, .request = request});
    if (!joined) return exchange_.fail(joined.error());
    ToWire to{soap};
    to(r.certificate, joined->certificate), to(r.authority, joined->authority), to(r.broker, joined->broker);
    return SOAP_OK;
  }
  int drainHost(const std::string& host, bool drain, b__drainHostResponse& /*r*/) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(no_lab_token(caller));
      return api_.hosts.drain(caller, host, drain);
    });
  }
  int removeHost(const std::string& host, bool force, b__removeHostResponse& /*r*/) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(no_lab_token(caller));
      return api_.hosts.remove_host(caller, host, force);
    });
  }

 private:
  static bool may_see(const Caller& caller, const std::string& lab) {
    return caller.lab.empty() || caller.lab == lab;
  }
  static Status check_lab(const Caller& caller, const std::string& lab) {
    if (may_see(caller, lab)) return ok();
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  }
  static Status no_lab_token(const Caller& caller) {
    if (caller.lab.empty()) return ok();
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  }

  int finish(const Status& done) { return done ? SOAP_OK : exchange_.fail(done.error()); }
  template <class Body>
  int with(Body body) {
    auto caller = exchange_.caller();
    return caller ? finish(body(*caller)) : exchange_.fail(caller.error());
  }
  template <class Body>
  int with_lab(const std::string& lab, Body body) {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(check_lab(caller, lab));
      return body(caller);
    });
  }
  /// Empty: all labs, which for a lab's token is its own.
  template <class Body>
  int with_lab_or_all(const std::string& lab, Body body) {
    return with([&](const Caller& caller) -> Status {
      const std::string& which = lab.empty() ? caller.lab : lab;
      MVM_TRY(check_lab(caller, which));
      return body(caller, which);
    });
  }
  /// The job must be of the lab that the token reaches.
  template <class Body>
  int with_job(const std::string& id, Body body) {
    return with([&](const Caller& caller) -> Status {
      if (!caller.lab.empty()) {
        MVM_ASSIGN(const JobDetail detail, api_.jobs.job(caller, id));
        MVM_TRY(check_lab(caller, detail.job.lab));
      }
      return body(caller);
    });
  }
  template <class Body>
  int with_request(const t__SubmitRequest* wire, Body body) {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(SubmitRequest request, request_from(wire));
      if (request.lab.empty()) request.lab = caller.lab;
      MVM_TRY(check_lab(caller, request.lab));
      return body(caller, request);
    });
  }
  /// An answer to the wire.
  template <class Wire, class Ours>
  Status put(Wire& wire, const Result<Ours>& ours) {
    if (!ours) return ours.error();
    ToWire to{soap};
    to(wire, *ours);
    return ok();
  }

  Exchange& exchange_;
  const BrokerApi& api_;
};

}  // namespace

int dispatch_broker(struct soap* context, Exchange& exchange) {
  BrokerImpl service(context, exchange);
  return service.dispatch();
}

}  // namespace mvm::soap
