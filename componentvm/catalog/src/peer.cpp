#include "peer.h"

#include <cstring>

#include "mvm/catalog/server.h"

namespace mvm::catalog {

rmix::InterfacePtr interface() {
  static const rmix::InterfacePtr description = [] {
    rmix::Interface made;
    made.name = "mvm_catalog";
    made.version = 1;
    rmix::Method exchange;
    exchange.name = "exchange";
    exchange.parameters = {{.name = "request", .type = rmix::Type::of(rmix::Kind::kBytes)}};
    exchange.result = rmix::Type::of(rmix::Kind::kBytes);
    exchange.concurrent = true;
    made.methods.push_back(std::move(exchange));
    return std::make_shared<const rmix::Interface>(std::move(made));
  }();
  return description;
}

Result<Answer> Peer::ask(const Request& request) {
  if (!remote_) {
    MVM_ASSIGN(const auto address, rmix::Address::read(address_));
    MVM_ASSIGN(remote_, client_.bind(address, interface(), {.scheme = {}, .timeout = timeout_}));
  }
  const std::string bytes = encode(request);
  rmix::Bytes argument(bytes.size());
  std::memcpy(argument.data(), bytes.data(), bytes.size());
  std::vector<rmix::Value> arguments;
  arguments.push_back(rmix::Value::of<rmix::Bytes>(std::move(argument)));
  auto outcome =
      remote_->call(0, std::move(arguments), {.deadline = std::chrono::steady_clock::now() + timeout_});
  if (auto* failure = std::get_if<rmix::Failure>(&outcome)) return std::move(failure->error);
  auto* value = std::get_if<rmix::Value>(&outcome);
  const auto* answer = value == nullptr ? nullptr : value->get<rmix::Bytes>();
  if (answer == nullptr) return Error(ErrorCode::kCorrupt, address_ + " is no server of the catalog");
  return decode_answer({reinterpret_cast<const char*>(answer->data()), answer->size()});
}

}  // namespace mvm::catalog
