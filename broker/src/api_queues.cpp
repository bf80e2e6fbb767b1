// Queues of running jobs, for those outside the lab.

#include <algorithm>

#include "api.h"
#include "hosts.h"
#include "jobs.h"
#include "json_fields.h"
#include "mvm/base/log.h"
#include "mvm/base/number.h"

namespace mvm::broker {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kNodeWait{1000};
constexpr milliseconds kBusyPause{20};
constexpr std::chrono::seconds kCallTimeout{20};
constexpr std::size_t kOpenRests = 8;

Status check_client(const std::string& client) {
  const auto good = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  };
  if (!client.empty() && client.size() <= 64 && std::all_of(client.begin(), client.end(), good)) return ok();
  return Error(ErrorCode::kInvalid, "a client's name has 1 to 64 letters, digits and -");
}

/// A ticket is the attempt, a slash, and what the node's kernel said.
std::string kernel_part(const std::string& ticket) {
  const auto slash = ticket.find('/');
  return slash == std::string::npos ? std::string() : ticket.substr(slash + 1);
}

Status check_ticket(const std::string& ticket, std::uint32_t attempt) {
  if (ticket.empty()) return ok();
  const auto said = whole_number<std::uint32_t>(std::string_view(ticket).substr(0, ticket.find('/')));
  if (!said) return Error(ErrorCode::kInvalid, "this is no ticket of an earlier answer");
  if (*said == attempt) return ok();
  return Error(ErrorCode::kAborted, "attempt " + std::to_string(*said) +
                                        " of the job ended with what was in its queues; it is at attempt " +
                                        std::to_string(attempt) + " now");
}

bool is_busy(const Error& error) {
  return error.code() == ErrorCode::kUnavailable && error.message().find("busy") != std::string::npos;
}

/// `rests/JOB` of one port; null: nothing is kept of it. On the loop.
Result<json> rest_record(Core& core, const std::string& job, const std::string& link) {
  const auto text = core.journal.get("rests/" + job);
  if (!text) return text.error().code() == ErrorCode::kNotFound ? Result<json>(json()) : text.error();
  return fields::object(json::parse(*text, nullptr, false), "ports").value(link, json());
}

Status rest_released(Core& core, const std::string& job, const std::string& link, std::uint64_t released) {
  MVM_ASSIGN(const auto text, core.journal.get("rests/" + job));
  auto record = json::parse(text, nullptr, false);
  if (!record.is_object() || fields::number(record["ports"][link], "released") >= released) return ok();
  record["ports"][link]["released"] = released;
  core.journal.put("rests/" + job, record.dump());
  return ok();
}

}  // namespace

/// Where a port's messages are now.
struct QueueService::Place {
  enum class Where { kNowhereYet, kQueue, kRest } where = Where::kNowhereYet;
  host::HostAgent* agent = nullptr;
  std::string lab, node, attempt, queue, link;
  std::uint32_t number = 0;  ///< of the attempt
  std::string ended;         ///< the job's state, where it has ended
};

Result<QueueService::Place> QueueService::place(const soap::Caller& caller, const std::string& job_id,
                                                const std::string& port, bool producer) {
  return core_.ask([&]() -> Result<Place> {
    auto* const job = core_.jobs->find(job_id);
    if (job == nullptr) return Error(ErrorCode::kNotFound, "there is no job " + job_id);
    MVM_TRY(allowed(caller, job->record.user, job->record.lab));
    MVM_ASSIGN(const auto profile, core_.jobs->profile(*job));
    const auto& graph = profile->graph;
    MVM_ASSIGN(const auto found, graph.find_open(port));
    const auto link = graph.link(found);
    if (link.producers.empty() != producer)
      return Error(ErrorCode::kInvalid, graph.link_name(found) + " is an " + (producer ? "out" : "in") +
                                            " port: messages are " +
                                            (producer ? "taken out of it" : "put into it"));
    const auto& core = job->record.core;
    Place place{.where = Place::Where::kNowhereYet,
                .agent = nullptr,
                .lab = job->record.lab,
                .node = {},
                .attempt = job_id + "." + std::to_string(core.attempt),
                .queue = {},
                .link = graph.link_name(found),
                .number = core.attempt,
                .ended = {}};
    if (is_terminal(core.state) || (core.state == JobState::kCollecting && job->record.collected)) {
      place.where = Place::Where::kRest;
      place.ended = to_string(core.state);
    }
    if (core.state != JobState::kRunning || !job->plan) return place;
    MVM_TRY(core_.jobs->know_layout(*job));
    const auto& layout = *job->layout;
    for (const auto& end : layout.outside) {
      if (end.link != found) continue;
      const auto& node = job->plan->nodes[end.node];
      place.agent = core_.hosts->agent(node.host);
      if (place.agent == nullptr)
        return Error(ErrorCode::kUnavailable, "host " + node.host + " " + core_.hosts->trouble(node.host));
      place.node = node.node;
      place.queue = queue_id(layout.queues[end.queue]);
      place.where = Place::Where::kQueue;
    }
    return place;
  });
}

/// Until something changes, or the time is over.
Status QueueService::pause(milliseconds most) {
  return core_.ask_until(
      most, []() -> std::optional<Status> { return std::nullopt; }, []() -> Status { return ok(); });
}

/// One call of the node's kernel; nothing where it cannot answer this now: look again where the port is.
Result<std::optional<host::CallReply>> QueueService::call(const Place& place, const char* op, json args,
                                                          const std::string& bytes) {
  args["attempt"] = place.attempt;
  args["queue"] = place.queue;
  auto reply = place.agent->call(place.lab, place.node, op, args, bytes, kCallTimeout);
  if (reply) return std::optional(std::move(*reply));
  // The job may just have ended, or not quite begun.
  if (reply.error().code() == ErrorCode::kNotFound || is_busy(reply.error()) ||
      (reply.error().code() == ErrorCode::kConflict && std::string_view(op) == "wire.take"))
    return std::optional<host::CallReply>();
  return reply.error();
}

Result<soap::PutAnswer> QueueService::put(const soap::Caller& caller, const soap::PutRequest& request) {
  MVM_TRY(check_client(request.client));
  json args = {{"client", request.client}, {"first", request.first}, {"done", request.done},
               {"sizes", json::array()},   {"keys", json::array()},  {"priorities", json::array()}};
  std::string bytes;
  for (const auto& message : request.messages) {
    args["sizes"].push_back(message.data.size());
    args["keys"].push_back(message.key);
    args["priorities"].push_back(message.priority);
    bytes += message.data;
  }
  if (request.messages.size() > soap::kMostMessages || bytes.size() > soap::kMostMessageBytes)
    return Error(ErrorCode::kExhausted,
                 "a call takes at most " + std::to_string(soap::kMostMessages) + " messages and 1 MiB");
  const auto until = core_.clock.now() + std::min(request.wait, kLongestWait);
  std::string ticket = request.ticket;
  for (;;) {
    MVM_ASSIGN(const Place place, this->place(caller, request.job, request.port, true));
    MVM_TRY(check_ticket(ticket, place.number));
    const auto left = std::chrono::duration_cast<milliseconds>(until - core_.clock.now());
    if (!place.ended.empty())
      return Error(ErrorCode::kConflict, "job " + request.job + " has ended: " + place.ended);
    if (place.where == Place::Where::kQueue) {
      if (kernel_part(ticket).empty()) {
        // A client that is new there gets its ticket first: see Intake.
        MVM_ASSIGN(const auto entered,
                   call(place, "wire.put", {{"client", request.client}, {"first", request.first}}, {}));
        if (entered) ticket = std::to_string(place.number) + "/" + fields::text(entered->result, "ticket");
      }
      if (!kernel_part(ticket).empty()) {
        args["ticket"] = kernel_part(ticket);
        args["wait_ms"] = std::clamp(left, milliseconds(0), kNodeWait).count();
        MVM_ASSIGN(const auto reply, call(place, "wire.put", args, bytes));
        if (reply) {
          soap::PutAnswer answer{
              .accepted = fields::number(reply->result, "accepted"),
              .ticket = std::to_string(place.number) + "/" + fields::text(reply->result, "ticket"),
              .end = fields::text(reply->result, "end"),
              .closed = fields::flag(reply->result, "closed")};
          if (answer.accepted > request.first || request.messages.empty() || !answer.end.empty() ||
              left.count() <= 0)
            return answer;
          ticket = answer.ticket;
          continue;
        }
      }
    }
    if (left.count() <= 0)
      return soap::PutAnswer{.accepted = request.first, .ticket = ticket, .end = {}, .closed = false};
    MVM_TRY(pause(std::min(left, place.where == Place::Where::kQueue ? kBusyPause : kNodeWait)));
  }
}

Result<soap::TakeAnswer> QueueService::take(const soap::Caller& caller, const soap::TakeRequest& request) {
  MVM_TRY(check_client(request.client));
  const auto until = core_.clock.now() + std::min(request.wait, kLongestWait);
  for (;;) {
    MVM_ASSIGN(const Place place, this->place(caller, request.job, request.port, false));
    MVM_TRY(check_ticket(request.ticket, place.number));
    const auto left = std::chrono::duration_cast<milliseconds>(until - core_.clock.now());
    const std::string ticket = std::to_string(place.number) + "/";
    soap::TakeAnswer answer{.messages = {}, .ticket = ticket, .end = {}};
    bool answered = false;
    if (place.where == Place::Where::kRest) {
      MVM_ASSIGN(answer, take_rest(place, request));
      answer.ticket = ticket;
      answered = true;
    } else if (place.where == Place::Where::kQueue) {
      MVM_ASSIGN(const auto reply, call(place, "wire.take",
                                        {{"client", request.client},
                                         {"acknowledged", request.acknowledged},
                                         {"partial", request.partial},
                                         {"offset", request.offset},
                                         {"count", request.count},
                                         {"leave", request.leave},
                                         {"wait_ms", std::clamp(left, milliseconds(0), kNodeWait).count()}},
                                        {}));
      if (reply) {
        answered = true;
        answer.end = fields::text(reply->result, "end");
        std::size_t at = 0;
        for (const auto& item : reply->result.value("messages", json::array())) {
          MVM_ASSIGN(auto message, taken_from(item, reply->blob, at));
          answer.messages.push_back(std::move(message));
        }
      }
    }
    const bool enough =
        !answer.messages.empty() || !answer.end.empty() || request.leave || request.count == 0;
    if ((answered && enough) || left.count() <= 0) return answer;
    if (!answered || place.where == Place::Where::kRest)
      MVM_TRY(pause(std::min(left, place.where == Place::Where::kQueue ? kBusyPause : kNodeWait)));
  }
}

Result<std::shared_ptr<Rest>> QueueService::open_rest(const Place& place, const std::string& job) {
  const std::lock_guard lock(mutex_);
  const std::string key = job + "/" + place.link;
  if (const auto known = rests_.find(key); known != rests_.end()) return known->second;
  MVM_ASSIGN(const json record,
             core_.ask([&]() -> Result<json> { return rest_record(core_, job, place.link); }));
  if (record.is_null()) return std::shared_ptr<Rest>();
  MVM_ASSIGN(std::string blob, core_.blobs.read_whole(fields::text(record, "digest"), 2 * kMostRest));
  MVM_ASSIGN(std::shared_ptr<Rest> rest,
             Rest::open(std::move(blob), fields::number(record, "released"), core_.clock));
  if (rests_.size() >= kOpenRests) rests_.erase(rests_.begin());
  rests_[key] = rest;
  return rest;
}

Result<soap::TakeAnswer> QueueService::take_rest(const Place& place, const soap::TakeRequest& request) {
  MVM_ASSIGN(const auto rest, open_rest(place, request.job));
  if (!rest) return soap::TakeAnswer{.messages = {}, .ticket = {}, .end = "dead"};
  std::uint64_t released = 0;
  auto answer = rest->take(request, released);
  if (request.acknowledged > 0)
    MVM_TRY(core_.ask([&]() -> Status { return rest_released(core_, request.job, place.link, released); }));
  return answer;
}

}  // namespace mvm::broker
