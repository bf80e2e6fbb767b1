#include "exchange.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>

#include "fault.h"
#include "mvm/base/log.h"
#include "services.h"

namespace mvm::soap {
namespace {

using std::chrono::steady_clock;

constexpr const char* kBoundary = "mvm-8c1f0c55e2b94d0f";

Exchange& exchange_of(struct soap* context) { return *static_cast<Exchange*>(context->user); }

// gSOAP's call-backs. It parses what receive() yields and leaves the answer in send().
std::size_t on_receive(struct soap* context, char* to, std::size_t most) {
  return exchange_of(context).receive(to, most);
}
int on_send(struct soap* context, const char* bytes, std::size_t size) {
  return exchange_of(context).send(bytes, size);
}
int on_nothing(struct soap* /*context*/) { return SOAP_OK; }
int on_no_socket(struct soap* /*context*/, SOAP_SOCKET /*fd*/) { return SOAP_OK; }
int on_scan(struct soap* context, const char* bytes, std::size_t size) {
  return exchange_of(context).scan(bytes, size);
}
void* on_attachment_open(struct soap* context, void* /*handle*/, const char* /*id*/, const char* /*type*/,
                         const char* /*description*/, enum soap_mime_encoding encoding) {
  return exchange_of(context).open_attachment(context, encoding);
}
int on_attachment_bytes(struct soap* context, void* /*handle*/, const char* bytes, std::size_t size) {
  return exchange_of(context).write_attachment(bytes, size);
}
void on_attachment_close(struct soap* /*context*/, void* /*handle*/) {}

int (*parse_http)(struct soap*) = nullptr;  // the same function for every context, taken from the first
std::once_flag parse_http_taken;

int on_parse(struct soap* context) {
  const int result = parse_http(context);
  exchange_of(context).header_done();
  return result;
}

std::string http_answer(int status, const std::string& type, std::size_t size, bool keep_alive) {
  const char* words = status == 200   ? "OK"
                      : status == 401 ? "Unauthorized"
                      : status == 404 ? "Not Found"
                      : status == 503 ? "Service Unavailable"
                      : status >= 500 ? "Internal Server Error"
                                      : "Bad Request";
  std::string head = "HTTP/1.1 " + std::to_string(status) + " " + words + "\r\nContent-Type: " + type +
                     "\r\nContent-Length: " + std::to_string(size) + "\r\n";
  if (status == 401) head += "WWW-Authenticate: Bearer\r\n";
  if (status == 503) head += "Retry-After: 1\r\n";
  return head + (keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
}

}  // namespace

struct soap* make_context() {
  struct soap* context = soap_new1(SOAP_C_UTFSTRING | SOAP_IO_KEEPALIVE | SOAP_XML_TREE);
  if (context == nullptr) return nullptr;
  soap_set_namespaces(context, namespaces);  // named here, or a linker leaves the table out
  std::call_once(parse_http_taken, [context] { parse_http = context->fparse; });
  context->fparse = on_parse;
  context->fpreparerecv = on_scan;
  context->frecv = on_receive;
  context->fsend = on_send;
  context->fclose = on_nothing;
  context->fclosesocket = on_no_socket;
  context->fpoll = on_nothing;
  context->fmimewriteopen = on_attachment_open;
  context->fmimewrite = on_attachment_bytes;
  context->fmimewriteclose = on_attachment_close;
  context->recv_maxlength = 0;  // receive() holds the limits
  context->maxlevel = 80;       // of what the guard lets through; its own bound is smaller
  context->maxoccurs = 100'000;
  context->cors_allow = nullptr;
  return context;
}

void free_context(struct soap* context) {
  soap_destroy(context);
  soap_end(context);
  soap_free(context);
}

std::string fault_answer(int status, const Error& error, bool keep_alive) {
  return document_answer(status, "text/xml; charset=utf-8", fault_envelope(error), keep_alive);
}

std::string document_answer(int status, const std::string& type, const std::string& body, bool keep_alive) {
  return http_answer(status, type, body.size(), keep_alive) + body;
}

Exchange::Exchange(const ServerOptions& options, const Services& services, Places& places,
                   Connection& connection, const HttpHead& head, std::string_view in, bool streaming,
                   Place place)
    : options_(options),
      services_(services),
      places_(places),
      connection_(connection),
      head_(head),
      in_(in),
      streaming_(streaming),
      place_(place),
      peer_(connection.peer_name()),
      plain_head_(plain_head(head)),
      deadline_(steady_clock::now() + options.limits.body_time) {
  if (head.multipart) guard_.skip_part_header();
}

Exchange::~Exchange() = default;

void Exchange::run(struct soap* context) {
  context_ = context;
  context->user = this;
  context->imode = context->omode = SOAP_C_UTFSTRING | SOAP_IO_KEEPALIVE | SOAP_XML_TREE;
  context->keep_alive = head_.keep_alive && !head_.chunked ? 1 : 0;
  context->bufidx = context->buflen = 0;
  context->ahead = 0;
  context->error = SOAP_OK;
  context->socket = connection_.fd();  // gSOAP speaks CGI without one; it never touches it itself
  keep_ = context->keep_alive != 0;
  int result = SOAP_OK;
  try {
    soap_begin(context);
    if (!streaming_ && !sound()) {
      context->error = result = SOAP_EOF;
    } else if (soap_begin_recv(context) || soap_envelope_begin_in(context) || soap_recv_header(context) ||
               soap_body_begin_in(context)) {
      result = context->error;
    } else {
      if (context->header != nullptr && context->header->t__token != nullptr)
        header_token_ = *context->header->t__token;
      context->header = nullptr;  // it would be sent back
      result = dispatch(context);
    }
  } catch (const std::exception& error) {
    log::error("soap.exception", {{"what", error.what()}});
    fault_ = Error(ErrorCode::kFailed, "the server failed on this request");
    result = SOAP_FAULT;
  }
  settle(context, result);
  context->socket = SOAP_INVALID_SOCKET;
  soap_destroy(context);
  soap_end(context);
  context->user = nullptr;
}

/// What is there as a whole is looked at as a whole, before the parser sees any of it.
bool Exchange::sound() {
  verdict_ = guard_.feed(in_.substr(0, static_cast<std::size_t>(head_.content_length.value_or(0))));
  return verdict_ == XmlGuard::Verdict::kGood && guard_.done();
}

int Exchange::dispatch(struct soap* context) {
  int result = SOAP_NO_METHOD;
  if (services_.broker != nullptr) {
    result = dispatch_broker(context, *this);
    for (const auto dispatch : {dispatch_store, dispatch_kernels, dispatch_registry, dispatch_dvm})
      if (result == SOAP_NO_METHOD) result = dispatch(context, *this);
  }
  if (result == SOAP_NO_METHOD && services_.node != nullptr) result = dispatch_node(context, *this);
  if (result == SOAP_NO_METHOD && services_.host != nullptr) result = dispatch_host(context, *this);
  return result;
}

void Exchange::settle(struct soap* context, int result) {
  if (answered_) return;
  if (result == SOAP_OK && !fault_) {
    // What of the body was not needed must not be taken for the next request.
    const auto length = head_.content_length.value_or(0);
    keep_ = keep_ && !head_.chunked && body_read_ == length;
    return;
  }
  const bool ours = fault_.has_value();  // an operation's own fault: the request itself was sound
  if (!fault_) fault_ = reason(context);
  keep_ = keep_ && ours && !head_.chunked && body_read_ == head_.content_length.value_or(0);
  write_fault(*fault_);
}

void Exchange::write_fault(const Error& error) { out_ = fault_answer(busy_ ? 503 : 500, error, keep_); }

Error Exchange::reason(struct soap* context) const {
  if (verdict_ != XmlGuard::Verdict::kGood) return Error(ErrorCode::kInvalid, to_string(verdict_));
  if (too_large_) return Error(ErrorCode::kExhausted, "the request is too large");
  if (late_) return Error(ErrorCode::kTimeout, "the request came too slowly");
  if (context->error == SOAP_NO_METHOD)
    return Error(ErrorCode::kUnsupported, "no such operation here: " + std::string(context->tag));
  if (context->error == SOAP_EOF || context->error == EOF)
    return Error(ErrorCode::kInvalid, "the request is cut short or not well formed");
  soap_set_fault(context);
  const char** words = soap_faultstring(context);
  return Error(ErrorCode::kInvalid, words != nullptr && *words != nullptr
                                        ? std::string("malformed request: ") + *words
                                        : std::string("malformed request"));
}

Result<Caller> Exchange::caller() const {
  if (services_.identity == nullptr) return Error(ErrorCode::kRefused, "no identity here");
  const std::string& secret = head_.has_bearer ? head_.bearer : header_token_;
  if (secret.empty())
    return Error(ErrorCode::kRefused, "a token is needed: send \"Authorization: Bearer TOKEN\"");
  return services_.identity->authenticate(secret);
}

int Exchange::fail(const Error& error) {
  fault_ = error;
  return SOAP_FAULT;
}

Status Exchange::begin_wait() {
  if (place_ == Place::kPoll) return ok();
  busy_ = !places_.move(place_, Place::kPoll);
  if (busy_) return Error(ErrorCode::kUnavailable, "busy: too many requests wait already; try again");
  place_ = Place::kPoll;
  return ok();
}

bool Exchange::worth_waiting() const { return !places_.stopping() && !connection_.hung_up(); }

// ---- input ---------------------------------------------------------------------------------------------

std::size_t Exchange::receive(char* to, std::size_t most) {
  if (head_at_ < plain_head_.size()) {
    const std::size_t size = std::min(most, plain_head_.size() - head_at_);
    std::memcpy(to, plain_head_.data() + head_at_, size);
    head_at_ += size;
    return size;
  }
  if (head_.content_length)
    most = static_cast<std::size_t>(std::min<std::uint64_t>(most, *head_.content_length - body_read_));
  if (most == 0) return 0;
  std::size_t got = 0;
  if (in_at_ < in_.size()) {
    got = std::min(most, in_.size() - in_at_);
    std::memcpy(to, in_.data() + in_at_, got);
    in_at_ += got;
  } else if (streaming_) {
    const auto now = steady_clock::now();
    // The envelope has one deadline; attachments, which may be huge, must only keep coming.
    const auto deadline = guard_.done() ? now + options_.limits.stall : deadline_;
    got = connection_.read(to, most, deadline);
    if (got == 0) late_ = steady_clock::now() >= deadline;
  }
  body_read_ += got;
  const ServerLimits& limits = options_.limits;
  const bool attachments = head_.multipart && guard_.done();
  if (body_read_ > limits.body_bytes + (attachments ? limits.blob_bytes : 0)) {
    too_large_ = true;
    return 0;
  }
  return got;
}

int Exchange::scan(const char* bytes, std::size_t size) {
  if (!streaming_ || !in_body_ || size == 0) return SOAP_OK;
  verdict_ = guard_.feed({bytes, size});
  return verdict_ == XmlGuard::Verdict::kGood ? SOAP_OK : SOAP_SYNTAX_ERROR;
}

void* Exchange::open_attachment(struct soap* context, enum soap_mime_encoding encoding) {
  // Who may not call may not make us store anything either.
  const auto known = caller();
  Status good = peer_.empty() && !known ? Status(known.error()) : ok();
  if (good && spool_) good = Error(ErrorCode::kInvalid, "one attachment is enough");
  if (good && (encoding == SOAP_MIME_BASE64 || encoding == SOAP_MIME_QUOTED_PRINTABLE))
    good = Error(ErrorCode::kInvalid, "attachments must be binary");
  if (good) {
    auto spool = Spool::open(options_.spool, options_.limits.blob_bytes);
    if (spool) {
      spool_.emplace(std::move(*spool));
    } else {
      good = spool.error();
    }
  }
  if (good) return &*spool_;
  context->error = fail(good.error());
  return nullptr;
}

int Exchange::write_attachment(const char* bytes, std::size_t size) {
  const Status stored = spool_->append({bytes, size});
  return stored ? SOAP_OK : fail(stored.error());
}

PieceReader Exchange::attachment(xsd__base64Binary* data) {
  if (data != nullptr && spool_ && reinterpret_cast<void*>(data->__ptr) == static_cast<void*>(&*spool_))
    return spool_->reader();
  auto left = std::make_shared<std::string_view>();
  if (data != nullptr && data->__ptr != nullptr && data->__size > 0)
    *left = {reinterpret_cast<const char*>(data->__ptr), static_cast<std::size_t>(data->__size)};
  return [left]() -> Result<std::string> {
    std::string piece(left->substr(0, 256 << 10));
    left->remove_prefix(piece.size());
    return piece;
  };
}

// ---- output --------------------------------------------------------------------------------------------

int Exchange::send(const char* bytes, std::size_t size) {
  out_.append(bytes, size);
  return SOAP_OK;
}

bool Exchange::begin_stream(const char* space, const char* name) {
  const std::string boundary = kBoundary;
  std::string head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/related; charset=utf-8; boundary=\"" +
                     boundary +
                     "\"; type=\"application/xop+xml\"; start=\"<envelope@mvm>\"; start-info=\"text/xml\"\r\n"
                     "Transfer-Encoding: chunked\r\nConnection: ";
  head += keep_ ? "keep-alive\r\n\r\n" : "close\r\n\r\n";
  const std::string element = "ns:" + std::string(name) + "Response";
  return connection_.write(head, options_.limits.stall) &&
         chunk("--" + boundary +
               "\r\nContent-Type: application/xop+xml; charset=utf-8; type=\"text/xml\"\r\n"
               "Content-Transfer-Encoding: binary\r\nContent-ID: <envelope@mvm>\r\n\r\n"
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
               "<SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:ns=\"" +
               space + "\"><SOAP-ENV:Body><" + element +
               "><ns:data><xop:Include xmlns:xop=\"http://www.w3.org/2004/08/xop/include\" "
               "href=\"cid:blob@mvm\"/></ns:data></" +
               element + "></SOAP-ENV:Body></SOAP-ENV:Envelope>\r\n--" + boundary +
               "\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n"
               "Content-ID: <blob@mvm>\r\n\r\n");
}

bool Exchange::chunk(std::string_view bytes) {
  if (bytes.empty()) return true;
  std::array<char, 20> size{};
  const int digits = std::snprintf(size.data(), size.size(), "%zx\r\n", bytes.size());
  return connection_.write({size.data(), static_cast<std::size_t>(digits)}, options_.limits.stall) &&
         connection_.write(bytes, options_.limits.stall) && connection_.write("\r\n", options_.limits.stall);
}

int Exchange::stream_attachment(const char* space, const char* name,
                                const std::function<Status(const PieceWriter&)>& source) {
  if (place_ != Place::kTransfer) {
    busy_ = !places_.move(place_, Place::kTransfer);
    if (busy_) return fail(Error(ErrorCode::kUnavailable, "busy: too many transfers already; try again"));
    place_ = Place::kTransfer;
  }
  // Nothing is written before the first piece is there: until then a plain fault can tell what is wrong.
  keep_ = keep_ && body_read_ == head_.content_length.value_or(0);
  const auto begin = [&]() -> Status {
    if (answered_) return ok();
    answered_ = true;
    if (!begin_stream(space, name)) return Error(ErrorCode::kUnavailable, "the client is gone");
    return ok();
  };
  const Status sent = source([&](std::string_view piece) -> Status {
    MVM_TRY(begin());
    if (!chunk(piece)) return Error(ErrorCode::kUnavailable, "the client is gone");
    return ok();
  });
  if (!sent && !answered_) return fail(sent.error());
  bool whole = sent && begin();
  whole = whole && chunk("\r\n--" + std::string(kBoundary) + "--\r\n") &&
          connection_.write("0\r\n\r\n", options_.limits.stall);
  keep_ = keep_ && whole;  // cut short, the stream lacks its end, and the client sees that
  return SOAP_STOP;
}

}  // namespace mvm::soap
