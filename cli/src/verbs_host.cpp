// mvm host list, invite, drain, enable, remove

#include "common.h"
#include "format.h"

namespace mvm::cli {
namespace {

void add_list(Grammar& grammar, CLI::App& noun) {
  auto watch = std::make_shared<std::shared_ptr<Watch>>();
  CLI::App& verb =
      grammar.verb(noun, "list", "hosts and what is free on them", {"mvm host list", "mvm host list -o json"},
                   [watch](Session& session) {
                     return show<Listing>(session, **watch, [&]() -> Result<Listing> {
                       MVM_ASSIGN(auto api, session.api());
                       MVM_ASSIGN(const auto hosts, api.system.hosts(session.caller()));
                       Listing listing("host", {{"HOST", "name"},
                                                {"STATE", "state"},
                                                {"ARCH", "architecture"},
                                                {"VCPUS", ""},
                                                {"MEMORY", ""},
                                                {"DRIVERS", "drivers"},
                                                {"IMAGES", "images"},
                                                {"", "vcpus"},
                                                {"", "vcpus_used"},
                                                {"", "memory"},
                                                {"", "memory_used"}});
                       for (const soap::HostView& host : hosts) {
                         listing.row({host.name,
                                      host.state,
                                      host.architecture,
                                      std::to_string(host.vcpus_used) + "/" + std::to_string(host.vcpus),
                                      human_bytes(host.memory_used) + "/" + human_bytes(host.memory),
                                      {join(host.drivers, ", "), host.drivers},
                                      {join(host.images, ", "), host.images},
                                      host.vcpus,
                                      host.vcpus_used,
                                      host.memory,
                                      host.memory_used});
                       }
                       return listing;
                     });
                   });
  *watch = add_watch(grammar, verb);
}

struct InviteOptions {
  std::string name, valid = "1h";
};

Result<int> invite(Session& session, const InviteOptions& options) {
  MVM_ASSIGN(const auto valid, parse_time(options.valid));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto invite, api.hosts.invite(session.caller(), options.name,
                                                 std::chrono::duration_cast<std::chrono::seconds>(valid)));
  Record record("invite");
  record.field("Token", "token", invite.token);
  record.field("Broker", "broker", invite.broker);
  record.field("Good until", "expires", {local_time(invite.expires_ms), iso_time(invite.expires_ms)});
  const std::string command = "mvmd --join " + invite.broker + " --token " + invite.token;
  record.field("Run there", "command", options.name.empty() ? command : command + " --name " + options.name);
  session.print(record);
  return kDone;
}

void add_invite(Grammar& grammar, CLI::App& noun) {
  auto options = std::make_shared<InviteOptions>();
  CLI::App& verb =
      grammar.verb(noun, "invite", "makes a token with which one machine may join as a host",
                   {"mvm host invite", "mvm host invite h2 --valid 10m", "mvm host invite -o json"},
                   [options](Session& session) { return invite(session, *options); });
  verb.add_option("HOST", options->name, "only under this name (any that is free)");
  verb.add_option("--valid", options->valid, "how long it is good, once (1h)")->type_name("TIME");
}

/// A verb that does one thing to each host named.
CLI::App& add_each(Grammar& grammar, CLI::App& noun, const std::string& name, const std::string& help,
                   const std::string& done,
                   std::function<Status(soap::HostsApi&, const soap::Caller&, const std::string&)> act) {
  auto hosts = std::make_shared<std::vector<std::string>>();
  CLI::App& verb = grammar.verb(
      noun, name, help, {"mvm host " + name + " h2"},
      [hosts, done, act = std::move(act)](Session& session) -> Result<int> {
        MVM_ASSIGN(auto api, session.api());
        return for_each_id(session, *hosts, "host", done, [&](const std::string& host) -> Status {
          const Status status = act(api.hosts, session.caller(), host);
          return status ? ok() : Status(not_known(session, status.error(), "mvm host list"));
        });
      });
  verb.add_option("HOST", *hosts, "host names")->required();
  return verb;
}

}  // namespace

void add_host_verbs(Grammar& grammar) {
  CLI::App& noun = grammar.noun("host", "hosts: the machines labs run on");
  add_list(grammar, noun);
  add_invite(grammar, noun);
  add_each(grammar, noun, "drain", "places nothing new on hosts; what runs there goes on", "drained",
           [](soap::HostsApi& api, const soap::Caller& caller, const std::string& host) {
             return api.drain(caller, host, true);
           });
  add_each(grammar, noun, "enable", "lets drained hosts take work again", "enabled",
           [](soap::HostsApi& api, const soap::Caller& caller, const std::string& host) {
             return api.drain(caller, host, false);
           });
  auto force = std::make_shared<bool>(false);
  add_each(grammar, noun, "remove", "forgets joined hosts that are drained and empty", "removed",
           [force](soap::HostsApi& api, const soap::Caller& caller, const std::string& host) {
             return api.remove_host(caller, host, *force);
           })
      .add_flag("--force", *force, "they will not come back: what they had is lost");
}

}  // namespace mvm::cli
