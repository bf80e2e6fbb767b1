#include "http.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>

#include "mvm/base/number.h"
#include "mvm/rmix/provider.h"

namespace mvm::rmix::soap {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kPiece = 64 << 10;
constexpr std::chrono::hours kLong{24};

/// For what knows no "never".
Clock::Instant bounded(Clock::Instant deadline) { return std::min(deadline, steady_clock::now() + kLong); }

/// Reads some more; false at the end or the deadline.
bool more(Stream& stream, Clock::Instant deadline) {
  const std::size_t before = stream.ahead.size();
  stream.ahead.resize(before + kPiece);
  const std::size_t got = stream.link->read(stream.ahead.data() + before, kPiece, bounded(deadline));
  stream.ahead.resize(before + got);
  return got > 0;
}

Error ended(Clock::Instant deadline) {
  if (steady_clock::now() >= deadline) return {ErrorCode::kTimeout, "nothing came in time"};
  return {ErrorCode::kUnavailable, "the connection ended"};
}

/// Takes that many bytes off what comes.
Result<std::string> take(Stream& stream, std::size_t size, Clock::Instant deadline) {
  while (stream.ahead.size() < size)
    if (!more(stream, deadline)) return ended(deadline);
  std::string taken = stream.ahead.substr(0, size);
  stream.ahead.erase(0, size);
  return taken;
}

/// A line without its end; kCorrupt where it is longer than a header may be.
Result<std::string> take_line(Stream& stream, Clock::Instant deadline) {
  std::size_t end = 0;
  while ((end = stream.ahead.find('\n')) == std::string::npos) {
    if (stream.ahead.size() > kMostHead) return Error(ErrorCode::kCorrupt, "a header line is too long");
    if (!more(stream, deadline)) return ended(deadline);
  }
  std::string line = stream.ahead.substr(0, end);
  stream.ahead.erase(0, end + 1);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

Result<std::string> take_chunks(Stream& stream, Clock::Instant deadline) {
  std::string body;
  for (;;) {
    MVM_ASSIGN(std::string line, take_line(stream, deadline));
    line.resize(std::min(line.size(), line.find(';')));
    const auto size = whole_number<std::size_t>(line, 16);
    if (!size || *size > kMostBytes - body.size())
      return Error(ErrorCode::kCorrupt, "chunks of HTTP that are none, or too large");
    MVM_ASSIGN(const std::string piece, take(stream, *size, deadline));
    body += piece;
    MVM_ASSIGN(line, take_line(stream, deadline));
    if (*size == 0) {
      while (!line.empty()) {
        MVM_ASSIGN(line, take_line(stream, deadline));
      }
      return body;
    }
    if (!line.empty()) return Error(ErrorCode::kCorrupt, "chunks of HTTP that are none");
  }
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

Result<HttpRequest> read_request(Stream& stream, Clock::Instant idle, std::chrono::milliseconds within,
                                 int& status) {
  status = 0;
  while (stream.ahead.empty())
    if (!more(stream, idle)) return ended(idle);
  const auto deadline = steady_clock::now() + within;
  HttpRequest request;
  for (;;) {
    auto parsed = mvm::soap::parse_http_head(stream.ahead, kMostHead, kMostHeadLines);
    if (parsed.kind == mvm::soap::HttpParse::Kind::kBad) {
      status = parsed.status;
      return Error(ErrorCode::kInvalid, parsed.reason);
    }
    if (parsed.kind == mvm::soap::HttpParse::Kind::kDone) {
      request.head = std::move(parsed.head);
      break;
    }
    if (!more(stream, deadline)) return ended(deadline);
  }
  stream.ahead.erase(0, request.head.size);
  const std::uint64_t length = request.head.content_length.value_or(0);
  if (length > kMostBytes || request.head.multipart) {
    status = length > kMostBytes ? 413 : 415;
    return Error(ErrorCode::kInvalid, "the request is too large, or has attachments");
  }
  if (request.head.expects_continue && !stream.link->write("HTTP/1.1 100 Continue\r\n\r\n", within))
    return ended(deadline);
  auto body = request.head.chunked ? take_chunks(stream, deadline)
                                   : take(stream, static_cast<std::size_t>(length), deadline);
  if (!body) {
    if (body.error().code() == ErrorCode::kCorrupt) status = 400;
    return body.error();
  }
  request.body = *std::move(body);
  return request;
}

Result<HttpAnswer> read_answer(Stream& stream, Clock::Instant deadline) {
  HttpAnswer answer;
  for (;;) {
    MVM_ASSIGN(const std::string first, take_line(stream, deadline));
    const auto status = first.starts_with("HTTP/1.") && first.size() >= 12
                            ? whole_number<int>(std::string_view(first).substr(9, 3))
                            : std::nullopt;
    if (!status) return Error(ErrorCode::kCorrupt, "the server does not speak HTTP/1.1");
    answer.status = *status;
    answer.keep_alive = first[7] == '1';
    std::optional<std::size_t> length;
    bool chunked = false;
    for (std::size_t lines = 0;; ++lines) {
      MVM_ASSIGN(const std::string line, take_line(stream, deadline));
      if (line.empty()) break;
      if (lines > kMostHeadLines) return Error(ErrorCode::kCorrupt, "the answer has too many header lines");
      const std::size_t colon = line.find(':');
      const std::string name = lower(line.substr(0, colon));
      std::string value = colon == std::string::npos ? "" : line.substr(colon + 1);
      value.erase(0, value.find_first_not_of(" \t"));
      value.erase(value.find_last_not_of(" \t") + 1);
      if (name == "content-length") {
        length = whole_number<std::size_t>(value);
        if (!length || *length > kMostBytes) return Error(ErrorCode::kCorrupt, "the answer is too large");
      } else if (name == "transfer-encoding") {
        chunked = lower(value) == "chunked";
      } else if (name == "connection" && lower(value) == "close") {
        answer.keep_alive = false;
      }
    }
    if (answer.status == 100) continue;
    if (chunked) {
      MVM_ASSIGN(answer.body, take_chunks(stream, deadline));
    } else if (length) {
      MVM_ASSIGN(answer.body, take(stream, *length, deadline));
    } else if (answer.status != 202 && answer.status != 204) {  // up to the end of the connection
      answer.keep_alive = false;
      while (more(stream, deadline))
        if (stream.ahead.size() > kMostBytes) return Error(ErrorCode::kCorrupt, "the answer is too large");
      answer.body = std::move(stream.ahead);
    }
    return answer;
  }
}

std::string answer(int status, std::string_view type, std::string_view body, bool keep_alive) {
  const char* words = status == 200   ? "OK"
                      : status == 202 ? "Accepted"
                      : status < 500  ? "Bad Request"
                                      : "Internal Server Error";
  std::string text = "HTTP/1.1 " + std::to_string(status) + " " + words + "\r\nContent-Type: ";
  text.append(type).append("\r\nContent-Length: ").append(std::to_string(body.size()));
  text += keep_alive ? "\r\nConnection: keep-alive\r\n\r\n" : "\r\nConnection: close\r\n\r\n";
  return text.append(body);
}

}  // namespace mvm::rmix::soap
