#include "expression.h"

#include <array>
#include <bit>
#include <charconv>

#include "mvm/topologies/limits.h"

namespace mvm::topologies {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

Error fault(int column, std::string message) {
  return Error(ErrorCode::kInvalid, std::move(message)).at(SourcePosition{{}, 0, column});
}

/// Deepest stack an expression may need; the parser refuses more.
constexpr std::size_t kStack = 128;

}  // namespace

/// Recursive descent; emits steps for a stack machine.
class ExpressionParser {
 public:
  ExpressionParser(std::string_view text, Expression& out) : text_(text), out_(out) {}

  Status parse() {
    MVM_TRY(sum());
    skip_blanks();
    if (at_ < text_.size()) return unexpected("an operator or the end");
    return ok();
  }

 private:
  using Op = Expression::Op;

  Status sum() {
    if (++depth_ > kMaxExpressionDepth) return fault(column(), "the expression is nested too deeply");
    MVM_TRY(product());
    for (;;) {
      skip_blanks();
      const int where = column();
      if (take('+')) {
        MVM_TRY(product());
        emit(Op::kAdd, where);
      } else if (take('-')) {
        MVM_TRY(product());
        emit(Op::kSubtract, where);
      } else {
        --depth_;
        return ok();
      }
    }
  }

  Status product() {
    MVM_TRY(factor());
    for (;;) {
      skip_blanks();
      const int where = column();
      const char c = peek();
      if (c != '*' && c != '/' && c != '%') return ok();
      ++at_;
      MVM_TRY(factor());
      emit(c == '*' ? Op::kMultiply : c == '/' ? Op::kDivide : Op::kModulo, where);
    }
  }

  Status factor() {
    skip_blanks();
    const int where = column();
    if (take('-')) {
      if (++depth_ > kMaxExpressionDepth) return fault(where, "the expression is nested too deeply");
      MVM_TRY(factor());
      --depth_;
      emit(Op::kNegate, where);
      return ok();
    }
    if (take('(')) {
      MVM_TRY(sum());
      skip_blanks();
      if (!take(')')) return unexpected("')'");
      return ok();
    }
    if (is_digit(peek())) return number();
    if (is_letter(peek())) return name_or_call();
    return unexpected("a number, a name or '('");
  }

  Status number() {
    const int where = column();
    std::int64_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc()) return fault(where, "the number is too large");
    at_ += static_cast<std::size_t>(end - begin);
    if (is_letter(peek())) return unexpected("an operator or the end");
    emit(Op::kConstant, where, value);
    return push();
  }

  Status name_or_call() {
    const int where = column();
    const std::size_t begin = at_;
    while (is_letter(peek()) || is_digit(peek())) ++at_;
    const std::string_view name = text_.substr(begin, at_ - begin);
    skip_blanks();
    if (peek() == '(') return call(name, where);
    std::size_t number = 0;
    while (number < out_.names_.size() && out_.names_[number].text != name) ++number;
    if (number == out_.names_.size()) out_.names_.push_back({std::string(name), where});
    emit(Op::kName, where, static_cast<std::int64_t>(number));
    return push();
  }

  Status call(std::string_view name, int where) {
    const bool log2 = name == "log2";
    if (!log2 && name != "min" && name != "max") {
      return fault(where, "found the function '" + std::string(name) + "', expected log2, min or max");
    }
    take('(');
    MVM_TRY(sum());
    int arguments = 1;
    for (skip_blanks(); take(','); skip_blanks()) {
      MVM_TRY(sum());
      if (!log2) emit(name == "min" ? Op::kMin : Op::kMax, where);
      ++arguments;
    }
    if (!take(')')) return unexpected("',' or ')'");
    if (log2 && arguments != 1) {
      return fault(where, "log2 has " + std::to_string(arguments) + " arguments, expected one");
    }
    if (log2) emit(Op::kLog2, where);
    return ok();
  }

  Status push() {
    if (++stack_ > kStack) return fault(column(), "the expression is too long");
    return ok();
  }

  void emit(Op op, int where, std::int64_t operand = 0) {
    out_.steps_.push_back({op, where, operand});
    if (op >= Op::kAdd && op != Op::kNegate && op != Op::kLog2) --stack_;
  }

  Error unexpected(std::string_view expected) const {
    const std::string found = at_ < text_.size() ? "'" + std::string(1, text_[at_]) + "'" : "the end";
    return fault(column(), "found " + found + ", expected " + std::string(expected));
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }
  int column() const { return static_cast<int>(at_) + 1; }

  std::string_view text_;
  Expression& out_;
  std::size_t at_ = 0;
  std::size_t stack_ = 0;
  int depth_ = 0;
};

Result<Expression> Expression::compile(std::string_view text) {
  Expression expression;
  MVM_TRY(ExpressionParser(text, expression).parse());
  return expression;
}

Result<std::int64_t> Expression::evaluate(std::span<const std::int64_t> values) const {
  std::array<std::int64_t, kStack + 1> stack;
  std::size_t top = 0;  // number of values on the stack
  for (const Step& step : steps_) {
    if (step.op == Op::kConstant) {
      stack[top++] = step.operand;
      continue;
    }
    if (step.op == Op::kName) {
      stack[top++] = values[static_cast<std::size_t>(step.operand)];
      continue;
    }
    std::int64_t& last = stack[top - 1];
    bool overflow = false;
    if (step.op == Op::kNegate) {
      overflow = __builtin_sub_overflow(std::int64_t{0}, last, &last);
    } else if (step.op == Op::kLog2) {
      if (last < 1) {
        return fault(step.column, "log2 of " + std::to_string(last) + ", expected a number of at least 1");
      }
      last = static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(last))) - 1;
    } else {
      std::int64_t& left = stack[top - 2];
      --top;
      switch (step.op) {
        case Op::kAdd:
          overflow = __builtin_add_overflow(left, last, &left);
          break;
        case Op::kSubtract:
          overflow = __builtin_sub_overflow(left, last, &left);
          break;
        case Op::kMultiply:
          overflow = __builtin_mul_overflow(left, last, &left);
          break;
        case Op::kMin:
          left = std::min(left, last);
          break;
        case Op::kMax:
          left = std::max(left, last);
          break;
        default:
          if (last == 0) return fault(step.column, "division by zero");
          overflow = left == INT64_MIN && last == -1;
          if (!overflow) left = step.op == Op::kDivide ? left / last : left % last;
      }
    }
    if (overflow) return fault(step.column, "the value does not fit 64 bits");
  }
  return stack[0];
}

}  // namespace mvm::topologies
