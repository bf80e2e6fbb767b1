#pragma once
// What several verbs share: watching, naming labs and VMs, jobs as a table shows them.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "grammar.h"

namespace mvm::cli {

/// --watch[=TIME]
struct Watch {
  std::string every;  ///< empty: once
};
std::shared_ptr<Watch> add_watch(Grammar& grammar, CLI::App& verb);

/// Makes and prints a view once, or again and again until Ctrl-C. On a terminal each replaces the last one.
template <class View>
Result<int> show(Session& session, const Watch& watch, const std::function<Result<View>()>& make);

/// True once a job cannot change any more.
[[nodiscard]] bool is_final(const std::string& state);

/// "R" for RUNNING: PD submitted, PL planned, BD building, BT booting, WR wiring, R running, CG collecting,
/// CD done, F failed, CA cancelled.
[[nodiscard]] std::string short_state(const std::string& state);

[[nodiscard]] Colour colour_of_state(const std::string& state);

/// JOBID LAB NAME USER ST TIME NODES WHERE(REASON)
[[nodiscard]] Listing job_listing(const std::vector<soap::JobView>& jobs, std::int64_t now_ms);

/// The hosts, or "(reason)" where there is something to explain.
[[nodiscard]] std::string where_or_reason(const soap::JobView& job);

/// Time on the way: from its start to its end or now.
[[nodiscard]] std::int64_t elapsed_ms(const soap::JobView& job, std::int64_t now_ms);

/// The job's fields as JSON, in the order of the table.
[[nodiscard]] Json job_json(const soap::JobView& job, std::int64_t now_ms);

/// The lab's id, from its id or its name where only one lab has it. kNotFound names near misses.
[[nodiscard]] Result<std::string> resolve_lab(Session& session, const std::string& text);

/// The VM that "LAB/NODE", or "NODE" where it is unique, means.
[[nodiscard]] Result<soap::VmView> resolve_vm(Session& session, const std::string& text,
                                              const std::string& lab);

/// Does `act` for each id and says so on standard output. 0 all done, 4 some, else the first fault.
Result<int> for_each_id(Session& session, const std::vector<std::string>& ids, const std::string& noun,
                        const std::string& done, const std::function<Status(const std::string&)>& act);

/// Adds what to try where an id is not known.
[[nodiscard]] Error not_known(Session& session, Error error, const std::string& hint);

/// Sleeps a little where a long poll came back empty too early, so that no loop ever spins.
class Pacer {
 public:
  explicit Pacer(Session& session) : session_(session) {}
  void begin() { began_ = session_.context().clock.now(); }
  void end(bool got_something);

 private:
  Session& session_;
  Clock::Instant began_{};
};

/// The folder results go to: the one asked for, or here.
[[nodiscard]] std::filesystem::path out_folder(Session& session, const std::string& asked);

/// Writes text to a file or, for an empty name, to standard output.
[[nodiscard]] Status write_out(Session& session, const std::string& file, const std::string& text);

constexpr std::chrono::milliseconds kLongPoll{20'000};

// ---- templates

namespace detail {
[[nodiscard]] Result<std::chrono::milliseconds> watch_interval(const Watch& watch);
void clear_screen(Session& session);
}  // namespace detail

template <class View>
Result<int> show(Session& session, const Watch& watch, const std::function<Result<View>()>& make) {
  if (watch.every.empty()) {
    MVM_ASSIGN(const View view, make());
    session.print(view);
    return kDone;
  }
  MVM_ASSIGN(const auto interval, detail::watch_interval(watch));
  const int pressed = session.context().interrupts.count();
  for (bool first = true;; first = false) {
    Result<View> view =
        patiently(session, first ? std::chrono::milliseconds(0) : std::chrono::seconds(60), make);
    if (!view) return view.error();
    if (session.as_table() && session.context().out_is_terminal) {
      detail::clear_screen(session);
    } else if (session.as_table() && !first) {
      session.out() << '\n';
    }
    session.print(*view);
    session.out().flush();
    if (!session.out()) return kDone;  // nobody reads any more
    session.context().sleep(interval);
    if (session.context().interrupts.count() != pressed) return kDone;
  }
}

}  // namespace mvm::cli
