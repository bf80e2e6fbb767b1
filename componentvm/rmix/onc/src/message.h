#pragma once
// Calls and replies of ONC RPC (RFC 5531) as they travel: records on a socket, and their heads.

#include <array>
#include <cstdint>
#include <string>

#include "mvm/base/clock.h"
#include "mvm/base/result.h"
#include "xdr_values.h"

namespace mvm::rmix::onc {

/// Who calls, and what: in the credentials of a flavour of our own. Stock clients send others, and are served
/// by program number alone. docs/formats/rmix-onc.md
struct Credentials {
  std::string service;
  std::string token;
  std::string digest;             ///< of the interface, 64 hexadecimal digits
  std::string reference;          ///< the caller's reference, whose calls keep their order
  std::uint32_t deadline_ms = 0;  ///< 0: none
};
inline constexpr std::uint32_t kFlavor = 0x4d564d31;  // "MVM1"
inline constexpr std::size_t kMostReference = 32;

/// Credentials have at most 400 bytes: kInvalid.
[[nodiscard]] Result<std::string> write_credentials(const Credentials& credentials);
[[nodiscard]] Result<Credentials> read_credentials(std::string_view bytes);

/// The head of a call.
struct CallHead {
  std::uint32_t xid = 0;
  std::uint32_t program = 0;
  std::uint32_t version = 0;
  std::uint32_t procedure = 0;
  std::uint32_t flavor = 0;  ///< of the credentials
  std::string credentials;
};
/// Bytes that it takes.
[[nodiscard]] std::size_t size_of(const CallHead& head);
void write(XdrWriter& writer, const CallHead& head);
[[nodiscard]] Result<CallHead> read_call(XdrReader& reader);

/// What a reply says before its results.
struct ReplyHead {
  std::uint32_t xid = 0;
  reply_stat stat = MSG_ACCEPTED;
  accept_stat accepted = SUCCESS;
  std::uint32_t low = 0, high = 0;  ///< of PROG_MISMATCH
  auth_stat refused = AUTH_OK;      ///< of MSG_DENIED
};
inline constexpr std::size_t kReplyHead = 32;  ///< bytes at most
void write(XdrWriter& writer, const ReplyHead& head);
[[nodiscard]] Result<ReplyHead> read_reply(XdrReader& reader);

/// A record: its marks taken off. Memory grows with what arrives. kUnavailable: the end, kTimeout, kCorrupt:
/// too large.
[[nodiscard]] Result<std::string> read_record(int socket, Clock::Instant deadline, std::size_t most);
[[nodiscard]] Status write_record(int socket, std::string_view record, Clock::Instant deadline);

}  // namespace mvm::rmix::onc
