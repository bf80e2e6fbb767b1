#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <functional>

#include "xml_values.h"

namespace mvm::rmix::soap {
namespace {

constexpr std::string_view kHead =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\"><SOAP-ENV:Body>";
constexpr std::string_view kTail = "</SOAP-ENV:Body></SOAP-ENV:Envelope>";

std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text((bytes.size() + 2) / 3 * 4, '=');
  char* to = text.data();
  const auto* from = reinterpret_cast<const unsigned char*>(bytes.data());
  for (std::size_t left = bytes.size(); left > 0; from += 3, to += 4) {
    const unsigned second = left > 1 ? from[1] : 0U;
    const unsigned third = left > 2 ? from[2] : 0U;
    to[0] = kDigits[from[0] >> 2U];
    to[1] = kDigits[(from[0] & 3U) << 4U | second >> 4U];
    if (left > 1) to[2] = kDigits[(second & 15U) << 2U | third >> 6U];
    if (left > 2) to[3] = kDigits[third & 63U];
    left -= std::min<std::size_t>(left, 3);
  }
  return text;
}

/// True where XML 1.0 can say it.
bool sayable(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 && c != '\t' && c != '\n' && c != '\r') return false;
    // U+FFFE and U+FFFF
    if (c == 0xEF && text.substr(i, 2) == "\xEF\xBF" && i + 2 < text.size() &&
        static_cast<unsigned char>(text[i + 2]) >= 0xBE)
      return false;
  }
  return true;
}

class Writer {
 public:
  Writer() : text_(kHead) { text_.reserve(1024); }
  void raw(std::string_view text) { text_ += text; }
  void open(std::string_view name) { text_.append("<").append(name).append(">"); }
  void close(std::string_view name) { text_.append("</").append(name).append(">"); }
  void words(std::string_view text) {
    for (std::size_t from = 0;;) {
      const std::size_t at = text.find_first_of("<>&\r", from);
      text_.append(text.substr(from, at - from));
      if (at == std::string_view::npos) return;
      text_ += text[at] == '<' ? "&lt;" : text[at] == '>' ? "&gt;" : text[at] == '&' ? "&amp;" : "&#xD;";
      from = at + 1;
    }
  }
  void element(std::string_view name, const Value& value, const Type& type) {
    const auto* string = value.get<std::string>();
    if (string != nullptr && !sayable(*string)) {
      text_.append("<").append(name).append(" encoding=\"base64\">").append(base64(*string));
      return close(name);
    }
    open(name);
    content(value, type);
    close(name);
  }
  void fields(const std::vector<Value>& values, const std::vector<Field>& fields) {
    for (std::size_t i = 0; i < fields.size(); ++i) element(fields[i].name, values[i], fields[i].type);
  }
  std::string take() {
    text_ += kTail;
    return std::move(text_);
  }

 private:
  void content(const Value& value, const Type& type) {
    std::visit([&](const auto& held) { say(held, type); }, value.data());
  }
  void say(std::monostate /*nothing*/, const Type& /*type*/) {}
  void say(bool held, const Type& /*type*/) { text_ += held ? "true" : "false"; }
  template <class T>
  requires(std::is_integral_v<T>) void say(T held, const Type& /*type*/) {
    std::array<char, 24> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), held).ptr;
    text_.append(digits.data(), end);
  }
  template <class T>
  requires(std::is_floating_point_v<T>) void say(T held, const Type& /*type*/) {
    if (std::isnan(held)) {
      text_ += "NaN";
    } else if (std::isinf(held)) {
      text_ += held < 0 ? "-INF" : "INF";
    } else {
      std::array<char, 40> digits{};
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), held).ptr;
      text_.append(digits.data(), end);
    }
  }
  void say(const std::string& held, const Type& /*type*/) { words(held); }
  void say(const Bytes& held, const Type& /*type*/) {
    text_ += base64({reinterpret_cast<const char*>(held.data()), held.size()});
  }
  void say(const Array& held, const Type& type) {
    for (const Value& one : held) element(kItem, one, *type.element);
  }
  void say(const Struct& held, const Type& type) { fields(held.fields, type.structure->fields); }

  std::string text_;
};

/// Text that XML can say, whatever it was.
std::string harmless(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') c = ' ';
  return text;
}

void write_fault(Writer& writer, std::string_view words, const std::function<void()>& detail) {
  writer.raw("<SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode><faultstring>");
  writer.words(words);
  writer.raw("</faultstring><detail>");
  detail();
  writer.raw("</detail></SOAP-ENV:Fault>");
}

void write_failure(Writer& writer, const Failure& failure) {
  const std::string words = harmless(failure.error.describe());
  write_fault(writer, words, [&] {
    writer.raw(std::string("<failure xmlns=\"") + kOwnSpace + "\"><code>");
    writer.words(to_string(failure.error.code()));
    writer.raw("</code><fate>");
    writer.words(to_string(failure.fate));
    writer.raw("</fate><message>");
    writer.words(words);
    writer.raw("</message></failure>");
  });
}

void begin_in(Writer& writer, const Interface& interface, const std::string& name) {
  writer.raw("<" + name + " xmlns=\"" + space_of(interface) + "\">");
}

}  // namespace

std::string space_of(const Interface& interface) {
  return "urn:mvm:rmix:" + interface.name + ":" + std::to_string(interface.version);
}

std::size_t weight(const std::vector<Value>& values) {
  std::size_t bytes = 0;
  for (const Value& value : values) {
    if (const auto* text = value.get<std::string>()) bytes += text->size();
    if (const auto* held = value.get<Bytes>()) bytes += held->size() / 3 * 4;
    if (const auto* array = value.get<Array>()) bytes += weight(*array);
    if (const auto* parts = value.get<Struct>()) bytes += weight(parts->fields);
  }
  return bytes;
}

std::string call_envelope(const Interface& interface, const Method& method,
                          const std::vector<Value>& arguments) {
  Writer writer;
  begin_in(writer, interface, method.name);
  writer.fields(arguments, method.parameters);
  writer.close(method.name);
  return writer.take();
}

std::string outcome_envelope(const Interface& interface, const Method& method, const Outcome& outcome) {
  Writer writer;
  if (const auto* value = std::get_if<Value>(&outcome)) {
    const std::string name = method.name + kResponse;
    begin_in(writer, interface, name);
    if (method.result.kind != Kind::kVoid) writer.element(kResult, *value, method.result);
    writer.close(name);
  } else if (const auto* raised = std::get_if<Exception>(&outcome)) {
    write_fault(writer, raised->name, [&] {
      const std::string name = kExceptionPrefix + raised->name;
      begin_in(writer, interface, name);
      for (const auto& type : method.exceptions)
        if (type->name == raised->name) writer.fields(raised->fields, type->fields);
      writer.close(name);
    });
  } else {
    write_failure(writer, std::get<Failure>(outcome));
  }
  return writer.take();
}

std::string failure_envelope(const Failure& failure) {
  Writer writer;
  write_failure(writer, failure);
  return writer.take();
}

}  // namespace mvm::rmix::soap
