#include "mvm/soap/http_head.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace mvm::soap {
namespace {

struct Bad {
  int status;
  std::string reason;
};
using Outcome = std::optional<Bad>;

bool token_character(unsigned char c) {
  return std::isalnum(c) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
}

bool visible(unsigned char c) { return c > 0x20 && c < 0x7F; }

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Outcome request_line(std::string_view line, HttpHead& head) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return Bad{400, "malformed request line"};
  head.method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return Bad{505, "HTTP 1.1 is spoken here"};
  head.keep_alive = version == "HTTP/1.1";
  if (head.method != "GET" && head.method != "POST") return Bad{405, "only GET and POST are offered"};
  if (target.size() > 512) return Bad{414, "the path is too long"};
  if (target.empty() || target.front() != '/' || !std::all_of(target.begin(), target.end(), visible))
    return Bad{400, "malformed path"};
  const auto mark = target.find('?');
  head.path = target.substr(0, mark);
  if (mark != std::string_view::npos) head.query = target.substr(mark + 1);
  return {};
}

Outcome content_length(std::string_view value, HttpHead& head) {
  std::uint64_t size = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), size);
  if (error == std::errc::result_out_of_range) return Bad{413, "the request is too large"};
  if (error != std::errc() || end != value.data() + value.size() || value.empty() || head.content_length)
    return Bad{400, "malformed Content-Length"};
  head.content_length = size;
  return {};
}

/// The value of an attribute as of `multipart/related; boundary="x"`; empty unless it is a good boundary
/// (RFC 2046, without space).
std::string attribute(std::string_view value, std::string_view name) {
  const std::string all = lower(value);
  for (auto at = all.find(';'); at != std::string::npos; at = all.find(';', at + 1)) {
    std::string_view rest = trim(value.substr(at + 1));
    if (lower(rest.substr(0, name.size() + 1)) != std::string(name) + "=") continue;
    rest.remove_prefix(name.size() + 1);
    if (rest.starts_with('"')) {
      rest = rest.substr(1, rest.find('"', 1) - 1);
    } else {
      rest = trim(rest.substr(0, rest.find(';')));
    }
    const bool good =
        rest.size() <= 70 && std::all_of(rest.begin(), rest.end(), [](unsigned char c) {
          return std::isalnum(c) != 0 ||
                 std::string_view("'()+_,-./:=?").find(static_cast<char>(c)) != std::string_view::npos;
        });
    return good ? std::string(rest) : std::string();
  }
  return {};
}

Outcome content_type(std::string_view value, HttpHead& head) {
  const std::string kind(trim(lower(value.substr(0, value.find(';')))));
  head.multipart = kind == "multipart/related";
  if (kind != "text/xml" && !head.multipart)
    return Bad{415, "send SOAP 1.1 as text/xml or multipart/related (MTOM)"};
  if (head.multipart) {
    // The first part is the envelope: another one named by "start" would not be guarded.
    const auto boundary = attribute(value, "boundary");
    if (boundary.empty()) return Bad{400, "multipart without a boundary"};
    head.content_type = "multipart/related; boundary=\"" + boundary + "\"; type=\"application/xop+xml\"";
  } else {
    head.content_type = "text/xml; charset=utf-8";
  }
  return {};
}

Outcome header_line(std::string_view line, HttpHead& head) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return Bad{400, "malformed header line"};
  const std::string_view raw = line.substr(0, colon);
  if (!std::all_of(raw.begin(), raw.end(), token_character)) return Bad{400, "malformed header name"};
  const std::string name = lower(raw);
  const std::string_view value = trim(line.substr(colon + 1));
  if (name == "content-length") return content_length(value, head);
  if (name == "transfer-encoding") {
    if (lower(value) != "chunked" || head.chunked)
      return Bad{501, "only chunked transfer encoding is offered"};
    head.chunked = true;
  } else if (name == "content-encoding" && lower(value) != "identity") {
    return Bad{415, "compressed requests are not offered"};
  } else if (name == "content-type") {
    return content_type(value, head);
  } else if (name == "connection") {
    const std::string wish = lower(value);
    if (wish.find("close") != std::string::npos) head.keep_alive = false;
  } else if (name == "expect") {
    if (lower(value) != "100-continue") return Bad{417, "unknown expectation"};
    head.expects_continue = true;
  } else if (name == "authorization") {
    if (lower(value.substr(0, 7)) != "bearer " || head.has_bearer)
      return Bad{401, "only one bearer token is accepted"};
    head.bearer = trim(value.substr(7));
    head.has_bearer = true;
  } else if (name == "host") {
    const bool good =
        value.size() < 256 && std::all_of(value.begin(), value.end(), [](unsigned char c) {
          return std::isalnum(c) != 0 || c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
        });
    if (good) head.host = value;
  } else if (name == "soapaction") {
    if (value.size() < 256) head.action = value;
  }
  return {};
}

Outcome parse_lines(std::string_view text, std::size_t most, HttpHead& head) {
  std::size_t count = 0;
  while (!text.empty()) {
    const auto end = text.find("\r\n");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (std::any_of(line.begin(), line.end(),
                    [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7F; }))
      return Bad{400, "control character in the header"};
    if (count == 0) {
      if (auto bad = request_line(line, head)) return bad;
    } else if (!line.empty()) {
      if (count > most) return Bad{431, "too many header lines"};
      if (auto bad = header_line(line, head)) return bad;
    }
    ++count;
  }
  if (head.chunked && head.content_length) return Bad{400, "both Content-Length and chunked"};
  if (head.method == "POST") {
    if (!head.chunked && !head.content_length) return Bad{411, "a length is needed"};
    if (head.content_type.empty()) return Bad{415, "send SOAP 1.1 as text/xml or multipart/related (MTOM)"};
  } else if (head.chunked || head.content_length.value_or(0) != 0) {
    return Bad{400, "GET has no body"};
  }
  return {};
}

}  // namespace

HttpParse parse_http_head(std::string_view bytes, std::size_t largest, std::size_t most) {
  HttpParse parse;
  const auto end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos ? bytes.size() > largest : end + 4 > largest) {
    parse.kind = HttpParse::Kind::kBad;
    parse.status = 431;
    parse.reason = "the header is too large";
    return parse;
  }
  // Whatever speaks something else (a TLS greeting, say) is told so at once, not after a time-out.
  if (!bytes.empty() && (bytes[0] < 'A' || bytes[0] > 'Z')) {
    parse.kind = HttpParse::Kind::kBad;
    parse.status = 400;
    parse.reason = "HTTP is spoken here";
    return parse;
  }
  if (end == std::string_view::npos) return parse;
  parse.head.size = end + 4;
  if (auto bad = parse_lines(bytes.substr(0, end + 2), most, parse.head)) {
    parse.kind = HttpParse::Kind::kBad;
    parse.status = bad->status;
    parse.reason = std::move(bad->reason);
  } else {
    parse.kind = HttpParse::Kind::kDone;
  }
  return parse;
}

std::string plain_head(const HttpHead& head) {
  std::string text = "POST " + head.path + " HTTP/1.1\r\nContent-Type: " + head.content_type + "\r\n";
  text += head.chunked ? std::string("Transfer-Encoding: chunked\r\n")
                       : "Content-Length: " + std::to_string(head.content_length.value_or(0)) + "\r\n";
  if (!head.action.empty()) text += "SOAPAction: " + head.action + "\r\n";
  return text + "\r\n";
}

}  // namespace mvm::soap
