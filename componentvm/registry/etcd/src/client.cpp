#include "client.h"

#include <algorithm>
#include <thread>

#include "mvm/base/base64.h"
#include "mvm/base/frame.h"
#include "mvm/base/json.h"
#include "mvm/base/number.h"

namespace mvm::registry {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr milliseconds kOneTry{1'500};
constexpr milliseconds kPause{50};
constexpr std::size_t kMaxLine = 64U << 20U;

// gRPC's status codes, as the gateway gives them.
constexpr std::uint64_t kInvalidArgument = 3;
constexpr std::uint64_t kDeadlineExceeded = 4;
constexpr std::uint64_t kNotFoundCode = 5;
constexpr std::uint64_t kResourceExhausted = 8;
constexpr std::uint64_t kOutOfRange = 11;
constexpr std::uint64_t kUnavailableCode = 14;

milliseconds left_until(SteadyClock::time_point ends) {
  return std::chrono::ceil<milliseconds>(ends - SteadyClock::now());
}

/// What a member answered instead of doing it; nothing: it cannot now, ask another one.
std::optional<Error> refusal(const HttpReply& reply, const json& answer) {
  const std::uint64_t code =
      number_or(answer, "code", reply.status == 400 ? kInvalidArgument : kUnavailableCode);
  const std::string text = "etcd: " + text_or(answer, "error", "HTTP status " + std::to_string(reply.status));
  switch (code) {
    case kInvalidArgument:
      return Error(ErrorCode::kInvalid, text);
    case kNotFoundCode:
    case kOutOfRange:
      return Error(ErrorCode::kNotFound, text);
    case kResourceExhausted:
      return Error(ErrorCode::kExhausted, text);
    case kDeadlineExceeded:
    case kUnavailableCode:
    default:
      return std::nullopt;
  }
}

}  // namespace

std::uint64_t number_of(const json& object, const char* key) {
  const auto field = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || field == object.end()) return 0;
  if (!field->is_string()) return number_or(object, key);
  return whole_number<std::uint64_t>(field->get_ref<const std::string&>()).value_or(0);
}

std::string bytes_of(const json& object, const char* key) {
  return from_base64(text_or(object, key)).value_or(std::string());
}

EtcdClient::EtcdClient(EtcdOptions options) : options_(std::move(options)), http_(options_) {}

Error EtcdClient::none_answered(const std::string& faults) const {
  return Error(ErrorCode::kUnavailable, "no member of etcd answers (" + faults + "); a majority of its " +
                                            std::to_string(options_.endpoints.size()) +
                                            " members must run and reach each other");
}

Result<json> EtcdClient::ask(const std::string& path, const json& body, Repeat repeat) {
  const std::string text = body.dump();
  const auto ends = SteadyClock::now() + options_.timeout;
  std::string faults;
  for (std::size_t tries = 0;; ++tries) {
    const std::size_t count = options_.endpoints.size();
    const std::size_t member = preferred_ % count;
    const milliseconds left = left_until(ends);
    if (left.count() <= 0) return none_answered(faults);
    // What is never sent again is waited for as long as there is time.
    const milliseconds wait = repeat == Repeat::kFreely ? std::min(left, kOneTry) : left;
    const HttpReply reply = http_.post(options_.endpoints[member] + path, text, wait);
    std::string fault = reply.fault;
    if (reply.end == HttpReply::End::kAnswered) {
      auto answer = parse_json(reply.body, 16);
      if (answer && reply.status == 200 && answer->is_object()) return std::move(*answer);
      const json said = answer ? std::move(*answer) : json::object();
      if (auto refused = refusal(reply, said)) return std::move(*refused);
      fault = text_or(said, "error", "HTTP status " + std::to_string(reply.status));
    }
    const std::string line = options_.endpoints[member] + ": " + fault;
    if (tries < count) faults += (faults.empty() ? "" : "; ") + line;
    // Others may have moved on from it meanwhile.
    std::size_t expected = member;
    preferred_.compare_exchange_strong(expected, (member + 1) % count);
    if (repeat == Repeat::kNever && reply.end != HttpReply::End::kNotSent)
      return Error(ErrorCode::kTimeout,
                   "etcd was asked and has not answered (" + line + "): it may have happened");
    if ((tries + 1) % count == 0)
      std::this_thread::sleep_for(std::min(kPause, std::max(left, milliseconds(0))));
  }
}

Status EtcdClient::follow(const std::string& path, const json& body, SteadyClock::time_point ends,
                          const std::atomic<bool>& stop, const std::function<bool(const json&)>& take) {
  const std::size_t member = preferred_ % options_.endpoints.size();
  std::string pending;
  bool heard = false;
  bool enough = false;
  std::optional<Error> broken;
  const auto lines = [&](std::string_view piece) {
    heard = true;
    pending.append(piece);
    std::size_t start = 0;
    for (std::size_t end = 0; (end = pending.find('\n', start)) != std::string::npos; start = end + 1) {
      const auto line = std::string_view(pending).substr(start, end - start);
      if (line.empty()) continue;
      auto parsed = parse_json(line, 16);
      if (!parsed) {
        broken = parsed.error();
        return false;
      }
      if (!take(*parsed)) {
        enough = true;
        return false;
      }
    }
    pending.erase(0, start);
    return pending.size() < kMaxLine;
  };
  const HttpReply reply = http_.stream(options_.endpoints[member] + path, body.dump(), ends, stop, lines);
  if (enough || stop || (heard && SteadyClock::now() >= ends)) return ok();
  if (broken) return std::move(*broken);
  std::size_t expected = member;
  preferred_.compare_exchange_strong(expected, (member + 1) % options_.endpoints.size());
  return none_answered(options_.endpoints[member] + ": " +
                       (reply.fault.empty() ? "HTTP status " + std::to_string(reply.status) : reply.fault));
}

}  // namespace mvm::registry
