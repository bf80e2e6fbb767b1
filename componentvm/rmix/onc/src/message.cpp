#include "message.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <type_traits>

#include "mvm/base/assert.h"
#include "mvm/rmix/sockets.h"

namespace mvm::rmix::onc {
namespace {

constexpr std::uint32_t kCredentialsVersion = 1;
constexpr std::size_t kMostText = 400;
constexpr std::size_t kPiece = 256 << 10;
constexpr std::uint32_t kLast = 1U << 31U;
constexpr int kMostFragments = 10'000;

Error corrupt(const char* what) {
  return {ErrorCode::kCorrupt, std::string("not a ") + what + " of ONC RPC"};
}

/// The buffers that libtirpc reads authentication into; it allocates none then.
struct Opaque {
  std::array<char, MAX_AUTH_BYTES> bytes{};
  void lend(opaque_auth& to) { to.oa_base = bytes.data(); }
};

/// Fills `to` by its end; false where it does not come.
Result<bool> read_exactly(int socket, char* to, std::size_t size, Clock::Instant deadline) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::recv(socket, to + done, size - done, 0);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      return Error(ErrorCode::kUnavailable, "the connection ended");
    } else if (errno == EAGAIN && !sockets::wait_for(socket, POLLIN, deadline)) {
      return Error(ErrorCode::kTimeout, "nothing came in time");
    }
  }
  return true;
}

}  // namespace

// ---- credentials ------------------------------------------------------------------------------------------

Result<std::string> write_credentials(const Credentials& credentials) {
  const std::size_t size = 8 + size_of(credentials.service) + size_of(credentials.token) +
                           size_of(credentials.digest) + size_of(credentials.reference);
  if (size > MAX_AUTH_BYTES)
    return Error(ErrorCode::kInvalid, "the token and the service's name are too long for ONC RPC: " +
                                          std::to_string(size) + " bytes, expected at most 400");
  XdrWriter writer(size);
  writer.number(kCredentialsVersion);
  writer.number(credentials.deadline_ms);
  for (const std::string* text :
       {&credentials.service, &credentials.token, &credentials.digest, &credentials.reference})
    writer.bytes(*text);
  return writer.take().substr(4);
}

Result<Credentials> read_credentials(std::string_view bytes) {
  XdrReader reader(bytes);
  Credentials read;
  MVM_ASSIGN(const std::uint32_t version, reader.number());
  if (version != kCredentialsVersion) return corrupt("credential that is known here");
  MVM_ASSIGN(read.deadline_ms, reader.number());
  for (std::string* text : {&read.service, &read.token, &read.digest, &read.reference}) {
    MVM_ASSIGN(*text, reader.bytes(kMostText));
  }
  if (read.reference.size() > kMostReference) return corrupt("credential");
  return read;
}

// ---- heads ------------------------------------------------------------------------------------------------

std::size_t size_of(const CallHead& head) { return 40 + (head.credentials.size() + 3) / 4 * 4; }

void write(XdrWriter& writer, const CallHead& head) {
  rpc_msg message{};
  message.rm_xid = head.xid;
  message.rm_direction = CALL;
  call_body& call = message.rm_call;
  call.cb_rpcvers = RPC_MSG_VERSION;
  call.cb_prog = head.program;
  call.cb_vers = head.version;
  call.cb_proc = head.procedure;
  call.cb_cred.oa_flavor = static_cast<enum_t>(head.flavor);
  call.cb_cred.oa_base = const_cast<char*>(head.credentials.data());
  call.cb_cred.oa_length = static_cast<u_int>(head.credentials.size());
  call.cb_verf = {AUTH_NONE, nullptr, 0};
  MVM_ASSERT(xdr_callmsg(writer.get(), &message));
}

Result<CallHead> read_call(XdrReader& reader) {
  rpc_msg message{};
  Opaque credentials;
  Opaque verifier;
  credentials.lend(message.rm_call.cb_cred);
  verifier.lend(message.rm_call.cb_verf);
  if (!xdr_callmsg(reader.get(), &message)) return corrupt("call");
  const call_body& call = message.rm_call;
  if (call.cb_cred.oa_length > credentials.bytes.size()) return corrupt("call");
  return CallHead{.xid = message.rm_xid,
                  .program = static_cast<std::uint32_t>(call.cb_prog),
                  .version = static_cast<std::uint32_t>(call.cb_vers),
                  .procedure = static_cast<std::uint32_t>(call.cb_proc),
                  .flavor = static_cast<std::uint32_t>(call.cb_cred.oa_flavor),
                  .credentials = std::string(credentials.bytes.data(), call.cb_cred.oa_length)};
}

namespace {
bool_t nothing(XDR* /*xdr*/, void* /*results*/) { return TRUE; }
}  // namespace

void write(XdrWriter& writer, const ReplyHead& head) {
  rpc_msg message{};
  message.rm_xid = head.xid;
  message.rm_direction = REPLY;
  message.rm_reply.rp_stat = head.stat;
  if (head.stat == MSG_DENIED) {
    message.rm_reply.rp_rjct.rj_stat = AUTH_ERROR;
    message.rm_reply.rp_rjct.rj_why = head.refused;
  } else {
    accepted_reply& accepted = message.rm_reply.rp_acpt;
    accepted.ar_verf = {AUTH_NONE, nullptr, 0};
    accepted.ar_stat = head.accepted;
    if (head.accepted == PROG_MISMATCH) {
      accepted.ar_vers.low = head.low;
      accepted.ar_vers.high = head.high;
    } else {
      accepted.ar_results.where = nullptr;
      accepted.ar_results.proc = reinterpret_cast<xdrproc_t>(&nothing);
    }
  }
  MVM_ASSERT(xdr_replymsg(writer.get(), &message));
}

/// A number that came as an enumeration's, and that libtirpc does not check, if it is one of its values up to
/// `last`; else that one.
template <class Enum>
Enum value_of(const Enum& field, Enum last) {
  std::underlying_type_t<Enum> value{};
  std::memcpy(&value, &field, sizeof value);
  return value <= static_cast<std::underlying_type_t<Enum>>(last) ? static_cast<Enum>(value) : last;
}

Result<ReplyHead> read_reply(XdrReader& reader) {
  rpc_msg message{};
  Opaque verifier;
  // Before it is known which kind it is: the two share their bytes, and only an accepted one has a verifier.
  verifier.lend(message.rm_reply.rp_acpt.ar_verf);
  message.rm_reply.rp_acpt.ar_results.proc = reinterpret_cast<xdrproc_t>(&nothing);
  if (!xdr_replymsg(reader.get(), &message)) return corrupt("reply");
  ReplyHead head{.xid = message.rm_xid, .stat = message.rm_reply.rp_stat};
  if (head.stat == MSG_DENIED) {
    head.refused = message.rm_reply.rp_rjct.rj_stat == AUTH_ERROR
                       ? value_of(message.rm_reply.rp_rjct.rj_why, AUTH_FAILED)
                       : AUTH_FAILED;
    return head;
  }
  const accepted_reply& accepted = message.rm_reply.rp_acpt;
  head.accepted = value_of(accepted.ar_stat, SYSTEM_ERR);
  if (head.accepted == PROG_MISMATCH) {
    head.low = static_cast<std::uint32_t>(accepted.ar_vers.low);
    head.high = static_cast<std::uint32_t>(accepted.ar_vers.high);
  }
  return head;
}

// ---- records ----------------------------------------------------------------------------------------------

Result<std::string> read_record(int socket, Clock::Instant deadline, std::size_t most) {
  std::string record;
  for (int fragments = 0; fragments < kMostFragments; ++fragments) {
    std::array<unsigned char, 4> mark{};
    MVM_TRY(read_exactly(socket, reinterpret_cast<char*>(mark.data()), mark.size(), deadline));
    const std::uint32_t head = std::uint32_t{mark[0]} << 24 | std::uint32_t{mark[1]} << 16 |
                               std::uint32_t{mark[2]} << 8 | std::uint32_t{mark[3]};
    std::size_t left = head & ~kLast;
    if (left > most - record.size())
      return Error(ErrorCode::kCorrupt,
                   "a record of ONC RPC is larger than " + std::to_string(most) + " bytes");
    while (left > 0) {
      const std::size_t piece = std::min(left, kPiece);
      const std::size_t at = record.size();
      record.resize(at + piece);
      MVM_TRY(read_exactly(socket, record.data() + at, piece, deadline));
      left -= piece;
    }
    if ((head & kLast) != 0) return record;
  }
  return corrupt("record");
}

Status write_record(int socket, std::string_view record, Clock::Instant deadline) {
  while (!record.empty()) {
    const ssize_t done = ::send(socket, record.data(), record.size(), MSG_NOSIGNAL);
    if (done >= 0) {
      record.remove_prefix(static_cast<std::size_t>(done));
    } else if (errno != EAGAIN && errno != EINTR) {
      return Error(ErrorCode::kUnavailable, "the connection ended");
    } else if (errno == EAGAIN && !sockets::wait_for(socket, POLLOUT, deadline)) {
      return Error(ErrorCode::kTimeout, "the other end did not read in time");
    }
  }
  return ok();
}

}  // namespace mvm::rmix::onc
