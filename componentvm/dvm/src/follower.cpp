#include "follower.h"

#include <algorithm>

#include "mvm/base/digest.h"
#include "mvm/base/frame.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::dvm {
namespace {

using nlohmann::json;

constexpr std::size_t kKeptEvents = 512;
constexpr auto kPause = std::chrono::milliseconds(60);
constexpr auto kLongPause = std::chrono::milliseconds(400);
constexpr auto kAskAgain = std::chrono::seconds(3);
constexpr int kSilence = 10;  // beats without a word of the server

}  // namespace

Follower::Follower(Member self, Hooks hooks) : self_(std::move(self)), hooks_(std::move(hooks)) {
  view_.own = self_.name;
}

Follower::~Follower() {
  if (link_) link_->close();
}

void Follower::start() {
  state_ = State::kSeeking;
  next_seek_ = Clock::now();
}

// ---- finding the server
// ------------------------------------------------------------------------------------

void Follower::seek() {
  if (dialling_) return;
  std::vector<Endpoint> candidates = hooks_.candidates();
  const auto redirected = Endpoint::read(redirect_);
  redirect_.clear();
  if (!redirected && next_candidate_ >= candidates.size()) {
    next_candidate_ = 0;
    ++rounds_;
    next_seek_ = Clock::now() + (rounds_ < 5 ? kPause : kLongPause);
    hooks_.call_out();
    if (candidates.empty()) return;
  }
  // One after the other, whatever they answer: two that wait for a server must not ask each other for ever.
  const Endpoint to = redirected ? *redirected : candidates[next_candidate_++];
  dialling_ = true;
  hooks_.dial(to, [this, watch = std::weak_ptr<int>(alive_)](const Link& link) {
    if (watch.expired()) return;
    dialling_ = false;
    if (!link) return;
    if (state_ != State::kSeeking) return link->close();
    use(link);
  });
}

void Follower::use(const Link& link) {
  link_ = link;
  state_ = State::kJoining;
  met_ = true;
  last_heard_ = Clock::now();
  join(0);
}

/// 0: nothing was restored.
void Follower::join(std::uint64_t restored_at) {
  json message = {
      {"t", "join"}, {"member", to_json(self_)}, {"number", complete_ ? last_ : 0}, {"as-of", restored_at}};
  if (!everything_) message["follow"] = services_;
  link_->send(message);
}

void Follower::adopt(const Link& link, const json& message) {
  if (link == link_) return take(message);
  if (state_ == State::kSeeking && text_or(message, "t") == "here") return use(link);
  link->close();
}

bool Follower::take(const Link& link, const json& message) {
  if (!link_ || link != link_) return false;
  take(message);
  return true;
}

void Follower::closed(const Link& link, const std::string& why) {
  if (link_ && link == link_) lost(why);
}

void Follower::lost(const std::string& why) {
  if (link_) link_->close();
  link_.reset();
  if (state_ == State::kLive) log::info("dvm.server-lost", {{"why", why}});
  if (state_ != State::kOut) state_ = State::kSeeking;
  reason_ = why;
  next_seek_ = Clock::now() + std::chrono::milliseconds(10);
}

void Follower::tick(Clock::time_point now) {
  const bool stopped = now - last_tick_ > 2 * beat_;  // we were, not the server
  last_tick_ = now;
  if (state_ == State::kSeeking && now >= next_seek_) seek();
  if (state_ == State::kJoining || state_ == State::kLive) {
    if (stopped) last_heard_ = std::max(last_heard_, now - beat_ * kSilence / 2);
    const auto silence =
        std::max<Clock::duration>(beat_ * kSilence, std::chrono::seconds(state_ == State::kLive ? 1 : 10));
    if (!link_ || !link_->open())
      lost("the connection to the status server ended");
    else if (now - last_heard_ > silence)
      lost("the status server is silent");
    else if (state_ == State::kLive && now - last_said_ >= beat_ - beat_ / 8) {
      last_said_ = now;
      link_->send_text(R"({"t":"alive"})");
    }
  }
  std::vector<std::string> late;
  for (auto& [id, question] : questions_) {
    if (now > question.deadline)
      late.push_back(id);
    else if (state_ == State::kLive && now - question.sent > kAskAgain) {
      question.sent = now;
      link_->send(question.message);
    }
  }
  for (const std::string& id : late)
    answer(id, Error(ErrorCode::kTimeout,
                     "no answer of the status server" + (reason_.empty() ? std::string() : ": " + reason_)));
}

// ---- what the server says
// ----------------------------------------------------------------------------------

void Follower::take(const json& message) {
  last_heard_ = Clock::now();
  const std::string kind = text_or(message, "t");
  if (kind == "beat" || kind == "accepted") {
    const std::uint64_t beat = number_or(message, kind == "beat" ? "ms" : "beat-ms", 250);
    beat_ = std::chrono::milliseconds(std::clamp<std::uint64_t>(beat, 10, 60'000));
    return;
  }
  if (kind == "events") return on_events(message);
  if (kind == "status") return on_status(message);
  if (kind == "current") return became_live();
  if (kind == "restore") {
    auto old = member_from(object_or_empty(message, "member"));
    const auto unload = texts_of(message, "unload", kMostMembers, 300);
    const std::uint64_t number = number_or(message, "number");
    if (!old || !unload || number == 0) return lost("the status server offers a broken status");
    hooks_.restore(*old, {unload->begin(), unload->end()}, number,
                   [this, watch = std::weak_ptr<int>(alive_), link = link_,
                    number](std::map<std::string, Service> services) {
                     if (watch.expired() || link != link_ || state_ != State::kJoining) return;
                     self_.services = std::move(services);
                     join(number);
                   });
    return;
  }
  if (kind == "answer") return answer(text_or(message, "id"), object_or_empty(message, "answer"));
  if (kind == "refused")
    return answer(text_or(message, "id"), Error(ErrorCode::kRefused, text_or(message, "reason")));
  if (kind == "reply") {
    const std::string question = text_or(message, "question");
    if (message.contains("refused"))
      return answer(question, Error(ErrorCode::kRefused, text_or(message, "refused")));
    return answer(question, message);
  }
  if (kind == "enlist") return hooks_.enlist(message.value("contacts", json::array()));
  if (kind == "halt") return hooks_.halt();
  on_refused(message);
}

void Follower::on_refused(const json& message) {
  const std::string kind = text_or(message, "t");
  std::string why;
  for (const json& reason : array_or_empty(message, "reasons"))
    if (reason.is_string()) why += (why.empty() ? "" : "; ") + reason.get_ref<const std::string&>();
  if (kind == "redirect") {
    redirect_ = text_or(message, "address");
    return lost("this kernel is not the status server");
  }
  if (kind == "wait") {
    lost(why);
    next_seek_ = Clock::now() + kPause;
    return;
  }
  if (kind == "rejected" || kind == "removed") {
    state_ = State::kOut;
    lost(kind == "removed" ? "this kernel has left the machine" : "rejected: " + why);
    complete_ = false;
    return hooks_.out(reason_);
  }
}

void Follower::on_status(const json& message) {
  auto status = status_from(object_or_empty(message, "status"));
  if (!status) return lost("the status is broken: " + status.error().message());
  view_ = *std::move(status);
  view_.own = self_.name;
  last_ = view_.number;
  complete_ = true;
  became_live();
}

void Follower::became_live() {
  const bool again = state_ == State::kLive;
  state_ = State::kLive;
  next_candidate_ = 0;
  rounds_ = 0;
  reason_.clear();
  if (!again) hooks_.joined();
  if (participant_ != nullptr) participant_->look_at_all(view_);
  for (auto& [id, question] : questions_) {
    question.sent = Clock::now();
    link_->send(question.message);
  }
  if (self_.copy != 0) set_copy(self_.copy, self_.life);
}

/// Each carries its number and that of the one sent before it: what is missing is noticed.
void Follower::on_events(const json& message) {
  if (!complete_) return;  // the whole status is on its way
  for (const json& entry : array_or_empty(message, "list")) {
    if (!entry.is_array() || entry.size() != 3 || !entry[0].is_number_unsigned() ||
        !entry[1].is_number_unsigned())
      return lost("an event is broken");
    const auto number = entry[0].get<std::uint64_t>();
    if (entry[1].get<std::uint64_t>() != last_ || number <= last_) {
      complete_ = false;
      last_ = 0;
      return send({{"t", "resync"}});
    }
    view_.number = number - 1;
    apply(view_, entry[2]);
    last_ = number;
    events_.push_back({{"number", number}, {"event", entry[2]}});
    if (events_.size() > kKeptEvents) events_.pop_front();
    if (participant_ == nullptr) continue;
    const std::string kind = text_or(entry[2], "event");
    if (kind == "back" && text_or(entry[2], "kernel") == self_.name) {
      participant_->look_at_all(view_);
      continue;
    }
    const std::string id =
        kind == "begun" ? text_or(object_or_empty(entry[2], "command"), "id") : text_or(entry[2], "id");
    const auto command = view_.commands.find(id);
    if (command != view_.commands.end() && command->second.concerns(self_.name))
      participant_->look_at(command->second);
  }
}

// ---- asking
// ------------------------------------------------------------------------------------------------

void Follower::send(const json& message) {
  if (link_ && (state_ == State::kLive || state_ == State::kJoining)) link_->send(message);
}

void Follower::command(const Command& command, std::chrono::milliseconds patience, Answer done) {
  const json message = {{"t", "command"}, {"command", to_json(command)}};
  questions_[command.id] = {message, Clock::now() + patience, Clock::now(), std::move(done)};
  if (live()) link_->send(message);
}

void Follower::request(json request, std::chrono::milliseconds patience, Answer done) {
  const std::string id = "q" + std::to_string(next_question_++);
  request["t"] = "request";
  request["question"] = id;
  questions_[id] = {request, Clock::now() + patience, Clock::now(), std::move(done)};
  if (live()) link_->send(request);
}

void Follower::answer(const std::string& id, Result<json> answer) {
  const auto found = questions_.find(id);
  if (found == questions_.end()) return;
  const Answer done = std::move(found->second.done);
  questions_.erase(found);
  if (done) done(std::move(answer));
}

void Follower::follow(bool everything, std::vector<std::string> services) {
  everything_ = everything;
  services_ = std::move(services);
  request({{"what", "follow"}, {"everything", everything_}, {"services", services_}},
          std::chrono::seconds(10), {});
}

void Follower::set_copy(std::uint64_t copy, std::uint64_t life) {
  self_.copy = copy;
  self_.life = life;
  send({{"t", "enlisted"}, {"copy", copy}, {"life", life}});
}

}  // namespace mvm::dvm
