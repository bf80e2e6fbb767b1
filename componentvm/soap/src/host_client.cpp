#include <algorithm>

#include "fields.h"
#include "mvm/soap/host_service.h"
#include "soapHostProxy.h"
#include "transfer_client.h"
#include "wire_client.h"

namespace mvm::soap {

using std::chrono::milliseconds;

struct HostClient::State {
  std::unique_ptr<WireClient> wire;
};

HostClient::HostClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
HostClient::~HostClient() = default;

void HostClient::stop() { state_->wire->stop(); }

Result<std::unique_ptr<HostClient>> HostClient::create(const HostClientOptions& options) {
  auto state = std::make_unique<State>();
  WireOptions wire{.url = options.url,
                   .ca = options.tls.ca,
                   .certificate = options.tls.certificate,
                   .key = options.tls.key,
                   .connect_timeout = options.connect_timeout,
                   .timeout = options.timeout};
  if (!options.url.starts_with("https://"))
    return Error(ErrorCode::kRefused, "hosts are reached by https only, not by " + options.url);
  MVM_ASSIGN(state->wire, WireClient::create(std::move(wire)));
  return std::unique_ptr<HostClient>(new HostClient(std::move(state)));
}

namespace {

unsigned to_wire(milliseconds wait) {
  return static_cast<unsigned>(std::clamp<std::int64_t>(wait.count(), 0, 3'600'000));
}

template <class Response>
void take(const Response& response, HostReply& reply) {
  reply.result = response.result;
  reply.blob = response.blob != nullptr ? bytes_from_wire(*response.blob) : std::string();
}

}  // namespace

Result<HostReply> HostClient::call(const Caller&, const std::string& op, const std::string& arguments,
                                   std::string blob, milliseconds timeout) {
  HostReply reply;
  MVM_TRY(state_->wire->call("/host", timeout, [&](struct soap* context, const char* endpoint) {
    HostProxy proxy(context);
    proxy.soap_endpoint = endpoint;
    xsd__base64Binary data{};
    bytes_to_wire(context, data, blob);
    h__callResponse response{};
    const int code =
        proxy.call(op, xml_text(arguments), blob.empty() ? nullptr : &data, to_wire(timeout), response);
    if (code == SOAP_OK) take(response, reply);
    return code;
  }));
  return reply;
}

Result<HostReply> HostClient::poll(const Caller&, const std::string& op, const std::string& arguments,
                                   milliseconds wait) {
  HostReply reply;
  MVM_TRY(state_->wire->call("/host", wait, [&](struct soap* context, const char* endpoint) {
    HostProxy proxy(context);
    proxy.soap_endpoint = endpoint;
    h__pollResponse response{};
    const int code = proxy.poll(op, xml_text(arguments), to_wire(wait), response);
    if (code == SOAP_OK) take(response, reply);
    return code;
  }));
  return reply;
}

Status HostClient::put_blob(const Caller&, const std::string& digest, const PieceReader& reader) {
  return send_blob<HostProxy, h__putBlobResponse>(*state_->wire, "/host", digest, reader);
}

Status HostClient::get_blob(const Caller&, const std::string& digest, const PieceWriter& writer) {
  return fetch_blob<HostProxy, h__getBlobResponse>(*state_->wire, "/host", digest, writer);
}

}  // namespace mvm::soap
