#pragma once
// The SOAP server: publishes the services of broker, host or node, with their WSDL.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"
#include "mvm/soap/certificate.h"
#include "mvm/soap/host_service.h"
#include "mvm/soap/identity.h"
#include "mvm/soap/node_service.h"

namespace mvm::soap {

/// Bounds that keep hostile clients from harming others.
struct ServerLimits {
  std::size_t connections = 4096;       ///< open at once; more are closed at once
  std::size_t workers = 8;              ///< ordinary requests answered at once
  std::size_t queue = 256;              ///< ordinary requests waiting for a worker; more get the fault Busy
  std::size_t long_polls = 128;         ///< requests that wait, beside the workers; more get Busy
  std::size_t transfers = 8;            ///< blobs up or down, beside the workers; more get Busy
  std::size_t header_bytes = 16 << 10;  ///< of HTTP
  std::size_t headers = 64;
  std::size_t body_bytes = 32 << 20;              ///< XML of a request that carries a known token
  std::size_t anonymous_bytes = 256 << 10;        ///< XML of any other request
  std::uint64_t blob_bytes = 4ULL << 30;          ///< one attachment
  std::chrono::milliseconds idle{120'000};        ///< a silent connection between requests
  std::chrono::milliseconds header_time{10'000};  ///< first byte of a request to the end of its HTTP header
  std::chrono::milliseconds body_time{30'000};    ///< whole XML part
  std::chrono::milliseconds stall{20'000};        ///< silence within a transfer, either way
};

/// Where and how to serve.
struct ServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;       ///< 0: any free port, see SoapServer::port()
  int listener = -1;            ///< a socket that listens already, instead; the server takes it over
  std::optional<TlsFiles> tls;  ///< TLS 1.2 or later; a client's certificate is asked for and verified
  bool plain_in_lab = false;    ///< allow plain HTTP beyond loopback: a node within its lab's network
  std::string public_url;       ///< what the WSDL says, "https://broker.example:7780"; empty: as called
  std::filesystem::path spool = "/tmp";          ///< attachments rest here, nameless, until handled
  std::map<std::string, std::string> documents;  ///< further public files by path: {"/schemas/job.xsd", text}
  /// Answers GET of what is below `/plugins/` (the rest of the path), on a thread that carries transfers;
  /// null: nothing is there.
  std::function<Result<std::string>(const std::string& path)> plugins;
  ServerLimits limits;
};

/// What is served. Everything outlives the server; what is null is not offered.
struct Services {
  const Identity* identity = nullptr;  ///< needed by broker and node
  const BrokerApi* broker = nullptr;   ///< services Broker and Store
  NodeApi* node = nullptr;             ///< service Node
  HostService* host = nullptr;         ///< service Host: only for peers with a certificate of our authority
};

/// Numbers since the start, and those of now.
struct ServerStats {
  std::uint64_t accepted = 0, requests = 0, faults = 0, refused = 0, busy = 0;
  std::size_t connections = 0, long_polls = 0, transfers = 0, threads = 0;
};

/// A running server. It has an accepting thread of its own and as many workers as there is work.
/// SIGPIPE is ignored in the whole process from its start on.
class SoapServer {
 public:
  /// kInvalid where plain HTTP was asked for beyond loopback, or a service lacks its identity or TLS;
  /// kIo where the address is taken.
  [[nodiscard]] static Result<std::unique_ptr<SoapServer>> start(ServerOptions options, Services services);
  /// Stops: see stop().
  ~SoapServer();
  SoapServer(const SoapServer&) = delete;
  SoapServer& operator=(const SoapServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  /// "http://127.0.0.1:7780", to which "/broker", "/store", "/kernels", "/registry", "/dvm", "/node", "/host"
  /// are added.
  [[nodiscard]] std::string url() const;
  [[nodiscard]] ServerStats stats() const;
  /// Closes every connection and waits for the requests being answered. Twice is no error.
  void stop();

 private:
  class Core;
  explicit SoapServer(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

/// The published WSDL of a service ("broker", "store", "kernels", "registry", "dvm", "node", "host") for an
/// address, as ?wsdl answers it; empty where there is no such service.
[[nodiscard]] std::string wsdl_of(const std::string& service, const std::string& base_url);

}  // namespace mvm::soap
