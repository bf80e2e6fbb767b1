#pragma once
// What a verb prints: one definition for the table and for JSON, so that both list the same.

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mvm::cli {

using Json = nlohmann::ordered_json;  ///< keys keep the order in which a verb names them

enum class Format { kTable, kJson, kJsonl };

enum class Colour { kNone, kGood, kBad, kBusy, kFaint };

/// The text, coloured where `on`.
[[nodiscard]] std::string coloured(std::string_view text, Colour colour, bool on);

/// One value: as people read it, and as programs do.
struct Cell {
  std::string text;
  Json value;
  Colour colour = Colour::kNone;
  Cell(std::string shown, Json exact, Colour hue = Colour::kNone)
      : text(std::move(shown)), value(std::move(exact)), colour(hue) {}
  Cell(const std::string& same) : text(same), value(same) {}  // NOLINT: implicit on purpose
  Cell(const char* same) : text(same), value(same) {}         // NOLINT: implicit on purpose
  template <class Number>
  requires(std::integral<Number>) Cell(Number number)
      : text(std::to_string(number)), value(number) {}  // NOLINT: implicit on purpose
};

/// A column: an empty header is for JSON only, an empty key for the table only.
struct Column {
  std::string header;
  std::string key;
  bool right = false;  ///< numbers stand right
};

/// A table, or {"schema": "mvm.NOUN/1", "items": [...]}, or one JSON object a line.
class Listing {
 public:
  Listing(std::string noun, std::vector<Column> columns);
  /// One cell for each column.
  void row(std::vector<Cell> cells);
  void print(std::ostream& out, Format format, bool colours) const;
  [[nodiscard]] bool empty() const { return rows_.empty(); }

 private:
  void print_table(std::ostream& out, bool colours) const;
  [[nodiscard]] Json object(const std::vector<Cell>& cells) const;

  std::string noun_;
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

/// One thing: "label  value" lines, or {"schema": "mvm.NOUN/1", ...}.
class Record {
 public:
  explicit Record(std::string noun) : noun_(std::move(noun)) {}
  /// An empty label is for JSON only, an empty key for people only. Text of several lines is indented.
  void field(std::string label, std::string key, Cell cell);
  void print(std::ostream& out, Format format, bool colours) const;

 private:
  struct Field {
    std::string label, key;
    Cell cell;
  };
  std::string noun_;
  std::vector<Field> fields_;
};

/// {"schema": "mvm.NOUN/1"}, to be filled.
[[nodiscard]] Json schema_object(std::string_view noun);

/// Prints an object as JSON (several lines) or JSONL (one). Invalid UTF-8 is replaced.
void print_json(std::ostream& out, Format format, const Json& object);

}  // namespace mvm::cli
