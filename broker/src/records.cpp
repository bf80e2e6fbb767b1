#include "records.h"

#include "mvm/base/frame.h"

namespace mvm::broker {
namespace {

using nlohmann::json;

/// Parses and converts; a missing or mistyped field is reported by the JSON library as an exception.
template <class Convert>
auto read(std::string_view what, std::string_view text, Convert convert)
    -> Result<std::decay_t<decltype(convert(std::declval<const json&>()))>> {
  MVM_ASSIGN(const json value, parse_json(text));
  try {
    return convert(value);
  } catch (const json::exception& problem) {
    return Error(ErrorCode::kCorrupt, std::string(what) + " in the store: " + problem.what());
  }
}

json core_json(const JobCore& core) {
  return {{"state", to_string(core.state)},
          {"outcome", to_string(core.outcome)},
          {"attempt", core.attempt},
          {"retries_left", core.retries_left}};
}

JobCore core_from(const json& value) {
  JobCore core;
  core.state = job_state_from(value.at("state").get<std::string>()).value_or(JobState::kFailed);
  core.outcome = outcome_from(value.at("outcome").get<std::string>()).value_or(Outcome::kNone);
  core.attempt = value.at("attempt");
  core.retries_left = value.at("retries_left");
  return core;
}

json transition_json(const soap::Transition& t) {
  return {{"at", t.at_ms}, {"from", t.from}, {"to", t.to}, {"reason", t.reason}, {"attempt", t.attempt}};
}

soap::Transition transition_from(const json& value) {
  return {.at_ms = value.at("at"),
          .from = value.at("from"),
          .to = value.at("to"),
          .reason = value.at("reason"),
          .attempt = value.at("attempt")};
}

json node_json(const PlanNode& node) {
  return json::array({node.node, node.host, node.driver, node.image, node.image_digest, node.architecture,
                      node.address, node.vcpus, node.memory, node.toolchain, node.machines, node.existing,
                      node.seat});
}

PlanNode node_from(const json& value) {
  return {.node = value.at(0),
          .host = value.at(1),
          .driver = value.at(2),
          .image = value.at(3),
          .image_digest = value.at(4),
          .architecture = value.at(5),
          .address = value.at(6),
          .vcpus = value.at(7),
          .memory = value.at(8),
          .toolchain = value.at(9),
          .machines = value.at(10),
          .existing = value.at(11),
          .seat = value.size() > 12 ? value.at(12).get<std::uint32_t>() : 0};
}

}  // namespace

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string padded(std::uint64_t number) {
  std::string digits = std::to_string(number);
  return std::string(digits.size() < 12 ? 12 - digits.size() : 0, '0') + digits;
}

std::string encode(const JobRecord& r) {
  json transitions = json::array();
  for (const auto& t : r.transitions) transitions.push_back(transition_json(t));
  return dump({{"number", r.number},
               {"id", r.id},
               {"lab", r.lab},
               {"name", r.name},
               {"user", r.user},
               {"file", r.file},
               {"own_lab", r.own_lab},
               {"profile", r.profile},
               {"settings", r.settings},
               {"request", r.request},
               {"sources", r.sources},
               {"core", core_json(r.core)},
               {"cancel_asked", r.cancel_asked},
               {"rewired", r.rewired},
               {"collected", r.collected},
               {"reason", r.reason},
               {"submitted", r.submitted_ms},
               {"started", r.started_ms},
               {"ended", r.ended_ms},
               {"running", r.running_ms},
               {"exit_code", r.exit_code},
               {"where", r.where},
               {"node_count", r.node_count},
               {"transitions", transitions}});
}

Result<JobRecord> decode_job(std::string_view text) {
  return read("job", text, [](const json& v) {
    JobRecord r;
    r.number = v.at("number");
    r.id = v.at("id");
    r.lab = v.at("lab");
    r.name = v.at("name");
    r.user = v.at("user");
    r.file = v.at("file");
    r.own_lab = v.at("own_lab");
    r.profile = v.at("profile");
    r.settings = v.at("settings").get<std::map<std::string, std::string>>();
    r.request = v.at("request");
    r.sources = v.at("sources").get<std::vector<std::string>>();
    r.core = core_from(v.at("core"));
    r.cancel_asked = v.at("cancel_asked");
    r.rewired = v.value("rewired", false);
    r.collected = v.at("collected");
    r.reason = v.at("reason");
    r.submitted_ms = v.at("submitted");
    r.started_ms = v.at("started");
    r.ended_ms = v.at("ended");
    r.running_ms = v.at("running");
    r.exit_code = v.at("exit_code");
    r.where = v.at("where").get<std::vector<std::string>>();
    r.node_count = v.at("node_count");
    for (const auto& t : v.at("transitions")) r.transitions.push_back(transition_from(t));
    return r;
  });
}

std::string encode(const LabRecord& r) {
  return dump({{"id", r.id},
               {"name", r.name},
               {"user", r.user},
               {"job", r.job},
               {"ephemeral", r.ephemeral},
               {"destroying", r.destroying},
               {"secret", r.secret},
               {"codec_seed", r.codec_seed},
               {"subnets", r.subnets},
               {"proxies", r.proxies},
               {"plain", r.plain},
               {"secured", r.secured},
               {"created", r.created_ms},
               {"profile", r.profile},
               {"settings", r.settings}});
}

Result<LabRecord> decode_lab(std::string_view text) {
  return read("lab", text, [](const json& v) {
    LabRecord r;
    r.id = v.at("id");
    r.name = v.at("name");
    r.user = v.at("user");
    r.job = v.at("job");
    r.ephemeral = v.at("ephemeral");
    r.destroying = v.at("destroying");
    r.secret = v.at("secret");
    r.codec_seed = v.value("codec_seed", r.secret);
    r.subnets = v.at("subnets").get<std::map<std::string, std::string>>();
    r.proxies = v.at("proxies").get<std::set<std::string>>();
    r.plain = v.value("plain", std::set<std::string>());
    r.secured = v.value("secured", std::set<std::string>());
    r.created_ms = v.at("created");
    r.profile = v.at("profile");
    r.settings = v.at("settings").get<std::map<std::string, std::string>>();
    return r;
  });
}

std::string encode(const BuildRecord& r) {
  return dump({{"key", r.key},
               {"state", r.state},
               {"role", r.role},
               {"image", r.image},
               {"architecture", r.architecture},
               {"command", r.command},
               {"source", r.source},
               {"job", r.job},
               {"lab", r.lab},
               {"host", r.host},
               {"node", r.node},
               {"digest", r.digest},
               {"reason", r.reason},
               {"at", r.at_ms},
               {"size", r.size},
               {"wall_ms", r.wall_ms},
               {"hits", r.hits},
               {"user", r.user}});
}

Result<BuildRecord> decode_build(std::string_view text) {
  return read("build", text, [](const json& v) {
    BuildRecord r;
    r.key = v.at("key");
    r.state = v.at("state");
    r.role = v.at("role");
    r.image = v.at("image");
    r.architecture = v.at("architecture");
    r.command = v.at("command");
    r.source = v.at("source");
    r.job = v.at("job");
    r.lab = v.at("lab");
    r.host = v.at("host");
    r.node = v.at("node");
    r.digest = v.at("digest");
    r.reason = v.at("reason");
    r.at_ms = v.at("at");
    r.size = v.at("size");
    r.wall_ms = v.at("wall_ms");
    r.hits = v.at("hits");
    r.user = v.at("user");
    return r;
  });
}

std::string encode(const EndRecord& r) {
  return dump({{"code", r.code},
               {"signal", r.signal},
               {"user", r.user_ms},
               {"system", r.system_ms},
               {"rss", r.max_rss}});
}

int exit_code(const EndRecord& end) { return end.signal != 0 ? 128 + end.signal : end.code; }

std::string how_ended(const EndRecord& end) {
  return end.signal != 0 ? "was ended by signal " + std::to_string(end.signal)
                         : "ended with code " + std::to_string(end.code);
}

Result<EndRecord> decode_end(std::string_view text) {
  return read("process end", text, [](const json& v) {
    return EndRecord{.code = v.at("code"),
                     .signal = v.at("signal"),
                     .user_ms = v.at("user"),
                     .system_ms = v.at("system"),
                     .max_rss = v.at("rss")};
  });
}

std::string encode(const ExecRecord& r) {
  return dump({{"id", r.id},
               {"lab", r.lab},
               {"node", r.node},
               {"host", r.host},
               {"user", r.user},
               {"ended", r.ended},
               {"code", r.code},
               {"at", r.at_ms}});
}

Result<ExecRecord> decode_exec(std::string_view text) {
  return read("exec", text, [](const json& v) {
    return ExecRecord{.id = v.at("id"),
                      .lab = v.at("lab"),
                      .node = v.at("node"),
                      .host = v.at("host"),
                      .user = v.at("user"),
                      .ended = v.at("ended"),
                      .code = v.at("code"),
                      .at_ms = v.at("at")};
  });
}

std::string encode(const CursorRecord& r) { return dump({{"epoch", r.epoch}, {"seq", r.seq}}); }

Result<CursorRecord> decode_cursor(std::string_view text) {
  return read("cursor", text,
              [](const json& v) { return CursorRecord{.epoch = v.at("epoch"), .seq = v.at("seq")}; });
}

std::string encode(const HostRecord& r) {
  return dump({{"name", r.name},
               {"url", r.url},
               {"key", r.key},
               {"drained", r.drained},
               {"removed", r.removed},
               {"joined_ms", r.joined_ms}});
}

Result<HostRecord> decode_host(std::string_view text) {
  return read("host", text, [](const json& v) {
    return HostRecord{.name = v.at("name"),
                      .url = v.at("url"),
                      .key = v.at("key"),
                      .drained = v.at("drained"),
                      .removed = v.at("removed"),
                      .joined_ms = v.at("joined_ms")};
  });
}

std::string encode(const InviteRecord& r) {
  return dump({{"name", r.name}, {"key", r.key}, {"expires_ms", r.expires_ms}});
}

Result<InviteRecord> decode_invite(std::string_view text) {
  return read("invite", text, [](const json& v) {
    return InviteRecord{.name = v.at("name"), .key = v.at("key"), .expires_ms = v.at("expires_ms")};
  });
}

std::string encode(const Plan& plan) {
  json nodes = json::array();
  for (const auto& node : plan.nodes) nodes.push_back(node_json(node));
  json codecs = json::array();
  for (const auto& [link, chain] : plan.codecs) codecs.push_back({{"link", link}, {"chain", chain}});
  json born = json::array();
  for (const auto& [process, rewiring] : plan.born) born.push_back(json::array({process, rewiring}));
  return dump({{"nodes", nodes}, {"node_of", plan.node_of}, {"born", born}, {"codecs", codecs}});
}

Result<Plan> decode_plan(std::string_view text) {
  MVM_ASSIGN(auto plan, read("plan", text, [](const json& v) {
               Plan p;
               for (const auto& node : v.at("nodes")) p.nodes.push_back(node_from(node));
               p.node_of = v.at("node_of").get<std::vector<std::uint32_t>>();
               for (const auto& one : v.value("born", json::array())) p.born[one.at(0)] = one.at(1);
               for (const auto& one : v.value("codecs", json::array()))
                 p.codecs[one.at("link")] = one.at("chain").get<std::vector<std::string>>();
               return p;
             }));
  for (const auto node : plan.node_of)
    if (node >= plan.nodes.size())
      return Error(ErrorCode::kCorrupt, "plan in the store: a process on no node");
  return plan;
}

std::string encode(const std::vector<soap::ResultFile>& results) {
  json list = json::array();
  for (const auto& file : results)
    list.push_back(json::array({file.name, file.process, file.digest, file.size}));
  return dump(list);
}

Result<std::vector<soap::ResultFile>> decode_results(std::string_view text) {
  return read("results", text, [](const json& v) {
    std::vector<soap::ResultFile> results;
    for (const auto& file : v)
      results.push_back(
          {.name = file.at(0), .process = file.at(1), .digest = file.at(2), .size = file.at(3)});
    return results;
  });
}

std::string encode(const std::map<std::string, std::string>& texts) { return dump(json(texts)); }

Result<std::map<std::string, std::string>> decode_texts(std::string_view text) {
  return read("map", text, [](const json& v) { return v.get<std::map<std::string, std::string>>(); });
}

std::string encode(const LogRecord& r) {
  return dump({{"p", r.process}, {"n", r.node}, {"s", r.stream}, {"o", r.offset}, {"t", r.at_ms}}) + "\n" +
         r.text;
}

Result<LogRecord> decode_log(std::string_view text) {
  const auto end = text.find('\n');
  if (end == std::string_view::npos) return Error(ErrorCode::kCorrupt, "log piece in the store");
  MVM_ASSIGN(auto record, read("log piece", text.substr(0, end), [](const json& v) {
               return LogRecord{.process = v.at("p"),
                                .node = v.at("n"),
                                .stream = v.at("s"),
                                .offset = v.at("o"),
                                .at_ms = v.at("t"),
                                .text = {}};
             }));
  record.text = text.substr(end + 1);
  return record;
}

}  // namespace mvm::broker
