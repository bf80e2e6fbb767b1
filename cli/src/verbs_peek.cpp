// mvm queue peek: what waits in the queues of a running job, untouched.

#include "common.h"
#include "format.h"
#include "messages.h"
#include "mvm/base/base64.h"

namespace mvm::cli {
namespace {

constexpr std::size_t kShownBytes = 64;  // of each message, where nothing else is asked for

struct Options {
  std::string target;
  std::uint32_t count = 10;
  std::uint32_t bytes = kShownBytes;
};

/// Text as it is, in one line; else the bytes as hex.
std::string shown(const soap::PeekedMessage& message) {
  std::string text;
  if (is_text(message.data) && message.data.find('\0') == std::string::npos) {
    text = one_line(message.data);
  } else {
    static constexpr std::string_view kHex = "0123456789abcdef";
    text = "0x";
    for (const char c : message.data) {
      const auto byte = static_cast<unsigned char>(c);
      text += {kHex[byte >> 4U], kHex[byte & 15U]};
    }
  }
  return message.data.size() < message.size ? text + "…" : text;
}

Cell state_of(const soap::PeekedMessage& message) {
  std::string state = message.taken ? "taken" : "waits";
  if (message.again) state += ", again";
  return {state, message.taken ? "taken" : "waits", message.taken ? Colour::kBusy : Colour::kNone};
}

Listing listing_of(const std::vector<soap::PeekedQueue>& queues) {
  Listing listing("queue-peek", {{"LINK", "link"},
                                 {"WHERE", "where"},
                                 {"NUMBER", "number", true},
                                 {"SIZE", "size", true},
                                 {"PRIORITY", "priority", true},
                                 {"KEY", "key", true},
                                 {"AGE", "ageNs", true},
                                 {"STATE", "state"},
                                 {"", "again"},
                                 {"MESSAGE", "base64"}});
  for (const soap::PeekedQueue& queue : queues)
    for (const soap::PeekedMessage& message : queue.messages)
      listing.row({queue.link,
                   queue.where,
                   message.number,
                   message.size,
                   message.priority,
                   message.key,
                   {message.age_ns > 0 ? human_latency(message.age_ns) : "-",
                    message.age_ns > 0 ? Json(message.age_ns) : Json(nullptr)},
                   state_of(message),
                   {"", message.again},
                   {shown(message), base64(message.data)}});
  return listing;
}

Result<int> peek(Session& session, const Options& options) {
  MVM_ASSIGN(const JobPart target,
             job_part(options.target, "JOB.LINK or JOB.PORT such as 12.ring[0] or 12.cell[0].out"));
  MVM_ASSIGN(auto api, session.api());
  MVM_ASSIGN(const auto queues,
             api.queues.peek(
                 session.caller(),
                 {.job = target.job, .name = target.part, .count = options.count, .bytes = options.bytes}));
  const Listing listing = listing_of(queues);
  if (!listing.empty() || !session.as_table()) session.print(listing);
  for (const soap::PeekedQueue& queue : queues) {
    const std::string name = queue.link + " in " + queue.where;
    if (!queue.steady)
      session.err() << name << ": messages left while this looked; others that wait may be missing\n";
    else if (queue.depth > queue.messages.size())
      session.err() << name << ": " << queue.messages.size() << " of " << count_of(queue.depth, "message")
                    << '\n';
    else if (queue.messages.empty() && session.as_table())
      session.out() << name << " is empty\n";
  }
  return kDone;
}

}  // namespace

void add_peek_verb(Grammar& grammar, CLI::App& queue) {
  auto options = std::make_shared<Options>();
  CLI::App& verb =
      grammar.verb(queue, "peek", "shows what waits in the queues of a link or port, and takes nothing",
                   {"mvm queue peek \"12.ring[0]\"", "mvm queue peek 12.cell[0].out -n 3 --bytes 16",
                    "mvm queue peek 12.results -o json | jq -r .items[].base64"},
                   [options](Session& session) { return peek(session, *options); });
  grammar.completes(verb.add_option("JOB.LINK", options->target,
                                    "a link (12.ring[0]; 12.ring: all of it) or a port (12.cell[0].out)")
                        ->required(),
                    Completes::kJob);
  verb.add_option("-n,--count", options->count, "at most COUNT messages of each queue (10)")
      ->type_name("COUNT")
      ->check(CLI::Range(1, static_cast<int>(soap::kMostMessages)));
  verb.add_option("--bytes", options->bytes, "of each message its first BYTES (64)")
      ->type_name("BYTES")
      ->check(CLI::Range(0, 256 << 10));
}

}  // namespace mvm::cli
