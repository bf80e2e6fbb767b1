// Stubs in C++.

#include <functional>

#include "mvm/rmix/definition.h"
#include "names.h"

namespace mvm::rmix {
namespace {

std::string joined(const std::vector<Field>& fields, const std::string& between,
                   const std::function<std::string(const Field&)>& text) {
  std::string all;
  for (const Field& field : fields) all += (all.empty() ? "" : between) + text(field);
  return all;
}

/// "std::int32_t a, std::string b"
std::string parameters(const Method& method) {
  return joined(method.parameters, ", ",
                [](const Field& field) { return cpp_type(field.type) + " " + cpp_name(field.name); });
}

std::string returned(const Method& method) {
  return method.one_way ? "::mvm::Status" : "::mvm::rmix::Reply<" + cpp_type(method.result) + ">";
}

std::string signature(const Method& method) {
  return returned(method) + " " + cpp_name(method.name) + "(" + parameters(method) + ")";
}

/// The fields of a struct, as generic values made of `from.` which is used up.
std::string values_of(const std::vector<Field>& fields, const std::string& from) {
  return joined(fields, "\n", [&](const Field& field) {
    return "    values.push_back(::mvm::rmix::Convert<" + cpp_type(field.type) + ">::to(std::move(" + from +
           cpp_name(field.name) + ")));";
  });
}

std::string struct_text(const StructType& type, bool exception) {
  const std::string name = cpp_name(type.name);
  std::string text = "struct " + name + " {\n";
  if (exception) text += "  static constexpr std::string_view kName = \"" + type.name + "\";\n";
  for (const Field& field : type.fields)
    text += "  " + cpp_type(field.type) + " " + cpp_name(field.name) + "{};\n";
  text += "  friend bool operator==(const " + name + "&, const " + name + "&) = default;\n";
  text += "  [[nodiscard]] std::vector<::mvm::rmix::Value> fields() &&;\n";
  text += "  [[nodiscard]] static std::optional<" + name +
          "> from(std::vector<::mvm::rmix::Value>& values);\n};\n\n";
  return text;
}

std::string struct_source(const StructType& type) {
  const std::string name = cpp_name(type.name);
  std::string text = "std::vector<::mvm::rmix::Value> " + name + "::fields() && {\n";
  text += "    std::vector<::mvm::rmix::Value> values;\n    values.reserve(" +
          std::to_string(type.fields.size()) + ");\n" + values_of(type.fields, "") +
          "\n    return values;\n}\n\n";
  text += "std::optional<" + name + "> " + name +
          "::from([[maybe_unused]] std::vector<::mvm::rmix::Value>& values) {\n";
  text += "    if (values.size() != " + std::to_string(type.fields.size()) + ") return std::nullopt;\n    " +
          name + " made;\n";
  for (std::size_t i = 0; i < type.fields.size(); ++i) {
    const std::string part = cpp_type(type.fields[i].type);
    text += "    if (auto part = ::mvm::rmix::Convert<" + part + ">::from(values[" + std::to_string(i) +
            "])) made." + cpp_name(type.fields[i].name) + " = std::move(*part); else return std::nullopt;\n";
  }
  return text + "    return made;\n}\n\n";
}

std::string convert_text(const StructType& type, const std::string& space) {
  const std::string name = space + "::" + cpp_name(type.name);
  return "template <>\nstruct mvm::rmix::Convert<" + name + "> {\n  static Type type();\n  static Value to(" +
         name +
         " value) { return Value::of<Struct>({std::move(value).fields()}); }\n  static std::optional<" +
         name +
         "> from(Value& value) {\n    Struct* held = value.get<Struct>();\n    return held == nullptr ? "
         "std::nullopt : " +
         name + "::from(held->fields);\n  }\n};\n\n";
}

/// An expression that makes a Type; structs stand in variables of their names.
std::string type_text(const Type& type) {
  if (type.kind == Kind::kArray) return "Type::array(" + type_text(*type.element) + ")";
  if (type.kind == Kind::kStruct) return "Type::of(struct_" + type.structure->name + ")";
  return "Type::of(static_cast<Kind>(" + std::to_string(static_cast<int>(type.kind)) + "))";
}

std::string fields_text(const std::vector<Field>& fields) {
  return "{" +
         joined(fields, ", ",
                [](const Field& field) {
                  return "Field{\"" + field.name + "\", " + type_text(field.type) + "}";
                }) +
         "}";
}

std::string description_source(const Interface& interface, const std::string& name) {
  std::string text = "::mvm::rmix::InterfacePtr make_" + name + "() {\n    using namespace ::mvm::rmix;\n";
  text += "    auto made = std::make_shared<Interface>();\n    made->name = \"" + interface.name +
          "\";\n    made->version = " + std::to_string(interface.version) +
          ";\n    made->program = " + std::to_string(interface.program) + "U;\n";
  for (const bool exceptions : {false, true})
    for (const auto& one : exceptions ? interface.exceptions : interface.structs)
      text += "    const auto struct_" + one->name + " = std::make_shared<const StructType>(StructType{\"" +
              one->name + "\", " + fields_text(one->fields) + "});\n    made->" +
              (exceptions ? "exceptions" : "structs") + ".push_back(struct_" + one->name + ");\n";
  for (const Method& method : interface.methods) {
    text += "    made->methods.push_back(Method{\"" + method.name + "\", " + fields_text(method.parameters) +
            ", " + type_text(method.result) + ", {";
    for (const auto& one : method.exceptions) text += "struct_" + one->name + ", ";
    text += std::string("}, ") + (method.one_way ? "true" : "false") + ", " +
            (method.concurrent ? "true" : "false") + "});\n";
  }
  return text + "    return made;\n}\n\n";
}

std::string arguments_source(const Method& method) {
  return "    std::vector<::mvm::rmix::Value> values;\n    values.reserve(" +
         std::to_string(method.parameters.size()) + ");\n" + values_of(method.parameters, "") + "\n";
}

std::string options_parameter(const Method& method, const std::string& rest) {
  return parameters(method) + (method.parameters.empty() ? "" : ", ") + "::mvm::rmix::CallOptions options" +
         rest;
}

std::string client_source(const Interface& interface, const std::string& client) {
  std::string text;
  for (std::size_t i = 0; i < interface.methods.size(); ++i) {
    const Method& method = interface.methods[i];
    const std::string number = std::to_string(i);
    text += returned(method) + " " + client + "::" + cpp_name(method.name) + "(" + parameters(method) +
            ") {\n" + arguments_source(method);
    if (method.one_way) {
      text += "    return remote_->send(" + number + ", std::move(values));\n}\n\n";
      continue;
    }
    text +=
        "    return " + returned(method) + "::read(remote_->call(" + number + ", std::move(values)));\n}\n\n";
    text += "::mvm::rmix::Future<" + cpp_type(method.result) + "> " + client + "::start_" + method.name +
            "(" + options_parameter(method, "") + ") {\n" + arguments_source(method) +
            "    return ::mvm::rmix::Future<" + cpp_type(method.result) + ">(remote_->start(" + number +
            ", std::move(values), options));\n}\n\n";
  }
  return text;
}

std::string server_source(const Interface& interface, const std::string& server) {
  std::string text =
      "::mvm::rmix::Outcome " + server +
      "::call(const ::mvm::rmix::CallContext& context, std::uint32_t method, "
      "[[maybe_unused]] std::vector<::mvm::rmix::Value> values) {\n    const Entered entered(context);\n"
      "    switch (method) {\n";
  for (std::size_t i = 0; i < interface.methods.size(); ++i) {
    const Method& method = interface.methods[i];
    text += "      case " + std::to_string(i) + ": {\n";
    std::string arguments;
    for (std::size_t p = 0; p < method.parameters.size(); ++p) {
      const std::string value = "argument_" + std::to_string(p);
      text += "        auto " + value + " = ::mvm::rmix::Convert<" + cpp_type(method.parameters[p].type) +
              ">::from(values.at(" + std::to_string(p) + "));\n        if (!" + value + ") break;\n";
      arguments += (arguments.empty() ? "" : ", ") + ("std::move(*" + value + ")");
    }
    const std::string called = cpp_name(method.name) + "(" + arguments + ")";
    if (method.one_way)
      text += "        if (auto done = " + called +
              "; !done) return ::mvm::rmix::Failure{std::move(done).error(), ::mvm::rmix::Fate::kRan};\n"
              "        return ::mvm::rmix::Value();\n      }\n";
    else
      text += "        return " + called + ".outcome();\n      }\n";
  }
  return text +
         "      default:\n        break;\n    }\n    return ::mvm::rmix::failed(::mvm::ErrorCode::kInvalid, "
         "\"arguments do not fit the method\", ::mvm::rmix::Fate::kNotRun);\n}\n\n";
}

}  // namespace

std::string write_header(const Interface& interface, const StubOptions& options) {
  const std::string name = cpp_name(interface.name);
  const std::string client = interface.name + "Client";
  const std::string server = interface.name + "Server";
  std::string text = "// Made by mvm-rmixgen of the definition of " + interface.text() +
                     ".\n#pragma once\n\n#include \"mvm/rmix/stub.h\"\n\n";
  // Each struct's conversion stands before others hold it.
  for (const auto& one : interface.structs)
    text += "namespace " + options.name_space + " {\n" + struct_text(*one, false) + "}\n" +
            convert_text(*one, options.name_space);
  text += "namespace " + options.name_space + " {\n";
  for (const auto& one : interface.exceptions) text += struct_text(*one, true);
  text += "/// The service, here or elsewhere.\nclass " + name + " {\n public:\n  virtual ~" + name +
          "() = default;\n  [[nodiscard]] static ::mvm::rmix::InterfacePtr description();\n";
  for (const Method& method : interface.methods)
    text += "  [[nodiscard]] virtual " + signature(method) + " = 0;\n";
  text += "};\n\n/// Calls it elsewhere. Copies share the reference.\nclass " + client + " final : public " +
          name + " {\n public:\n  explicit " + client +
          "(std::shared_ptr<::mvm::rmix::Remote> remote) : remote_(std::move(remote)) {}\n"
          "  [[nodiscard]] static ::mvm::Result<" +
          client +
          "> bind(::mvm::rmix::Client& client, const ::mvm::rmix::Address& address, "
          "::mvm::rmix::Client::BindOptions options = {});\n";
  for (const Method& method : interface.methods) {
    text += "  [[nodiscard]] " + signature(method) + " override;\n";
    if (!method.one_way)
      text += "  [[nodiscard]] ::mvm::rmix::Future<" + cpp_type(method.result) + "> start_" + method.name +
              "(" + options_parameter(method, " = {}") + ");\n";
  }
  text +=
      "  [[nodiscard]] ::mvm::rmix::Remote& remote() const { return *remote_; }\n\n private:\n"
      "  std::shared_ptr<::mvm::rmix::Remote> remote_;\n};\n\n";
  text += "/// Derive from it to serve; context() tells of the call at hand.\nclass " + server +
          " : public " + name +
          ", public ::mvm::rmix::ServerStub {\n public:\n  [[nodiscard]] ::mvm::rmix::InterfacePtr "
          "interface() const final { "
          "return description(); }\n  [[nodiscard]] ::mvm::rmix::Outcome call(const "
          "::mvm::rmix::CallContext& context, "
          "std::uint32_t method, std::vector<::mvm::rmix::Value> values) final;\n};\n}\n";
  return text;
}

std::string write_source(const Interface& interface, const StubOptions& options) {
  const std::string name = cpp_name(interface.name);
  const std::string client = interface.name + "Client";
  std::string text = "// Made by mvm-rmixgen of the definition of " + interface.text() + ".\n#include \"" +
                     options.header + "\"\n\nnamespace " + options.name_space + " {\nnamespace {\n" +
                     description_source(interface, interface.name) + "}  // namespace\n\n";
  for (const auto& one : interface.structs) text += struct_source(*one);
  for (const auto& one : interface.exceptions) text += struct_source(*one);
  text += "::mvm::rmix::InterfacePtr " + name +
          "::description() {\n    static const ::mvm::rmix::InterfacePtr made = make_" + interface.name +
          "();\n    return made;\n}\n\n";
  text += "::mvm::Result<" + client + "> " + client +
          "::bind(::mvm::rmix::Client& client, const ::mvm::rmix::Address& address, "
          "::mvm::rmix::Client::BindOptions options) {\n    MVM_ASSIGN(auto remote, client.bind(address, "
          "description(), "
          "std::move(options)));\n    return " +
          client + "(std::move(remote));\n}\n\n";
  text += client_source(interface, client) + server_source(interface, interface.name + "Server");
  text += "}  // namespace " + options.name_space + "\n";
  for (std::size_t i = 0; i < interface.structs.size(); ++i)
    text += "\n::mvm::rmix::Type mvm::rmix::Convert<" + options.name_space +
            "::" + cpp_name(interface.structs[i]->name) + ">::type() {\n    return Type::of(" +
            options.name_space + "::" + name + "::description()->structs[" + std::to_string(i) + "]);\n}\n";
  return text;
}

}  // namespace mvm::rmix
