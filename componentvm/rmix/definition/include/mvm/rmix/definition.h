#pragma once
// One service definition, in XML (docs/formats/service.md), and what is made of it: an interface description,
// stubs in C++, and a file for rpcgen.

#include <string>
#include <string_view>

#include "mvm/base/result.h"
#include "mvm/rmix/interface.h"

namespace mvm::rmix {

/// Reads a definition; `file` is for messages. kInvalid, with its line.
[[nodiscard]] Result<Interface> read_definition(std::string_view xml, const std::string& file);

struct StubOptions {
  std::string name_space;  ///< of the generated C++: "mvm::demo"
  std::string header;      ///< how the source includes the header: "calculator.rmix.h"
};
/// What includes "mvm/rmix/stub.h" and declares the service as an abstract class, its client stub, its server
/// stub and its types.
[[nodiscard]] std::string write_header(const Interface& interface, const StubOptions& options);
[[nodiscard]] std::string write_source(const Interface& interface, const StubOptions& options);
/// The same service in rpcgen's language: docs/formats/rmix-onc.md. kInvalid where it has no program number.
[[nodiscard]] Result<std::string> write_xdr(const Interface& interface);

}  // namespace mvm::rmix
