#include "text_index.h"

namespace mvm::topologies::xml {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = line_start_ = 3;
  }

  std::vector<TagPlace> scan() {
    while (at_ < text_.size()) {
      if (text_[at_] != '<') {
        step();
      } else if (starts("<!--")) {
        skip_past("-->");
      } else if (starts("<![CDATA[")) {
        skip_past("]]>");
      } else if (starts("<?")) {
        skip_past("?>");
      } else if (starts("</")) {
        skip_past(">");
        close();
      } else {
        start_tag();
      }
    }
    return std::move(tags_);
  }

 private:
  bool starts(std::string_view what) const { return text_.substr(at_, what.size()) == what; }

  void step() {
    if (text_[at_++] == '\n') {
      ++line_;
      line_start_ = at_;
    }
  }
  void step_to(std::size_t target) {
    while (at_ < target && at_ < text_.size()) step();
  }
  void skip_past(std::string_view what) {
    const std::size_t found = text_.find(what, at_ + 1);
    step_to(found == std::string_view::npos ? text_.size() : found + what.size());
  }
  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) step();
  }
  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
  Place place() const { return {line_, static_cast<int>(at_ - line_start_) + 1}; }

  void close() {
    if (open_.empty()) return;
    tags_[open_.back()].end = at_;
    open_.pop_back();
  }

  void start_tag() {
    TagPlace tag;
    tag.begin = at_;
    tag.where = place();
    step();
    const std::size_t name = at_;
    while (at_ < text_.size() && !is_blank(text_[at_]) && text_[at_] != '>' && text_[at_] != '/') step();
    tag.name = text_.substr(name, at_ - name);
    for (skip_blanks(); at_ < text_.size() && text_[at_] != '>' && text_[at_] != '/'; skip_blanks()) {
      const std::size_t before = at_;
      tag.attributes.push_back(attribute());
      if (at_ == before) step();
    }
    const bool empty = at_ < text_.size() && text_[at_] == '/';
    if (empty) step();
    if (at_ < text_.size()) step();
    tag.start_end = at_;
    tag.end = at_;
    open_.push_back(tags_.size());
    tags_.push_back(std::move(tag));
    if (empty) close();
  }

  AttributePlace attribute() {
    AttributePlace place_of;
    place_of.begin = at_;
    place_of.where = place();
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\'' && text_[at_] != '>') step();
    if (at_ >= text_.size() || text_[at_] == '>') return place_of;
    const char quote = text_[at_];
    step();
    place_of.value_begin = at_;
    place_of.value_where = place();
    const std::size_t end = text_.find(quote, at_);
    step_to(end == std::string_view::npos ? text_.size() : end);
    place_of.value_end = at_;
    if (at_ < text_.size()) step();
    place_of.end = at_;
    return place_of;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::size_t line_start_ = 0;
  std::vector<TagPlace> tags_;
  std::vector<std::size_t> open_;
};

}  // namespace

std::vector<TagPlace> index_text(std::string_view text) { return Scanner(text).scan(); }

}  // namespace mvm::topologies::xml
