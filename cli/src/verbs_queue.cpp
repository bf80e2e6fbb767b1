// mvm queue top

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "common.h"
#include "format.h"

namespace mvm::cli {
namespace {

struct Options {
  std::string lab;
  std::shared_ptr<Watch> watch;
  std::uint32_t count = 0;
  bool rates = false;
};

Result<std::string> lab_or_all(Session& session, const std::string& lab) {
  if (lab.empty()) return std::string();
  return resolve_lab(session, lab);
}

void add_lab_and_watch(Grammar& grammar, CLI::App& verb, Options& options) {
  grammar.completes(verb.add_option("--lab,LAB", options.lab, "only of this lab")->type_name("LAB"),
                    Completes::kLab);
  options.watch = add_watch(grammar, verb);
}

/// What a queue counted at two moments, as messages a second.
struct Rates {
  std::map<std::tuple<std::string, std::string, std::string, std::string>, const soap::QueueView*> before;
  double seconds = 0;

  [[nodiscard]] std::uint64_t of(const soap::QueueView& now, std::uint64_t soap::QueueView::*counter) const {
    const auto then = before.find({now.lab, now.job, now.link, now.where});
    if (then == before.end() || seconds <= 0 || now.*counter < then->second->*counter) return 0;
    return static_cast<std::uint64_t>(
        std::llround(static_cast<double>(now.*counter - then->second->*counter) / seconds));
  }
};

Listing queue_listing(const std::vector<soap::QueueView>& queues, const Rates* rates) {
  std::vector<Column> columns = {{"LAB", "lab"},
                                 {"JOB", "job"},
                                 {"LINK", "link"},
                                 {"WHERE", "where"},
                                 {"DEPTH", "depth", true},
                                 {"CAPACITY", "capacity", true},
                                 {"BYTES", "bytes", true},
                                 {"IN", "enqueued", true},
                                 {"OUT", "dequeued", true},
                                 {"DROPPED", "dropped", true}};
  if (rates != nullptr) {
    columns.insert(columns.end(), {{"IN/S", "enqueuedPerSecond", true},
                                   {"OUT/S", "dequeuedPerSecond", true},
                                   {"DROPPED/S", "droppedPerSecond", true},
                                   {"BYTES-IN/S", "bytesEnqueuedPerSecond", true},
                                   {"BYTES-OUT/S", "bytesDequeuedPerSecond", true}});
  }
  columns.insert(columns.end(), {{"P50", "latencyP50Ns", true},
                                 {"P99", "latencyP99Ns", true},
                                 {"", "latencySamples"},
                                 {"", "drained"},
                                 {"", "bytesEnqueued"},
                                 {"", "bytesDequeued"},
                                 {"WAITING", "waiting"}});
  Listing listing("queue", std::move(columns));
  for (const soap::QueueView& queue : queues) {
    const bool full = queue.capacity > 0 && queue.depth >= queue.capacity;
    std::vector<Cell> cells = {
        queue.lab,
        queue.job,
        queue.link,
        queue.where,
        {std::to_string(queue.depth), queue.depth, full ? Colour::kBusy : Colour::kNone},
        queue.capacity,
        {human_bytes(queue.bytes), queue.bytes},
        queue.enqueued,
        queue.dequeued,
        {std::to_string(queue.dropped), queue.dropped, queue.dropped > 0 ? Colour::kBad : Colour::kNone}};
    if (rates != nullptr) {
      cells.emplace_back(rates->of(queue, &soap::QueueView::enqueued));
      cells.emplace_back(rates->of(queue, &soap::QueueView::dequeued));
      cells.emplace_back(rates->of(queue, &soap::QueueView::dropped));
      for (const auto counter : {&soap::QueueView::bytes_enqueued, &soap::QueueView::bytes_dequeued}) {
        const std::uint64_t rate = rates->of(queue, counter);
        cells.emplace_back(human_bytes(rate), rate);
      }
    }
    for (const std::uint64_t latency : {queue.latency_p50_ns, queue.latency_p99_ns})
      cells.emplace_back(queue.latency_samples > 0 ? human_latency(latency) : "-",
                         queue.latency_samples > 0 ? Json(latency) : Json(nullptr));
    cells.emplace_back(queue.latency_samples);
    cells.emplace_back(queue.drained);
    cells.emplace_back(queue.bytes_enqueued);
    cells.emplace_back(queue.bytes_dequeued);
    cells.emplace_back(queue.waiting);
    listing.row(std::move(cells));
  }
  return listing;
}

Result<Listing> queues(Session& session, const Options& options) {
  MVM_ASSIGN(const std::string lab, lab_or_all(session, options.lab));
  MVM_ASSIGN(auto api, session.api());
  Rates rates;
  std::vector<soap::QueueView> before;
  if (options.rates) {
    MVM_ASSIGN(before, api.labs.queues(session.caller(), lab));
    for (const soap::QueueView& queue : before)
      rates.before[{queue.lab, queue.job, queue.link, queue.where}] = &queue;
    const auto began = session.context().clock.now();
    session.context().sleep(std::chrono::seconds(1));
    rates.seconds = std::chrono::duration<double>(session.context().clock.now() - began).count();
  }
  MVM_ASSIGN(auto all, api.labs.queues(session.caller(), lab));
  // The fullest first; else in the broker's order, so that lines do not jump.
  std::stable_sort(all.begin(), all.end(),
                   [](const soap::QueueView& a, const soap::QueueView& b) { return a.depth > b.depth; });
  if (options.count > 0 && all.size() > options.count) all.resize(options.count);
  return queue_listing(all, options.rates ? &rates : nullptr);
}

}  // namespace

void add_queue_verbs(Grammar& grammar) {
  CLI::App& queue = grammar.noun("queue", "queues: how full they are, and what goes in and out");
  auto top = std::make_shared<Options>();
  CLI::App& top_verb = grammar.verb(
      queue, "top", "queues, the fullest first",
      {"mvm queue top lab-3 --watch", "mvm queue top -n 10 -o json", "mvm queue top lab-3 --rates"},
      [top](Session& session) {
        return show<Listing>(session, *top->watch, [&] { return queues(session, *top); });
      });
  add_lab_and_watch(grammar, top_verb, *top);
  top_verb.add_option("-n,--count", top->count, "only the first COUNT")->type_name("COUNT");
  top_verb.add_flag("--rates", top->rates, "also messages and bytes a second, measured for a second");
  add_peek_verb(grammar, queue);
  add_drain_verb(grammar, queue);
  add_port_verbs(grammar, queue);
}

}  // namespace mvm::cli
