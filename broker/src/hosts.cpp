#include "hosts.h"

#include <algorithm>

#include "gone_host.h"
#include "jobs.h"
#include "labs.h"
#include "mvm/base/log.h"
#include "scheduler.h"

namespace mvm::broker {
namespace {

constexpr std::size_t kMostHosts = 1000;

}  // namespace

Hosts::Hosts(Core& core, const std::vector<host::HostAgent*>& agents) : core_(core) {
  for (auto* agent : agents) {
    hosts_.push_back(std::make_unique<Host>());
    hosts_.back()->agent = agent;
  }
}

Hosts::~Hosts() = default;

void Hosts::start() {
  for (auto& host : hosts_)
    if (host->record.removed)
      bury(*host);
    else
      connect(*host);
}

Hosts::Host* Hosts::find(const std::string& name) {
  for (auto& host : hosts_)
    if (host->name == name) return host.get();
  return nullptr;
}

host::HostAgent* Hosts::agent(const std::string& name) {
  auto* host = find(name);
  return host != nullptr && host->ready ? host->agent : nullptr;
}

std::string Hosts::trouble(const std::string& name) const {
  for (const auto& host : hosts_)
    if (host->name == name) return host->ready ? std::string() : host->why;
  return "has not answered yet";
}

// ---- joining and leaving

Result<std::unique_ptr<host::HostAgent>> Hosts::open(const std::string& url) const {
  if (!core_.config.gate.connect)
    return Error(ErrorCode::kUnsupported, "this broker reaches no other machines");
  return core_.config.gate.connect(url);
}

Hosts::Host& Hosts::add(HostRecord record, std::unique_ptr<host::HostAgent> agent) {
  auto& host = *hosts_.emplace_back(std::make_unique<Host>());
  host.name = record.name;
  host.record = std::move(record);
  replace(host, std::move(agent));
  return host;
}

void Hosts::replace(Host& host, std::unique_ptr<host::HostAgent> agent) {
  ++host.epoch_of_link;  // what the former one still answers is stale
  if (host.owned) former_.push_back(std::move(host.owned));
  host.owned = std::move(agent);
  host.agent = host.owned.get();
  host.ready = false;
}

Status Hosts::load() {
  MVM_ASSIGN(const auto entries, core_.store.list("hosts/", {}, kMostHosts));
  for (const auto& entry : entries) {
    MVM_ASSIGN(auto record, decode_host(entry.value));
    if (record.url.empty()) {
      early_[record.name] = std::move(record);
      continue;
    }
    if (record.removed) {
      if (core_.labs->on_host(record.name).empty())
        core_.journal.erase("hosts/" + record.name);
      else
        add(std::move(record), std::make_unique<GoneHost>());
      continue;
    }
    auto agent = open(record.url);
    if (!agent) return agent.error();
    add(std::move(record), std::move(*agent));
  }
  return ok();
}

Status Hosts::may_join(const std::string& name, const std::string& key) {
  const auto* host = find(name);
  if (host == nullptr && name != core_.config.name && !early_.contains(name)) {
    if (hosts_.size() < kMostHosts) return ok();
    return Error(ErrorCode::kExhausted, "this broker has " + std::to_string(hosts_.size()) + " hosts");
  }
  if (host != nullptr && !host->record.url.empty() && (host->record.removed || host->record.key == key))
    return ok();
  return Error(ErrorCode::kExists, "a host called " + name +
                                       " is here already: join under another --name, or " +
                                       "remove it first with: mvm host remove " + name);
}

void Hosts::join(HostRecord record) {
  const auto name = record.name;
  record.joined_ms = core_.clock.wall_ms();
  core_.journal.put("hosts/" + name, encode(record));
  core_.journal.event({.event = "host.joined",
                       .lab = {},
                       .job = {},
                       .node = {},
                       .detail = name + " at " + record.url,
                       .user = {}});
  core_.journal.after_commit([this, record = std::move(record)] {
    auto agent = open(record.url);
    if (!agent) {
      log::error("host.unusable", {{"host", record.name}, {"why", agent.error().describe()}});
      return;
    }
    auto* host = find(record.name);
    if (host == nullptr) {
      connect(add(record, std::move(*agent)));
      return;
    }
    replace(*host, std::move(*agent));
    host->record = record;
    connect(*host);
  });
}

Status Hosts::drain(const std::string& name, bool drain) {
  auto* host = find(name);
  if (host == nullptr || host->record.removed) return Error(ErrorCode::kNotFound, "there is no host " + name);
  if (host->record.drained == drain) return ok();
  host->record.name = name;
  host->record.drained = drain;
  core_.journal.group([&] {
    if (host->record.url.empty() && !drain)
      core_.journal.erase("hosts/" + name);
    else
      core_.journal.put("hosts/" + name, encode(host->record));
    core_.journal.event({.event = drain ? "host.drained" : "host.enabled",
                         .lab = {},
                         .job = {},
                         .node = {},
                         .detail = name,
                         .user = {}});
  });
  core_.scheduler->wake();
  return ok();
}

Status Hosts::remove(const std::string& name, bool force) {
  auto* host = find(name);
  if (host == nullptr || host->record.removed) return Error(ErrorCode::kNotFound, "there is no host " + name);
  if (host->record.url.empty())
    return Error(ErrorCode::kInvalid, "host " + name + " is the broker's own and cannot be removed");
  const auto labs = core_.labs->on_host(name);
  if (!force && !host->record.drained)
    return Error(ErrorCode::kConflict,
                 "host " + name + " takes work: drain it first with: mvm host drain " + name);
  if (!force && !labs.empty())
    return Error(ErrorCode::kConflict, "host " + name + " is not empty yet: lab " + labs.front() +
                                           (labs.size() > 1 ? " and others are on it" : " is on it"));
  host->record.removed = true;
  core_.journal.group([&] {
    if (labs.empty())
      core_.journal.erase("hosts/" + name);
    else
      core_.journal.put("hosts/" + name, encode(host->record));
    core_.journal.erase("cursors/" + name);
    core_.journal.event(
        {.event = "host.removed", .lab = {}, .job = {}, .node = {}, .detail = name, .user = {}});
  });
  core_.journal.after_commit([this, name] {
    if (auto* gone = find(name); gone != nullptr && gone->record.removed) bury(*gone);
  });
  return ok();
}

/// From here on everything that labs had there is gone; their teardown ends at once.
void Hosts::bury(Host& host) {
  replace(host, std::make_unique<GoneHost>());
  host.cursor = {};
  host.why = "was removed";
  host.ready = true;
  core_.labs->compare(host.name, {});
  release(host);
  core_.scheduler->wake();
}

// ---- connecting

void Hosts::connect(Host& host) {
  const auto link = ++host.epoch_of_link;
  auto* agent = host.agent;
  core_.run(
      [agent]() -> Result<Greeting> {
        Greeting greeting;
        MVM_ASSIGN(greeting.info, agent->describe());
        MVM_ASSIGN(greeting.inventory, agent->inventory());
        return greeting;
      },
      [this, &host, link](Result<Greeting> greeting) {
        if (link == host.epoch_of_link) greeted(host, std::move(greeting));
      });
}

/// What nobody knows is reaped before the host takes new work.
void Hosts::greeted(Host& host, Result<Greeting> greeting) {
  if (!greeting) {
    lost(host, greeting.error());
    return;
  }
  if (auto* other = find(greeting->info.name); other != nullptr && other != &host) {
    lost(host, Error(ErrorCode::kConflict, "another host is called " + greeting->info.name));
    return;
  }
  if (!host.record.url.empty() && greeting->info.name != host.record.name) {
    lost(host, Error(ErrorCode::kConflict, "it calls itself " + greeting->info.name));
    return;
  }
  host.name = greeting->info.name;
  if (const auto early = early_.find(host.name); early != early_.end()) {
    host.record = early->second;
    early_.erase(early);
  }
  host.info = greeting->info;
  if (host.cursor.epoch.empty())
    if (const auto kept = core_.journal.get("cursors/" + host.name))
      host.cursor = decode_cursor(*kept).value_or(CursorRecord{});
  std::vector<std::string> labs;
  std::vector<std::pair<std::string, std::string>> nodes;
  for (const auto& lab : greeting->inventory.labs)
    if (!core_.labs->belongs(lab, host.name)) labs.push_back(lab);
  for (const auto& node : greeting->inventory.nodes)
    if (core_.labs->belongs(node.spec.lab, host.name) &&
        !core_.labs->has_node(node.spec.lab, node.spec.node, host.name))
      nodes.emplace_back(node.spec.lab, node.spec.node);
    else if (!core_.labs->belongs(node.spec.lab, host.name) &&
             std::find(labs.begin(), labs.end(), node.spec.lab) == labs.end())
      labs.push_back(node.spec.lab);
  const auto link = host.epoch_of_link;
  for (const auto& lab : labs) log::warning("lab.reaped", {{"lab", lab}, {"host", host.name}});
  core_.run(
      [agent = host.agent, labs, nodes]() -> Status {
        for (const auto& lab : labs) MVM_TRY(agent->destroy_lab(lab));
        for (const auto& [lab, node] : nodes) MVM_TRY(agent->destroy_node(lab, node));
        return ok();
      },
      [this, &host, link, inventory = std::move(greeting->inventory)](const Status& status) {
        if (link == host.epoch_of_link) reaped(host, inventory, status);
      });
}

void Hosts::reaped(Host& host, const host::Inventory& inventory, const Status& status) {
  if (!status) {
    lost(host, status.error());
    return;
  }
  host.ready = true;
  host.why.clear();
  host.pause = std::chrono::milliseconds(0);
  log::info("host.ready", {{"host", host.name}, {"nodes", inventory.nodes.size()}});
  core_.journal.event(
      {.event = "host.up", .lab = {}, .job = {}, .node = {}, .detail = host.name, .user = {}});
  core_.labs->compare(host.name, inventory);
  release(host);
  poll(host);
  core_.scheduler->wake();
}

void Hosts::lost(Host& host, const Error& error) {
  if (host.ready) {
    log::warning("host.lost", {{"host", host.name}, {"error", error.describe()}});
    core_.journal.event({.event = "host.down",
                         .lab = {},
                         .job = {},
                         .node = {},
                         .detail = host.name + ": " + error.describe(),
                         .user = {}});
  }
  host.ready = false;
  host.why = "does not answer: " + error.describe();
  host.pause = std::clamp(host.pause * 2, core_.config.retry_first, core_.config.retry_longest);
  core_.after(host.pause, [this, &host, link = host.epoch_of_link] {
    if (link == host.epoch_of_link) connect(host);
  });
  core_.scheduler->wake();
}

// ---- work

void Hosts::with(const std::string& name, Work work, Done done, bool patient) {
  auto* host = find(name);
  if (host != nullptr && host->ready) {
    core_.run([agent = host->agent, work = std::move(work)] { return work(*agent); }, std::move(done));
    return;
  }
  Waiting waiting{.work = std::move(work),
                  .done = std::move(done),
                  .patient = patient,
                  .until = core_.clock.now() + core_.config.host_patience};
  if (host != nullptr)
    host->waiting.push_back(std::move(waiting));
  else
    unknown_.emplace_back(name, std::move(waiting));
  if (!patient) core_.after(core_.config.host_patience, [this, name] { expire(name); });
}

void Hosts::expire(const std::string& name) {
  std::vector<Done> gone;
  const auto over = [&](Waiting& waiting) {
    if (waiting.patient || waiting.until > core_.clock.now()) return false;
    gone.push_back(std::move(waiting.done));
    return true;
  };
  if (auto* host = find(name)) std::erase_if(host->waiting, over);
  std::erase_if(unknown_, [&](auto& entry) { return entry.first == name && over(entry.second); });
  for (const auto& done : gone) done(Error(ErrorCode::kUnavailable, "host " + name + " " + trouble(name)));
}

void Hosts::release(Host& host) {
  for (auto& [name, waiting] : unknown_)
    if (name == host.name) host.waiting.push_back(std::move(waiting));
  std::erase_if(unknown_, [&](const auto& entry) { return entry.first == host.name; });
  for (auto& waiting : std::exchange(host.waiting, {}))
    core_.run([agent = host.agent, work = std::move(waiting.work)] { return work(*agent); },
              std::move(waiting.done));
}

void Hosts::refresh(const std::string& name) {
  auto* host = find(name);
  if (host == nullptr || !host->ready) return;
  core_.run([agent = host->agent] { return agent->describe(); },
            [this, host](Result<host::HostInfo> info) {
              if (!info || !host->ready || info->name != host->name) return;
              host->info = std::move(*info);
              core_.scheduler->wake();
            });
}

// ---- events

void Hosts::poll(Host& host) {
  const auto link = host.epoch_of_link;
  core_.executor.run_long([self = core_.weak_from_this(), this, &loop = core_.loop, &host, link,
                           agent = host.agent, cursor = host.cursor, wait = core_.config.event_poll] {
    auto answer = std::make_shared<Result<host::HostEvents>>(agent->events(cursor.epoch, cursor.seq, wait));
    loop.post([self, this, &host, link, answer] {
      const auto core = self.lock();
      if (core && !core->stopped && link == host.epoch_of_link) happened(host, std::move(*answer));
    });
  });
}

void Hosts::happened(Host& host, Result<host::HostEvents> answer) {
  if (!answer) {
    if (answer.error().code() == ErrorCode::kTimeout && host.ready) {
      poll(host);
      return;
    }
    lost(host, answer.error());
    return;
  }
  const bool new_epoch = !host.cursor.epoch.empty() && host.cursor.epoch != answer->epoch;
  if (host.cursor.epoch != answer->epoch) host.cursor = {.epoch = answer->epoch, .seq = 0};
  for (const auto& event : answer->events) {
    if (event.seq <= host.cursor.seq) continue;
    // The event's consequences and the word that it is handled are one.
    core_.journal.group([&] {
      handle_event(core_, host.name, event);
      host.cursor.seq = event.seq;
      core_.journal.put("cursors/" + host.name, encode(host.cursor));
    });
  }
  if (new_epoch) {
    // The host's daemon is a new one: what it has must be compared again.
    host.ready = false;
    host.why = "has restarted";
    connect(host);
    return;
  }
  // Asking on acknowledges, so it waits for the commit.
  core_.journal.after_commit([this, &host, link = host.epoch_of_link] {
    if (link == host.epoch_of_link && host.ready) poll(host);
  });
}

// ---- views

std::vector<HostSnapshot> Hosts::snapshot() const {
  std::vector<HostSnapshot> hosts;
  for (const auto& host : hosts_) {
    if (host->name.empty() || host->record.removed) continue;
    HostSnapshot snapshot{.info = host->info, .usable = host->ready, .unusable_why = host->why};
    snapshot.info.name = host->name;  // known of one that joined, even while it does not answer
    if (host->ready && host->record.drained) {
      snapshot.usable = false;
      snapshot.unusable_why = "drained";
    }
    core_.labs->add_usage(snapshot);
    hosts.push_back(std::move(snapshot));
  }
  return hosts;
}

std::vector<soap::HostView> Hosts::views() const {
  std::vector<soap::HostView> views;
  for (const auto& snapshot : snapshot()) {
    soap::HostView view{
        .name = snapshot.info.name,
        .state = snapshot.usable ? "up" : snapshot.unusable_why,
        .architecture = snapshot.info.architecture,
        .vcpus = snapshot.info.vcpus,
        .vcpus_used = static_cast<std::uint32_t>(snapshot.container_vcpus + snapshot.guest_vcpus),
        .memory = snapshot.info.memory,
        .memory_used = snapshot.memory_used,
        .drivers = {},
        .images = {}};
    for (const auto& driver : snapshot.info.drivers) {
      std::string text = driver.driver;
      if (!driver.usable)
        text += " (unusable: " + driver.detail + ")";
      else if (!driver.detail.empty())
        text += " (" + driver.detail + ")";
      view.drivers.push_back(std::move(text));
    }
    for (const auto& image : snapshot.info.images) view.images.push_back(image.name);
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace mvm::broker
