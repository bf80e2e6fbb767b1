// Jobs, labs, images and policies: what the reader makes of correct files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "mvm/base/file.h"
#include "mvm/topologies/reader.h"
#include "mvm/topologies/shipped.h"

namespace mvm::topologies {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kJob = R"(<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="heat">
  <topology ref="ring"><set param="n" value="${2*half}"/></topology>
  <param name="half" type="integer" default="4"/>
  <param name="steps" type="integer" default="100"/>
  <param name="title" type="string" default="my job"/>
  <program role="cell">
    <source path="src/"/>
    <source name="extra.h"><![CDATA[#define A "<&>"
]]></source>
    <build command="g++ -DN=$MVM_PARAM_N heat.cpp -o heat" on="self" params="title" time="90s" memory="1GiB"/>
    <run>./heat --steps ${steps} '--title=${title}' ${n/2} $$HOME</run>
    <env name="OMP_NUM_THREADS" value="${half}"/>
    <limit cpu-time="1h" memory="64MiB" open-files="100"/>
  </program>
  <machines role="cell" driver="lxc" image="host" count="${half}" vcpus="2" memory="512MiB" plugins="trace"/>
  <machines role="cell" driver="qemu"/>
  <stage in="data/in.csv" to="cell[0]"/>
  <stage in="all.cfg" to="cell[*]" as="conf/x.cfg"/>
  <stage out="result.csv" from="cell[0..1]" optional="true"/>
  <limit walltime="10m" retries="5"/>
  <policy ref="spread"/>
</job>)";

Profile read(std::string_view xml, const std::map<std::string, std::string>& set = {}) {
  ReadOptions options;
  options.set = set;
  ReadResult result = read_profile(xml, "test.xml", options);
  EXPECT_TRUE(result.ok()) << describe(result.diagnostics);
  return result.ok() ? std::move(*result.profile) : Profile();
}

TEST(Job, ParametersAreOneNameSpace) {
  const Profile job = read(kJob);
  EXPECT_EQ(job.kind, DocumentKind::kJob);
  EXPECT_EQ(job.name, "heat");
  EXPECT_EQ(job.graph.process_count(), 8U);
  EXPECT_EQ(job.find_param("n")->integer, 8);
  EXPECT_EQ(read(kJob, {{"half", "3"}}).graph.process_count(), 6U);
  EXPECT_EQ(read(kJob, {{"n", "5"}}).graph.process_count(), 5U);
}

TEST(Job, ProgramIsSplitBeforeItIsFilled) {
  const Profile job = read(kJob, {{"title", "a b; rm -rf $x ${steps}"}});
  ASSERT_EQ(job.programs.size(), 1U);
  const Program& program = job.programs[0];
  EXPECT_THAT(program.argv,
              ElementsAre("./heat", "--steps", "100", "--title=a b; rm -rf $x ${steps}", "4", "$HOME"));
  EXPECT_EQ(program.environment.at("OMP_NUM_THREADS"), "4");
  EXPECT_EQ(program.limits.cpu_ms, 3'600'000);
  EXPECT_EQ(program.limits.memory, 64ULL << 20U);
  EXPECT_EQ(program.limits.open_files, 100U);
  ASSERT_EQ(program.sources.size(), 2U);
  EXPECT_EQ(program.sources[0].kind, Source::Kind::kPath);
  EXPECT_EQ(program.sources[0].path, "src/");
  EXPECT_EQ(program.sources[1].kind, Source::Kind::kInline);
  EXPECT_EQ(program.sources[1].text, "#define A \"<&>\"\n");
}

TEST(Job, BuildSeesOnlyTheParametersItNames) {
  const Profile job = read(kJob);
  const Build& build = *job.programs[0].build;
  EXPECT_EQ(build.command, "g++ -DN=$MVM_PARAM_N heat.cpp -o heat");
  EXPECT_TRUE(build.on_self);
  EXPECT_EQ(build.time_ms, 90'000);
  EXPECT_EQ(build.memory, 1ULL << 30U);
  EXPECT_EQ(build.params,
            (std::map<std::string, std::string>{{"MVM_PARAM_N", "8"}, {"MVM_PARAM_TITLE", "my job"}}));
}

TEST(Job, MachinesStagesLimitsPolicies) {
  const Profile job = read(kJob);
  ASSERT_EQ(job.machines.size(), 2U);
  EXPECT_EQ(job.machines[0].name, "cell");
  EXPECT_EQ(job.machines[1].name, "cell-qemu");
  EXPECT_EQ(job.machines[0].count, 4U);
  EXPECT_EQ(job.machines[0].vcpus, 2U);
  EXPECT_EQ(job.machines[0].memory, 512ULL << 20U);
  EXPECT_THAT(job.machines[0].plugins, ElementsAre("trace"));
  EXPECT_EQ(job.machines[1].image, "qemu-debian");
  EXPECT_TRUE(job.find_image("qemu-debian")->shared_usr);
  EXPECT_EQ(job.find_image("host")->kind, ImageKind::kHost);
  ASSERT_EQ(job.stage_in.size(), 2U);
  EXPECT_EQ(job.stage_in[0].name, "in.csv");
  EXPECT_THAT(job.stage_in[0].to, ElementsAre(0U));
  EXPECT_EQ(job.stage_in[1].to.size(), 8U);
  EXPECT_EQ(job.stage_in[1].name, "conf/x.cfg");
  EXPECT_THAT(job.stage_out.at(0).from, ElementsAre(0U, 1U));
  EXPECT_TRUE(job.stage_out[0].optional);
  EXPECT_EQ(job.limits.walltime_ms, 600'000);
  EXPECT_EQ(job.limits.retries, 5U);
  ASSERT_EQ(job.policies.size(), 1U);
  EXPECT_EQ(job.policies[0].component, "placement-spread");
}

constexpr std::string_view kLab = R"(<lab xmlns="urn:mvm:lab:1" name="demo">
  <topology xmlns="urn:mvm:topology:1" name="own"><param name="k" type="integer" default="2"/>
    <role name="a"><port name="out" direction="out"/></role>
    <role name="b" count="${k}"><port name="in" direction="in"/></role>
    <link from="a.out" to="b[*].in"/></topology>
  <image xmlns="urn:mvm:image:1" name="mine" kind="tree" root="/srv/mine" architecture="aarch64" drivers="lxc">
    <toolchain compiler="g++" version="12.2.0"/></image>
  <set param="k" value="3"/>
  <machines role="a" driver="process"/>
  <machines name="rest" driver="lxc" image="mine" count="2"/>
  <j:job xmlns:j="urn:mvm:job:1" name="inner">
    <j:program role="a"><j:run>true</j:run></j:program><j:program role="b"><j:run>cat</j:run></j:program></j:job>
  <policy xmlns="urn:mvm:policy:1" name="mine" kind="order" component="order-fair"><option name="half-life" value="1h"/></policy>
</lab>)";

TEST(Lab, HoldsEverythingInLine) {
  const Profile lab = read(kLab);
  EXPECT_EQ(lab.kind, DocumentKind::kLab);
  EXPECT_TRUE(lab.has_job);
  EXPECT_EQ(lab.job_name, "inner");
  EXPECT_EQ(lab.graph.process_count(), 4U);
  EXPECT_THAT(lab.machines.at(1).roles, ElementsAre("b"));
  EXPECT_EQ(lab.find_image("mine")->toolchains.at(0).version, "12.2.0");
  EXPECT_EQ(lab.policies.at(0).options.at("half-life"), "1h");
  EXPECT_EQ(lab.programs.at(1).role, "b");
}

TEST(Lab, WithoutAJob) {
  const Profile lab = read(R"(<lab xmlns="urn:mvm:lab:1" name="l"><param name="n" type="integer" default="3"/>
    <machines driver="lxc" count="${n}"/></lab>)");
  EXPECT_FALSE(lab.has_job);
  EXPECT_TRUE(lab.graph.empty());
  EXPECT_EQ(lab.machines.at(0).name, "node");
  EXPECT_EQ(lab.machines.at(0).count, 3U);
}

TEST(Lab, WhoseJobIsNotFound) {
  const ReadResult result =
      read_profile("<lab xmlns=\"urn:mvm:lab:1\" name=\"l\">\n<job ref=\"heat\"/></lab>", "l.xml");
  EXPECT_EQ(describe(result.diagnostics), "l.xml:2:11: error: unknown job 'heat', expected a path\n");
}

TEST(Files, ReferToOthersByPath) {
  const auto folder = make_temporary_folder("/tmp", "topo-profile-");
  ASSERT_TRUE(folder);
  std::filesystem::create_directory(*folder / "sub");
  ASSERT_TRUE(write_file_durably(*folder / "sub/t.xml", shipped_text(DocumentKind::kTopology, "ring")));
  ASSERT_TRUE(write_file_durably(*folder / "sub/job.xml", R"(<job xmlns="urn:mvm:job:1" name="j">
    <topology ref="t.xml"/><program role="cell"><run>x</run></program></job>)"));
  ASSERT_TRUE(
      write_file_durably(*folder / "lab.xml", R"(<lab xmlns="urn:mvm:lab:1" name="l"><job ref="sub/job.xml"/>
    <machines driver="lxc"/></lab>)"));
  FileResolver resolver;
  ReadOptions options;
  options.resolver = &resolver;
  const ReadResult good = read_profile_file(*folder / "lab.xml", options);
  ASSERT_TRUE(good.ok()) << describe(good.diagnostics);
  EXPECT_EQ(good.profile->graph.process_count(), 4U);
  // A fault inside the referred file is told there.
  ASSERT_TRUE(write_file_durably(*folder / "sub/t.xml",
                                 "<topology xmlns=\"urn:mvm:topology:1\" name=\"t\">\n<role/></topology>"));
  const ReadResult bad = read_profile_file(*folder / "lab.xml", options);
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.diagnostics.at(0).describe(),
              HasSubstr("/sub/t.xml:2:1: error: <role> has no attribute 'name'"));
  // Without the resolver nothing is opened.
  EXPECT_FALSE(read_profile_file(*folder / "lab.xml").ok());
  EXPECT_TRUE(remove_tree(*folder));
}

TEST(Image, IsReadAndChecked) {
  const Profile file = read(shipped_text(DocumentKind::kImage, "qemu-debian"));
  EXPECT_EQ(file.kind, DocumentKind::kImage);
  EXPECT_EQ(file.images.at(0).kind, ImageKind::kDisk);
  EXPECT_EQ(file.images[0].kernel, "auto");
  const ReadResult bad = read_profile(R"(<image xmlns="urn:mvm:image:1" name="x" kind="disk"/>)", "i.xml");
  EXPECT_EQ(bad.diagnostics.size(), 2U);
}

TEST(Policy, ShippedOnesAreValid) {
  const auto names = shipped_names(DocumentKind::kPolicy);
  EXPECT_THAT(names, ElementsAre("compress", "encrypt", "fair", "fifo", "pack", "spread"));
  for (const std::string& name : names) {
    EXPECT_EQ(read(shipped_text(DocumentKind::kPolicy, name)).policies.at(0).name, name);
  }
}

TEST(Job, SaysWhatDoesNotFitTogether) {
  const auto faults = [](const std::string& inside) {
    const ReadResult result = read_profile(
        "<job xmlns=\"urn:mvm:job:1\" name=\"j\"><topology ref=\"single\"/>\n" + inside + "</job>", "f.xml");
    return describe(result.diagnostics);
  };
  const std::string program = "<program role=\"main\"><run>x</run></program>";
  EXPECT_EQ(faults(program), "");
  EXPECT_THAT(faults(program + program), HasSubstr("role 'main' has a second program"));
  EXPECT_THAT(faults("<program role=\"main\"><source/><run>x</run></program>"),
              HasSubstr("a source without content"));
  EXPECT_THAT(faults("<program role=\"main\"><source>int x;</source><run>x</run></program>"),
              HasSubstr("expected the file's name"));
  EXPECT_THAT(faults("<program role=\"main\"><source name=\"../x\">int x;</source><run>x</run></program>"),
              HasSubstr("relative path"));
  EXPECT_THAT(faults("<program role=\"main\"><source path=\"a\"/><build command=\"echo "
                     "$MVM_PARAM_M\"/><run>x</run></program>"),
              HasSubstr("2:62: error: the command names MVM_PARAM_M, expected one of MVM_PARAM_N; did you "
                        "mean MVM_PARAM_N?"));
  EXPECT_THAT(faults("<program role=\"main\"><run>x 'y</run></program>"),
              HasSubstr("f.xml:2:29: error: found a quote"));
  EXPECT_THAT(faults("<program role=\"main\"><run>x ${m}</run></program>"),
              HasSubstr("f.xml:2:31: error: unknown parameter 'm'"));
  EXPECT_THAT(faults("<program role=\"main\"/>"), HasSubstr("has no <run>"));
  EXPECT_THAT(faults(program + "<machines driver=\"qemu\" image=\"host\"/>"),
              HasSubstr("not for driver qemu, expected one of lxc, process"));
  EXPECT_THAT(
      faults(program + "<machines driver=\"lxc\" image=\"hots\"/>"),
      HasSubstr("unknown image 'hots', expected one of host, qemu-debian, or a path; did you mean host?"));
  EXPECT_THAT(faults(program + "<machines driver=\"lxc\" memory=\"1MiB\"/>"),
              HasSubstr("found memory 1MiB, expected at least"));
  EXPECT_THAT(faults(program + "<stage in=\"x\"/>"), HasSubstr("neither in nor out"));
  EXPECT_THAT(faults(program + "<param name=\"N\" type=\"integer\" default=\"1\"/>"),
              HasSubstr("differ in case only"));
  EXPECT_THAT(faults(program + "<param name=\"a\" type=\"integer\" default=\"${b}\"/><param name=\"b\" "
                               "type=\"integer\" default=\"${a}\"/>"),
              HasSubstr("refers to itself"));
  EXPECT_THAT(faults(program + "<param name=\"a\" type=\"integer\"/>"),
              HasSubstr("parameter 'a' has no value"));
  EXPECT_THAT(faults(program + "<policy ref=\"pack\"/><policy ref=\"spread\"/>"),
              HasSubstr("second policy of kind placement"));
  EXPECT_THAT(faults(program + "<topology ref=\"ring\"/>"), HasSubstr("second topology"));
}

}  // namespace
}  // namespace mvm::topologies
