#include "wire.h"

#include <algorithm>
#include <array>
#include <utility>

namespace mvm::replica::wire {
namespace {

constexpr std::string_view kLedgerMagic = "MVMREP01";
constexpr std::size_t kStateBytes =
    64 + (kMaxRoster * (kMaxAddress + 32)) + (kMaxDecisions * (32 + (8 * kMaxRoster)));

class Writer {
 public:
  template <class Number>
  void number(Number value) {
    auto rest = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < sizeof(Number); ++i, rest >>= 8U)
      bytes_.push_back(static_cast<char>(rest & 0xffU));
  }
  void flag(bool value) { number(static_cast<std::uint8_t>(value ? 1 : 0)); }
  void text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    bytes_.append(value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads what a Writer wrote; after the first byte too few everything is 0 and good() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  template <class Number>
  Number number() {
    if (rest_.size() < sizeof(Number)) return fail<Number>();
    std::uint64_t value = 0;
    for (std::size_t i = sizeof(Number); i > 0; --i)
      value = (value << 8U) | static_cast<unsigned char>(rest_[i - 1]);
    rest_.remove_prefix(sizeof(Number));
    return static_cast<Number>(value);
  }
  std::uint64_t u64() { return number<std::uint64_t>(); }
  bool flag() {
    const auto value = number<std::uint8_t>();
    if (value > 1) good_ = false;
    return value == 1;
  }
  std::string_view text(std::size_t limit) {
    const auto size = number<std::uint32_t>();
    if (size > limit || size > rest_.size()) return fail<std::string_view>();
    const std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }
  /// A count of things that take at least `least` bytes each: no count promises more than there is.
  std::size_t count(std::size_t limit, std::size_t least) {
    const auto value = number<std::uint32_t>();
    if (value > limit || value * least > rest_.size()) return fail<std::size_t>();
    return value;
  }
  void refuse() { good_ = false; }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] bool finished() const { return good_ && rest_.empty(); }

 private:
  template <class T>
  T fail() {
    good_ = false;
    rest_ = {};
    return T{};
  }
  std::string_view rest_;
  bool good_ = true;
};

void write_ids(Writer& out, const std::vector<std::uint64_t>& ids) {
  out.number(static_cast<std::uint32_t>(ids.size()));
  for (const std::uint64_t id : ids) out.number(id);
}

std::vector<std::uint64_t> read_ids(Reader& in) {
  std::vector<std::uint64_t> ids(in.count(kMaxRoster, 8));
  for (std::uint64_t& id : ids) id = in.u64();
  // Rising, so that there are no doubles and two members write the same set alike.
  if (std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) != ids.end() ||
      (!ids.empty() && ids.front() == 0))
    in.refuse();
  return ids;
}

void write_roster(Writer& out, const std::vector<RosterEntry>& roster) {
  out.number(static_cast<std::uint32_t>(roster.size()));
  for (const RosterEntry& entry : roster) {
    out.number(entry.id);
    out.text(entry.address);
    out.number(entry.life);
    out.number(entry.dead_life);
    out.flag(entry.gone);
  }
}

std::vector<RosterEntry> read_roster(Reader& in) {
  std::vector<RosterEntry> roster(in.count(kMaxRoster, 29));
  std::uint64_t last = 0;
  for (RosterEntry& entry : roster) {
    entry.id = in.u64();
    entry.address = in.text(kMaxAddress);
    entry.life = in.u64();
    entry.dead_life = in.u64();
    entry.gone = in.flag();
    if (entry.id <= last) in.refuse();
    last = entry.id;
  }
  return roster;
}

void write_decisions(Writer& out, const std::vector<Decision>& decisions) {
  out.number(static_cast<std::uint32_t>(decisions.size()));
  for (const Decision& decision : decisions) {
    out.number(decision.epoch);
    out.number(decision.attempt);
    out.number(decision.decider);
    write_ids(out, decision.members);
  }
}

std::vector<Decision> read_decisions(Reader& in) {
  std::vector<Decision> decisions(in.count(kMaxDecisions, 28));
  std::uint64_t last = 0;
  for (Decision& decision : decisions) {
    decision.epoch = in.u64();
    decision.attempt = in.u64();
    decision.decider = in.u64();
    decision.members = read_ids(in);
    if (decision.epoch <= last || decision.epoch >= (std::uint64_t{1} << 31U) || decision.attempt == 0 ||
        !std::binary_search(decision.members.begin(), decision.members.end(), decision.decider)) {
      in.refuse();
    }
    last = decision.epoch;
  }
  return decisions;
}

void write(Writer& out, const State& state) {
  out.number(state.id);
  out.number(state.life);
  out.number(state.group_id);
  out.number(state.promised);
  out.flag(state.active);
  write_roster(out, state.roster);
  write_decisions(out, state.decisions);
}
void read(Reader& in, State& state) {
  state.id = in.u64();
  state.life = in.u64();
  state.group_id = in.u64();
  state.promised = in.u64();
  state.active = in.flag();
  state.roster = read_roster(in);
  state.decisions = read_decisions(in);
  if (state.id == 0 || state.life == 0) in.refuse();
}

void write(Writer& out, const Hello& hello) {
  out.number(hello.version);
  out.text(hello.group);
  out.number(hello.wanted);
  write(out, hello.state);
}
void read(Reader& in, Hello& hello) {
  hello.version = in.number<std::uint32_t>();
  if (hello.version != kVersion) in.refuse();
  hello.group = in.text(kMaxGroup);
  hello.wanted = in.u64();
  read(in, hello.state);
}

void write(Writer& out, const Welcome& welcome) {
  out.number(static_cast<std::uint8_t>(welcome.verdict));
  out.number(welcome.id);
}
void read(Reader& in, Welcome& welcome) {
  const auto verdict = in.number<std::uint8_t>();
  if (verdict > static_cast<std::uint8_t>(Verdict::kOtherMember)) in.refuse();
  welcome.verdict = static_cast<Verdict>(verdict);
  welcome.id = in.u64();
}

void write(Writer& out, const Append& append) {
  out.number(append.term);
  out.number(append.previous_index);
  out.number(append.previous_term);
  out.number(append.commit);
  out.number(static_cast<std::uint32_t>(append.entries.size()));
  for (const Entry& entry : append.entries) {
    out.number(entry.term);
    out.number(static_cast<std::uint8_t>(entry.type));
    out.text(entry.bytes);
  }
}
void read(Reader& in, Append& append, const Bounds& bounds) {
  append.term = in.u64();
  append.previous_index = in.u64();
  append.previous_term = in.u64();
  append.commit = in.u64();
  append.entries.resize(in.count(kMaxEntries, 13));
  std::uint64_t term = append.previous_term;
  for (Entry& entry : append.entries) {
    entry.term = in.u64();
    const auto type = in.number<std::uint8_t>();
    entry.type = static_cast<EntryType>(type);
    entry.bytes = in.text(std::max(bounds.command + 16, std::size_t{64} << 10U));
    // Terms never fall along a log, nor rise above the leader's.
    // libraft asserts whole words.
    if (type < 1 || type > 3 || entry.bytes.empty() || entry.bytes.size() % 8 != 0 || entry.term < term ||
        entry.term > append.term)
      in.refuse();
    if (entry.type == EntryType::kChange && !valid_change(entry.bytes)) in.refuse();
    term = entry.term;
  }
  // No overflow in libraft's arithmetic with indexes.
  if (append.previous_index > (std::uint64_t{1} << 62U) || append.term == 0) in.refuse();
  if ((append.previous_index == 0) != (append.previous_term == 0)) in.refuse();
}

void write(Writer& out, const AppendResult& result) {
  out.number(result.term);
  out.number(result.rejected);
  out.number(result.last_index);
}
void read(Reader& in, AppendResult& result) {
  result.term = in.u64();
  result.rejected = in.u64();
  result.last_index = in.u64();
}

void write(Writer& out, const Vote& vote) {
  out.number(vote.term);
  out.number(vote.candidate);
  out.number(vote.last_index);
  out.number(vote.last_term);
  out.flag(vote.disrupt);
  out.flag(vote.pre);
}
void read(Reader& in, Vote& vote) {
  vote.term = in.u64();
  vote.candidate = in.u64();
  vote.last_index = in.u64();
  vote.last_term = in.u64();
  vote.disrupt = in.flag();
  vote.pre = in.flag();
}

void write(Writer& out, const VoteResult& result) {
  out.number(result.term);
  out.flag(result.granted);
  out.number(result.pre);
}
void read(Reader& in, VoteResult& result) {
  result.term = in.u64();
  result.granted = in.flag();
  result.pre = in.number<std::uint8_t>();
  if (result.pre > 2) in.refuse();
}

void write(Writer& out, const Snapshot& snapshot) {
  out.number(snapshot.term);
  out.number(snapshot.last_index);
  out.number(snapshot.last_term);
  out.number(snapshot.servers_index);
  out.number(static_cast<std::uint32_t>(snapshot.servers.size()));
  for (const Server& server : snapshot.servers) {
    out.number(server.id);
    out.number(server.role);
  }
  out.text(snapshot.bytes);
}
void read(Reader& in, Snapshot& snapshot, const Bounds& bounds) {
  snapshot.term = in.u64();
  snapshot.last_index = in.u64();
  snapshot.last_term = in.u64();
  snapshot.servers_index = in.u64();
  snapshot.servers.resize(in.count(kMaxServers, 9));
  std::uint64_t last = 0;
  for (Server& server : snapshot.servers) {
    server.id = in.u64();
    server.role = in.number<std::uint8_t>();
    if (server.id <= last || server.role > 2) in.refuse();
    last = server.id;
  }
  snapshot.bytes = in.text(bounds.snapshot);
  if (snapshot.last_index == 0 || snapshot.last_index > (std::uint64_t{1} << 62U) ||
      snapshot.last_term == 0 || snapshot.last_term > snapshot.term ||
      snapshot.servers_index > snapshot.last_index || snapshot.servers.empty() || snapshot.bytes.empty()) {
    in.refuse();
  }
}

void write(Writer& out, const TimeoutNow& now) {
  out.number(now.term);
  out.number(now.last_index);
  out.number(now.last_term);
}
void read(Reader& in, TimeoutNow& now) {
  now.term = in.u64();
  now.last_index = in.u64();
  now.last_term = in.u64();
}

void write(Writer& out, const Propose& propose) {
  out.number(propose.request);
  out.flag(propose.reads);
  out.text(propose.bytes);
}
void read(Reader& in, Propose& propose, const Bounds& bounds) {
  propose.request = in.u64();
  propose.reads = in.flag();
  propose.bytes = in.text(bounds.command);
}

void write(Writer& out, const Answer& answer) {
  out.number(answer.request);
  out.number(answer.code);
  out.number(answer.index);
  out.text(answer.bytes);
}
void read(Reader& in, Answer& answer, const Bounds& bounds) {
  answer.request = in.u64();
  answer.code = in.number<std::uint8_t>();
  if (answer.code > 15) in.refuse();
  answer.index = in.u64();
  answer.bytes = in.text(answer.code == 0 ? bounds.result : kMaxMessage);
}

void write(Writer& out, const Freeze& freeze) {
  out.number(freeze.epoch);
  out.number(freeze.attempt);
  write_ids(out, freeze.members);
}
void read(Reader& in, Freeze& freeze) {
  freeze.epoch = in.u64();
  freeze.attempt = in.u64();
  freeze.members = read_ids(in);
  if (freeze.epoch == 0 || freeze.attempt == 0) in.refuse();
}

void write(Writer& out, const Promise& promise) {
  out.number(promise.attempt);
  out.number(promise.last_term);
  out.number(promise.last_index);
}
void read(Reader& in, Promise& promise) {
  promise.attempt = in.u64();
  promise.last_term = in.u64();
  promise.last_index = in.u64();
}

void write(Writer& out, const Thaw& thaw) { out.number(thaw.attempt); }
void read(Reader& in, Thaw& thaw) { thaw.attempt = in.u64(); }

void write(Writer& out, const Ping& ping) {
  out.number(ping.promised);
  out.flag(ping.lost);
}
void read(Reader& in, Ping& ping) {
  ping.promised = in.u64();
  ping.lost = in.flag();
}

template <class T>
void read(Reader& in, T& value, const Bounds& /*bounds*/) {
  read(in, value);
}

template <std::size_t I = 0>
Result<Message> decode_kind(std::size_t kind, std::string_view body, const Bounds& bounds) {
  if constexpr (I < std::variant_size_v<Message>) {
    if (kind != I) return decode_kind<I + 1>(kind, body, bounds);
    std::variant_alternative_t<I, Message> value;
    Reader in(body);
    read(in, value, bounds);
    if (in.finished()) return Message(std::move(value));
  }
  return Error(ErrorCode::kCorrupt, "a frame of kind " + std::to_string(kind + 1) + " breaks its format");
}

}  // namespace

std::string encode(const Message& message) {
  Writer body;
  std::visit([&](const auto& value) { write(body, value); }, message);
  const std::string bytes = body.take();
  Writer frame;
  frame.number(static_cast<std::uint32_t>(bytes.size()));
  frame.number(static_cast<std::uint8_t>(message.index() + 1));
  return frame.take() + bytes;
}

std::size_t most_bytes(std::uint8_t kind, const Bounds& bounds) {
  if (kind == 0 || kind > std::variant_size_v<Message>) return 0;
  switch (kind - 1) {
    case 0:
      return kStateBytes + kMaxGroup + 64;
    case 2:
      return kStateBytes;
    case 3:
      return kAppendBytes + std::max(bounds.command + 16, std::size_t{64} << 10U) + (13 * kMaxEntries) + 64;
    case 7:
      return bounds.snapshot + (9 * kMaxServers) + 64;
    case 9:
      return bounds.command + 64;
    case 10:
      return bounds.result + kMaxMessage + 64;
    case 11:
      return 64 + (8 * kMaxRoster);
    default:
      return 64;
  }
}

Result<Message> decode(std::uint8_t kind, std::string_view body, const Bounds& bounds) {
  if (body.size() > most_bytes(kind, bounds))
    return Error(ErrorCode::kCorrupt, "a frame of kind " + std::to_string(kind) + " is too long");
  return decode_kind(std::size_t{kind} - 1, body, bounds);
}

Result<Header> decode_header(std::string_view bytes, const Bounds& bounds) {
  Reader in(bytes.substr(0, kHeader));
  Header header;
  header.length = in.number<std::uint32_t>();
  header.kind = in.number<std::uint8_t>();
  if (!in.good() || header.length > most_bytes(header.kind, bounds) || most_bytes(header.kind, bounds) == 0) {
    return Error(ErrorCode::kCorrupt, "a frame of kind " + std::to_string(header.kind) + " and " +
                                          std::to_string(header.length) + " bytes cannot be");
  }
  return header;
}

bool valid_change(std::string_view bytes) { return decode_change(bytes).has_value(); }

Result<std::vector<Server>> decode_change(std::string_view bytes) {
  // libraft: format 1 (1 byte), servers (8 bytes), each id (8 bytes), address (ends with 0), role (1 byte);
  // padded to 8 bytes.
  const Error broken(ErrorCode::kCorrupt, "a configuration breaks libraft's format");
  Reader in(bytes);
  const auto format = in.number<std::uint8_t>();
  const std::uint64_t count = in.u64();
  if (!in.good() || format != 1 || count > kMaxServers) return broken;
  bytes.remove_prefix(9);
  std::vector<Server> servers;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t id = Reader(bytes).u64();
    if (id == 0) return broken;
    bytes.remove_prefix(8);
    const std::size_t end = bytes.find('\0');
    if (end == std::string_view::npos || end > kMaxAddress || bytes.size() < end + 2) return broken;
    const auto role = static_cast<std::uint8_t>(bytes[end + 1]);
    if (role > 2 ||
        std::any_of(servers.begin(), servers.end(), [&](const Server& other) { return other.id == id; }))
      return broken;
    servers.push_back(Server{id, role});
    bytes.remove_prefix(end + 2);
  }
  if (bytes.size() >= 8) return broken;
  return servers;
}

std::string encode(const Ledger& ledger) {
  Writer out;
  out.text(kLedgerMagic);
  out.text(ledger.group);
  out.number(ledger.id);
  out.number(ledger.life);
  out.number(ledger.group_id);
  out.number(ledger.promised);
  out.flag(ledger.discard);
  write_roster(out, ledger.roster);
  write_decisions(out, ledger.decisions);
  return out.take();
}

Result<Ledger> decode_ledger(std::string_view bytes) {
  Reader in(bytes);
  Ledger ledger;
  const bool known = in.text(16) == kLedgerMagic;
  ledger.group = in.text(kMaxGroup);
  ledger.id = in.u64();
  ledger.life = in.u64();
  ledger.group_id = in.u64();
  ledger.promised = in.u64();
  ledger.discard = in.flag();
  ledger.roster = read_roster(in);
  ledger.decisions = read_decisions(in);
  if (!known || !in.finished() || ledger.id == 0)
    return Error(ErrorCode::kCorrupt, "the file is no ledger of a replica, or was cut");
  return ledger;
}

}  // namespace mvm::replica::wire
