// Any bytes as the index of a plug-in repository, or as the entry beside a plug-in.

#include <cstdint>
#include <string_view>

#include "mvm/base/assert.h"
#include "mvm/repository/entry.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mvm::repository;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto entries = read_index(bytes)) {
    // What was understood can be said again, and is understood the same.
    const auto again = read_index(write_index(*entries));
    MVM_ASSERT(again && *again == *entries);
  }
  if (const auto entry = read_entry(bytes)) {
    MVM_ASSERT(entry->file.find("..") != 0 && entry->file.find("/..") == std::string::npos &&
               entry->file.front() != '/' && entry->plugin.find('/') == std::string::npos);
    const auto again = read_entry(write_entry(*entry));
    MVM_ASSERT(again && *again == *entry);
  }
  (void)architecture_of(bytes);
  return 0;
}
