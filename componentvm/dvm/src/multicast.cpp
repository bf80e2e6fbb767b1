#include "multicast.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/multicast.hpp>

#include "mvm/base/log.h"

namespace mvm::dvm {

namespace asio = boost::asio;
using asio::ip::udp;
using boost::system::error_code;

Multicast::Multicast(asio::io_context& loop, std::string vm, std::string interface, const std::string& secret)
    : loop_(loop), vm_(std::move(vm)), interface_(std::move(interface)), secret_(secret), ear_(loop) {}

void Multicast::call(const JoinCall& who) {
  const Endpoint group = multicast_group(vm_);
  error_code problem;
  udp::socket mouth(loop_);
  mouth.open(udp::v4(), problem);
  if (problem) return;
  mouth.set_option(asio::ip::multicast::outbound_interface(asio::ip::make_address_v4(interface_, problem)),
                   problem);
  error_code ignored;
  mouth.set_option(asio::ip::multicast::enable_loopback(true), ignored);
  mouth.set_option(asio::ip::multicast::hops(8), ignored);
  mouth.non_blocking(true, ignored);
  mouth.send_to(asio::buffer(join_datagram(who, secret_)),
                udp::endpoint(asio::ip::make_address_v4(group.host), group.port), 0, problem);
  if (problem) log::debug("dvm.multicast", {{"reason", problem.message()}});
}

void Multicast::listen(std::function<void(const JoinCall&)> heard) {
  deafen();
  heard_ = std::move(heard);
  const Endpoint group = multicast_group(vm_);
  error_code problem;
  ear_.open(udp::v4(), problem);
  // Several kernels of one host may hear: one for each machine.
  if (!problem) ear_.set_option(udp::socket::reuse_address(true), problem);
  if (!problem) ear_.bind(udp::endpoint(asio::ip::make_address_v4(group.host), group.port), problem);
  if (!problem)
    ear_.set_option(asio::ip::multicast::join_group(asio::ip::make_address_v4(group.host),
                                                    asio::ip::make_address_v4(interface_, problem)),
                    problem);
  if (!problem) return receive();
  log::warning("dvm.no-multicast", {{"group", group.text()}, {"reason", problem.message()}});
  deafen();
}

void Multicast::deafen() {
  error_code ignored;
  ear_.close(ignored);
  heard_ = {};
}

void Multicast::receive() {
  ear_.async_receive_from(asio::buffer(buffer_), from_, [this](const error_code& problem, std::size_t size) {
    if (problem || !heard_) return;
    auto call = read_join_datagram({buffer_.data(), size}, secret_);
    if (call && call->vm == vm_) heard_(*call);
    if (heard_) receive();
  });
}

}  // namespace mvm::dvm
