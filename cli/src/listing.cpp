#include "listing.h"

#include <algorithm>
#include <ostream>

#include "format.h"
#include "mvm/base/assert.h"

namespace mvm::cli {

std::string coloured(std::string_view text, Colour colour, bool on) {
  if (!on || colour == Colour::kNone) return std::string(text);
  const char* code = "0";
  if (colour == Colour::kGood) code = "32";
  if (colour == Colour::kBad) code = "31";
  if (colour == Colour::kBusy) code = "33";
  if (colour == Colour::kFaint) code = "2";
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

Json schema_object(std::string_view noun) {
  Json object = Json::object();
  object["schema"] = "mvm." + std::string(noun) + "/1";
  return object;
}

void print_json(std::ostream& out, Format format, const Json& object) {
  const int indent = format == Format::kJsonl ? -1 : 2;
  out << object.dump(indent, ' ', false, Json::error_handler_t::replace) << '\n';
}

Listing::Listing(std::string noun, std::vector<Column> columns)
    : noun_(std::move(noun)), columns_(std::move(columns)) {}

void Listing::row(std::vector<Cell> cells) {
  MVM_ASSERT(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

Json Listing::object(const std::vector<Cell>& cells) const {
  Json object = Json::object();
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (!columns_[i].key.empty()) object[columns_[i].key] = cells[i].value;
  }
  return object;
}

void Listing::print(std::ostream& out, Format format, bool colours) const {
  if (format == Format::kTable) return print_table(out, colours);
  if (format == Format::kJson) {
    Json document = schema_object(noun_);
    document["items"] = Json::array();
    for (const auto& cells : rows_) document["items"].push_back(object(cells));
    return print_json(out, format, document);
  }
  for (const auto& cells : rows_) {
    Json line = schema_object(noun_);
    line.update(object(cells));
    print_json(out, format, line);
  }
}

void Listing::print_table(std::ostream& out, bool colours) const {
  std::vector<std::size_t> shown;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (!columns_[i].header.empty()) shown.push_back(i);
  }
  std::vector<std::vector<std::string>> texts;
  texts.reserve(rows_.size());
  std::vector<std::size_t> widths;
  for (const std::size_t i : shown) widths.push_back(display_width(columns_[i].header));
  for (const auto& cells : rows_) {
    auto& line = texts.emplace_back();
    for (std::size_t k = 0; k < shown.size(); ++k) {
      line.push_back(one_line(cells[shown[k]].text));
      if (line.back().empty()) line.back() = "-";
      widths[k] = std::max(widths[k], display_width(line.back()));
    }
  }
  const auto print_line = [&](const auto& text_of, const auto& colour_of) {
    for (std::size_t k = 0; k < shown.size(); ++k) {
      const std::string text = text_of(k);
      const std::string padding(widths[k] - display_width(text), ' ');
      const bool last = k + 1 == shown.size();
      const bool right = columns_[shown[k]].right;
      out << (right ? padding : "") << coloured(text, colour_of(k), colours);
      if (!last) out << (right ? "" : padding) << "  ";
    }
    out << '\n';
  };
  print_line([&](std::size_t k) { return columns_[shown[k]].header; },
             [](std::size_t) { return Colour::kNone; });
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    print_line([&](std::size_t k) { return texts[r][k]; },
               [&](std::size_t k) { return rows_[r][shown[k]].colour; });
  }
}

void Record::field(std::string label, std::string key, Cell cell) {
  fields_.push_back({std::move(label), std::move(key), std::move(cell)});
}

void Record::print(std::ostream& out, Format format, bool colours) const {
  if (format != Format::kTable) {
    Json document = schema_object(noun_);
    for (const Field& field : fields_) {
      if (!field.key.empty()) document[field.key] = field.cell.value;
    }
    return print_json(out, format, document);
  }
  std::size_t width = 0;
  for (const Field& field : fields_) width = std::max(width, display_width(field.label));
  for (const Field& field : fields_) {
    if (field.label.empty()) continue;
    std::string_view rest = field.cell.text;
    bool first = true;
    do {
      const std::size_t end = rest.find('\n');
      const std::string label = first ? field.label : "";
      const std::string text = one_line(rest.substr(0, end));
      out << label << std::string(width - display_width(label) + 2, ' ')
          << coloured(text.empty() && first ? "-" : text, field.cell.colour, colours) << '\n';
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      first = false;
    } while (!rest.empty());
  }
}

}  // namespace mvm::cli
