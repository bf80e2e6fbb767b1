#pragma once
// What makes two builds the same: then the second is answered from the cache.

#include <map>
#include <string>

#include "mvm/base/result.h"

namespace mvm::build {

/// Everything a build's result may depend on.
struct BuildInputs {
  std::string source;  ///< SHA-256 of the source archive
  std::string command;
  std::map<std::string, std::string> parameters;  ///< all of the job's
  std::string image;                              ///< digest of the image it is built in
  std::string libmvm;                             ///< version
  std::string architecture;                       ///< "x86_64", ...
};

/// The variable that tells a build command the value of a parameter: "MVM_PARAM_" plus the name, with what is
/// neither letter nor digit as an underscore.
[[nodiscard]] std::string parameter_variable(const std::string& name);

/// Those of the parameters that the command names by their variables. Only these are given to it, so that no
/// other can change its result.
[[nodiscard]] std::map<std::string, std::string> parameters_named(
    const std::string& command, const std::map<std::string, std::string>& parameters);

/// SHA-256 over all of the inputs, unambiguously.
[[nodiscard]] std::string build_key(const BuildInputs& inputs);

}  // namespace mvm::build
