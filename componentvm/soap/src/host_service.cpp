// The host's service, as the generated service calls it. Only peers with a certificate of our authority.

#include "exchange.h"
#include "fields.h"
#include "long_poll.h"
#include "mvm/base/digest.h"
#include "services.h"
#include "soapHostService.h"
#include "text.h"

namespace mvm::soap {
namespace {

constexpr std::size_t kMostBlob = 4 << 20;
constexpr std::chrono::milliseconds kLongestCall{600'000};

class HostImpl final : public ::HostService {
 public:
  HostImpl(struct soap* context, Exchange& exchange)
      : ::HostService(context), exchange_(exchange), host_(*exchange.services().host) {}
  ::HostService* copy() override { return nullptr; }

  int call(const std::string& op, const std::string& arguments, xsd__base64Binary* blob, unsigned timeout_ms,
           h__callResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      std::string bytes;
      const PieceReader reader = exchange_.attachment(blob);
      for (;;) {
        MVM_ASSIGN(const std::string piece, reader());
        if (piece.empty()) break;
        bytes += piece;
        if (bytes.size() > kMostBlob) return Error(ErrorCode::kExhausted, "a call carries at most 4 MiB");
      }
      // Booting a node takes long: such calls must not keep the others from their workers.
      MVM_TRY(exchange_.begin_wait());
      const auto timeout = std::min(std::chrono::milliseconds(timeout_ms), kLongestCall);
      MVM_ASSIGN(const HostReply reply, host_.call(caller, op, arguments, std::move(bytes), timeout));
      put(reply, r.result, r.blob);
      return ok();
    });
  }
  int poll(const std::string& op, const std::string& arguments, unsigned wait_ms,
           h__pollResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(exchange_.begin_wait());
      const auto wait = std::min(std::chrono::milliseconds(wait_ms), kLongestWait);
      MVM_ASSIGN(const HostReply reply, host_.poll(caller, op, arguments, wait));
      put(reply, r.result, r.blob);
      return ok();
    });
  }
  int putBlob(const std::string& digest, xsd__base64Binary* data, h__putBlobResponse& /*r*/) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(check(digest));
      return host_.put_blob(caller, digest, exchange_.attachment(data));
    });
  }
  int getBlob(const std::string& digest, h__getBlobResponse& /*r*/) override {
    if (exchange_.peer().empty()) return with([](const Caller&) { return ok(); });
    if (const Status good = check(digest); !good) return exchange_.fail(good.error());
    const Caller caller{.user = exchange_.peer(), .role = "host", .lab = {}};
    return exchange_.stream_attachment("urn:mvm:host:1", "getBlob", [&](const PieceWriter& writer) {
      return host_.get_blob(caller, digest, writer);
    });
  }

 private:
  static Status check(const std::string& digest) {
    if (is_sha256(digest)) return ok();
    return Error(ErrorCode::kInvalid, "a digest is 64 lower-case hexadecimal digits");
  }
  template <class Body>
  int with(Body body) {
    if (exchange_.peer().empty())
      return exchange_.fail(Error(ErrorCode::kRefused, "this service needs a certificate of our authority"));
    const Status done = body(Caller{.user = exchange_.peer(), .role = "host", .lab = {}});
    return done ? SOAP_OK : exchange_.fail(done.error());
  }
  void put(const HostReply& reply, std::string& result, xsd__base64Binary*& blob) {
    result = xml_text(reply.result);
    blob = nullptr;
    if (reply.blob.empty()) return;
    blob = soap_new_xsd__base64Binary(soap);
    bytes_to_wire(soap, *blob, reply.blob);
  }
  Exchange& exchange_;
  mvm::soap::HostService& host_;
};

}  // namespace

int dispatch_host(struct soap* context, Exchange& exchange) {
  HostImpl service(context, exchange);
  return service.dispatch();
}

}  // namespace mvm::soap
