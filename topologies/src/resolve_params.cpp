#include <algorithm>
#include <cmath>

#include "expression.h"
#include "model.h"
#include "mvm/base/number.h"
#include "values.h"

namespace mvm::topologies {
namespace {

/// Where a parameter's value comes from.
struct Origin {
  Text text;
  bool literal = false;  ///< --set: nothing is substituted
  bool given = false;
};

class ParamResolver {
 public:
  ParamResolver(const std::vector<ParamDecl>& decls, FaultList& faults) : decls_(decls), faults_(faults) {}

  ResolvedParams resolve(const std::vector<ParamSet>& sets,
                         const std::map<std::string, std::string>& overrides, const std::string& file) {
    declare();
    apply_sets(sets);
    apply_overrides(overrides, file);
    for (std::size_t i = 0; i < result_.params.size(); ++i) settle(i);
    return std::move(result_);
  }

 private:
  enum class State { kOpen, kBusy, kDone };

  void declare() {
    for (const ParamDecl& decl : decls_) {
      if (decl.faulty) result_.good = false;
      if (decl.name.empty()) continue;
      const auto twin = std::find_if(result_.params.begin(), result_.params.end(), [&](const Param& param) {
        return environment_name(param.name) == environment_name(decl.name.value);
      });
      if (twin != result_.params.end()) {
        const std::string message = twin->name == decl.name.value
                                        ? "is declared twice"
                                        : "and '" + twin->name + "' differ in case only";
        faults_.add(decl.name.where,
                    "parameter '" + decl.name.value + "' " + message +
                        ", expected another name (topology, job and lab share one name space)");
        continue;
      }
      result_.params.push_back({decl.name.value, decl.type, decl.type == ParamType::kInteger ? "0" : "", 0});
      Origin origin;
      if (decl.fallback) origin = {*decl.fallback, false, true};
      origins_.push_back(origin);
      used_.push_back(&decl);
    }
    states_.assign(origins_.size(), State::kOpen);
  }

  std::optional<std::size_t> find(std::string_view name) const {
    for (std::size_t i = 0; i < result_.params.size(); ++i) {
      if (result_.params[i].name == name) return i;
    }
    return std::nullopt;
  }

  void unknown(const SourcePosition& where, const std::string& prefix, const std::string& name) {
    std::vector<std::string> names;
    for (const Param& param : result_.params) names.push_back(param.name);
    faults_.add(where,
                prefix + "unknown parameter '" + name + "', " +
                    (names.empty() ? "none is declared" : "expected one of " + join_names(names)),
                near_miss(name, names));
  }

  void apply_sets(const std::vector<ParamSet>& sets) {
    std::map<std::string, int> seen;
    for (const ParamSet& set : sets) {
      const auto number = find(set.param.value);
      if (!number) {
        unknown(set.param.where, "", set.param.value);
      } else if (const auto [first, fresh] = seen.emplace(set.param.value, set.param.where.line); !fresh) {
        faults_.add(set.param.where, "parameter '" + set.param.value + "' is set twice, first in line " +
                                         std::to_string(first->second) + ", expected once");
      } else {
        origins_[*number] = {set.value, false, true};
      }
    }
  }

  void apply_overrides(const std::map<std::string, std::string>& overrides, const std::string& file) {
    for (const auto& [name, value] : overrides) {
      const auto number = find(name);
      if (number) {
        origins_[*number] = {Text{value, SourcePosition{file, 0, 0}}, true, true};
      } else {
        unknown(SourcePosition{file, 0, 0}, "--set " + name + "=" + value + ": ", name);
      }
    }
  }

  void fail(std::size_t number, const Text& text, const std::string& message) {
    const std::string prefix =
        text.where.line == 0 ? "--set " + result_.params[number].name + "=" + text.value + ": " : "";
    faults_.add(text.where, prefix + message);
    result_.good = false;
  }

  /// Gives a parameter its value, those it refers to first.
  void settle(std::size_t number) {
    if (states_[number] != State::kOpen) return;
    states_[number] = State::kBusy;
    const Origin& origin = origins_[number];
    const std::string& name = result_.params[number].name;
    if (!origin.given) {
      fail(number, used_[number]->name,
           "parameter '" + name + "' has no value, expected a default, a <set> or --set " + name + "=VALUE");
    } else if (origin.literal) {
      assign(number, origin.text.value);
    } else if (settle_references(origin.text)) {
      auto value = substitute(origin.text.value, result_.params);
      if (value) {
        assign(number, *value);
      } else {
        faults_.add(origin.text, value.error());
        result_.good = false;
      }
    } else {
      result_.good = false;
    }
    states_[number] = State::kDone;
  }

  /// Settles every parameter that `text` names; false, with a fault, where that leads in a circle.
  bool settle_references(const Text& text) {
    const std::string& value = text.value;
    for (std::size_t open = value.find("${"); open != std::string::npos; open = value.find("${", open + 2)) {
      const std::size_t close = value.find('}', open);
      const auto expression = Expression::compile(std::string_view(value).substr(open + 2, close - open - 2));
      if (close == std::string::npos || !expression) continue;  // substitute() tells
      for (const Expression::Name& name : expression->names()) {
        const auto number = find(name.text);
        if (!number) continue;
        if (states_[*number] == State::kBusy) {
          faults_.add(text.where, "the value of parameter '" + name.text + "' refers to itself");
          return false;
        }
        settle(*number);
      }
    }
    return true;
  }

  void assign(std::size_t number, const std::string& value) {
    Param& param = result_.params[number];
    const Text& text = origins_[number].text;
    const std::string expected = "parameter '" + param.name + "': found '" + value + "', expected ";
    switch (param.type) {
      case ParamType::kInteger: {
        const auto parsed = whole_number<std::int64_t>(value);
        if (!parsed) return fail(number, text, expected + "an integer");
        param.integer = *parsed;
        param.value = std::to_string(*parsed);
        break;
      }
      case ParamType::kNumber: {
        const auto parsed = whole_number<double>(value);
        if (!parsed || !std::isfinite(*parsed)) return fail(number, text, expected + "a number");
        param.value = value;
        break;
      }
      case ParamType::kBoolean:
        if (value != "true" && value != "false") return fail(number, text, expected + "true or false");
        param.value = value;
        break;
      case ParamType::kString:
        if (value.find('\0') != std::string::npos || value.size() > 65536) {
          return fail(number, text,
                      "parameter '" + param.name + "': expected at most 65536 characters, none of them NUL");
        }
        param.value = value;
        break;
    }
    check_range(number, text);
  }

  void check_range(std::size_t number, const Text& text) {
    const Param& param = result_.params[number];
    const ParamDecl& decl = *used_[number];
    if (decl.min.empty() && decl.max.empty()) return;
    if (param.type != ParamType::kInteger && param.type != ParamType::kNumber) {
      faults_.add(decl.min.empty() ? decl.max.where : decl.min.where,
                  "parameter '" + param.name + "' is a " + std::string(to_string(param.type)) +
                      ", expected min and max with integers and numbers only");
      return;
    }
    const auto compare = [&](const std::string& bound) {
      const auto a = whole_number<std::int64_t>(param.value);
      const auto b = whole_number<std::int64_t>(bound);
      if (a && b) return *a < *b ? -1 : *a > *b ? 1 : 0;
      const double x = whole_number<double>(param.value).value_or(0);
      const double y = whole_number<double>(bound).value_or(0);
      return x < y ? -1 : x > y ? 1 : 0;
    };
    const bool low = !decl.min.empty() && compare(decl.min.value) < 0;
    const bool high = !decl.max.empty() && compare(decl.max.value) > 0;
    if (!low && !high) return;
    std::string range = "expected at ";
    if (!decl.min.empty()) range += "least " + decl.min.value;
    if (!decl.min.empty() && !decl.max.empty()) range += " and at ";
    if (!decl.max.empty()) range += "most " + decl.max.value;
    fail(number, text, "parameter '" + param.name + "': found " + param.value + ", " + range);
  }

  const std::vector<ParamDecl>& decls_;
  FaultList& faults_;
  ResolvedParams result_;
  std::vector<Origin> origins_;
  std::vector<const ParamDecl*> used_;
  std::vector<State> states_;
};

}  // namespace

ParamDecl read_param(const xml::Element& element) {
  ParamDecl decl;
  decl.name = element.get("name");
  const std::string type = element.get("type").value;
  decl.type = type == "integer"   ? ParamType::kInteger
              : type == "number"  ? ParamType::kNumber
              : type == "boolean" ? ParamType::kBoolean
                                  : ParamType::kString;
  if (element.find("default") != nullptr) decl.fallback = element.get("default");
  decl.min = element.get("min");
  decl.max = element.get("max");
  decl.faulty = element.faulty;
  return decl;
}

ResolvedParams resolve_params(const std::vector<ParamDecl>& decls, const std::vector<ParamSet>& sets,
                              const std::map<std::string, std::string>& overrides, const std::string& file,
                              FaultList& faults) {
  return ParamResolver(decls, faults).resolve(sets, overrides, file);
}

}  // namespace mvm::topologies
