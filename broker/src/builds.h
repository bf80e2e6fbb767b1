#pragma once
// Source to binary, once per key however many jobs and nodes ask: the compile cache and what is being
// compiled now. Loop thread only.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core.h"
#include "mvm/broker/planner.h"
#include "mvm/topologies/profile.h"
#include "records.h"

namespace mvm::broker {

/// One thing that a job needs compiled.
struct BuildNeed {
  std::string key;
  std::uint32_t program = 0;         ///< number in Profile::programs
  std::string source;                ///< digest of the source tree
  std::uint32_t builder = 0;         ///< the plan's node that compiles it, where this job does
  std::vector<std::uint32_t> nodes;  ///< the plan's nodes that get the binary
};

/// What a job needs. Pure. kInvalid where no node of a role's architecture carries a toolchain. `sources` has
/// the tree of each program.
[[nodiscard]] Result<std::vector<BuildNeed>> build_needs(const topologies::Profile& profile, const Plan& plan,
                                                         const std::vector<std::string>& sources,
                                                         const std::string& attempt,
                                                         const std::string& version);

class Builds {
 public:
  explicit Builds(Core& core) : core_(core) {}
  [[nodiscard]] Status load();

  enum class Standing {
    kDone,    ///< cached
    kMine,    ///< this job compiles it (or shall, if it asks)
    kOthers,  ///< another job compiles it now
  };
  [[nodiscard]] Standing standing(const BuildNeed& need, const std::string& job);
  /// The job takes it on: on record before the node is asked.
  void take(const BuildNeed& need, const std::string& job, const std::string& lab, const PlanNode& node,
            const topologies::Program& program);
  /// Compiled and waiting to be fetched already, by this job.
  [[nodiscard]] bool fetching(const std::string& key) const;
  /// The job compiles it, or brings it home.
  [[nodiscard]] bool under_way(const std::string& key, const std::string& job) const;
  /// The output's archive; null where it is not cached.
  [[nodiscard]] const BuildRecord* find(const std::string& key) const;
  void wait_for(const std::string& key, const std::string& job) { waiters_[key].insert(job); }
  void hit(const std::string& key);

  /// The job compiles no more: what it had under way is another one's to do.
  void release(const std::string& job);

  // ---- what nodes tell
  void output(const std::string& key, const std::string& node, std::uint64_t offset, const std::string& text);
  void done(const std::string& key, const std::string& lab, const std::string& node,
            const nlohmann::json& args);
  /// Brings the output into the store.
  void fetch(const std::string& key);

  [[nodiscard]] std::vector<soap::BuildView> views() const;
  /// "building", "fetching", "done", "failed"; empty: unknown.
  [[nodiscard]] std::string state(const std::string& key) const;
  /// Was it compiled for a job of this user's?
  [[nodiscard]] bool involves(const std::string& key, const std::string& user) const;
  /// Drops what is cached and not being made; empty: all.
  [[nodiscard]] std::uint64_t drop(const std::string& key);

 private:
  void save(const BuildRecord& record);
  void fetched(const std::string& key, const Status& status);
  void forget(const std::string& key);
  [[nodiscard]] std::set<std::string> waiting(const std::string& key) const;

  Core& core_;
  std::map<std::string, BuildRecord> records_;
  std::map<std::string, std::string> words_;              ///< the compiler's last ones, by key
  std::map<std::string, std::set<std::string>> waiters_;  ///< jobs, by key
};

}  // namespace mvm::broker
