// Any bytes as an HTTP request's header and as a request's XML, fed in pieces: the scanners answer and the
// verdict does not depend on the pieces.

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "mvm/base/assert.h"
#include "mvm/soap/http_head.h"
#include "mvm/soap/xml_guard.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto parsed = mvm::soap::parse_http_head(bytes, 8192, 64);
  if (parsed.kind == mvm::soap::HttpParse::Kind::kDone) MVM_ASSERT(parsed.head.size <= bytes.size());

  mvm::soap::XmlGuard whole, pieces;
  const auto verdict = whole.feed(bytes);
  const std::size_t piece = 1 + data[0] % 32U;
  auto last = mvm::soap::XmlGuard::Verdict::kGood;
  for (std::string_view rest = bytes; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size()))) {
    last = pieces.feed(rest.substr(0, piece));
  }
  MVM_ASSERT(verdict == last);
  return 0;
}
