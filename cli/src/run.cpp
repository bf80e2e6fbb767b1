#include "mvm/cli/run.h"

#include <ostream>

#include "grammar.h"

namespace mvm::cli {

int run(Context& context, const std::vector<std::string>& args) {
  Grammar grammar;
  add_all_verbs(grammar);
  const Grammar::Outcome outcome = grammar.parse(args, context);
  context.out << outcome.out;
  context.err << outcome.err;
  int code = outcome.code;
  if (outcome.handler) {
    Session session(context, grammar.globals());
    Result<int> result = outcome.handler(session);
    if (result) {
      code = *result;
      // After success a hint is for people only.
      if (code != kDone || context.err_is_terminal) {
        for (const std::string& hint : session.hints()) context.err << "try: " << hint << '\n';
      }
    } else {
      print_error(session, result.error());
      code = exit_code_of(result.error().code());
    }
  }
  context.out.flush();
  context.err.flush();
  // A full disk or a closed pipe must not look like success.
  if (!context.out && code == kDone) {
    context.err << "mvm: error: cannot write the result to standard output\n";
    code = kOperationFailed;
  }
  return code;
}

std::vector<VerbInfo> verbs() {
  Grammar grammar;
  add_all_verbs(grammar);
  std::vector<VerbInfo> result;
  for (const CLI::App* leaf : Grammar::leaves(grammar.root())) {
    result.push_back({Grammar::path_of(*leaf), leaf->get_description(), Grammar::flags_of(*leaf)});
  }
  return result;
}

}  // namespace mvm::cli
