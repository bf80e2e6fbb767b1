#pragma once
// Calls for a machine, by multicast to the group that its name is mapped to. [Harness 000, §2.2]

#include <utility>
// Boost 1.74's coroutines need it first.
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>
#include <functional>
#include <string>

#include "mvm/dvm/address.h"
#include "mvm/dvm/wire.h"

namespace mvm::dvm {

/// Of one event loop's thread. Where multicast does not work it is silent: seeds are for that.
class Multicast {
 public:
  /// `interface`: the IPv4 address of ours through which it goes.
  Multicast(boost::asio::io_context& loop, std::string vm, std::string interface, const std::string& secret);
  /// Asks for a machine.
  void call(const JoinCall& who);
  /// Hears those who ask, from now on.
  void listen(std::function<void(const JoinCall&)> heard);
  void deafen();

 private:
  void receive();

  boost::asio::io_context& loop_;
  std::string vm_;
  std::string interface_;
  const std::string& secret_;
  boost::asio::ip::udp::socket ear_;
  boost::asio::ip::udp::endpoint from_;
  std::array<char, 1024> buffer_{};
  std::function<void(const JoinCall&)> heard_;
};

}  // namespace mvm::dvm
