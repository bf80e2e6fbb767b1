#include "mvm/topologies/params.h"

#include <array>
#include <charconv>

#include "expression.h"
#include "mvm/topologies/limits.h"

namespace mvm::topologies {
namespace {

Error fault(std::size_t offset, std::string message) {
  return Error(ErrorCode::kInvalid, std::move(message))
      .at(SourcePosition{{}, 0, static_cast<int>(offset) + 1});
}

bool is_name(std::string_view text) {
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!letter && !(c >= '0' && c <= '9' && &c != text.data())) return false;
  }
  return !text.empty();
}

/// Offset just behind the `}` of a `${` at `begin`; npos where it is not closed.
std::size_t end_of_reference(std::string_view text, std::size_t begin) {
  const std::size_t close = text.find('}', begin + 2);
  return close == std::string_view::npos ? close : close + 1;
}

const Param* find(const std::vector<Param>& params, std::string_view name) {
  for (const Param& param : params) {
    if (param.name == name) return &param;
  }
  return nullptr;
}

Error unknown_param(const std::vector<Param>& params, std::string_view name) {
  std::string known;
  for (const Param& param : params) known += (known.empty() ? "" : ", ") + param.name;
  if (known.empty())
    return Error(ErrorCode::kNotFound, "unknown parameter '" + std::string(name) + "', none is declared");
  return Error(ErrorCode::kNotFound,
               "unknown parameter '" + std::string(name) + "', expected one of " + known);
}

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

Result<std::uint64_t> parse_with_unit(std::string_view text, std::span<const Unit> units,
                                      std::string_view expected) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error == std::errc()) {
    for (const Unit& known : units) {
      if (known.name != unit) continue;
      std::uint64_t product = 0;
      if (__builtin_mul_overflow(value, known.factor, &product) || product > INT64_MAX) break;
      return product;
    }
  }
  return Error(ErrorCode::kInvalid, "found '" + std::string(text) + "', expected " + std::string(expected));
}

}  // namespace

std::string_view to_string(ParamType type) {
  switch (type) {
    case ParamType::kInteger:
      return "integer";
    case ParamType::kNumber:
      return "number";
    case ParamType::kString:
      return "string";
    case ParamType::kBoolean:
      return "boolean";
  }
  return "";
}

std::string environment_name(std::string_view param) {
  std::string name = "MVM_PARAM_";
  for (const char c : param) name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name;
}

Result<std::int64_t> evaluate(std::string_view text, const Lookup& lookup) {
  MVM_ASSIGN(const Expression expression, Expression::compile(text));
  std::vector<std::int64_t> values;
  for (const Expression::Name& name : expression.names()) {
    auto value = lookup(name.text);
    if (!value) return std::move(value.error()).at(SourcePosition{{}, 0, name.column});
    values.push_back(*value);
  }
  return expression.evaluate(values);
}

Result<std::string> substitute(std::string_view text, const std::vector<Param>& params) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] != '$') {
      out += text[at++];
      continue;
    }
    const char next = at + 1 < text.size() ? text[at + 1] : '\0';
    if (next == '$') {
      out += '$';
      at += 2;
      continue;
    }
    if (next != '{') {
      out += text[at++];
      continue;
    }
    const std::size_t end = end_of_reference(text, at);
    if (end == std::string_view::npos) return fault(at, "found '${' without its '}'");
    const std::string_view inside = text.substr(at + 2, end - at - 3);
    if (is_name(inside)) {
      const Param* param = find(params, inside);
      if (param == nullptr) {
        return unknown_param(params, inside).at(SourcePosition{{}, 0, static_cast<int>(at) + 3});
      }
      out += param->value;
      if (out.size() > kMaxSubstituted) {
        return fault(at, "the text becomes longer than " + std::to_string(kMaxSubstituted) + " bytes");
      }
    } else {
      auto value = evaluate(inside, [&](std::string_view name) -> Result<std::int64_t> {
        const Param* param = find(params, name);
        if (param == nullptr) return unknown_param(params, name);
        if (param->type != ParamType::kInteger) {
          return Error(ErrorCode::kInvalid, "parameter '" + param->name + "' is a " +
                                                std::string(to_string(param->type)) +
                                                ", expected an integer");
        }
        return param->integer;
      });
      if (!value) {
        const int column = value.error().where().column;
        return std::move(value.error()).at(SourcePosition{{}, 0, static_cast<int>(at) + 2 + column});
      }
      out += std::to_string(*value);
    }
    at = end;
  }
  return out;
}

namespace {

/// One pass over a command; keeps the argument being built.
class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  Result<std::vector<std::string>> split() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        finish();
        ++at_;
      } else if (c == '\'' || c == '"') {
        MVM_TRY(quoted(c));
      } else if (c == '\\') {
        if (at_ + 1 >= text_.size())
          return fault(at_, "found '\\' at the end, expected a character behind it");
        add(text_[at_ + 1]);
        at_ += 2;
      } else {
        MVM_TRY(plain());
      }
    }
    finish();
    return std::move(arguments_);
  }

 private:
  void add(char c) {
    open_ = true;
    argument_ += c;
  }

  /// One character, or a whole ${...}, which never splits.
  Status plain() {
    if (text_.substr(at_, 2) != "${") {
      add(text_[at_++]);
      return ok();
    }
    const std::size_t end = end_of_reference(text_, at_);
    if (end == std::string_view::npos) return fault(at_, "found '${' without its '}'");
    while (at_ < end) add(text_[at_++]);
    return ok();
  }

  Status quoted(char quote) {
    const std::size_t begin = at_++;
    open_ = true;
    while (at_ < text_.size() && text_[at_] != quote) {
      const char next = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
      if (quote == '"' && text_[at_] == '\\' && (next == '"' || next == '\\')) ++at_;
      MVM_TRY(plain());
    }
    if (at_ >= text_.size())
      return fault(begin, std::string("found a quote ") + quote + " that is not closed");
    ++at_;
    return ok();
  }

  void finish() {
    if (open_) arguments_.push_back(std::move(argument_));
    argument_.clear();
    open_ = false;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool open_ = false;
  std::string argument_;
  std::vector<std::string> arguments_;
};

}  // namespace

Result<std::vector<std::string>> split_arguments(std::string_view text) {
  MVM_ASSIGN(std::vector<std::string> arguments, Splitter(text).split());
  if (arguments.size() > kMaxArguments) {
    return fault(0, "found " + std::to_string(arguments.size()) + " arguments, expected at most " +
                        std::to_string(kMaxArguments));
  }
  return arguments;
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  static constexpr std::array<Unit, 10> kUnits{{{"", 1},
                                                {"B", 1},
                                                {"KiB", 1ULL << 10U},
                                                {"MiB", 1ULL << 20U},
                                                {"GiB", 1ULL << 30U},
                                                {"TiB", 1ULL << 40U},
                                                {"KB", 1'000},
                                                {"MB", 1'000'000},
                                                {"GB", 1'000'000'000},
                                                {"TB", 1'000'000'000'000}}};
  return parse_with_unit(text, kUnits, "a size such as 256MiB (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)");
}

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  static constexpr std::array<Unit, 5> kUnits{
      {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
  MVM_ASSIGN(const std::uint64_t value, parse_with_unit(text, kUnits, "a time such as 10m (ms, s, m, h, d)"));
  return static_cast<std::int64_t>(value);
}

}  // namespace mvm::topologies
