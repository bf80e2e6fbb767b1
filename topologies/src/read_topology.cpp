#include <algorithm>

#include "model.h"
#include "mvm/topologies/codecs.h"

namespace mvm::topologies {
namespace {

constexpr std::pair<std::string_view, Direction> kDirections[] = {{"in", Direction::kIn},
                                                                  {"out", Direction::kOut}};
constexpr std::pair<std::string_view, QueueType> kQueueTypes[] = {
    {"fifo", QueueType::kFifo}, {"priority", QueueType::kPriority}, {"latest", QueueType::kLatest}};
constexpr std::pair<std::string_view, WhenFull> kWhenFull[] = {{"block", WhenFull::kBlock},
                                                               {"drop-oldest", WhenFull::kDropOldest},
                                                               {"drop-newest", WhenFull::kDropNewest},
                                                               {"fail", WhenFull::kFail}};
constexpr std::pair<std::string_view, Open> kOpen[] = {
    {"true", Open::kEach}, {"false", Open::kNo}, {"shared", Open::kShared}};
constexpr std::pair<std::string_view, Deliver> kDeliver[] = {
    {"one-of", Deliver::kOneOf}, {"every-one", Deliver::kEveryOne}, {"by-key", Deliver::kByKey}};
/// Each with the name that a link has it under.
constexpr std::pair<std::string_view, std::string_view> kTransports[] = {
    {"shm", "shm"},     {"ivshmem", "ivshmem"},   {"tcp", "tcp"},          {"tcp+tls", "tcp+tls"},
    {"tls", "tcp+tls"}, {"posix-mq", "posix-mq"}, {"boost-mq", "boost-mq"}};

class TopologyReader {
 public:
  TopologyReader(const xml::Element& element, FaultList& faults) : element_(element), faults_(faults) {}

  TopologyPart read() {
    part_.topology.name = element_.get("name").value;
    part_.trusted = !element_.faulty;
    for (const xml::Element& child : element_.children) {
      if (child.name == "param" && part_.params.size() < kMaxSiblings) {
        part_.params.push_back(read_param(child));
      } else if (child.name == "param") {
        faults_.add(child.where, "found more than " + std::to_string(kMaxSiblings) + " parameters");
        part_.trusted = false;
        break;
      }
      if (child.name == "role") add_role(child);
      if (child.name == "link" || child.name == "pattern") add_join(child);
    }
    if (part_.topology.roles.empty() && part_.trusted) {
      faults_.add(element_.where, "the topology has no <role>, expected at least one");
      part_.trusted = false;
    }
    return std::move(part_);
  }

 private:
  void add_role(const xml::Element& element) {
    if (element.any_faulty()) part_.trusted = false;
    RoleDecl role{element.get("name"), element.get("count"), {}};
    for (const xml::Element& child : element.children) {
      if (child.name != "port") continue;
      role.ports.push_back({.name = child.get("name"),
                            .direction = read_word(child, "direction", kDirections, Direction::kIn, faults_),
                            .count = child.get("count"),
                            .optional = read_flag(child, "optional", false, faults_),
                            .open = read_word(child, "open", kOpen, Open::kNo, faults_),
                            .outside = {}});
      PortDecl& port = role.ports.back();
      port.outside.where = child.where;
      read_queue(child, port.outside);
      if (port.open == Open::kNo && !child.children.empty())
        faults_.add(
            child.children.front().where,
            "found <queue> in a <port> that is not open, expected it in a <link> or with open=\"true\"");
    }
    part_.topology.roles.push_back(std::move(role));
  }

  /// A join that broke the structure is left out; then nobody may complain about ports without links.
  void add_join(const xml::Element& element) {
    if (element.any_faulty()) {
      part_.complete = false;
      return;
    }
    Topology& topology = part_.topology;
    if (element.name == "link") {
      LinkDecl link;
      read_shared(element, link);
      link.from = element.get("from");
      link.to = element.get("to");
      link.loop = element.get("for");
      topology.joins.push_back({false, topology.links.size()});
      topology.links.push_back(std::move(link));
      return;
    }
    PatternDecl pattern;
    read_shared(element, pattern);
    pattern.kind = element.get("kind");
    static const std::vector<std::string> kShared = {"kind", "name", "deliver", "codec", "transport"};
    for (const xml::Attribute& attribute : element.attributes) {
      if (std::find(kShared.begin(), kShared.end(), attribute.name) != kShared.end()) continue;
      pattern.attributes[attribute.name] = {attribute.value, attribute.value_where};
    }
    topology.joins.push_back({true, topology.patterns.size()});
    topology.patterns.push_back(std::move(pattern));
  }

  void read_codecs(const xml::Element& element, JoinDecl& join) {
    for (const Text& codec : split_names(element.get("codec"))) {
      if (const auto fault = check_codec(codec.value)) {
        faults_.add(codec.where, fault->message, fault->suggestion);
        continue;
      }
      join.spec.codecs.push_back(codec.value);
      if (const auto fault = check_codecs(join.spec.codecs)) {
        faults_.add(codec.where, fault->message, fault->suggestion);
        return;
      }
    }
  }

  void read_shared(const xml::Element& element, JoinDecl& join) {
    join.where = element.where;
    join.name = element.get("name");
    join.spec.deliver = read_word(element, "deliver", kDeliver, Deliver::kOneOf, faults_);
    read_codecs(element, join);
    join.spec.transport = read_word(element, "transport", kTransports, std::string_view(), faults_);
    read_queue(element, join);
  }

  void read_queue(const xml::Element& element, JoinDecl& join) {
    bool seen = false;
    for (const xml::Element& child : element.children) {
      if (child.name != "queue") continue;
      if (seen)
        faults_.add(child.where, "found a second <queue> in <" + element.name + ">, expected at most one");
      seen = true;
      join.spec.queue.type = read_word(child, "type", kQueueTypes, QueueType::kFifo, faults_);
      join.spec.queue.when_full = read_word(child, "when-full", kWhenFull, WhenFull::kBlock, faults_);
      join.capacity = child.get("capacity");
      join.bytes = child.get("bytes");
      join.timeout = child.get("timeout");
      join.ttl = child.get("ttl");
    }
  }

  const xml::Element& element_;
  FaultList& faults_;
  TopologyPart part_;
};

}  // namespace

TopologyPart read_topology(const xml::Element& element, FaultList& faults) {
  return TopologyReader(element, faults).read();
}

}  // namespace mvm::topologies
