// The provider as a plug-in.

#include "mvm/rmix/made_provider.h"
#include "mvm/rmix/onc.h"

namespace {

using Onc = mvm::rmix::MadeProvider<&mvm::rmix::make_onc_provider>;

}  // namespace

MVM_RMIX_PROVIDER(Onc, "onc", "1.0.0")
