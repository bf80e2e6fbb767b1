#include "mvm/base/error.h"

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "mvm/base/assert.h"

namespace mvm {
namespace {

constexpr std::array<std::pair<ErrorCode, std::string_view>, 15> kNames{{
    {ErrorCode::kInvalid, "invalid"},
    {ErrorCode::kNotFound, "not-found"},
    {ErrorCode::kExists, "exists"},
    {ErrorCode::kUnavailable, "unavailable"},
    {ErrorCode::kTimeout, "timeout"},
    {ErrorCode::kRefused, "refused"},
    {ErrorCode::kExhausted, "exhausted"},
    {ErrorCode::kNoPlacement, "no-placement"},
    {ErrorCode::kAborted, "aborted"},
    {ErrorCode::kCancelled, "cancelled"},
    {ErrorCode::kConflict, "conflict"},
    {ErrorCode::kCorrupt, "corrupt"},
    {ErrorCode::kIo, "io"},
    {ErrorCode::kUnsupported, "unsupported"},
    {ErrorCode::kFailed, "failed"},
}};

ErrorCode code_of_errno(int value) {
  switch (value) {
    case ENOENT:
    case ESRCH:
      return ErrorCode::kNotFound;
    case EEXIST:
      return ErrorCode::kExists;
    case EACCES:
    case EPERM:
      return ErrorCode::kRefused;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EDQUOT:
      return ErrorCode::kExhausted;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EAGAIN:
      return ErrorCode::kUnavailable;
    case ETIMEDOUT:
      return ErrorCode::kTimeout;
    case ENOSYS:
    case EOPNOTSUPP:
      return ErrorCode::kUnsupported;
    default:
      return ErrorCode::kIo;
  }
}

}  // namespace

std::string_view to_string(ErrorCode code) {
  for (const auto& [value, name] : kNames)
    if (value == code) return name;
  assertion_failed("every ErrorCode has a name", __FILE__, __LINE__);
}

ErrorCode error_code_from(std::string_view name) {
  for (const auto& [value, text] : kNames)
    if (text == name) return value;
  return ErrorCode::kFailed;
}

Error Error::from_errno(int errno_value, std::string_view what) {
  std::string message(what);
  message += ": ";
  message += std::generic_category().message(errno_value);
  return {code_of_errno(errno_value), std::move(message)};
}

Error Error::wrap(std::string message) && {
  Error outer(code_, std::move(message));
  outer.where_ = where_;
  outer.cause_ = std::make_shared<const Error>(std::move(*this));
  return outer;
}

std::string Error::describe() const {
  std::string text;
  if (!where_.file.empty()) {
    text += where_.file;
    if (where_.line > 0) {
      text += ':' + std::to_string(where_.line);
      if (where_.column > 0) text += ':' + std::to_string(where_.column);
    }
    text += ": ";
  }
  text += message_;
  for (const Error* inner = cause(); inner != nullptr; inner = inner->cause()) text += ": " + inner->message_;
  return text;
}

}  // namespace mvm
