// SPDX-License-Identifier: Apache-2.0
//
// libmvm for C++20: the same calls with types. Header only, on top of mvm.h.
//
//     mvm::Process self;                                  // attaches; detaches when it goes
//     auto in = self.in<double>("from-left");
//     auto out = self.out<double>("to-right");
//     while (auto row = in.receive_all()) out.send(*row);  // until the end of the stream
//
// Numbers and arrays of numbers cross between machines of either byte order; other trivially copyable types
// go as they lie in memory, between machines of one architecture. Failures that a program can only report are
// thrown as mvm::Failure; time-outs, ends and drops are results.
#ifndef MVM_HPP
#define MVM_HPP

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "mvm.h"

namespace mvm {

/// A call failed in a way that is no normal course of a stream. code() is one of the MVM_* values.
class Failure : public std::runtime_error {
 public:
  Failure(std::int64_t code, const std::string& what)
      : std::runtime_error(what), code_(static_cast<int>(code)) {}
  [[nodiscard]] int code() const noexcept { return code_; }

 private:
  int code_;
};

/// A producer died before its stream ended.
class PeerDied : public Failure {
 public:
  using Failure::Failure;
};

namespace internal {

[[noreturn]] inline void fail(std::int64_t code) {
  const char* why = mvm_error();
  const std::string text = *why != '\0' ? why : mvm_strerror(code);
  if (code == MVM_PEERDEAD) throw PeerDied(code, text);
  throw Failure(code, text);
}

inline std::int64_t check(std::int64_t result) {
  if (result < 0) fail(result);
  return result;
}

/// Turns numbers of more than one byte around on big-endian machines: the wire is little-endian.
template <class T>
void to_from_wire([[maybe_unused]] T* values, [[maybe_unused]] std::size_t count) {
  if constexpr (std::endian::native == std::endian::big && std::is_arithmetic_v<T> && sizeof(T) > 1) {
    for (std::size_t i = 0; i < count; ++i) {
      auto* bytes = reinterpret_cast<unsigned char*>(values + i);
      std::reverse(bytes, bytes + sizeof(T));
    }
  }
}

inline constexpr bool kWireIsMemory = std::endian::native == std::endian::little;

}  // namespace internal

/// Options of a call, by chaining: mvm::Options().timeout(5ms).priority(7).
class Options {
 public:
  Options() = default;
  template <class Rep, class Period>
  Options& timeout(std::chrono::duration<Rep, Period> time) {
    raw_.timeout_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    return *this;
  }
  Options& priority(std::uint32_t value) { return raw_.priority = value, *this; }
  Options& key(std::uint64_t value) { return raw_.key = value, *this; }
  [[nodiscard]] const mvm_opts* raw() const { return &raw_; }

 private:
  mvm_opts raw_ = MVM_OPTS_INIT;
};

/// What became of a message that was sent.
enum class Sent { kYes, kTimeout, kFull, kDropped, kNobodyReads };

/// A port by its handle; In and Out add the types.
class Port {
 public:
  explicit Port(int handle) : handle_(handle) {}
  [[nodiscard]] int handle() const { return handle_; }
  /// Closes the port early.
  void done() const { internal::check(mvm_port_done(handle_)); }

 protected:
  int handle_;
};

/// An out port that sends values of type T, one or many in a message.
template <class T = std::byte>
requires std::is_trivially_copyable_v<T>
class Out : public Port {
 public:
  using Port::Port;

  Sent send(const T& value, const Options& options = {}) const {
    return send(std::span<const T>(&value, 1), options);
  }

  Sent send(std::span<const T> values, const Options& options = {}) const {
    for (;;) {
      std::int64_t result = 0;
      if constexpr (internal::kWireIsMemory || !std::is_arithmetic_v<T> || sizeof(T) == 1) {
        result = mvm_enqueue(handle_, values.data(), values.size_bytes(), options.raw());
      } else {
        std::vector<T> turned(values.begin(), values.end());
        internal::to_from_wire(turned.data(), turned.size());
        result = mvm_enqueue(handle_, turned.data(), turned.size() * sizeof(T), options.raw());
      }
      switch (result) {
        case MVM_OK:
          return Sent::kYes;
        case MVM_TIMEOUT:
          return Sent::kTimeout;
        case MVM_FULL:
          return Sent::kFull;
        case MVM_DROPPED:
          return Sent::kDropped;
        case MVM_EOS:
          return Sent::kNobodyReads;
        case MVM_REWIRED:
          continue;
        default:
          internal::fail(result);
      }
    }
  }

  /// Fills a message of `count` values in place: `fill(std::span<T>)`. Numbers are written as this machine
  /// has them, so only for links between machines of one byte order.
  template <class Fill>
  Sent send_in_place(std::size_t count, Fill fill, const Options& options = {}) const {
    void* room = nullptr;
    const int result = mvm_reserve(handle_, count * sizeof(T), &room, options.raw());
    switch (result) {
      case MVM_OK:
        break;
      case MVM_TIMEOUT:
        return Sent::kTimeout;
      case MVM_FULL:
        return Sent::kFull;
      case MVM_DROPPED:
        return Sent::kDropped;
      case MVM_EOS:
        return Sent::kNobodyReads;
      case MVM_REWIRED:
        return send_in_place(count, fill, options);
      default:
        internal::fail(result);
    }
    try {
      fill(std::span<T>(static_cast<T*>(room), count));
    } catch (...) {
      mvm_cancel(handle_);
      throw;
    }
    internal::check(mvm_commit(handle_, count * sizeof(T)));
    return Sent::kYes;
  }
};

/// Text goes as it is.
inline Sent send_text(const Out<char>& port, std::string_view text, const Options& options = {}) {
  return port.send(std::span<const char>(text.data(), text.size()), options);
}

/// An in port that receives values of type T.
template <class T = std::byte>
requires std::is_trivially_copyable_v<T>
class In : public Port {
 public:
  using Port::Port;

  /// One value; nothing at the end of the stream or when the time-out passes (ended() tells which). Throws
  /// where the message is not exactly one T, PeerDied where a producer died.
  std::optional<T> receive(const Options& options = {}) {
    T value;
    const std::int64_t size = receive_into(std::span<T>(&value, 1), options);
    if (size < 0) return std::nullopt;
    if (size != 1) throw Failure(MVM_ETYPE, "the message is not one value of the expected type");
    return value;
  }

  /// A whole message, however many values it has.
  std::optional<std::vector<T>> receive_all(const Options& options = {}) {
    std::vector<T> values(room_);
    for (;;) {
      const std::int64_t count = receive_into(std::span<T>(values), options);
      if (count >= 0) {
        values.resize(static_cast<std::size_t>(count));
        return values;
      }
      if (count != MVM_TOOBIG) return std::nullopt;
      const std::int64_t size = mvm_next_size(handle_);
      // Another consumer may have taken it meanwhile.
      if (size > 0) room_ = (static_cast<std::size_t>(size) + sizeof(T) - 1) / sizeof(T);
      values.resize(room_);
    }
  }

  /// Into the caller's values; how many came, or MVM_EOS, MVM_TIMEOUT, MVM_TOOBIG.
  std::int64_t receive_into(std::span<T> values, const Options& options = {}) {
    for (;;) {
      const std::int64_t size = mvm_dequeue(handle_, values.data(), values.size_bytes(), options.raw());
      if (size == MVM_REWIRED) continue;
      ended_ = size == MVM_EOS;
      if (size == MVM_EOS || size == MVM_TIMEOUT || size == MVM_TOOBIG) return size;
      internal::check(size);
      if (static_cast<std::size_t>(size) % sizeof(T) != 0) {
        throw Failure(MVM_ETYPE, "the message is no whole number of values of the expected type");
      }
      const std::size_t count = static_cast<std::size_t>(size) / sizeof(T);
      internal::to_from_wire(values.data(), count);
      return static_cast<std::int64_t>(count);
    }
  }

  /// Looks at a message in place: `look(std::span<const T>)`, then removes it. False at the end or time-out.
  template <class Look>
  bool receive_in_place(Look look, const Options& options = {}) {
    const void* data = nullptr;
    std::int64_t size = 0;
    while ((size = mvm_peek(handle_, &data, options.raw())) == MVM_REWIRED) {
    }
    ended_ = size == MVM_EOS;
    if (size == MVM_EOS || size == MVM_TIMEOUT) return false;
    internal::check(size);
    struct Release {
      int handle;
      ~Release() { mvm_release(handle); }
    } release{handle_};
    look(std::span<const T>(static_cast<const T*>(data), static_cast<std::size_t>(size) / sizeof(T)));
    return true;
  }

  /// True once the last call met the end of the stream.
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  std::size_t room_ = std::max<std::size_t>(1, 4096 / sizeof(T));
  bool ended_ = false;
};

/// This process in its job: attaches when made, detaches when destroyed. One per process.
class Process {
 public:
  Process() { internal::check(mvm_attach()); }
  ~Process() { mvm_detach(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] std::string_view job() const { return mvm_job(); }
  [[nodiscard]] std::string_view role() const { return mvm_role(); }
  [[nodiscard]] unsigned index() const { return mvm_index(); }
  [[nodiscard]] unsigned count() const { return mvm_count(); }
  [[nodiscard]] std::optional<std::string_view> parameter(const std::string& name) const {
    const char* value = mvm_param(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string_view>(value);
  }

  template <class T = std::byte>
  [[nodiscard]] In<T> in(const std::string& name, unsigned index = 0) const {
    return In<T>(static_cast<int>(internal::check(mvm_port(name.c_str(), index))));
  }
  template <class T = std::byte>
  [[nodiscard]] Out<T> out(const std::string& name, unsigned index = 0) const {
    return Out<T>(static_cast<int>(internal::check(mvm_port(name.c_str(), index))));
  }
  [[nodiscard]] unsigned port_size(const std::string& name) const { return mvm_port_size(name.c_str()); }
};

/// The place among `ports` of the first that is ready; nothing when the time-out passes.
inline std::optional<std::size_t> wait(std::span<const Port> ports, const Options& options = {}) {
  std::vector<int> handles;
  handles.reserve(ports.size());
  for (const Port& port : ports) handles.push_back(port.handle());
  for (;;) {
    const int result = mvm_wait(handles.data(), handles.size(), options.raw());
    if (result == MVM_REWIRED) continue;
    if (result == MVM_TIMEOUT) return std::nullopt;
    return static_cast<std::size_t>(internal::check(result));
  }
}

namespace internal {

/// The C calls of one type of number, by its width and kind: `long` and `long long` are the same here.
template <class T>
struct Packing;
#define MVM_PACKING(type, name)                                  \
  template <>                                                    \
  struct Packing<type> {                                         \
    static constexpr auto pack = mvm_pack_##name##s_strided;     \
    static constexpr auto unpack = mvm_unpack_##name##s_strided; \
  };
MVM_PACKING(std::int8_t, i8)
MVM_PACKING(std::int16_t, i16)
MVM_PACKING(std::int32_t, i32)
MVM_PACKING(std::int64_t, i64)
MVM_PACKING(std::uint8_t, u8)
MVM_PACKING(std::uint16_t, u16)
MVM_PACKING(std::uint32_t, u32)
MVM_PACKING(std::uint64_t, u64)
MVM_PACKING(float, f32)
MVM_PACKING(double, f64)
#undef MVM_PACKING

/// The type of that width and kind.
template <class T>
struct Fixed {
  using Signed =
      std::conditional_t<sizeof(T) == 1, std::int8_t,
                         std::conditional_t<sizeof(T) == 2, std::int16_t,
                                            std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>>>;
  using Number = std::conditional_t<std::is_signed_v<T>, Signed, std::make_unsigned_t<Signed>>;
  using Type = std::conditional_t<std::is_floating_point_v<T>, T, Number>;
};
template <class T>
using FixedType = typename Fixed<std::remove_const_t<T>>::Type;

}  // namespace internal

/// Numbers that an array may hold.
template <class T>
concept Number = std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && sizeof(T) <= 8;

/// Packs unlike items into one message: typed, neutral, growing as needed.
class Packer {
 public:
  Packer() { mvm_pack_init(&raw_, bytes_.data(), bytes_.size()); }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  template <class T>
  requires std::is_arithmetic_v<T> Packer& add(T value) {
    grow(16);
    if constexpr (std::is_same_v<T, bool>)
      mvm_pack_bool(&raw_, value ? 1 : 0);
    else if constexpr (std::is_same_v<T, float>)
      mvm_pack_f32(&raw_, value);
    else if constexpr (std::is_same_v<T, double>)
      mvm_pack_f64(&raw_, value);
    else if constexpr (std::is_signed_v<T> && sizeof(T) == 1)
      mvm_pack_i8(&raw_, static_cast<std::int8_t>(value));
    else if constexpr (std::is_signed_v<T> && sizeof(T) == 2)
      mvm_pack_i16(&raw_, value);
    else if constexpr (std::is_signed_v<T> && sizeof(T) == 4)
      mvm_pack_i32(&raw_, static_cast<std::int32_t>(value));
    else if constexpr (std::is_signed_v<T>)
      mvm_pack_i64(&raw_, value);
    else if constexpr (sizeof(T) == 1)
      mvm_pack_u8(&raw_, static_cast<std::uint8_t>(value));
    else if constexpr (sizeof(T) == 2)
      mvm_pack_u16(&raw_, static_cast<std::uint16_t>(value));
    else if constexpr (sizeof(T) == 4)
      mvm_pack_u32(&raw_, static_cast<std::uint32_t>(value));
    else
      mvm_pack_u64(&raw_, value);
    return checked();
  }
  Packer& add(std::string_view text) {
    const std::string copy(text);
    grow(copy.size() + 16);
    mvm_pack_string(&raw_, copy.c_str());
    return checked();
  }
  Packer& add(const char* text) { return add(std::string_view(text)); }
  Packer& add(std::span<const double> values) { return add_strided(values.data(), values.size(), 1); }
  Packer& add(std::span<const std::int64_t> values) { return add_strided(values.data(), values.size(), 1); }
  template <Number T>
  Packer& add(std::span<const T> values) {
    return add_strided(values.data(), values.size(), 1);
  }
  /// An array of which each element lies `stride` elements behind the one before it.
  template <Number T>
  Packer& add_strided(const T* first, std::size_t count, std::ptrdiff_t stride) {
    using Fixed = internal::FixedType<T>;
    grow(count * sizeof(T) + 16);
    internal::Packing<Fixed>::pack(&raw_, reinterpret_cast<const Fixed*>(first), count, stride);
    return checked();
  }
  /// One item that holds all that `fill(packer)` adds.
  template <class Fill>
  Packer& nest(Fill fill) {
    grow(16);
    const std::int64_t place = mvm_pack_begin(&raw_);
    fill(*this);
    mvm_pack_end(&raw_, place);
    return checked();
  }
  [[nodiscard]] std::span<const std::byte> bytes() const {
    return std::as_bytes(std::span<const unsigned char>(bytes_.data(), raw_.size));
  }

 private:
  void grow(std::size_t more) {
    if (raw_.capacity - raw_.size >= more) return;
    bytes_.resize(std::max(bytes_.size() * 2, raw_.size + more));
    raw_.data = bytes_.data();
    raw_.capacity = bytes_.size();
  }
  Packer& checked() {
    if (raw_.status != MVM_OK) throw Failure(raw_.status, mvm_strerror(raw_.status));
    return *this;
  }
  std::vector<unsigned char> bytes_ = std::vector<unsigned char>(256);
  mvm_packer raw_{};
};

/// Reads what a Packer wrote. Throws Failure where the next item is of another type, or missing.
class Unpacker {
 public:
  /// The bytes outlive the unpacker.
  explicit Unpacker(std::span<const std::byte> bytes) { mvm_unpack_init(&raw_, bytes.data(), bytes.size()); }

  template <class T>
  requires std::is_arithmetic_v<T> T get() {
    if constexpr (std::is_same_v<T, bool>)
      return take<int>(mvm_unpack_bool) != 0;
    else if constexpr (std::is_same_v<T, float>)
      return take<float>(mvm_unpack_f32);
    else if constexpr (std::is_same_v<T, double>)
      return take<double>(mvm_unpack_f64);
    else if constexpr (std::is_signed_v<T> && sizeof(T) == 1)
      return static_cast<T>(take<std::int8_t>(mvm_unpack_i8));
    else if constexpr (std::is_signed_v<T> && sizeof(T) == 2)
      return take<std::int16_t>(mvm_unpack_i16);
    else if constexpr (std::is_signed_v<T> && sizeof(T) == 4)
      return static_cast<T>(take<std::int32_t>(mvm_unpack_i32));
    else if constexpr (std::is_signed_v<T>)
      return take<std::int64_t>(mvm_unpack_i64);
    else if constexpr (sizeof(T) == 1)
      return static_cast<T>(take<std::uint8_t>(mvm_unpack_u8));
    else if constexpr (sizeof(T) == 2)
      return take<std::uint16_t>(mvm_unpack_u16);
    else if constexpr (sizeof(T) == 4)
      return static_cast<T>(take<std::uint32_t>(mvm_unpack_u32));
    else
      return take<std::uint64_t>(mvm_unpack_u64);
  }
  std::string text() {
    std::string value(length() + 1, '\0');
    value.resize(static_cast<std::size_t>(checked(mvm_unpack_string(&raw_, value.data(), value.size()))));
    return value;
  }
  template <Number T>
  std::vector<T> array() {
    std::vector<T> values(length());
    strided(values.data(), values.size(), 1);
    return values;
  }
  std::vector<double> doubles() { return array<double>(); }
  std::vector<std::int64_t> integers() { return array<std::int64_t>(); }
  /// Puts the next array's elements `stride` elements apart; returns how many there were, at most `capacity`.
  template <Number T>
  std::size_t strided(T* first, std::size_t capacity, std::ptrdiff_t stride) {
    using Fixed = internal::FixedType<T>;
    return static_cast<std::size_t>(
        checked(internal::Packing<Fixed>::unpack(&raw_, reinterpret_cast<Fixed*>(first), capacity, stride)));
  }
  /// The items of the next, nested, one.
  Unpacker nested() {
    Unpacker inside({});
    checked(mvm_unpack_nested(&raw_, &inside.raw_));
    return inside;
  }
  void skip() { checked(mvm_unpack_skip(&raw_)); }
  /// False at the end.
  [[nodiscard]] bool more() const { return raw_.position < raw_.size; }

 private:
  static std::int64_t checked(std::int64_t result) {
    if (result < 0) throw Failure(result, mvm_strerror(result));
    return result;
  }
  std::size_t length() { return static_cast<std::size_t>(checked(mvm_unpack_length(&raw_))); }
  template <class T>
  T take(int (*unpack)(mvm_unpacker*, T*)) {
    T value{};
    checked(unpack(&raw_, &value));
    return value;
  }
  mvm_unpacker raw_{};
};

}  // namespace mvm

#endif
