// Any bytes as a lab's file: the reader answers with a profile or with faults, each with a place.

#include <cstdint>
#include <string_view>

#include "mvm/base/assert.h"
#include "mvm/topologies/reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto read = mvm::topologies::read_profile(text, "fuzz.xml");
  MVM_ASSERT(read.ok() != !read.diagnostics.empty());
  for (const auto& fault : read.diagnostics) MVM_ASSERT(!fault.message.empty());
  // What the reader takes, the published schema takes too.
  if (read.ok()) MVM_ASSERT(mvm::topologies::validate_schema(text, "fuzz.xml").empty());
  return 0;
}
