// The XSD and the reader agree on 10,000 mutated files.

#include "topologies/agreement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "topologies/sample_files.h"
#include "xml/text_index.h"

namespace mvm::topologies {
namespace {

/// Deterministic mutations of a text, most of them aware of its tags.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed), files_(samples::all()) {}

  std::string next() {
    std::string text = files_[below(files_.size())];
    const std::size_t rounds = 1 + below(3);
    for (std::size_t i = 0; i < rounds; ++i) mutate(text);
    return text;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  template <class T>
  const T& pick(const std::vector<T>& list) {
    return list[below(list.size())];
  }

  void mutate(std::string& text) {
    const auto tags = xml::index_text(text);
    if (tags.empty() || below(5) == 0) return bytes(text);
    const xml::TagPlace& tag = pick(tags);
    switch (below(12)) {
      case 0:
        text.erase(tag.begin, tag.end - tag.begin);
        break;
      case 1:
        text.insert(tag.end, text.substr(tag.begin, tag.end - tag.begin));
        break;
      case 2:
        move(text, tag, pick(tags));
        break;
      case 3:
        rename(text, tag);
        break;
      case 4:
        text.insert(tag.start_end, pick(contents_));
        break;
      case 5:
        text.insert(tag.end, pick(contents_));
        break;
      case 6:
        text.insert(tag.begin + 1 + tag.name.size(), " " + pick(attributes_) + "=\"" + pick(values_) + "\"");
        break;
      default:
        attribute(text, tag);
    }
  }

  void attribute(std::string& text, const xml::TagPlace& tag) {
    if (tag.attributes.empty()) return;
    const xml::AttributePlace& place = pick(tag.attributes);
    switch (below(5)) {
      case 0:
        text.erase(place.begin, place.end - place.begin);
        break;
      case 1: {
        const std::size_t equals = text.find('=', place.begin);
        text.replace(place.begin, equals - place.begin, pick(attributes_));
        break;
      }
      default:
        text.replace(place.value_begin, place.value_end - place.value_begin, pick(values_));
    }
  }

  void move(std::string& text, const xml::TagPlace& tag, const xml::TagPlace& target) {
    const std::string piece = text.substr(tag.begin, tag.end - tag.begin);
    if (target.start_end >= tag.begin && target.start_end <= tag.end) return;
    if (target.start_end < tag.begin) {
      text.erase(tag.begin, piece.size());
      text.insert(target.start_end, piece);
    } else {
      text.insert(target.start_end, piece);
      text.erase(tag.begin, piece.size());
    }
  }

  void rename(std::string& text, const xml::TagPlace& tag) {
    const std::string name = pick(elements_);
    const std::string old(tag.name);
    const std::size_t close = text.rfind("</" + old, tag.end);
    if (close != std::string::npos && close > tag.begin) text.replace(close + 2, old.size(), name);
    text.replace(tag.begin + 1, old.size(), name);
  }

  void bytes(std::string& text) {
    const std::size_t at = below(text.size());
    const std::size_t size = 1 + below(8);
    switch (below(4)) {
      case 0:
        text.erase(at, size);
        break;
      case 1:
        text[at] = static_cast<char>(below(256));
        break;
      case 2:
        text.insert(at, text.substr(below(text.size()), size));
        break;
      default:
        text.insert(at, 1, "<>&\"'/=! \n[]{}$.-;\t"[below(19)]);
    }
  }

  std::mt19937_64 random_;
  std::vector<std::string> files_;
  std::vector<std::string> elements_ = {
      "role", "port",   "link",     "pattern", "queue",   "param",  "topology", "job",      "lab",
      "run",  "source", "machines", "stage",   "limit",   "policy", "image",    "option",   "set",
      "rool", "j:job",  "j:run",    "x:role",  "program", "build",  "env",      "toolchain"};
  std::vector<std::string> attributes_ = {
      "name", "role",  "count",   "direction", "type",    "default",  "kind",   "from",     "to",
      "in",   "out",   "ref",     "value",     "path",    "digest",   "driver", "xml:lang", "x:name",
      "naem", "xmlns", "xmlns:x", "optional",  "deliver", "capacity", "for",    "reverse"};
  std::vector<std::string> values_ = {"",
                                      "0",
                                      "1",
                                      "7",
                                      "-1",
                                      "1000001",
                                      "4294967296",
                                      "99999999999",
                                      "${n}",
                                      "${n+1}",
                                      "${}",
                                      "${",
                                      "${a b}",
                                      "${log2(n)}",
                                      "${1/0}",
                                      "true",
                                      "false",
                                      "maybe",
                                      "in",
                                      "out",
                                      "inn",
                                      "ring",
                                      "cell",
                                      "cel",
                                      "cell[*]",
                                      "cell[*].in",
                                      "a.out",
                                      "b[0..1].in",
                                      "x y",
                                      " x",
                                      "x ",
                                      "\tx",
                                      "é",
                                      "10m",
                                      "10",
                                      "1GiB",
                                      "1XiB",
                                      "2.5",
                                      "2.",
                                      "integer",
                                      "string",
                                      "urn:mvm:job:1",
                                      "urn:mvm:topology:1",
                                      "host",
                                      "process",
                                      "one-of",
                                      "&lt;",
                                      "&#10;",
                                      "&#x41;",
                                      "a&#9;b",
                                      "i in 0..3",
                                      "i in",
                                      "../x",
                                      "a/b",
                                      std::string(64, 'n'),
                                      std::string(65, 'n'),
                                      std::string(5000, 'v'),
                                      std::string(64, 'a')};
  std::vector<std::string> contents_ = {" ",
                                        "\n",
                                        "text",
                                        "<!-- c -->",
                                        "<?pi x?>",
                                        "<![CDATA[x]]>",
                                        "<![CDATA[ ]]>",
                                        "&amp;",
                                        "<role name=\"extra\"/>",
                                        "<x/>",
                                        "<set param=\"n\" value=\"2\"/>",
                                        "<run>x</run>",
                                        "<role xmlns=\"urn:mvm:topology:1\" name=\"other\"/>",
                                        "<param name=\"n\" type=\"integer\"/>"};
};

TEST(Agreement, OnTheSamplesThemselves) {
  for (const std::string& file : samples::all()) {
    Counts counts;
    EXPECT_EQ(disagreement(file, counts), "");
    EXPECT_EQ(counts.accepted, 1) << describe(read_profile(file, "f").diagnostics) << file;
  }
}

TEST(Agreement, OnTenThousandMutations) {
  // A soak asks for more: MVM_MUTATIONS=1000000.
  const char* asked = std::getenv("MVM_MUTATIONS");
  const int rounds =
      asked == nullptr ? 10'000 : static_cast<int>(std::max(10'000L, std::strtol(asked, nullptr, 10)));
  Mutator mutator(20240607);
  Counts counts;
  int shown = 0;
  for (int i = 0; i < rounds; ++i) {
    const std::string text = mutator.next();
    const std::string found = disagreement(text, counts);
    if (found.empty()) continue;
    ADD_FAILURE() << "mutation " << i << ": " << found << "\n" << text;
    if (++shown == 5) break;
  }
  // Every class is really visited.
  EXPECT_GT(counts.ill_formed, 500);
  EXPECT_GT(counts.invalid, 2000);
  EXPECT_GT(counts.refused, 500);
  EXPECT_GT(counts.accepted, 500);
  RecordProperty("ill_formed", counts.ill_formed);
  RecordProperty("invalid", counts.invalid);
  RecordProperty("refused", counts.refused);
  RecordProperty("accepted", counts.accepted);
  std::printf("ill-formed %d, invalid %d, refused for meaning %d, accepted %d\n", counts.ill_formed,
              counts.invalid, counts.refused, counts.accepted);
}

}  // namespace
}  // namespace mvm::topologies
