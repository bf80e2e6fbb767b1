#include "mvm/build/build_key.h"

#include <algorithm>

#include "mvm/base/digest.h"

namespace mvm::build {
namespace {

bool name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// Length first: no two lists of texts give the same bytes.
void add(Sha256& digest, const std::string& text) {
  digest.update(std::to_string(text.size()) + ":");
  digest.update(text);
}

}  // namespace

std::string parameter_variable(const std::string& name) {
  std::string variable = "MVM_PARAM_" + name;
  std::replace_if(
      variable.begin(), variable.end(), [](char c) { return !name_character(c); }, '_');
  return variable;
}

std::map<std::string, std::string> parameters_named(const std::string& command,
                                                    const std::map<std::string, std::string>& parameters) {
  std::map<std::string, std::string> named;
  for (const auto& [name, value] : parameters) {
    const std::string variable = parameter_variable(name);
    for (std::size_t at = command.find(variable); at != std::string::npos;
         at = command.find(variable, at + 1)) {
      const std::size_t end = at + variable.size();
      const bool whole = (at == 0 || !name_character(command[at - 1])) &&
                         (end == command.size() || !name_character(command[end]));
      if (!whole) continue;
      named.emplace(name, value);
      break;
    }
  }
  return named;
}

std::string build_key(const BuildInputs& inputs) {
  Sha256 digest;
  add(digest, "mvm-build-1");
  for (const std::string* text :
       {&inputs.source, &inputs.command, &inputs.image, &inputs.libmvm, &inputs.architecture})
    add(digest, *text);
  for (const auto& [name, value] : parameters_named(inputs.command, inputs.parameters)) {
    add(digest, name);
    add(digest, value);
  }
  return digest.hex();
}

}  // namespace mvm::build
