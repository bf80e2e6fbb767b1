#pragma once
// The door for applications of this host: a UNIX socket, at which libharness knocks. docs/formats/dvm.md

#include <utility>
// Boost 1.74's coroutines need it first.
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>
#include <memory>
#include <set>

#include "console.h"
#include "mvm/base/frame.h"

namespace mvm::dvm {

/// Of one event loop's thread. Each connection has its own security context.
class Door {
 public:
  using Protocol = boost::asio::local::stream_protocol;
  [[nodiscard]] static Result<std::unique_ptr<Door>> open(boost::asio::io_context& loop,
                                                          const std::filesystem::path& path,
                                                          Console& console);
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

 private:
  class Guest;
  Door(boost::asio::io_context& loop, std::filesystem::path path, Console& console);
  void accept();

  Protocol::acceptor acceptor_;
  std::filesystem::path path_;
  Console& console_;
  std::set<std::shared_ptr<Guest>> guests_;
};

}  // namespace mvm::dvm
