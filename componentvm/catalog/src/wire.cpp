#include "mvm/catalog/wire.h"

#include "mvm/registry/packing.h"

namespace mvm::catalog {
namespace {

using registry::PackReader;
using registry::PackWriter;

constexpr std::uint64_t kFormat = 1;
constexpr std::size_t kMaxAssertions = 2 * kMaxPartyItems;
constexpr std::size_t kMaxResources = 10000;
constexpr std::uint64_t kMaxTime = std::uint64_t{1} << 53U;

void write(PackWriter& out, const Assertion& a) {
  out.bytes(a.uri).bytes(a.name).bytes(a.value).bytes(a.type).bytes(a.party).number(a.serial).number(
      a.sequence);
  out.number(static_cast<std::uint64_t>(a.date_ms))
      .number(a.ttl_ms)
      .number(static_cast<std::uint64_t>(a.expires_ms));
  out.flag(a.withdrawn).bytes(a.signature);
}

Assertion read_assertion(PackReader& in) {
  Assertion a;
  a.uri = in.bytes(kMaxUri);
  a.name = in.bytes(kMaxName);
  a.value = in.bytes(kMaxValue);
  a.type = in.bytes(kMaxType);
  a.party = in.bytes(kPartySize);
  a.serial = in.number();
  a.sequence = in.number();
  a.date_ms = static_cast<std::int64_t>(in.number(kMaxTime));
  a.ttl_ms = in.number();
  a.expires_ms = static_cast<std::int64_t>(in.number(kMaxTime));
  a.withdrawn = in.flag();
  a.signature = in.bytes(kSignatureSize);
  return a;
}

void write(PackWriter& out, const std::vector<Assertion>& assertions) {
  out.number(assertions.size());
  for (const auto& assertion : assertions) write(out, assertion);
}

std::vector<Assertion> read_assertions(PackReader& in) {
  std::vector<Assertion> assertions;
  for (std::size_t left = in.count(kMaxAssertions); left != 0 && in.good(); --left)
    assertions.push_back(read_assertion(in));
  return assertions;
}

void write(PackWriter& out, const Versions& versions) {
  out.number(versions.size());
  for (const auto& [party, known] : versions) out.bytes(party).number(known);
}

Versions read_versions(PackReader& in) {
  Versions versions;
  for (std::size_t left = in.count(kMaxParties); left != 0 && in.good(); --left) {
    std::string party = in.bytes(kPartySize);
    versions[std::move(party)] = in.number();
  }
  return versions;
}

void write(PackWriter& out, const std::vector<Delta>& deltas) {
  out.number(deltas.size());
  for (const auto& delta : deltas) {
    out.bytes(delta.party).number(delta.known).number(delta.words.size());
    for (const auto& word : delta.words) {
      write(out, word.assertion);
      out.number(static_cast<std::uint64_t>(word.keep_until_ms));
    }
  }
}

std::vector<Delta> read_deltas(PackReader& in) {
  std::vector<Delta> deltas;
  for (std::size_t left = in.count(kMaxParties); left != 0 && in.good(); --left) {
    Delta delta;
    delta.party = in.bytes(kPartySize);
    delta.known = in.number();
    for (std::size_t words = in.count(kMaxAssertions); words != 0 && in.good(); --words) {
      Word word{.assertion = read_assertion(in)};
      word.keep_until_ms = static_cast<std::int64_t>(in.number(kMaxTime));
      delta.words.push_back(std::move(word));
    }
    deltas.push_back(std::move(delta));
  }
  return deltas;
}

struct WriteRequest {
  PackWriter& out;
  void operator()(const AssertRequest& request) { write(out, request.assertion); }
  void operator()(const QueryRequest& request) {
    out.bytes(request.uri).bytes(request.name);
    write(out, request.seen);
  }
  void operator()(const ResourcesRequest& request) {
    out.bytes(request.beginning).bytes(request.after).number(request.limit);
  }
  void operator()(const PartyRequest& request) {
    out.bytes(request.party).bytes(request.uri).bytes(request.name);
  }
  void operator()(const SyncRequest& request) { write(out, request.versions); }
  void operator()(const PushRequest& request) { write(out, request.deltas); }
};

Request read_request(PackReader& in, std::uint64_t kind) {
  switch (kind) {
    case 0:
      return AssertRequest{.assertion = read_assertion(in)};
    case 1: {
      QueryRequest request;
      request.uri = in.bytes(kMaxUri);
      request.name = in.bytes(kMaxName);
      request.seen = read_versions(in);
      return request;
    }
    case 2: {
      ResourcesRequest request;
      request.beginning = in.bytes(kMaxUri);
      request.after = in.bytes(kMaxUri);
      request.limit = in.number(kMaxResources);
      return request;
    }
    case 3: {
      PartyRequest request;
      request.party = in.bytes(kPartySize);
      request.uri = in.bytes(kMaxUri);
      request.name = in.bytes(kMaxName);
      return request;
    }
    case 4:
      return SyncRequest{.versions = read_versions(in)};
    default:
      return PushRequest{.deltas = read_deltas(in)};
  }
}

}  // namespace

std::string encode(const Assertion& assertion) {
  PackWriter out;
  write(out, assertion);
  return out.take();
}

Result<Assertion> decode_assertion(std::string_view bytes) {
  PackReader in(bytes);
  Assertion assertion = read_assertion(in);
  MVM_TRY(in.end("an assertion"));
  return assertion;
}

std::string encode(const Request& request) {
  PackWriter out;
  out.number(kFormat).number(request.index());
  std::visit(WriteRequest{out}, request);
  return out.take();
}

std::string encode(const Answer& answer) {
  PackWriter out;
  out.number(kFormat);
  write(out, answer.assertions);
  out.number(answer.resources.size());
  for (const auto& resource : answer.resources) out.bytes(resource);
  write(out, answer.versions);
  write(out, answer.deltas);
  return out.take();
}

Result<Request> decode_request(std::string_view bytes) {
  PackReader in(bytes);
  if (in.number() != kFormat) in.fail();
  const std::uint64_t kind = in.number(std::variant_size_v<Request> - 1);
  Request request = read_request(in, kind);
  MVM_TRY(in.end("a request to a catalog"));
  return request;
}

Result<Answer> decode_answer(std::string_view bytes) {
  PackReader in(bytes);
  Answer answer;
  if (in.number() != kFormat) in.fail();
  answer.assertions = read_assertions(in);
  for (std::size_t left = in.count(kMaxResources); left != 0 && in.good(); --left)
    answer.resources.push_back(in.bytes(kMaxUri));
  answer.versions = read_versions(in);
  answer.deltas = read_deltas(in);
  MVM_TRY(in.end("an answer of a catalog"));
  return answer;
}

}  // namespace mvm::catalog
