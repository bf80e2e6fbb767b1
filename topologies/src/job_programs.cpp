// Programs and staging of a job.

#include <algorithm>
#include <set>

#include "ends.h"
#include "job_reader.h"
#include "values.h"

namespace mvm::topologies {
namespace {

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

/// Where the text of an element starts.
SourcePosition text_position(const xml::Element& element) {
  SourcePosition where = element.where;
  where.column += static_cast<int>(element.start_end - element.begin);
  return where;
}

const xml::Element* only_child(const xml::Element& element, std::string_view name, FaultList& faults) {
  const xml::Element* found = nullptr;
  for (const xml::Element& child : element.children) {
    if (child.name != name) continue;
    if (found != nullptr) {
      faults.add(child.where, "found a second <" + child.name + "> in <" + element.name + ">, expected one");
    } else {
      found = &child;
    }
  }
  return found;
}

}  // namespace

void JobReader::read_programs() {
  for (const xml::Element* element : programs_) read_program(*element);
  if (!graph_good_) return;
  std::vector<Program> ordered;
  for (const Role& role : profile_.graph.roles()) {
    const auto found = std::find_if(profile_.programs.begin(), profile_.programs.end(),
                                    [&](const Program& program) { return program.role == role.name; });
    if (found != profile_.programs.end()) {
      ordered.push_back(std::move(*found));
    } else if (!job_->faulty) {
      faults_.add(job_->where,
                  "role '" + role.name + "' has no program, expected <program role=\"" + role.name + "\">");
    }
  }
  profile_.programs = std::move(ordered);
}

void JobReader::read_program(const xml::Element& element) {
  if (element.find("role") == nullptr) return;
  Program program;
  program.role = element.get("role").value;
  const SourcePosition where = element.get("role").where;
  for (const Program& other : profile_.programs) {
    if (other.role != program.role) continue;
    return faults_.add(where, "role '" + program.role + "' has a second program, expected one");
  }
  if (graph_good_ && require_role(profile_.graph, program.role, where, faults_) == nullptr) return;
  for (const xml::Element& child : element.children) {
    if (child.faulty) continue;
    if (child.name == "source") {
      if (auto source = read_source(child)) program.sources.push_back(std::move(*source));
    }
    if (child.name == "env") {
      const auto value = filled(child.get("value"));
      const bool fresh = program.environment.emplace(child.get("name").value, value.value_or("")).second;
      if (!fresh)
        faults_.add(child.get("name").where,
                    "the variable '" + child.get("name").value + "' is set twice, expected once");
    }
  }
  if (const auto* build = only_child(element, "build", faults_); build != nullptr && !build->faulty) {
    program.build = read_build(*build);
    if (program.sources.empty() && !element.faulty) {
      faults_.add(build->where, "found <build> without <source>, expected something to build");
    }
  }
  if (const auto* limit = only_child(element, "limit", faults_)) program.limits = read_process_limits(*limit);
  if (const auto* run = only_child(element, "run", faults_)) {
    program.argv = read_run(*run);
  } else if (!element.faulty) {
    faults_.add(element.where, "the program of role '" + program.role + "' has no <run>, expected a command");
  }
  profile_.programs.push_back(std::move(program));
}

std::optional<Source> JobReader::read_source(const xml::Element& element) {
  Source source;
  const Text path = element.get("path");
  const Text name = element.get("name");
  const Text digest = element.get("digest");
  const bool text = !is_blank(element.text);
  const int given = (path.empty() ? 0 : 1) + (digest.empty() ? 0 : 1) + (text ? 1 : 0);
  if (given != 1) {
    faults_.add(element.where,
                "found " +
                    std::string(given == 0 ? "a source without content" : "a source of several kinds") +
                    ", expected one of path=\"...\", digest=\"...\" or text in line with name=\"...\"");
    return std::nullopt;
  }
  source.path = path.value;
  source.name = name.value;
  source.digest = digest.value;
  source.file = read_flag(element, "file", false, faults_);
  source.kind = !path.empty() ? Source::Kind::kPath : text ? Source::Kind::kInline : Source::Kind::kDigest;
  if (text) source.text = element.text;
  if ((text || source.file) && name.empty()) {
    faults_.add(element.where,
                "found a source that is one file without name=\"...\", expected the file's name");
    return std::nullopt;
  }
  if (source.file && digest.empty()) {
    faults_.add(element.get("file").where, "file=\"true\" goes with digest, expected it there only");
  }
  if (!name.empty() && !is_safe_path(name.value)) {
    faults_.add(name.where, "found name '" + name.value + "', expected a relative path without ..");
  }
  return source;
}

Build JobReader::read_build(const xml::Element& element) {
  static constexpr std::pair<std::string_view, bool> kOn[] = {{"any", false}, {"self", true}};
  Build build;
  build.command = element.get("command").value;
  build.on_self = read_word(element, "on", kOn, false, faults_);
  build.time_ms = duration(element, "time", build.time_ms);
  build.memory = bytes(element, "memory", 16ULL << 20U, build.memory);
  read_build_params(element, build);
  return build;
}

/// The parameters that the command names as MVM_PARAM_X, and those of params="...".
void JobReader::read_build_params(const xml::Element& element, Build& build) {
  std::vector<std::string> variables;
  for (const Param& param : profile_.params) variables.push_back(environment_name(param.name));
  const auto take = [&](const std::string& variable) {
    const auto found = std::find(variables.begin(), variables.end(), variable);
    if (found == variables.end()) return false;
    build.params[variable] = profile_.params[static_cast<std::size_t>(found - variables.begin())].value;
    return true;
  };
  for (const Text& name : split_names(element.get("params"))) {
    if (take(environment_name(name.value))) continue;
    std::vector<std::string> names;
    for (const Param& param : profile_.params) names.push_back(param.name);
    faults_.add(name.where, "unknown parameter '" + name.value + "', expected one of " + join_names(names),
                near_miss(name.value, names));
  }
  static constexpr std::string_view kPrefix = "MVM_PARAM_";
  const std::string& command = build.command;
  for (std::size_t at = command.find(kPrefix); at != std::string::npos; at = command.find(kPrefix, at + 1)) {
    const std::size_t end =
        command.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_", at);
    const std::string variable = command.substr(at, end == std::string::npos ? end : end - at);
    if (take(variable)) continue;
    SourcePosition where = element.get("command").where;
    where.column += static_cast<int>(at);
    faults_.add(
        where,
        "the command names " + variable + ", expected " +
            (variables.empty() ? "none: no parameter is declared" : "one of " + join_names(variables)),
        near_miss(variable, variables));
  }
}

std::vector<std::string> JobReader::read_run(const xml::Element& element) {
  const Text text{element.text, text_position(element)};
  auto arguments = split_arguments(text.value);
  if (!arguments) {
    faults_.add(text, arguments.error());
    return {};
  }
  if (arguments->empty() && !element.faulty) {
    faults_.add(element.where, "found an empty <run>, expected a command such as ./a.out");
  }
  for (std::string& argument : *arguments) {
    // Split first, then substitute: a value never becomes two arguments.
    const std::size_t at = text.value.find(argument);
    SourcePosition where = text.where;
    if (at != std::string::npos && text.value.find('\n') == std::string::npos)
      where.column += static_cast<int>(at);
    argument = filled({argument, where}).value_or("");
  }
  return std::move(*arguments);
}

ProcessLimits JobReader::read_process_limits(const xml::Element& element) {
  ProcessLimits limits;
  limits.cpu_ms = duration(element, "cpu-time", 0);
  limits.memory = bytes(element, "memory", 1U << 20U, 0);
  limits.file_size = bytes(element, "file-size", 0, 0);
  limits.open_files = number(element, "open-files", 8, 1 << 20, 0);
  limits.processes = number(element, "processes", 1, 1 << 20, 0);
  return limits;
}

void JobReader::read_stages() {
  for (const xml::Element* element : stages_) {
    if (element->faulty) continue;
    const bool in = element->find("in") != nullptr;
    const bool out = element->find("out") != nullptr;
    if (in == out || (in && element->find("to") == nullptr) || (out && element->find("from") == nullptr)) {
      faults_.add(element->where,
                  "found a <stage> that is neither in nor out, expected in=\"FILE\" to=\"ROLE[INDEX]\" or "
                  "out=\"FILE\" from=\"ROLE[INDEX]\"");
      continue;
    }
    in ? read_stage_in(*element) : read_stage_out(*element);
  }
}

void JobReader::read_stage_in(const xml::Element& element) {
  for (const char* name : {"from", "optional"}) {
    if (element.find(name) != nullptr)
      faults_.add(element.get(name).where, std::string(name) + " goes with out, expected it there only");
  }
  StageIn stage;
  stage.file = element.get("in").value;
  stage.digest = element.get("digest").value;
  const Text as = element.get("as");
  const std::size_t slash = stage.file.rfind('/');
  stage.name = !as.empty()                  ? as.value
               : slash == std::string::npos ? stage.file
                                            : stage.file.substr(slash + 1);
  if (!is_safe_path(stage.name)) {
    faults_.add(as.empty() ? element.get("in").where : as.where,
                "found the name '" + stage.name + "', expected a relative path without ..");
  }
  stage.to_text = element.get("to").value;
  if (graph_good_) stage.to = read_processes(element.get("to"), profile_.graph, profile_.params, faults_);
  profile_.stage_in.push_back(std::move(stage));
}

void JobReader::read_stage_out(const xml::Element& element) {
  for (const char* name : {"to", "as", "digest"}) {
    if (element.find(name) != nullptr)
      faults_.add(element.get(name).where, std::string(name) + " goes with in, expected it there only");
  }
  StageOut stage;
  stage.name = filled(element.get("out")).value_or("");
  stage.optional = read_flag(element, "optional", false, faults_);
  if (!stage.name.empty() && !is_safe_path(stage.name)) {
    faults_.add(element.get("out").where,
                "found the name '" + stage.name + "', expected a relative path without ..");
  }
  stage.from_text = element.get("from").value;
  if (graph_good_) stage.from = read_processes(element.get("from"), profile_.graph, profile_.params, faults_);
  profile_.stage_out.push_back(std::move(stage));
}

}  // namespace mvm::topologies
