#include "session.h"

#include <unistd.h>

#include <ostream>
#include <string_view>

#include "format.h"
#include "mvm/soap/identity.h"

namespace mvm::cli {
namespace {

std::vector<std::filesystem::path> usual_places(const Context& context) {
  std::vector<std::filesystem::path> places;
  const auto config = context.environment("XDG_CONFIG_HOME");
  const auto home = context.environment("HOME");
  if (config && !config->empty()) {
    places.push_back(std::filesystem::path(*config) / "mvm" / "token");
  } else if (home && !home->empty()) {
    places.push_back(std::filesystem::path(*home) / ".config" / "mvm" / "token");
  }
  places.emplace_back("/run/mvm/token");
  places.emplace_back("/var/lib/mvm/token");
  places.emplace_back("/var/lib/mvm/state/token");  // of packaging/all-in-one
  return places;
}

}  // namespace

Result<TokenFile> find_token(const Context& context, const std::string& asked) {
  TokenFile result;
  if (!asked.empty()) {
    MVM_ASSIGN(result.token, soap::read_token_file(asked));
    result.path = asked;
    return result;
  }
  for (const auto& place : usual_places(context)) {
    result.looked.push_back(place);
    // A place we may not look into is another user's: the next one may be ours.
    if (access(place.c_str(), R_OK) != 0) continue;
    MVM_ASSIGN(result.token, soap::read_token_file(place));
    result.path = place;
    return result;
  }
  return result;
}

bool Session::colours() const {
  const auto no_colour = context_.environment("NO_COLOR");
  const auto terminal = context_.environment("TERM");
  return context_.out_is_terminal && (!no_colour || no_colour->empty()) && terminal != "dumb";
}

Result<soap::BrokerApi> Session::api() {
  if (!connection_) {
    MVM_ASSIGN(TokenFile token, find_token(context_, globals_.token_file));
    MVM_ASSIGN(Connection connection,
               context_.connect({globals_.broker, token.token.secret, globals_.ca, globals_.timeout}));
    caller_ = token.token.caller;
    connection_.emplace(std::move(connection));
  }
  return connection_->api;
}

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return kBadInput;
    case ErrorCode::kNoPlacement:
      return kNotPlaceable;
    case ErrorCode::kAborted:
      return kAllAborted;
    case ErrorCode::kUnavailable:
      return kNoBroker;
    case ErrorCode::kRefused:
      return kRefusedByPolicy;
    default:
      return kOperationFailed;
  }
}

void print_error(Session& session, const Error& error) {
  std::ostream& err = session.err();
  // A file's faults carry their own positions, one a line.
  const bool compiler_like =
      error.code() == ErrorCode::kInvalid && error.message().find(": error: ") != std::string::npos;
  const std::string text = compiler_like ? error.message() : error.describe();
  std::string_view rest = text;
  bool first = true;
  while (first || !rest.empty()) {
    const std::size_t end = rest.find('\n');
    const std::string line = one_line(rest.substr(0, end));
    err << (compiler_like ? "" : first ? "mvm: error: " : "  ") << line << '\n';
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    first = false;
  }
  if (error.code() == ErrorCode::kUnavailable) {
    err << "  found no answer at " << session.globals().broker << "; expected a running mvmd there\n"
        << "try: mvm doctor\n";
  }
  for (const std::string& hint : session.hints()) err << "try: " << hint << '\n';
}

}  // namespace mvm::cli
