#pragma once
// A document: TinyXML2's model, name spaces resolved, each element and attribute with its place in the text.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/topologies/diagnostic.h"
#include "mvm/topologies/topology.h"

namespace mvm::topologies::xml {

struct Attribute {
  std::string name;  ///< as written; xmlns declarations are left out
  std::string value;
  SourcePosition where;                        ///< of the name
  SourcePosition value_where;                  ///< of the value's first character
  std::size_t begin = 0, end = 0;              ///< of name="value" in the text
  std::size_t value_begin = 0, value_end = 0;  ///< between the quotes
};

struct Element {
  std::string space;  ///< namespace
  std::string name;   ///< without its prefix
  std::vector<Attribute> attributes;
  std::vector<Element> children;
  std::string text;  ///< character data, comments left out
  SourcePosition where;
  std::size_t begin = 0, start_end = 0, end = 0;  ///< of <e ...>...</e> and of its start tag, in the text
  bool has_cdata = false;                         ///< holds a CDATA section, even a blank one
  bool has_characters = false;                    ///< holds any character data, even blanks
  bool faulty = false;                            ///< broke the structure: its content is not to be trusted

  [[nodiscard]] const Attribute* find(std::string_view attribute) const;
  /// The attribute's value with its place; empty where there is none, placed at the element.
  [[nodiscard]] Text get(std::string_view attribute) const;
  /// This element or one below it is faulty.
  [[nodiscard]] bool any_faulty() const;
};

/// Builds the model of a document that passed the gate's first pass.
[[nodiscard]] Result<Element> build(std::string_view text, const std::string& file);

}  // namespace mvm::topologies::xml
