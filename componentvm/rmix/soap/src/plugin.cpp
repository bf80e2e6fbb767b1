// The provider as a plug-in.

#include "mvm/rmix/made_provider.h"
#include "mvm/rmix/soap.h"

namespace {

using Soap = mvm::rmix::MadeProvider<&mvm::rmix::make_soap_provider>;

}  // namespace

MVM_RMIX_PROVIDER(Soap, "soap", "1.0.0")
