#include "door.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/log.h"

namespace mvm::dvm {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using nlohmann::json;

constexpr std::size_t kMostGuests = 256;
constexpr std::size_t kDoorPiece = 512 << 10;

/// Lines, so that a library without a JSON reader understands them.
std::string lines_of(const Reply& reply) {
  const auto flat = [](std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
  };
  std::string lines = "code " + std::to_string(reply.code) + "\nmessage " + flat(reply.message) + "\n";
  for (const json& kernel : array_or_empty(reply.answer, "able"))
    if (kernel.is_string()) lines += "able " + kernel.get_ref<const std::string&>() + "\n";
  for (const char* kind : {"unable", "failed"})
    for (const json& one : array_or_empty(reply.answer, kind))
      lines += std::string(kind) + " " + text_or(one, "kernel") + " " + flat(text_or(one, "reason")) + "\n";
  for (const json& kernel : array_or_empty(reply.answer, "owing"))
    if (kernel.is_string()) lines += "owing " + kernel.get_ref<const std::string&>() + "\n";
  return lines + "answer " + text_of(reply.answer) + "\n";
}

}  // namespace

/// An application.
class Door::Guest : public std::enable_shared_from_this<Guest> {
 public:
  Guest(Protocol::socket socket, Door& door) : socket_(std::move(socket)), door_(&door) {
    ucred peer{};
    socklen_t size = sizeof peer;
    owner_ = ::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
             peer.uid == ::geteuid();
  }
  void start() { read(); }
  void close() {
    door_ = nullptr;
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  void leave() {
    if (door_ == nullptr) return;
    const auto self = shared_from_this();
    Door* door = door_;
    close();
    door->guests_.erase(self);
  }

  void read() {
    socket_.async_read_some(asio::buffer(buffer_),
                            [self = shared_from_this()](const error_code& problem, std::size_t size) {
                              if (self->door_ == nullptr) return;
                              if (problem) return self->leave();
                              self->decoder_.feed({self->buffer_.data(), size});
                              self->next();
                            });
  }

  /// One request at a time: the next one is looked at when this one is answered.
  void next() {
    if (busy_ || door_ == nullptr) return;
    auto frame = decoder_.next();
    if (!frame) return leave();
    if (!*frame) return read();
    auto words = texts_of((*frame)->head, "argv", 1024, 1 << 20);
    if (!words) return answer({2, words.error().message(), {}});
    busy_ = true;
    if (!words->empty() && words->front() == "registerUser") return enter(*words);
    if (!context_) return answer({7, "registerUser comes first", {}});
    door_->console_.run(*context_, *words,
                        [self = shared_from_this()](const Reply& reply) { self->answer(reply); });
  }

  void enter(const std::vector<std::string>& words) {
    if (words.size() != 3) return answer({2, "registerUser: expected a name and a password", {}});
    door_->console_.register_user(
        words[1], words[2], owner_, [self = shared_from_this()](Result<SecurityContext> context) {
          if (!context) {
            log::warning("dvm.user-refused", {{"reason", context.error().message()}});
            return self->answer({7, context.error().message(), {}});
          }
          self->context_ = *context;
          self->answer({0, "user " + context->user + " is " + std::string(to_string(context->role)), {}});
        });
  }

  void answer(const Reply& reply) {
    if (door_ == nullptr) return;
    std::string lines = lines_of(reply);
    bytes_.clear();
    for (std::size_t at = 0; at < lines.size(); at += kDoorPiece) {
      const bool more = at + kDoorPiece < lines.size();
      bytes_ += encode_frame(more ? json{{"more", true}} : json::object(),
                             std::string_view(lines).substr(at, kDoorPiece));
    }
    asio::async_write(socket_, asio::buffer(bytes_),
                      [self = shared_from_this()](const error_code& problem, std::size_t) {
                        if (problem) return self->leave();
                        self->busy_ = false;
                        self->next();
                      });
  }

  Protocol::socket socket_;
  Door* door_;  // null once it is closed
  bool owner_ = false;
  bool busy_ = false;
  std::array<char, 4096> buffer_{};
  std::string bytes_;
  FrameDecoder decoder_;
  std::optional<SecurityContext> context_;
};

Door::Door(asio::io_context& loop, std::filesystem::path path, Console& console)
    : acceptor_(loop), path_(std::move(path)), console_(console) {}

/// A socket that a dead kernel left behind is replaced.
Result<std::unique_ptr<Door>> Door::open(asio::io_context& loop, const std::filesystem::path& path,
                                         Console& console) {
  constexpr std::size_t kLongestPath = 107;
  if (path.string().size() > kLongestPath)
    return Error(ErrorCode::kInvalid, "socket " + path.string() + ": the path is too long");
  MVM_TRY(make_folders(path.parent_path(), 0700));
  std::unique_ptr<Door> door(new Door(loop, path, console));
  (void)::unlink(path.c_str());
  error_code problem;
  door->acceptor_.open(Protocol(), problem);
  if (!problem) door->acceptor_.bind(Protocol::endpoint(path.string()), problem);
  if (!problem && ::chmod(path.c_str(), 0600) != 0) return Error::from_errno(errno, "chmod " + path.string());
  if (!problem) door->acceptor_.listen(64, problem);
  if (problem) return Error(ErrorCode::kIo, "socket " + path.string() + ": " + problem.message());
  door->accept();
  return door;
}

void Door::accept() {
  acceptor_.async_accept([this](const error_code& problem, Protocol::socket socket) {
    if (problem == asio::error::operation_aborted || !acceptor_.is_open()) return;
    if (!problem && guests_.size() < kMostGuests) {
      auto guest = std::make_shared<Guest>(std::move(socket), *this);
      guests_.insert(guest);
      guest->start();
    }
    accept();
  });
}

Door::~Door() {
  error_code ignored;
  acceptor_.close(ignored);
  for (const auto& guest : guests_) guest->close();
  (void)::unlink(path_.c_str());
}

}  // namespace mvm::dvm
