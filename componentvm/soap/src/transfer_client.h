#pragma once
// Blobs as MTOM attachments, in constant memory, for every service that has putBlob and getBlob.

#include <string>

#include "mvm/base/digest.h"
#include "wire_client.h"

namespace mvm::soap {

template <class Proxy, class Response>
Status send_blob(WireClient& wire, const char* path, const std::string& digest, const PieceReader& reader) {
  return wire.transfer(path, &reader, nullptr, [&](struct soap* context, const char* endpoint) {
    Proxy proxy(context);
    proxy.soap_endpoint = endpoint;
    char type[] = "application/octet-stream";
    char id[] = "<blob@mvm>";
    // The handle that the call-backs get; only the reader behind it is read. Size 0: until it ends.
    xsd__base64Binary data{};
    data.__ptr = reinterpret_cast<unsigned char*>(&data);
    data.id = id;
    data.type = type;
    Response response{};
    return proxy.putBlob(digest, &data, response);
  });
}

template <class Proxy, class Response>
Status fetch_blob(WireClient& wire, const char* path, const std::string& digest, const PieceWriter& writer) {
  Sha256 sum;
  const PieceWriter checked = [&](std::string_view piece) -> Status {
    sum.update(piece);
    return writer(piece);
  };
  MVM_TRY(wire.transfer(path, nullptr, &checked, [&](struct soap* context, const char* endpoint) {
    Proxy proxy(context);
    proxy.soap_endpoint = endpoint;
    Response response{};
    return proxy.getBlob(digest, response);
  }));
  if (sum.hex() != digest) return Error(ErrorCode::kCorrupt, "blob " + digest + " arrived damaged");
  return ok();
}

}  // namespace mvm::soap
