#include "handles.h"

namespace mvm::osvm::libvirt {
namespace {

ErrorCode code_of(const virError& error) {
  switch (error.code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_NETWORK:
    case VIR_ERR_NO_DOMAIN_METADATA:
      return ErrorCode::kNotFound;
    case VIR_ERR_OPERATION_INVALID:
      return ErrorCode::kConflict;
    case VIR_ERR_DOM_EXIST:
    case VIR_ERR_NETWORK_EXIST:
      return ErrorCode::kExists;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
      return ErrorCode::kRefused;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
    case VIR_ERR_AGENT_UNRESPONSIVE:
      return ErrorCode::kUnavailable;
    case VIR_ERR_OPERATION_TIMEOUT:
      return ErrorCode::kTimeout;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
      return ErrorCode::kUnsupported;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_INVALID_ARG:
      return ErrorCode::kInvalid;
    case VIR_ERR_NO_MEMORY:
      return ErrorCode::kExhausted;
    default:
      break;
  }
  // Errors of the transport itself: the daemon went away in the middle of the call.
  if (error.domain == VIR_FROM_RPC || error.domain == VIR_FROM_REMOTE) return ErrorCode::kUnavailable;
  return ErrorCode::kIo;
}

}  // namespace

Error last_error(const std::string& what) {
  const virErrorPtr error = virGetLastError();
  if (error == nullptr) return Error(ErrorCode::kIo, what + ": libvirt failed without saying why");
  Error result(code_of(*error),
               what + ": " + (error->message != nullptr ? error->message : "unknown libvirt error"));
  virResetLastError();
  return result;
}

int last_error_number() {
  const virErrorPtr error = virGetLastError();
  return error == nullptr ? 0 : error->code;
}

}  // namespace mvm::osvm::libvirt
