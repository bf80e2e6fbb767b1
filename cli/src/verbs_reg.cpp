// mvm reg ...: the registry of a lab. [Harness 001, §4]

#include <istream>
#include <iterator>
#include <ostream>

#include "common.h"
#include "format.h"
#include "kernel_targets.h"
#include "messages.h"
#include "mvm/base/base64.h"
#include "mvm/soap/registry_api.h"

namespace mvm::cli {
namespace {

constexpr std::size_t kMostValue = (std::size_t{1} << 20U) - 64;
constexpr std::uint32_t kPage = 1000;

/// Whose registry, and what in it.
struct Options {
  std::string where, name, value, wait;
  std::string encoding = "text";
  std::uint64_t index = 0, lease = 0, after = 0;
  bool has_after = false;
  bool anyone = false, multiple = false, overwrite = false, with_kernel = false, first = false, take = false;
  bool once = false;
};
using OptionsPtr = std::shared_ptr<Options>;

Result<soap::RegistryTarget> target_of(Session& session, const Options& options) {
  MVM_ASSIGN(const auto targets, resolve_scope(session, options.where, ""));
  if (targets.lab.empty() || targets.nodes.size() > 1)
    return Error(ErrorCode::kInvalid, "found " + options.where + ", expected LAB, JOB or LAB/NODE");
  return soap::RegistryTarget{.lab = targets.lab, .node = targets.nodes.empty() ? "" : targets.nodes.front()};
}

void add_where(Grammar& grammar, CLI::App& verb, const OptionsPtr& options) {
  grammar.completes(
      verb.add_option("LAB", options->where, "a lab or a job; LAB/NODE: the registry of this node's kernel")
          ->required(),
      Completes::kLab);
}

Listing info_listing() {
  return Listing("registry", {{"NAME", "name"},
                              {"INDEX", "index", true},
                              {"OWNER", "owner"},
                              {"FLAGS", "flags"},
                              {"SIZE", "size", true},
                              {"REVISION", "revision", true},
                              {"LEASE", "lease", true}});
}

Cell flags_cell(const std::vector<std::string>& flags) {
  return {flags.empty() ? "-" : one_line(join(flags, " ")), Json(flags)};
}

void add_row(Listing& listing, const soap::RegistryInfo& info) {
  listing.row({{one_line(info.name), info.name},
               info.index,
               {one_line(info.owner), info.owner},
               flags_cell(info.flags),
               info.size,
               info.revision,
               {info.lease == 0 ? "-" : std::to_string(info.lease), info.lease}});
}

Result<int> put(Session& session, const Options& options) {
  soap::RegistryPut put{.name = options.name,
                        .flags = {},
                        .index = options.index,
                        .lease = options.lease,
                        .encoding = options.encoding,
                        .value = options.value};
  if (options.value == "-") {
    put.value.assign(std::istreambuf_iterator<char>(session.context().in), {});
    if (options.encoding == "text" && put.value.ends_with('\n')) put.value.pop_back();
  }
  if (put.value.size() > kMostValue)
    return Error(ErrorCode::kInvalid, "the value has " + std::to_string(put.value.size()) +
                                          " bytes, expected at most " + std::to_string(kMostValue));
  if (put.encoding == "text" && (!is_text(put.value) || put.value.find('\0') != std::string::npos))
    return Error(ErrorCode::kInvalid, "the value is no text: say --encoding bytes");
  if (options.anyone) put.flags.emplace_back("anyone");
  if (options.multiple) put.flags.emplace_back("multiple");
  if (options.overwrite) put.flags.emplace_back("overwrite");
  if (!options.with_kernel && options.lease == 0) put.flags.emplace_back("persistent");
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto place, api.registry.put(session.caller(), target, put));
  Listing listing("registry-put",
                  {{"NAME", "name"}, {"INDEX", "index", true}, {"REVISION", "revision", true}});
  listing.row({{one_line(put.name), put.name}, place.index, place.revision});
  session.print(listing);
  return kDone;
}

soap::RegistryAsk ask_of(const Options& options) {
  soap::RegistryAsk ask{.name = options.name, .index = options.index, .flags = {}, .wait = {}};
  if (options.first) ask.flags.emplace_back("first-available");
  if (options.take) ask.flags.emplace_back("read-and-delete");
  if (!options.wait.empty()) ask.flags.emplace_back("wait");
  return ask;
}

Result<int> get(Session& session, const Options& options) {
  soap::RegistryAsk ask = ask_of(options);
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(auto api, session.api());
  auto left = std::chrono::milliseconds(0);
  if (!options.wait.empty()) {
    MVM_ASSIGN(left, parse_time(options.wait));
  }
  // One wait at the broker has its limit; a longer one is several.
  while (true) {
    ask.wait = std::min(left, kLongPoll);
    left -= ask.wait;
    auto found = api.registry.get(session.caller(), target, ask);
    if (!found && found.error().code() == ErrorCode::kTimeout && left.count() > 0) continue;
    if (!found) return std::move(found).error();
    if (session.as_table()) {
      session.out() << found->value;
      if (found->encoding == "text") session.out() << '\n';
      return kDone;
    }
    Listing listing("registry-item", {{"", "name"},
                                      {"", "index"},
                                      {"", "owner"},
                                      {"", "flags"},
                                      {"", "revision"},
                                      {"", "encoding"},
                                      {"", "text"},
                                      {"", "base64"}});
    const bool text = found->encoding == "text" && is_text(found->value);
    listing.row({found->info.name,
                 found->info.index,
                 found->info.owner,
                 flags_cell(found->info.flags),
                 found->info.revision,
                 found->encoding,
                 {"", text ? Json(found->value) : Json()},
                 {"", base64(found->value)}});
    session.print(listing);
    return kDone;
  }
}

Result<int> del(Session& session, const Options& options) {
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(auto api, session.api());
  MVM_TRY(api.registry.erase(session.caller(), target, ask_of(options)));
  return kDone;
}

Result<int> list(Session& session, const Options& options) {
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(auto api, session.api());
  Listing listing = info_listing();
  std::string after;
  std::uint64_t after_index = 0;
  while (true) {
    MVM_ASSIGN(const auto page,
               api.registry.list(session.caller(), target, options.name, after, after_index, kPage));
    for (const auto& info : page.infos) add_row(listing, info);
    if (!page.more || page.infos.empty()) break;
    after = page.infos.back().name;
    after_index = page.infos.back().index;
  }
  session.print(listing);
  return kDone;
}

Result<int> watch(Session& session, const Options& options) {
  MVM_ASSIGN(const auto target, target_of(session, options));
  MVM_ASSIGN(auto api, session.api());
  std::uint64_t cursor = options.after;
  if (!options.has_after && !options.once) {
    MVM_ASSIGN(const auto now, api.registry.list(session.caller(), target, "*", "", 0, 1));
    cursor = now.revision;
  }
  Pacer pacer(session);
  while (session.out()) {
    pacer.begin();
    const auto wait = options.once ? std::chrono::milliseconds(0) : kLongPoll;
    MVM_ASSIGN(const auto page, patiently(session, std::chrono::seconds(60), [&] {
                 return api.registry.watch(session.caller(), target, cursor, options.name, wait);
               }));
    cursor = page.cursor;
    for (const auto& event : page.events) {
      if (!session.as_table()) {
        session.out() << Json{{"schema", "mvm.registry-event/1"},
                              {"event", event.deleted ? "deleted" : "put"},
                              {"revision", event.revision},
                              {"name", event.info.name},
                              {"index", event.info.index},
                              {"owner", event.info.owner},
                              {"size", event.info.size}}
                             .dump()
                      << '\n';
        continue;
      }
      session.out() << event.revision << (event.deleted ? " deleted " : " put ") << one_line(event.info.name)
                    << '[' << event.info.index << ']';
      if (!event.deleted)
        session.out() << ' ' << event.info.size << " bytes by " << one_line(event.info.owner);
      session.out() << '\n';
    }
    session.out().flush();
    if (options.once && page.events.empty()) break;
    if (!options.once) pacer.end(!page.events.empty());
  }
  return kDone;
}

// ---- who serves it ----------------------------------------------------------------------------------------

/// A lab's nodes, of which some serve its registry.
struct NodesOptions {
  std::string lab, node;
  std::vector<std::string> nodes;
  soap::RegistryChoice choice;
  bool force = false;
  std::uint64_t id = 0;
};
using NodesPtr = std::shared_ptr<NodesOptions>;

Result<int> members(Session& session, const NodesOptions& options) {
  MVM_ASSIGN(const std::string lab, resolve_lab_or_job(session, options.lab));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto members, api.registry.members(session.caller(), lab));
  Listing listing("registry-member", {{"NODE", "node"},
                                      {"PROVIDER", "provider"},
                                      {"STATE", "state"},
                                      {"ID", "id", true},
                                      {"ROLE", "role"},
                                      {"ADDRESS", "address"},
                                      {"", "trouble"}});
  const auto or_dash = [](const std::string& text) {
    return Cell{text.empty() ? "-" : one_line(text), Json(text)};
  };
  for (const auto& one : members) {
    const bool good = one.state == "serves";
    const bool bad = one.state == "silent" || one.state == "failed";
    listing.row({or_dash(one.node),
                 or_dash(one.provider),
                 {one_line(one.state), one.state,
                  good  ? Colour::kGood
                  : bad ? Colour::kBad
                        : Colour::kNone},
                 {one.id == 0 ? "-" : std::to_string(one.id), one.id},
                 {one.leader         ? "leader"
                  : one.role.empty() ? "-"
                                     : one_line(one.role),
                  one.role},
                 or_dash(one.address),
                 {"", one.trouble}});
  }
  session.print(listing);
  for (const auto& one : members)
    if (!one.trouble.empty()) session.err() << "mvm: " << one_line(one.node + ": " + one.trouble) << '\n';
  return kDone;
}

Result<int> serve(Session& session, const NodesOptions& options) {
  MVM_ASSIGN(const std::string lab, resolve_lab_or_job(session, options.lab));
  std::vector<std::string> nodes;
  for (const std::string& text : options.nodes) {
    MVM_ASSIGN(std::string node, node_of_lab(text, lab, options.lab, "a registry"));
    nodes.push_back(std::move(node));
  }
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto outcome, api.registry.serve(session.caller(), lab, nodes, options.choice));
  Listing listing("registry-serve", {{"NODE", "node"}, {"DONE", "done"}, {"REASON", "reason"}});
  for (const auto& answer : outcome.answers)
    listing.row({{one_line(answer.node), answer.node},
                 {answer.done ? "yes" : "no", answer.done, answer.done ? Colour::kGood : Colour::kBad},
                 {one_line(answer.reason), answer.reason}});
  session.print(listing);
  if (outcome.committed) return kDone;
  session.err() << "mvm: nothing was done: not every node is able\n";
  return kAllAborted;
}

Result<int> leave(Session& session, const NodesOptions& options) {
  MVM_ASSIGN(const std::string lab, resolve_lab_or_job(session, options.lab));
  MVM_ASSIGN(const std::string node, node_of_lab(options.node, lab, options.lab, "a registry"));
  MVM_ASSIGN(auto api, session.api());
  MVM_TRY(api.registry.leave(session.caller(), lab, node, options.force));
  return kDone;
}

Result<int> confirm_lost(Session& session, const NodesOptions& options) {
  MVM_ASSIGN(const std::string lab, resolve_lab_or_job(session, options.lab));
  MVM_ASSIGN(auto api, session.api());
  MVM_TRY(api.registry.confirm_lost(session.caller(), lab, options.id));
  return kDone;
}

void add_node_verbs(Grammar& grammar, CLI::App& noun) {
  const auto verb = [&](const char* name, const char* about, const std::vector<std::string>& examples,
                        Result<int> (*run)(Session&, const NodesOptions&)) {
    auto options = std::make_shared<NodesOptions>();
    CLI::App& app = grammar.verb(noun, name, about, examples,
                                 [options, run](Session& session) { return run(session, *options); });
    grammar.completes(app.add_option("LAB", options->lab, "a lab or a job")->required(), Completes::kLab);
    return std::pair<CLI::App*, NodesPtr>(&app, options);
  };
  verb("members", "which nodes of a lab serve a registry, and who keeps it together with them",
       {"mvm reg members lab-3"}, members);
  {
    const auto [app, options] = verb("serve", "has nodes serve a registry, all of them or none",
                                     {"mvm reg serve lab-3", "mvm reg serve lab-3 cell-0 cell-1 cell-2",
                                      "mvm reg serve lab-3 --provider etcd --etcd http://10.0.0.5:2379"},
                                     serve);
    grammar.completes(app->add_option("NODE", options->nodes, "nodes of the lab (all)"), Completes::kNode);
    app->add_option("--provider", options->choice.provider,
                    "raft: one registry, kept by all of them; sqlite: each its own; etcd (raft)")
        ->check(one_of({"raft", "sqlite", "etcd"}));
    app->add_option("--etcd", options->choice.endpoints,
                    "a member of etcd, http://HOST:PORT; may be repeated")
        ->type_name("URL")
        ->take_all()
        ->allow_extra_args(false);
    app->add_option("--prefix", options->choice.prefix, "of the keys in etcd (mvm/registry/LAB/)");
  }
  {
    const auto [app, options] =
        verb("leave", "has a node serve no registry any more; a replicated one lives on with the others",
             {"mvm reg leave lab-3 cell-1", "mvm reg leave lab-3 cell-1 --force"}, leave);
    grammar.completes(app->add_option("NODE", options->node, "a node of the lab")->required(),
                      Completes::kNode);
    app->add_flag("--force", options->force, "also where the others do not answer");
  }
  {
    const auto [app, options] =
        verb("confirm-lost", "says that a member of a replicated registry never comes back",
             {"mvm reg confirm-lost lab-3 482913"}, confirm_lost);
    app->add_option("ID", options->id, "its number, see mvm reg members")->required();
  }
}

}  // namespace

void add_reg_verbs(Grammar& grammar) {
  CLI::App& noun = grammar.noun("reg", "the registry of a lab: names that hold items");
  const auto verb = [&](const char* name, const char* about, const std::vector<std::string>& examples,
                        Result<int> (*run)(Session&, const Options&)) {
    auto options = std::make_shared<Options>();
    CLI::App& app = grammar.verb(noun, name, about, examples,
                                 [options, run](Session& session) { return run(session, *options); });
    add_where(grammar, app, options);
    return std::pair<CLI::App*, OptionsPtr>(&app, options);
  };
  {
    const auto [app, options] =
        verb("put", "puts an item under a name; the caller owns it",
             {"mvm reg put lab-3 motd hello", "mvm reg put lab-3 work - --multiple --anyone < task"}, put);
    app->add_option("NAME", options->name, "1 to 255 bytes")->required();
    app->add_option("VALUE", options->value, "the item; -: from standard input")->required();
    app->add_option("--encoding", options->encoding,
                    "what the value is; item: packed values as they are (text)")
        ->check(one_of({"text", "bytes", "item"}));
    app->add_flag("--multiple", options->multiple, "one of several instances of the name");
    app->add_flag("--anyone", options->anyone, "others may overwrite and delete it, too");
    app->add_flag("--overwrite", options->overwrite, "replaces instance --index");
    app->add_option("--index", options->index, "with --overwrite: which instance (0)")->type_name("N");
    app->add_flag("--with-kernel", options->with_kernel, "it goes when the node's kernel goes");
    app->add_option("--lease", options->lease, "it goes when this lease ends")->type_name("ID");
  }
  {
    const auto [app, options] =
        verb("get", "writes an item to standard output",
             {"mvm reg get lab-3 motd", "mvm reg get lab-3 work --first --delete --wait 1m"}, get);
    app->add_option("NAME", options->name, "its name")->required();
    app->add_option("--index", options->index, "which instance (0)")->type_name("N");
    app->add_flag("--first", options->first, "the first instance from --index on");
    app->add_flag("--delete", options->take, "deletes it, in one step");
    app->add_option("--wait", options->wait, "waits so long until there is one")->type_name("TIME");
  }
  {
    const auto [app, options] = verb("del", "deletes an item", {"mvm reg del lab-3 motd"}, del);
    app->add_option("NAME", options->name, "its name")->required();
    app->add_option("--index", options->index, "which instance (0)")->type_name("N");
    app->add_flag("--first", options->first, "the first instance from --index on");
  }
  {
    const auto [app, options] = verb("ls", "what there is, without the items",
                                     {"mvm reg ls lab-3", "mvm reg ls lab-3 'dvm/*' -o json"}, list);
    options->name = "*";
    app->add_option("PATTERN", options->name, "names that match: * any bytes, ? one, [a-z] a set (*)");
  }
  {
    const auto [app, options] =
        verb("watch", "the changes, as they come",
             {"mvm reg watch lab-3", "mvm reg watch lab-3 'dvm/*' --after 17"}, watch);
    options->name = "*";
    app->add_option("PATTERN", options->name, "names that match (*)");
    app->add_option_function<std::uint64_t>(
           "--after",
           [options = options](const std::uint64_t& revision) {
             options->after = revision;
             options->has_after = true;
           },
           "from this revision on (from now on)")
        ->type_name("REVISION");
    app->add_flag("--once", options->once, "only what there is already");
  }
  add_node_verbs(grammar, noun);
}

}  // namespace mvm::cli
