// The documents' and the examples' files are what the reader takes; readers run side by side.

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "mvm/base/file.h"
#include "mvm/topologies/reader.h"
#include "mvm/topologies/shipped.h"
#include "topologies/sample_files.h"

namespace mvm::topologies {
namespace {

const std::filesystem::path kSource = MVM_SOURCE_DIR;

/// The XML blocks of a Markdown file that are whole files.
std::vector<std::string> whole_files(const std::string& markdown) {
  std::vector<std::string> files;
  static const std::string kOpen = "```xml\n";
  for (std::size_t at = markdown.find(kOpen); at != std::string::npos; at = markdown.find(kOpen, at + 1)) {
    const std::size_t begin = at + kOpen.size();
    std::string block = markdown.substr(begin, markdown.find("```", begin) - begin);
    const std::string root = block.substr(1, block.find_first_of(" >\n") - 1);
    if (!schema_namespace(root).empty()) files.push_back(std::move(block));
  }
  return files;
}

TEST(Documents, ShowValidFiles) {
  for (const std::string name : {"topology", "job", "lab", "image", "policy"}) {
    const auto text = read_file(kSource / "docs/formats" / (name + ".md"), 1U << 20U);
    ASSERT_TRUE(text) << name;
    const auto files = whole_files(*text);
    EXPECT_GE(files.size(), 1U) << name;
    for (const std::string& file : files) {
      const ReadResult result = read_profile(file, name);
      EXPECT_TRUE(result.ok()) << describe(result.diagnostics) << file;
    }
  }
}

TEST(Documents, NameEveryAttributeOfTheSchemas) {
  std::string all;
  for (const std::string name : {"topology", "job", "lab", "image", "policy"}) {
    all += read_file(kSource / "docs/formats" / (name + ".md"), 1U << 20U).value_or("");
  }
  static const std::string kAttribute = "<xs:attribute name=\"";
  for (const std::string root : {"topology", "job", "lab", "image", "policy"}) {
    const std::string schema(schema_text(root));
    for (std::size_t at = schema.find(kAttribute); at != std::string::npos;
         at = schema.find(kAttribute, at + 1)) {
      const std::size_t begin = at + kAttribute.size();
      const std::string attribute = schema.substr(begin, schema.find('"', begin) - begin);
      EXPECT_NE(all.find(attribute), std::string::npos) << root << ": " << attribute;
    }
  }
}

TEST(Documents, ExamplesAreValid) {
  FileResolver resolver;
  ReadOptions options;
  options.resolver = &resolver;
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kSource / "examples")) {
    if (entry.path().extension() != ".xml") continue;
    const ReadResult result = read_profile_file(entry.path(), options);
    EXPECT_TRUE(result.ok()) << describe(result.diagnostics);
    ++count;
  }
  EXPECT_GE(count, 5);
}

TEST(Reader, RunsOnManyThreads) {
  const std::vector<std::string> files = samples::all();
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        for (const std::string& file : files) good += read_profile(file, "f").ok() ? 1 : 0;
        good +=
            read_profile("<job xmlns=\"urn:mvm:job:1\" name=\"1\"/>", "f").diagnostics.size() == 1 ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 4 * 20 * static_cast<int>(files.size() + 1));
}

}  // namespace
}  // namespace mvm::topologies
