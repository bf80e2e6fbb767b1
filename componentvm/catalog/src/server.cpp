#include "mvm/catalog/server.h"

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "archive.h"
#include "mvm/base/log.h"
#include "peer.h"

namespace mvm::catalog {
namespace {

constexpr std::size_t kAtOnce = 8U << 20U;  // of what one server tells another in one message
constexpr int kMostRounds = 1000;
constexpr std::chrono::minutes kForgetEvery{1};

class LocalServer final : public Server {
 public:
  LocalServer(ServerOptions options, Clock& clock, Archive archive, State state)
      : options_(std::move(options)), clock_(clock), archive_(std::move(archive)), state_(std::move(state)) {}
  ~LocalServer() override;
  LocalServer(const LocalServer&) = delete;
  LocalServer& operator=(const LocalServer&) = delete;
  void start(const rmix::Providers& providers);

  Result<Answer> handle(const Request& request, bool peer) override;
  std::shared_ptr<rmix::Service> service() override;
  Status level() override;
  Versions versions() const override;

  // What each request asks for.
  Result<Answer> answer(const AssertRequest& request);
  Result<Answer> answer(const QueryRequest& request);
  Result<Answer> answer(const ResourcesRequest& request);
  Result<Answer> answer(const PartyRequest& request);
  Result<Answer> answer(const SyncRequest& request);
  Result<Answer> answer(const PushRequest& request);
  [[nodiscard]] const std::string& token() const { return options_.token; }

 private:
  [[nodiscard]] Status take(const std::vector<Delta>& deltas);
  [[nodiscard]] Status level_with(Peer& peer);
  void run();

  ServerOptions options_;
  Clock& clock_;
  mutable std::mutex mutex_;  // of what is known, and of the file
  Archive archive_;
  State state_;
  std::mutex peers_mutex_;
  std::unique_ptr<rmix::Client> client_;
  std::vector<Peer> peers_;
  std::mutex stop_mutex_;
  std::condition_variable stop_changed_;
  bool stopping_ = false;
  std::thread thread_;
};

/// Compared without telling how much of it was right.
bool same_token(std::string_view shown, std::string_view expected) {
  if (expected.empty() || shown.size() != expected.size()) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < shown.size(); ++i)
    difference |= static_cast<unsigned char>(shown[i] ^ expected[i]);
  return difference == 0;
}

class CatalogService final : public rmix::Service {
 public:
  explicit CatalogService(LocalServer& server) : server_(server) {}
  rmix::InterfacePtr interface() const override { return catalog::interface(); }
  rmix::Outcome call(const rmix::CallContext& context, std::uint32_t /*method*/,
                     std::vector<rmix::Value> arguments) override {
    const auto* bytes = arguments.empty() ? nullptr : arguments[0].get<rmix::Bytes>();
    if (bytes == nullptr) return rmix::failed(ErrorCode::kInvalid, "no request", rmix::Fate::kNotRun);
    const auto request = decode_request({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
    if (!request) return rmix::Failure{request.error(), rmix::Fate::kNotRun};
    const auto answer = server_.handle(*request, same_token(context.caller.token, server_.token()));
    if (!answer) return rmix::Failure{answer.error(), rmix::Fate::kRan};
    const std::string encoded = encode(*answer);
    rmix::Bytes result(encoded.size());
    std::memcpy(result.data(), encoded.data(), encoded.size());
    return rmix::Value::of<rmix::Bytes>(std::move(result));
  }

 private:
  LocalServer& server_;
};

LocalServer::~LocalServer() {
  {
    const std::lock_guard lock(stop_mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void LocalServer::start(const rmix::Providers& providers) {
  client_ = rmix::Client::create(providers,
                                 {.token = options_.token, .tls = options_.tls, .timeout = options_.timeout});
  for (const auto& peer : options_.peers) peers_.emplace_back(*client_, peer, options_.timeout);
  thread_ = std::thread([this] { run(); });
}

std::shared_ptr<rmix::Service> LocalServer::service() { return std::make_shared<CatalogService>(*this); }

Versions LocalServer::versions() const {
  const std::lock_guard lock(mutex_);
  return state_.versions();
}

Result<Answer> LocalServer::handle(const Request& request, bool peer) {
  const bool between_servers =
      std::holds_alternative<SyncRequest>(request) || std::holds_alternative<PushRequest>(request);
  if (between_servers && !peer)
    return Error(ErrorCode::kRefused,
                 "only servers of this catalog level with each other: the token is not theirs");
  return std::visit([this](const auto& one) { return answer(one); }, request);
}

Result<Answer> LocalServer::answer(const AssertRequest& request) {
  const Assertion& assertion = request.assertion;
  if (!options_.parties.empty() && !options_.parties.contains(assertion.party))
    return Error(ErrorCode::kRefused, party_text(assertion.party) + " may make no assertions here");
  const std::lock_guard lock(mutex_);
  MVM_TRY(state_.assert_(assertion, clock_.wall_ms()));
  MVM_TRY(archive_.write({Delta{.party = assertion.party,
                                .known = state_.known(assertion.party),
                                .words = {{.assertion = assertion}}}}));
  return Answer{};
}

Result<Answer> LocalServer::answer(const QueryRequest& request) {
  const std::lock_guard lock(mutex_);
  for (const auto& [party, seen] : request.seen)
    if (state_.known(party) < seen)
      return Error(ErrorCode::kUnavailable,
                   "this server knows less of " + party_text(party) + " than you have seen");
  Answer answer;
  answer.assertions = state_.query(request.uri, request.name, clock_.wall_ms());
  for (const auto& assertion : answer.assertions)
    answer.versions[assertion.party] = state_.known(assertion.party);
  return answer;
}

Result<Answer> LocalServer::answer(const ResourcesRequest& request) {
  const std::lock_guard lock(mutex_);
  Answer answer;
  answer.resources = state_.resources(request.beginning, request.after, request.limit, clock_.wall_ms());
  return answer;
}

Result<Answer> LocalServer::answer(const PartyRequest& request) {
  const std::lock_guard lock(mutex_);
  Answer answer;
  const PartyState* party = state_.party(request.party);
  std::uint64_t known = 0;
  if (party != nullptr) {
    known = party->known();
    // Those that wait are used, too.
    if (!party->early().empty()) known = std::max(known, party->early().rbegin()->first.first);
    if (const auto word = party->words().find({request.uri, request.name}); word != party->words().end())
      answer.assertions.push_back(word->second.assertion);
  }
  answer.versions[request.party] = known;
  return answer;
}

Result<Answer> LocalServer::answer(const SyncRequest& request) {
  const std::lock_guard lock(mutex_);
  Answer answer;
  answer.deltas = state_.lacking(request.versions, kAtOnce);
  answer.versions = state_.versions();
  return answer;
}

Result<Answer> LocalServer::answer(const PushRequest& request) {
  MVM_TRY(take(request.deltas));
  return Answer{};
}

/// Each delta stands for itself: one that is refused does not hold up the others.
Status LocalServer::take(const std::vector<Delta>& deltas) {
  const std::lock_guard lock(mutex_);
  std::vector<Delta> taken;
  Status first = ok();
  for (const auto& delta : deltas) {
    auto merged = state_.merge(delta);
    if (merged)
      taken.push_back(delta);
    else if (first)
      first = std::move(merged);
  }
  if (!taken.empty()) MVM_TRY(archive_.write(taken));
  return first;
}

Status LocalServer::level_with(Peer& peer) {
  Versions theirs;
  for (int round = 0; round < kMostRounds; ++round) {
    const Versions before = versions();
    MVM_ASSIGN(auto answer, peer.ask(SyncRequest{.versions = before}));
    theirs = std::move(answer.versions);
    MVM_TRY(take(answer.deltas));
    if (versions() == before) break;
  }
  for (int round = 0; round < kMostRounds; ++round) {
    std::vector<Delta> lacking;
    {
      const std::lock_guard lock(mutex_);
      lacking = state_.lacking(theirs, kAtOnce);
    }
    bool more = false;
    for (const auto& delta : lacking) {
      more = more || theirs[delta.party] < delta.known;
      theirs[delta.party] = std::max(theirs[delta.party], delta.known);
    }
    if (lacking.empty()) break;
    MVM_TRY(peer.ask(PushRequest{.deltas = std::move(lacking)}));
    if (!more) break;
  }
  return ok();
}

Status LocalServer::level() {
  const std::lock_guard lock(peers_mutex_);
  Status first = ok();
  for (auto& peer : peers_) {
    auto done = level_with(peer);
    if (!done && first) first = std::move(done).error().wrap("level with " + peer.address());
  }
  return first;
}

void LocalServer::run() {
  auto forgotten = std::chrono::steady_clock::now();
  std::unique_lock lock(stop_mutex_);
  while (!stop_changed_.wait_for(lock, options_.interval, [this] { return stopping_; })) {
    lock.unlock();
    if (const auto done = level(); !done) log::debug("catalog.apart", {{"reason", done.error().describe()}});
    if (std::chrono::steady_clock::now() - forgotten >= kForgetEvery) {
      forgotten = std::chrono::steady_clock::now();
      const std::lock_guard known_lock(mutex_);
      state_.forget(clock_.wall_ms());
      if (const auto done = archive_.forget(clock_.wall_ms()); !done)
        log::warning("catalog.unforgotten", {{"reason", done.error().message()}});
    }
    lock.lock();
  }
}

}  // namespace

Result<std::unique_ptr<Server>> Server::open(ServerOptions options, Clock& clock,
                                             const rmix::Providers& providers) {
  for (const auto& peer : options.peers) MVM_TRY(rmix::Address::read(peer));
  if (!options.peers.empty() && options.token.empty())
    return Error(ErrorCode::kInvalid,
                 "servers of a catalog that level with each other have a token in common");
  MVM_ASSIGN(auto archive, Archive::open(options.file));
  MVM_ASSIGN(auto state, archive.load());
  auto server =
      std::make_unique<LocalServer>(std::move(options), clock, std::move(archive), std::move(state));
  server->start(providers);
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace mvm::catalog
