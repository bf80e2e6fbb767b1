#include "xdr_values.h"

#include <bit>
#include <cstring>
#include <limits>

#include "mvm/base/assert.h"
#include "mvm/rmix/provider.h"

namespace mvm::rmix::onc {
namespace {

constexpr std::size_t kUnit = 4;  // every XDR value has a multiple of these bytes
constexpr std::size_t kMark = 4;  // of a record
constexpr std::uint32_t kLast = 1U << 31U;
constexpr std::size_t kShortText = 64;
constexpr std::size_t kLongText = 64 << 10;
constexpr std::uint32_t kFailed = std::numeric_limits<std::uint32_t>::max();  // -1

Error corrupt(const char* what) { return {ErrorCode::kCorrupt, std::string("the XDR bytes are no ") + what}; }

std::size_t padded(std::size_t size) { return (size + kUnit - 1) / kUnit * kUnit; }

std::string_view view(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A smaller integer travels as an int.
template <class T>
bool narrow(XDR* xdr, Value& value) {
  std::int32_t wide = 0;
  if (!xdr_int32_t(xdr, &wide) || wide < std::numeric_limits<T>::min() ||
      wide > std::numeric_limits<T>::max())
    return false;
  value = Value::of<T>(static_cast<T>(wide));
  return true;
}

template <class T>
bool narrow_unsigned(XDR* xdr, Value& value) {
  std::uint32_t wide = 0;
  if (!xdr_u_int32_t(xdr, &wide) || wide > std::numeric_limits<T>::max()) return false;
  value = Value::of<T>(static_cast<T>(wide));
  return true;
}

template <class T, auto coder>
bool plain(XDR* xdr, Value& value) {
  T read{};
  if (!coder(xdr, &read)) return false;
  value = Value::of<T>(read);
  return true;
}

bool read_plain(XDR* xdr, Kind kind, Value& value) {
  switch (kind) {
    case Kind::kVoid:
      value = Value();
      return true;
    case Kind::kBool: {
      std::uint32_t read = 0;
      if (!xdr_u_int32_t(xdr, &read) || read > 1) return false;
      value = Value::of<bool>(read == 1);
      return true;
    }
    case Kind::kInt8:
      return narrow<std::int8_t>(xdr, value);
    case Kind::kInt16:
      return narrow<std::int16_t>(xdr, value);
    case Kind::kInt32:
      return plain<std::int32_t, xdr_int32_t>(xdr, value);
    case Kind::kInt64:
      return plain<std::int64_t, xdr_int64_t>(xdr, value);
    case Kind::kUint8:
      return narrow_unsigned<std::uint8_t>(xdr, value);
    case Kind::kUint16:
      return narrow_unsigned<std::uint16_t>(xdr, value);
    case Kind::kUint32:
      return plain<std::uint32_t, xdr_u_int32_t>(xdr, value);
    case Kind::kUint64:
      return plain<std::uint64_t, xdr_u_int64_t>(xdr, value);
    case Kind::kFloat32: {  // as bits: a conversion would quieten a signalling NaN
      std::uint32_t bits = 0;
      if (!xdr_u_int32_t(xdr, &bits)) return false;
      value = Value::of<float>(std::bit_cast<float>(bits));
      return true;
    }
    case Kind::kFloat64: {
      std::uint64_t bits = 0;
      if (!xdr_u_int64_t(xdr, &bits)) return false;
      value = Value::of<double>(std::bit_cast<double>(bits));
      return true;
    }
    default:
      return false;
  }
}

/// Of the type of a plain value, as an unsigned number of its XDR width.
std::uint64_t bits_of(const Value& value) {
  return std::visit(
      [](const auto& held) -> std::uint64_t {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, float>) {
          return std::bit_cast<std::uint32_t>(held);
        } else if constexpr (std::is_same_v<T, double>) {
          return std::bit_cast<std::uint64_t>(held);
        } else if constexpr (std::is_integral_v<T>) {
          return static_cast<std::uint64_t>(static_cast<std::int64_t>(held));
        } else {
          return 0;
        }
      },
      value.data());
}

bool is_wide(Kind kind) { return kind == Kind::kInt64 || kind == Kind::kUint64 || kind == Kind::kFloat64; }

std::string cut(std::string_view text, std::size_t most) { return std::string(text.substr(0, most)); }

}  // namespace

// ---- reading ----------------------------------------------------------------------------------------------

XdrReader::XdrReader(std::string_view bytes) {
  // Only ever decoded from.
  xdrmem_create(&xdr_, const_cast<char*>(bytes.data()), static_cast<u_int>(bytes.size()), XDR_DECODE);
}
XdrReader::~XdrReader() { xdr_destroy(&xdr_); }

Result<std::uint32_t> XdrReader::number() {
  std::uint32_t read = 0;
  if (!xdr_u_int32_t(&xdr_, &read)) return corrupt("number");
  return read;
}

Result<std::string> XdrReader::bytes(std::size_t most) {
  MVM_ASSIGN(const std::uint32_t size, number());
  if (size > left() || size > most) return corrupt("string of bytes");
  std::string read(size, '\0');
  if (!xdr_opaque(&xdr_, read.data(), size)) return corrupt("string of bytes");
  return read;
}

Status XdrReader::read_into(const Type& type, Value& value, std::size_t depth) {
  if (++values_ > kMostValues || depth > kDeepest) return corrupt("value within bounds");
  switch (type.kind) {
    case Kind::kString: {
      MVM_ASSIGN(std::string text, bytes(kMostBytes));
      value = Value::of<std::string>(std::move(text));
      return ok();
    }
    case Kind::kBytes: {
      MVM_ASSIGN(const std::string text, bytes(kMostBytes));
      Bytes held(text.size());
      if (!text.empty()) std::memcpy(held.data(), text.data(), text.size());
      value = Value::of<Bytes>(std::move(held));
      return ok();
    }
    case Kind::kArray: {
      MVM_ASSIGN(const std::uint32_t count, number());
      if (count > left() / kUnit) return corrupt("array");  // no element has less
      Array array(count);
      for (Value& one : array) MVM_TRY(read_into(*type.element, one, depth + 1));
      value = Value::of<Array>(std::move(array));
      return ok();
    }
    case Kind::kStruct: {
      Struct parts;
      parts.fields.resize(type.structure->fields.size());
      for (std::size_t i = 0; i < parts.fields.size(); ++i)
        MVM_TRY(read_into(type.structure->fields[i].type, parts.fields[i], depth + 1));
      value = Value::of<Struct>(std::move(parts));
      return ok();
    }
    default:
      return read_plain(&xdr_, type.kind, value) ? ok() : Status(corrupt(to_string(type.kind).data()));
  }
}

Result<Value> XdrReader::value(const Type& type) {
  Value read;
  MVM_TRY(read_into(type, read, 0));
  MVM_TRY(check(read, type, "value"));
  return read;
}

Result<std::vector<Value>> XdrReader::values(const std::vector<Field>& fields) {
  std::vector<Value> read(fields.size());
  for (std::size_t i = 0; i < fields.size(); ++i) MVM_TRY(read_into(fields[i].type, read[i], 0));
  MVM_TRY(check(read, fields, "arguments"));
  return read;
}

// ---- writing ----------------------------------------------------------------------------------------------

XdrWriter::XdrWriter(std::size_t size) : buffer_(kMark + size, '\0') {
  xdrmem_create(&xdr_, buffer_.data() + kMark, static_cast<u_int>(size), XDR_ENCODE);
}
XdrWriter::~XdrWriter() { xdr_destroy(&xdr_); }

void XdrWriter::number(std::uint32_t number) { MVM_ASSERT(xdr_u_int32_t(&xdr_, &number)); }

void XdrWriter::bytes(std::string_view bytes) {
  number(static_cast<std::uint32_t>(bytes.size()));
  MVM_ASSERT(xdr_opaque(&xdr_, const_cast<char*>(bytes.data()), static_cast<u_int>(bytes.size())));
}

void XdrWriter::value(const Value& value, const Type& type) {
  if (const auto* text = value.get<std::string>()) return bytes(*text);
  if (const auto* held = value.get<Bytes>()) return bytes(view(*held));
  if (const auto* array = value.get<Array>()) {
    number(static_cast<std::uint32_t>(array->size()));
    for (const Value& one : *array) this->value(one, *type.element);
    return;
  }
  if (const auto* parts = value.get<Struct>()) return values(parts->fields, type.structure->fields);
  if (type.kind == Kind::kVoid) return;
  std::uint64_t bits = bits_of(value);
  if (!is_wide(type.kind)) return number(static_cast<std::uint32_t>(bits));
  MVM_ASSERT(xdr_u_int64_t(&xdr_, &bits));
}

void XdrWriter::values(const std::vector<Value>& values, const std::vector<Field>& fields) {
  for (std::size_t i = 0; i < fields.size(); ++i) value(values[i], fields[i].type);
}

std::string XdrWriter::take() {
  const std::size_t size = xdr_getpos(&xdr_);
  buffer_.resize(kMark + size);
  const std::uint32_t mark = kLast | static_cast<std::uint32_t>(size);
  for (std::size_t i = 0; i < kMark; ++i) buffer_[i] = static_cast<char>(mark >> (24 - 8 * i));
  return std::move(buffer_);
}

std::size_t size_of(std::string_view bytes) { return kUnit + padded(bytes.size()); }

std::size_t size_of(const Value& value, const Type& type) {
  if (const auto* text = value.get<std::string>()) return size_of(std::string_view(*text));
  if (const auto* held = value.get<Bytes>()) return size_of(view(*held));
  if (const auto* array = value.get<Array>()) {
    std::size_t size = kUnit;
    for (const Value& one : *array) size += size_of(one, *type.element);
    return size;
  }
  if (const auto* parts = value.get<Struct>()) return size_of(parts->fields, type.structure->fields);
  return type.kind == Kind::kVoid ? 0 : is_wide(type.kind) ? 2 * kUnit : kUnit;
}

std::size_t size_of(const std::vector<Value>& values, const std::vector<Field>& fields) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < fields.size(); ++i) size += size_of(values[i], fields[i].type);
  return size;
}

// ---- outcomes ---------------------------------------------------------------------------------------------

namespace {

/// The number of a declared exception, from 1; 0: it is none.
std::uint32_t number_of(const Exception& exception, const Method& method) {
  for (std::size_t i = 0; i < method.exceptions.size(); ++i)
    if (method.exceptions[i]->name == exception.name) return static_cast<std::uint32_t>(i + 1);
  return 0;
}

}  // namespace

std::size_t size_of(const Outcome& outcome, const Method& method) {
  if (const auto* value = std::get_if<Value>(&outcome)) return kUnit + size_of(*value, method.result);
  if (const auto* raised = std::get_if<Exception>(&outcome))
    return kUnit + size_of(raised->fields, method.exceptions[number_of(*raised, method) - 1]->fields);
  const auto& failure = std::get<Failure>(outcome);
  return kUnit + size_of(to_string(failure.error.code())) + size_of(to_string(failure.fate)) +
         size_of(cut(failure.error.describe(), kLongText));
}

void write(XdrWriter& writer, const Outcome& outcome, const Method& method) {
  if (const auto* value = std::get_if<Value>(&outcome)) {
    writer.number(0);
    return writer.value(*value, method.result);
  }
  if (const auto* raised = std::get_if<Exception>(&outcome)) {
    const std::uint32_t number = number_of(*raised, method);
    writer.number(number);
    return writer.values(raised->fields, method.exceptions[number - 1]->fields);
  }
  const auto& failure = std::get<Failure>(outcome);
  writer.number(kFailed);
  writer.bytes(to_string(failure.error.code()));
  writer.bytes(to_string(failure.fate));
  writer.bytes(cut(failure.error.describe(), kLongText));
}

Result<Outcome> read_outcome(XdrReader& reader, const Method& method) {
  MVM_ASSIGN(const std::uint32_t number, reader.number());
  if (number == 0) {
    MVM_ASSIGN(Value value, reader.value(method.result));
    return Outcome(std::move(value));
  }
  if (number != kFailed) {
    if (number > method.exceptions.size()) return corrupt("outcome of this method");
    const StructType& type = *method.exceptions[number - 1];
    MVM_ASSIGN(auto fields, reader.values(type.fields));
    return Outcome(Exception{type.name, std::move(fields)});
  }
  MVM_ASSIGN(const std::string code, reader.bytes(kShortText));
  MVM_ASSIGN(const std::string fate, reader.bytes(kShortText));
  MVM_ASSIGN(std::string message, reader.bytes(kLongText));
  return failed(error_code_from(code), std::move(message), fate_from(fate).value_or(Fate::kUnknown));
}

}  // namespace mvm::rmix::onc
