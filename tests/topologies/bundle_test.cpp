// A profile as one literal XML.

#include "mvm/topologies/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "mvm/topologies/shipped.h"

namespace mvm::topologies {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// Files in memory, found by their normalised path.
class MemoryResolver : public ShippedResolver {
 public:
  std::map<std::string, std::string> files;
  Result<ResolvedFile> open(const std::string& path, const std::string& referring_file) override {
    const std::string full =
        (std::filesystem::path(referring_file).parent_path() / path).lexically_normal().string();
    const auto found = files.find(full);
    if (found == files.end()) return Error(ErrorCode::kNotFound, "no file " + full);
    return ResolvedFile{full, found->second};
  }
};

MemoryResolver lab_files() {
  MemoryResolver resolver;
  resolver.files["w/lab.xml"] = R"(<?xml version="1.0"?>
<!-- kept --><lab xmlns="urn:mvm:lab:1" name="l">
  <job ref="jobs/job.xml"/>
  <machines driver="lxc" image="img/mine.xml"/>
  <machines name="b" driver="lxc" image="img/mine.xml"/>
</lab>
)";
  resolver.files["w/jobs/job.xml"] = R"(<j:job xmlns:j="urn:mvm:job:1" name="inner">
  <j:topology ref="../topo/own.xml"><j:set param="n" value="${2*k}"/></j:topology>
  <j:param name="k" type="integer" default="3"/>
  <j:program role="a"><j:source path="src/"/><j:source path="../one &amp; two.c"/><j:run>x</j:run></j:program>
  <j:stage in='d.csv' to="a[0]"/>
  <j:policy ref="p.xml"/>
</j:job>)";
  resolver.files["w/topo/own.xml"] =
      R"(<?xml version="1.0"?><t:topology xmlns:t="urn:mvm:topology:1" name="own">
  <t:param name="n" type="integer"/><t:role name="a" count="${n}"/></t:topology>)";
  resolver.files["w/img/mine.xml"] =
      R"(<image xmlns="urn:mvm:image:1" name="mine" kind="tree" root="/srv/x"/>)";
  resolver.files["w/jobs/p.xml"] =
      R"(<policy xmlns="urn:mvm:policy:1" name="p" kind="placement" component="placement-pack"/>)";
  return resolver;
}

TEST(Bundle, PutsEverythingInLine) {
  MemoryResolver resolver = lab_files();
  const BundleResult result = bundle(resolver.files["w/lab.xml"], "w/lab.xml", resolver);
  ASSERT_TRUE(result.diagnostics.empty()) << describe(result.diagnostics);
  EXPECT_THAT(result.bundle.files, ElementsAre(FileUse{"jobs/src/", false}, FileUse{"one & two.c", false},
                                               FileUse{"jobs/d.csv", true}));
  EXPECT_THAT(result.bundle.xml, HasSubstr("<!-- kept -->"));
  // Read without any path: the same lab.
  const ReadResult alone = read_profile(result.bundle.xml, "bundle");
  ASSERT_TRUE(alone.ok()) << describe(alone.diagnostics) << result.bundle.xml;
  ReadOptions options;
  options.resolver = &resolver;
  const ReadResult original = read_profile(resolver.files["w/lab.xml"], "w/lab.xml", options);
  ASSERT_TRUE(original.ok()) << describe(original.diagnostics);
  EXPECT_EQ(alone.profile->graph.process_count(), 6U);
  EXPECT_EQ(alone.profile->params, original.profile->params);
  EXPECT_EQ(alone.profile->machines, original.profile->machines);
  EXPECT_EQ(alone.profile->images, original.profile->images);
  EXPECT_EQ(alone.profile->policies, original.profile->policies);
  EXPECT_EQ(alone.profile->programs[0].sources[1].path, "one & two.c");
}

TEST(Bundle, ThenSourcesBecomeDigests) {
  MemoryResolver resolver = lab_files();
  const std::string xml = bundle(resolver.files["w/lab.xml"], "w/lab.xml", resolver).bundle.xml;
  const std::string a(64, 'a'), b(64, 'b'), c(64, 'c');
  const std::map<std::string, Blob> blobs = {
      {"jobs/src/", {a, false}}, {"one & two.c", {b, true}}, {"jobs/d.csv", {c, true}}};
  const auto rewritten = rewrite_sources(xml, blobs);
  ASSERT_TRUE(rewritten) << rewritten.error().message();
  EXPECT_THAT(*rewritten, Not(HasSubstr("path=")));
  const ReadResult read = read_profile(*rewritten, "x");
  ASSERT_TRUE(read.ok()) << describe(read.diagnostics);
  const Program& program = read.profile->programs.at(0);
  EXPECT_EQ(program.sources[0].digest, a);
  EXPECT_EQ(program.sources[0].kind, Source::Kind::kDigest);
  EXPECT_FALSE(program.sources[0].file);
  EXPECT_EQ(program.sources[1].digest, b);
  EXPECT_TRUE(program.sources[1].file);
  EXPECT_EQ(program.sources[1].name, "one & two.c");
  EXPECT_EQ(read.profile->stage_in.at(0).digest, c);
  EXPECT_EQ(read.profile->stage_in[0].name, "d.csv");
  // Again with another digest for the staged file: replaced, not added.
  EXPECT_EQ(rewrite_sources(*rewritten, {{"jobs/d.csv", {a, true}}}).value().size(), rewritten->size());
}

TEST(Bundle, SaysWhatIsMissing) {
  MemoryResolver resolver = lab_files();
  const std::string xml = bundle(resolver.files["w/lab.xml"], "w/lab.xml", resolver).bundle.xml;
  EXPECT_EQ(rewrite_sources(xml, {}).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(rewrite_sources("<job/>", {}).error().code(), ErrorCode::kInvalid);
  resolver.files.erase("w/topo/own.xml");
  const BundleResult result = bundle(resolver.files["w/lab.xml"], "w/lab.xml", resolver);
  ASSERT_EQ(result.diagnostics.size(), 1U);
  EXPECT_THAT(result.diagnostics[0].describe(),
              HasSubstr("w/jobs/job.xml:2:20: error: topology '../topo/own.xml': no file"));
}

TEST(Bundle, LeavesARegisteredReferenceAlone) {
  MemoryResolver resolver;
  const std::string xml =
      R"(<job xmlns="urn:mvm:job:1" name="j"><topology ref="single"/><program role="main"><run>x</run></program></job>)";
  EXPECT_EQ(bundle(xml, "j.xml", resolver).bundle.xml, xml);
  EXPECT_EQ(*rewrite_sources(xml, {}), xml);
}

}  // namespace
}  // namespace mvm::topologies
