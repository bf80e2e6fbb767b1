#include "grammar.h"

#include <algorithm>

#include "format.h"
#include "mvm/topologies/diagnostic.h"
#include "mvm/topologies/params.h"

namespace mvm::cli {
namespace {

constexpr const char* kGlobalsFooter =
    "Flags of every verb: -o table|json|jsonl, --broker URL, --token-file FILE, --ca FILE, --timeout TIME.\n"
    "Every flag can also be set as a variable: --token-file as MVM_TOKEN_FILE.";

std::string variable_of(std::string_view flag) {
  std::string name = "MVM_";
  for (const char c : flag) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

bool truthy(const std::string& value) {
  return !(value == "0" || value == "false" || value == "no" || value == "off");
}

/// True where the arguments name the flag, in any of its spellings.
bool named(const CLI::Option& option, const std::vector<std::string>& args) {
  for (const std::string& arg : args) {
    if (arg == "--") return false;
    for (const std::string& name : option.get_lnames()) {
      if (arg == "--" + name || arg.starts_with("--" + name + "=")) return true;
    }
    for (const std::string& name : option.get_snames()) {
      if (arg.size() > 1 && arg[0] == '-' && arg[1] != '-' && arg[1] == name[0]) return true;
    }
  }
  return false;
}

}  // namespace

CLI::Validator one_of(const std::vector<std::string>& words) {
  return CLI::Validator(
      [words](std::string& word) {
        if (std::find(words.begin(), words.end(), word) != words.end()) return std::string();
        const std::string near = topologies::near_miss(word, words);
        return "found '" + cut(word, 60) + "', expected one of " + join(words, ", ") +
               (near.empty() ? "" : "; did you mean " + near + "?");
      },
      "");
}

Result<std::chrono::milliseconds> parse_time(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  MVM_ASSIGN(const std::int64_t value, topologies::parse_duration_ms(plain ? text + "s" : text));
  if (value < 0) return Error(ErrorCode::kInvalid, "found " + text + ", expected a time such as 30s");
  return std::chrono::milliseconds(value);
}

Grammar::Grammar() : root_("MVM: a virtual laboratory from one file.", "mvm") {
  root_.fallthrough();
  root_.set_help_flag("-h,--help", "show this help");
  root_.add_option("-o,--output", format_, "how results are printed")
      ->check(one_of({"table", "json", "jsonl"}))
      ->type_name("table|json|jsonl");
  root_.add_option("--broker", globals_.broker, "where the broker answers")->type_name("URL");
  completes(
      root_.add_option("--token-file", globals_.token_file, "file with your token, readable by you alone")
          ->type_name("FILE"),
      Completes::kFile);
  completes(root_.add_option("--ca", globals_.ca, "authority of the broker's certificate, for https")
                ->type_name("FILE"),
            Completes::kFile);
  root_.add_option("--timeout", timeout_, "longest wait for one answer")->type_name("TIME");
  root_.add_flag("--version", version_, "show the version");
  root_.footer(
      "Examples:\n"
      "  mvm doctor\n"
      "  mvm validate lab.xml\n"
      "  mvm submit job.xml --set n=8 --wait\n"
      "  mvm job list -o json\n\n"
      "`mvm VERB --help` shows each verb's flags and examples.\n"
      "Every flag can also be set as a variable: --broker as MVM_BROKER.");
}

CLI::App& Grammar::noun(const std::string& name, const std::string& about) {
  for (CLI::App* known : root_.get_subcommands([](const CLI::App*) { return true; }))
    if (known->get_name() == name) return *known;
  CLI::App* app = root_.add_subcommand(name, about);
  app->fallthrough();
  app->set_help_flag("-h,--help", "show this help");
  return *app;
}

CLI::App& Grammar::verb(CLI::App& parent, const std::string& name, const std::string& about,
                        const std::vector<std::string>& examples, Handler handler) {
  CLI::App* app = parent.add_subcommand(name, about);
  app->fallthrough();
  app->set_help_flag("-h,--help", "show this help");
  std::string footer = "Examples:\n";
  for (const std::string& example : examples) footer += "  " + example + "\n";
  app->footer(footer + "\n" + kGlobalsFooter);
  handlers_[app] = std::move(handler);
  return *app;
}

void Grammar::value_optional(CLI::Option* option, std::string alone) { alone_[option] = std::move(alone); }

void Grammar::tidy_help() {
  for (CLI::App* noun : root_.get_subcommands(nullptr)) {
    std::vector<CLI::App*> verbs = noun->get_subcommands(nullptr);
    if (verbs.empty()) {
      verbs.push_back(noun);
    } else {
      noun->footer("`mvm " + noun->get_name() + " VERB --help` shows each verb's flags and examples.");
    }
    for (CLI::App* verb : verbs) {
      for (CLI::Option* option : verb->get_options()) {
        if (option->get_positional() && option->get_lnames().empty()) option->type_name("");
      }
    }
  }
}

Completes Grammar::completion_of(const CLI::Option* option) const {
  const auto found = completions_.find(option);
  return found == completions_.end() ? Completes::kNothing : found->second;
}

std::string Grammar::path_of(const CLI::App& app) {
  if (app.get_parent() == nullptr) return {};
  const std::string parent = path_of(*app.get_parent());
  return parent.empty() ? app.get_name() : parent + " " + app.get_name();
}

std::vector<const CLI::App*> Grammar::leaves(const CLI::App& app) {
  const auto below = app.get_subcommands(nullptr);
  if (below.empty()) return {&app};
  std::vector<const CLI::App*> result;
  for (const CLI::App* sub : below) {
    for (const CLI::App* leaf : leaves(*sub)) result.push_back(leaf);
  }
  return result;
}

std::vector<std::string> Grammar::flags_of(const CLI::App& app) {
  std::vector<std::string> result;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) result.push_back("--" + name);
  }
  return result;
}

Grammar::Walk Grammar::walk(const std::vector<std::string>& args) {
  Walk result{&root_, 0, {}};
  for (std::size_t i = 0; i < args.size() && args[i] != "--"; ++i) {
    const std::string& arg = args[i];
    if (arg.size() > 1 && arg[0] == '-') {
      // "-o json" before the verb: the value is not a verb.
      const CLI::Option* option = root_.get_option_no_throw(arg);
      if (option != nullptr && takes_value(*option)) ++i;
      continue;
    }
    if (result.app->get_subcommands(nullptr).empty()) break;
    const auto verbs = result.app->get_subcommands(nullptr);
    const auto next = std::find_if(verbs.begin(), verbs.end(),
                                   [&](const CLI::App* verb) { return verb->get_name() == arg; });
    if (next == verbs.end()) {
      result.unknown = arg;
      break;
    }
    result.app = *next;
    result.after = i + 1;
  }
  return result;
}

std::vector<std::string> Grammar::complete_arguments(const std::vector<std::string>& args, const Walk& walked,
                                                     const Context& context) {
  std::vector<std::string> from_environment;
  const auto add = [&](const CLI::App& app) {
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_lnames().empty() || option->get_lnames()[0] == "help" ||
          option->get_lnames()[0] == "version" || named(*option, args)) {
        continue;
      }
      const std::string flag = "--" + option->get_lnames()[0];
      const auto value = context.environment(variable_of(option->get_lnames()[0]));
      if (!value || value->empty()) continue;
      if (!takes_value(*option)) {
        if (truthy(*value)) from_environment.push_back(flag);
        continue;
      }
      // Several values of one flag stand on lines of their own.
      for (const std::string& line : CLI::detail::split(*value, '\n')) {
        if (!line.empty()) from_environment.push_back(flag + "=" + line);
      }
    }
  };
  add(root_);
  if (walked.app != &root_) add(*walked.app);

  std::vector<std::string> result;
  bool flags = true;
  for (std::size_t i = 0; i <= args.size(); ++i) {
    if (i == walked.after) result.insert(result.end(), from_environment.begin(), from_environment.end());
    if (i == args.size()) break;
    flags = flags && args[i] != "--";
    const CLI::Option* option = flags ? walked.app->get_option_no_throw(args[i]) : nullptr;
    const auto alone = alone_.find(option);
    const bool bare = option != nullptr && alone != alone_.end();
    result.push_back(bare ? "--" + option->get_lnames()[0] + "=" + alone->second : args[i]);
  }
  return result;
}

Grammar::Outcome Grammar::complaint(const CLI::App& app, const std::string& message) const {
  Outcome outcome;
  outcome.code = kBadInput;
  const std::string path = path_of(app);
  outcome.err =
      "mvm: error: " + one_line(message) + "\ntry: mvm " + (path.empty() ? "" : path + " ") + "--help\n";
  return outcome;
}

Grammar::Outcome Grammar::unknown_verb(const Walk& walked) const {
  std::vector<std::string> names;
  for (const CLI::App* sub : walked.app->get_subcommands(nullptr)) names.push_back(sub->get_name());
  const std::string path = path_of(*walked.app);
  std::string message;
  if (walked.unknown.empty()) {
    message = "found no verb" + (path.empty() ? std::string() : " after '" + path + "'");
  } else {
    message = "found '" + cut(walked.unknown, 60) + "'" + (path.empty() ? "" : " after '" + path + "'");
  }
  message += "; expected one of " + join(names, ", ");
  if (const std::string near = topologies::near_miss(walked.unknown, names);
      !walked.unknown.empty() && !near.empty()) {
    message += "; did you mean " + near + "?";
  }
  return complaint(*walked.app, message);
}

Grammar::Outcome Grammar::wrong_arguments(const Walk& walked, const CLI::ParseError& error) const {
  std::string message = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto left = root_.remaining(true);
    std::string found = left.empty() ? "" : left[0];
    found = found.substr(0, found.find('='));
    message = "found '" + cut(found, 60) + "', expected no more than `mvm " + path_of(*walked.app) +
              " --help` names";
    std::vector<std::string> flags = flags_of(*walked.app);
    for (const std::string& flag : flags_of(root_)) flags.push_back(flag);
    const std::string near = topologies::near_miss(found, flags);
    if (found.starts_with("-") && !near.empty()) message += "; did you mean " + near + "?";
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    const std::string name = message.substr(0, message.find(' '));
    message = "found no " + name + ", expected " + (name == "ARGV" ? "a program behind --" : "one");
  }
  return complaint(*walked.app, message);
}

Grammar::Outcome Grammar::parse(const std::vector<std::string>& args, const Context& context) {
  const Walk walked = walk(args);
  const auto end = std::find(args.begin(), args.end(), "--");
  const auto asks = [&](const char* flag) { return std::find(args.begin(), end, flag) != end; };
  Outcome outcome;
  if (walked.app == &root_ && walked.unknown.empty() && asks("--version")) {
    outcome.out = "mvm " + context.version + "\n";
    return outcome;
  }
  const bool leaf = handlers_.contains(walked.app);
  if (walked.unknown.empty() && (asks("--help") || asks("-h"))) {
    const std::string parent = walked.app == &root_ ? "" : path_of(*walked.app->get_parent());
    outcome.out = walked.app->help(parent.empty() ? (walked.app == &root_ ? "" : "mvm") : "mvm " + parent);
    return outcome;
  }
  if (!leaf && walked.app == &root_ && args.empty()) {
    outcome.err = root_.help();
    outcome.code = kBadInput;
    return outcome;
  }
  if (!leaf) return unknown_verb(walked);

  std::vector<std::string> complete = complete_arguments(args, walked, context);
  std::reverse(complete.begin(), complete.end());
  try {
    root_.parse(complete);
  } catch (const CLI::ParseError& error) {
    return wrong_arguments(walked, error);
  }
  const auto timeout = parse_time(timeout_);
  if (!timeout) return complaint(*walked.app, "--timeout: " + timeout.error().message());
  globals_.timeout = *timeout;
  globals_.timeout_given = root_.get_option("--timeout")->count() > 0;
  globals_.format = format_ == "json" ? Format::kJson : format_ == "jsonl" ? Format::kJsonl : Format::kTable;
  outcome.handler = handlers_.at(walked.app);
  return outcome;
}

void add_all_verbs(Grammar& grammar) {
  add_file_verbs(grammar);
  add_submit_verb(grammar);
  add_lab_verbs(grammar);
  add_job_verbs(grammar);
  add_vm_verbs(grammar);
  add_link_verbs(grammar);
  add_queue_verbs(grammar);
  add_build_verbs(grammar);
  add_kernel_verbs(grammar);
  add_reg_verbs(grammar);
  add_dvm_verbs(grammar);
  add_host_verbs(grammar);
  add_system_verbs(grammar);
  add_repository_verbs(grammar);
  add_doctor_verb(grammar);
  add_completion_verb(grammar);
  grammar.tidy_help();
}

}  // namespace mvm::cli
