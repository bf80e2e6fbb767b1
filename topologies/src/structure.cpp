#include "structure.h"

#include <map>
#include <memory>

#include "mvm/base/assert.h"
#include "mvm/topologies/shipped.h"
#include "values.h"
#include "xml/gate.h"

namespace mvm::topologies {
namespace {

constexpr std::string_view kXsd = "http://www.w3.org/2001/XMLSchema";

/// A restricted string.
struct SimpleType {
  std::vector<std::string> words;
  std::string pattern;
  std::size_t min_length = 0;
  std::size_t max_length = SIZE_MAX;
  std::string expected;
};

struct AttributeRule {
  std::string type;
  bool required = false;
};

struct ComplexType {
  std::map<std::string, AttributeRule> attributes;
  std::vector<std::string> attribute_order;
  std::map<std::pair<std::string, std::string>, std::string> children;  ///< (namespace, name) → type
  bool text = false;
};

/// The subset of XSD that our schemas use, read from the schemas themselves.
class Model {
 public:
  Model() {
    for (const char* root : {"topology", "image", "policy", "job", "lab"}) {
      auto schema = xml::build(schema_text(root), root);
      MVM_ASSERT(schema.has_value());
      space_ = schema_namespace(root);
      for (const xml::Element& element : schema->children) read_global(element);
    }
  }

  const SimpleType* simple(const std::string& type) const {
    const auto found = simple_.find(type);
    return found == simple_.end() ? nullptr : &found->second;
  }
  const ComplexType* complex(const std::string& type) const {
    const auto found = complex_.find(type);
    return found == complex_.end() ? nullptr : &found->second;
  }
  const std::string* root_type(const std::string& space, const std::string& name) const {
    const auto found = roots_.find({space, name});
    return found == roots_.end() ? nullptr : &found->second;
  }

 private:
  /// "urn:mvm:job:1#Program" of "Program", "t:Name", "xs:string".
  std::string resolve(const std::string& qualified) const {
    static const std::map<std::string, std::string, std::less<>> kPrefixes = {{"xs", std::string(kXsd)},
                                                                              {"t", "urn:mvm:topology:1"},
                                                                              {"p", "urn:mvm:policy:1"},
                                                                              {"i", "urn:mvm:image:1"},
                                                                              {"j", "urn:mvm:job:1"}};
    const std::size_t colon = qualified.find(':');
    if (colon == std::string::npos) return space_ + "#" + qualified;
    return kPrefixes.at(qualified.substr(0, colon)) + "#" + qualified.substr(colon + 1);
  }

  void read_global(const xml::Element& element) {
    const std::string name = element.get("name").value;
    const std::string key = space_ + "#" + name;
    if (element.name == "simpleType") simple_[key] = read_simple(element);
    if (element.name == "complexType") read_members(element, complex_[key]);
    if (element.name == "element") roots_[{space_, name}] = resolve(element.get("type").value);
  }

  SimpleType read_simple(const xml::Element& element) const {
    SimpleType type;
    for (const xml::Element& child : element.children) {
      if (child.name == "annotation") type.expected = child.children.at(0).text;
      if (child.name != "restriction") continue;
      for (const xml::Element& facet : child.children) {
        const std::string value = facet.get("value").value;
        if (facet.name == "enumeration") type.words.push_back(value);
        if (facet.name == "pattern") type.pattern = value;
        if (facet.name == "minLength") type.min_length = std::stoul(value);
        if (facet.name == "maxLength") type.max_length = std::stoul(value);
      }
    }
    if (type.expected.empty()) {
      for (std::size_t i = 0; i < type.words.size(); ++i) {
        type.expected += (i == 0 ? "" : i + 1 == type.words.size() ? " or " : ", ") + type.words[i];
      }
    }
    return type;
  }

  void read_members(const xml::Element& element, ComplexType& type) {
    for (const xml::Element& child : element.children) {
      if (child.name == "attribute") {
        const std::string name = child.get("name").value;
        type.attributes[name] = {resolve(child.get("type").value), child.get("use").value == "required"};
        type.attribute_order.push_back(name);
      } else if (child.name == "element" && child.find("ref") != nullptr) {
        const std::string global = resolve(child.get("ref").value);
        const std::size_t hash = global.find('#');
        const std::pair<std::string, std::string> key{global.substr(0, hash), global.substr(hash + 1)};
        type.children[key] = roots_.at(key);
      } else if (child.name == "element") {
        type.children[{space_, child.get("name").value}] = resolve(child.get("type").value);
      } else {
        if (child.name == "simpleContent") type.text = true;
        read_members(child, type);
      }
    }
  }

  std::string space_;
  std::map<std::string, SimpleType> simple_;
  std::map<std::string, ComplexType> complex_;
  std::map<std::pair<std::string, std::string>, std::string> roots_;
};

const Model& model() {
  static const Model kModel;
  return kModel;
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

std::string shortened(std::string_view text) {
  constexpr std::size_t kShown = 60;
  std::string shown(text.substr(0, kShown));
  while (shown.size() == kShown && (static_cast<unsigned char>(shown.back()) & 0xC0U) == 0x80U)
    shown.pop_back();
  return text.size() > kShown ? shown + "..." : shown;
}

bool fits(const SimpleType& type, const std::string& value) {
  if (!type.words.empty()) return std::find(type.words.begin(), type.words.end(), value) != type.words.end();
  if (!type.pattern.empty()) return xml::matches_pattern(type.pattern, value);
  const std::size_t length = characters(value);
  return length >= type.min_length && length <= type.max_length;
}

class Checker {
 public:
  explicit Checker(FaultList& faults) : faults_(faults) {}

  void root(xml::Element& element) {
    const std::string* type = model().root_type(element.space, element.name);
    if (type != nullptr) return check(element, *type);
    const std::string_view space = schema_namespace(element.name);
    if (!space.empty()) {
      return add(
          element, element.where,
          "found <" + element.name + "> in " +
              (element.space.empty() ? "no namespace" : "the namespace '" + shortened(element.space) + "'") +
              ", expected <" + element.name + " xmlns=\"" + std::string(space) + "\">");
    }
    static const std::vector<std::string> kRoots = {"lab", "job", "topology", "image", "policy"};
    add(element, element.where,
        "found the root element <" + shortened(element.name) + ">, expected one of " + join_names(kRoots),
        near_miss(element.name, kRoots));
  }

 private:
  void add(xml::Element& element, const SourcePosition& where, std::string message,
           std::string suggestion = {}) {
    element.faulty = true;
    faults_.add(where, std::move(message), std::move(suggestion), Fault::kStructure);
  }

  void check(xml::Element& element, const std::string& type_name) {
    static const ComplexType kNothing;
    const ComplexType* complex = model().complex(type_name);
    check_attributes(element, complex == nullptr ? kNothing : *complex);
    check_children(element, complex == nullptr ? kNothing : *complex);
    if (complex == nullptr) {
      const SimpleType* simple = model().simple(type_name);
      if (simple != nullptr && !fits(*simple, element.text)) {
        add(element, element.where,
            "found '" + shortened(element.text) + "' in <" + element.name + ">, expected " +
                simple->expected);
      }
    } else if (!complex->text && complex->children.empty() && element.has_characters) {
      add(element, element.where,
          "found text in <" + element.name + ">, expected nothing: <" + element.name + " .../>");
    } else if (!complex->text && (element.has_cdata || !is_blank(element.text))) {
      add(element, element.where,
          "found the text '" + shortened(element.text) + "' in <" + element.name +
              ">, expected elements only");
    }
  }

  void check_attributes(xml::Element& element, const ComplexType& type) {
    for (const xml::Attribute& attribute : element.attributes) {
      const auto rule = type.attributes.find(attribute.name);
      if (rule == type.attributes.end()) {
        const std::string expected =
            type.attributes.empty() ? "none" : "one of " + join_names(type.attribute_order);
        add(element, attribute.where,
            "found the attribute '" + shortened(attribute.name) + "' of <" + element.name + ">, expected " +
                expected,
            near_miss(attribute.name, type.attribute_order));
        continue;
      }
      const SimpleType* simple = model().simple(rule->second.type);
      if (simple == nullptr || fits(*simple, attribute.value)) continue;
      add(element, attribute.value_where,
          "found " + attribute.name + " '" + shortened(attribute.value) + "', expected " + simple->expected,
          near_miss(attribute.value, simple->words));
    }
    for (const std::string& name : type.attribute_order) {
      const AttributeRule& rule = type.attributes.at(name);
      if (!rule.required || element.find(name) != nullptr) continue;
      const SimpleType* simple = model().simple(rule.type);
      add(element, element.where,
          "<" + element.name + "> has no attribute '" + name + "', expected " +
              (simple == nullptr ? "text" : simple->expected));
    }
  }

  void check_children(xml::Element& element, const ComplexType& type) {
    for (xml::Element& child : element.children) {
      const auto rule = type.children.find({child.space, child.name});
      if (rule != type.children.end()) {
        check(child, rule->second);
        continue;
      }
      element.faulty = true;
      std::vector<std::string> names;
      bool other_space = false;
      for (const auto& [key, unused] : type.children) {
        other_space = other_space || (key.second == child.name && key.first != child.space);
        if (names.empty() || names.back() != key.second) names.push_back(key.second);
      }
      if (other_space) {
        add(child, child.where,
            "found <" + child.name + "> in the namespace '" + shortened(child.space) +
                "', expected that of <" + element.name + "> or its own");
        continue;
      }
      add(child, child.where,
          "found the element <" + shortened(child.name) + "> in <" + element.name + ">, expected " +
              (names.empty() ? "none" : "one of " + join_names(names)),
          near_miss(child.name, names));
    }
  }

  FaultList& faults_;
};

}  // namespace

void check_structure(xml::Element& root, FaultList& faults) { Checker(faults).root(root); }

}  // namespace mvm::topologies
