#pragma once
// What all clients share: connections kept for the next call, the token, TLS, errors out of faults.

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/soap/broker_api.h"
#include "mvm/soap/connection.h"
#include "soapH.h"

namespace mvm::soap {

struct WireOptions {
  std::string url;                             ///< "http://HOST:PORT" or "https://HOST:PORT"
  std::string token;                           ///< empty: none
  std::filesystem::path ca, certificate, key;  ///< TLS; certificate and key may be empty
  std::string authority;      ///< instead of `ca`: the fingerprint of the authority that the server must show
  std::string peer;           ///< the name its certificate must have; empty: the URL's
  bool plain_in_lab = false;  ///< plain HTTP beyond loopback: between nodes, within their lab's network
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{60'000};
  std::chrono::milliseconds busy_retry{5'000};
};

/// One end of calls to one server. Thread-safe: each call under way has a gSOAP context and a connection of
/// its own.
class WireClient {
 public:
  [[nodiscard]] static Result<std::unique_ptr<WireClient>> create(WireOptions options);
  ~WireClient();

  /// Runs `call(context, endpoint)`, which calls one operation of the service at `path` ("/broker") and
  /// takes its answer out of the context's memory. `wait`: how long the server may take on purpose.
  /// Tries again while the server says Busy.
  [[nodiscard]] Status call(const char* path, std::chrono::milliseconds wait,
                            const std::function<int(struct soap*, const char*)>& call);
  /// As call() without repetition; attachments go out from `reader` or come in to `writer`.
  [[nodiscard]] Status transfer(const char* path, const PieceReader* reader, const PieceWriter* writer,
                                const std::function<int(struct soap*, const char*)>& call);

  /// Ends every call under way with kUnavailable, and every later one.
  void stop();

  struct Line;  ///< a context and its connection

 private:
  explicit WireClient(WireOptions options);
  [[nodiscard]] std::unique_ptr<Line> take();
  void give(std::unique_ptr<Line> line);
  [[nodiscard]] Status run(Line& line, const char* path,
                           const std::function<int(struct soap*, const char*)>& call) const;

  WireOptions options_;
  std::string host_, port_, base_;  ///< base: "http://HOST:PORT" for gSOAP, which does not see TLS
  UniqueSslContext tls_;
  /// A connection begins or ends; false once stopped.
  [[nodiscard]] bool opened(int fd) const;
  void closing(int fd) const;

  mutable std::mutex mutex_;
  mutable std::set<int> open_;  ///< connections of all lines, to be cut by stop()
  bool stopped_ = false;
  std::vector<std::unique_ptr<Line>> free_;
};

}  // namespace mvm::soap
