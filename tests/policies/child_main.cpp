// The child process of policy components, as mvmd runs it.

#include "mvm/broker/policy_child.h"

int main(int argc, char** argv) { return mvm::broker::policy_child_main(argc, argv); }
