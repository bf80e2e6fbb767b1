// The published WSDL against the golden one: what foreign clients were built from may only grow.
//
// Golden files list one fact a line. A line may be added freely (MVM_UPDATE_GOLDEN=1 writes the files anew,
// after the check); a line that vanished breaks somebody's client.

#include <gmock/gmock.h>
#include <tinyxml2.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "mvm/soap/server.h"

namespace mvm::soap {
namespace {

using tinyxml2::XMLElement;

std::string attribute(const XMLElement& element, const char* name) {
  const char* value = element.Attribute(name);
  return value != nullptr ? value : "";
}

std::string local(const XMLElement& element) {
  const std::string name = element.Name();
  return name.substr(name.find(':') + 1);
}

/// "path name=.. type=.. ..." for everything that a client depends on, whatever its order.
void facts_of(const XMLElement& element, const std::string& path, const std::string& service,
              std::set<std::string>& facts) {
  const std::string kind = local(element);
  if (kind == "documentation" || kind == "import" || kind == "address") return;
  // The generator puts the schemas of all services into each WSDL; those of others are guarded there.
  const std::string space = attribute(element, "targetNamespace");
  if (kind == "schema" && space != "urn:mvm:types:1" && space != "urn:mvm:" + service + ":1") return;
  std::string here = path + "/" + kind;
  for (const char* naming : {"name", "targetNamespace", "value", "ref"})
    if (const std::string name = attribute(element, naming); !name.empty()) here += "[" + name + "]";
  std::string fact = here;
  for (const char* part :
       {"type", "element", "minOccurs", "maxOccurs", "base", "message", "binding", "soapAction", "style",
        "use", "transport", "elementFormDefault", "attributeFormDefault"})
    if (const std::string value = attribute(element, part); !value.empty())
      fact += std::string(" ") + part + "=" + value;
  facts.insert(fact);
  for (const XMLElement* child = element.FirstChildElement(); child != nullptr;
       child = child->NextSiblingElement())
    facts_of(*child, here, service, facts);
}

std::set<std::string> facts_of_service(const std::string& service) {
  tinyxml2::XMLDocument document;
  EXPECT_EQ(document.Parse(wsdl_of(service, "http://h:1").c_str()), tinyxml2::XML_SUCCESS);
  std::set<std::string> facts;
  if (document.RootElement() != nullptr) facts_of(*document.RootElement(), "", service, facts);
  return facts;
}

class WsdlTest : public testing::TestWithParam<const char*> {};

TEST_P(WsdlTest, OnlyGrows) {
  const std::string path =
      MVM_SOURCE_DIR "/tests/componentvm/soap/golden/" + std::string(GetParam()) + ".txt";
  const std::set<std::string> now = facts_of_service(GetParam());
  ASSERT_GT(now.size(), 50U);
  std::set<std::string> golden;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) golden.insert(line);
  for (const std::string& line : golden) EXPECT_TRUE(now.contains(line)) << "gone or changed: " << line;
  // A new part of an old type must be optional, or a request of an old client is refused.
  for (const std::string& line : now) {
    if (golden.empty() || golden.contains(line) || line.find("minOccurs=1") == std::string::npos) continue;
    const std::string parent = line.substr(0, line.rfind("/element"));
    EXPECT_FALSE(golden.contains(parent)) << "a required part was added to an old type: " << line;
  }
  if (std::getenv("MVM_UPDATE_GOLDEN") != nullptr) {
    std::ofstream out(path);
    for (const std::string& line : now) out << line << "\n";
  } else {
    EXPECT_FALSE(golden.empty()) << path;
    EXPECT_EQ(golden.size(), now.size()) << "the WSDL grew: run with MVM_UPDATE_GOLDEN=1";
  }
}

INSTANTIATE_TEST_SUITE_P(Services, WsdlTest,
                         testing::Values("broker", "store", "kernels", "registry", "dvm", "node", "host"));

TEST(WsdlAddressTest, IsWhereTheServiceIs) {
  EXPECT_THAT(wsdl_of("store", "https://a.example:9"),
              testing::HasSubstr("location=\"https://a.example:9/store\""));
  EXPECT_THAT(wsdl_of("store", "\"><x"), testing::Not(testing::HasSubstr("><x")));
  EXPECT_EQ(wsdl_of("nothing", "http://x"), "");
}

}  // namespace
}  // namespace mvm::soap
