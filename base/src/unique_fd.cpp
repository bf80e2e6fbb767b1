#include "mvm/base/unique_fd.h"

#include <unistd.h>

namespace mvm {

void UniqueFd::reset(int fd) {
  // close() is never retried: on Linux the descriptor is gone even after EINTR.
  if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
}

}  // namespace mvm
