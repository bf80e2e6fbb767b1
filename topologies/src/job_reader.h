#pragma once
// Builds a Profile from a lab or job document.

#include <deque>

#include "model.h"

namespace mvm::topologies {

class JobReader {
 public:
  JobReader(const ReadOptions& options, Resolver& resolver, std::string file, FaultList& faults)
      : options_(options), resolver_(resolver), file_(std::move(file)), faults_(faults) {}

  /// `root` is a lab or a job and outlives the call.
  [[nodiscard]] Profile read(const xml::Element& root);

 private:
  void collect(const xml::Element& element);
  void use_topology(const xml::Element& element);
  void use_job(const xml::Element& element);
  void use_image(const xml::Element& element);
  void use_policy(const xml::Element& element);
  void expand_graph();

  // ---- job_programs.cpp
  void read_programs();
  void read_program(const xml::Element& element);
  [[nodiscard]] std::optional<Source> read_source(const xml::Element& element);
  [[nodiscard]] Build read_build(const xml::Element& element);
  void read_build_params(const xml::Element& element, Build& build);
  [[nodiscard]] std::vector<std::string> read_run(const xml::Element& element);
  [[nodiscard]] ProcessLimits read_process_limits(const xml::Element& element);
  void read_stages();
  void read_stage_in(const xml::Element& element);
  void read_stage_out(const xml::Element& element);

  // ---- job_machines.cpp
  void read_machines();
  void read_machine(const xml::Element& element);
  [[nodiscard]] std::string machine_name(const xml::Element& element, const Machines& machines);
  void read_machine_sizes(const xml::Element& element, Machines& machines);
  void give_roles_to_machines();
  [[nodiscard]] std::string resolve_image(const xml::Element& element, const std::string& driver);
  void read_limits();

  [[nodiscard]] std::uint32_t number(const xml::Element& element, std::string_view attribute,
                                     std::int64_t least, std::int64_t most, std::uint32_t fallback);
  [[nodiscard]] std::uint64_t bytes(const xml::Element& element, std::string_view attribute,
                                    std::uint64_t least, std::uint64_t fallback);
  [[nodiscard]] std::int64_t duration(const xml::Element& element, std::string_view attribute,
                                      std::int64_t fallback);
  /// ${...} of a text replaced; none with a fault.
  [[nodiscard]] std::optional<std::string> filled(const Text& text);

  const ReadOptions& options_;
  Resolver& resolver_;
  std::string file_;
  FaultList& faults_;

  Profile profile_;
  std::deque<xml::Element> referred_;  ///< documents that refs brought in; addresses stay
  const xml::Element* topology_ = nullptr;
  const xml::Element* topology_place_ = nullptr;
  const xml::Element* job_ = nullptr;
  std::vector<ParamDecl> param_decls_;
  std::vector<ParamSet> sets_;
  std::vector<const xml::Element*> programs_, machines_, stages_, limits_;
  std::vector<Image> inline_images_;
  bool values_good_ = true;
  bool graph_good_ = false;
  std::vector<std::size_t> roleless_machines_;
};

}  // namespace mvm::topologies
