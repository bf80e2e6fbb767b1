#include "node_service.h"

#include <algorithm>
#include <set>
#include <thread>

#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/host_port.h"
#include "mvm/base/json.h"

namespace mvm::plugins::node {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::size_t kMostHosts = 4096;
constexpr std::size_t kLargestSettings = 4 << 20;
constexpr milliseconds kAddressTime{5'000};
constexpr milliseconds kAddressPause{50};

bool plain_name(const std::string& text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.';
  });
}

bool plain_address(const std::string& text) {
  return !text.empty() && text.size() <= 45 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isxdigit(c) != 0 || c == '.' || c == ':';
  });
}

std::uint16_t port_of(const json& object) {
  const std::uint64_t port = number_or(object, "port");
  return port <= 65535 ? static_cast<std::uint16_t>(port) : std::uint16_t{0};
}

std::string url_of(const std::string& address, std::uint16_t port) {
  return "http://" + HostPort{address, port}.text();
}

}  // namespace

NodeService::~NodeService() { server_.reset(); }

Status NodeService::offer() {
  MVM_TRY(kernel_.handle("node.configure", [this](kernel::Call& call) { return configure(call.args); }));
  MVM_TRY(kernel_.handle("node.call", [this](kernel::Call& call) { return call_peer(call.args); }));
  return resume();
}

// ---- configuration -------------------------------------------------------------------------------------

Result<NodeService::Settings> NodeService::settings_from(const json& args) {
  Settings settings;
  const auto soap = args.find("soap");
  if (soap == args.end() || !soap->is_object())
    return Error(ErrorCode::kInvalid, "node.configure needs soap: {address, port, token}");
  settings.own = {
      .address = text_or(*soap, "address"), .port = port_of(*soap), .token = text_or(*soap, "token")};
  if (!plain_address(settings.own.address))
    return Error(ErrorCode::kInvalid, "\"" + settings.own.address + "\" is no address to serve on");
  if (settings.own.token.size() < 32 || settings.own.token.size() > 256)
    return Error(ErrorCode::kInvalid, "the node's token is too short or too long");
  const json& hosts = array_or_empty(args, "hosts");
  if (hosts.size() > kMostHosts) return Error(ErrorCode::kInvalid, "more nodes than a lab may have");
  for (const json& host : hosts) {
    if (!host.is_object()) return Error(ErrorCode::kInvalid, "a host is {name, address}");
    const std::string name = text_or(host, "name");
    Place place{.address = text_or(host, "address"), .port = port_of(host), .token = text_or(host, "token")};
    if (!plain_name(name) || !plain_address(place.address))
      return Error(ErrorCode::kInvalid, "a host's name or address is malformed");
    if (place.port == 0) place.port = settings.own.port;
    if (place.token.empty()) place.token = settings.own.token;
    settings.peers[name] = std::move(place);
  }
  return settings;
}

Result<kernel::Answer> NodeService::configure(const json& args) {
  MVM_ASSIGN(Settings settings, settings_from(args));
  const std::lock_guard one(configuring_);
  std::uint16_t port = 0;
  {
    const std::lock_guard lock(mutex_);
    port = server_ ? server_->port() : std::uint16_t{0};
  }
  // Asked for any port, it keeps the one it has.
  Place wanted = settings.own;
  if (wanted.port == 0) wanted.port = port;
  bool same = false;
  {
    const std::lock_guard lock(mutex_);
    same = server_ && settings_.own == wanted;
  }
  if (!same) MVM_TRY(serve(wanted));
  MVM_TRY(write_hosts(settings));
  {
    const std::lock_guard lock(mutex_);
    settings.own.port = server_->port();
    if (settings_.peers != settings.peers) clients_.clear();
    settings_ = settings;
  }
  json kept = args;
  kept["soap"]["port"] = settings.own.port;
  MVM_TRY(write_file_durably(kernel_.config().run / "node.json",
                             kept.dump(-1, ' ', false, json::error_handler_t::replace), 0600));
  return kernel::Answer{{{"soap",
                          {{"address", settings.own.address},
                           {"port", settings.own.port},
                           {"wsdl", url_of(settings.own.address, settings.own.port) + "/?wsdl"}}}},
                        {}};
}

Status NodeService::serve(const Place& place) {
  {
    const std::lock_guard lock(mutex_);
    server_.reset();
    identity_.revoke(settings_.own.token);
  }
  identity_.add(
      {.secret = place.token, .caller = {.user = "node", .role = "lab", .lab = kernel_.config().lab}});
  soap::ServerOptions options;
  options.address = place.address;
  options.port = place.port;
  options.plain_in_lab = true;
  options.spool = kernel_.config().run;
  options.limits.workers = 2;
  options.limits.long_polls = 16;  // visits: they wait for other nodes
  options.limits.transfers = 1;
  options.limits.connections = 256;
  options.limits.body_bytes = 1 << 20;
  options.limits.blob_bytes = 0;
  // The address may come up a moment after the kernel.
  const auto end = std::chrono::steady_clock::now() + kAddressTime;
  for (;;) {
    auto started = soap::SoapServer::start(options, {.identity = &identity_, .node = this});
    if (started) {
      const std::lock_guard lock(mutex_);
      server_ = std::move(*started);
      log::info("node.serving", {{"url", server_->url()}});
      return ok();
    }
    if (started.error().code() != ErrorCode::kIo || std::chrono::steady_clock::now() > end)
      return std::move(started).error();
    std::this_thread::sleep_for(kAddressPause);
  }
}

Status NodeService::resume() {
  const auto text = read_file(kernel_.config().run / "node.json", kLargestSettings);
  if (!text) return ok();  // never configured in this boot
  const auto args = parse_json(*text, 8);
  // Not being able to is no reason to be refused: the host configures the node again.
  const auto again = args ? configure(*args) : Result<kernel::Answer>(args.error());
  if (!again) log::warning("node.not_resumed", {{"reason", again.error().describe()}});
  return ok();
}

Status NodeService::write_hosts(const Settings& settings) const {
  std::string text = "127.0.0.1 localhost\n::1 localhost\n";
  for (const auto& [name, place] : settings.peers) text += place.address + " " + name + "\n";
  MVM_TRY(write_file_durably(kernel_.config().run / "hosts", text, 0644));
  // In a VM of its own the node has an /etc of its own; a plain process shares the host's, which is not ours.
  if (kernel_.config().run != "/run/mvm") return ok();
  return write_file_durably("/etc/hosts", text, 0644);
}

// ---- serving -------------------------------------------------------------------------------------------

Result<soap::NodeInfoView> NodeService::info(const soap::Caller& /*caller*/) {
  MVM_ASSIGN(const kernel::Answer answer, kernel_.call({.op = "node.info"}));
  const json& result = answer.result;
  soap::NodeInfoView view{.node = kernel_.config().node,
                          .lab = kernel_.config().lab,
                          .boot = kernel_.config().boot,
                          .architecture = text_or(result, "arch"),
                          .version = text_or(result, "version")};
  view.uptime_ms = static_cast<std::int64_t>(number_or(result, "uptime_ms"));
  view.processes = static_cast<std::uint32_t>(number_or(result, "processes"));
  for (const json& tool : array_or_empty(result, "toolchains")) {
    if (!tool.is_object()) continue;
    const std::string version = text_or(tool, "version");
    view.toolchains.push_back(text_or(tool, "name") + (version.empty() ? "" : " " + version));
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [name, place] : settings_.peers) view.peers.push_back({name, place.address});
  return view;
}

Result<std::vector<soap::NodeProcessView>> NodeService::processes(const soap::Caller& /*caller*/) {
  MVM_ASSIGN(const auto all, kernel_.processes().list());
  std::vector<soap::NodeProcessView> views;
  for (const kernel::ProcessInfo& one : all)
    views.push_back({.process = one.id,
                     .pid = static_cast<int>(one.pid),
                     .state = one.state == kernel::ProcessState::kRunning ? "running" : "exited",
                     .code = one.code,
                     .signal = one.signal});
  return views;
}

namespace {

/// "1 producer waits for room", of what wire.stats says of a queue.
std::string waiting_text(const json& queue) {
  const auto found = queue.find("waiting");
  if (found == queue.end() || !found->is_object()) return {};
  std::string text;
  const auto say = [&](const char* of, const std::string& who, const std::string& what) {
    const auto count = number_or(*found, of);
    if (count > 0)
      text += (text.empty() ? "" : "; ") + std::to_string(count) + " " + who +
              (count == 1 ? " waits for " : "s wait for ") + what;
  };
  say("producers", "producer", "room");
  say("consumers", "consumer", "messages");
  return text;
}

}  // namespace

Result<std::vector<soap::QueueView>> NodeService::queues(const soap::Caller& /*caller*/) {
  MVM_ASSIGN(const auto all, kernel_.processes().list());
  std::set<std::string> attempts;
  for (const kernel::ProcessInfo& one : all)
    if (!one.group.empty()) attempts.insert(one.group);
  std::vector<soap::QueueView> views;
  for (const std::string& attempt : attempts) {
    const auto answer = kernel_.call({.op = "wire.stats", .args = {{"attempt", attempt}}});
    if (!answer) continue;  // an attempt without queues here
    for (const json& queue : array_or_empty(answer->result, "queues")) {
      if (!queue.is_object()) continue;
      const json& latency = object_or_empty(queue, "latency");
      views.push_back({.lab = kernel_.config().lab,
                       .job = attempt,
                       .link = text_or(queue, "id"),
                       .where = kernel_.config().node,
                       .depth = number_or(queue, "depth"),
                       .capacity = number_or(queue, "capacity"),
                       .bytes = number_or(queue, "bytes"),
                       .enqueued = number_or(queue, "enqueued"),
                       .dequeued = number_or(queue, "dequeued"),
                       .dropped = number_or(queue, "dropped"),
                       .waiting = waiting_text(queue),
                       .bytes_enqueued = number_or(queue, "bytes_enqueued"),
                       .bytes_dequeued = number_or(queue, "bytes_dequeued"),
                       .latency_samples = number_or(latency, "samples"),
                       .latency_p50_ns = number_or(latency, "p50_ns"),
                       .latency_p99_ns = number_or(latency, "p99_ns")});
    }
  }
  return views;
}

Result<std::vector<soap::NodePluginView>> NodeService::plugins(const soap::Caller& /*caller*/) {
  MVM_ASSIGN(const kernel::Answer answer, kernel_.call({.op = "kernel.plugins"}));
  std::vector<soap::NodePluginView> views;
  for (const json& one : array_or_empty(answer.result, "plugins"))
    if (one.is_object())
      views.push_back(
          {text_or(one, "name"), text_or(one, "version"), text_or(one, "owner"), text_or(one, "state")});
  return views;
}

// ---- calling others ------------------------------------------------------------------------------------

Result<std::shared_ptr<soap::NodeClient>> NodeService::peer(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (const auto known = clients_.find(name); known != clients_.end()) return known->second;
  const auto found = settings_.peers.find(name);
  if (found == settings_.peers.end()) return Error(ErrorCode::kNotFound, "no node " + name + " in this lab");
  const Place& place = found->second;
  MVM_ASSIGN(auto client,
             soap::NodeClient::create({.url = url_of(place.address, place.port), .token = place.token}));
  std::shared_ptr<soap::NodeClient> shared = std::move(client);
  clients_[name] = shared;
  return shared;
}

Result<std::vector<std::string>> NodeService::visit(const soap::Caller& /*caller*/,
                                                    const std::vector<std::string>& route) {
  std::vector<std::string> visited{kernel_.config().node};
  if (route.empty()) return visited;
  MVM_ASSIGN(const auto next, peer(route.front()));
  auto rest = next->visit({}, {route.begin() + 1, route.end()});
  if (!rest) return std::move(rest).error().wrap("visit " + route.front());
  visited.insert(visited.end(), rest->begin(), rest->end());
  return visited;
}

Result<kernel::Answer> NodeService::call_peer(const json& args) {
  const std::string op = text_or(args, "op");
  MVM_ASSIGN(const auto client, peer(text_or(args, "peer")));
  json result = json::object();
  if (op == "info") {
    MVM_ASSIGN(const auto info, client->info());
    result = {{"node", info.node},          {"lab", info.lab},         {"boot", info.boot},
              {"arch", info.architecture},  {"version", info.version}, {"uptime_ms", info.uptime_ms},
              {"processes", info.processes}};
  } else if (op == "processes") {
    MVM_ASSIGN(const auto all, client->processes());
    result["processes"] = json::array();
    for (const auto& one : all)
      result["processes"].push_back({{"proc", one.process},
                                     {"pid", one.pid},
                                     {"state", one.state},
                                     {"code", one.code},
                                     {"signal", one.signal}});
  } else if (op == "plugins") {
    MVM_ASSIGN(const auto all, client->plugins());
    result["plugins"] = json::array();
    for (const auto& one : all)
      result["plugins"].push_back(
          {{"name", one.name}, {"version", one.version}, {"owner", one.owner}, {"state", one.state}});
  } else if (op == "visit") {
    std::vector<std::string> route;
    for (const json& name : array_or_empty(args, "route"))
      if (name.is_string()) route.push_back(name.get<std::string>());
    MVM_ASSIGN(const auto visited, client->visit({}, route));
    result["visited"] = visited;
  } else {
    return Error(ErrorCode::kUnsupported, "node.call knows info, processes, plugins and visit, not " + op);
  }
  return kernel::Answer{std::move(result), {}};
}

}  // namespace mvm::plugins::node
