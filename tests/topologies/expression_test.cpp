#include <gtest/gtest.h>

#include "mvm/topologies/params.h"

namespace mvm::topologies {
namespace {

Result<std::int64_t> lookup(std::string_view name) {
  if (name == "n") return 8;
  if (name == "zero") return 0;
  if (name == "big") return INT64_MAX;
  return Error(ErrorCode::kNotFound, "unknown parameter '" + std::string(name) + "'");
}

std::int64_t value(std::string_view text) {
  const auto result = evaluate(text, lookup);
  EXPECT_TRUE(result.has_value()) << text << ": " << (result ? "" : result.error().message());
  return result ? *result : -999;
}

std::string message(std::string_view text) {
  const auto result = evaluate(text, lookup);
  if (result) return "value " + std::to_string(*result);
  return std::to_string(result.error().where().column) + ": " + result.error().message();
}

TEST(Expression, ComputesWithPrecedenceAndFunctions) {
  EXPECT_EQ(value("2*n+1"), 17);
  EXPECT_EQ(value("2*(n+1)"), 18);
  EXPECT_EQ(value("log2(n)"), 3);
  EXPECT_EQ(value("log2(9)"), 3);
  EXPECT_EQ(value("min(n, 3, 5)"), 3);
  EXPECT_EQ(value("max(n,30)"), 30);
  EXPECT_EQ(value("-n - -1"), -7);
  EXPECT_EQ(value("17 % 5 + 17 / 5"), 5);
  EXPECT_EQ(value("n - 2 - 1"), 5);
  EXPECT_EQ(value(" 100 / n / 2 "), 6);
  EXPECT_EQ(value("-7/2"), -3);
}

TEST(Expression, SaysWhatIsWrongAndWhere) {
  EXPECT_EQ(message("1 / zero"), "3: division by zero");
  EXPECT_EQ(message("5 % zero"), "3: division by zero");
  EXPECT_EQ(message("big + 1"), "5: the value does not fit 64 bits");
  EXPECT_EQ(message("big * 2"), "5: the value does not fit 64 bits");
  EXPECT_EQ(message("-big - 2"), "6: the value does not fit 64 bits");
  EXPECT_EQ(message("(-big - 1) / -1"), "12: the value does not fit 64 bits");
  EXPECT_EQ(message("99999999999999999999"), "1: the number is too large");
  EXPECT_EQ(message("log2(zero)"), "1: log2 of 0, expected a number of at least 1");
  EXPECT_EQ(message("sqrt(4)"), "1: found the function 'sqrt', expected log2, min or max");
  EXPECT_EQ(message("log2(1,2)"), "1: log2 has 2 arguments, expected one");
  EXPECT_EQ(message("2 +"), "4: found the end, expected a number, a name or '('");
  EXPECT_EQ(message("2 n"), "3: found 'n', expected an operator or the end");
  EXPECT_EQ(message("2n"), "2: found 'n', expected an operator or the end");
  EXPECT_EQ(message("(1"), "3: found the end, expected ')'");
  EXPECT_EQ(message(""), "1: found the end, expected a number, a name or '('");
  EXPECT_EQ(message("n + m"), "5: unknown parameter 'm'");
}

TEST(Expression, RefusesDepthInsteadOfRunningOutOfStack) {
  EXPECT_FALSE(evaluate(std::string(100'000, '('), lookup));
  EXPECT_FALSE(evaluate(std::string(100'000, '-') + "1", lookup));
  std::string long_sum = "1";
  for (int i = 0; i < 10'000; ++i) long_sum += "+1";
  EXPECT_EQ(value(long_sum), 10'001);
  std::string wide = "1";
  for (int i = 0; i < 40; ++i) wide = "(1+" + wide + ")";
  EXPECT_EQ(value(wide), 41);
}

const std::vector<Param> kParams = {{"n", ParamType::kInteger, "8", 8},
                                    {"title", ParamType::kString, "a b; $(rm)", 0},
                                    {"rate", ParamType::kNumber, "2.5", 0}};

TEST(Substitute, FillsNamesAndExpressions) {
  EXPECT_EQ(*substitute("x${n}y${2*n}z", kParams), "x8y16z");
  EXPECT_EQ(*substitute("${title}-${rate}", kParams), "a b; $(rm)-2.5");
  EXPECT_EQ(*substitute("$$5 $x $", kParams), "$5 $x $");
  EXPECT_EQ(substitute("ab${m}", kParams).error().where().column, 5);
  EXPECT_EQ(substitute("ab${m}", kParams).error().message(),
            "unknown parameter 'm', expected one of n, title, rate");
  EXPECT_EQ(substitute("${rate+1}", kParams).error().message(),
            "parameter 'rate' is a number, expected an integer");
  EXPECT_FALSE(substitute("ab${n", kParams));
}

TEST(Split, SplitsLikeAShellButRunsNothing) {
  using Arguments = std::vector<std::string>;
  EXPECT_EQ(*split_arguments("  ./heat --steps ${steps}\n"), (Arguments{"./heat", "--steps", "${steps}"}));
  EXPECT_EQ(*split_arguments("a 'b  c' \"d \\\" e\" f\\ g ''"),
            (Arguments{"a", "b  c", "d \" e", "f g", ""}));
  EXPECT_EQ(*split_arguments("x${ n + 1 }y z"), (Arguments{"x${ n + 1 }y", "z"}));
  EXPECT_EQ(*split_arguments("a;b|c>d $(e) `f` *"), (Arguments{"a;b|c>d", "$(e)", "`f`", "*"}));
  EXPECT_EQ(split_arguments("a 'b").error().where().column, 3);
  EXPECT_FALSE(split_arguments("a\\"));
}

TEST(Units, AreReadExactly) {
  EXPECT_EQ(*parse_bytes("256MiB"), 256ULL << 20U);
  EXPECT_EQ(*parse_bytes("12"), 12U);
  EXPECT_EQ(*parse_bytes("3GB"), 3'000'000'000ULL);
  EXPECT_FALSE(parse_bytes("12abc"));
  EXPECT_FALSE(parse_bytes(""));
  EXPECT_FALSE(parse_bytes("-1"));
  EXPECT_FALSE(parse_bytes("99999999999TiB"));
  EXPECT_EQ(*parse_duration_ms("10m"), 600'000);
  EXPECT_EQ(*parse_duration_ms("250ms"), 250);
  EXPECT_FALSE(parse_duration_ms("10"));
}

TEST(EnvironmentName, IsUpperCase) { EXPECT_EQ(environment_name("steps_2"), "MVM_PARAM_STEPS_2"); }

}  // namespace
}  // namespace mvm::topologies
