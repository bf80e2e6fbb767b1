#pragma once
// The jobs: their transitions, made durable, and their effects, executed. Loop thread only.

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "builds.h"
#include "core.h"
#include "hosts.h"
#include "mvm/broker/job_machine.h"
#include "mvm/broker/wiring_plan.h"
#include "mvm/topologies/profile.h"
#include "records.h"

namespace mvm::broker {

/// A job with what this broker's process knows of it.
struct Job {
  JobRecord record;
  std::shared_ptr<const topologies::Profile> profile;  ///< read when it is needed; null before
  std::optional<Plan> plan;
  std::vector<std::string> why;  ///< why it waits
  std::string progress;

  // ---- of the present state's effects
  std::uint64_t token = 0;  ///< changes with the state: answers to an older one do not count
  std::deque<Effect> effects;
  std::size_t parts = 0;  ///< of the present effect, not answered
  std::size_t parts_all = 0;
  std::size_t in_flight = 0;  ///< calls to hosts under way, of whatever state
  std::size_t strays = 0;     ///< those of an earlier state, when the teardown began
  Loop::Timer wall_timer = 0;
  Clock::Instant not_before{};  ///< another attempt waits a little: what broke may be about to mend

  // ---- of the present attempt
  std::optional<WiringLayout> layout;
  std::map<std::string, host::LabInfo> lab_infos;
  std::vector<BuildNeed> needs;
  bool needs_known = false;
  std::map<std::string, EndRecord> ends;  ///< by tag, of the graph's processes
  bool started = false;                   ///< all processes were asked to start
  std::vector<soap::ResultFile> results;
  std::map<std::string, std::string> rests;  ///< open out ports → digest of what was left in them
};

class Jobs {
 public:
  explicit Jobs(Core& core) : core_(core) {}
  [[nodiscard]] Status load();
  /// After load(): takes every job up where it was.
  void resume();

  /// A submission that was validated already; the same request of the same user gives the same id.
  struct Submission {
    std::string user, name, file, lab, request, profile_digest;
    std::map<std::string, std::string> settings;
    std::shared_ptr<const topologies::Profile> profile;
    std::vector<std::string> sources;
  };
  [[nodiscard]] Result<std::string> submit(Submission submission);
  void cancel(const std::string& id, const std::string& why);
  [[nodiscard]] Status remove(const std::string& id);

  [[nodiscard]] Job* find(const std::string& id);
  [[nodiscard]] const std::map<std::uint64_t, std::unique_ptr<Job>>& all() const { return jobs_; }
  [[nodiscard]] std::string user_of(const std::string& id);
  /// Its profile; reads it again from the blob store where it was let go.
  [[nodiscard]] Result<std::shared_ptr<const topologies::Profile>> profile(Job& job);
  /// Its plan, of ended jobs too; null where it has none.
  [[nodiscard]] const Plan* plan_of(Job& job);
  /// What is on record of the ends of the job's processes; `graph` is its profile's.
  void load_ends(Job& job, const topologies::Graph& graph);

  // ---- for rewirings
  [[nodiscard]] static std::string attempt(const Job& job);
  void save(const Job& job);
  /// Puts a process's end on record. It counts where the tag is the graph's, now or once a rewiring is
  /// decided.
  void keep_end(const Job& job, const std::string& tag, const EndRecord& end);
  /// Its last process may have ended.
  void check_ended(Job& job);
  /// What starting a process of some wiring of the job takes.
  struct Start {
    std::set<std::string> blobs;  ///< its program and its files
    nlohmann::json args;          ///< of proc.start
  };
  [[nodiscard]] Result<std::vector<BuildNeed>> needs_of(const Job& job, const topologies::Profile& profile,
                                                        const Plan& plan) const;
  [[nodiscard]] Start start_of(const Job& job, const topologies::Profile& profile, const Plan& plan,
                               const std::vector<BuildNeed>& needs, topologies::ProcessId process) const;
  /// Brings a node the blobs and starts the processes there.
  [[nodiscard]] Hosts::Work start_work(const Job& job, const std::string& node, std::set<std::string> blobs,
                                       std::vector<nlohmann::json> calls) const;
  /// Makes job.layout what the present attempt is wired as.
  [[nodiscard]] Status know_layout(Job& job);
  /// What the steps of this layout need beside it, once job.lab_infos is known.
  [[nodiscard]] WiringContext wiring_context(const Job& job, std::uint64_t generation,
                                             const WiringLayout& layout) const;

  // ---- the scheduler's word
  [[nodiscard]] Status planned(Job& job, Plan plan);
  void cannot_place(Job& job, std::vector<std::string> reasons);

  // ---- the builds' word
  [[nodiscard]] bool is_building(const std::string& id);
  [[nodiscard]] bool uses_build(const std::string& key) const;
  void build_changed(const std::string& id);
  void build_failed(const std::string& id, const std::string& reason);
  void build_lost(const std::string& id, const std::string& reason);

  // ---- the hosts' word
  void node_lost(const std::string& lab, const std::string& node, const std::string& reason);
  /// As node_lost(), for a node that a job in BOOTING or before may yet make.
  void node_missing(const std::string& lab, const std::string& node, const std::string& reason);
  /// `port`: where that proxy was reached; 0: unknown. Who was given another one is not concerned.
  void proxy_lost(const std::string& lab, const std::string& host, std::uint16_t port,
                  const std::string& reason);
  void process_ended(const std::string& proc, const EndRecord& end);
  /// A codec ended a carried link of an attempt; its processes learn it as a death of the other side.
  void link_failed(const std::string& attempt, std::uint64_t number, const std::string& why);
  void process_output(const std::string& proc, const std::string& node, const std::string& stream,
                      std::uint64_t offset, const std::string& text);

 private:
  [[nodiscard]] static std::uint64_t link_base(const JobRecord& record);
  [[nodiscard]] Job* of_attempt(const std::string& proc, std::string& process);
  void fire(Job& job, JobEvent event, const std::string& reason = {});
  void entered(Job& job);
  void ended(Job& job);
  void watch_wall_time(Job& job);
  [[nodiscard]] Status restore(Job& job);

  // ---- effects (effects.cpp)
  struct Part {
    std::string host;
    Hosts::Work work;
    std::function<void()> done;  ///< on the loop, after success
  };
  void start_effects(Job& job);
  void next_effect(Job& job);
  void pause_before_retry(Job& job);
  void run_effect(Job& job, Effect effect);
  void run_parts(Job& job, Effect effect, std::vector<Part> parts, bool patient = false);
  void part_done(const std::string& id, std::uint64_t token, Effect effect, const std::string& host,
                 const Status& status, const std::function<void()>& done);
  void effect_done(Job& job, Effect effect);
  void failed(Job& job, Effect effect, const Error& error, const std::string& where);
  void ensure_lab(Job& job);
  void boot_builders(Job& job);
  void build(Job& job);
  void check_built(Job& job);
  void boot_nodes(Job& job);
  void deliver(Job& job);
  void wire(Job& job);
  void prepare(Job& job);
  void start(Job& job);
  void collect(Job& job);
  void collect_rests(Job& job, std::vector<Part>& parts);
  void teardown(Job& job);
  [[nodiscard]] Part boot_part(Job& job, const PlanNode& node);
  [[nodiscard]] Status know_needs(Job& job);
  [[nodiscard]] std::string tree_of(const Job& job, const std::vector<BuildNeed>& needs,
                                    std::uint32_t program, std::uint32_t node) const;

  Core& core_;
  std::map<std::uint64_t, std::unique_ptr<Job>> jobs_;  ///< by number: in the order of submission
  std::map<std::string, std::string> requests_;         ///< "user/request" → job
};

}  // namespace mvm::broker
