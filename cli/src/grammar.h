#pragma once
// The tree of nouns and verbs, and the way from arguments to a handler.

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "session.h"

namespace mvm::cli {

/// What a verb does: its exit code, or why it could not.
using Handler = std::function<Result<int>(Session&)>;

/// What a parameter stands for, so that the shell can complete it.
enum class Completes { kNothing, kFile, kJob, kLab, kNode };

/// The whole grammar. Handlers keep their options by shared pointers: one parse for each Grammar.
class Grammar {
 public:
  Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  [[nodiscard]] CLI::App& root() { return root_; }
  [[nodiscard]] const CLI::App& root() const { return root_; }
  /// Made by whoever comes first; its verbs may come from several files.
  CLI::App& noun(const std::string& name, const std::string& about);
  /// `examples` are whole commands, shown by --help.
  CLI::App& verb(CLI::App& parent, const std::string& name, const std::string& about,
                 const std::vector<std::string>& examples, Handler handler);
  /// A flag that stands alone or with "=value": alone it means `alone`.
  void value_optional(CLI::Option* option, std::string alone);
  /// Once all verbs are there: what stands where in the help.
  void tidy_help();
  void completes(CLI::Option* option, Completes what) { completions_[option] = what; }
  [[nodiscard]] Completes completion_of(const CLI::Option* option) const;

  /// What became of the arguments.
  struct Outcome {
    Handler handler;       ///< run it; or empty:
    int code = 0;          ///< the exit code,
    std::string out, err;  ///< and what to print
  };
  /// `environment` gives the values of MVM_* for flags that the arguments do not name.
  [[nodiscard]] Outcome parse(const std::vector<std::string>& args, const Context& context);

  /// The flags of every verb, after parse().
  [[nodiscard]] const Globals& globals() const { return globals_; }

  /// "job list" for a verb of this grammar.
  [[nodiscard]] static std::string path_of(const CLI::App& app);
  /// The verbs below an application, in the order they were added; itself where it has none.
  [[nodiscard]] static std::vector<const CLI::App*> leaves(const CLI::App& app);
  /// The long names of its flags: "--follow".
  [[nodiscard]] static std::vector<std::string> flags_of(const CLI::App& app);

 private:
  struct Walk {
    CLI::App* app = nullptr;  ///< the deepest noun or verb named
    std::size_t after = 0;    ///< index of the first argument behind its name
    std::string unknown;      ///< a word that is no verb of it
  };
  [[nodiscard]] Walk walk(const std::vector<std::string>& args);
  [[nodiscard]] std::vector<std::string> complete_arguments(const std::vector<std::string>& args,
                                                            const Walk& walked, const Context& context);
  [[nodiscard]] Outcome complaint(const CLI::App& app, const std::string& message) const;
  [[nodiscard]] Outcome unknown_verb(const Walk& walked) const;
  [[nodiscard]] Outcome wrong_arguments(const Walk& walked, const CLI::ParseError& error) const;

  CLI::App root_;
  Globals globals_;
  std::string format_ = "table", timeout_ = "30s";
  bool version_ = false;
  std::map<const CLI::App*, Handler> handlers_;
  std::map<const CLI::Option*, std::string> alone_;
  std::map<const CLI::Option*, Completes> completions_;
};

/// Accepts these words only; the help shows them as the flag's type.
[[nodiscard]] CLI::Validator one_of(const std::vector<std::string>& words);

/// A time such as "30s", "2m" or "5" (seconds). kInvalid otherwise.
[[nodiscard]] Result<std::chrono::milliseconds> parse_time(const std::string& text);

/// All verbs.
void add_file_verbs(Grammar& grammar);
void add_submit_verb(Grammar& grammar);
void add_lab_verbs(Grammar& grammar);
void add_job_verbs(Grammar& grammar);
void add_vm_verbs(Grammar& grammar);
void add_link_verbs(Grammar& grammar);
void add_queue_verbs(Grammar& grammar);
/// Those of open ports, below `mvm queue`.
void add_port_verbs(Grammar& grammar, CLI::App& queue);
void add_drain_verb(Grammar& grammar, CLI::App& queue);
void add_peek_verb(Grammar& grammar, CLI::App& queue);
void add_build_verbs(Grammar& grammar);
void add_kernel_verbs(Grammar& grammar);
void add_reg_verbs(Grammar& grammar);
void add_dvm_verbs(Grammar& grammar);
void add_host_verbs(Grammar& grammar);
void add_system_verbs(Grammar& grammar);
/// Those of plug-in repositories, below `mvm plugin`.
void add_repository_verbs(Grammar& grammar);
void add_doctor_verb(Grammar& grammar);
void add_completion_verb(Grammar& grammar);
void add_all_verbs(Grammar& grammar);

}  // namespace mvm::cli
