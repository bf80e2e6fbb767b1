#include "launcher_client.h"

#include <sys/socket.h>

#include "mvm/base/json.h"

namespace mvm::kernel {

LauncherClient::~LauncherClient() {
  ::shutdown(socket_.get(), SHUT_RDWR);
  if (thread_.joinable()) thread_.join();
}

void LauncherClient::start(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  thread_ = std::thread([this] { read(); });
}

void LauncherClient::read() {
  FrameReader reader(socket_.get());
  for (;;) {
    auto frame = reader.read();
    if (!frame) break;
    if (text_or(frame->head, "t") != "rep") {
      callbacks_.notice(frame->head);
      continue;
    }
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(number_or(frame->head, "n"));
    if (found != waiting_.end()) found->second = std::move(*frame);
    answered_.notify_all();
  }
  {
    const std::lock_guard lock(mutex_);
    lost_ = true;
    answered_.notify_all();
  }
  callbacks_.lost();
}

Result<Frame> LauncherClient::ask(const std::string& op, nlohmann::json args, std::string_view blob,
                                  const std::vector<int>& descriptors) {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    if (lost_) return Error(ErrorCode::kUnavailable, "the launcher is gone");
    number = next_++;
    waiting_.emplace(number, std::nullopt);
  }
  nlohmann::json head{{"t", "req"}, {"n", number}, {"op", op}, {"args", std::move(args)}};
  Status sent = ok();
  if (head.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).size() > kMaxFrameText - 64) {
    sent = Error(ErrorCode::kInvalid, op + ": more than one frame can carry");
  } else {
    const std::lock_guard lock(write_mutex_);
    sent = send_frame(socket_.get(), head, blob, descriptors);
  }
  std::unique_lock lock(mutex_);
  auto mine = waiting_.find(number);
  if (sent) answered_.wait(lock, [&] { return mine->second.has_value() || lost_; });
  std::optional<Frame> answer = std::move(mine->second);
  waiting_.erase(mine);
  if (!sent) return sent.error();
  if (!answer) return Error(ErrorCode::kUnavailable, "the launcher is gone");
  if (!flag_or(answer->head, "ok")) {
    const nlohmann::json& error = object_or_empty(answer->head, "error");
    return Error(error_code_from(text_or(error, "code")), text_or(error, "message"));
  }
  answer->head = object_or_empty(nlohmann::json(answer->head), "result");
  return std::move(*answer);
}

}  // namespace mvm::kernel
