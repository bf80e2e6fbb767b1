#pragma once
// Generic values as XDR (RFC 4506), by libtirpc's primitives.

#include <rpc/rpc.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/rmix/interface.h"
#include "mvm/rmix/outcome.h"
#include "mvm/rmix/value.h"

namespace mvm::rmix::onc {

/// Bytes being read. Everything that is read is bounded by what is there.
class XdrReader {
 public:
  explicit XdrReader(std::string_view bytes);
  ~XdrReader();
  XdrReader(const XdrReader&) = delete;
  XdrReader& operator=(const XdrReader&) = delete;
  [[nodiscard]] XDR* get() { return &xdr_; }
  [[nodiscard]] std::size_t left() const { return xdr_.x_handy; }
  /// kCorrupt where the bytes are no value of that type.
  [[nodiscard]] Result<Value> value(const Type& type);
  [[nodiscard]] Result<std::vector<Value>> values(const std::vector<Field>& fields);
  [[nodiscard]] Result<std::uint32_t> number();
  [[nodiscard]] Result<std::string> bytes(std::size_t most);

 private:
  Status read_into(const Type& type, Value& value, std::size_t depth);
  XDR xdr_{};
  std::size_t values_ = 0;
};

/// Bytes being written, behind a record mark.
class XdrWriter {
 public:
  /// `size`: of all that will be written.
  explicit XdrWriter(std::size_t size);
  ~XdrWriter();
  XdrWriter(const XdrWriter&) = delete;
  XdrWriter& operator=(const XdrWriter&) = delete;
  [[nodiscard]] XDR* get() { return &xdr_; }
  /// The value fits the type.
  void value(const Value& value, const Type& type);
  void values(const std::vector<Value>& values, const std::vector<Field>& fields);
  void number(std::uint32_t number);
  void bytes(std::string_view bytes);
  /// The whole record, with its mark.
  [[nodiscard]] std::string take();

 private:
  std::string buffer_;
  XDR xdr_{};
};

/// Bytes that it takes.
[[nodiscard]] std::size_t size_of(const Value& value, const Type& type);
[[nodiscard]] std::size_t size_of(const std::vector<Value>& values, const std::vector<Field>& fields);
/// Of a counted string of bytes.
[[nodiscard]] std::size_t size_of(std::string_view bytes);

/// What a method that is not one-way answers: a union of result, declared exceptions and failure.
[[nodiscard]] std::size_t size_of(const Outcome& outcome, const Method& method);
void write(XdrWriter& writer, const Outcome& outcome, const Method& method);
[[nodiscard]] Result<Outcome> read_outcome(XdrReader& reader, const Method& method);

}  // namespace mvm::rmix::onc
