#include "connection_end.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "http.h"
#include "listener.h"
#include "mvm/base/digest.h"
#include "mvm/rmix/lines.h"
#include "mvm/soap/tls.h"
#include "xml_values.h"

namespace mvm::rmix::soap {
namespace {

using std::chrono::steady_clock;

constexpr unsigned kWidth = 16;
constexpr std::chrono::hours kLong{24};

/// What a connection has besides its socket.
struct Line {
  Stream stream;
  std::unique_ptr<EnvelopeReader> reader;
};
using Lines = sockets::Lines<Line>;

class SoapConnection final : public Connection {
 public:
  SoapConnection(const sockets::Place& place, const ConnectOptions& options, mvm::soap::UniqueSslContext tls)
      : tls_(std::move(tls)),
        lines_(place),
        interface_(options.interface),
        host_(place.host),
        what_(options.service + " over SOAP"),
        path_("/" + options.service),
        reference_(random_hex(sizeof(std::uint64_t))) {
    head_ = "Host: " + place.text().substr(place.scheme.size() + 3) + "\r\n";
    if (!options.token.empty()) head_ += "Authorization: Bearer " + options.token + "\r\n";
  }

  /// Asks whether the service is there. A server that is not ours does not know the question, and is
  /// believed.
  Status open(Clock::Instant deadline) {
    HttpAnswer said;
    const std::string request = "GET " + path_ + "?" + kAsk + " HTTP/1.1\r\n" + head_ + "\r\n";
    const Outcome asked = exchange(request, deadline, [&](HttpAnswer answer, EnvelopeReader&) -> Outcome {
      said = std::move(answer);
      return Value();
    });
    if (const auto* failure = std::get_if<Failure>(&asked)) return failure->error;
    const std::string magic = kAnswer;
    if (said.status != 200 || !said.body.starts_with(magic)) return ok();
    std::string_view word = std::string_view(said.body).substr(magic.size());
    while (word.ends_with('\n')) word.remove_suffix(1);
    if (word == "ok " + digest(*interface_)) return ok();
    if (word == "not-found") return Error(ErrorCode::kNotFound, what_ + ": no such service there");
    if (word.starts_with("refused "))
      return Error(ErrorCode::kRefused, what_ + ": " + std::string(word.substr(8, 1000)));
    return Error(ErrorCode::kUnsupported, what_ + ": it has another interface than " + interface_->text());
  }

  std::uint64_t call(const Request& request, Done done) override {
    const std::uint64_t number = ++last_;
    done(run(request));
    return number;
  }
  bool blocking() const override { return true; }
  unsigned width() const override { return kWidth; }
  bool usable() const override { return usable_; }
  void shut() override {
    usable_ = false;
    lines_.shut();
  }

 private:
  std::string note(Clock::Instant deadline) const {
    std::int64_t left = 0;
    if (deadline != kNever)
      left = std::clamp<std::int64_t>(
          std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count(), 1, INT32_MAX);
    return "?c=" + reference_ + "." + std::to_string(left);
  }

  Outcome run(const Request& request) {
    const Method& method = interface_->methods[request.method];
    const auto too_large = [] {
      return failed(ErrorCode::kExhausted, "the arguments are too large", Fate::kNotRun);
    };
    if (weight(request.arguments) > kMostBytes) return too_large();
    const std::string envelope = call_envelope(*interface_, method, request.arguments);
    if (envelope.size() > kMostBytes) return too_large();
    const std::string text = "POST " + path_ + note(request.deadline) + " HTTP/1.1\r\n" + head_ +
                             "Content-Type: text/xml; charset=utf-8\r\nSOAPAction: \"" + method.name +
                             "\"\r\nContent-Length: " + std::to_string(envelope.size()) + "\r\n\r\n" +
                             envelope;
    return exchange(text, request.deadline, [&](HttpAnswer said, EnvelopeReader& reader) -> Outcome {
      if (method.one_way && said.status < 300) return Value();
      if (said.status == 404) return failed(ErrorCode::kNotFound, what_ + ": nothing there", Fate::kNotRun);
      if (said.status == 401 || said.status == 403)
        return failed(ErrorCode::kRefused, what_ + ": the server refuses this caller", Fate::kNotRun);
      const auto unreadable = [&](const Error& error) {
        return failed(ErrorCode::kCorrupt,
                      what_ + ": the answer of " + method.name + " (HTTP status " +
                          std::to_string(said.status) + ") cannot be read: " + error.message(),
                      said.status == 200 ? Fate::kRan : Fate::kUnknown);
      };
      const auto element = reader.open(said.body);
      if (!element) return unreadable(element.error());
      auto outcome = reader.outcome(method, *element);
      if (!outcome) return unreadable(outcome.error());
      return *std::move(outcome);
    });
  }

  /// Makes a fresh line ready.
  Status prepare(Lines::Held& held, Clock::Instant deadline) {
    mvm::soap::UniqueSsl ssl;
    if (tls_) {
      ssl = mvm::soap::make_session(tls_, held.socket.get(), mvm::soap::TlsEnd::kClient, host_);
      if (!ssl) return Error(ErrorCode::kExhausted, "no TLS");
    }
    Stream& stream = held.line.stream;
    stream.link = std::make_unique<mvm::soap::Connection>(held.socket.get(), std::move(ssl));
    held.line.reader = std::make_unique<EnvelopeReader>();
    if (!tls_) return ok();
    if (!stream.link->handshake_until(std::min(deadline, steady_clock::now() + kLong)))
      return Error(steady_clock::now() >= deadline ? ErrorCode::kTimeout : ErrorCode::kUnavailable,
                   "no TLS connection: the handshake failed");
    if (stream.link->is_server(host_)) return ok();
    return Error(ErrorCode::kRefused, "the certificate there is not that of " + host_);
  }

  template <class Read>
  Outcome exchange(const std::string& request, Clock::Instant deadline, Read read) {
    auto line = lines_.take(deadline);
    if (!line) {
      usable_ = usable_ && line.error().code() == ErrorCode::kTimeout;
      return Failure{std::move(line).error().wrap(what_), Fate::kNotRun};
    }
    const auto broken = [&](Error error, Fate fate) -> Outcome {
      line->line = Line();
      lines_.drop(*line);
      // Late is not broken: the next call has a line of its own.
      if (error.code() != ErrorCode::kTimeout) usable_ = false;
      return Failure{std::move(error).wrap(what_), fate};
    };
    if (line->fresh)
      if (Status ready = prepare(*line, deadline); !ready) return broken(ready.error(), Fate::kNotRun);
    Stream& stream = line->line.stream;
    const auto left = std::min<Clock::Instant::duration>(
        deadline == kNever ? Clock::Instant::duration(kLong) : deadline - steady_clock::now(), kLong);
    if (!stream.link->write(request, std::chrono::ceil<std::chrono::milliseconds>(left)))
      return broken(Error(steady_clock::now() >= deadline ? ErrorCode::kTimeout : ErrorCode::kUnavailable,
                          "the server did not take the call"),
                    Fate::kUnknown);
    auto said = read_answer(stream, deadline);
    if (!said) return broken(said.error(), Fate::kUnknown);
    const bool keep = said->keep_alive && stream.ahead.empty();
    Outcome outcome = read(*std::move(said), *line->line.reader);
    if (keep) {
      lines_.give(*std::move(line));
    } else {
      line->line = Line();
      lines_.drop(*line);
    }
    return outcome;
  }

  const mvm::soap::UniqueSslContext tls_;
  Lines lines_;
  const InterfacePtr interface_;
  const std::string host_;
  const std::string what_;
  const std::string path_;
  const std::string reference_;
  std::string head_;
  std::atomic<std::uint64_t> last_{0};
  std::atomic<bool> usable_{true};
};

}  // namespace

Result<std::unique_ptr<Connection>> connect(const ConnectOptions& options) {
  MVM_ASSIGN(const sockets::Place place, sockets::Place::read(options.endpoint));
  if (!std::all_of(options.token.begin(), options.token.end(), [](char c) { return c > ' ' && c <= '~'; }))
    return Error(ErrorCode::kInvalid, "a token for SOAP has printable characters only");
  mvm::soap::UniqueSslContext tls;
  if (place.scheme == "soap+https") {
    if (options.tls.authority.empty())
      return Error(ErrorCode::kInvalid, options.endpoint + " needs an authority that vouches for the server");
    MVM_ASSIGN(tls, mvm::soap::make_context(options.tls.authority, {options.tls.certificate, options.tls.key},
                                            mvm::soap::TlsEnd::kClient));
  }
  auto connection = std::make_unique<SoapConnection>(place, options, std::move(tls));
  MVM_TRY(connection->open(options.deadline));
  return std::unique_ptr<Connection>(std::move(connection));
}

}  // namespace mvm::rmix::soap
