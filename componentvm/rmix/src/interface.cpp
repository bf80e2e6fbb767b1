#include "mvm/rmix/interface.h"

#include <algorithm>
#include <map>
#include <set>

#include "mvm/base/digest.h"
#include "mvm/rmix/outcome.h"

namespace mvm::rmix {
namespace {

constexpr std::size_t kMostNames = 1000;  // methods, structs, exceptions, fields of one of them
constexpr std::size_t kLongestName = 64;

bool is_name(std::string_view name) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !name.empty() && name.size() <= kLongestName && letter(name[0]) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_'; });
}

Error wrong(const std::string& what, const std::string& found, const std::string& expected) {
  return {ErrorCode::kInvalid, "interface: " + what + ": found " + found + ", expected " + expected};
}

/// Names of one kind within one scope.
class Names {
 public:
  explicit Names(std::string what) : what_(std::move(what)) {}
  Status add(const std::string& name) {
    if (!is_name(name))
      return wrong(what_, "\"" + name.substr(0, 80) + "\"", "letters, digits and _, at most 64");
    if (!seen_.insert(name).second) return wrong(what_, name + " twice", "each name once");
    if (seen_.size() > kMostNames) return wrong(what_, "more", "at most " + std::to_string(kMostNames));
    return ok();
  }

 private:
  std::string what_;
  std::set<std::string> seen_;
};

class Checker {
 public:
  Status run(const Interface& interface) {
    if (!is_name(interface.name))
      return wrong("name", "\"" + interface.name.substr(0, 80) + "\"", "an identifier");
    if (interface.version == 0) return wrong("version", "0", "at least 1");
    for (const auto& one : interface.structs) MVM_TRY(define(one, 1));
    for (const auto& one : interface.exceptions) MVM_TRY(define(one, 0));
    if (interface.methods.empty()) return wrong("methods", "none", "at least one");
    for (const Method& method : interface.methods) {
      MVM_TRY(methods_.add(method.name));
      MVM_TRY(check_method(interface, method));
    }
    return ok();
  }

 private:
  Status define(const std::shared_ptr<const StructType>& type, std::size_t fewest) {
    MVM_TRY(types_.add(type->name));
    if (type->fields.size() < fewest) return wrong(type->name, "no field", "at least one");
    MVM_TRY(check_fields(type->fields, type->name));
    if (fewest > 0) depth_[type.get()] = deepest(type->fields) + 1;
    return ok();
  }

  Status check_fields(const std::vector<Field>& fields, const std::string& of) {
    Names names("field of " + of);
    for (const Field& field : fields) {
      MVM_TRY(names.add(field.name));
      MVM_TRY(check_type(field.type, of + "." + field.name));
    }
    return ok();
  }

  Status check_type(const Type& type, const std::string& of) const {
    const Type* inner = &type;
    std::size_t depth = 0;
    for (; inner->kind == Kind::kArray && depth <= kDeepest; inner = inner->element.get(), ++depth)
      if (!inner->element) return wrong(of, "an array of nothing", "a type");
    if (inner->kind == Kind::kVoid) return wrong(of, "void", "a type");
    if (inner->kind == Kind::kStruct) {
      const auto known = depth_.find(inner->structure.get());
      if (known == depth_.end())
        return wrong(of, inner->structure ? inner->structure->name : "no struct",
                     "a struct that was defined before");
      depth += known->second;
    }
    if (depth <= kDeepest) return ok();
    return wrong(of, "a type nested deeper", std::to_string(kDeepest) + " levels at most");
  }

  /// Of fields whose types are right.
  std::size_t deepest(const std::vector<Field>& fields) const {
    std::size_t most = 0;
    for (const Field& field : fields) {
      const Type* inner = &field.type;
      std::size_t depth = 0;
      for (; inner->kind == Kind::kArray; inner = inner->element.get()) ++depth;
      if (inner->kind == Kind::kStruct) depth += depth_.at(inner->structure.get());
      most = std::max(most, depth);
    }
    return most;
  }

  Status check_method(const Interface& interface, const Method& method) {
    MVM_TRY(check_fields(method.parameters, method.name));
    if (method.result.kind != Kind::kVoid) MVM_TRY(check_type(method.result, "result of " + method.name));
    if (method.one_way && (method.result.kind != Kind::kVoid || !method.exceptions.empty()))
      return wrong(method.name, "a result or exceptions", "none of a one-way method");
    for (const auto& one : method.exceptions)
      if (std::find(interface.exceptions.begin(), interface.exceptions.end(), one) ==
          interface.exceptions.end())
        return wrong(method.name, one->name, "an exception of the interface");
    return ok();
  }

  Names types_{"struct or exception"};
  Names methods_{"method"};
  std::map<const StructType*, std::size_t> depth_;  // of those defined, how deep they are nested
};

std::string text_of(const std::vector<Field>& fields) {
  std::string text = "(";
  for (const Field& field : fields) text += field.name + ":" + field.type.text() + ",";
  return text + ")";
}

}  // namespace

Result<std::uint32_t> Interface::find(std::string_view method) const {
  for (std::size_t i = 0; i < methods.size(); ++i)
    if (methods[i].name == method) return static_cast<std::uint32_t>(i);
  return Error(ErrorCode::kNotFound, text() + " has no method " + std::string(method.substr(0, 80)));
}

Status check(const Interface& interface) { return Checker().run(interface); }

std::string digest(const Interface& interface) {
  std::string text = interface.text() + "\n";
  for (const auto& one : interface.structs) text += "struct " + one->name + text_of(one->fields) + "\n";
  for (const auto& one : interface.exceptions) text += "exception " + one->name + text_of(one->fields) + "\n";
  for (const Method& method : interface.methods) {
    text += method.name + text_of(method.parameters) + method.result.text();
    for (const auto& one : method.exceptions) text += "!" + one->name;
    text += std::string(method.one_way ? " one-way" : "") + (method.concurrent ? " concurrent" : "") + "\n";
  }
  return sha256_hex(text);
}

std::string_view to_string(Fate fate) {
  if (fate == Fate::kNotRun) return "not-run";
  return fate == Fate::kRan ? "ran" : "unknown";
}

std::optional<Fate> fate_from(std::string_view text) {
  for (const Fate fate : {Fate::kNotRun, Fate::kRan, Fate::kUnknown})
    if (text == to_string(fate)) return fate;
  return std::nullopt;
}

}  // namespace mvm::rmix
