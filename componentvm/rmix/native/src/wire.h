#pragma once
// The native protocol's bytes: docs/formats/rmix-native.md. All that is read here is hostile.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/rmix/interface.h"
#include "mvm/rmix/outcome.h"
#include "mvm/rmix/provider.h"

namespace mvm::rmix::native {

inline constexpr std::uint16_t kVersion = 1;
inline constexpr std::size_t kHeader = 16;
inline constexpr std::size_t kMostHello = 64U << 10U;  // of a frame before the greeting is over
inline constexpr std::size_t kMostOpen = 1024;         // calls of one connection that are not answered

enum class FrameType : std::uint8_t {
  kHello = 1,    ///< client, first: who it is and what it wants
  kWelcome = 2,  ///< server: go on
  kRefused = 3,  ///< server: why not; then it closes
  kCall = 4,
  kCancel = 5,
  kResult = 6,
  kException = 7,
  kFailure = 8,
  kGoodbye = 9,  ///< server: calls with higher numbers will not run
};

/// The first 16 bytes of a frame.
struct Header {
  std::uint32_t size = 0;  ///< of what follows
  FrameType type = FrameType::kHello;
  std::uint16_t method = 0;  ///< of kCall; of kException its place among the method's
  std::uint64_t number = 0;  ///< of the call
};

struct Hello {
  std::uint16_t version = kVersion;
  std::string service;
  std::string interface;  ///< "calculator/1"
  std::string digest;     ///< of the interface
  std::string token;
  std::string server;  ///< the server that is meant; empty: whichever
};

/// Writes one frame; the header's size is filled in at the end.
class Writer {
 public:
  Writer(FrameType type, std::uint64_t number, std::uint16_t method = 0);
  void number(std::uint64_t value, std::size_t bytes);
  void text(std::string_view text);
  void value(const Value& value);
  void values(const std::vector<Value>& values) {
    for (const Value& one : values) value(one);
  }
  /// The whole frame; kExhausted where it is too big.
  [[nodiscard]] Result<std::string> finish() &&;

 private:
  std::string bytes_;
};

[[nodiscard]] Result<Header> read_header(std::span<const std::byte, kHeader> bytes);

[[nodiscard]] std::string write_hello(const Hello& hello);
[[nodiscard]] Result<Hello> read_hello(std::span<const std::byte> body);
[[nodiscard]] std::string write_refused(const Error& error);
[[nodiscard]] Error read_refused(std::span<const std::byte> body);

/// `left`: milliseconds until the deadline; 0: none.
[[nodiscard]] Result<std::string> write_call(std::uint64_t number, std::uint32_t method, std::uint32_t left,
                                             const std::vector<Value>& arguments);
struct CallBody {
  std::uint32_t left = 0;
  std::vector<Value> arguments;
};
[[nodiscard]] Result<CallBody> read_call(std::span<const std::byte> body, const Method& method);

/// Never fails: what is too big becomes a failure.
[[nodiscard]] std::string write_outcome(std::uint64_t number, const Method& method, const Outcome& outcome);
[[nodiscard]] Result<Outcome> read_outcome(const Header& header, std::span<const std::byte> body,
                                           const Method& method);
[[nodiscard]] std::string write_empty(FrameType type, std::uint64_t number);

}  // namespace mvm::rmix::native
