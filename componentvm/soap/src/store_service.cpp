// Blobs and the compile cache, as the generated service calls them.

#include "exchange.h"
#include "fields.h"
#include "long_poll.h"
#include "mvm/base/digest.h"
#include "services.h"
#include "soapStoreService.h"

namespace mvm::soap {
namespace {

constexpr std::uint32_t kMostPart = 1 << 20;

class StoreImpl final : public StoreService {
 public:
  StoreImpl(struct soap* context, Exchange& exchange)
      : StoreService(context), exchange_(exchange), store_(exchange.services().broker->store) {}
  StoreService* copy() override { return nullptr; }

  int missingBlobs(std::vector<std::string> digest, s__missingBlobsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      for (const std::string& one : digest) MVM_TRY(check(one));
      MVM_ASSIGN(r.digest, store_.missing_blobs(caller, digest));
      return ok();
    });
  }
  int putBlob(const std::string& digest, xsd__base64Binary* data, s__putBlobResponse& /*r*/) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(check(digest));
      return store_.put_blob(caller, digest, exchange_.attachment(data));
    });
  }
  int getBlob(const std::string& digest, s__getBlobResponse& /*r*/) override {
    const auto caller = exchange_.caller();
    if (!caller) return exchange_.fail(caller.error());
    if (const Status good = check(digest); !good) return exchange_.fail(good.error());
    return exchange_.stream_attachment("urn:mvm:store:1", "getBlob", [&](const PieceWriter& writer) {
      return store_.get_blob(*caller, digest, writer);
    });
  }
  int getBlobPart(const std::string& digest, ULONG64 offset, unsigned length,
                  s__getBlobPartResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(check(digest));
      const std::uint64_t end = offset + std::min(length, kMostPart);
      if (end < offset) return Error(ErrorCode::kInvalid, "the offset is too large");
      std::string part;
      std::uint64_t at = 0;
      bool more = false;
      const Error enough(ErrorCode::kCancelled, "enough");
      const Status read = store_.get_blob(caller, digest, [&](std::string_view piece) -> Status {
        const std::uint64_t from = std::min<std::uint64_t>(piece.size(), offset > at ? offset - at : 0);
        const std::uint64_t to = std::min<std::uint64_t>(piece.size(), end > at ? end - at : 0);
        if (to > from) part.append(piece.substr(from, to - from));
        at += piece.size();
        more = at > end;
        return more ? Status(enough) : ok();
      });
      if (!read && !more) return read.error();
      bytes_to_wire(soap, r.data, part);
      r.end = !more;
      return ok();
    });
  }
  int builds(s__buildsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(no_lab_token(caller));
      MVM_ASSIGN(const auto all, store_.builds(caller));
      ToWire to{soap};
      to(r.build, all);
      return ok();
    });
  }
  int buildLog(const std::string& key, ULONG64 cursor, unsigned wait_ms, s__buildLogResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_ASSIGN(const LogPage page, long_poll<LogPage>(
                                         exchange_, wait_ms,
                                         [&](std::chrono::milliseconds wait) {
                                           return store_.build_log(caller, key, cursor, wait);
                                         },
                                         [&](const LogPage& some) {
                                           return !some.pieces.empty() || some.ended || some.cursor != cursor;
                                         }));
      ToWire to{soap};
      to(r.page, page);
      return ok();
    });
  }
  int dropBuilds(const std::string& key, s__dropBuildsResponse& r) override {
    return with([&](const Caller& caller) -> Status {
      MVM_TRY(no_lab_token(caller));
      MVM_ASSIGN(r.dropped, store_.drop_builds(caller, key));
      return ok();
    });
  }

 private:
  static Status check(const std::string& digest) {
    if (is_sha256(digest)) return ok();
    return Error(ErrorCode::kInvalid, "a digest is 64 lower-case hexadecimal digits");
  }
  static Status no_lab_token(const Caller& caller) {
    if (caller.lab.empty()) return ok();
    return Error(ErrorCode::kRefused, "this token reaches lab " + caller.lab + " only");
  }
  template <class Body>
  int with(Body body) {
    const auto caller = exchange_.caller();
    if (!caller) return exchange_.fail(caller.error());
    const Status done = body(*caller);
    return done ? SOAP_OK : exchange_.fail(done.error());
  }
  Exchange& exchange_;
  StoreApi& store_;
};

}  // namespace

int dispatch_store(struct soap* context, Exchange& exchange) {
  StoreImpl service(context, exchange);
  return service.dispatch();
}

}  // namespace mvm::soap
