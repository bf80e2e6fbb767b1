#pragma once
// Programs started in nodes by hand. Loop thread only.

#include <map>
#include <string>

#include "core.h"
#include "records.h"

namespace mvm::broker {

class Execs {
 public:
  explicit Execs(Core& core) : core_(core) {}
  [[nodiscard]] Status load();
  /// Puts a new one on record.
  [[nodiscard]] ExecRecord& add(const std::string& user, const std::string& lab, const std::string& node,
                                const std::string& host);
  [[nodiscard]] ExecRecord* find(const std::string& id);
  /// "exec/3" → 3; null where it is none of ours.
  [[nodiscard]] ExecRecord* of_process(const std::string& proc);
  void output(ExecRecord& exec, const std::string& stream, std::uint64_t offset, const std::string& text);
  void ended(ExecRecord& exec, int code);
  /// The node is gone, and all that ran in it.
  void node_lost(const std::string& lab, const std::string& node, const std::string& reason);

 private:
  void trim();

  Core& core_;
  std::map<std::uint64_t, ExecRecord> execs_;
};

}  // namespace mvm::broker
