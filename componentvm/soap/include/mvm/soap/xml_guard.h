#pragma once
// Looks at the bytes of a request before the XML parser does, and stops what would hurt it.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mvm::soap {

/// Bounds of an XML document.
struct XmlLimits {
  std::size_t depth = 64;
  std::size_t attributes = 64;    ///< of one element: the parser's cost is quadratic in them
  std::size_t name_bytes = 4096;  ///< of one tag, without its quoted values
  std::size_t elements = 200'000;
};

/// Scans a stream of bytes that holds one XML document: well-formed UTF-8, no control characters, no
/// document type, only the predefined entities and references to real characters, and the bounds above.
/// It does not judge whether tags match: the parser does. Not thread-safe.
class XmlGuard {
 public:
  enum class Verdict { kGood, kEncoding, kCharacter, kDoctype, kEntity, kDepth, kAttributes, kTooMuch };

  explicit XmlGuard(XmlLimits limits = {}) : limits_(limits) {}
  /// The document follows a MIME part's header: skip to the empty line that ends it.
  void skip_part_header() { state_ = State::kPartHeader; }
  /// Looks at more bytes. After the root element's end everything passes: attachments are binary. After a
  /// verdict other than kGood it stays with it.
  Verdict feed(std::string_view bytes);
  /// True once the root element ended.
  [[nodiscard]] bool done() const { return state_ == State::kDone; }

 private:
  enum class State {
    kPartHeader,
    kStart,
    kText,
    kOpen,
    kBang,
    kTag,
    kQuoted,
    kComment,
    kData,
    kInstruction,
    kReference,
    kDone
  };
  Verdict step(unsigned char c);
  Verdict part_header(unsigned char c);
  Verdict open(unsigned char c);
  Verdict utf8(unsigned char c);
  Verdict bang(unsigned char c);
  Verdict tag(unsigned char c);
  Verdict end_of_tag();
  Verdict reference(unsigned char c);

  XmlLimits limits_;
  State state_ = State::kText;
  State before_reference_ = State::kText;
  Verdict verdict_ = Verdict::kGood;
  std::size_t depth_ = 0, attributes_ = 0, name_bytes_ = 0, elements_ = 0;
  unsigned match_ = 0;      ///< how much of a fixed text was seen: line end, "--", "]]", "?"
  unsigned utf8_left_ = 0;  ///< continuation bytes to come
  std::uint32_t code_point_ = 0;
  std::uint32_t smallest_ = 0;
  char word_[12] = {};  ///< reference or "<!" keyword so far
  std::size_t word_size_ = 0;
  char quote_ = 0;
  bool line_empty_ = true;  ///< of a part's header
  bool header_seen_ = false;
  bool closing_ = false;  ///< </x>
  bool slash_ = false;    ///< the last character was '/': <x/>
};

/// Words for a verdict, for the fault.
[[nodiscard]] const char* to_string(XmlGuard::Verdict verdict);

}  // namespace mvm::soap
