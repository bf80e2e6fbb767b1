#pragma once
// Profiles for tests, read by the real reader.

#include <gtest/gtest.h>

#include <string>

#include "mvm/topologies/reader.h"

namespace mvm::broker {

inline topologies::Profile read(const std::string& xml) {
  auto result = topologies::read_profile(xml, "test.xml");
  EXPECT_TRUE(result.ok()) << topologies::describe(result.diagnostics);
  return result.profile ? std::move(*result.profile) : topologies::Profile{};
}

/// A lab with this topology's body and these machines; each role runs /bin/true.
inline topologies::Profile lab_of(const std::string& topology, const std::string& machines,
                                  const std::vector<std::string>& roles) {
  std::string programs;
  for (const auto& role : roles) programs += "<program role=\"" + role + "\"><run>/bin/true</run></program>";
  return read("<lab xmlns=\"urn:mvm:lab:1\" name=\"t\"><topology xmlns=\"urn:mvm:topology:1\" name=\"t\">" +
              topology + "</topology>" + machines + "<job xmlns=\"urn:mvm:job:1\" name=\"t\">" + programs +
              "</job></lab>");
}

}  // namespace mvm::broker
