// Any bytes as a profile: the reader never crashes, agrees with the XSD, and what it accepts can be drawn,
// bundled and rewritten.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "mvm/topologies/bundle.h"
#include "mvm/topologies/drawing.h"
#include "topologies/agreement.h"

namespace {

using namespace mvm::topologies;

void require(bool good, const std::string& what) {
  if (good) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

void use(const Profile& profile, const std::string& text) {
  const Drawing drawing{.title = profile.name, .graph = &profile.graph};
  require(!to_svg(drawing).empty() && !to_dot(drawing).empty() && !to_text(drawing).empty(),
          "an empty picture");
  ShippedResolver resolver;
  const BundleResult bundled = bundle(text, "f", resolver);
  require(bundled.diagnostics.empty(), "a valid file cannot be bundled: " + describe(bundled.diagnostics));
  std::map<std::string, Blob> blobs;
  for (const FileUse& file : bundled.bundle.files) blobs[file.path] = {std::string(64, 'a'), false};
  const auto rewritten = rewrite_sources(bundled.bundle.xml, blobs);
  require(rewritten.has_value(), "a bundle cannot be rewritten");
  require(validate_schema(*rewritten, "f").empty(), "a rewritten bundle is not valid: " + *rewritten);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  ReadOptions options;
  options.limits = {2000, 5000};
  Counts counts;
  const std::string found = disagreement(text, counts, options);
  require(found.empty(), found);
  if (counts.accepted == 0) return 0;
  const ReadResult result = read_profile(text, "f", options);
  use(*result.profile, text);
  return 0;
}
