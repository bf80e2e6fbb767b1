#include "wire.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace mvm::rmix::native {
namespace {

constexpr std::string_view kMagic = "MVMR";
constexpr std::size_t kAtOnce = 1024;
constexpr std::size_t kLongestText = 4096;  // in greetings and failures

Error broken(const char* what) {
  return {ErrorCode::kCorrupt, std::string("a peer's message is broken: ") + what};
}

/// Reads from a frame's body; past its end everything fails.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> body) : rest_(body) {}

  bool number(std::size_t bytes, std::uint64_t& value) {
    if (rest_.size() < bytes) return false;
    value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::to_integer<std::uint64_t>(rest_[i]) << (8 * i);
    rest_ = rest_.subspan(bytes);
    return true;
  }
  template <class T>
  bool number(T& value) {
    std::uint64_t wide = 0;
    if (!number(sizeof(T), wide)) return false;
    value = static_cast<T>(wide);
    return true;
  }
  bool bytes(std::span<const std::byte>& bytes, std::size_t limit) {
    std::uint32_t size = 0;
    if (!number(size) || size > rest_.size() || size > limit) return false;
    bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return true;
  }
  bool text(std::string& text, std::size_t limit) {
    std::span<const std::byte> part;
    if (!bytes(part, limit)) return false;
    text.assign(reinterpret_cast<const char*>(part.data()), part.size());
    return true;
  }
  bool value(const Type& type, Value& value);
  bool values(const std::vector<Field>& fields, std::vector<Value>& values) {
    values.resize(fields.size());
    for (std::size_t i = 0; i < fields.size(); ++i)
      if (!value(fields[i].type, values[i])) return false;
    return true;
  }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }

 private:
  template <class T>
  bool integer(Value& value) {
    T number_read{};
    if (!number(number_read)) return false;
    value = Value::of<T>(number_read);
    return true;
  }
  bool array(const Type& type, Value& value) {
    std::uint32_t count = 0;
    // Every value takes a byte at least, so a count beyond what is there is a lie.
    if (!number(count) || count > rest_.size() || count > left_) return false;
    Array parts;
    parts.reserve(std::min<std::size_t>(count, kAtOnce));  // more as it arrives: nested counts could all lie
    for (std::uint32_t i = 0; i < count; ++i)
      if (!this->value(*type.element, parts.emplace_back())) return false;
    value = Value::of<Array>(std::move(parts));
    return true;
  }

  std::span<const std::byte> rest_;
  std::size_t left_ = kMostValues;
};

bool Reader::value(const Type& type, Value& value) {
  if (left_ == 0) return false;
  --left_;
  switch (type.kind) {
    case Kind::kVoid:
      return true;
    case Kind::kBool: {
      std::uint8_t flag = 0;
      if (!number(flag) || flag > 1) return false;
      value = Value::of<bool>(flag == 1);
      return true;
    }
    case Kind::kInt8:
      return integer<std::int8_t>(value);
    case Kind::kInt16:
      return integer<std::int16_t>(value);
    case Kind::kInt32:
      return integer<std::int32_t>(value);
    case Kind::kInt64:
      return integer<std::int64_t>(value);
    case Kind::kUint8:
      return integer<std::uint8_t>(value);
    case Kind::kUint16:
      return integer<std::uint16_t>(value);
    case Kind::kUint32:
      return integer<std::uint32_t>(value);
    case Kind::kUint64:
      return integer<std::uint64_t>(value);
    case Kind::kFloat32: {
      std::uint32_t bits = 0;
      if (!number(bits)) return false;
      value = Value::of<float>(std::bit_cast<float>(bits));
      return true;
    }
    case Kind::kFloat64: {
      std::uint64_t bits = 0;
      if (!number(bits)) return false;
      value = Value::of<double>(std::bit_cast<double>(bits));
      return true;
    }
    case Kind::kString: {
      std::string text_read;
      if (!text(text_read, kMostBytes) || !is_text(text_read)) return false;
      value = Value::of<std::string>(std::move(text_read));
      return true;
    }
    case Kind::kBytes: {
      std::span<const std::byte> part;
      if (!bytes(part, kMostBytes)) return false;
      value = Value::of<Bytes>(Bytes(part.begin(), part.end()));
      return true;
    }
    case Kind::kArray:
      return array(type, value);
    case Kind::kStruct: {
      Struct record;
      if (!values(type.structure->fields, record.fields)) return false;
      value = Value::of<Struct>(std::move(record));
      return true;
    }
  }
  return false;
}

template <class T>
std::uint64_t bits_of(T value) {
  if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<std::uint32_t>(value);
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<std::uint64_t>(value);
  else
    return static_cast<std::uint64_t>(value);
}

}  // namespace

Writer::Writer(FrameType type, std::uint64_t call, std::uint16_t method) {
  number(0, 4);
  number(static_cast<std::uint8_t>(type), 1);
  number(0, 1);
  number(method, 2);
  number(call, 8);
}

void Writer::number(std::uint64_t value, std::size_t bytes) {
  static_assert(std::endian::native == std::endian::little || std::endian::native == std::endian::big);
  char raw[8];
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(raw, &value, sizeof raw);
  } else {
    for (std::size_t i = 0; i < sizeof raw; ++i) raw[i] = static_cast<char>(value >> (8 * i));
  }
  bytes_.append(raw, bytes);
}

void Writer::text(std::string_view text) {
  number(text.size(), 4);
  bytes_.append(text);
}

void Writer::value(const Value& value) {
  std::visit(
      [this](const auto& held) {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
        } else if constexpr (std::is_same_v<T, std::string>) {
          text(held);
        } else if constexpr (std::is_same_v<T, Bytes>) {
          text({reinterpret_cast<const char*>(held.data()), held.size()});
        } else if constexpr (std::is_same_v<T, Array>) {
          number(held.size(), 4);
          values(held);
        } else if constexpr (std::is_same_v<T, Struct>) {
          values(held.fields);
        } else {
          number(bits_of(held), sizeof held);
        }
      },
      value.data());
}

Result<std::string> Writer::finish() && {
  const std::size_t size = bytes_.size() - kHeader;
  if (size > kMostBytes)
    return Error(ErrorCode::kExhausted, "a message of " + std::to_string(size) +
                                            " bytes is too big: at most " + std::to_string(kMostBytes) +
                                            " travel in one call");
  for (std::size_t i = 0; i < 4; ++i) bytes_[i] = static_cast<char>(size >> (8 * i));
  return std::move(bytes_);
}

Result<Header> read_header(std::span<const std::byte, kHeader> bytes) {
  Reader reader(bytes);
  Header header;
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  (void)(reader.number(header.size) && reader.number(type) && reader.number(flags) &&
         reader.number(header.method) && reader.number(header.number));
  if (type < 1 || type > static_cast<std::uint8_t>(FrameType::kGoodbye) || flags != 0 ||
      header.size > kMostBytes)
    return broken("its header is none of ours");
  header.type = static_cast<FrameType>(type);
  return header;
}

std::string write_hello(const Hello& hello) {
  Writer writer(FrameType::kHello, 0);
  for (const char c : kMagic) writer.number(static_cast<std::uint8_t>(c), 1);
  writer.number(hello.version, 2);
  writer.text(hello.service);
  writer.text(hello.interface);
  writer.text(hello.digest);
  writer.text(hello.token);
  writer.text(hello.server);
  return *std::move(writer).finish();
}

Result<Hello> read_hello(std::span<const std::byte> body) {
  if (body.size() < kMagic.size() || std::memcmp(body.data(), kMagic.data(), kMagic.size()) != 0)
    return broken("it does not begin with a greeting");
  Reader reader(body.subspan(kMagic.size()));
  Hello hello;
  if (reader.number(hello.version) && hello.version != kVersion)
    return Error(ErrorCode::kUnsupported, "a caller speaks version " + std::to_string(hello.version) +
                                              " of the native protocol, expected " +
                                              std::to_string(kVersion));
  if (!reader.text(hello.service, kLongestText) || !reader.text(hello.interface, kLongestText) ||
      !reader.text(hello.digest, kLongestText) || !reader.text(hello.token, kLongestText) ||
      !reader.text(hello.server, kLongestText) || !reader.at_end())
    return broken("the greeting");
  return hello;
}

std::string write_refused(const Error& error) {
  Writer writer(FrameType::kRefused, 0);
  writer.text(to_string(error.code()));
  writer.text(std::string_view(error.message()).substr(0, kLongestText));
  return *std::move(writer).finish();
}

Error read_refused(std::span<const std::byte> body) {
  Reader reader(body);
  std::string code;
  std::string message;
  if (!reader.text(code, kLongestText) || !reader.text(message, kLongestText)) return broken("a refusal");
  return {error_code_from(code), message};
}

Result<std::string> write_call(std::uint64_t number, std::uint32_t method, std::uint32_t left,
                               const std::vector<Value>& arguments) {
  Writer writer(FrameType::kCall, number, static_cast<std::uint16_t>(method));
  writer.number(left, 4);
  writer.values(arguments);
  return std::move(writer).finish();
}

Result<CallBody> read_call(std::span<const std::byte> body, const Method& method) {
  Reader reader(body);
  CallBody call;
  if (!reader.number(call.left) || !reader.values(method.parameters, call.arguments) || !reader.at_end())
    return broken("arguments do not fit the method");
  return call;
}

std::string write_outcome(std::uint64_t number, const Method& method, const Outcome& outcome) {
  Failure failure{Error(ErrorCode::kFailed, ""), Fate::kRan};
  if (const auto* value = std::get_if<Value>(&outcome)) {
    Writer writer(FrameType::kResult, number);
    writer.value(*value);
    auto whole = std::move(writer).finish();
    if (whole) return std::move(*whole);
    failure.error = whole.error();
  } else if (const auto* raised = std::get_if<Exception>(&outcome)) {
    std::uint16_t place = 0;
    while (method.exceptions[place]->name != raised->name) ++place;
    Writer writer(FrameType::kException, number, place);
    writer.values(raised->fields);
    auto whole = std::move(writer).finish();
    if (whole) return std::move(*whole);
    failure.error = whole.error();
  } else {
    failure = std::get<Failure>(outcome);
  }
  Writer writer(FrameType::kFailure, number);
  writer.text(to_string(failure.fate));
  writer.text(to_string(failure.error.code()));
  writer.text(std::string_view(failure.error.describe()).substr(0, kLongestText));
  return *std::move(writer).finish();
}

Result<Outcome> read_outcome(const Header& header, std::span<const std::byte> body, const Method& method) {
  Reader reader(body);
  if (header.type == FrameType::kResult) {
    Value value;
    if (!reader.value(method.result, value) || !reader.at_end()) return broken("a result of another type");
    return Outcome(std::move(value));
  }
  if (header.type == FrameType::kException) {
    if (header.method >= method.exceptions.size()) return broken("an exception that is not declared");
    Exception raised{method.exceptions[header.method]->name, {}};
    if (!reader.values(method.exceptions[header.method]->fields, raised.fields) || !reader.at_end())
      return broken("an exception of another type");
    return Outcome(std::move(raised));
  }
  std::string fate;
  std::string code;
  std::string message;
  if (!reader.text(fate, kLongestText) || !reader.text(code, kLongestText) ||
      !reader.text(message, kLongestText) || !reader.at_end())
    return broken("a failure");
  return Outcome(
      Failure{Error(error_code_from(code), std::move(message)), fate_from(fate).value_or(Fate::kUnknown)});
}

std::string write_empty(FrameType type, std::uint64_t number) { return *Writer(type, number).finish(); }

}  // namespace mvm::rmix::native
