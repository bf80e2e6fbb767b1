#pragma once
// Generic values as XML: written here, read through gSOAP's engine.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/rmix/interface.h"
#include "mvm/rmix/outcome.h"
#include "mvm/rmix/value.h"

struct soap;

namespace mvm::rmix::soap {

/// Its XML namespace.
[[nodiscard]] std::string space_of(const Interface& interface);
inline constexpr const char* kOwnSpace = "urn:mvm:rmix:soap:1";  ///< of failures

/// Element of an array's parts; suffix of an answer's element; prefix of an exception's.
inline constexpr const char* kItem = "item";
inline constexpr const char* kResult = "result";
inline constexpr const char* kResponse = "Response";
inline constexpr const char* kExceptionPrefix = "exception.";

// ---- writing ----

/// Bytes that their texts take at least.
[[nodiscard]] std::size_t weight(const std::vector<Value>& values);
/// The whole envelope of a call.
[[nodiscard]] std::string call_envelope(const Interface& interface, const Method& method,
                                        const std::vector<Value>& arguments);
/// The whole envelope of its outcome.
[[nodiscard]] std::string outcome_envelope(const Interface& interface, const Method& method,
                                           const Outcome& outcome);
/// Of what went wrong before a method was known.
[[nodiscard]] std::string failure_envelope(const Failure& failure);

// ---- reading ----

/// A document that was read as a whole. Reuses gSOAP's context for the next. One thread at a time.
class EnvelopeReader {
 public:
  EnvelopeReader();
  ~EnvelopeReader();
  EnvelopeReader(const EnvelopeReader&) = delete;
  EnvelopeReader& operator=(const EnvelopeReader&) = delete;

  /// Looks at all of it before the parser does, and goes to the element in the body; its name without prefix.
  /// kInvalid: hostile, or no SOAP envelope. `document` stays as it is until the next open().
  [[nodiscard]] Result<std::string> open(std::string_view document);
  /// Which method an element calls; kUnsupported.
  [[nodiscard]] static Result<std::uint32_t> method_of(const Interface& interface,
                                                       const std::string& element);
  [[nodiscard]] Result<std::vector<Value>> arguments(const Method& method);
  /// After open() of an answer.
  [[nodiscard]] Result<Outcome> outcome(const Method& method, const std::string& element);

 private:
  Result<bool> begin(std::string& name);
  Status end();
  Result<std::string> text();
  Status bytes(Value& into);
  Result<std::vector<Value>> fields(const std::vector<Field>& fields);
  Status value(const Type& type, Value& into, std::size_t depth);
  Result<Outcome> fault(const Method& method);
  Result<Outcome> detail(const Method& method, std::string words);
  Error wrong(const std::string& what) const;

  struct ::soap* context_;
  std::string_view document_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
  friend struct EnvelopeAccess;
};

}  // namespace mvm::rmix::soap
