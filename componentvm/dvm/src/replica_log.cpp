#include "replica_log.h"

#include <atomic>
#include <deque>
#include <set>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/host_port.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"
#include "mvm/base/number.h"
#include "mvm/dvm/wire.h"
#include "mvm/replica/replica.h"
#include "peers.h"

namespace mvm::dvm {
namespace {

using nlohmann::json;

/// The copies' links have another key than the kernels' connections.
std::string key_of(const std::string& secret, const std::string& vm) {
  return authenticate(secret, "mvm-dvm/1 log\n" + vm);
}

/// A copy's number and port are drawn once and kept in its folder, and that it founds the group until it has.
struct Self {
  replica::Member member;
  bool founds = false;
};

Result<Self> self_of(const ReplicaLog::Options& options) {
  const auto file = options.folder / "self";
  Self self{.member = {}, .founds = options.founds};
  if (auto text = read_file(file, 256)) {
    MVM_ASSIGN(const json known, parse_json(*text));
    self.member = {number_or(known, "id"), options.host + ":" + std::to_string(number_or(known, "port"))};
    self.founds = self.founds || flag_or(known, "founds");
  }
  if (self.member.id != 0) return self;
  const std::uint64_t drawn = whole_number<std::uint64_t>(random_hex(8), 16).value_or(0);
  self.member.id = (drawn >> 1U) | 1U;  // never 0, and a number of JSON everywhere
  self.member.address = options.host + ":0";
  return self;
}

Status keep(const ReplicaLog::Options& options, const Self& self) {
  const auto place = read_host_port(self.member.address);
  json known{{"id", self.member.id}, {"port", place ? place->port : 0}};
  if (self.founds) known["founds"] = true;
  return write_file_durably(options.folder / "self", text_of(known), 0600);
}

std::vector<replica::Member> members_from(const json& contacts) {
  std::vector<replica::Member> members;
  if (contacts.is_array())
    for (const json& one : contacts)
      if (members.size() < 64 && number_or(one, "id") != 0)
        members.push_back({number_or(one, "id"), text_or(one, "address")});
  return members;
}

class Copy final : public Log, private replica::StateMachine {
 public:
  Copy(ReplicaLog::Options options, Hooks hooks) : options_(std::move(options)), hooks_(std::move(hooks)) {
    record_.status.vm = options_.vm;
  }
  ~Copy() override {
    gone_->store(true);
    if (replica_) replica_->stop();
    replica_.reset();
  }

  Status open() {
    MVM_TRY(make_folders(options_.folder, 0700));
    MVM_ASSIGN(const Self self, self_of(options_));
    MVM_TRY(keep(options_, self));  // before there is a copy of that number
    id_ = self.member.id;
    Status opened = open_replica(self.member);
    // The others hear of another port, as of another life.
    if (!opened && opened.error().code() == ErrorCode::kUnavailable)
      opened = open_replica({id_, options_.host + ":0"});
    MVM_TRY(opened);
    self_ = replica_->self();
    if (self.founds) MVM_TRY(replica_->bootstrap({self_}));
    MVM_TRY(keep(options_, {.member = self_, .founds = false}));
    if (auto others = members_from(options_.contacts); !others.empty()) MVM_TRY(replica_->join(others));
    return ok();
  }

  void propose(std::string text) override {
    ++pending_;
    replica_->propose(std::move(text), [this](const Result<replica::Applied>& done) {
      --pending_;
      if (done) return release(done->index);
      log::info("dvm.not-added", {{"reason", done.error().describe()}});
    });
  }
  std::vector<Life> silent() const override {
    std::vector<Life> found;
    for (const replica::MemberState& one : replica_->members())
      if (!one.dead && !one.connected)
        found.push_back({one.member.id, one.life, one.member.address, one.displaced});
    return found;
  }
  void confirm_death(std::uint64_t copy, std::uint64_t life) override {
    if (dead_.insert({copy, life}).second) log::info("dvm.dead", {{"copy", copy}, {"life", life}});
    replica_->confirm_death({copy, life});
  }
  json contacts() const override {
    json list = json::array();
    for (const replica::MemberState& one : replica_->members())
      if (!one.dead && one.role != replica::Role::kOutside)
        list.push_back({{"id", one.member.id}, {"address", one.member.address}});
    if (list.empty()) list.push_back({{"id", self_.id}, {"address", self_.address}});
    return list;
  }
  std::uint64_t copy() const override { return replica_->info().active ? self_.id : 0; }
  std::uint64_t life() const override { return replica_->info().life; }
  void leave(std::function<void()> done) override {
    replica_->leave([this, done = std::move(done)](const Status&) { post(done); });
  }

 private:
  Status open_replica(const replica::Member& self) {
    replica::Options options{
        .group = "dvm." + options_.vm,
        .self = self,
        .folder = options_.folder / "copy",
        .secret = key_of(options_.secret, options_.vm),
        .beat = options_.beat,
        // Less than two: a copy that is cut off must not keep the others from hearing so.
        .patience = options_.beat * 3 / 2};
    options.limits.voters = options_.voters;
    MVM_ASSIGN(replica_,
               replica::Replica::open(
                   std::move(options), *this,
                   {.leader_changed = [this](const replica::Member& leader,
                                             std::uint64_t term) { on_leader(leader, term); },
                    .members_changed = [](const std::vector<replica::MemberState>&) {},
                    .ended = [this](const Error& why) { post([this, why] { hooks_.ended(why); }); }}));
    return ok();
  }

  void post(std::function<void()> job) {
    options_.post([gone = gone_, job = std::move(job)] {
      if (!gone->load()) job();
    });
  }

  // On the replica's thread. What is applied counts once it is acknowledged: only then do all survive it.
  std::string apply(std::uint64_t index, std::string_view command) override {
    record_.apply(command);
    if (!serving_) return {};
    unreleased_.emplace_back(index, command);
    if (pending_ == 0) propose_nothing();  // a former leader's, late
    return {};
  }
  std::string snapshot() override { return record_.snapshot(); }
  Status restore(std::string_view snapshot) override { return record_.restore(snapshot); }

  void release(std::uint64_t index) {
    while (!unreleased_.empty() && unreleased_.front().first <= index) {
      post([this, text = std::move(unreleased_.front().second)] { hooks_.added(text); });
      unreleased_.pop_front();
    }
  }

  /// An event that is none, whose acknowledgement is that of all before it.
  void propose_nothing() {
    ++pending_;
    replica_->propose("{}", [this, term = term_](const Result<replica::Applied>& done) {
      --pending_;
      if (!leads_ || term != term_) return;
      if (!done) return propose_nothing();
      if (serving_) return release(done->index);
      serving_ = true;
      unreleased_.clear();
      post([this, term, record = record_] { hooks_.leading(term, record); });
    });
  }

  void on_leader(const replica::Member& leader, std::uint64_t term) {
    const bool leads = leader.id == id_;
    if (leads && leads_ && term == term_) return;
    term_ = term;
    leads_ = leads;
    serving_ = false;
    // The replica may not be in our hands yet: this is its own thread.
    if (leads)
      return post([this] {
        replica_->post([this] {
          if (leads_ && !serving_) propose_nothing();
        });
      });
    std::string address;
    for (const auto& [name, member] : record_.status.members)
      if (leader.id != 0 && member.copy == leader.id) address = member.address;
    post([this, address, others = addresses_of(record_.status, options_.kernel)] {
      hooks_.following(address, others);
    });
  }

  const ReplicaLog::Options options_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> dead_;  // of the loop's thread
  const Hooks hooks_;
  Record record_;         // of the replica's thread
  bool leads_ = false;    // of the replica's thread, like all up to here
  bool serving_ = false;  // the kernel was told
  std::uint64_t term_ = 0;
  std::deque<std::pair<std::uint64_t, std::string>> unreleased_;
  std::atomic<unsigned> pending_ = 0;
  std::uint64_t id_ = 0;
  replica::Member self_;
  std::shared_ptr<std::atomic<bool>> gone_ = std::make_shared<std::atomic<bool>>(false);
  std::unique_ptr<replica::Replica> replica_;
};

}  // namespace

Result<std::unique_ptr<Log>> ReplicaLog::open(Options options, Log::Hooks hooks) {
  auto copy = std::make_unique<Copy>(std::move(options), std::move(hooks));
  MVM_TRY(copy->open());
  return std::unique_ptr<Log>(std::move(copy));
}

}  // namespace mvm::dvm
