#include <cstddef>

#include "mvm/soap/server.h"
#include "text.h"

namespace mvm::soap {

// Generated from idl/ and embedded by cmake/embed.cmake.
struct EmbeddedWsdl {
  const char* service;
  const char* text;
};
extern const EmbeddedWsdl kWsdl[];
extern const std::size_t kWsdlCount;

std::string wsdl_of(const std::string& service, const std::string& base_url) {
  for (std::size_t i = 0; i < kWsdlCount; ++i) {
    if (service != kWsdl[i].service) continue;
    std::string text = kWsdl[i].text;
    const std::string generated = "location=\"http://127.0.0.1:7780/" + service + "\"";
    const std::string address = "location=\"" + xml_escape(base_url) + "/" + service + "\"";
    for (auto at = text.find(generated); at != std::string::npos;
         at = text.find(generated, at + address.size()))
      text.replace(at, generated.size(), address);
    return text;
  }
  return {};
}

}  // namespace mvm::soap
