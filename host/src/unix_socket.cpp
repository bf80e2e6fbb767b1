#include "unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace mvm::host {
namespace {

/// An address that stays short: /proc/self/fd/N/name.
struct Address {
  UniqueFd folder;
  sockaddr_un value{};
};

Result<Address> address_of(const std::filesystem::path& path) {
  Address address;
  address.folder.reset(::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!address.folder) return Error::from_errno(errno, "open " + path.parent_path().string());
  const std::string text =
      "/proc/self/fd/" + std::to_string(address.folder.get()) + "/" + path.filename().string();
  address.value.sun_family = AF_UNIX;
  if (text.size() >= sizeof address.value.sun_path)
    return Error(ErrorCode::kInvalid, "socket name too long: " + path.string());
  std::memcpy(address.value.sun_path, text.c_str(), text.size() + 1);
  return address;
}

}  // namespace

Result<UniqueFd> listen_unix(const std::filesystem::path& path) {
  MVM_ASSIGN(const Address address, address_of(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "socket");
  ::unlink(path.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.value), sizeof address.value) != 0 ||
      ::chmod(path.c_str(), 0600) != 0 || ::listen(socket.get(), 16) != 0)
    return Error::from_errno(errno, "listen at " + path.string());
  return socket;
}

Result<UniqueFd> connect_unix(const std::filesystem::path& path) {
  auto address = address_of(path);
  if (!address) return Error(ErrorCode::kUnavailable, address.error().describe());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address->value), sizeof address->value) != 0)
    return Error(ErrorCode::kUnavailable,
                 "nobody listens at " + path.string() + ": " + std::generic_category().message(errno));
  return socket;
}

}  // namespace mvm::host
