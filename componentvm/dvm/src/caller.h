#pragma once
// Calls other kernels: to speak with them, or to find out whether they are dead.

#include <utility>
// Boost 1.74's coroutines need it first.
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>

#include "connection.h"
#include "mvm/dvm/address.h"

namespace mvm::dvm {

/// Of one event loop's thread.
class Caller {
 public:
  using Link = std::shared_ptr<Connection>;
  using Done = std::function<void(Link)>;
  /// What happens on a connection, of which `ready` is to be told.
  using MakeEvents =
      std::function<Connection::Events(const std::shared_ptr<std::weak_ptr<Connection>>& link, Done ready)>;
  Caller(boost::asio::io_context& loop, const Identity& identity, MakeEvents make_events)
      : loop_(loop), identity_(identity), make_events_(std::move(make_events)) {}

  /// `done` gets a connection that has proved who it is, or null.
  void dial(const Endpoint& to, Done done);
  /// Nobody listens where a kernel listened as long as it lived: it is dead. Silence proves nothing.
  void probe(const Endpoint& to, std::function<void()> refused);
  /// Nobody is called, or called back, from here on.
  void end() { alive_.reset(); }

 private:
  boost::asio::io_context& loop_;
  const Identity& identity_;
  MakeEvents make_events_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace mvm::dvm
