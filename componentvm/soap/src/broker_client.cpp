#include <algorithm>

#include "fields.h"
#include "mvm/base/digest.h"
#include "mvm/soap/client.h"
#include "noun_clients.h"
#include "soapBrokerProxy.h"
#include "soapStoreProxy.h"
#include "transfer_client.h"
#include "wire_client.h"

namespace mvm::soap {
namespace {

using std::chrono::milliseconds;

unsigned to_wire(milliseconds wait) {
  return static_cast<unsigned>(std::clamp<std::int64_t>(wait.count(), 0, 3'600'000));
}

void to_wire(ToWire& to, const Settings& settings, std::vector<t__Setting>& wire) {
  for (const auto& [name, value] : settings) {
    wire.emplace_back();
    to(wire.back().name, name);
    to(wire.back().value, value);
  }
}

t__SubmitRequest* to_wire(struct soap* context, const SubmitRequest& request) {
  auto* wire = soap_new_t__SubmitRequest(context);
  ToWire to{context};
  wire->profile = soap_new_std__string(context);
  *wire->profile = xml_text(request.profile);
  to(wire->lab, request.lab);
  to(wire->request, request.request);
  to(wire->file, request.file);
  to_wire(to, request.settings, wire->setting);
  return wire;
}

t__RewireRequest* to_wire(struct soap* context, const RewireRequest& request) {
  auto* wire = soap_new_t__RewireRequest(context);
  ToWire to{context};
  to(wire->target, request.target);
  to(wire->profile, request.profile);
  to(wire->file, request.file);
  to_wire(to, request.settings, wire->setting);
  for (const LinkEdit& edit : request.edits) {
    t__LinkEdit& one = wire->edit.emplace_back();
    // A broker that does not know "set" finds a link without ends, and refuses.
    one.connect = edit.kind != LinkEdit::Kind::kDisconnect;
    if (edit.kind == LinkEdit::Kind::kSet) {
      one.set = soap_new_bool(context);
      *one.set = true;
    }
    to(one.from, edit.from);
    to(one.to, edit.to);
    to(one.link, edit.link);
    to_wire(to, edit.attributes, one.attribute);
  }
  wire->deadlineMs = to_wire(request.deadline);
  wire->dryRun = request.dry_run;
  return wire;
}

}  // namespace

struct BrokerClient::State {
  std::unique_ptr<WireClient> wire;
  std::unique_ptr<KernelApi> kernels;
  std::unique_ptr<RegistryApi> registry;
  std::unique_ptr<DvmApi> dvm;

  /// One operation of a service: `operate(proxy, context, response)` calls it, `take(response, ours)` reads
  /// the answer.
  template <class Ours, class Response, class Proxy, class Operate, class Take>
  Result<Ours> ask(const char* path, milliseconds wait, Operate operate, Take take) {
    Ours ours{};
    const Status done = wire->call(path, wait, [&](struct soap* context, const char* endpoint) {
      Proxy proxy(context);
      proxy.soap_endpoint = endpoint;
      Response response{};
      const int code = operate(proxy, context, response);
      if (code == SOAP_OK) take(response, ours);
      return code;
    });
    if (!done) return done.error();
    return ours;
  }
  template <class Ours, class Response, class Operate, class Take>
  Result<Ours> broker(milliseconds wait, Operate operate, Take take) {
    return ask<Ours, Response, BrokerProxy>("/broker", wait, operate, take);
  }
  template <class Ours, class Response, class Operate, class Take>
  Result<Ours> store(milliseconds wait, Operate operate, Take take) {
    return ask<Ours, Response, StoreProxy>("/store", wait, operate, take);
  }
  template <class Response, class Operate>
  Status tell(Operate operate) {
    const auto done = broker<bool, Response>(milliseconds(0), operate, [](const Response&, bool&) {});
    return done ? ok() : Status(done.error());
  }
};

BrokerClient::BrokerClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
BrokerClient::~BrokerClient() = default;

Result<std::unique_ptr<BrokerClient>> BrokerClient::create(const BrokerClientOptions& options) {
  auto state = std::make_unique<State>();
  WireOptions wire{.url = options.url,
                   .token = options.token,
                   .ca = options.ca,
                   .connect_timeout = options.connect_timeout,
                   .timeout = options.timeout,
                   .busy_retry = options.busy_retry};
  MVM_ASSIGN(state->wire, WireClient::create(std::move(wire)));
  state->kernels = make_kernel_client(*state->wire);
  state->registry = make_registry_client(*state->wire);
  state->dvm = make_dvm_client(*state->wire);
  return std::unique_ptr<BrokerClient>(new BrokerClient(std::move(state)));
}

BrokerApi BrokerClient::api() {
  return {*this, *this, *this, *this, *this, *this, *state_->kernels, *state_->registry, *state_->dvm};
}

// A member of the response into our type, field by field.
#define MVM_TAKE(member) [](const auto& response, auto& ours) { FromWire{}(response.member, ours); }

// ---- jobs ----------------------------------------------------------------------------------------------

Result<std::vector<Diagnostic>> BrokerClient::validate(const Caller&, const SubmitRequest& request) {
  return state_->broker<std::vector<Diagnostic>, b__validateResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap* context, b__validateResponse& response) {
        return proxy.validate(to_wire(context, request), response);
      },
      MVM_TAKE(diagnostic));
}

Result<PlanView> BrokerClient::plan(const Caller&, const SubmitRequest& request) {
  return state_->broker<PlanView, b__planResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap* context, b__planResponse& response) {
        return proxy.plan(to_wire(context, request), response);
      },
      MVM_TAKE(plan));
}

Result<std::string> BrokerClient::submit(const Caller&, const SubmitRequest& request) {
  return state_->broker<std::string, b__submitResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap* context, b__submitResponse& response) {
        return proxy.submit(to_wire(context, request), response);
      },
      MVM_TAKE(job));
}

Result<std::vector<JobView>> BrokerClient::jobs(const Caller&, bool ended_too) {
  return state_->broker<std::vector<JobView>, b__jobsResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__jobsResponse& response) {
        return proxy.jobs(ended_too, response);
      },
      MVM_TAKE(job));
}

Result<JobDetail> BrokerClient::job(const Caller&, const std::string& id) {
  return state_->broker<JobDetail, b__jobResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__jobResponse& response) { return proxy.job(id, response); },
      MVM_TAKE(detail));
}

Result<JobDetail> BrokerClient::wait_job(const Caller&, const std::string& id, const std::string& state,
                                         milliseconds wait) {
  return state_->broker<JobDetail, b__waitJobResponse>(
      wait,
      [&](BrokerProxy& proxy, struct soap*, b__waitJobResponse& response) {
        return proxy.waitJob(id, state, to_wire(wait), response);
      },
      MVM_TAKE(detail));
}

Status BrokerClient::cancel(const Caller&, const std::string& id) {
  return state_->tell<b__cancelResponse>([&](BrokerProxy& proxy, struct soap*, b__cancelResponse& response) {
    return proxy.cancel(id, response);
  });
}

Result<LogPage> BrokerClient::logs(const Caller&, const LogQuery& query) {
  return state_->broker<LogPage, b__logsResponse>(
      query.wait,
      [&](BrokerProxy& proxy, struct soap*, b__logsResponse& response) {
        return proxy.logs(query.job, query.process, query.cursor, to_wire(query.wait), response);
      },
      MVM_TAKE(page));
}

Result<std::vector<ResultFile>> BrokerClient::results(const Caller&, const std::string& id) {
  return state_->broker<std::vector<ResultFile>, b__resultsResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__resultsResponse& response) {
        return proxy.results(id, response);
      },
      MVM_TAKE(result));
}

Status BrokerClient::remove(const Caller&, const std::string& id) {
  return state_->tell<b__removeResponse>([&](BrokerProxy& proxy, struct soap*, b__removeResponse& response) {
    return proxy.remove(id, response);
  });
}

// ---- labs ----------------------------------------------------------------------------------------------

Result<std::string> BrokerClient::create_lab(const Caller&, const SubmitRequest& request) {
  return state_->broker<std::string, b__createLabResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap* context, b__createLabResponse& response) {
        return proxy.createLab(to_wire(context, request), response);
      },
      MVM_TAKE(lab));
}

Result<std::vector<LabView>> BrokerClient::labs(const Caller&) {
  return state_->broker<std::vector<LabView>, b__labsResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__labsResponse& response) { return proxy.labs(response); },
      MVM_TAKE(lab));
}

Result<LabView> BrokerClient::lab(const Caller&, const std::string& id) {
  return state_->broker<LabView, b__labResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__labResponse& response) { return proxy.lab(id, response); },
      MVM_TAKE(lab));
}

Status BrokerClient::destroy_lab(const Caller&, const std::string& id) {
  return state_->tell<b__destroyLabResponse>(
      [&](BrokerProxy& proxy, struct soap*, b__destroyLabResponse& response) {
        return proxy.destroyLab(id, response);
      });
}

Result<std::string> BrokerClient::graph(const Caller&, const std::string& lab, GraphFormat format) {
  const t__GraphFormat wire = format == GraphFormat::kSvg   ? t__GraphFormat::svg
                              : format == GraphFormat::kDot ? t__GraphFormat::dot
                                                            : t__GraphFormat::text;
  return state_->broker<std::string, b__graphResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__graphResponse& response) {
        return proxy.graph(lab, wire, response);
      },
      MVM_TAKE(picture));
}

Result<std::vector<VmView>> BrokerClient::vms(const Caller&, const std::string& lab) {
  return state_->broker<std::vector<VmView>, b__vmsResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__vmsResponse& response) { return proxy.vms(lab, response); },
      MVM_TAKE(vm));
}

Result<std::vector<LinkView>> BrokerClient::links(const Caller&, const std::string& lab) {
  return state_->broker<std::vector<LinkView>, b__linksResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__linksResponse& response) {
        return proxy.links(lab, response);
      },
      MVM_TAKE(link));
}

Result<RewireView> BrokerClient::rewire(const Caller&, const RewireRequest& request) {
  return state_->broker<RewireView, b__rewireResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap* context, b__rewireResponse& response) {
        return proxy.rewire(to_wire(context, request), response);
      },
      MVM_TAKE(rewiring));
}

Result<RewireView> BrokerClient::rewiring(const Caller&, const std::string& job, std::uint64_t number,
                                          milliseconds wait) {
  return state_->broker<RewireView, b__rewiringResponse>(
      wait,
      [&](BrokerProxy& proxy, struct soap*, b__rewiringResponse& response) {
        return proxy.rewiring(job, number, to_wire(wait), response);
      },
      MVM_TAKE(rewiring));
}

Result<std::vector<QueueView>> BrokerClient::queues(const Caller&, const std::string& lab) {
  return state_->broker<std::vector<QueueView>, b__queuesResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__queuesResponse& response) {
        return proxy.queues(lab, response);
      },
      MVM_TAKE(queue));
}

Status BrokerClient::suspend(const Caller&, const std::string& lab, const std::string& node, bool suspend) {
  return state_->tell<b__suspendResponse>(
      [&](BrokerProxy& proxy, struct soap*, b__suspendResponse& response) {
        return proxy.suspend(lab, node, suspend, response);
      });
}

Result<std::string> BrokerClient::console(const Caller&, const std::string& lab, const std::string& node,
                                          std::uint64_t offset, milliseconds wait) {
  return state_->broker<std::string, b__consoleResponse>(
      wait,
      [&](BrokerProxy& proxy, struct soap*, b__consoleResponse& response) {
        return proxy.console(lab, node, offset, to_wire(wait), response);
      },
      [](const b__consoleResponse& response, std::string& ours) { ours = bytes_from_wire(response.data); });
}

Result<std::string> BrokerClient::exec(const Caller&, const ExecRequest& request) {
  for (const std::string& one : request.argv)
    if (xml_text(one) != one)
      return Error(ErrorCode::kInvalid, "an argument of the command has bytes that are not text");
  return state_->broker<std::string, b__execResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap* context, b__execResponse& response) {
        xsd__base64Binary input{};
        bytes_to_wire(context, input, request.input);
        return proxy.exec(request.lab, request.node, request.argv, request.input.empty() ? nullptr : &input,
                          response);
      },
      MVM_TAKE(id));
}

Result<ExecPage> BrokerClient::exec_output(const Caller&, const std::string& id, std::uint64_t cursor,
                                           milliseconds wait) {
  return state_->broker<ExecPage, b__execOutputResponse>(
      wait,
      [&](BrokerProxy& proxy, struct soap*, b__execOutputResponse& response) {
        return proxy.execOutput(id, cursor, to_wire(wait), response);
      },
      [](const b__execOutputResponse& response, ExecPage& ours) {
        FromWire{}(response.page, ours);
        ours.code = response.code;
      });
}

// ---- store ---------------------------------------------------------------------------------------------

Result<std::vector<std::string>> BrokerClient::missing_blobs(const Caller&,
                                                             const std::vector<std::string>& digests) {
  return state_->store<std::vector<std::string>, s__missingBlobsResponse>(
      milliseconds(0),
      [&](StoreProxy& proxy, struct soap*, s__missingBlobsResponse& response) {
        return proxy.missingBlobs(digests, response);
      },
      MVM_TAKE(digest));
}

Status BrokerClient::put_blob(const Caller&, const std::string& digest, const PieceReader& reader) {
  return send_blob<StoreProxy, s__putBlobResponse>(*state_->wire, "/store", digest, reader);
}

Status BrokerClient::get_blob(const Caller&, const std::string& digest, const PieceWriter& writer) {
  return fetch_blob<StoreProxy, s__getBlobResponse>(*state_->wire, "/store", digest, writer);
}

Result<std::vector<BuildView>> BrokerClient::builds(const Caller&) {
  return state_->store<std::vector<BuildView>, s__buildsResponse>(
      milliseconds(0),
      [&](StoreProxy& proxy, struct soap*, s__buildsResponse& response) { return proxy.builds(response); },
      MVM_TAKE(build));
}

Result<LogPage> BrokerClient::build_log(const Caller&, const std::string& key, std::uint64_t cursor,
                                        milliseconds wait) {
  return state_->store<LogPage, s__buildLogResponse>(
      wait,
      [&](StoreProxy& proxy, struct soap*, s__buildLogResponse& response) {
        return proxy.buildLog(key, cursor, to_wire(wait), response);
      },
      MVM_TAKE(page));
}

Result<std::uint64_t> BrokerClient::drop_builds(const Caller&, const std::string& key) {
  return state_->store<std::uint64_t, s__dropBuildsResponse>(
      milliseconds(0),
      [&](StoreProxy& proxy, struct soap*, s__dropBuildsResponse& response) {
        return proxy.dropBuilds(key, response);
      },
      MVM_TAKE(dropped));
}

// ---- system --------------------------------------------------------------------------------------------

Result<WhoAmI> BrokerClient::whoami(const Caller&) {
  return state_->broker<WhoAmI, b__whoamiResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__whoamiResponse& response) { return proxy.whoami(response); },
      [](const b__whoamiResponse& response, WhoAmI& ours) {
        ours = {.caller = {.user = response.user, .role = response.role, .lab = response.lab},
                .broker = response.broker,
                .version = response.version};
      });
}

Result<EventPage> BrokerClient::events(const Caller&, std::uint64_t cursor, milliseconds wait) {
  return state_->broker<EventPage, b__eventsResponse>(
      wait,
      [&](BrokerProxy& proxy, struct soap*, b__eventsResponse& response) {
        return proxy.events(cursor, to_wire(wait), response);
      },
      [](const b__eventsResponse& response, EventPage& ours) {
        FromWire{}(response.event, ours.events);
        ours.cursor = response.cursor;
      });
}

Result<std::vector<HostView>> BrokerClient::hosts(const Caller&) {
  return state_->broker<std::vector<HostView>, b__hostsResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__hostsResponse& response) { return proxy.hosts(response); },
      MVM_TAKE(host));
}

// ---- hosts ---------------------------------------------------------------------------------------------

Result<HostInvite> BrokerClient::invite(const Caller&, const std::string& name, std::chrono::seconds valid) {
  return state_->broker<HostInvite, b__inviteHostResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__inviteHostResponse& response) {
        return proxy.inviteHost(
            name, static_cast<unsigned>(std::clamp<std::int64_t>(valid.count(), 0, 1U << 30U)), response);
      },
      [](const b__inviteHostResponse& response, HostInvite& ours) {
        ours = {.token = response.token, .broker = response.broker, .expires_ms = response.expires};
      });
}

Result<JoinedHost> BrokerClient::join(const HostJoin& host) {
  return state_->broker<JoinedHost, b__joinHostResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__joinHostResponse& response) {
        return proxy.joinHost(host.secret, host.name, host.address, host.request, response);
      },
      [](const b__joinHostResponse& response, JoinedHost& ours) {
        ours = {
            .certificate = response.certificate, .authority = response.authority, .broker = response.broker};
      });
}

Status BrokerClient::drain(const Caller&, const std::string& host, bool drain) {
  return state_->tell<b__drainHostResponse>(
      [&](BrokerProxy& proxy, struct soap*, b__drainHostResponse& response) {
        return proxy.drainHost(host, drain, response);
      });
}

Status BrokerClient::remove_host(const Caller&, const std::string& host, bool force) {
  return state_->tell<b__removeHostResponse>(
      [&](BrokerProxy& proxy, struct soap*, b__removeHostResponse& response) {
        return proxy.removeHost(host, force, response);
      });
}

// ---- queues --------------------------------------------------------------------------------------------

Result<PutAnswer> BrokerClient::put(const Caller&, const PutRequest& request) {
  return state_->broker<PutAnswer, b__enqueueResponse>(
      request.wait,
      [&](BrokerProxy& proxy, struct soap* context, b__enqueueResponse& response) {
        auto* wire = soap_new_t__Enqueue(context);
        ToWire to{context};
        to(wire->job, request.job), to(wire->port, request.port), to(wire->client, request.client);
        to(wire->ticket, request.ticket), to(wire->first, request.first);
        wire->message.resize(request.messages.size());
        for (std::size_t i = 0; i < request.messages.size(); ++i) {
          const Message& ours = request.messages[i];
          t__Message& one = wire->message[i];
          bytes_to_wire(context, one.data, ours.data);
          one.key = soap_new_ULONG64(context);
          *one.key = ours.key;
          one.priority = soap_new_unsignedInt(context);
          *one.priority = ours.priority;
        }
        wire->done = soap_new_bool(context);
        *wire->done = request.done;
        wire->waitMs = soap_new_unsignedInt(context);
        *wire->waitMs = to_wire(request.wait);
        return proxy.enqueue(wire, response);
      },
      MVM_TAKE(answer));
}

Result<TakeAnswer> BrokerClient::take(const Caller&, const TakeRequest& request) {
  return state_->broker<TakeAnswer, b__dequeueResponse>(
      request.wait,
      [&](BrokerProxy& proxy, struct soap* context, b__dequeueResponse& response) {
        auto* wire = soap_new_t__Dequeue(context);
        ToWire to{context};
        to(wire->job, request.job), to(wire->port, request.port), to(wire->client, request.client);
        to(wire->ticket, request.ticket), to(wire->acknowledged, request.acknowledged);
        wire->partial = soap_new_ULONG64(context);
        *wire->partial = request.partial;
        wire->offset = soap_new_ULONG64(context);
        *wire->offset = request.offset;
        wire->count = soap_new_unsignedInt(context);
        *wire->count = request.count;
        wire->leave = soap_new_bool(context);
        *wire->leave = request.leave;
        wire->waitMs = soap_new_unsignedInt(context);
        *wire->waitMs = to_wire(request.wait);
        return proxy.dequeue(wire, response);
      },
      MVM_TAKE(answer));
}

Result<std::vector<PeekedQueue>> BrokerClient::peek(const Caller&, const PeekRequest& request) {
  return state_->broker<std::vector<PeekedQueue>, b__peekResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap*, b__peekResponse& response) {
        return proxy.peek(request.job, request.name, request.count, request.bytes, response);
      },
      MVM_TAKE(queue));
}

Result<std::vector<DrainedQueue>> BrokerClient::drain(const Caller&, const DrainRequest& request) {
  return state_->broker<std::vector<DrainedQueue>, b__drainResponse>(
      milliseconds(0),
      [&](BrokerProxy& proxy, struct soap* context, b__drainResponse& response) {
        std::vector<t__DrainMark> marks;
        ToWire{context}(marks, request.marks);
        return proxy.drain(request.job, request.name, request.count, request.bytes, marks, response);
      },
      MVM_TAKE(queue));
}

}  // namespace mvm::soap
