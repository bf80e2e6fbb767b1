// mvm queue drain: messages that wait in the queues of a running job are taken away.

#include <fstream>

#include "common.h"
#include "format.h"
#include "message_printer.h"

namespace mvm::cli {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kAtOnce = 256;
constexpr milliseconds kPending{2'000};  // how long a consumer has to pass over what was drained
constexpr milliseconds kPause{20};

struct Options {
  std::string target, file;
  std::uint64_t count = 0;
  bool print = false, size = false, whole = false;

  [[nodiscard]] bool tells() const { return print || !file.empty(); }
  [[nodiscard]] Framing framing() const {
    return whole ? Framing::kWhole : size ? Framing::kSize : Framing::kLines;
  }
};

/// What became of one queue, over all calls.
struct Sum {
  soap::DrainedQueue queue;
  std::uint64_t cut = 0;
};

class Drainer {
 public:
  Drainer(Session& session, const Options& options, std::ostream& out)
      : session_(session),
        options_(options),
        out_(out),
        printer_(session, out, options.framing(), !options.file.empty() || session.as_table()) {}

  /// What waited when it began, and no more; queues whose consumers do not come on are given up.
  Status run(soap::BrokerApi& api, const JobPart& target) {
    soap::DrainRequest request{.job = target.job, .name = target.part, .count = 0, .bytes = 0, .marks = {}};
    request.bytes = options_.tells() ? soap::kMostDrainedBytes : 0;
    const std::uint32_t most = options_.tells() ? kAtOnce : soap::kMostDrainedAtOnce;
    auto moved = session_.context().clock.now();
    do {
      const std::uint64_t left = options_.count == 0 ? most : options_.count - taken_;
      request.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, most));
      MVM_ASSIGN(const auto answer, api.queues.drain(session_.caller(), request));
      if (take(answer, request.marks)) moved = session_.context().clock.now();
      if (!out_) return Error(ErrorCode::kIo, "what was drained cannot be written, and is gone");
      if (options_.count > 0 && taken_ >= options_.count) break;
      const bool waits = !answer.empty() && std::all_of(answer.begin(), answer.end(),
                                                        [](const auto& queue) { return queue.drained == 0; });
      if (waits && session_.context().clock.now() - moved >= kPending) break;
      if (waits && !request.marks.empty()) session_.context().sleep(kPause);
    } while (!request.marks.empty());
    if (options_.tells()) printer_.finish();
    return ok();
  }
  [[nodiscard]] const std::vector<Sum>& sums() const { return sums_; }
  [[nodiscard]] std::uint64_t taken() const { return taken_; }

 private:
  /// True where anything was drained. `marks`: which queues to go on with.
  bool take(const std::vector<soap::DrainedQueue>& answer, std::vector<soap::DrainMark>& marks) {
    marks.clear();
    std::uint64_t drained = 0;
    for (const soap::DrainedQueue& queue : answer) {
      auto sum = std::find_if(sums_.begin(), sums_.end(),
                              [&](const Sum& one) { return one.queue.mark.queue == queue.mark.queue; });
      if (sum == sums_.end())
        sum = sums_.insert(
            sum, {.queue = {.link = queue.link, .where = queue.where, .mark = queue.mark, .messages = {}}});
      sum->queue.drained += queue.drained;
      sum->queue.bytes += queue.bytes;
      sum->queue.pending = queue.pending;
      drained += queue.drained;
      for (const soap::PeekedMessage& message : queue.messages) {
        sum->cut += message.data.size() < message.size ? 1U : 0U;
        printer_.print({.number = message.number,
                        .size = message.data.size(),
                        .data = message.data,
                        .key = message.key,
                        .priority = message.priority,
                        .again = message.again});
      }
      if (queue.more || queue.pending) marks.push_back(queue.mark);
    }
    out_.flush();
    taken_ += drained;
    return drained > 0;
  }

  Session& session_;
  const Options& options_;
  std::ostream& out_;
  MessagePrinter printer_;
  std::vector<Sum> sums_;
  std::uint64_t taken_ = 0;
};

void report(Session& session, const Options& options, const Drainer& drainer) {
  Listing listing("queue-drain", {{"LINK", "link"},
                                  {"WHERE", "where"},
                                  {"DRAINED", "drained", true},
                                  {"BYTES", "bytes", true},
                                  {"", "pending"}});
  for (const Sum& sum : drainer.sums())
    listing.row({sum.queue.link,
                 sum.queue.where,
                 sum.queue.drained,
                 {human_bytes(sum.queue.bytes), sum.queue.bytes},
                 {"", sum.queue.pending}});
  // Where messages go to standard output nothing else does.
  if (!options.print)
    session.print(listing);
  else
    session.err() << count_of(drainer.taken(), "message") << " drained\n";
  for (const Sum& sum : drainer.sums()) {
    const std::string name = sum.queue.link + " in " + sum.queue.where;
    if (sum.queue.pending)
      session.err()
          << name << ": its consumer has yet to pass over what was drained; what came since is still there\n";
    if (sum.cut > 0)
      session.err() << name << ": of " << count_of(sum.cut, "message") << " only the first "
                    << (soap::kMostDrainedBytes >> 10) << " KiB were kept\n";
  }
}

Result<int> drain(Session& session, const Options& options) {
  MVM_ASSIGN(const JobPart target,
             job_part(options.target, "JOB.LINK or JOB.PORT such as 12.ring[0] or 12.cell[0].out"));
  std::ofstream file;
  if (!options.file.empty()) {  // before anything is taken
    file.open(options.file, std::ios::binary | std::ios::trunc);
    if (!file) return Error(ErrorCode::kIo, options.file + " cannot be written; nothing was drained");
  }
  MVM_ASSIGN(auto api, session.api());
  Drainer drainer(session, options, options.file.empty() ? session.out() : file);
  const Status drained = drainer.run(api, target);
  if (drained || drainer.taken() > 0) report(session, options, drainer);
  if (!drained) return drained.error();
  return kDone;
}

}  // namespace

void add_drain_verb(Grammar& grammar, CLI::App& queue) {
  auto options = std::make_shared<Options>();
  CLI::App& verb =
      grammar.verb(queue, "drain", "takes away what waits in the queues of a link or port",
                   {"mvm queue drain \"12.ring[0]\"", "mvm queue drain 12.cell[0].out -n 3 --print",
                    "mvm queue drain 12.results --to results.txt"},
                   [options](Session& session) { return drain(session, *options); });
  grammar.completes(verb.add_option("JOB.LINK", options->target,
                                    "a link (12.ring[0]; 12.ring: all of it) or a port (12.cell[0].out)")
                        ->required(),
                    Completes::kJob);
  verb.add_option("-n,--count", options->count, "at most COUNT messages in all (all that wait)")
      ->type_name("COUNT");
  auto* const to =
      verb.add_option("--to", options->file, "write them to FILE, one a line")->type_name("FILE");
  verb.add_flag("--print", options->print, "write them to standard output, one a line")->excludes(to);
  auto* const size =
      verb.add_flag("--size", options->size, "each message follows its size, 4 bytes, little-endian");
  verb.add_flag("--whole", options->whole, "nothing between messages")->excludes(size);
}

}  // namespace mvm::cli
