// The provider as a plug-in.

#include "mvm/rmix/made_provider.h"
#include "mvm/rmix/native.h"

namespace {

using Native = mvm::rmix::MadeProvider<&mvm::rmix::make_native_provider>;

}  // namespace

MVM_RMIX_PROVIDER(Native, "native", "1.0.0")
