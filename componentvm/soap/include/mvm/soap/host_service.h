#pragma once
// The generic service between broker and hosts: an operation by name, JSON in, JSON out, bytes beside it.
// host/remote puts HostAgent on top of it.

#include <chrono>
#include <memory>
#include <string>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"
#include "mvm/soap/certificate.h"

namespace mvm::soap {

/// Answer of an operation: a JSON object as text, and bytes.
struct HostReply {
  std::string result = "{}";
  std::string blob;  ///< at most 4 MiB
};

/// What a host offers to its broker (server side; several threads at once), and what the broker calls
/// (HostClient implements it again). `caller.user` is the common name of the peer's certificate.
class HostService {
 public:
  virtual ~HostService() = default;
  /// `arguments` is a JSON object as text, bounded in size but not otherwise checked. `timeout` is how long
  /// the caller will wait.
  [[nodiscard]] virtual Result<HostReply> call(const Caller& caller, const std::string& op,
                                               const std::string& arguments, std::string blob,
                                               std::chrono::milliseconds timeout) = 0;
  /// As call(), where the host may wait up to `wait` (25 s at most) before it answers: events, consoles.
  [[nodiscard]] virtual Result<HostReply> poll(const Caller& caller, const std::string& op,
                                               const std::string& arguments,
                                               std::chrono::milliseconds wait) = 0;
  [[nodiscard]] virtual Status put_blob(const Caller& caller, const std::string& digest,
                                        const PieceReader& reader) = 0;
  [[nodiscard]] virtual Status get_blob(const Caller& caller, const std::string& digest,
                                        const PieceWriter& writer) = 0;
};

/// How to reach a host.
struct HostClientOptions {
  std::string url;  ///< "https://NAME:PORT"
  TlsFiles tls;     ///< our certificate, and the authority that signed the host's
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{60'000};  ///< silence that ends a call
};

/// Calls a host's service. Every method may be called from any thread; `caller` is ignored, since our
/// certificate says who we are.
class HostClient final : public HostService {
 public:
  [[nodiscard]] static Result<std::unique_ptr<HostClient>> create(const HostClientOptions& options);
  ~HostClient() override;
  /// Ends every call under way with kUnavailable, and every later one.
  void stop();
  [[nodiscard]] Result<HostReply> call(const Caller& caller, const std::string& op,
                                       const std::string& arguments, std::string blob,
                                       std::chrono::milliseconds timeout) override;
  [[nodiscard]] Result<HostReply> poll(const Caller& caller, const std::string& op,
                                       const std::string& arguments, std::chrono::milliseconds wait) override;
  [[nodiscard]] Status put_blob(const Caller& caller, const std::string& digest,
                                const PieceReader& reader) override;
  [[nodiscard]] Status get_blob(const Caller& caller, const std::string& digest,
                                const PieceWriter& writer) override;

 private:
  struct State;
  explicit HostClient(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mvm::soap
