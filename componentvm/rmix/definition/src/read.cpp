// Reads a service definition. TinyXML2 builds the tree; what the schema says is checked here, with lines.

#include <tinyxml2.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "mvm/base/number.h"
#include "mvm/rmix/definition.h"

namespace mvm::rmix {
namespace {

constexpr std::size_t kMostText = 1U << 20U;
constexpr std::string_view kNamespace = "urn:mvm:service:1";
using tinyxml2::XMLElement;

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  Result<Interface> run(std::string_view xml) {
    if (xml.size() > kMostText) return Error(ErrorCode::kInvalid, file_ + ": expected at most 1 MiB");
    tinyxml2::XMLDocument document;
    if (document.Parse(xml.data(), xml.size()) != tinyxml2::XML_SUCCESS)
      return Error(ErrorCode::kInvalid, std::string("is no XML: ") + document.ErrorName())
          .at({file_, document.ErrorLineNum(), 1});
    const XMLElement* root = document.RootElement();
    if (root->NextSiblingElement() != nullptr)
      return wrong(*root, "more than one root", "one element service");
    MVM_TRY(allow(*root, "service", {"xmlns", "name", "version", "program"}));
    MVM_ASSIGN(const std::string space, need(*root, "xmlns"));
    if (space != kNamespace) return wrong(*root, "namespace " + space, std::string(kNamespace));
    MVM_ASSIGN(result_.name, need(*root, "name"));
    MVM_ASSIGN(result_.version, number(*root, "version", 1));
    MVM_ASSIGN(result_.program, number(*root, "program", 0));
    for (const XMLElement* child = root->FirstChildElement(); child != nullptr;
         child = child->NextSiblingElement())
      MVM_TRY(take(*child));
    if (Status right = check(result_); !right)
      return std::move(right).error().at({file_, root->GetLineNum(), 1});
    return std::move(result_);
  }

 private:
  Status take(const XMLElement& element) {
    const std::string_view name = element.Name();
    if (name == "struct" || name == "exception") return take_struct(element, name == "exception");
    if (name == "method") return take_method(element);
    return wrong(element, "element " + std::string(name), "struct, exception or method");
  }

  Status take_struct(const XMLElement& element, bool exception) {
    MVM_TRY(allow(element, element.Name(), {"name"}));
    StructType type;
    MVM_ASSIGN(type.name, need(element, "name"));
    for (const XMLElement* child = element.FirstChildElement(); child != nullptr;
         child = child->NextSiblingElement()) {
      MVM_ASSIGN(Field field, field_of(*child, "field"));
      type.fields.push_back(std::move(field));
    }
    (exception ? result_.exceptions : result_.structs)
        .push_back(std::make_shared<const StructType>(std::move(type)));
    return ok();
  }

  Status take_method(const XMLElement& element) {
    MVM_TRY(allow(element, "method", {"name", "result", "one-way", "concurrent"}));
    Method method;
    MVM_ASSIGN(method.name, need(element, "name"));
    MVM_ASSIGN(method.one_way, flag(element, "one-way"));
    MVM_ASSIGN(method.concurrent, flag(element, "concurrent"));
    if (element.Attribute("result") != nullptr) {
      MVM_ASSIGN(method.result, type_of(element, element.Attribute("result")));
    }
    for (const XMLElement* child = element.FirstChildElement(); child != nullptr;
         child = child->NextSiblingElement()) {
      if (child->Name() == std::string_view("raises")) {
        MVM_TRY(take_raises(*child, method));
        continue;
      }
      MVM_ASSIGN(Field parameter, field_of(*child, "parameter"));
      method.parameters.push_back(std::move(parameter));
    }
    result_.methods.push_back(std::move(method));
    return ok();
  }

  Status take_raises(const XMLElement& element, Method& method) {
    MVM_TRY(allow(element, "raises", {"exception"}));
    MVM_ASSIGN(const std::string name, need(element, "exception"));
    const auto found = std::find_if(result_.exceptions.begin(), result_.exceptions.end(),
                                    [&](const auto& one) { return one->name == name; });
    if (found == result_.exceptions.end())
      return wrong(element, name, "an exception that was defined before");
    method.exceptions.push_back(*found);
    return ok();
  }

  Result<Field> field_of(const XMLElement& element, const char* name) {
    MVM_TRY(allow(element, name, {"name", "type"}));
    Field field;
    MVM_ASSIGN(field.name, need(element, "name"));
    MVM_ASSIGN(const std::string type, need(element, "type"));
    MVM_ASSIGN(field.type, type_of(element, type));
    return field;
  }

  Result<Type> type_of(const XMLElement& element, std::string_view text) {
    if (text.ends_with("[]")) {
      if (text.size() > 2 * kDeepest + 64) return wrong(element, "a type nested too deep", "fewer []");
      MVM_ASSIGN(Type inner, type_of(element, text.substr(0, text.size() - 2)));
      return Type::array(std::move(inner));
    }
    for (int kind = static_cast<int>(Kind::kBool); kind <= static_cast<int>(Kind::kBytes); ++kind)
      if (text == to_string(static_cast<Kind>(kind))) return Type::of(static_cast<Kind>(kind));
    for (const auto& one : result_.structs)
      if (one->name == text) return Type::of(one);
    return wrong(
        element, "type " + std::string(text.substr(0, 80)),
        "bool, int8 to uint64, float32, float64, string, bytes, a struct that was defined before, or one of "
        "these with []");
  }

  Status allow(const XMLElement& element, std::string_view name,
               std::initializer_list<std::string_view> attributes) {
    if (element.Name() != name)
      return wrong(element, "element " + std::string(element.Name()), std::string(name));
    for (const tinyxml2::XMLAttribute* one = element.FirstAttribute(); one != nullptr; one = one->Next()) {
      const std::string_view found = one->Name();
      if (std::find(attributes.begin(), attributes.end(), found) == attributes.end() &&
          !found.starts_with("xmlns:"))
        return wrong(element, "attribute " + std::string(found), "an attribute of " + std::string(name));
    }
    for (const tinyxml2::XMLNode* child = element.FirstChild(); child != nullptr;
         child = child->NextSibling())
      if (child->ToText() != nullptr) return wrong(element, "text", "elements only");
    return ok();
  }

  Result<std::string> need(const XMLElement& element, const char* attribute) {
    const char* found = element.Attribute(attribute);
    if (found == nullptr) return wrong(element, "no attribute", attribute);
    return std::string(found);
  }

  Result<std::uint32_t> number(const XMLElement& element, const char* attribute, std::uint32_t otherwise) {
    const char* found = element.Attribute(attribute);
    if (found == nullptr) return otherwise;
    std::string_view text = found;
    const bool hexadecimal = text.starts_with("0x");
    if (hexadecimal) text.remove_prefix(2);
    const auto value = whole_number<std::uint32_t>(text, hexadecimal ? 16 : 10).value_or(0);
    if (value == 0)
      return wrong(element, std::string(attribute) + " \"" + found + "\"",
                   "a number from 1 to 4294967295, or 0x...");
    return value;
  }

  Result<bool> flag(const XMLElement& element, const char* attribute) {
    const char* found = element.Attribute(attribute);
    const std::string_view text = found == nullptr ? "false" : found;
    if (text != "true" && text != "false")
      return wrong(element, std::string(attribute) + " \"" + found + "\"", "true or false");
    return text == "true";
  }

  Error wrong(const XMLElement& element, const std::string& found, const std::string& expected) const {
    return Error(ErrorCode::kInvalid, "found " + found + ", expected " + expected)
        .at({file_, element.GetLineNum(), 1});
  }

  const std::string file_;
  Interface result_;
};

}  // namespace

Result<Interface> read_definition(std::string_view xml, const std::string& file) {
  return Reader(file).run(xml);
}

}  // namespace mvm::rmix
