#include "fault.h"

#include <algorithm>
#include <optional>

#include "mvm/base/number.h"
#include "text.h"

namespace mvm::soap {
namespace {

constexpr std::size_t kMostDiagnostics = 1000;

/// "lab.xml:3:7: words"
std::optional<Diagnostic> parse_line(std::string_view line) {
  // The first colon followed by two numbers: a file's name may have colons itself.
  for (auto first = line.find(':'); first != std::string_view::npos; first = line.find(':', first + 1)) {
    const auto second = line.find(':', first + 1);
    const auto third = second == std::string_view::npos ? second : line.find(':', second + 1);
    if (third == std::string_view::npos) return {};
    const auto row = whole_number<int>(line.substr(first + 1, second - first - 1));
    const auto column = whole_number<int>(line.substr(second + 1, third - second - 1));
    if (first == 0 || row.value_or(-1) < 0 || column.value_or(-1) < 0) continue;
    std::string_view words = line.substr(third + 1);
    while (words.starts_with(' ')) words.remove_prefix(1);
    return Diagnostic{std::string(line.substr(0, first)), *row, *column, std::string(words)};
  }
  return {};
}

}  // namespace

std::vector<Diagnostic> diagnostics_of(const Error& error) {
  std::vector<Diagnostic> found;
  if (!error.where().file.empty())
    found.push_back({error.where().file, error.where().line, error.where().column, error.message()});
  std::string_view text = error.message();
  while (!text.empty() && found.size() < kMostDiagnostics) {
    const auto end = text.find('\n');
    if (auto one = parse_line(text.substr(0, end))) found.push_back(std::move(*one));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return found;
}

std::string fault_envelope(const Error& error) {
  // The cause belongs to the words: the peer sees one text. The position travels in the diagnostics.
  std::string words = error.message();
  for (const Error* cause = error.cause(); cause != nullptr; cause = cause->cause())
    words += ": " + cause->message();
  const bool theirs = error.code() == ErrorCode::kInvalid || error.code() == ErrorCode::kRefused ||
                      error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kExists ||
                      error.code() == ErrorCode::kConflict || error.code() == ErrorCode::kCorrupt;
  std::string xml =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" "
      "xmlns:t=\"urn:mvm:types:1\"><SOAP-ENV:Body><SOAP-ENV:Fault><faultcode>SOAP-ENV:";
  xml += theirs ? "Client" : "Server";
  xml += "</faultcode><faultstring>" + xml_escape(words) + "</faultstring><detail><t:Fault><t:code>";
  xml += std::string(to_string(error.code())) + "</t:code><t:message>" + xml_escape(words) + "</t:message>";
  if (!error.where().file.empty()) xml += "<t:field>" + xml_escape(error.where().file) + "</t:field>";
  for (const Diagnostic& one : diagnostics_of(error)) {
    xml += "<t:diagnostic><t:file>" + xml_escape(one.file) + "</t:file><t:line>" + std::to_string(one.line) +
           "</t:line><t:column>" + std::to_string(one.column) + "</t:column><t:message>" +
           xml_escape(one.message) + "</t:message></t:diagnostic>";
  }
  return xml + "</t:Fault></detail></SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>\n";
}

}  // namespace mvm::soap
