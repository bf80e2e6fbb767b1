#pragma once
// The child process in which a policy component runs.

namespace mvm::broker {

/// Entry of the child: argv[1] is the component's shared object, descriptor 3 the stream of frames to the
/// broker (docs/formats/policy-component.md). Returns the exit code when the stream ends.
int policy_child_main(int argc, char** argv);

}  // namespace mvm::broker
