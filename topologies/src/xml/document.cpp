#include "document.h"

#include <tinyxml2.h>

#include <map>
#include <optional>

#include "text_index.h"

namespace mvm::topologies::xml {
namespace {

using Spaces = std::map<std::string, std::string, std::less<>>;

class Builder {
 public:
  Builder(std::string_view text, const std::string& file)
      : text_(text), file_(file), places_(index_text(text)) {}

  Result<Element> build(const tinyxml2::XMLElement& root) {
    Element element;
    MVM_TRY(fill(root, {{"xml", "http://www.w3.org/XML/1998/namespace"}}, element));
    if (next_ != places_.size()) return lost(root);
    return element;
  }

 private:
  /// The two views of the text disagree: it is not what the gate took it for.
  Error lost(const tinyxml2::XMLElement& element) const {
    return Error(ErrorCode::kCorrupt, "the XML cannot be understood near this line")
        .at(SourcePosition{file_, element.GetLineNum(), 1});
  }

  SourcePosition position(Place place) const { return {file_, place.line, place.column}; }

  Status fill(const tinyxml2::XMLElement& from, Spaces spaces, Element& to) {
    if (next_ >= places_.size()) return lost(from);
    const TagPlace& place = places_[next_++];
    if (place.name != from.Name()) return lost(from);
    to.where = position(place.where);
    to.begin = place.begin;
    to.start_end = place.start_end;
    to.end = place.end;
    std::size_t number = 0;
    for (const auto* attribute = from.FirstAttribute(); attribute != nullptr;
         attribute = attribute->Next(), ++number) {
      if (number >= place.attributes.size()) return lost(from);
      const std::string_view name = attribute->Name();
      if (name == "xmlns") {
        spaces[""] = attribute->Value();
      } else if (name.starts_with("xmlns:")) {
        spaces[std::string(name.substr(6))] = attribute->Value();
      } else {
        const AttributePlace& where = place.attributes[number];
        to.attributes.push_back({std::string(name), normal(attribute->Value(), where), position(where.where),
                                 position(where.value_where), where.begin, where.end, where.value_begin,
                                 where.value_end});
      }
    }
    resolve(from.Name(), spaces, to);
    to.has_characters = from.FirstChildElement() == nullptr && has_characters(place);
    return fill_content(from, spaces, to);
  }

  /// XML turns line ends and tabs of an attribute into blanks; TinyXML2 leaves that to us.
  std::string normal(std::string value, const AttributePlace& place) const {
    const std::string_view raw = text_.substr(place.value_begin, place.value_end - place.value_begin);
    if (raw.find("&#") != std::string_view::npos) return value;  // may hold real ones
    for (char& c : value) {
      if (c == '\t' || c == '\n' || c == '\r') c = ' ';
    }
    return value;
  }

  /// Whether anything but comments and instructions stands between the tags of an element without children.
  bool has_characters(const TagPlace& place) const {
    std::string_view inside = text_.substr(place.start_end, place.end - place.start_end);
    inside = inside.substr(0, inside.rfind("</") == std::string_view::npos ? 0 : inside.rfind("</"));
    while (!inside.empty()) {
      const bool comment = inside.starts_with("<!--");
      if (!comment && !inside.starts_with("<?")) return true;
      const std::size_t end = inside.find(comment ? "-->" : "?>");
      if (end == std::string_view::npos) return true;
      inside.remove_prefix(end + (comment ? 3 : 2));
    }
    return false;
  }

  static void resolve(std::string_view qualified, const Spaces& spaces, Element& to) {
    const std::size_t colon = qualified.find(':');
    const std::string_view prefix = colon == std::string_view::npos ? "" : qualified.substr(0, colon);
    to.name = colon == std::string_view::npos ? qualified : qualified.substr(colon + 1);
    const auto space = spaces.find(prefix);
    if (space != spaces.end()) to.space = space->second;
  }

  Status fill_content(const tinyxml2::XMLElement& from, const Spaces& spaces, Element& to) {
    for (const auto* node = from.FirstChild(); node != nullptr; node = node->NextSibling()) {
      if (const auto* text = node->ToText()) {
        to.text += text->Value();
        to.has_cdata = to.has_cdata || text->CData();
      } else if (const auto* element = node->ToElement()) {
        to.children.emplace_back();
        MVM_TRY(fill(*element, spaces, to.children.back()));
      }
    }
    return ok();
  }

  std::string_view text_;
  std::string file_;
  std::vector<TagPlace> places_;
  std::size_t next_ = 0;
};

}  // namespace

const Attribute* Element::find(std::string_view attribute) const {
  for (const Attribute& one : attributes) {
    if (one.name == attribute) return &one;
  }
  return nullptr;
}

Text Element::get(std::string_view attribute) const {
  const Attribute* found = find(attribute);
  return found == nullptr ? Text{{}, where} : Text{found->value, found->value_where};
}

bool Element::any_faulty() const {
  if (faulty) return true;
  for (const Element& child : children) {
    if (child.any_faulty()) return true;
  }
  return false;
}

Result<Element> build(std::string_view text, const std::string& file) {
  tinyxml2::XMLDocument document;
  if (document.Parse(text.data(), text.size()) != tinyxml2::XML_SUCCESS ||
      document.RootElement() == nullptr) {
    return Error(ErrorCode::kCorrupt, "the XML cannot be read: " + std::string(document.ErrorName()))
        .at(SourcePosition{file, document.ErrorLineNum(), 1});
  }
  return Builder(text, file).build(*document.RootElement());
}

}  // namespace mvm::topologies::xml
