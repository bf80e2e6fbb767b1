#pragma once
// One run of one verb: its global flags, the connection it may need, what to try next.

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "listing.h"
#include "mvm/cli/context.h"
#include "mvm/cli/run.h"
#include "mvm/soap/identity.h"

namespace mvm::cli {

/// Flags of every verb.
struct Globals {
  std::string broker = "http://127.0.0.1:7780/";
  std::string token_file;  ///< empty: the usual places
  std::string ca;
  std::chrono::milliseconds timeout{30'000};
  bool timeout_given = false;
  Format format = Format::kTable;
};

/// Where a token was found.
struct TokenFile {
  std::filesystem::path path;  ///< empty: in none of the usual places
  soap::Token token;
  std::vector<std::filesystem::path> looked;
};

/// Reads the token: the file asked for, else $XDG_CONFIG_HOME/mvm/token, /run/mvm/token,
/// /var/lib/mvm/token, /var/lib/mvm/state/token. kRefused where others can read the file; kNotFound where the
/// file asked for is missing.
[[nodiscard]] Result<TokenFile> find_token(const Context& context, const std::string& asked);

class Session {
 public:
  Session(Context& context, Globals globals) : context_(context), globals_(std::move(globals)) {}

  [[nodiscard]] Context& context() { return context_; }
  [[nodiscard]] const Globals& globals() const { return globals_; }
  [[nodiscard]] std::ostream& out() { return context_.out; }
  [[nodiscard]] std::ostream& err() { return context_.err; }
  [[nodiscard]] Format format() const { return globals_.format; }
  [[nodiscard]] bool as_table() const { return globals_.format == Format::kTable; }
  /// Colours on standard output: a terminal, and NO_COLOR is not set.
  [[nodiscard]] bool colours() const;

  /// The broker's services; connects at the first call.
  [[nodiscard]] Result<soap::BrokerApi> api();
  /// Whom to name in each call.
  [[nodiscard]] const soap::Caller& caller() const { return caller_; }

  /// A command to try next, shown after an error or on standard error at the end.
  void hint(std::string command) { hints_.push_back(std::move(command)); }
  [[nodiscard]] const std::vector<std::string>& hints() const { return hints_; }

  void print(const Listing& listing) { listing.print(out(), format(), colours()); }
  void print(const Record& record) { record.print(out(), format(), colours()); }

 private:
  Context& context_;
  Globals globals_;
  std::optional<Connection> connection_;
  soap::Caller caller_;  ///< the token, not this, decides who we are
  std::vector<std::string> hints_;
};

/// The exit code of an error's kind.
[[nodiscard]] int exit_code_of(ErrorCode code);

/// Writes "mvm: error: ..." (a file's faults one a line, as a compiler does) and the hints.
void print_error(Session& session, const Error& error);

/// Calls again while the broker is not reachable, with growing pauses, until `patience` has passed or Ctrl-C.
/// For calls that may be repeated.
template <class Call>
auto patiently(Session& session, std::chrono::milliseconds patience, Call call) -> decltype(call());

}  // namespace mvm::cli

#include "session_retry.h"
