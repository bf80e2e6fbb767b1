#pragma once
// A server of the catalog as somebody else calls it.

#include <memory>
#include <string>

#include "mvm/catalog/wire.h"
#include "mvm/rmix/client.h"

namespace mvm::catalog {

class Peer {
 public:
  Peer(rmix::Client& client, std::string address, std::chrono::milliseconds timeout)
      : client_(client), address_(std::move(address)), timeout_(timeout) {}
  [[nodiscard]] Result<Answer> ask(const Request& request);
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  rmix::Client& client_;
  std::string address_;
  std::chrono::milliseconds timeout_;
  std::shared_ptr<rmix::Remote> remote_;
};

}  // namespace mvm::catalog
