// Hosts come, rest and go.

#include <algorithm>

#include "api.h"
#include "hosts.h"
#include "labs.h"
#include "mvm/base/digest.h"
#include "mvm/base/host_port.h"
#include "mvm/base/log.h"
#include "mvm/soap/certificate.h"
#include "mvm/soap/join.h"
#include "records.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kSecretBytes = 16;
constexpr std::size_t kMostInvites = 1000;
constexpr std::chrono::seconds kShortest{10};
constexpr std::chrono::hours kLongest{24 * 30};

Status check_admin(const soap::Caller& caller) {
  if (caller.role == "admin" && caller.lab.empty()) return ok();
  return Error(ErrorCode::kRefused, "only an administrator may do this");
}

Status check_name(const std::string& name) {
  const bool plain = !name.empty() && name.size() <= 58 && name.front() != '-' &&
                     std::all_of(name.begin(), name.end(), [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
                     });
  if (plain && name != soap::kBrokerName) return ok();
  return Error(ErrorCode::kInvalid,
               "found host name \"" + name + "\", expected 1 to 58 of a-z, 0-9 and -, other than \"broker\"");
}

/// The address without its port; kInvalid where it is not ADDRESS:PORT.
Result<std::string> machine_of(const std::string& address) {
  const auto place = read_host_port(address);
  if (place && place->port != 0 && address.size() <= 255) return place->host;
  return Error(ErrorCode::kInvalid, "found \"" + address + "\", expected ADDRESS:PORT");
}

Status check_gate(const HostGate& gate) {
  if (gate.authority != nullptr && !gate.url.empty()) return ok();
  return Error(ErrorCode::kUnsupported,
               "this broker does not listen for other machines: start mvmd with --listen-tls ADDRESS:PORT");
}

std::string invite_key(const std::string& secret) { return "invites/" + sha256_hex(secret); }

}  // namespace

Result<soap::HostInvite> HostsService::invite(const soap::Caller& caller, const std::string& name,
                                              std::chrono::seconds valid) {
  MVM_TRY(check_admin(caller));
  MVM_TRY(check_gate(core_.config.gate));
  if (!name.empty()) MVM_TRY(check_name(name));
  if (valid < kShortest || valid > kLongest)
    return Error(ErrorCode::kInvalid, "a join token is valid for 10 seconds to 30 days");
  MVM_ASSIGN(const auto authority, soap::fingerprint_of(core_.config.gate.authority->certificate()));
  return core_.ask([&]() -> Result<soap::HostInvite> {
    const auto now = core_.clock.wall_ms();
    MVM_ASSIGN(const auto old, core_.journal.list("invites/", {}, kMostInvites + 1));
    std::size_t open = 0;
    for (const auto& entry : old) {
      const auto invite = decode_invite(entry.value);
      if (!invite || invite->expires_ms < now)
        core_.journal.erase(entry.key);
      else
        ++open;
    }
    if (open >= kMostInvites) return Error(ErrorCode::kExhausted, "too many invitations are open");
    const soap::JoinToken token{.secret = random_hex(kSecretBytes), .authority = authority};
    const InviteRecord invite{
        .name = name, .key = {}, .expires_ms = now + std::chrono::milliseconds(valid).count()};
    core_.journal.put(invite_key(token.secret), encode(invite));
    return soap::HostInvite{
        .token = to_text(token), .broker = core_.config.gate.url, .expires_ms = invite.expires_ms};
  });
}

Result<soap::JoinedHost> HostsService::join(const soap::HostJoin& host) {
  MVM_TRY(check_gate(core_.config.gate));
  MVM_TRY(check_name(host.name));
  MVM_ASSIGN(const auto machine, machine_of(host.address));
  MVM_ASSIGN(const auto key, soap::key_of_request(host.request));
  const auto& authority = *core_.config.gate.authority;
  return core_.ask([&]() -> Result<soap::JoinedHost> {
    const auto stored = core_.journal.get(invite_key(host.secret));
    if (!stored) return Error(ErrorCode::kRefused, "this join token is not known here, or was long expired");
    MVM_ASSIGN(auto invite, decode_invite(*stored));
    if (invite.expires_ms < core_.clock.wall_ms())
      return Error(ErrorCode::kRefused, "this join token has expired; make another with: mvm host invite");
    if (!invite.name.empty() && invite.name != host.name)
      return Error(ErrorCode::kRefused, "this join token is for a host called " + invite.name);
    // Who asks again because the answer was lost has the same key.
    if (!invite.key.empty() && invite.key != key)
      return Error(ErrorCode::kRefused,
                   "this join token was used already; make another with: mvm host invite");
    MVM_TRY(core_.hosts->may_join(host.name, key));
    MVM_ASSIGN(auto certificate, authority.certify(host.request, host.name, {machine}));
    invite.key = key;
    core_.journal.group([&] {
      core_.journal.put(invite_key(host.secret), encode(invite));
      core_.hosts->join({.name = host.name, .url = "https://" + host.address, .key = key});
    });
    return soap::JoinedHost{.certificate = std::move(certificate),
                            .authority = authority.certificate(),
                            .broker = core_.config.name};
  });
}

Status HostsService::drain(const soap::Caller& caller, const std::string& host, bool drain) {
  MVM_TRY(check_admin(caller));
  return core_.ask([&]() -> Status { return core_.hosts->drain(host, drain); });
}

Status HostsService::remove_host(const soap::Caller& caller, const std::string& host, bool force) {
  MVM_TRY(check_admin(caller));
  return core_.ask([&]() -> Status { return core_.hosts->remove(host, force); });
}

}  // namespace mvm::broker
