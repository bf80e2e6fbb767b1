#pragma once
// libarchive's objects, owned.

#include <archive.h>
#include <archive_entry.h>

#include <memory>
#include <string>

namespace mvm::build {

struct FreeReader {
  void operator()(archive* handle) const { ::archive_read_free(handle); }
};
struct FreeWriter {
  void operator()(archive* handle) const { ::archive_write_free(handle); }
};
struct FreeEntry {
  void operator()(archive_entry* entry) const { ::archive_entry_free(entry); }
};
using Reader = std::unique_ptr<archive, FreeReader>;
using Writer = std::unique_ptr<archive, FreeWriter>;
using Entry = std::unique_ptr<archive_entry, FreeEntry>;

[[nodiscard]] inline std::string reason(archive* handle) {
  const char* text = ::archive_error_string(handle);
  return text != nullptr ? text : "unknown";
}

}  // namespace mvm::build
