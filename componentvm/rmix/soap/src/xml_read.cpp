#include <algorithm>
#include <array>
#include <cstring>

#include "mvm/base/assert.h"
#include "mvm/base/number.h"
#include "mvm/rmix/provider.h"
#include "mvm/soap/xml_guard.h"
#include "soapH.h"
#include "xml_values.h"

namespace mvm::rmix::soap {
namespace {

/// Arrays of structs in one another, each two elements deep, within envelope, body, method and fault.
constexpr mvm::soap::XmlLimits kBounds{
    .depth = 2 * kDeepest + 8, .attributes = 64, .name_bytes = 4096, .elements = kMostValues};

std::string_view local_part(const char* tag) {
  const char* colon = std::strchr(tag, ':');
  return colon != nullptr ? colon + 1 : tag;
}

bool space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

template <class T>
bool read_number(std::string_view text, Value& into) {
  text = trimmed(text);
  if (text.starts_with('+')) text.remove_prefix(1);
  // Of floats it also reads "INF" and "NaN", in capitals or not: python3-zeep writes "inf".
  const auto number = whole_number<T>(text);
  if (number) into = Value::of<T>(*number);
  return number.has_value();
}

bool read_bool(std::string_view text, Value& into) {
  text = trimmed(text);
  const bool yes = text == "true" || text == "1";
  if (!yes && text != "false" && text != "0") return false;
  into = Value::of<bool>(yes);
  return true;
}

/// False where it is no base64.
bool read_base64(std::string_view text, std::string& bytes) {
  static const auto kValues = [] {
    std::array<int, 256> values{};
    values.fill(-1);
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t i = 0; i < kDigits.size(); ++i)
      values[static_cast<unsigned char>(kDigits[i])] = static_cast<int>(i);
    return values;
  }();
  unsigned bits = 0;
  int digits = 0;
  int ends = 0;
  bytes.reserve(text.size() / 4 * 3 + 3);
  for (const char c : text) {
    if (space(c)) continue;
    if (c == '=' && digits >= 2 && digits + ends < 4) {
      ++ends;
      continue;
    }
    const int value = kValues[static_cast<unsigned char>(c)];
    if (value < 0 || ends > 0) return false;
    bits = bits << 6U | static_cast<unsigned>(value);
    if (++digits < 4) continue;
    for (const unsigned shift : {16U, 8U, 0U}) bytes += static_cast<char>(bits >> shift & 0xFFU);
    bits = 0;
    digits = 0;
  }
  if (digits == 0) return ends == 0;
  if (digits + ends != 4) return false;
  bits <<= static_cast<unsigned>(6 * ends);
  bytes += static_cast<char>(bits >> 16U & 0xFFU);
  if (ends == 1) bytes += static_cast<char>(bits >> 8U & 0xFFU);
  return true;
}

bool is_base64(const struct ::soap* context) {
  for (const struct ::soap_attribute* one = context->attributes; one != nullptr; one = one->next)
    if (one->visible != 0 && one->value != nullptr && local_part(one->name) == "encoding" &&
        std::strcmp(one->value, "base64") == 0)
      return true;
  return false;
}

}  // namespace

/// gSOAP's way to the reader's bytes.
struct EnvelopeAccess {
  static std::size_t receive(struct ::soap* context, char* to, std::size_t most) {
    auto& reader = *static_cast<EnvelopeReader*>(context->user);
    const std::size_t size = std::min(most, reader.document_.size() - reader.at_);
    std::memcpy(to, reader.document_.data() + reader.at_, size);
    reader.at_ += size;
    return size;
  }
  static int no_close(struct ::soap* /*context*/) { return SOAP_OK; }
  static int no_close_socket(struct ::soap* /*context*/, SOAP_SOCKET /*fd*/) { return SOAP_OK; }
};

EnvelopeReader::EnvelopeReader()
    : context_(soap_new1(SOAP_C_UTFSTRING | SOAP_XML_TREE | SOAP_ENC_PLAIN | SOAP_IO_BUFFER)) {
  MVM_ASSERT(context_ != nullptr);
  soap_set_namespaces(context_, namespaces);
  context_->user = this;
  context_->frecv = EnvelopeAccess::receive;
  context_->fclose = EnvelopeAccess::no_close;
  context_->fclosesocket = EnvelopeAccess::no_close_socket;
  context_->recv_maxlength = 0;  // the document is there already
  context_->maxlevel = static_cast<unsigned>(kBounds.depth) + 8;
  context_->maxoccurs = static_cast<LONG64>(kMostValues);
  context_->maxlength = static_cast<LONG64>(kMostBytes);
}

EnvelopeReader::~EnvelopeReader() {
  context_->socket = SOAP_INVALID_SOCKET;
  soap_destroy(context_);
  soap_end(context_);
  soap_free(context_);
}

Error EnvelopeReader::wrong(const std::string& what) const {
  return {ErrorCode::kInvalid, "the SOAP message: " + what};
}

Result<std::string> EnvelopeReader::open(std::string_view document) {
  mvm::soap::XmlGuard guard(kBounds);
  const auto verdict = guard.feed(document);
  if (verdict != mvm::soap::XmlGuard::Verdict::kGood) return wrong(mvm::soap::to_string(verdict));
  if (!guard.done()) return wrong("it is cut short or not well formed");
  soap_destroy(context_);
  soap_end(context_);
  document_ = document;
  at_ = values_ = 0;
  context_->bufidx = context_->buflen = 0;
  context_->ahead = 0;
  context_->error = SOAP_OK;
  context_->socket = 0;  // gSOAP never touches it, but reads nothing without one
  soap_begin(context_);
  if (soap_begin_recv(context_) || soap_envelope_begin_in(context_) || soap_recv_header(context_) ||
      soap_body_begin_in(context_))
    return wrong("found no envelope of SOAP 1.1 with a body");
  context_->header = nullptr;
  std::string name;
  MVM_ASSIGN(const bool there, begin(name));
  if (!there) return wrong("its body is empty");
  return name;
}

Result<std::uint32_t> EnvelopeReader::method_of(const Interface& interface, const std::string& element) {
  auto method = interface.find(element);
  if (method) return method;
  return Error(ErrorCode::kUnsupported,
               interface.text() + " has no method \"" + element.substr(0, 80) + "\"");
}

/// The next element within the one that is open, or false where that ends.
Result<bool> EnvelopeReader::begin(std::string& name) {
  if (soap_element_begin_in(context_, nullptr, 1, nullptr) == SOAP_OK) {
    name = local_part(context_->tag);
    return true;
  }
  if (context_->error != SOAP_NO_TAG) return wrong("it is not well formed");
  context_->error = SOAP_OK;
  return false;
}

/// Of the element that is open, which has content.
Status EnvelopeReader::end() {
  if (soap_element_end_in(context_, nullptr) == SOAP_OK) return ok();
  return wrong("an element has more in it than expected, or is not well formed");
}

/// What the element that was begun just now holds, and its end.
Result<std::string> EnvelopeReader::text() {
  if (context_->body == 0) return std::string();
  const char* text = soap_string_in(context_, 1, -1, -1, nullptr);
  if (text == nullptr) return wrong("an element with text cannot be read");
  std::string copy(text);
  MVM_TRY(end());
  return copy;
}

Status EnvelopeReader::bytes(Value& into) {
  Bytes held;
  if (context_->body != 0) {
    int size = 0;
    const unsigned char* read = soap_getbase64(context_, &size, 0);
    if (read == nullptr || size < 0) return wrong("an element is no base64");
    held.resize(static_cast<std::size_t>(size));
    if (size > 0) std::memcpy(held.data(), read, held.size());
    MVM_TRY(end());
  }
  into = Value::of<Bytes>(std::move(held));
  return ok();
}

/// One element for each, in order; and the end of the element that holds them.
Result<std::vector<Value>> EnvelopeReader::fields(const std::vector<Field>& fields) {
  std::vector<Value> values(fields.size());
  const bool content = context_->body != 0;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    std::string name;
    bool there = false;
    if (content) {
      MVM_ASSIGN(there, begin(name));
    }
    if (!there || name != fields[i].name)
      return wrong("found " + (there ? "element \"" + name.substr(0, 80) + "\"" : std::string("nothing")) +
                   ", expected \"" + fields[i].name + "\"");
    MVM_TRY(value(fields[i].type, values[i], 0));
  }
  if (!content) return values;
  std::string more;  // gSOAP would pass over it
  MVM_ASSIGN(const bool there, begin(more));
  if (there) return wrong("found element \"" + more.substr(0, 80) + "\", expected no more");
  MVM_TRY(end());
  return values;
}

Status EnvelopeReader::value(const Type& type, Value& into, std::size_t depth) {
  if (++values_ > kMostValues || depth > kDeepest) return wrong("it holds too many values");
  if (type.kind == Kind::kArray) {
    Array array;
    const bool content = context_->body != 0;
    while (content) {
      std::string name;
      MVM_ASSIGN(const bool there, begin(name));
      if (!there) break;
      if (name != kItem)
        return wrong("found element \"" + name.substr(0, 80) + "\" in an array, expected \"item\"");
      Value one;
      MVM_TRY(value(*type.element, one, depth + 1));
      array.push_back(std::move(one));
    }
    if (content) MVM_TRY(end());
    into = Value::of<Array>(std::move(array));
    return ok();
  }
  if (type.kind == Kind::kStruct) {
    MVM_ASSIGN(auto parts, fields(type.structure->fields));
    into = Value::of<Struct>(Struct{std::move(parts)});
    return ok();
  }
  if (type.kind == Kind::kBytes) return bytes(into);
  const bool encoded = is_base64(context_);
  MVM_ASSIGN(std::string read, text());
  bool good = false;
  switch (type.kind) {
    case Kind::kBool:
      good = read_bool(read, into);
      break;
    case Kind::kInt8:
      good = read_number<std::int8_t>(read, into);
      break;
    case Kind::kInt16:
      good = read_number<std::int16_t>(read, into);
      break;
    case Kind::kInt32:
      good = read_number<std::int32_t>(read, into);
      break;
    case Kind::kInt64:
      good = read_number<std::int64_t>(read, into);
      break;
    case Kind::kUint8:
      good = read_number<std::uint8_t>(read, into);
      break;
    case Kind::kUint16:
      good = read_number<std::uint16_t>(read, into);
      break;
    case Kind::kUint32:
      good = read_number<std::uint32_t>(read, into);
      break;
    case Kind::kUint64:
      good = read_number<std::uint64_t>(read, into);
      break;
    case Kind::kFloat32:
      good = read_number<float>(read, into);
      break;
    case Kind::kFloat64:
      good = read_number<double>(read, into);
      break;
    case Kind::kString: {
      if (!encoded) {
        into = Value::of<std::string>(std::move(read));
        return ok();
      }
      std::string bytes;
      good = read_base64(read, bytes);
      into = Value::of<std::string>(std::move(bytes));
      break;
    }
    default:
      break;
  }
  if (!good) return wrong("found \"" + read.substr(0, 80) + "\", expected " + type.text());
  return ok();
}

Result<std::vector<Value>> EnvelopeReader::arguments(const Method& method) {
  MVM_ASSIGN(auto values, fields(method.parameters));
  MVM_TRY(check(values, method.parameters, method.name));
  return values;
}

// ---- outcomes ---------------------------------------------------------------------------------------------

Result<Outcome> EnvelopeReader::outcome(const Method& method, const std::string& element) {
  if (element == "Fault") return fault(method);
  if (element != method.name + kResponse)
    return wrong("found element \"" + element.substr(0, 80) + "\", expected \"" + method.name + kResponse +
                 "\"");
  if (method.result.kind == Kind::kVoid) return Outcome(Value());
  MVM_ASSIGN(auto values, fields({Field{kResult, method.result}}));
  MVM_TRY(check(values[0], method.result, method.name));
  return Outcome(std::move(values[0]));
}

Result<Outcome> EnvelopeReader::fault(const Method& method) {
  std::string words = "the server answered with a fault";
  if (context_->body == 0) return failed(ErrorCode::kFailed, words, Fate::kUnknown);
  for (;;) {
    std::string name;
    MVM_ASSIGN(const bool there, begin(name));
    if (!there) return failed(ErrorCode::kFailed, words, Fate::kUnknown);
    if (name == "detail" || name == "Detail") return detail(method, words);
    MVM_ASSIGN(std::string read, text());
    if (name == "faultstring") words = std::move(read);
  }
}

/// A declared exception, a failure of ours, or somebody else's words.
Result<Outcome> EnvelopeReader::detail(const Method& method, std::string words) {
  std::string name;
  bool there = context_->body != 0;
  if (there) {
    MVM_ASSIGN(there, begin(name));
  }
  if (there && name == "failure") {
    MVM_ASSIGN(auto said,
               fields({Field{"code", Type::of(Kind::kString)}, Field{"fate", Type::of(Kind::kString)},
                       Field{"message", Type::of(Kind::kString)}}));
    return failed(error_code_from(*said[0].get<std::string>()), std::move(*said[2].get<std::string>()),
                  fate_from(*said[1].get<std::string>()).value_or(Fate::kUnknown));
  }
  for (const auto& type : method.exceptions) {
    if (!there || name != kExceptionPrefix + type->name) continue;
    MVM_ASSIGN(auto values, fields(type->fields));
    MVM_TRY(check(values, type->fields, type->name));
    return Outcome(Exception{type->name, std::move(values)});
  }
  return failed(ErrorCode::kFailed, std::move(words), Fate::kUnknown);
}

}  // namespace mvm::rmix::soap
