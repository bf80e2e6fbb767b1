#pragma once
// The service of the tests' pluglets, described by hand.

#include <unistd.h>

#include <string>

#include "mvm/rmix/interface.h"

namespace mvm::pluglets::testing_calc {

/// hold() ends when this file is there.
inline std::string hold_file() { return "/tmp/mvm-pluglets-test-" + std::to_string(::getpid()); }

enum Method : std::uint32_t { kAdd, kVia, kHold, kHolding };

/// add(a, b); via(a, b): add of what the port "next" is connected with, plus 1000, or its hold() where a is
/// negative; hold(): waits for a file; holding(): how many do.
inline rmix::InterfacePtr calc_interface(const std::string& name = "Calc") {
  auto interface = std::make_shared<rmix::Interface>();
  interface->name = name;
  const auto method = [&](const char* what, std::vector<rmix::Field> parameters) {
    rmix::Method one;
    one.name = what;
    one.parameters = std::move(parameters);
    one.result = rmix::Type::of(rmix::Kind::kInt32);
    one.concurrent = true;
    interface->methods.push_back(std::move(one));
  };
  const rmix::Type number = rmix::Type::of(rmix::Kind::kInt32);
  method("add", {{"a", number}, {"b", number}});
  method("via", {{"a", number}, {"b", number}});
  method("hold", {});
  method("holding", {});
  return interface;
}

}  // namespace mvm::pluglets::testing_calc
