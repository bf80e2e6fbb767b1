#pragma once
// One request on its way through gSOAP, and what the services may use of it.

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "mvm/soap/connection.h"
#include "mvm/soap/http_head.h"
#include "mvm/soap/server.h"
#include "mvm/soap/xml_guard.h"
#include "soapH.h"
#include "spool.h"

namespace mvm::soap {

/// What a request takes up while it is answered: a worker, or a place among those that wait or transfer.
enum class Place { kWorker, kPoll, kTransfer };

/// The server, as seen by a request under way. Thread-safe.
class Places {
 public:
  virtual ~Places() = default;
  /// Leaves `from` for `to`; false where there is none free.
  virtual bool move(Place from, Place to) = 0;
  /// The server stops: answer soon.
  [[nodiscard]] virtual bool stopping() const = 0;
};

/// One POST from its header to its answer. Lives on the worker that serves it.
class Exchange {
 public:
  /// `in` holds what arrived after the header; `streaming`: more will be read from the connection.
  Exchange(const ServerOptions& options, const Services& services, Places& places, Connection& connection,
           const HttpHead& head, std::string_view in, bool streaming, Place place);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Runs the request through `context`, which is as make_context() made it.
  void run(struct soap* context);

  // ---- afterwards ----
  /// The answer, still to be written; empty where it was streamed.
  [[nodiscard]] std::string take_answer() { return std::move(out_); }
  /// Bytes of `in` that belonged to this request.
  [[nodiscard]] std::size_t consumed() const { return in_at_; }
  [[nodiscard]] bool keep_alive() const { return keep_; }
  [[nodiscard]] bool failed() const { return fault_.has_value(); }
  [[nodiscard]] Place place() const { return place_; }

  // ---- for the services ----
  [[nodiscard]] const Services& services() const { return services_; }
  /// Who calls, from the HTTP header or the SOAP header; kRefused without a good token.
  [[nodiscard]] Result<Caller> caller() const;
  /// The host on the other end, by its certificate.
  [[nodiscard]] const std::string& peer() const { return peer_; }
  /// Records why the operation failed; answers what the operation then returns to gSOAP.
  int fail(const Error& error);
  /// Before an operation that waits. kUnavailable (Busy) where too many do already.
  [[nodiscard]] Status begin_wait();
  /// False once waiting is pointless: the client is gone, or the server stops.
  [[nodiscard]] bool worth_waiting() const;
  /// Bytes of a request, attached or in line. The reader is valid until the request ends.
  [[nodiscard]] PieceReader attachment(xsd__base64Binary* data);
  /// Answers with an attachment that `source` produces, straight to the client, in constant memory:
  /// `<PREFIX:NAMEResponse><data>...`. Answers what the operation then returns to gSOAP.
  int stream_attachment(const char* space, const char* name,
                        const std::function<Status(const PieceWriter&)>& source);

  // ---- called back by gSOAP ----
  [[nodiscard]] std::size_t receive(char* to, std::size_t most);
  int send(const char* bytes, std::size_t size);
  void header_done() { in_body_ = true; }
  int scan(const char* bytes, std::size_t size);
  void* open_attachment(struct soap* context, enum soap_mime_encoding encoding);
  int write_attachment(const char* bytes, std::size_t size);

 private:
  [[nodiscard]] bool sound();
  int dispatch(struct soap* context);
  void settle(struct soap* context, int result);
  void write_fault(const Error& error);
  [[nodiscard]] Error reason(struct soap* context) const;
  [[nodiscard]] bool begin_stream(const char* space, const char* name);
  [[nodiscard]] bool chunk(std::string_view bytes);

  const ServerOptions& options_;
  const Services& services_;
  Places& places_;
  Connection& connection_;
  const HttpHead& head_;
  std::string_view in_;
  std::size_t in_at_ = 0;
  bool streaming_;
  Place place_;
  std::string peer_;
  std::string header_token_;  ///< from the SOAP header
  struct soap* context_ = nullptr;

  std::string plain_head_;
  std::size_t head_at_ = 0;
  std::uint64_t body_read_ = 0;
  Connection::Deadline deadline_;
  bool late_ = false;  ///< the client was too slow
  bool too_large_ = false;
  bool in_body_ = false;
  XmlGuard guard_;
  XmlGuard::Verdict verdict_ = XmlGuard::Verdict::kGood;

  std::optional<Spool> spool_;
  std::string inline_;  ///< bytes that came in line, while they are read
  std::optional<Error> fault_;
  std::string out_;
  bool busy_ = false;      ///< refused for want of a place
  bool answered_ = false;  ///< streamed already
  bool keep_ = false;
};

/// A gSOAP context whose input and output go through the Exchange that run() gives it.
[[nodiscard]] struct soap* make_context();
void free_context(struct soap* context);

/// A whole HTTP answer with a SOAP fault: for what is refused before gSOAP sees it.
[[nodiscard]] std::string fault_answer(int status, const Error& error, bool keep_alive);
/// A whole HTTP answer with a document.
[[nodiscard]] std::string document_answer(int status, const std::string& type, const std::string& body,
                                          bool keep_alive);

}  // namespace mvm::soap
