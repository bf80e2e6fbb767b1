// mvm completion SHELL: scripts made from the grammar itself.

#include <ostream>
#include <set>
#include <sstream>

#include "common.h"
#include "format.h"

namespace mvm::cli {
namespace {

/// A verb as a shell needs it.
struct Word {
  std::string path;  ///< "job logs"
  std::vector<std::string> flags;
  Completes positional = Completes::kNothing;
};

std::vector<Word> words_of(const Grammar& grammar) {
  std::vector<Word> words;
  const std::vector<std::string> globals = Grammar::flags_of(grammar.root());
  for (const CLI::App* leaf : Grammar::leaves(grammar.root())) {
    Word word{Grammar::path_of(*leaf), Grammar::flags_of(*leaf), Completes::kNothing};
    for (const std::string& flag : globals) {
      if (flag != "--help" && flag != "--version") word.flags.push_back(flag);
    }
    for (const CLI::Option* option : leaf->get_options()) {
      if (option->get_positional() && grammar.completion_of(option) != Completes::kNothing) {
        word.positional = grammar.completion_of(option);
        break;
      }
    }
    words.push_back(std::move(word));
  }
  return words;
}

/// Flags whose value is completed the same way under every verb: "--out" -> files.
std::vector<std::pair<std::string, Completes>> value_flags(const Grammar& grammar) {
  std::vector<std::pair<std::string, Completes>> result;
  std::set<std::string> seen;
  std::vector<const CLI::App*> apps = Grammar::leaves(grammar.root());
  apps.push_back(&grammar.root());
  for (const CLI::App* app : apps) {
    for (const CLI::Option* option : app->get_options()) {
      const Completes what = grammar.completion_of(option);
      if (what == Completes::kNothing) continue;
      for (const std::string& name : option->get_lnames()) {
        if (seen.insert(name).second) result.emplace_back("--" + name, what);
      }
    }
  }
  return result;
}

std::vector<std::string> top_words(const Grammar& grammar) {
  std::vector<std::string> names;
  for (const CLI::App* app : grammar.root().get_subcommands(nullptr)) names.push_back(app->get_name());
  return names;
}

const char* name_of(Completes what) {
  switch (what) {
    case Completes::kFile:
      return "files";
    case Completes::kJob:
      return "jobs";
    case Completes::kLab:
      return "labs";
    case Completes::kNode:
      return "nodes";
    case Completes::kNothing:
      break;
  }
  return "nothing";
}

/// Shell functions that ask the broker for names, quietly and without keeping anybody waiting.
constexpr const char* kAskPosix = R"sh(_mvm_ask() {  # what, key
  case "$1" in
    jobs) mvm job list --all --timeout 2s -o jsonl 2>/dev/null ;;
    labs) mvm lab list --timeout 2s -o jsonl 2>/dev/null ;;
    nodes) mvm vm list --timeout 2s -o jsonl 2>/dev/null ;;
  esac | sed -n "s/.*\"$2\":\"\([A-Za-z0-9._-]*\)\".*/\1/p"
}
)sh";

std::string bash_script(const Grammar& grammar) {
  std::ostringstream out;
  out << "# bash completion of mvm; made by `mvm completion bash`.\n"
      << kAskPosix << R"sh(
_mvm() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local path="" word i skip=0 words="" kind="" leaf=0
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if ((skip)); then skip=0; continue; fi
    case "$word" in
      -o|--output|--broker|--token-file|--ca|--timeout) skip=1; continue ;;
      -*) continue ;;
    esac
    ((leaf)) && continue
    path="${path:+$path }$word"
    case "$path" in
)sh";
  const std::vector<Word> words = words_of(grammar);
  for (const Word& word : words) out << "      '" << word.path << "') leaf=1 ;;\n";
  out << "    esac\n  done\n  case \"$previous\" in\n"
      << "    -o|--output) COMPREPLY=($(compgen -W 'table json jsonl' -- \"$current\")); return ;;\n";
  for (const auto& [flag, what] : value_flags(grammar)) {
    out << "    " << flag << ") kind=" << name_of(what) << " ;;\n";
  }
  out << "  esac\n  if [[ -z \"$kind\" ]]; then\n    case \"$path\" in\n"
      << "      '') words='" << join(top_words(grammar), " ")
      << " --help --version --output --broker --token-file --ca --timeout' ;;\n";
  for (const CLI::App* noun : grammar.root().get_subcommands(nullptr)) {
    std::vector<std::string> verbs;
    for (const CLI::App* verb : noun->get_subcommands(nullptr)) verbs.push_back(verb->get_name());
    if (!verbs.empty()) out << "      '" << noun->get_name() << "') words='" << join(verbs, " ") << "' ;;\n";
  }
  for (const Word& word : words) {
    out << "      '" << word.path << "') words='" << join(word.flags, " ") << "'";
    if (word.path == "completion") {
      out << "; [[ \"$current\" == -* ]] || words='bash zsh fish'";
    } else if (word.positional != Completes::kNothing) {
      out << "; [[ \"$current\" == -* ]] || kind=" << name_of(word.positional);
    }
    out << " ;;\n";
  }
  out << R"sh(    esac
  fi
  case "$kind" in
    files) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null; return ;;
    jobs) words="$(_mvm_ask jobs id)" ;;
    labs) words="$(_mvm_ask labs id)" ;;
    nodes) words="$(_mvm_ask nodes node)" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _mvm mvm
)sh";
  return out.str();
}

std::string zsh_script(const Grammar& grammar) {
  std::ostringstream out;
  out << "#compdef mvm\n# zsh completion of mvm; made by `mvm completion zsh`.\n"
      << kAskPosix << R"sh(
_mvm() {
  local -a candidates
  local joined="" word kind="" leaf=0 skip=0 i
  for ((i = 2; i < CURRENT; i++)); do
    word="${words[i]}"
    if ((skip)); then skip=0; continue; fi
    case "$word" in
      -o|--output|--broker|--token-file|--ca|--timeout) skip=1; continue ;;
      -*) continue ;;
    esac
    ((leaf)) && continue
    joined="${joined:+$joined }$word"
    case "$joined" in
)sh";
  const std::vector<Word> words = words_of(grammar);
  for (const Word& word : words) out << "      '" << word.path << "') leaf=1 ;;\n";
  out << "    esac\n  done\n  case \"${words[CURRENT-1]}\" in\n"
      << "    -o|--output) compadd table json jsonl; return ;;\n";
  for (const auto& [flag, what] : value_flags(grammar)) {
    out << "    " << flag << ") kind=" << name_of(what) << " ;;\n";
  }
  out << "  esac\n  if [[ -z \"$kind\" ]]; then\n    case \"$joined\" in\n"
      << "      '') candidates=(" << join(top_words(grammar), " ")
      << " --help --version --output --broker --token-file --ca --timeout) ;;\n";
  for (const CLI::App* noun : grammar.root().get_subcommands(nullptr)) {
    std::vector<std::string> verbs;
    for (const CLI::App* verb : noun->get_subcommands(nullptr)) verbs.push_back(verb->get_name());
    if (!verbs.empty())
      out << "      '" << noun->get_name() << "') candidates=(" << join(verbs, " ") << ") ;;\n";
  }
  for (const Word& word : words) {
    out << "      '" << word.path << "') candidates=(" << join(word.flags, " ") << ")";
    if (word.path == "completion") {
      out << "; [[ \"$PREFIX\" == -* ]] || candidates=(bash zsh fish)";
    } else if (word.positional != Completes::kNothing) {
      out << "; [[ \"$PREFIX\" == -* ]] || kind=" << name_of(word.positional);
    }
    out << " ;;\n";
  }
  out << R"sh(    esac
  fi
  case "$kind" in
    files) _files; return ;;
    jobs) candidates=(${(f)"$(_mvm_ask jobs id)"}) ;;
    labs) candidates=(${(f)"$(_mvm_ask labs id)"}) ;;
    nodes) candidates=(${(f)"$(_mvm_ask nodes node)"}) ;;
  esac
  compadd -- $candidates
}
if [ "$funcstack[1]" = "_mvm" ]; then _mvm "$@"; else compdef _mvm mvm; fi
)sh";
  return out.str();
}

/// A word between single quotes, for fish.
std::string fish_word(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') result += '\\';
    result += c;
  }
  return result + "'";
}

std::string fish_arguments(Completes what) {
  switch (what) {
    case Completes::kFile:
      return " -r -F";
    case Completes::kJob:
      return " -x -a '(_mvm_ask jobs id)'";
    case Completes::kLab:
      return " -x -a '(_mvm_ask labs id)'";
    case Completes::kNode:
      return " -x -a '(_mvm_ask nodes node)'";
    case Completes::kNothing:
      break;
  }
  return "";
}

std::string fish_script(const Grammar& grammar) {
  std::ostringstream out;
  out << R"sh(# fish completion of mvm; made by `mvm completion fish`.
function _mvm_ask --argument-names what key
  switch $what
    case jobs
      set lines (mvm job list --all --timeout 2s -o jsonl 2>/dev/null)
    case labs
      set lines (mvm lab list --timeout 2s -o jsonl 2>/dev/null)
    case nodes
      set lines (mvm vm list --timeout 2s -o jsonl 2>/dev/null)
  end
  printf '%s\n' $lines | sed -n "s/.*\"$key\":\"\([A-Za-z0-9._-]*\)\".*/\1/p"
end
function _mvm_path
  set -l words (commandline -opc)
  set -l path
  set -l skip 0
  for word in $words[2..-1]
    if test $skip -eq 1
      set skip 0
      continue
    end
    switch $word
      case -o --output --broker --token-file --ca --timeout
        set skip 1
      case '-*'
      case '*'
        set -a path $word
    end
  end
  echo "$path"
end
function _mvm_at
  set -l path (_mvm_path)
  test "$path" = "$argv[1]"; or string match -q -- "$argv[1] *" "$path"
end
complete -c mvm -f
)sh";
  for (const CLI::App* noun : grammar.root().get_subcommands(nullptr)) {
    out << "complete -c mvm -n 'test -z (_mvm_path)' -a " << noun->get_name() << " -d "
        << fish_word(noun->get_description()) << '\n';
    for (const CLI::App* verb : noun->get_subcommands(nullptr)) {
      out << "complete -c mvm -n 'test (_mvm_path) = " << noun->get_name() << "' -a " << verb->get_name()
          << " -d " << fish_word(verb->get_description()) << '\n';
    }
  }
  for (const CLI::Option* option : grammar.root().get_options()) {
    for (const std::string& name : option->get_lnames()) {
      out << "complete -c mvm -l " << name << " -d " << fish_word(option->get_description())
          << (name == "output" ? " -x -a 'table json jsonl'" : fish_arguments(grammar.completion_of(option)))
          << '\n';
    }
  }
  for (const CLI::App* leaf : Grammar::leaves(grammar.root())) {
    const std::string at = "complete -c mvm -n \"_mvm_at '" + Grammar::path_of(*leaf) + "'\"";
    for (const CLI::Option* option : leaf->get_options()) {
      if (option->get_positional()) {
        const std::string arguments = fish_arguments(grammar.completion_of(option));
        if (!arguments.empty()) out << at << arguments << '\n';
      }
      for (const std::string& name : option->get_lnames()) {
        if (name == "help") continue;
        out << at << " -l " << name << " -d " << fish_word(option->get_description())
            << fish_arguments(grammar.completion_of(option)) << '\n';
      }
    }
  }
  out << "complete -c mvm -n \"_mvm_at completion\" -a 'bash zsh fish'\n";
  return out.str();
}

}  // namespace

void add_completion_verb(Grammar& grammar) {
  auto shell = std::make_shared<std::string>();
  CLI::App& verb =
      grammar.verb(grammar.root(), "completion", "a script that completes mvm's words in your shell",
                   {"source <(mvm completion bash)", "mvm completion zsh > ~/.zfunc/_mvm",
                    "mvm completion fish > ~/.config/fish/completions/mvm.fish"},
                   [shell, &grammar](Session& session) -> Result<int> {
                     const std::string script = *shell == "bash"  ? bash_script(grammar)
                                                : *shell == "zsh" ? zsh_script(grammar)
                                                                  : fish_script(grammar);
                     if (session.as_table()) {
                       session.out() << script;
                     } else {
                       Json json = schema_object("completion");
                       json["shell"] = *shell;
                       json["script"] = script;
                       print_json(session.out(), session.format(), json);
                     }
                     return kDone;
                   });
  verb.add_option("SHELL", *shell, "bash, zsh or fish")->required()->check(one_of({"bash", "zsh", "fish"}));
}

}  // namespace mvm::cli
