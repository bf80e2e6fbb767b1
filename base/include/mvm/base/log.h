#pragma once
// Structured log: a stable event name plus fields, never glued prose.
//
//   log::info("job.started", {{"id", id}, {"node", node}});
//
// Secrets are never fields. Thread-safe.

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace mvm::log {

enum class Level { kDebug, kInfo, kWarning, kError };

/// One field: a name and a value already turned to text.
struct Field {
  std::string_view name;
  std::string value;
  Field(std::string_view field_name, std::string_view text) : name(field_name), value(text) {}
  Field(std::string_view field_name, const std::string& text) : name(field_name), value(text) {}
  Field(std::string_view field_name, const char* text) : name(field_name), value(text) {}
  Field(std::string_view field_name, bool flag) : name(field_name), value(flag ? "true" : "false") {}
  template <class Number>
  requires(std::integral<Number> || std::floating_point<Number>)
      Field(std::string_view field_name, Number number)
      : name(field_name), value(std::to_string(number)) {}
};

using Fields = std::initializer_list<Field>;

/// Sets up the process's log once, from main: program name, smallest level written, and a file to append
/// to (rotated at 16 MiB, three kept) or empty for standard error.
void start(std::string_view program, Level smallest, const std::string& file);

void write(Level level, std::string_view event, Fields fields);
inline void debug(std::string_view event, Fields fields = {}) { write(Level::kDebug, event, fields); }
inline void info(std::string_view event, Fields fields = {}) { write(Level::kInfo, event, fields); }
inline void warning(std::string_view event, Fields fields = {}) { write(Level::kWarning, event, fields); }
inline void error(std::string_view event, Fields fields = {}) { write(Level::kError, event, fields); }

}  // namespace mvm::log
