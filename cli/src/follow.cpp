#include "follow.h"

#include <algorithm>
#include <ostream>

#include "common.h"
#include "format.h"

namespace mvm::cli {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kLongestLine = 64 << 10;
constexpr std::size_t kBuildTail = 40;
constexpr milliseconds kFollowPoll{1000};  // Ctrl-C and the progress line wait no longer than this
constexpr milliseconds kSecondThoughts{3000};

Json piece_json(const soap::LogPiece& piece) {
  Json json = Json::object();
  json["process"] = piece.process;
  json["node"] = piece.node;
  json["stream"] = piece.stream;
  json["time"] = iso_time(piece.at_ms);
  json["text"] = piece.text;
  return json;
}

}  // namespace

// ---- ProgressLine

void ProgressLine::show(const std::string& text) {
  if (!session_.context().err_is_terminal) return;
  const auto columns = static_cast<std::size_t>(std::max(20, session_.context().columns));
  const std::string line = cut(one_line(text), columns - 1);
  if (line == shown_) return;
  session_.err() << "\r\x1b[K" << line;
  session_.err().flush();
  shown_ = line;
}

void ProgressLine::clear() {
  if (shown_.empty()) return;
  session_.err() << "\r\x1b[K";
  session_.err().flush();
  shown_.clear();
}

// ---- LogPrinter

LogPrinter::LogPrinter(Session& session, Options options, ProgressLine* progress)
    : session_(session), options_(std::move(options)), progress_(progress) {}

void LogPrinter::json(const soap::LogPiece& piece) {
  std::ostream& out = session_.out();
  if (session_.format() == Format::kJsonl) {
    Json line = schema_object(options_.noun);
    line.update(piece_json(piece));
    print_json(out, Format::kJsonl, line);
    out.flush();
    return;
  }
  // Written piece by piece: a log may be larger than memory.
  out << (json_begun_ ? ",\n    " : "{\n  \"schema\": \"mvm." + options_.noun + "/1\",\n  \"items\": [\n    ")
      << piece_json(piece).dump(-1, ' ', false, Json::error_handler_t::replace);
  json_begun_ = true;
}

void LogPrinter::line(const soap::LogPiece& piece, std::string_view text) {
  const bool build = piece.stream == "build";
  const std::string whole = (build ? "build " : "") + one_line(piece.process) + "| ";
  if (build) {
    build_tail_.push_back(whole + std::string(text));
    if (build_tail_.size() > kBuildTail) build_tail_.pop_front();
    if (!options_.builds) return;
  }
  const bool to_err = build || piece.stream == "err" || options_.all_to_err;
  const Context& context = session_.context();
  const bool terminal = to_err ? context.err_is_terminal : context.out_is_terminal;
  if (progress_ != nullptr && (terminal || context.err_is_terminal)) progress_->clear();
  std::ostream& stream = to_err ? session_.err() : session_.out();
  stream << (terminal ? harmless(whole) : whole) << (terminal ? harmless(text) : std::string(text)) << '\n';
}

void LogPrinter::print(const soap::LogPiece& piece) {
  if (!session_.as_table() && !options_.all_to_err) return json(piece);
  Open& open = open_[piece.process + '\0' + piece.stream];
  open.head = piece;
  open.head.text.clear();
  open.text += piece.text;
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = open.text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    line(piece, std::string_view(open.text).substr(begin, end - begin));
  }
  open.text.erase(0, begin);
  if (open.text.size() > kLongestLine) {
    line(piece, open.text);
    open.text.clear();
  }
  session_.out().flush();
}

void LogPrinter::finish() {
  for (auto& [key, open] : open_) {
    if (!open.text.empty()) line(open.head, open.text);
    open.text.clear();
  }
  if (session_.format() == Format::kJson && !options_.all_to_err) {
    if (json_begun_) {
      session_.out() << "\n  ]\n}\n";
    } else {
      Json empty = schema_object(options_.noun);
      empty["items"] = Json::array();
      print_json(session_.out(), Format::kJson, empty);
    }
  }
  session_.out().flush();
}

// ---- follow_job

namespace {

class Follower {
 public:
  Follower(Session& session, std::string id, milliseconds patience)
      : session_(session),
        id_(std::move(id)),
        patience_(patience),
        progress_(session),
        printer_(session, {.builds = false, .all_to_err = !session.as_table(), .noun = "log"}, &progress_) {}

  Result<FollowOutcome> run() {
    MVM_ASSIGN(auto api, session_.api());
    session_.context().interrupts.arm();
    seen_ = session_.context().interrupts.count();
    Pacer pacer(session_);
    for (;;) {
      MVM_ASSIGN(const bool stop, handle_interrupts(api));
      if (stop) return outcome(true);
      const soap::LogQuery query{id_, "", cursor_, kFollowPoll};
      pacer.begin();
      MVM_ASSIGN(const soap::LogPage page,
                 patiently(session_, patience_, [&] { return api.jobs.logs(session_.caller(), query); }));
      cursor_ = page.cursor;
      for (const soap::LogPiece& piece : page.pieces) print(piece);
      MVM_ASSIGN(job_, patiently(session_, patience_, [&] { return api.jobs.job(session_.caller(), id_); }));
      if (is_final(job_.job.state) && (page.ended || (final_seen_ && page.pieces.empty()))) break;
      final_seen_ = is_final(job_.job.state);
      show_progress();
      tell_held();
      pacer.end(!page.pieces.empty() || final_seen_);
    }
    return outcome(false);
  }

 private:
  FollowOutcome outcome(bool detached) {
    progress_.clear();
    printer_.finish();
    return {job_, detached, printer_.build_tail()};
  }

  void print(const soap::LogPiece& piece) {
    if (piece.stream == "build") {
      std::string text = piece.text;
      while (!text.empty() && text.back() == '\n') text.pop_back();
      last_build_ = text.substr(text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1);
    }
    printer_.print(piece);
  }

  void show_progress() {
    const soap::JobView& job = job_.job;
    std::string text = "job " + job.id + "  " + job.state;
    const std::int64_t now = session_.context().clock.wall_ms();
    text += "  " + human_duration(std::max<std::int64_t>(0, now - job.submitted_ms));
    if (!job.progress.empty()) text += "  " + job.progress;
    if (job.state != "RUNNING" && !job.reason.empty()) text += "  (" + job.reason + ")";
    if (job.state == "BUILDING" && !last_build_.empty()) text += "  " + last_build_;
    progress_.show(text);
  }

  /// Where no line is rewritten in place: one for each new reason for which the job waits.
  void tell_held() {
    const soap::JobView& job = job_.job;
    const bool held = job.state == "SUBMITTED" || job.state == "COLLECTING";
    if (session_.context().err_is_terminal || !held || job.reason.empty() || job.reason == told_) return;
    told_ = job.reason;
    session_.err() << "mvm: job " << job.id << " is " << job.state << ": " << told_ << '\n';
    session_.err().flush();
  }

  /// True: leave the job to itself.
  Result<bool> handle_interrupts(soap::BrokerApi& api) {
    Context& context = session_.context();
    if (context.interrupts.count() == seen_) return false;
    if (cancelling_) return true;  // asked, and asked again: do not hold the terminal
    progress_.clear();
    session_.err() << "mvm: Ctrl-C again within 3 s cancels job " << id_ << "; else it goes on without you\n";
    session_.err().flush();
    const auto deadline = context.clock.now() + kSecondThoughts;
    while (context.interrupts.count() == seen_ + 1 && context.clock.now() < deadline) {
      context.sleep(milliseconds(100));
    }
    if (context.interrupts.count() == seen_ + 1) return true;
    session_.err() << "mvm: cancelling job " << id_ << '\n';
    MVM_TRY(patiently(session_, patience_, [&] { return api.jobs.cancel(session_.caller(), id_); }));
    cancelling_ = true;
    seen_ = context.interrupts.count();
    return false;
  }

  Session& session_;
  std::string id_;
  milliseconds patience_;
  ProgressLine progress_;
  LogPrinter printer_;
  soap::JobDetail job_;
  std::uint64_t cursor_ = 0;
  std::string last_build_;
  std::string told_;  ///< the reason that was printed last
  bool final_seen_ = false;
  bool cancelling_ = false;
  int seen_ = 0;
};

}  // namespace

Result<FollowOutcome> follow_job(Session& session, const std::string& id, milliseconds patience) {
  return Follower(session, id, patience).run();
}

}  // namespace mvm::cli
