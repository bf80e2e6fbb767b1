#include "values.h"

#include <algorithm>
#include <charconv>

#include "mvm/base/assert.h"

namespace mvm::topologies {

std::string join_names(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ", ";
    if (text.size() > 200) return text + "...";
    text += name;
  }
  return text;
}

Result<std::int64_t> integer_param(const std::vector<Param>& params, std::string_view name) {
  std::vector<std::string> known;
  for (const Param& param : params) {
    if (param.type == ParamType::kInteger) known.push_back(param.name);
    if (param.name != name) continue;
    if (param.type == ParamType::kInteger) return param.integer;
    return Error(ErrorCode::kInvalid, "parameter '" + param.name + "' is a " +
                                          std::string(to_string(param.type)) + ", expected an integer");
  }
  std::string message = "unknown parameter '" + std::string(name) + "'";
  const std::string near = near_miss(name, known);
  if (!near.empty()) {
    message += "; did you mean " + near + "?";
  } else {
    message +=
        known.empty() ? ", no integer parameter is declared" : ", expected one of " + join_names(known);
  }
  return Error(ErrorCode::kNotFound, message);
}

std::optional<BoundExpression> BoundExpression::bind(std::string_view expression, const Text& text,
                                                     std::size_t offset, const std::vector<Param>& params,
                                                     const std::vector<std::string>& loop,
                                                     FaultList& faults) {
  SourcePosition where = text.where;
  where.column += static_cast<int>(offset);
  auto compiled = Expression::compile(expression);
  if (!compiled) {
    faults.add(Text{{}, where}, compiled.error(), "in '" + std::string(expression) + "': ");
    return std::nullopt;
  }
  BoundExpression bound(std::move(*compiled));
  bound.offset_ = offset;
  bool good = true;
  const auto& names = bound.expression_.names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    bound.values_.push_back(0);
    const auto variable = std::find(loop.begin(), loop.end(), names[i].text);
    if (variable != loop.end()) {
      bound.uses_.push_back({i, static_cast<std::size_t>(variable - loop.begin())});
      continue;
    }
    auto value = integer_param(params, names[i].text);
    if (value) {
      bound.values_.back() = *value;
      continue;
    }
    SourcePosition place = where;
    place.column += names[i].column - 1;
    faults.add(place, value.error().message());
    good = false;
  }
  if (!good) return std::nullopt;
  return bound;
}

Result<std::int64_t> BoundExpression::evaluate(std::span<const std::int64_t> loop) const {
  for (const LoopUse& use : uses_) {
    MVM_ASSERT(use.variable < loop.size());
    values_[use.name] = loop[use.variable];
  }
  return expression_.evaluate(values_);
}

namespace {

std::string range_text(Range range) {
  return std::to_string(range.least) + " to " + std::to_string(range.most);
}

/// `text` after its ${...} are replaced.
std::optional<std::string> expanded(const Text& text, std::string_view what, const std::vector<Param>& params,
                                    FaultList& faults) {
  auto value = substitute(text.value, params);
  if (value) return std::move(*value);
  faults.add(text, value.error(), std::string(what) + ": ");
  return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> read_number(const Text& text, Range range, const std::vector<Param>& params,
                                        FaultList& faults) {
  std::string_view inside = text.value;
  std::size_t offset = 0;
  if (inside.starts_with("${") && inside.ends_with("}")) {
    inside = inside.substr(2, inside.size() - 3);
    offset = 2;
  }
  const auto bound = BoundExpression::bind(inside, text, offset, params, {}, faults);
  if (!bound) return std::nullopt;
  auto value = bound->evaluate({});
  if (!value) {
    SourcePosition where = text.where;
    where.column += static_cast<int>(offset);
    faults.add(Text{{}, where}, value.error(), "in '" + std::string(inside) + "': ");
    return std::nullopt;
  }
  if (*value < range.least || *value > range.most) {
    const std::string shown = offset == 0 ? "" : " ('" + std::string(inside) + "')";
    faults.add(text.where, "found " + std::string(range.what) + " " + std::to_string(*value) + shown +
                               ", expected " + range_text(range));
    return std::nullopt;
  }
  return *value;
}

std::optional<std::uint64_t> read_bytes(const Text& text, std::string_view what, std::uint64_t least,
                                        const std::vector<Param>& params, FaultList& faults) {
  const auto value = expanded(text, what, params, faults);
  if (!value) return std::nullopt;
  auto bytes = parse_bytes(*value);
  if (!bytes) {
    faults.add(text, bytes.error());
    return std::nullopt;
  }
  if (*bytes < least) {
    faults.add(text.where, "found " + std::string(what) + " " + *value + ", expected at least " +
                               std::to_string(least) + " bytes");
    return std::nullopt;
  }
  return *bytes;
}

std::optional<std::int64_t> read_duration(const Text& text, std::string_view what,
                                          const std::vector<Param>& params, FaultList& faults) {
  const auto value = expanded(text, what, params, faults);
  if (!value) return std::nullopt;
  auto duration = parse_duration_ms(*value);
  if (!duration) {
    faults.add(text, duration.error());
    return std::nullopt;
  }
  return *duration;
}

}  // namespace mvm::topologies
