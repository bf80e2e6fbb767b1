#include "names.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace mvm::rmix {
namespace {

using std::string_view_literals::operator""sv;  // NOLINT(misc-unused-using-decls): by every name below

constexpr std::array kCpp{
    "alignas"sv, "alignof"sv, "and"sv, "and_eq"sv, "asm"sv, "auto"sv, "bitand"sv, "bitor"sv, "bool"sv,
    "break"sv, "case"sv, "catch"sv, "char"sv, "char8_t"sv, "char16_t"sv, "char32_t"sv, "class"sv, "compl"sv,
    "concept"sv, "const"sv, "consteval"sv, "constexpr"sv, "constinit"sv, "const_cast"sv, "continue"sv,
    "co_await"sv, "co_return"sv, "co_yield"sv, "decltype"sv, "default"sv, "delete"sv, "do"sv, "double"sv,
    "dynamic_cast"sv, "else"sv, "enum"sv, "explicit"sv, "export"sv, "extern"sv, "false"sv, "float"sv, "for"sv,
    "friend"sv, "goto"sv, "if"sv, "inline"sv, "int"sv, "long"sv, "mutable"sv, "namespace"sv, "new"sv,
    "noexcept"sv, "not"sv, "not_eq"sv, "nullptr"sv, "operator"sv, "or"sv, "or_eq"sv, "private"sv,
    "protected"sv, "public"sv, "register"sv, "reinterpret_cast"sv, "requires"sv, "return"sv, "short"sv,
    "signed"sv, "sizeof"sv, "static"sv, "static_assert"sv, "static_cast"sv, "struct"sv, "switch"sv,
    "template"sv, "this"sv, "thread_local"sv, "throw"sv, "true"sv, "try"sv, "typedef"sv, "typeid"sv,
    "typename"sv, "union"sv, "unsigned"sv, "using"sv, "virtual"sv, "void"sv, "volatile"sv, "wchar_t"sv,
    "while"sv, "xor"sv, "xor_eq"sv,
    // Of the stubs.
    "bind"sv, "call"sv, "context"sv, "description"sv, "fields"sv, "from"sv, "interface"sv, "kName"sv,
    "options"sv, "remote"sv, "std"sv, "mvm"sv};

constexpr std::array kXdr{"bool"sv,   "bool_t"sv,    "case"sv,     "char"sv,     "const"sv,    "default"sv,
                          "double"sv, "enum"sv,      "float"sv,    "hyper"sv,    "int"sv,      "long"sv,
                          "opaque"sv, "outcome"sv,   "program"sv,  "quad_t"sv,   "short"sv,    "string"sv,
                          "struct"sv, "switch"sv,    "typedef"sv,  "union"sv,    "unsigned"sv, "version"sv,
                          "void"sv,   "quadruple"sv, "register"sv, "static"sv,   "volatile"sv, "extern"sv,
                          "auto"sv,   "break"sv,     "continue"sv, "do"sv,       "else"sv,     "for"sv,
                          "goto"sv,   "if"sv,        "inline"sv,   "restrict"sv, "return"sv,   "signed"sv,
                          "sizeof"sv, "while"sv};

template <class Words>
std::string escaped(const std::string& name, const Words& words) {
  return std::find(words.begin(), words.end(), name) == words.end() ? name : name + "_";
}

}  // namespace

std::string cpp_name(const std::string& name) { return escaped(name, kCpp); }
std::string xdr_name(const std::string& name) { return escaped(name, kXdr); }

std::string cpp_type(const Type& type) {
  switch (type.kind) {
    case Kind::kVoid:
      return "void";
    case Kind::kBool:
      return "bool";
    case Kind::kFloat32:
      return "float";
    case Kind::kFloat64:
      return "double";
    case Kind::kString:
      return "std::string";
    case Kind::kBytes:
      return "::mvm::rmix::Bytes";
    case Kind::kArray:
      return "std::vector<" + cpp_type(*type.element) + ">";
    case Kind::kStruct:
      return cpp_name(type.structure->name);
    default:
      return "std::" + std::string(to_string(type.kind)) + "_t";
  }
}

}  // namespace mvm::rmix
