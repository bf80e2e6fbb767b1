#include "steps.h"

#include <algorithm>

#include "mvm/base/json.h"

namespace mvm::plugins::queue {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxQueues = 4096;
constexpr std::size_t kMaxProcesses = 4096;
constexpr std::size_t kMaxName = 256;

Error unknown(const char* field, const std::string& found) {
  return Error(ErrorCode::kInvalid,
               "field \"" + std::string(field) + "\": found \"" + found.substr(0, 80) + "\"");
}

Result<queuevm::QueueSpec> queue_spec(const json& create) {
  queuevm::QueueSpec spec;
  const std::string kind_name = text_or(create, "kind", "fifo");
  const std::string rule_name = text_or(create, "when_full", "block");
  const std::string deliver_name = text_or(create, "deliver", "one-of");
  const auto kind = queuevm::queue_kind_from(kind_name);
  const auto rule = queuevm::when_full_from(rule_name);
  const auto deliver = queuevm::deliver_from(deliver_name);
  if (!kind) return unknown("kind", kind_name);
  if (!rule) return unknown("when_full", rule_name);
  if (!deliver) return unknown("deliver", deliver_name);
  spec.kind = *kind;
  spec.when_full = *rule;
  spec.deliver = *deliver;
  MVM_ASSIGN(spec.capacity, need_number(create, "capacity"));
  MVM_ASSIGN(spec.bytes, need_number(create, "bytes"));
  MVM_ASSIGN(const std::uint64_t producers, need_number(create, "producers", 4096));
  MVM_ASSIGN(const std::uint64_t consumers, need_number(create, "consumers", 4096));
  spec.producers = static_cast<std::uint32_t>(producers);
  spec.consumers = static_cast<std::uint32_t>(consumers);
  spec.fragments = flag_or(create, "fragments", true);
  spec.id = number_or(create, "link");
  if (const auto timeout = create.find("timeout_ms"); timeout != create.end() && !timeout->is_null()) {
    MVM_ASSIGN(const std::uint64_t ms, need_number(create, "timeout_ms", 1ULL << 40));
    spec.timeout = std::chrono::milliseconds(ms);
  }
  if (const auto ttl = create.find("ttl_ms"); ttl != create.end() && !ttl->is_null()) {
    MVM_ASSIGN(const std::uint64_t ms, need_number(create, "ttl_ms", 1ULL << 40));
    spec.ttl = std::chrono::milliseconds(ms);
  }
  MVM_TRY(queuevm::validate(spec));
  return spec;
}

Result<QueueStep> queue_step(const json& item) {
  QueueStep step;
  MVM_ASSIGN(step.id, need_text(item, "id", kMaxName));
  if (!object_or_empty(item, "create").empty()) {
    auto spec = queue_spec(object_or_empty(item, "create"));
    if (!spec) return std::move(spec).error().wrap("queue " + step.id);
    step.create = *spec;
  }
  return step;
}

/// The number of a fresh descriptor of a queue: each end has its own, for a claim tells nothing about another
/// end with the same open file description.
std::uint32_t descriptor_of(ProcessStep& step, const std::string& queue) {
  step.queues.push_back(queue);
  return static_cast<std::uint32_t>(step.queues.size() - 1);
}

/// A list of numbers, empty where there is none.
Result<std::vector<std::uint64_t>> numbers_of(const json& item, const char* field) {
  std::vector<std::uint64_t> numbers;
  for (const json& one : array_or_empty(item, field)) {
    if (!one.is_number_unsigned() || numbers.size() >= kMaxQueues) return unknown(field, one.dump());
    numbers.push_back(one.get<std::uint64_t>());
  }
  return numbers;
}

Result<queuevm::Direction> direction_of(const json& item) {
  const std::string name = text_or(item, "direction");
  if (name != "in" && name != "out") return unknown("direction", name);
  return name == "in" ? queuevm::Direction::kIn : queuevm::Direction::kOut;
}

Result<queuevm::WiringPort> port_from(const json& item, ProcessStep& step) {
  queuevm::WiringPort port;
  MVM_ASSIGN(port.name, need_text(item, "name", kMaxName));
  MVM_ASSIGN(const std::uint64_t index, need_number(item, "index", 1 << 20));
  port.index = static_cast<std::uint32_t>(index);
  MVM_ASSIGN(port.direction, direction_of(item));
  const std::string deliver_name = text_or(item, "deliver", "one-of");
  const auto deliver = queuevm::deliver_from(deliver_name);
  if (!deliver) return unknown("deliver", deliver_name);
  port.deliver = *deliver;
  for (const json& end : array_or_empty(item, "ends")) {
    MVM_ASSIGN(const std::string queue, need_text(end, "queue", kMaxName));
    MVM_ASSIGN(const std::uint64_t slot, need_number(end, "slot", 4095));
    const auto side =
        port.direction == queuevm::Direction::kOut ? queuevm::Side::kProducer : queuevm::Side::kConsumer;
    MVM_ASSIGN(std::vector<std::uint64_t> after, numbers_of(end, "after"));
    step.ends.push_back({queue, {side, static_cast<std::uint32_t>(slot)}});
    port.links.push_back({number_or(end, "link"), descriptor_of(step, queue),
                          static_cast<std::uint32_t>(slot), std::move(after)});
  }
  return port;
}

Result<ProcessStep> process_step(const json& item) {
  ProcessStep step;
  MVM_ASSIGN(step.process, need_text(item, "proc", 190));
  step.wiring.job = text_or(item, "job");
  step.wiring.role = text_or(item, "role");
  MVM_ASSIGN(const std::uint64_t index, need_number(item, "index", 1 << 24));
  MVM_ASSIGN(const std::uint64_t count, need_number(item, "count", 1 << 24));
  step.wiring.index = static_cast<std::uint32_t>(index);
  step.wiring.count = static_cast<std::uint32_t>(count);
  MVM_ASSIGN(step.wiring.parameters, text_map_of(item, "parameters", 1000, queuevm::kMaxWiringText));
  for (const json& port : array_or_empty(item, "ports")) {
    auto one = port_from(port, step);
    if (!one) return std::move(one).error().wrap("process " + step.process);
    step.wiring.ports.push_back(std::move(*one));
  }
  step.wiring.descriptors = static_cast<std::uint32_t>(step.queues.size());
  return step;
}

queuevm::Carrier carrier_of(const json& item) {
  if (text_or(item, "carrier") == "ivshmem") return queuevm::Carrier::kRegion;
  return flag_or(item, "tls") ? queuevm::Carrier::kSecure : queuevm::Carrier::kPlain;
}

Result<PeerStep> peer_step(const json& item) {
  PeerStep step;
  MVM_ASSIGN(step.name, need_text(item, "name", 255));
  step.address = text_or(item, "address");
  MVM_ASSIGN(const std::uint64_t port, need_number(item, "port", 65535));
  step.port = static_cast<std::uint16_t>(port);
  step.carrier = carrier_of(item);
  if (step.carrier == queuevm::Carrier::kRegion) {
    const json& part = object_or_empty(item, "part");
    MVM_ASSIGN(step.part.offset, need_number(part, "offset"));
    MVM_ASSIGN(step.part.bytes, need_number(part, "bytes"));
  }
  return step;
}

Result<CarriedStep> carried_step(const json& item) {
  CarriedStep step;
  MVM_ASSIGN(step.link, need_number(item, "link"));
  const std::string flow = text_or(item, "flow");
  if (flow != "in" && flow != "out") return unknown("flow", flow);
  step.flow = flow == "out" ? queuevm::LinkHalf::Flow::kOutgoing : queuevm::LinkHalf::Flow::kIncoming;
  MVM_ASSIGN(step.peer, need_text(item, "peer", 255));
  step.carrier = carrier_of(item);
  MVM_ASSIGN(step.queue, need_text(item, "queue", kMaxName));
  MVM_ASSIGN(const std::uint64_t slot, need_number(item, "slot", 4095));
  step.slot = static_cast<std::uint32_t>(slot);
  MVM_ASSIGN(step.codecs, texts_of(item, "codecs", queuevm::kMostCodecs));
  MVM_ASSIGN(step.key, queuevm::codec_key_from(text_or(item, "key")));
  return step;
}

Result<OutsideStep> outside_step(const json& item) {
  OutsideStep step;
  MVM_ASSIGN(step.queue, need_text(item, "queue", kMaxName));
  MVM_ASSIGN(const queuevm::Direction direction, direction_of(item));
  MVM_ASSIGN(const std::uint64_t slot, need_number(item, "slot", 4095));
  step.end = {direction == queuevm::Direction::kIn ? queuevm::Side::kProducer : queuevm::Side::kConsumer,
              static_cast<std::uint32_t>(slot)};
  return step;
}

template <class T, class Parse>
Status parse_all(const json& args, const char* field, std::size_t most, std::vector<T>& into, Parse parse) {
  const json& list = array_or_empty(args, field);
  if (list.size() > most)
    return Error(ErrorCode::kExhausted,
                 "field \"" + std::string(field) + "\": more than " + std::to_string(most));
  for (const json& item : list) {
    MVM_ASSIGN(T one, parse(item));
    into.push_back(std::move(one));
  }
  return ok();
}

}  // namespace

Result<Steps> steps_from(const json& args) {
  Steps steps;
  MVM_ASSIGN(steps.attempt, need_text(args, "attempt", 190));
  MVM_ASSIGN(steps.generation, need_number(args, "generation"));
  steps.domain = text_or(args, "domain");
  steps.secret = text_or(args, "secret");
  if (const auto identity = args.find("identity"); identity != args.end())
    steps.identity = {.certificate = text_or(*identity, "certificate"),
                      .key = text_or(*identity, "key"),
                      .authority = text_or(*identity, "authority")};
  if (const json& listen = object_or_empty(args, "listen"); !listen.empty()) {
    MVM_ASSIGN(steps.listen_address, need_text(listen, "address", 64));
    MVM_ASSIGN(const std::uint64_t port, need_number(listen, "port", 65535));
    steps.listen_port = static_cast<std::uint16_t>(port);
  }
  MVM_TRY(parse_all(args, "queues", kMaxQueues, steps.queues, queue_step));
  MVM_TRY(parse_all(args, "processes", kMaxProcesses, steps.processes, process_step));
  MVM_TRY(parse_all(args, "peers", 1024, steps.peers, peer_step));
  MVM_TRY(parse_all(args, "proxies", kMaxQueues, steps.carried, carried_step));
  MVM_TRY(parse_all(args, "outside", kMaxQueues, steps.outside, outside_step));
  return steps;
}

}  // namespace mvm::plugins::queue
