#pragma once
// SOAP 1.1 over HTTP as an RMIX provider, document/literal: docs/formats/rmix-soap.md. Schemes "soap+http"
// and "soap+https".

#include <memory>
#include <string>

#include "mvm/rmix/provider.h"

namespace mvm::rmix {

/// For programs that bring it along; the plug-in is the same.
[[nodiscard]] std::shared_ptr<Provider> make_soap_provider();

/// The WSDL of an interface, as ?wsdl answers it; `location` is the service's URL.
[[nodiscard]] std::string soap_wsdl(const Interface& interface, const std::string& location);

}  // namespace mvm::rmix
