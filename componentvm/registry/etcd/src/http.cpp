#include "http.h"

#include <curl/curl.h>

#include <algorithm>

namespace mvm::registry {
namespace {

constexpr std::size_t kMaxBody = 64U << 20U;
constexpr std::size_t kMaxIdle = 64;
constexpr long kConnectMs = 1000;

struct FreeEasy {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct FreeMulti {
  void operator()(CURLM* handle) const { curl_multi_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

using Take = std::function<bool(std::string_view)>;

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* context) {
  const auto& take = *static_cast<const Take*>(context);
  return take(std::string_view(bytes, size * count)) ? size * count : 0;
}

/// What a code of libcurl says about whether the request arrived.
HttpReply::End end_of(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return HttpReply::End::kAnswered;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
      return HttpReply::End::kNotSent;
    default:
      return HttpReply::End::kUnknown;
  }
}

/// libcurl's global state: one for the process, before its first use.
void initialise() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(done);
}

}  // namespace

struct HttpClient::Handle {
  std::unique_ptr<CURL, FreeEasy> easy{curl_easy_init()};
  std::unique_ptr<curl_slist, FreeList> headers;
  char error[CURL_ERROR_SIZE] = {};

  /// Whether the connection was made: only then can anything have been sent.
  [[nodiscard]] bool connected() const {
    curl_off_t pretransfer = 0;
    return curl_easy_getinfo(easy.get(), CURLINFO_PRETRANSFER_TIME_T, &pretransfer) != CURLE_OK ||
           pretransfer > 0;
  }
  [[nodiscard]] HttpReply reply(CURLcode code, std::string body) const {
    HttpReply reply{.end = end_of(code), .status = 0, .body = std::move(body), .fault = {}};
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &reply.status);
    if (code == CURLE_OPERATION_TIMEDOUT && !connected()) reply.end = HttpReply::End::kNotSent;
    if (code != CURLE_OK) reply.fault = error[0] != '\0' ? error : curl_easy_strerror(code);
    return reply;
  }
};

HttpClient::HttpClient(const EtcdOptions& options) : options_(options) { initialise(); }
HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Handle> HttpClient::take_handle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Handle>();
  auto handle = std::move(idle_.back());
  idle_.pop_back();
  return handle;
}

void HttpClient::set_up(Handle& handle, const std::string& url, const std::string& body) const {
  CURL* easy = handle.easy.get();
  curl_easy_reset(easy);
  handle.error[0] = '\0';
  // No "Expect: 100-continue": it would cost a large value another round trip.
  // A member without a leader is to say so, and to end its streams.
  if (!handle.headers) {
    handle.headers.reset(curl_slist_append(nullptr, "Content-Type: application/json"));
    curl_slist_append(handle.headers.get(), "Expect:");
    curl_slist_append(handle.headers.get(), "Grpc-Metadata-hasleader: true");
  }
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, handle.headers.get());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, handle.error);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  if (!options_.authority.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options_.authority.c_str());
  if (!options_.certificate.empty()) curl_easy_setopt(easy, CURLOPT_SSLCERT, options_.certificate.c_str());
  if (!options_.key.empty()) curl_easy_setopt(easy, CURLOPT_SSLKEY, options_.key.c_str());
}

HttpReply HttpClient::post(const std::string& url, const std::string& body,
                           std::chrono::milliseconds timeout) {
  auto handle = take_handle();
  set_up(*handle, url, body);
  std::string answer;
  const Take take = [&](std::string_view piece) {
    if (answer.size() + piece.size() > kMaxBody) return false;
    answer.append(piece);
    return true;
  };
  CURL* easy = handle->easy.get();
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &take);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, std::max<long>(1, static_cast<long>(timeout.count())));
  const CURLcode code = curl_easy_perform(easy);
  HttpReply reply = handle->reply(code, std::move(answer));
  const std::lock_guard lock(mutex_);
  if (code == CURLE_OK && idle_.size() < kMaxIdle) idle_.push_back(std::move(handle));
  return reply;
}

HttpReply HttpClient::stream(const std::string& url, const std::string& body,
                             std::chrono::steady_clock::time_point ends, const std::atomic<bool>& stop,
                             const std::function<bool(std::string_view)>& take) {
  Handle handle;
  set_up(handle, url, body);
  CURL* easy = handle.easy.get();
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &take);
  const std::unique_ptr<CURLM, FreeMulti> multi(curl_multi_init());
  curl_multi_add_handle(multi.get(), easy);
  int running = 1;
  while (running != 0 && !stop) {
    curl_multi_perform(multi.get(), &running);
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(ends - std::chrono::steady_clock::now()).count();
    if (running == 0 || left <= 0) break;
    curl_multi_poll(multi.get(), nullptr, 0, static_cast<int>(std::min<std::int64_t>(left, 100)), nullptr);
  }
  CURLcode code = CURLE_OPERATION_TIMEDOUT;
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left))
    if (message->msg == CURLMSG_DONE) code = message->data.result;
  HttpReply reply = handle.reply(code, {});
  curl_multi_remove_handle(multi.get(), easy);
  return reply;
}

}  // namespace mvm::registry
