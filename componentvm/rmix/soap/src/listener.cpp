#include "listener.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <future>

#include "http.h"
#include "mvm/base/log.h"
#include "mvm/rmix/callers.h"
#include "mvm/rmix/orders.h"
#include "mvm/rmix/soap.h"
#include "mvm/rmix/sockets.h"
#include "mvm/soap/tls.h"
#include "xml_values.h"

namespace mvm::rmix::soap {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kMostCallers = 512;
constexpr std::chrono::minutes kIdle{10};
constexpr std::chrono::seconds kWithin{30};
constexpr std::chrono::seconds kHandshake{10};
constexpr std::size_t kMostUnread = 16 << 20;  // of a request that was refused before it was read
constexpr std::chrono::seconds kUnread{2};
constexpr const char* kXml = "text/xml; charset=utf-8";
constexpr const char* kPlain = "text/plain; charset=utf-8";
constexpr std::size_t kMostReference = 32;

/// What the query of a call says: "c=REFERENCE.MILLISECONDS".
struct CallNote {
  std::string reference;
  std::uint32_t left_ms = 0;
};

CallNote read_note(std::string_view query) {
  CallNote note;
  const std::size_t dot = query.find('.');
  if (!query.starts_with("c=") || dot == std::string_view::npos || dot > kMostReference + 2) return note;
  note.reference = query.substr(2, dot - 2);
  std::from_chars(query.data() + dot + 1, query.data() + query.size(), note.left_ms);
  return note;
}

/// Serves one connection.
class Conversation {
 public:
  Conversation(Dispatcher& dispatcher, sockets::Orders<Order>& orders, Stream stream,
               const std::string& scheme, std::string address)
      : dispatcher_(dispatcher), orders_(orders), stream_(std::move(stream)) {
    caller_ = {.scheme = scheme, .address = std::move(address), .certificate = stream_.link->peer_name()};
  }

  void run() {
    for (bool keep = true; keep;) {
      int status = 0;
      const auto request = read_request(stream_, steady_clock::now() + kIdle, kWithin, status);
      if (!request && status == 0) return;
      std::string said;
      if (request) {
        keep = request->head.keep_alive;
        said = request->head.method == "GET" ? get(*request) : post(*request);
      } else {
        keep = false;
        said = answer(status, kPlain, request.error().message() + "\n", false);
      }
      if (!stream_.link->write(said, kWithin)) return;
      if (!request) stream_.link->end(kMostUnread, steady_clock::now() + kUnread);
    }
  }

 private:
  static std::string refused(const Error& error, bool keep) {
    return answer(500, kXml, failure_envelope({error, Fate::kNotRun}), keep);
  }

  std::string get(const HttpRequest& request) {
    const mvm::soap::HttpHead& head = request.head;
    const auto service = dispatcher_.find(head.path.substr(1));
    std::string query = head.query;
    std::transform(query.begin(), query.end(), query.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (query == kAsk) {
      std::string said = kAnswer;
      if (!service)
        said += "not-found";
      else if (Status admitted = dispatcher_.admit(**service, caller(head)); !admitted)
        said += "refused " + admitted.error().message();
      else
        said += "ok " + digest((*service)->interface());
      return answer(200, kPlain, said + "\n", head.keep_alive);
    }
    if (!service || query != "wsdl")
      return answer(404, kPlain, "nothing here; try /NAME?wsdl\n", head.keep_alive);
    const std::string scheme = stream_.link->encrypted() ? "https://" : "http://";
    return answer(200, kXml, soap_wsdl((*service)->interface(), scheme + head.host + head.path),
                  head.keep_alive);
  }

  std::string post(const HttpRequest& request) {
    const mvm::soap::HttpHead& head = request.head;
    const auto service = dispatcher_.find(head.path.substr(1));
    if (!service) return refused(service.error(), head.keep_alive);
    const Interface& interface = (*service)->interface();
    const auto element = reader_.open(request.body);
    if (!element) return refused(element.error(), head.keep_alive);
    const auto number = EnvelopeReader::method_of(interface, *element);
    if (!number) return refused(number.error(), head.keep_alive);
    const Method& method = interface.methods[*number];
    auto arguments = reader_.arguments(method);
    if (!arguments) return refused(arguments.error(), head.keep_alive);
    const CallNote note = read_note(head.query);
    const Outcome outcome = run(*service, *number, *std::move(arguments), caller(head), note);
    if (method.one_way && std::holds_alternative<Value>(outcome))
      return answer(202, kXml, "", head.keep_alive);
    std::string envelope = outcome_envelope(interface, method, outcome);
    if (envelope.size() > kMostBytes)
      envelope = failure_envelope({Error(ErrorCode::kExhausted, "the answer is too large"), Fate::kRan});
    return answer(std::holds_alternative<Value>(outcome) ? 200 : 500, kXml, envelope, head.keep_alive);
  }

  const Caller& caller(const mvm::soap::HttpHead& head) {
    caller_.token = head.bearer;
    return caller_;
  }

  Outcome run(const std::shared_ptr<Exported>& target, std::uint32_t method, std::vector<Value> arguments,
              const Caller& caller, const CallNote& note) {
    if (note.reference.empty()) {
      order_.reset();
      reference_.clear();
    } else if (note.reference != reference_) {
      reference_ = note.reference;
      order_ = orders_.of(reference_, [&] { return dispatcher_.make_order(); });
    }
    std::promise<Outcome> promise;
    auto outcome = promise.get_future();
    dispatcher_.dispatch(
        {.target = target,
         .method = method,
         .arguments = std::move(arguments),
         .caller = std::make_shared<const Caller>(caller),
         .deadline =
             note.left_ms > 0 ? steady_clock::now() + std::chrono::milliseconds(note.left_ms) : kNever,
         .order = order_},
        [&promise](Outcome how) { promise.set_value(std::move(how)); });
    return outcome.get();
  }

  Dispatcher& dispatcher_;
  sockets::Orders<Order>& orders_;
  Stream stream_;
  Caller caller_;
  EnvelopeReader reader_;
  std::string reference_;
  std::shared_ptr<Order> order_;
};

class SoapListener final : public Listener {
 public:
  SoapListener(sockets::Place place, UniqueFd socket, mvm::soap::UniqueSslContext tls, Dispatcher& dispatcher)
      : place_(std::move(place)),
        tls_(std::move(tls)),
        callers_(std::move(socket), kMostCallers,
                 [this, &dispatcher](int caller) { serve(caller, dispatcher); }) {}
  std::string endpoint() const override { return place_.text(); }

 private:
  void serve(int caller, Dispatcher& dispatcher) {
    mvm::soap::UniqueSsl ssl;
    if (tls_) {
      ssl = mvm::soap::make_session(tls_, caller, mvm::soap::TlsEnd::kServer);
      if (!ssl) return;
    }
    Stream stream{std::make_unique<mvm::soap::Connection>(caller, std::move(ssl)), {}};
    if (tls_ && !stream.link->handshake_until(steady_clock::now() + kHandshake)) return;
    Conversation(dispatcher, orders_, std::move(stream), place_.scheme, sockets::peer_address(caller)).run();
  }

  const sockets::Place place_;
  const mvm::soap::UniqueSslContext tls_;
  sockets::Orders<Order> orders_;
  sockets::Callers callers_;  // last: its threads use the others
};

}  // namespace

Result<std::unique_ptr<Listener>> listen(const ListenOptions& options, Dispatcher& dispatcher) {
  MVM_ASSIGN(sockets::Place place, sockets::Place::read(options.endpoint));
  mvm::soap::UniqueSslContext tls;
  if (place.scheme == "soap+https") {
    if (options.tls.certificate.empty())
      return Error(ErrorCode::kInvalid, options.endpoint + " needs a certificate, its key and an authority");
    MVM_ASSIGN(tls, mvm::soap::make_context(options.tls.authority, {options.tls.certificate, options.tls.key},
                                            mvm::soap::TlsEnd::kServer));
  }
  MVM_ASSIGN(UniqueFd socket, sockets::listen_at(place));
  return std::unique_ptr<Listener>(
      new SoapListener(std::move(place), std::move(socket), std::move(tls), dispatcher));
}

}  // namespace mvm::rmix::soap
