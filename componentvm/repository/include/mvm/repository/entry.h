#pragma once
// What a plug-in repository says of its files: docs/formats/repository.md. [Harness 000, §2.3]

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"

namespace mvm::repository {

inline constexpr std::size_t kIndexLimit = 4 << 20;   ///< bytes of an index
inline constexpr std::size_t kEntryLimit = 64 << 10;  ///< bytes of one entry
inline constexpr std::size_t kMostEntries = 10'000;
inline constexpr std::uint64_t kFileLimit = 256 << 20;  ///< bytes of a plug-in or of its source
inline constexpr const char* kSource = "source";        ///< the "architecture" of a source
inline constexpr const char* kIndexName = "index.json";
inline constexpr const char* kEntrySuffix = ".json";  ///< of the file beside a plug-in that holds its entry

/// One plug-in for one architecture, or its source.
struct Entry {
  std::string plugin;        ///< NAME[.FIRST.AGE.REVISION][.debug].so
  std::string architecture;  ///< "x86_64", ..., or kSource
  std::string file;  ///< where it lies, relative to the index; no "..", nothing that a URL must escape
  std::string sha256;
  std::uint64_t size = 0;
  std::string command;    ///< of a source: makes `plugin` in the folder it is unpacked into
  std::string key;        ///< id of the key that signed it; empty: nobody did
  std::string signature;  ///< Ed25519 over statement(), hexadecimal

  /// What is signed: all that decides what will run.
  [[nodiscard]] std::string statement() const;
  friend bool operator==(const Entry&, const Entry&) = default;
};

/// Reads an entry, the content of FILE.json. kCorrupt: it is none, or one of its fields is not allowed.
[[nodiscard]] Result<Entry> read_entry(std::string_view text);
[[nodiscard]] std::string write_entry(const Entry& entry);

/// Reads an index; all of its entries are good, or kCorrupt.
[[nodiscard]] Result<std::vector<Entry>> read_index(std::string_view text);
[[nodiscard]] std::string write_index(const std::vector<Entry>& entries);

/// The name of a plug-in's file that a kernel could load, without folders; kInvalid.
[[nodiscard]] Status check_plugin_file(std::string_view name);

/// For which architecture a shared object was made, by its ELF header ("x86_64"); kCorrupt where it is none.
[[nodiscard]] Result<std::string> architecture_of(std::string_view head);
/// Bytes of a file that architecture_of() looks at.
inline constexpr std::size_t kElfHead = 20;

}  // namespace mvm::repository
