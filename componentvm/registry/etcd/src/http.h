#pragma once
// POST over libcurl, whole and streamed. Only http.cpp includes curl.h.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/registry/etcd/etcd_registry.h"

namespace mvm::registry {

/// How a request ended.
struct HttpReply {
  enum class End {
    kAnswered,  ///< status and body are there
    kNotSent,   ///< no connection: the other side has seen nothing of it
    kUnknown,   ///< sent, or in part; no whole answer
  };
  End end = End::kUnknown;
  long status = 0;
  std::string body;
  std::string fault;  ///< where it was not answered
};

/// Thread-safe; keeps its connections.
class HttpClient {
 public:
  explicit HttpClient(const EtcdOptions& options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  [[nodiscard]] HttpReply post(const std::string& url, const std::string& body,
                               std::chrono::milliseconds timeout);
  /// Hands over the answer piece by piece until it ends, `take` answers false, `stop` is set (seen within
  /// 100 ms) or the time is over.
  HttpReply stream(const std::string& url, const std::string& body,
                   std::chrono::steady_clock::time_point ends, const std::atomic<bool>& stop,
                   const std::function<bool(std::string_view)>& take);

 private:
  struct Handle;
  std::unique_ptr<Handle> take_handle();
  void set_up(Handle& handle, const std::string& url, const std::string& body) const;

  EtcdOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_;
};

}  // namespace mvm::registry
