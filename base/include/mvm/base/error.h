#pragma once
// What went wrong, in words a user can act on.

#include <memory>
#include <string>
#include <string_view>

namespace mvm {

/// Kinds of failure. Callers branch on the kind, never on the text.
enum class ErrorCode {
  kInvalid,      ///< the caller's input is wrong (exit code 2)
  kNotFound,     ///< the named thing does not exist
  kExists,       ///< the name is taken by something else
  kUnavailable,  ///< a peer, a daemon or a device cannot be reached now; trying again may help
  kTimeout,      ///< the deadline passed
  kRefused,      ///< a policy or a permission forbids it (exit code 7)
  kExhausted,    ///< a limit, a quota, memory or disk
  kNoPlacement,  ///< accepted, but cannot be placed now (exit code 3)
  kAborted,      ///< an all-or-none operation was undone (exit code 5)
  kCancelled,    ///< somebody asked for it to stop
  kConflict,     ///< the state changed meanwhile, or does not allow the operation
  kCorrupt,      ///< bytes from outside, or a file, break their format
  kIo,           ///< the operating system reported a failure
  kUnsupported,  ///< this provider or platform cannot do it
  kFailed,       ///< a program that was run for the user ended badly
};

/// The stable name of a code, for logs, JSON and SOAP faults: "invalid", "not-found", ...
[[nodiscard]] std::string_view to_string(ErrorCode code);

/// The code of a stable name; kFailed where the name is unknown (a newer peer).
[[nodiscard]] ErrorCode error_code_from(std::string_view name);

/// Where in an input file, 1-based; line 0: the whole file; an empty file: not about a file.
struct SourcePosition {
  std::string file;
  int line = 0;
  int column = 0;
};

/// A failure. Cheap to move; copying shares the cause.
class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  /// Builds an Error from an errno value: "open /x: No such file or directory".
  [[nodiscard]] static Error from_errno(int errno_value, std::string_view what);

  [[nodiscard]] ErrorCode code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }
  [[nodiscard]] const SourcePosition& where() const { return where_; }
  [[nodiscard]] const Error* cause() const { return cause_.get(); }

  Error& at(SourcePosition where) & {
    where_ = std::move(where);
    return *this;
  }
  Error&& at(SourcePosition where) && {
    where_ = std::move(where);
    return std::move(*this);
  }
  /// Wraps this error: the new one's message says what was being attempted.
  [[nodiscard]] Error wrap(std::string message) &&;

  /// "file:line:column: message: cause's message: ..."
  [[nodiscard]] std::string describe() const;

 private:
  ErrorCode code_;
  std::string message_;
  SourcePosition where_;
  std::shared_ptr<const Error> cause_;
};

}  // namespace mvm
