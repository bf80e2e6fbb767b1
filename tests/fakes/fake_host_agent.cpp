#include "fakes/fake_host_agent.h"

#include <algorithm>

#include "mvm/base/digest.h"

namespace mvm::fakes {
namespace {

using host::CallReply;
using nlohmann::json;

std::string job_of(const std::string& attempt) { return attempt.substr(0, attempt.find('.')); }

Error missing(const std::string& what) { return Error(ErrorCode::kNotFound, "there is no " + what); }

}  // namespace

FakeHostAgent::FakeHostAgent(std::string name, FakeWorld& world, const BlobStore& blobs)
    : name_(std::move(name)), world_(world), blobs_(blobs) {
  info = {.name = name_,
          .architecture = "x86_64",
          .vcpus = 4,
          .memory = 8ULL << 30U,
          .disk = 1ULL << 40U,
          .drivers = {{.driver = "lxc", .usable = true, .detail = {}},
                      {.driver = "qemu", .usable = true, .detail = "tcg"},
                      {.driver = "process", .usable = true, .detail = {}}},
          .images = {{.name = "host",
                      .kind = "host",
                      .architecture = "x86_64",
                      .digest = "host-image",
                      .toolchains = {"g++ 12.2.0"},
                      .drivers = {"lxc", "process"}},
                     {.name = "qemu-debian",
                      .kind = "disk",
                      .architecture = "x86_64",
                      .digest = "qemu-image",
                      .toolchains = {"g++ 12.2.0"},
                      .drivers = {"qemu"}}}};
}

Status FakeHostAgent::enter(const std::string& call) {
  if (on_call) on_call(call);
  if (down) return Error(ErrorCode::kUnavailable, "host " + name_ + " is down");
  if (const auto found = fail.find(call); found != fail.end() && !found->second.empty()) {
    const auto error = found->second.front();
    found->second.pop_front();
    return error;
  }
  return ok();
}

FakeHostAgent::Node* FakeHostAgent::find(const std::string& lab, const std::string& node) {
  const auto found = labs_.find(lab);
  if (found == labs_.end()) return nullptr;
  const auto inner = found->second.nodes.find(node);
  return inner == found->second.nodes.end() ? nullptr : &inner->second;
}

void FakeHostAgent::emit(const std::string& lab, const std::string& node, const std::string& event, json args,
                         std::string blob) {
  log_.push_back({.seq = next_++,
                  .lab = lab,
                  .node = node,
                  .event = event,
                  .args = std::move(args),
                  .blob = std::move(blob)});
}

/// Which attempts live here; more than one of a job anywhere is a violation.
void FakeHostAgent::count_alive() {
  std::map<std::string, std::set<std::string>> here;
  for (const auto& [name, lab] : labs_)
    for (const auto& [node_name, node] : lab.nodes)
      for (const auto& [proc, process] : node.processes)
        if (!process.ended && process.attempt.find('.') != std::string::npos)
          here[job_of(process.attempt)].insert(process.attempt);
  for (auto& [job, attempts] : here) {
    world_.alive[job].insert(attempts.begin(), attempts.end());
    if (attempts.size() > 1)
      world_.violations.push_back("two attempts of job " + job + " are alive on " + name_);
  }
}

// ---- script

void FakeHostAgent::end_process(Node& node, const std::string& proc, int code, int signal) {
  auto& process = node.processes.at(proc);
  if (process.ended) return;
  process.ended = true;
  process.code = code;
  emit(node.spec.lab, node.spec.node, "proc.exit",
       {{"proc", proc},
        {"code", code},
        {"signal", signal},
        {"usage", {{"user_ms", 5}, {"system_ms", 1}, {"max_rss", 4096}}}});
}

void FakeHostAgent::exit_process(const std::string& proc, int code, int signal) {
  for (auto& [name, lab] : labs_)
    for (auto& [node_name, node] : lab.nodes)
      if (node.processes.contains(proc)) end_process(node, proc, code, signal);
}

void FakeHostAgent::end_build(Node& node, const std::string& key, bool ok) {
  auto& build = node.builds.at(key);
  if (build.ended) return;
  build.ended = true;
  const std::string said = ok ? "compiled\n" : "main.cpp:1:1: error: expected ';'\n";
  emit(node.spec.lab, node.spec.node, "build.output", {{"key", key}, {"offset", 0}}, said);
  json done = {{"key", key}, {"ok", ok}, {"code", ok ? 0 : 1}, {"signal", 0}, {"reason", ""}, {"wall_ms", 7}};
  if (ok) {
    const std::string binary = "binary of " + build.source;
    const auto digest = sha256_hex(binary);
    node.blobs[digest] = binary;
    done["output"] = {{"digest", digest}, {"size", binary.size()}};
  }
  emit(node.spec.lab, node.spec.node, "build.done", done);
}

void FakeHostAgent::finish_build(const std::string& key, bool ok) {
  for (auto& [name, lab] : labs_)
    for (auto& [node_name, node] : lab.nodes)
      if (node.builds.contains(key)) end_build(node, key, ok);
}

void FakeHostAgent::drop(Node& node) {
  node.state = host::NodeState::kLost;
  node.processes.clear();
  node.builds.clear();
  node.blobs.clear();
  node.wired.clear();
}

void FakeHostAgent::lose_node(const std::string& lab, const std::string& node) {
  lose_silently(lab, node);
  emit(lab, node, "node.lost", {{"reason", "its VM ended"}});
}

void FakeHostAgent::lose_silently(const std::string& lab, const std::string& node) {
  if (auto* found = find(lab, node)) drop(*found);
}

void FakeHostAgent::restart() {
  epoch_ += "+";
  // What was not acknowledged comes again; sequence numbers start over.
  next_ = 1;
  for (auto& event : log_) event.seq = next_++;
  served_ = acked_ = 0;
}

void FakeHostAgent::add_stranger(const std::string& lab) {
  labs_[lab].spec.lab = lab;
  auto& node = labs_[lab].nodes["ghost"];
  node.spec.lab = lab;
  node.spec.node = "ghost";
}

std::vector<std::string> FakeHostAgent::leftovers() const {
  std::vector<std::string> left;
  for (const auto& [name, lab] : labs_) {
    left.push_back(name_ + ": lab " + name);
    for (const auto& [node_name, node] : lab.nodes) {
      left.push_back(name_ + ": node " + name + "/" + node_name);
      for (const auto& [proc, process] : node.processes) left.push_back(name_ + ": process " + proc);
      for (const auto& attempt : node.wired) left.push_back(name_ + ": wiring of " + attempt);
    }
  }
  return left;
}

bool FakeHostAgent::running(const std::string& proc) const {
  for (const auto& [name, lab] : labs_)
    for (const auto& [node_name, node] : lab.nodes)
      if (const auto found = node.processes.find(proc); found != node.processes.end() && !found->second.ended)
        return true;
  return false;
}

std::size_t FakeHostAgent::node_count() const { return nodes().size(); }

std::vector<host::NodeSpec> FakeHostAgent::nodes() const {
  std::vector<host::NodeSpec> all;
  for (const auto& [name, lab] : labs_)
    for (const auto& [node_name, node] : lab.nodes) all.push_back(node.spec);
  return all;
}

const json& FakeHostAgent::wiring(const std::string& attempt, const std::string& node) const {
  static const json none;
  for (const auto& [name, lab] : labs_)
    if (const auto found = lab.wirings.find({attempt, node}); found != lab.wirings.end())
      return found->second;
  return none;
}

// ---- HostAgent

Result<host::HostInfo> FakeHostAgent::describe() {
  MVM_TRY(enter("describe"));
  return info;
}

Result<host::LabInfo> FakeHostAgent::ensure_lab(const host::LabSpec& spec) {
  MVM_TRY(enter("ensure_lab"));
  auto& lab = labs_[spec.lab];
  if (!lab.spec.lab.empty() && (lab.spec.secret != spec.secret || lab.spec.subnet != spec.subnet))
    return Error(ErrorCode::kConflict, "lab " + spec.lab + " exists with another secret or subnet");
  for (const auto& [name, other] : labs_)
    if (name != spec.lab && other.spec.subnet == spec.subnet && !spec.subnet.empty())
      world_.violations.push_back("subnet " + spec.subnet + " is used by " + name + " and " + spec.lab);
  lab.spec = spec;
  return host::LabInfo{.proxy_address = "192.0.2." + std::to_string(name_.size()),
                       .proxy_port = static_cast<std::uint16_t>(spec.proxy ? kProxyPort + 1000 : 0),
                       .plain_port = static_cast<std::uint16_t>(spec.plain_links ? kProxyPort + 2000 : 0),
                       .bridge_port = static_cast<std::uint16_t>(spec.proxy ? kProxyPort : 0),
                       .region_port = static_cast<std::uint16_t>(spec.seats > 0 ? kRegionPort : 0)};
}

Status FakeHostAgent::destroy_lab(const std::string& lab) {
  MVM_TRY(enter("destroy_lab"));
  labs_.erase(lab);
  return ok();
}

Result<host::NodeInfo> FakeHostAgent::ensure_node(const host::NodeSpec& spec, std::chrono::milliseconds) {
  MVM_TRY(enter("ensure_node"));
  const auto lab = labs_.find(spec.lab);
  if (lab == labs_.end()) return missing("lab " + spec.lab);
  auto [found, fresh] = lab->second.nodes.try_emplace(spec.node);
  auto& node = found->second;
  if (fresh) {
    node.spec = spec;
    node.boot = "boot" + std::to_string(++boots_);
    emit(spec.lab, spec.node, "node.up", {{"boot", node.boot}});
  }
  if (node.state == host::NodeState::kLost)
    return Error(ErrorCode::kUnavailable, "node " + spec.node + " is lost");
  return host::NodeInfo{
      .spec = node.spec, .state = node.state, .boot = node.boot, .wsdl = "http://x/?wsdl", .details = {}};
}

Status FakeHostAgent::destroy_node(const std::string& lab, const std::string& node) {
  MVM_TRY(enter("destroy_node"));
  if (const auto found = labs_.find(lab); found != labs_.end()) found->second.nodes.erase(node);
  return ok();
}

Status FakeHostAgent::suspend_node(const std::string& lab, const std::string& node, bool suspend) {
  MVM_TRY(enter("suspend_node"));
  auto* found = find(lab, node);
  if (found == nullptr) return missing("node " + node);
  found->state = suspend ? host::NodeState::kSuspended : host::NodeState::kUp;
  return ok();
}

Result<CallReply> FakeHostAgent::start(Node& node, const json& args) {
  const auto proc = args.at("proc").get<std::string>();
  const auto attempt = args.at("attempt").get<std::string>();
  if (node.processes.contains(proc)) return CallReply{{{"pid", 1}}, {}};
  if (args.value("wired", false) && !is_wired(labs_.at(node.spec.lab), proc))
    return Error(ErrorCode::kConflict, "process " + proc + " is to be wired");
  if (args.at("kind") == "job") {
    if (!node.wired.contains(attempt))
      world_.violations.push_back(proc + " was started before its wiring came");
    const auto tree = args.at("tree").get<std::string>();
    if (!tree.empty() && !node.blobs.contains(tree))
      world_.violations.push_back(proc + " was started without its program");
    for (const auto& staged : args.at("staged"))
      if (!node.blobs.contains(staged.at("digest")))
        world_.violations.push_back(proc + " was started without a staged file");
  }
  if (++world_.started[proc] > 1) world_.violations.push_back(proc + " was started twice");
  node.processes[proc].attempt = attempt;
  count_alive();
  node.processes[proc].held = args.value("hold", false);
  if (!node.processes[proc].held) begin(node, proc, args.at("kind") == "exec");
  return CallReply{{{"pid", 1}}, {}};
}

void FakeHostAgent::begin(Node& node, const std::string& proc, bool exec) {
  if (!auto_exit && !exec) return;
  emit(node.spec.lab, node.spec.node, "proc.output", {{"proc", proc}, {"stream", "out"}, {"offset", 0}},
       "hello from " + proc + "\n");
  if (!exec) end_process(node, proc, exit_code, 0);
}

Result<CallReply> FakeHostAgent::release(Node& node, const json& args) {
  for (const auto& name : args.at("procs")) {
    const auto found = node.processes.find(name);
    if (found == node.processes.end()) return missing("process " + name.get<std::string>());
    if (std::exchange(found->second.held, false)) begin(node, name, /*exec=*/false);
  }
  return CallReply{json::object(), {}};
}

Result<CallReply> FakeHostAgent::signal(Node& node, const json& args) {
  const auto proc = args.at("proc").get<std::string>();
  const auto number = args.at("signal").get<int>();
  if (!node.processes.contains(proc)) return missing("process " + proc);
  if (number == 9 || !deaf.contains(proc)) end_process(node, proc, 0, number);
  return CallReply{json::object(), {}};
}

bool FakeHostAgent::is_wired(const Lab& lab, const std::string& proc) {
  for (const auto& [key, steps] : lab.wirings)
    for (const auto& process : steps.at("processes"))
      if (process.at("proc") == proc) return true;
  return false;
}

Result<CallReply> FakeHostAgent::build(Node& node, const json& args) {
  const auto key = args.at("key").get<std::string>();
  const auto source = args.at("source").get<std::string>();
  if (!source.empty() && !node.blobs.contains(source)) return missing("blob " + source);
  if (node.builds.contains(key)) return CallReply{json::object(), {}};
  ++world_.compiled[key];
  node.builds[key].source = source;
  if (auto_build) end_build(node, key, !build_fails);
  return CallReply{json::object(), {}};
}

Result<CallReply> FakeHostAgent::file(Node& node, const json& args) {
  const auto proc = args.at("proc").get<std::string>();
  const auto name = args.at("name").get<std::string>();
  if (!node.processes.contains(proc)) return missing("process " + proc);
  if (name.starts_with("missing")) return missing("file " + name);
  const auto content = name + " of " + proc;
  const auto digest = sha256_hex(content);
  node.blobs[digest] = content;
  return CallReply{{{"digest", digest}, {"size", content.size()}}, {}};
}

/// Links that are gone are drained at once.
Result<CallReply> FakeHostAgent::stats(const Lab& lab, const std::string& attempt) const {
  json queues = json::array({{{"id", "q0"},
                              {"depth", 3},
                              {"bytes", 30},
                              {"enqueued", 10},
                              {"dequeued", 7},
                              {"dropped", 0},
                              {"bytes_enqueued", 100},
                              {"bytes_dequeued", 70},
                              {"latency", {{"samples", 5}, {"p50_ns", 1500}, {"p99_ns", 2500}}},
                              {"waiting", {{"producers", 1}, {"consumers", 0}}}}});
  for (const auto& [key, steps] : lab.wirings) {
    if (key.first != attempt) continue;
    for (const auto& queue : steps.at("queues")) {
      if (queue.contains("create")) continue;
      if (queue.at("id") == "q0") queues.erase(0);
      queues.push_back({{"id", queue.at("id")},
                        {"depth", 0},
                        {"open_producers", never_drained ? 1 : 0},
                        {"open_consumers", 1}});
    }
  }
  json processes = json::array();
  for (const auto& [name, node] : lab.nodes)
    for (const auto& [proc, process] : node.processes)
      if (process.attempt == attempt) processes.push_back({{"proc", proc}, {"joined", !idle.contains(proc)}});
  return CallReply{{{"queues", std::move(queues)}, {"processes", std::move(processes)}}, {}};
}

Result<CallReply> FakeHostAgent::call(const std::string& lab, const std::string& name, const std::string& op,
                                      const json& args, std::string, std::chrono::milliseconds) {
  if (kernels && (op.starts_with("kernel.") || op.starts_with("dvm.") || op.starts_with("registry.")))
    return kernels(name, op, args);
  MVM_TRY(enter(op));
  auto* node = find(lab, name);
  if (node == nullptr) return missing("node " + lab + "/" + name);
  if (node->state == host::NodeState::kLost)
    return Error(ErrorCode::kUnavailable, "node " + name + " is lost");
  if (op == "proc.start") return start(*node, args);
  if (op == "proc.release") return release(*node, args);
  if (op == "build.start") return build(*node, args);
  if (op == "file.get") return file(*node, args);
  if (op == "proc.signal") return signal(*node, args);
  if (op == "proc.input") {
    // An exec'd program ends once it has read all of its input.
    if (auto_exit) end_process(*node, args.at("proc"), exit_code, 0);
    return CallReply{json::object(), {}};
  }
  if (op == "attempt.clean") {
    const auto attempt = args.at("attempt").get<std::string>();
    std::erase_if(node->processes, [&](const auto& entry) { return entry.second.attempt == attempt; });
    node->wired.erase(attempt);
    return CallReply{json::object(), {}};
  }
  if (op == "wire.stats") return stats(labs_.at(lab), args.at("attempt"));
  if (op == "wire.peek") {
    // One message of which only a part is asked for, and which says where it came from.
    const std::string text = name + " " + args.at("queue").get<std::string>();
    const auto length = std::min<std::size_t>(text.size(), args.at("bytes").get<std::size_t>());
    const json message = {{"n", 7}, {"size", text.size()}, {"length", length}, {"key", 3}, {"age_ns", 900}};
    return CallReply{{{"messages", {message}}, {"steady", true}, {"depth", 4}, {"bytes", 40}},
                     text.substr(0, length)};
  }
  if (op == "wire.drain") {
    const std::string text = name + " " + args.at("queue").get<std::string>();
    const json message = {{"n", 7}, {"size", text.size()}, {"length", text.size()}};
    const bool told = args.at("bytes") != 0;
    return CallReply{{{"messages", told ? json::array({message}) : json::array()},
                      {"drained", 1},
                      {"bytes", text.size()},
                      {"before", args.at("before").get<std::uint64_t>() + 8},
                      {"more", args.at("before") == 0},
                      {"pending", false}},
                     told ? text : std::string()};
  }
  return CallReply{json::object(), {}};
}

Status FakeHostAgent::send_blob(const std::string& lab, const std::string& name, const std::string& digest) {
  MVM_TRY(enter("send_blob"));
  auto* node = find(lab, name);
  if (node == nullptr) return missing("node " + name);
  if (node->state == host::NodeState::kLost)
    return Error(ErrorCode::kUnavailable, "node " + name + " is lost");
  if (node->blobs.contains(digest)) return ok();
  MVM_ASSIGN(node->blobs[digest], blobs_.read_whole(digest, 1U << 20U));
  return ok();
}

Status FakeHostAgent::fetch_blob(const std::string& lab, const std::string& name, const std::string& digest) {
  MVM_TRY(enter("fetch_blob"));
  auto* node = find(lab, name);
  if (node == nullptr || !node->blobs.contains(digest)) return missing("blob " + digest + " in node " + name);
  MVM_TRY(blobs_.put(node->blobs[digest]));
  return ok();
}

Status FakeHostAgent::wire(const std::string& lab, const std::string& attempt,
                           const host::DomainWiring& wiring) {
  MVM_TRY(enter("wire"));
  const auto found = labs_.find(lab);
  if (found == labs_.end()) return missing("lab " + lab);
  if (!wiring.steps.at("proxies").empty() && wiring.node.empty() && !found->second.spec.proxy)
    return Error(ErrorCode::kInvalid, "lab " + lab + " was made without a proxy, but a link needs one");
  for (const auto& process : wiring.steps.at("processes")) {
    const auto name = wiring.node.empty() ? process.at("node").get<std::string>() : wiring.node;
    auto* node = find(lab, name);
    if (node == nullptr || node->state == host::NodeState::kLost)
      return Error(ErrorCode::kUnavailable, "node " + name + " is lost");
    node->wired.insert(attempt);
  }
  auto& present = found->second.wirings[{attempt, wiring.node}];
  if (!present.is_null() && present.at("generation") > wiring.steps.at("generation")) return ok();
  if (!wiring.steps.value("hold", false)) present = wiring.steps;
  world_.steps.push_back(wiring.steps);
  return ok();
}

Status FakeHostAgent::unwire(const std::string& lab, const std::string& attempt) {
  MVM_TRY(enter("unwire"));
  if (const auto found = labs_.find(lab); found != labs_.end())
    std::erase_if(found->second.wirings, [&](const auto& entry) { return entry.first.first == attempt; });
  return ok();
}

Result<host::HostEvents> FakeHostAgent::events(const std::string& epoch, std::uint64_t seq,
                                               std::chrono::milliseconds) {
  told_down_ = down;
  MVM_TRY(enter("events"));
  if (epoch == epoch_) {
    acked_ = std::max(acked_, seq);
    while (!log_.empty() && log_.front().seq <= seq) log_.pop_front();
  }
  host::HostEvents page{.epoch = epoch_, .events = {log_.begin(), log_.end()}};
  served_ = next_ - 1;
  return page;
}

Result<host::Inventory> FakeHostAgent::inventory() {
  MVM_TRY(enter("inventory"));
  host::Inventory found;
  for (const auto& [name, lab] : labs_) {
    found.labs.push_back(name);
    for (const auto& [node_name, node] : lab.nodes)
      found.nodes.push_back(
          {.spec = node.spec, .state = node.state, .boot = node.boot, .wsdl = {}, .details = {}});
  }
  return found;
}

Result<std::string> FakeHostAgent::console(const std::string& lab, const std::string& node,
                                           std::uint64_t offset) {
  MVM_TRY(enter("console"));
  if (find(lab, node) == nullptr) return missing("node " + node);
  const std::string text = "booting\nlogin:";
  return offset >= text.size() ? std::string() : text.substr(offset);
}

}  // namespace mvm::fakes
