#include "line.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "mvm/base/assert.h"
#include "mvm/base/json.h"

namespace mvm::channel {

Wake::Wake() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { MVM_ASSERT(fd_); }

void Wake::set() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(fd_.get(), &one, sizeof one);
}

void Wake::clear() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(fd_.get(), &count, sizeof count);
}

nlohmann::json error_to_json(const Error& error) {
  return {{"code", to_string(error.code())}, {"message", error.describe()}};
}

Error error_from_json(const nlohmann::json& object) {
  std::string message = text_or(object, "message", "the kernel gave no reason").substr(0, 4096);
  return Error(error_code_from(text_or(object, "code")), std::move(message));
}

}  // namespace mvm::channel
