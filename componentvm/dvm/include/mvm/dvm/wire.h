#pragma once
// Messages between the kernels of a distributed virtual machine: frames (base/frame.h) whose blob is one JSON
// object, sealed with a key that only holders of the machine's secret can make. docs/formats/dvm.md

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "mvm/base/frame.h"
#include "mvm/base/result.h"

namespace mvm::dvm {

inline constexpr std::uint64_t kProtocol = 1;
inline constexpr std::size_t kShortestSecret = 16;

/// The longest message; longer than a frame, it travels in several.
inline constexpr std::size_t kLongestMessage = 64 << 20;

/// JSON as text; what is no UTF-8 in it is replaced.
[[nodiscard]] std::string text_of(const nlohmann::json& json);
/// HMAC-SHA-256, 32 bytes.
[[nodiscard]] std::string authenticate(std::string_view key, std::string_view text);
/// In time that does not depend on where they differ.
[[nodiscard]] bool same_secret(std::string_view a, std::string_view b);

/// What both ends of a connection said before either was believed.
struct Introduction {
  std::string vm;
  std::string caller;        ///< the kernel that connected
  std::string called;        ///< the kernel that was connected to
  std::string caller_nonce;  ///< 32 hexadecimal digits
  std::string called_nonce;

  /// What an end sends to show that it knows the secret.
  [[nodiscard]] std::string proof(std::string_view secret, bool of_caller) const;
  /// Key for what that end sends.
  [[nodiscard]] std::string key(std::string_view secret, bool of_caller) const;
};

/// Makes the tags of messages under one key: HMAC-SHA-256 whose work on the key is done once.
class Tagger {
 public:
  explicit Tagger(std::string_view key);
  ~Tagger();
  Tagger(Tagger&&) noexcept;
  Tagger& operator=(Tagger&&) noexcept;
  /// 16 bytes in hexadecimal, of a message in its place.
  [[nodiscard]] std::string tag(std::uint64_t count, std::string_view text) const;

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// Seals the messages of one direction of one connection, each once and in order. Not thread-safe.
class Sealer {
 public:
  explicit Sealer(std::string_view key) : tagger_(key) {}
  /// Frames around `text`, at most kLongestMessage bytes.
  [[nodiscard]] std::string seal(std::string_view text);

 private:
  Tagger tagger_;
  std::uint64_t count_ = 0;
};

/// Opens them.
class Opener {
 public:
  explicit Opener(std::string_view key) : tagger_(key) {}
  /// The message, an object; nothing where more frames of it are to come; kRefused where it was not sealed
  /// with this key, or lost, repeated, reordered.
  [[nodiscard]] Result<std::optional<nlohmann::json>> open(const Frame& frame);

 private:
  std::string begun_;
  Tagger tagger_;
  std::uint64_t count_ = 0;
};

/// The datagram by which a kernel asks for a machine, and back: the vm, the kernel's name and address.
struct JoinCall {
  std::string vm;
  std::string kernel;
  std::string address;
};
[[nodiscard]] std::string join_datagram(const JoinCall& call, std::string_view secret);
[[nodiscard]] Result<JoinCall> read_join_datagram(std::string_view bytes, std::string_view secret);

}  // namespace mvm::dvm
