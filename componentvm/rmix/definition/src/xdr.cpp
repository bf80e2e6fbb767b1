// The same service in rpcgen's language.

#include <algorithm>
#include <cctype>
#include <set>

#include "mvm/rmix/definition.h"
#include "names.h"

namespace mvm::rmix {
namespace {

std::string upper(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

class XdrWriter {
 public:
  std::string run(const Interface& interface) {
    text_ =
        "/* Made by mvm-rmixgen of the definition of " + interface.text() +
        ": docs/formats/rmix-onc.md. */\n\n"
        "/* Instead of an answer: why, and whether the method ran (\"not-run\", \"ran\", \"unknown\"). */\n"
        "struct mvm_failure {\n  string code<>;\n  string fate<>;\n  string message<>;\n};\n\n";
    for (const auto& one : interface.structs) add_struct(*one);
    for (const auto& one : interface.exceptions) add_struct(*one);
    for (const Method& method : interface.methods) add_method(method);
    const std::string name = upper(interface.name);
    text_ += "program " + name + "_PROG {\n  version " + name + "_VERS {\n";
    for (std::size_t i = 0; i < interface.methods.size(); ++i) {
      const Method& method = interface.methods[i];
      text_ += "    " + (method.one_way ? "void" : method.name + "_outcome") + " " +
               upper(xdr_name(method.name)) + "(" +
               (method.parameters.empty() ? "void" : method.name + "_arguments") +
               ") = " + std::to_string(i + 1) + ";\n";
    }
    return text_ + "  } = " + std::to_string(interface.version) +
           ";\n} = " + std::to_string(interface.program) + ";\n";
  }

 private:
  /// The name of a type; arrays of arrays get one of their own first.
  std::string type_name(const Type& type) {
    switch (type.kind) {
      case Kind::kBool:
        return "bool";
      case Kind::kInt8:
      case Kind::kInt16:
      case Kind::kInt32:
        return "int";
      case Kind::kUint8:
      case Kind::kUint16:
      case Kind::kUint32:
        return "unsigned int";
      case Kind::kInt64:
        return "hyper";
      case Kind::kUint64:
        return "unsigned hyper";
      case Kind::kFloat32:
        return "float";
      case Kind::kFloat64:
        return "double";
      case Kind::kStruct:
        return xdr_name(type.structure->name);
      default:
        return named(type);
    }
  }

  /// A typedef for what rpcgen's language cannot put inside an array.
  std::string named(const Type& type) {
    std::string name = "mvm_";
    const Type* inner = &type;
    std::string suffix;
    for (; inner->kind == Kind::kArray; inner = inner->element.get()) suffix += "_array";
    name += inner->kind == Kind::kStruct ? inner->structure->name : std::string(to_string(inner->kind));
    name += suffix;
    if (typedefs_.insert(name).second) {
      const std::string declared = declaration(type, name);
      text_ += "typedef " + declared + ";\n\n";
    }
    return name;
  }

  /// "hyper a", "string a<>", "Point a<>"
  std::string declaration(const Type& type, const std::string& name) {
    if (type.kind == Kind::kString) return "string " + name + "<>";
    if (type.kind == Kind::kBytes) return "opaque " + name + "<>";
    if (type.kind == Kind::kArray) return type_name(*type.element) + " " + name + "<>";
    return type_name(type) + " " + name;
  }

  void add_fields(const std::string& name, const std::vector<Field>& fields) {
    std::vector<std::string> lines;
    for (const Field& field : fields) lines.push_back(declaration(field.type, xdr_name(field.name)));
    text_ += "struct " + name + " {\n";
    for (const std::string& line : lines) text_ += "  " + line + ";\n";
    text_ += "};\n\n";
  }

  void add_struct(const StructType& type) {
    if (!type.fields.empty()) add_fields(xdr_name(type.name), type.fields);
  }

  void add_method(const Method& method) {
    if (!method.parameters.empty()) add_fields(method.name + "_arguments", method.parameters);
    if (method.one_way) return;
    const std::string result =
        method.result.kind == Kind::kVoid ? "void" : declaration(method.result, "mvm_result");
    text_ += "union " + method.name + "_outcome switch (int mvm_outcome) {\n  case 0:\n    " + result + ";\n";
    for (std::size_t i = 0; i < method.exceptions.size(); ++i) {
      const StructType& type = *method.exceptions[i];
      const std::string held =
          type.fields.empty() ? "void" : xdr_name(type.name) + " mvm_exception_" + std::to_string(i + 1);
      text_ += "  case " + std::to_string(i + 1) + ":\n    " + held + ";\n";
    }
    text_ += "  case -1:\n    mvm_failure mvm_failed;\n};\n\n";
  }

  std::string text_;
  std::set<std::string> typedefs_;
};

}  // namespace

Result<std::string> write_xdr(const Interface& interface) {
  if (interface.program == 0)
    return Error(ErrorCode::kInvalid, interface.text() + " has no program number: add program=\"0x2...\"");
  return XdrWriter().run(interface);
}

}  // namespace mvm::rmix
