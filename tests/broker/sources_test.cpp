#include "../../broker/src/sources.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "mvm/base/file.h"
#include "mvm/build/archive.h"

namespace mvm::broker {
namespace {

namespace fs = std::filesystem;
using topologies::Program;
using topologies::Source;

class Sources : public ::testing::Test {
 protected:
  Sources()
      : folder_(*make_temporary_folder("/dev/shm", "broker-sources-")),
        blobs_(*BlobStore::open(folder_ / "blobs")) {}
  ~Sources() override { fs::remove_all(folder_); }

  static Source text(const std::string& name, const std::string& content) {
    Source source;
    source.kind = Source::Kind::kInline;
    source.name = name;
    source.text = content;
    return source;
  }
  Source archive(const std::vector<std::pair<std::string, std::string>>& files, const std::string& link = {},
                 const std::string& target = {}) {
    const auto tree = folder_ / ("tree" + std::to_string(++count_));
    fs::create_directories(tree);
    for (const auto& [name, content] : files) {
      fs::create_directories((tree / name).parent_path());
      std::ofstream(tree / name) << content;
    }
    if (!link.empty()) fs::create_symlink(target, tree / link);
    Source source;
    source.kind = Source::Kind::kDigest;
    source.digest = *build::pack_directory(tree, blobs_);
    return source;
  }
  fs::path unpack(const std::string& digest) {
    auto target = folder_ / ("out" + std::to_string(++count_));
    EXPECT_TRUE(build::unpack(blobs_.read(digest)->get(), target));
    return target;
  }
  static std::string content(const fs::path& file) { return read_file(file, 1000).value_or("missing"); }
  Result<std::string> tree(std::vector<Source> sources) {
    Program program;
    program.role = "cell";
    program.sources = std::move(sources);
    return source_tree(blobs_, program);
  }

  fs::path folder_;
  BlobStore blobs_;
  int count_ = 0;
};

TEST_F(Sources, AnArchiveAloneIsItself) {
  const auto source = archive({{"main.cpp", "x"}});
  EXPECT_EQ(*tree({source}), source.digest);
  EXPECT_EQ(*tree({}), "");
}

TEST_F(Sources, LaterOnesLieOverEarlierOnes) {
  const auto digest =
      tree({archive({{"a", "1"}, {"sub/b", "1"}, {"c/d", "1"}}), text("a", "2"),
            archive({{"sub/b", "3"}, {"sub/e", "3"}, {"c", "now a file"}}), text("new/f", "4")});
  ASSERT_TRUE(digest) << digest.error().describe();
  const auto out = unpack(*digest);
  EXPECT_EQ(content(out / "a"), "2");
  EXPECT_EQ(content(out / "sub/b"), "3");
  EXPECT_EQ(content(out / "sub/e"), "3");
  EXPECT_EQ(content(out / "c"), "now a file");
  EXPECT_EQ(content(out / "new/f"), "4");
}

TEST_F(Sources, TheSameSourcesGiveTheSameDigest) {
  const auto one = tree({text("b", "2"), text("a", "1")});
  const auto two = tree({text("a", "1"), text("b", "2")});
  ASSERT_TRUE(one);
  EXPECT_EQ(*one, *two);
  EXPECT_NE(*one, *tree({text("a", "1"), text("b", "3")}));
}

TEST_F(Sources, NothingIsWrittenThroughALink) {
  // The first archive's link names the folder beside it; a later file of the same name replaces the link.
  const auto digest = tree(
      {archive({{"real/keep", "1"}}, "alias", "real"), archive({{"alias/keep", "2"}}), text("alias/x", "3")});
  ASSERT_TRUE(digest) << digest.error().describe();
  const auto out = unpack(*digest);
  EXPECT_EQ(content(out / "real/keep"), "1");
  EXPECT_EQ(content(out / "alias/keep"), "2");
  EXPECT_FALSE(fs::exists(out / "real/x"));
}

TEST_F(Sources, RefusesNamesThatLeaveAndPathsOfTheClient) {
  for (const auto* name : {"../x", "/etc/x", "a/../../x", "", "a/", "."}) {
    const auto refused = tree({text(name, "x")});
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  }
  Source path;
  path.path = "/etc";
  EXPECT_EQ(tree({path}).error().code(), ErrorCode::kInvalid);
  Source missing;
  missing.kind = Source::Kind::kDigest;
  missing.digest = std::string(64, 'a');
  EXPECT_EQ(tree({missing}).error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace mvm::broker
