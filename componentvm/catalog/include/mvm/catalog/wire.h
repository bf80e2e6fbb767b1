#pragma once
// What servers and clients of the catalog say to each other, as bytes. docs/formats/catalog.md.

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mvm/catalog/state.h"

namespace mvm::catalog {

/// A party's update.
struct AssertRequest {
  Assertion assertion;
};
/// What all parties say of a resource, or of one characteristic of it.
struct QueryRequest {
  std::string uri;
  std::string name;
  Versions seen;  ///< how far the client has seen parties: a server that knows less does not answer
};
/// Resources whose names begin so.
struct ResourcesRequest {
  std::string beginning;
  std::string after;
  std::uint64_t limit = 1000;
};
/// How far the server knows a party, and what the party last said about a characteristic.
struct PartyRequest {
  std::string party;
  std::string uri;
  std::string name;
};
/// Between servers: what the caller lacks, and what the called one lacks.
struct SyncRequest {
  Versions versions;
};
/// Between servers: what the called one lacked.
struct PushRequest {
  std::vector<Delta> deltas;
};
using Request =
    std::variant<AssertRequest, QueryRequest, ResourcesRequest, PartyRequest, SyncRequest, PushRequest>;

struct Answer {
  std::vector<Assertion> assertions;   ///< query, party
  std::vector<std::string> resources;  ///< resources
  Versions versions;                   ///< query: of the parties in the answer; party, sync: known here
  std::vector<Delta> deltas;           ///< sync
};

[[nodiscard]] std::string encode(const Request& request);
[[nodiscard]] std::string encode(const Answer& answer);
/// kCorrupt: broken, or beyond a limit. Signatures are not looked at.
[[nodiscard]] Result<Request> decode_request(std::string_view bytes);
[[nodiscard]] Result<Answer> decode_answer(std::string_view bytes);
[[nodiscard]] std::string encode(const Assertion& assertion);
[[nodiscard]] Result<Assertion> decode_assertion(std::string_view bytes);

}  // namespace mvm::catalog
