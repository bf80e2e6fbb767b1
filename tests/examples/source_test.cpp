// The examples' sources, topologies and profiles give the expected results on plain processes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "examples/plain_run.h"
#include "mvm/base/file.h"
#include "mvm/topologies/reader.h"

namespace mvm::test {
namespace {

using Settings = std::map<std::string, std::string>;
using testing::HasSubstr;

const std::filesystem::path kExamples = MVM_SOURCE_DIR "/examples";

PlainRun run(const std::string& job, const Settings& set = {}) {
  auto result = run_plain(kExamples / job, set, std::chrono::minutes(2));
  if (!result) {
    ADD_FAILURE() << result.error().describe();
    return {};
  }
  for (const PlainProcess& process : result->processes) {
    EXPECT_EQ(process.code, 0) << process.name << ": " << process.output;
  }
  return *result;
}

std::string expected(const std::string& file) {
  auto text = read_file(kExamples / file, 64 << 20);
  EXPECT_TRUE(text) << file;
  return text ? *text : "";
}

/// Everything that processes of this role said.
std::string said(const PlainRun& run, const std::string& role) {
  std::string all;
  for (const PlainProcess& process : run.processes) {
    if (process.name.starts_with(role + "[")) all += process.output;
  }
  return all;
}

TEST(Examples, WordCountCountsEveryWord) {
  const PlainRun one = run("01-wordcount/job.xml");
  EXPECT_TRUE(one.results.at("counts.txt") == expected("01-wordcount/expected/counts.txt"));
  const PlainRun more = run("01-wordcount/job.xml", {{"n", "7"}, {"top", "1"}});
  EXPECT_EQ(more.processes.size(), 9U);
  EXPECT_TRUE(more.results.at("counts.txt") == expected("01-wordcount/expected/counts.txt"));
  EXPECT_THAT(said(more, "merger"), HasSubstr("1204 the"));
}

TEST(Examples, HeatEqualsTheSerialAnswer) {
  for (const char* n : {"4", "8", "1"}) {
    const PlainRun heat = run("02-heat/job.xml", {{"n", n}});
    EXPECT_THAT(said(heat, "judge"), HasSubstr("all 1024 points after 1000 steps equal the serial answer"));
    EXPECT_TRUE(heat.results.at("heat.csv") == expected("02-heat/expected/heat.csv")) << n;
  }
}

TEST(Examples, FftAgreesWithTheSerialTransformOnAnyNumberOfProcesses) {
  for (const char* n : {"8", "2", "16", "1"}) {
    const PlainRun fft = run("03-fft/job.xml", {{"n", n}});
    EXPECT_THAT(said(fft, "judge"), HasSubstr("agree with the serial transform to 1e-9")) << n;
    EXPECT_EQ(fft.results.at("peaks.csv"), expected("03-fft/expected/peaks.csv")) << n;
  }
}

TEST(Examples, FftJudgeRefusesAWrongAnswer) {
  auto fft =
      run_plain(kExamples / "03-fft/job.xml", {{"n", "2"}, {"tolerance", "0"}}, std::chrono::minutes(1));
  ASSERT_TRUE(fft) << fft.error().describe();
  EXPECT_EQ(fft->processes.back().code, 1);
  EXPECT_THAT(fft->processes.back().output, HasSubstr("WRONG"));
}

TEST(Examples, FarmDrawsTheExpectedPicture) {
  const PlainRun farm = run("04-farm/job.xml");
  EXPECT_TRUE(farm.results.at("mandelbrot.png") == expected("04-farm/expected/mandelbrot.png"));
}

TEST(Examples, JobsOfTheLabRun) {
  const PlainRun hello = run("05-lab/hello.xml");
  EXPECT_EQ(said(hello, "greeter"), "greeter 1 of 2 says hello\ngreeter 2 of 2 says hello\n");
  const PlainRun token = run("05-lab/token.xml");
  EXPECT_EQ(token.results.at("token.txt"), expected("05-lab/expected/token.txt"));
}

/// The first block of this language in a Markdown text.
std::string block(const std::string& text, const std::string& language) {
  const std::string opening = "```" + language + "\n";
  const std::size_t begin = text.find(opening);
  const std::size_t end = text.find("```\n", begin + opening.size());
  if (begin == std::string::npos || end == std::string::npos) return "";
  return text.substr(begin + opening.size(), end - begin - opening.size());
}

TEST(Readme, FirstLabGivesTheSumItPromises) {
  const std::string readme = expected("../README.md");
  const auto folder = make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-readme-");
  ASSERT_TRUE(folder);
  std::ofstream(*folder / "square.c") << block(readme, "c");
  std::ofstream(*folder / "first.xml") << block(readme, "xml");
  for (const char* n : {"3", "8"}) {
    auto first = run_plain(*folder / "first.xml", {{"n", n}}, std::chrono::minutes(1));
    ASSERT_TRUE(first) << first.error().describe();
    EXPECT_EQ(said(*first, "sink"), "the sum of the squares is 333833500\n");
  }
  EXPECT_THAT(readme, HasSubstr("333833500"));
  EXPECT_TRUE(remove_tree(*folder));
}

TEST(Examples, TheLabFileIsValid) {
  topologies::FileResolver resolver;
  const auto lab = topologies::read_profile_file(kExamples / "05-lab/lab.xml",
                                                 {.set = {{"n", "3"}}, .resolver = &resolver});
  ASSERT_TRUE(lab.ok()) << topologies::to_error(lab.diagnostics).describe();
  EXPECT_FALSE(lab.profile->has_job);
  ASSERT_EQ(lab.profile->machines.size(), 1U);
  EXPECT_EQ(lab.profile->machines[0].count, 3U);
}

}  // namespace
}  // namespace mvm::test
