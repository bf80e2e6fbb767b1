// A number there and back by RMIX.
//
//   rmix_echo serve ENDPOINT            prints the reference, serves until it is killed
//   rmix_echo call SECONDS REFERENCE    prints "round_us N", the median of batches of calls
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "mvm/rmix/client.h"
#include "mvm/rmix/native.h"
#include "mvm/rmix/server.h"

namespace {

using namespace mvm::rmix;
using std::chrono::steady_clock;
constexpr int kBatch = 100;

InterfacePtr description() {
  auto made = std::make_shared<Interface>();
  made->name = "Echo";
  Method method;
  method.name = "echo";
  method.parameters = {{"number", Type::of(Kind::kUint64)}};
  method.result = Type::of(Kind::kUint64);
  made->methods.push_back(std::move(method));
  return made;
}

class Echo final : public Service {
 public:
  InterfacePtr interface() const override { return interface_; }
  Outcome call(const CallContext&, std::uint32_t, std::vector<Value> arguments) override {
    return std::move(arguments.front());
  }

 private:
  const InterfacePtr interface_ = description();
};

int serve(const Providers& providers, const char* endpoint) {
  const auto server = Server::create(providers, {});
  if (!server->add("echo", std::make_shared<Echo>())) return 1;
  if (const auto open = server->listen(endpoint); !open) {
    std::fprintf(stderr, "%s\n", open.error().describe().c_str());
    return 1;
  }
  std::printf("%s\n", server->reference("echo")->c_str());
  std::fflush(stdout);
  for (;;) ::pause();
}

int call(const Providers& providers, double seconds, const char* reference) {
  const auto client = Client::create(providers, {});
  const auto bound = client->bind(*Address::read(reference), description());
  if (!bound) {
    std::fprintf(stderr, "%s\n", bound.error().describe().c_str());
    return 1;
  }
  Remote& remote = **bound;
  std::uint64_t number = 0;
  const auto some = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const Outcome outcome = remote.call(0, {Value::of<std::uint64_t>(++number)});
      const auto* value = std::get_if<Value>(&outcome);
      if (value == nullptr || *value->get<std::uint64_t>() != number) std::exit(1);
    }
  };
  some(500);
  std::vector<double> batches;  // of calls, seconds
  for (const auto end = steady_clock::now() + std::chrono::duration<double>(seconds);
       steady_clock::now() < end;) {
    const auto begin = steady_clock::now();
    some(kBatch);
    batches.push_back(std::chrono::duration<double>(steady_clock::now() - begin).count());
  }
  std::nth_element(batches.begin(), batches.begin() + static_cast<std::ptrdiff_t>(batches.size() / 2),
                   batches.end());
  std::printf("round_us %.3f\n", batches[batches.size() / 2] / kBatch * 1e6);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Providers providers;
  providers.add(make_native_provider());
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "serve" && argc == 3) return serve(providers, argv[2]);
  if (mode == "call" && argc == 4) return call(providers, std::atof(argv[2]), argv[3]);
  return 2;
}
