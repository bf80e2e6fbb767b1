#pragma once
// The header of an HTTP request, parsed strictly before gSOAP sees anything of it. The functions hold no
// state: any thread may call them.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mvm::soap {

/// What matters of a request's header.
struct HttpHead {
  std::size_t size = 0;  ///< bytes, with the empty line
  std::string method;    ///< "GET" or "POST"
  std::string path;      ///< without the query
  std::string query;
  std::string host;  ///< of the Host line; empty where it is none that could be repeated
  std::string content_type;
  std::string action;  ///< SOAPAction
  std::string bearer;  ///< token
  bool has_bearer = false;
  bool keep_alive = true;
  bool expects_continue = false;
  bool chunked = false;
  bool multipart = false;
  std::optional<std::uint64_t> content_length;
};

/// How parsing went.
struct HttpParse {
  enum class Kind { kMore, kDone, kBad } kind = Kind::kMore;
  HttpHead head;
  int status = 0;      ///< kBad: HTTP status to answer
  std::string reason;  ///< kBad: words for it
};

/// Parses the start of `bytes`. kMore where the header's end is not there yet; kBad where it is malformed,
/// longer than `largest`, has more than `most` lines, or asks for what is not offered: other methods than GET
/// and POST, compressed bodies, other content than SOAP 1.1 over text/xml or MTOM.
[[nodiscard]] HttpParse parse_http_head(std::string_view bytes, std::size_t largest, std::size_t most);

/// A header for gSOAP with what it needs and nothing else of the client's.
[[nodiscard]] std::string plain_head(const HttpHead& head);

}  // namespace mvm::soap
