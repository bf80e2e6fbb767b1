#include "mvm/soap/join.h"

#include <algorithm>

#include "fields.h"
#include "mvm/base/digest.h"
#include "mvm/soap/certificate.h"
#include "soapBrokerProxy.h"
#include "wire_client.h"

namespace mvm::soap {
namespace {

constexpr std::string_view kMark = "mvm1-";
constexpr std::size_t kSecretDigits = 32;
constexpr std::size_t kAuthorityDigits = 64;

}  // namespace

std::string to_text(const JoinToken& token) {
  return std::string(kMark) + token.secret + "-" + token.authority;
}

Result<JoinToken> parse_join_token(const std::string& text) {
  const std::size_t dash = kMark.size() + kSecretDigits;
  JoinToken token;
  if (text.size() == dash + 1 + kAuthorityDigits && text.starts_with(kMark) && text[dash] == '-')
    token = {.secret = text.substr(kMark.size(), kSecretDigits), .authority = text.substr(dash + 1)};
  const auto hexadecimal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!is_sha256(token.authority) || !std::all_of(token.secret.begin(), token.secret.end(), hexadecimal))
    return Error(ErrorCode::kInvalid, "this is no join token; make one with: mvm host invite");
  return token;
}

Result<JoinedHost> join_broker(const JoinOptions& options) {
  MVM_ASSIGN(const std::string request, make_certificate_request(options.key, options.name));
  MVM_ASSIGN(const auto wire, WireClient::create({.url = options.broker,
                                                  .authority = options.token.authority,
                                                  .peer = std::string(kBrokerName),
                                                  .timeout = options.timeout}));
  JoinedHost joined;
  MVM_TRY(
      wire->call("/broker", std::chrono::milliseconds(0), [&](struct soap* context, const char* endpoint) {
        BrokerProxy proxy(context);
        proxy.soap_endpoint = endpoint;
        b__joinHostResponse response{};
        const int code =
            proxy.joinHost(options.token.secret, options.name, options.address, request, response);
        if (code == SOAP_OK)
          joined = {.certificate = response.certificate,
                    .authority = response.authority,
                    .broker = response.broker};
        return code;
      }));
  MVM_ASSIGN(const std::string authority, fingerprint_of(joined.authority));
  if (authority != options.token.authority)
    return Error(ErrorCode::kRefused, "the broker answered with another authority than its own");
  return joined;
}

}  // namespace mvm::soap
