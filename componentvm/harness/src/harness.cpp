// SPDX-License-Identifier: Apache-2.0
#include "harness.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "bootstrap.h"

// docs/formats/frame.md: "MVM1", length of the head, length of the blob, CRC-32 of the lengths.
struct H_result {
  struct One {
    std::string kernel;
    std::string reason;
  };
  int code = H_FAILED;
  std::string message;
  std::string answer = "null";
  std::array<std::vector<One>, 4> lists;
};

struct H_context {
  std::mutex mutex;
  std::string vm;
  std::string user;
  std::string password;
  pid_t process = 0;
  int fd = -1;
  ~H_context() {
    if (fd >= 0 && process == ::getpid()) ::close(fd);
  }
};

namespace {

constexpr std::size_t kHeader = 16;
constexpr std::size_t kLongest = 64 << 20;
constexpr int kPatienceMs = 700'000;  // a command's longest deadline and more

thread_local std::string last_error;

std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffU;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xedb88320U & (0U - (crc & 1)));
  }
  return ~crc;
}

void put_number(std::string& bytes, std::size_t number) {
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((number >> shift) & 0xff);
}

std::size_t number_at(const char* bytes) {
  std::size_t number = 0;
  for (int i = 3; i >= 0; --i) number = (number << 8) | static_cast<unsigned char>(bytes[i]);
  return number;
}

/// Control characters and quotes; what is no UTF-8 the kernel refuses.
std::string quoted(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      json += "\\u00";
      json += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      json += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
      continue;
    }
    if (c == '"' || c == '\\') json += '\\';
    json += c;
  }
  return json + '"';
}

std::string request_of(const std::vector<std::string>& words) {
  std::string head = "{\"argv\":[";
  for (const std::string& word : words) head += (head.back() == '[' ? "" : ",") + quoted(word);
  head += "]}";
  std::string lengths;
  put_number(lengths, head.size());
  put_number(lengths, 0);
  std::string bytes = "MVM1" + lengths;
  put_number(bytes, crc32(lengths));
  return bytes + head;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool receive_all(int fd, char* bytes, std::size_t size) {
  while (size > 0) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t got = ::recv(fd, bytes, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

/// The blobs of the frames of one answer.
bool receive(int fd, std::string& lines) {
  lines.clear();
  for (bool more = true; more;) {
    char header[kHeader];
    if (!receive_all(fd, header, sizeof header) || std::memcmp(header, "MVM1", 4) != 0) return false;
    const std::size_t head = number_at(header + 4);
    const std::size_t blob = number_at(header + 8);
    if (head > (1U << 20) || blob > (1U << 20) || lines.size() + blob > kLongest) return false;
    std::string text(head, '\0');
    if (!receive_all(fd, text.data(), head)) return false;
    more = text.find("\"more\"") != std::string::npos;
    const std::size_t before = lines.size();
    lines.resize(before + blob);
    if (!receive_all(fd, lines.data() + before, blob)) return false;
  }
  return true;
}

void read_line(std::string_view line, H_result& result) {
  const std::size_t space = line.find(' ');
  const std::string_view kind = line.substr(0, space);
  const std::string_view rest = space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
  if (kind == "code") {
    std::from_chars(rest.data(), rest.data() + rest.size(), result.code);
  } else if (kind == "message") {
    result.message = rest;
  } else if (kind == "answer") {
    result.answer = rest;
  } else {
    static constexpr std::array<std::string_view, 4> kLists{"able", "unable", "failed", "owing"};
    for (std::size_t i = 0; i < kLists.size(); ++i)
      if (kind == kLists[i]) {
        const std::size_t end = rest.find(' ');
        result.lists[i].push_back({std::string(rest.substr(0, end)),
                                   end == std::string_view::npos ? "" : std::string(rest.substr(end + 1))});
      }
  }
}

H_result failure(int code, std::string message) {
  last_error = message;
  H_result result;
  result.code = code;
  result.message = std::move(message);
  return result;
}

/// One exchange; a broken connection is closed.
bool exchange(H_context& context, const std::vector<std::string>& words, H_result& result) {
  std::string lines;
  if (!send_all(context.fd, request_of(words)) || !receive(context.fd, lines)) {
    ::close(context.fd);
    context.fd = -1;
    return false;
  }
  std::string_view rest = lines;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    read_line(rest.substr(0, end), result);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (result.code != H_OK) last_error = result.message;
  return true;
}

/// Connects and registers where that has not been done, or the kernel is another one by now.
H_result enter(H_context& context) {
  if (context.fd >= 0 && context.process == ::getpid()) {
    H_result known;
    known.code = H_OK;
    return known;
  }
  std::string trouble;
  context.process = ::getpid();
  context.fd = harness::connect_kernel(context.vm, trouble);
  if (context.fd < 0) return failure(H_UNREACHABLE, trouble);
  H_result result;
  if (!exchange(context, {"registerUser", context.user, context.password}, result))
    return failure(H_UNREACHABLE, "the kernel of " + context.vm + " went away");
  if (result.code != H_OK && context.fd >= 0) {
    ::close(context.fd);
    context.fd = -1;
  }
  return result;
}

/// A command is sent once: whether it was carried out by a kernel that went away, getvminfo commands tells.
H_result command(H_context& context, const std::vector<std::string>& words) {
  const std::lock_guard lock(context.mutex);
  if (context.fd >= 0) {  // a kernel that ended meanwhile has taken nothing from us
    char byte = 0;
    if (::recv(context.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
      ::close(context.fd);
      context.fd = -1;
    }
  }
  if (H_result entered = enter(context); entered.code != H_OK) return entered;
  H_result result;
  if (exchange(context, words, result)) return result;
  return failure(H_UNREACHABLE,
                 "the kernel of " + context.vm + " went away; nobody here knows whether it was done");
}

std::mutex contexts_mutex;

std::map<std::string, std::shared_ptr<H_context>>& contexts() {
  // Never destroyed: threads may still be in a call when the process ends.
  static auto* all = new std::map<std::string, std::shared_ptr<H_context>>();
  return *all;
}

std::shared_ptr<H_context> context_of(const char* vm) {
  const std::lock_guard lock(contexts_mutex);
  const auto found = contexts().find(vm);
  return found == contexts().end() ? nullptr : found->second;
}

H_result* give(H_result result) { return new H_result(std::move(result)); }

H_result* component(H_context* context, const char* verb, const char* name, const char* targets,
                    const char* qos, std::vector<std::string> more = {}) {
  if (context == nullptr || name == nullptr)
    return give(failure(H_INVALID, "expected a context and a component"));
  std::vector<std::string> words{verb, name, targets != nullptr ? targets : "all",
                                 qos != nullptr ? qos : "all-or-none"};
  words.insert(words.end(), more.begin(), more.end());
  return give(command(*context, words));
}

}  // namespace

extern "C" {

int H_registerUser(const char* vm, const char* user, const char* password) {
  if (vm == nullptr || user == nullptr || password == nullptr)
    return failure(H_INVALID, "registerUser: expected a machine, a user and a password").code;
  auto context = std::make_shared<H_context>();
  context->vm = vm;
  context->user = user;
  context->password = password;
  const H_result entered = enter(*context);
  if (entered.code != H_OK) return entered.code;
  const std::lock_guard lock(contexts_mutex);
  contexts()[vm] = std::move(context);
  return H_OK;
}

H_result* H_command(const char* vm, int argc, const char* const argv[]) {
  if (vm == nullptr || argc < 1 || argv == nullptr)
    return give(failure(H_INVALID, "expected a machine and a command"));
  std::vector<std::string> words;
  for (int i = 0; i < argc; ++i) words.emplace_back(argv[i] != nullptr ? argv[i] : "");
  if (words[0] == "registerUser") {
    if (words.size() != 3) return give(failure(H_INVALID, "registerUser: expected a name and a password"));
    H_result result;
    result.code = H_registerUser(vm, words[1].c_str(), words[2].c_str());
    result.message = result.code == H_OK ? "registered" : last_error;
    return give(std::move(result));
  }
  const auto context = context_of(vm);
  if (!context) return give(failure(H_REFUSED, "registerUser comes before any other command"));
  return give(command(*context, words));
}

void H_free(H_result* result) { delete result; }

int H_code(const H_result* result) { return result->code; }
const char* H_message(const H_result* result) { return result->message.c_str(); }
const char* H_answer(const H_result* result) { return result->answer.c_str(); }

size_t H_count(const H_result* result, H_list list) {
  const auto index = static_cast<std::size_t>(list);
  return index < result->lists.size() ? result->lists[index].size() : 0;
}

const char* H_kernel(const H_result* result, H_list list, size_t index) {
  return index < H_count(result, list) ? result->lists[static_cast<std::size_t>(list)][index].kernel.c_str()
                                       : "";
}

const char* H_reason(const H_result* result, H_list list, size_t index) {
  return index < H_count(result, list) ? result->lists[static_cast<std::size_t>(list)][index].reason.c_str()
                                       : "";
}

const char* H_error(void) { return last_error.c_str(); }

H_context* H_register(const char* vm, const char* user, const char* password) {
  if (vm == nullptr || user == nullptr || password == nullptr) {
    last_error = "register: expected a machine, a user and a password";
    return nullptr;
  }
  auto context = std::make_unique<H_context>();
  context->vm = vm;
  context->user = user;
  context->password = password;
  if (enter(*context).code != H_OK) return nullptr;
  return context.release();
}

void H_leave(H_context* context) { delete context; }

H_result* H_load(H_context* context, const char* name, const char* targets, const char* qos) {
  return component(context, "load", name, targets, qos);
}

H_result* H_unload(H_context* context, const char* name, const char* targets, const char* qos) {
  return component(context, "unload", name, targets, qos);
}

H_result* H_run(H_context* context, const char* name, const char* targets, const char* qos, int argc,
                const char* const argv[]) {
  std::vector<std::string> more{"--"};
  for (int i = 0; i < argc; ++i) more.emplace_back(argv[i] != nullptr ? argv[i] : "");
  return component(context, "run", name, targets, qos, more);
}

H_result* H_stop(H_context* context, const char* name, const char* targets, const char* qos) {
  return component(context, "stop", name, targets, qos);
}

H_result* H_getvminfo(H_context* context, const char* key) {
  if (context == nullptr || key == nullptr)
    return give(failure(H_INVALID, "getvminfo: expected a context and a key"));
  return give(command(*context, {"getvminfo", key}));
}

}  // extern "C"
