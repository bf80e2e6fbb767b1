#pragma once
// A SOAP server on loopback with a broker in memory behind it.

#include <atomic>
#include <thread>

#include "cli/cli_fixture.h"
#include "mvm/soap/client.h"
#include "mvm/soap/server.h"

namespace mvm::cli {

class Wire : public CliTest {
 public:
  void SetUp() override {
    CliTest::SetUp();
    const auto token = soap::read_token_file(folder / "token");
    ASSERT_TRUE(token);
    identity.add(*token);
    start(0);
    environment["MVM_BROKER"] = server->url();
    environment["MVM_TIMEOUT"] = "10s";
    connect = [](const ConnectOptions& options) -> Result<Connection> {
      soap::BrokerClientOptions wanted;
      wanted.url = options.url;
      wanted.token = options.token;
      wanted.timeout = options.timeout;
      MVM_ASSIGN(auto client, soap::BrokerClient::create(wanted));
      const std::shared_ptr<soap::BrokerClient> shared = std::move(client);
      return Connection{shared, shared->api()};
    };
    // A pause between tries lasts until there is a server again.
    on_sleep = [this] { up.wait(false); };
  }
  void start(std::uint16_t port) {
    soap::ServerOptions options;
    options.port = port;
    options.spool = folder;
    auto started = soap::SoapServer::start(options, {.identity = &identity, .broker = &api});
    ASSERT_TRUE(started) << started.error().describe();
    server = std::move(*started);
    up = true;
    up.notify_all();
  }

  soap::Identity identity;
  soap::BrokerApi api = broker.api();
  std::atomic<bool> up{false};
  std::unique_ptr<soap::SoapServer> server;
};

}  // namespace mvm::cli
