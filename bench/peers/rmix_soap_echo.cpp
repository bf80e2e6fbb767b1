// The echo of plain_echo.cpp as an RMIX service over SOAP:  serve | call SECONDS REFERENCE
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "mvm/rmix/client.h"
#include "mvm/rmix/server.h"
#include "mvm/rmix/soap.h"

namespace {

using namespace mvm::rmix;

struct Echo final : Service {
  static InterfacePtr described() {
    static const InterfacePtr made = std::make_shared<const Interface>(
        Interface{.name = "Echo",
                  .methods = {{.name = "echo",
                               .parameters = {{"value", Type::of(Kind::kInt64)}},
                               .result = Type::of(Kind::kInt64)}}});
    return made;
  }
  InterfacePtr interface() const override { return described(); }
  Outcome call(const CallContext& /*context*/, std::uint32_t /*method*/, std::vector<Value> given) override {
    return std::move(given[0]);
  }
};

}  // namespace

int main(int argc, char** argv) {
  Providers providers;
  providers.add(make_soap_provider());
  if (argc >= 2 && std::strcmp(argv[1], "serve") == 0) {
    const auto server = Server::create(providers, {});
    if (!server->add("echo", std::make_shared<Echo>()) || !server->listen("soap+http://127.0.0.1:0"))
      return 1;
    std::printf("%s\n", server->reference("echo")->c_str());
    std::fflush(stdout);
    for (;;) ::pause();
  }
  if (argc != 4) return 2;
  const auto client = Client::create(providers, {});
  const auto remote = client->bind(*Address::read(argv[3]), Echo::described());
  if (!remote) return 1;
  using Steady = std::chrono::steady_clock;
  const auto end = Steady::now() + std::chrono::duration<double>(std::atof(argv[2]));
  std::int64_t rounds = 0;
  const auto begin = Steady::now();
  while (Steady::now() < end) {
    const std::int64_t value = (1LL << 40) + rounds;
    const Outcome outcome = (*remote)->call(0, {Value::of<std::int64_t>(value)});
    const auto* said = std::get_if<Value>(&outcome);
    if (said == nullptr || *said->get<std::int64_t>() != value) return 1;
    ++rounds;
  }
  std::printf("round_us %f\n", std::chrono::duration<double, std::micro>(Steady::now() - begin).count() /
                                   static_cast<double>(rounds));
  return 0;
}
