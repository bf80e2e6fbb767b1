#include "rest.h"

#include <algorithm>

#include "json_fields.h"

namespace mvm::broker {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kCallTimeout{30};
constexpr std::size_t kPageBytes = 256U << 10U;

}  // namespace

Result<soap::TakenMessage> taken_from(const json& item, std::string_view blob, std::size_t& at) {
  const auto length = fields::number(item, "length");
  if (!item.is_object() || length > blob.size() - at)
    return Error(ErrorCode::kCorrupt, "the kernel's answer has fewer bytes than it says");
  soap::TakenMessage message{.number = fields::number(item, "n"),
                             .size = fields::number(item, "size"),
                             .offset = fields::number(item, "offset"),
                             .data = std::string(blob.substr(at, length)),
                             .key = fields::number(item, "key"),
                             .priority = static_cast<std::uint32_t>(fields::number(item, "priority") & 0xffU),
                             .again = fields::flag(item, "again")};
  at += length;
  if (message.offset > message.size || message.data.size() > message.size - message.offset)
    return Error(ErrorCode::kCorrupt, "the kernel's answer has a message with a wrong size");
  return message;
}

Result<std::string> fetch_rest(host::HostAgent& agent, const std::string& lab, const std::string& node,
                               const std::string& attempt, const std::string& queue, std::uint64_t& lost) {
  json head = {{"end", ""}, {"messages", json::array()}};
  std::string bytes;
  std::uint64_t index = 0;
  std::uint64_t offset = 0;
  lost = 0;
  for (;;) {
    MVM_ASSIGN(const auto page,
               agent.call(lab, node, "wire.rest",
                          {{"attempt", attempt}, {"queue", queue}, {"index", index}, {"offset", offset}}, {},
                          kCallTimeout));
    head["end"] = fields::text(page.result, "end");
    std::size_t at = 0;
    const auto items = page.result.value("messages", json::array());
    for (const auto& item : items) {
      MVM_ASSIGN(auto message, taken_from(item, page.blob, at));
      const bool whole = message.offset + message.data.size() == message.size;
      if (message.offset == 0 && bytes.size() + message.size > kMostRest) ++lost;
      if (lost == 0) {
        bytes += message.data;
        if (message.offset == 0) {
          json kept = item;
          kept.erase("length");
          head["messages"].push_back(std::move(kept));
        }
      }
      index += whole ? 1 : 0;
      offset = whole ? 0 : message.offset + message.data.size();
    }
    if (!fields::flag(page.result, "more") || items.empty()) return head.dump() + "\n" + bytes;
  }
}

Rest::Rest(const Clock& clock)
    : clock_(clock), hand_out_(queuevm::kClientLease, static_cast<std::uint64_t>(clock.wall_ms()) * 1000) {}

Result<std::unique_ptr<Rest>> Rest::open(std::string blob, std::uint64_t skip, const Clock& clock) {
  std::unique_ptr<Rest> rest(new Rest(clock));
  rest->blob_ = std::move(blob);
  const Error corrupt(ErrorCode::kCorrupt, "what is kept of the port is not readable");
  const auto line = rest->blob_.find('\n');
  if (line == std::string::npos) return corrupt;
  const auto head = json::parse(rest->blob_.substr(0, line), nullptr, false);
  if (!head.is_object() || !head.contains("messages") || !head["messages"].is_array()) return corrupt;
  rest->end_ = fields::text(head, "end");
  if (rest->end_.empty()) rest->end_ = "dead";
  std::size_t at = line + 1;
  for (const auto& item : head["messages"]) {
    const auto size = fields::number(item, "size");
    if (size > rest->blob_.size() - at) return corrupt;
    queuevm::MessageView view;
    view.data = std::as_bytes(std::span(rest->blob_)).subspan(at, size);
    view.key = fields::number(item, "key");
    view.priority = static_cast<std::uint32_t>(fields::number(item, "priority") & 0xffU);
    view.redelivered = fields::flag(item, "again");
    at += size;
    if (rest->released_ < skip)
      ++rest->released_;
    else
      rest->hand_out_.add(view, fields::text(item, "client"), fields::number(item, "n"));
  }
  // Who held something when the job ended has a lease's time to come back for it.
  for (const auto& entry : rest->hand_out_.entries())
    if (!entry.client.empty()) rest->hand_out_.heard(entry.client, 0, clock.now());
  return rest;
}

soap::TakeAnswer Rest::take(const soap::TakeRequest& request, std::uint64_t& released) {
  const std::lock_guard lock(mutex_);
  hand_out_.heard(request.client, request.acknowledged, clock_.now());
  if (request.leave) hand_out_.leave(request.client);
  hand_out_.expire(clock_.now());
  released_ += hand_out_.take_done().size();
  released = released_;
  soap::TakeAnswer answer;
  std::size_t bytes = 0;
  std::uint64_t after = request.acknowledged;
  const std::size_t most = request.leave ? 0 : std::min<std::size_t>(request.count, soap::kMostMessages);
  while (answer.messages.size() < most && bytes < kPageBytes) {
    const auto* entry = hand_out_.next(request.client, after);
    if (entry == nullptr) break;
    const auto data = entry->message.data;
    const auto offset =
        entry->number == request.partial ? std::min<std::size_t>(request.offset, data.size()) : 0;
    const auto length = std::min(data.size() - offset, kPageBytes - bytes);
    answer.messages.push_back(
        {.number = entry->number,
         .size = data.size(),
         .offset = offset,
         .data = std::string(reinterpret_cast<const char*>(data.data()) + offset, length),
         .key = entry->message.key,
         .priority = entry->message.priority,
         .again = entry->again});
    bytes += length;
    after = entry->number;
    if (offset + length < data.size()) break;
  }
  if (answer.messages.empty() && !hand_out_.held_by_others(request.client)) answer.end = end_;
  return answer;
}

}  // namespace mvm::broker
