#pragma once
// Message queues under the connections of two proxies on one host: Carrier::kPosixMq and kBoostMq. The bytes
// of a connection pass two queues, one each way, cut into messages; its socket only introduces the ends and
// tells of a death. docs/formats/transports.md; docs/formats/link-protocol.md.

#include <string>

#include "mvm/base/result.h"
#include "mvm/queuevm/proxy.h"

namespace mvm::queuevm::mq {

/// Streams over pairs of POSIX message queues, as deep and wide as the system lets anybody have them.
/// Sockets must be UNIX ones between processes of one user. `secret`: the lab's; the queues' name is made of
/// it. The name is there for the moment between making a queue and removing its name. Tries it first:
/// kUnsupported where the system has none, kExhausted where its limits do not allow another pair.
[[nodiscard]] Result<StreamFactory> make_posix_streams(const std::string& secret);

/// The same over Boost.Interprocess message queues in shared memory. Their names are there until both ends
/// have opened them. A lock that is not had within a second is taken for one whose holder died: the
/// connection ends, and the next one has new queues. Removes first what an earlier process of the lab left;
/// kExhausted where shared memory does not hold another pair.
[[nodiscard]] Result<StreamFactory> make_boost_streams(const std::string& secret);

/// Removes the names that processes of the lab with this secret left, killed before they could. None of them
/// may run any more.
void sweep(const std::string& secret);

}  // namespace mvm::queuevm::mq
