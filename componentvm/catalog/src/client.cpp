#include "mvm/catalog/client.h"

#include <algorithm>
#include <mutex>

#include "mvm/catalog/server.h"
#include "peer.h"

namespace mvm::catalog {
namespace {

constexpr int kMostTries = 5;

/// Whether another server may do better.
bool passing(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalid:
    case ErrorCode::kRefused:
    case ErrorCode::kConflict:
    case ErrorCode::kExhausted:
      return false;
    default:
      return true;
  }
}

class RemoteClient final : public Client {
 public:
  RemoteClient(ClientOptions options, Clock& clock, const rmix::Providers& providers)
      : options_(std::move(options)),
        clock_(clock),
        client_(
            rmix::Client::create(providers, {.token = {}, .tls = options_.tls, .timeout = options_.timeout})),
        sequence_(options_.sequence) {
    for (const auto& server : options_.servers) servers_.emplace_back(*client_, server, options_.timeout);
  }

  Result<Assertion> say(const Key& key, const Statement& statement) override;
  Result<std::vector<Assertion>> query(const std::string& uri, const std::string& name) override;
  Result<std::vector<std::string>> resources(const std::string& beginning, const std::string& after,
                                             std::size_t limit) override;

 private:
  [[nodiscard]] Result<Answer> ask_one(const Request& request);
  [[nodiscard]] Result<Assertion> draft(const Key& key, const Statement& statement);

  ClientOptions options_;
  Clock& clock_;
  std::mutex mutex_;
  std::unique_ptr<rmix::Client> client_;
  std::vector<Peer> servers_;
  Versions seen_;
  std::uint64_t sequence_;
};

Result<Answer> RemoteClient::ask_one(const Request& request) {
  std::string faults;
  for (auto& server : servers_) {
    auto answer = server.ask(request);
    if (answer || !passing(answer.error())) return answer;
    faults += (faults.empty() ? "" : "; ") + server.address() + ": " + answer.error().describe();
  }
  return Error(ErrorCode::kUnavailable, "no server of the catalog answers (" + faults + ")");
}

/// All servers are asked how far the key has got: one alone may be behind.
Result<Assertion> RemoteClient::draft(const Key& key, const Statement& statement) {
  Assertion assertion;
  std::uint64_t serial = 0;
  bool answered = false;
  std::string faults;
  for (auto& server : servers_) {
    const auto answer =
        server.ask(PartyRequest{.party = key.party(), .uri = statement.uri, .name = statement.name});
    if (!answer) {
      faults += (faults.empty() ? "" : "; ") + answer.error().describe();
      continue;
    }
    answered = true;
    for (const auto& [party, known] : answer->versions)
      if (party == key.party()) sequence_ = std::max(sequence_, known);
    for (const auto& word : answer->assertions) serial = std::max(serial, word.serial);
  }
  if (!answered) return Error(ErrorCode::kUnavailable, "no server of the catalog answers (" + faults + ")");
  assertion.uri = statement.uri;
  assertion.name = statement.name;
  assertion.value = statement.value;
  assertion.type = statement.type;
  assertion.serial = serial + 1;
  assertion.sequence = sequence_ + 1;
  assertion.date_ms = clock_.wall_ms();
  assertion.ttl_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(statement.ttl.count(), 0));
  assertion.expires_ms = assertion.date_ms + statement.life.count();
  assertion.withdrawn = statement.withdrawn;
  key.sign(assertion);
  return assertion;
}

Result<Assertion> RemoteClient::say(const Key& key, const Statement& statement) {
  const std::lock_guard lock(mutex_);
  for (int tries = 0;; ++tries) {
    MVM_ASSIGN(auto assertion, draft(key, statement));
    MVM_TRY(check(assertion));
    auto answer = ask_one(AssertRequest{.assertion = assertion});
    if (answer) {
      sequence_ = assertion.sequence;
      return assertion;
    }
    if (answer.error().code() != ErrorCode::kConflict || tries + 1 == kMostTries)
      return std::move(answer).error();
  }
}

Result<std::vector<Assertion>> RemoteClient::query(const std::string& uri, const std::string& name) {
  const std::lock_guard lock(mutex_);
  MVM_ASSIGN(auto answer, ask_one(QueryRequest{.uri = uri, .name = name, .seen = seen_}));
  // A server could invent what nobody has said.
  for (const auto& assertion : answer.assertions) {
    MVM_TRY(check(assertion));
    if (assertion.uri != uri) return Error(ErrorCode::kCorrupt, "the server answers about another resource");
  }
  for (const auto& [party, known] : answer.versions)
    if (seen_.size() < kMaxParties || seen_.contains(party)) seen_[party] = std::max(seen_[party], known);
  return std::move(answer.assertions);
}

Result<std::vector<std::string>> RemoteClient::resources(const std::string& beginning,
                                                         const std::string& after, std::size_t limit) {
  const std::lock_guard lock(mutex_);
  MVM_ASSIGN(auto answer, ask_one(ResourcesRequest{.beginning = beginning, .after = after, .limit = limit}));
  return std::move(answer.resources);
}

}  // namespace

Result<std::unique_ptr<Client>> Client::open(ClientOptions options, Clock& clock,
                                             const rmix::Providers& providers) {
  if (options.servers.empty()) return Error(ErrorCode::kInvalid, "a catalog has at least one server");
  for (const auto& server : options.servers) MVM_TRY(rmix::Address::read(server));
  return std::unique_ptr<Client>(std::make_unique<RemoteClient>(std::move(options), clock, providers));
}

}  // namespace mvm::catalog
