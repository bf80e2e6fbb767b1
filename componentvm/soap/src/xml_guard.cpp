#include "mvm/soap/xml_guard.h"

#include <cctype>

#include "mvm/base/number.h"

namespace mvm::soap {
namespace {

bool is_space(unsigned char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool is_character(std::uint32_t code) {
  return code == 9 || code == 10 || code == 13 || (code >= 0x20 && code <= 0xD7FF) ||
         (code >= 0xE000 && code <= 0xFFFD) || (code >= 0x10000 && code <= 0x10FFFF);
}

bool good_reference(std::string_view word) {
  if (word == "lt" || word == "gt" || word == "amp" || word == "quot" || word == "apos") return true;
  if (word.size() < 2 || word[0] != '#') return false;
  const bool hex = word[1] == 'x';
  word.remove_prefix(hex ? 2 : 1);
  const auto code = whole_number<std::uint32_t>(word, hex ? 16 : 10);
  return code && is_character(*code);
}

/// A character that means nothing but itself in text.
bool is_plain(char c) { return c >= ' ' && c <= '~' && c != '<' && c != '&' && c != ']' && c != '>'; }

}  // namespace

const char* to_string(XmlGuard::Verdict verdict) {
  switch (verdict) {
    case XmlGuard::Verdict::kGood:
      return "good";
    case XmlGuard::Verdict::kEncoding:
      return "the request is not UTF-8";
    case XmlGuard::Verdict::kCharacter:
      return "the request has a character that XML forbids";
    case XmlGuard::Verdict::kDoctype:
      return "a request may not have a document type";
    case XmlGuard::Verdict::kEntity:
      return "the request refers to an unknown entity or character";
    case XmlGuard::Verdict::kDepth:
      return "the request is nested too deep";
    case XmlGuard::Verdict::kAttributes:
      return "an element of the request has too many attributes";
    case XmlGuard::Verdict::kTooMuch:
      return "the request has too many elements or too long a tag";
  }
  return "?";
}

XmlGuard::Verdict XmlGuard::feed(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (verdict_ != Verdict::kGood || state_ == State::kDone) break;
    // Most of a long text changes nothing.
    if (state_ == State::kText && utf8_left_ == 0)
      while (i + 1 < bytes.size() && is_plain(bytes[i])) ++i;
    verdict_ = step(static_cast<unsigned char>(bytes[i]));
  }
  return verdict_;
}

XmlGuard::Verdict XmlGuard::utf8(unsigned char c) {
  if (utf8_left_ == 0) {
    if (c >= 0xC2 && c <= 0xDF) {
      utf8_left_ = 1, smallest_ = 0x80, code_point_ = c & 0x1FU;
    } else if (c >= 0xE0 && c <= 0xEF) {
      utf8_left_ = 2, smallest_ = 0x800, code_point_ = c & 0x0FU;
    } else if (c >= 0xF0 && c <= 0xF4) {
      utf8_left_ = 3, smallest_ = 0x10000, code_point_ = c & 0x07U;
    } else {
      return Verdict::kEncoding;
    }
    return Verdict::kGood;
  }
  if ((c & 0xC0U) != 0x80) return Verdict::kEncoding;
  code_point_ = (code_point_ << 6U) | (c & 0x3FU);
  if (--utf8_left_ > 0) return Verdict::kGood;
  if (code_point_ < smallest_) return Verdict::kEncoding;
  if (code_point_ >= 0xD800 && code_point_ <= 0xDFFF) return Verdict::kEncoding;
  return is_character(code_point_) ? Verdict::kGood : Verdict::kCharacter;
}

XmlGuard::Verdict XmlGuard::step(unsigned char c) {
  if (state_ == State::kPartHeader) return part_header(c);
  if (utf8_left_ > 0 || c >= 0x80) {
    const Verdict verdict = utf8(c);
    if (verdict != Verdict::kGood) return verdict;
    c = 'x';  // for what follows, any letter
  } else if (c < 0x20 && !is_space(c)) {
    return Verdict::kCharacter;
  }
  switch (state_) {
    case State::kText:
      if (c == '<') state_ = State::kOpen;
      if (c == '&') before_reference_ = state_, state_ = State::kReference, word_size_ = 0;
      return Verdict::kGood;
    case State::kOpen:
      return open(c);
    case State::kBang:
      return bang(c);
    case State::kTag:
      return tag(c);
    case State::kQuoted:
      if (static_cast<char>(c) == quote_) state_ = State::kTag;
      if (c == '<') return Verdict::kCharacter;
      if (c == '&') before_reference_ = state_, state_ = State::kReference, word_size_ = 0;
      return Verdict::kGood;
    case State::kComment:
      // "--" ends a comment, and the parser takes it so wherever it stands: ">" must follow.
      if (match_ == 2) {
        state_ = State::kText;
        return c == '>' ? Verdict::kGood : Verdict::kCharacter;
      }
      match_ = c == '-' ? match_ + 1 : 0;
      return Verdict::kGood;
    case State::kData:
      if (c == '>' && match_ == 2) state_ = State::kText;
      match_ = c != ']' ? 0 : match_ < 2 ? match_ + 1 : 2;
      return Verdict::kGood;
    case State::kInstruction:
      if (match_ == 1) {
        state_ = State::kText;
        return c == '>' ? Verdict::kGood : Verdict::kCharacter;
      }
      match_ = c == '?' ? 1 : 0;
      return Verdict::kGood;
    case State::kReference:
      return reference(c);
    case State::kStart:
      state_ = State::kOpen;
      return c == '<' ? Verdict::kGood : Verdict::kCharacter;
    case State::kPartHeader:
    case State::kDone:
      break;
  }
  return Verdict::kGood;
}

XmlGuard::Verdict XmlGuard::part_header(unsigned char c) {
  // match_: 0 at the start of a line, 1 within it, 2 after its CR. Ends at an empty line after others, and
  // the document must start right there, so that nothing can be read in two ways.
  if (match_ == 2) {
    if (c != '\n') return Verdict::kCharacter;
    match_ = 0;
    if (line_empty_ && header_seen_) state_ = State::kStart;
    header_seen_ = header_seen_ || !line_empty_;
    line_empty_ = true;
    return Verdict::kGood;
  }
  if (c == '\r') {
    match_ = 2;
    return Verdict::kGood;
  }
  if ((c < 0x20 && c != '\t') || c >= 0x7F) return Verdict::kCharacter;
  if (match_ == 0 && (c == ' ' || c == '\t')) return Verdict::kCharacter;  // folded lines
  if (++name_bytes_ > limits_.name_bytes) return Verdict::kTooMuch;
  match_ = 1;
  line_empty_ = false;
  return Verdict::kGood;
}

XmlGuard::Verdict XmlGuard::open(unsigned char c) {
  attributes_ = name_bytes_ = word_size_ = 0;
  match_ = 0;
  closing_ = c == '/';
  slash_ = false;
  state_ = c == '!' ? State::kBang : c == '?' ? State::kInstruction : State::kTag;
  if (state_ != State::kTag || closing_) return Verdict::kGood;
  const bool name = std::isalpha(c) != 0 || c == '_' || c == ':';
  return name ? tag(c) : Verdict::kCharacter;
}

XmlGuard::Verdict XmlGuard::bang(unsigned char c) {
  word_[word_size_++] = static_cast<char>(c);
  const std::string_view word(word_, word_size_);
  static constexpr std::string_view kComment = "--", kData = "[CDATA[";
  if (word == kComment || word == kData) {
    state_ = word == kComment ? State::kComment : State::kData;
    match_ = 0;
    return Verdict::kGood;
  }
  return kComment.starts_with(word) || kData.starts_with(word) ? Verdict::kGood : Verdict::kDoctype;
}

XmlGuard::Verdict XmlGuard::tag(unsigned char c) {
  if (c == '>') return end_of_tag();
  if (c == '<') return Verdict::kCharacter;
  if (++name_bytes_ > limits_.name_bytes) return Verdict::kTooMuch;
  slash_ = c == '/';
  if (c == '"' || c == '\'') {
    if (closing_) return Verdict::kCharacter;
    quote_ = static_cast<char>(c);
    state_ = State::kQuoted;
  }
  if (c == '=' && ++attributes_ > limits_.attributes) return Verdict::kAttributes;
  return Verdict::kGood;
}

XmlGuard::Verdict XmlGuard::end_of_tag() {
  state_ = State::kText;
  if (closing_) {
    if (depth_ > 0) --depth_;
  } else {
    if (++elements_ > limits_.elements) return Verdict::kTooMuch;
    if (!slash_ && ++depth_ > limits_.depth) return Verdict::kDepth;
  }
  if (depth_ == 0) state_ = State::kDone;
  return Verdict::kGood;
}

XmlGuard::Verdict XmlGuard::reference(unsigned char c) {
  if (c == ';') {
    state_ = before_reference_;
    return good_reference({word_, word_size_}) ? Verdict::kGood : Verdict::kEntity;
  }
  if (word_size_ == sizeof word_ || (c != '#' && (c < '0' || c > 'z'))) return Verdict::kEntity;
  word_[word_size_++] = static_cast<char>(c);
  return Verdict::kGood;
}

}  // namespace mvm::soap
