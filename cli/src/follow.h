#pragma once
// Following a job: its output line by line, its state as it changes.

#include <deque>
#include <map>
#include <string>

#include "session.h"

namespace mvm::cli {

/// One line on standard error that is rewritten in place; nothing where that is no terminal.
class ProgressLine {
 public:
  explicit ProgressLine(Session& session) : session_(session) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(const std::string& text);
  /// Takes the line away, before something else is written.
  void clear();

 private:
  Session& session_;
  std::string shown_;
};

/// Prints pieces of output as whole lines, each with its process's name: "cell[0]| text". A process's
/// standard output goes to ours, its standard error and what compilers say to ours.
class LogPrinter {
 public:
  struct Options {
    bool builds = true;       ///< what compilers say, too
    bool all_to_err = false;  ///< standard output is for something else
    std::string noun = "log";
  };
  LogPrinter(Session& session, Options options, ProgressLine* progress = nullptr);
  void print(const soap::LogPiece& piece);
  /// Prints lines that never ended, and closes the JSON document.
  void finish();
  /// The last lines compilers said.
  [[nodiscard]] const std::deque<std::string>& build_tail() const { return build_tail_; }

 private:
  void line(const soap::LogPiece& piece, std::string_view text);
  void json(const soap::LogPiece& piece);

  Session& session_;
  Options options_;
  ProgressLine* progress_;
  struct Open {
    soap::LogPiece head;  ///< whose line it is
    std::string text;
  };
  std::map<std::string, Open> open_;
  std::deque<std::string> build_tail_;
  bool json_begun_ = false;
};

/// Waits for a job's end, with its output and its progress shown. Ctrl-C once detaches, twice cancels.
struct FollowOutcome {
  soap::JobDetail job;
  bool detached = false;
  std::deque<std::string> build_tail;
};
[[nodiscard]] Result<FollowOutcome> follow_job(Session& session, const std::string& id,
                                               std::chrono::milliseconds patience);

/// Downloads a job's results into a folder and lists them. Names that lead out of it are refused.
[[nodiscard]] Result<std::vector<std::filesystem::path>> fetch_results(
    Session& session, const std::vector<soap::ResultFile>& files, const std::filesystem::path& folder);

}  // namespace mvm::cli
