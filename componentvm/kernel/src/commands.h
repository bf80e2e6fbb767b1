#pragma once
// What users ask of a kernel [Harness 000, §2.3]: load, unload, run, stop; at once, or prepared and then
// committed together with other kernels.

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "mvm/base/result.h"
#include "plugins.h"
#include "runs.h"
#include "transactions.h"

namespace mvm::kernel {

[[nodiscard]] const char* text_of(Sharing sharing);
[[nodiscard]] Result<Sharing> sharing_of(const std::string& text);

/// Thread-safe.
class Commands {
 public:
  /// `kept`: asked for by a user. What plug-ins had the kernel load they have it load again themselves.
  using Operation = std::function<Result<nlohmann::json>(const nlohmann::json& args, bool kept)>;
  Commands(Plugins& plugins, Runs& runs);

  /// Takes back what was prepared and not decided.
  void end() { transactions_.end(); }
  /// By the operations' names. They are good as long as this object.
  [[nodiscard]] std::map<std::string, Operation> operations();

 private:
  Result<nlohmann::json> load(const nlohmann::json& args, bool kept);
  Result<nlohmann::json> unload(const nlohmann::json& args, bool kept);
  Result<nlohmann::json> run(const nlohmann::json& args);
  Result<nlohmann::json> stop(const nlohmann::json& args);
  Result<nlohmann::json> prepare(const nlohmann::json& args, bool kept);
  Result<Prepared> prepare_load(const nlohmann::json& args, bool kept);
  Result<Prepared> prepare_unload(const nlohmann::json& args, bool kept);
  Result<Prepared> prepare_run(const nlohmann::json& args);
  Result<Prepared> prepare_stop(const nlohmann::json& args);
  [[nodiscard]] Result<RunOrder> order_from(const nlohmann::json& args) const;

  Plugins& plugins_;
  Runs& runs_;
  Transactions transactions_;
};

}  // namespace mvm::kernel
