// SPDX-License-Identifier: Apache-2.0
#pragma once
// What generated stubs are made of (mvm-rmixgen): C++ types to generic values and back, and replies.

#include <concepts>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "mvm/rmix/client.h"
#include "mvm/rmix/outcome.h"
#include "mvm/rmix/server.h"

namespace mvm::rmix {

/// How a C++ type is a generic one: `Value to(T)`, `std::optional<T> from(Value&)`, `Type type()`. Generated
/// structs specialise it.
template <class T>
struct Convert;

template <class T, Kind K>
struct ConvertPlain {
  static Type type() { return Type::of(K); }
  static Value to(T value) { return Value::of<T>(std::move(value)); }
  static std::optional<T> from(Value& value) {
    T* held = value.get<T>();
    return held == nullptr ? std::nullopt : std::optional<T>(std::move(*held));
  }
};
template <>
struct Convert<bool> : ConvertPlain<bool, Kind::kBool> {};
template <>
struct Convert<std::int8_t> : ConvertPlain<std::int8_t, Kind::kInt8> {};
template <>
struct Convert<std::int16_t> : ConvertPlain<std::int16_t, Kind::kInt16> {};
template <>
struct Convert<std::int32_t> : ConvertPlain<std::int32_t, Kind::kInt32> {};
template <>
struct Convert<std::int64_t> : ConvertPlain<std::int64_t, Kind::kInt64> {};
template <>
struct Convert<std::uint8_t> : ConvertPlain<std::uint8_t, Kind::kUint8> {};
template <>
struct Convert<std::uint16_t> : ConvertPlain<std::uint16_t, Kind::kUint16> {};
template <>
struct Convert<std::uint32_t> : ConvertPlain<std::uint32_t, Kind::kUint32> {};
template <>
struct Convert<std::uint64_t> : ConvertPlain<std::uint64_t, Kind::kUint64> {};
template <>
struct Convert<float> : ConvertPlain<float, Kind::kFloat32> {};
template <>
struct Convert<double> : ConvertPlain<double, Kind::kFloat64> {};
template <>
struct Convert<std::string> : ConvertPlain<std::string, Kind::kString> {};
template <>
struct Convert<Bytes> : ConvertPlain<Bytes, Kind::kBytes> {};

template <class T>
struct Convert<std::vector<T>> {
  static Type type() { return Type::array(Convert<T>::type()); }
  static Value to(std::vector<T> values) {
    Array array;
    array.reserve(values.size());
    for (auto&& value : values) array.push_back(Convert<T>::to(std::move(value)));
    return Value::of<Array>(std::move(array));
  }
  static std::optional<std::vector<T>> from(Value& value) {
    Array* held = value.get<Array>();
    if (held == nullptr) return std::nullopt;
    std::vector<T> values;
    values.reserve(held->size());
    for (Value& one : *held) {
      std::optional<T> part = Convert<T>::from(one);
      if (!part) return std::nullopt;
      values.push_back(std::move(*part));
    }
    return values;
  }
};

/// A generated exception: a struct with its name, and made of and into generic fields.
template <class E>
concept Raisable = requires(E exception, std::vector<Value>& fields) {
  { E::kName } -> std::convertible_to<std::string_view>;
  { std::move(exception).fields() } -> std::same_as<std::vector<Value>>;
  { E::from(fields) } -> std::same_as<std::optional<E>>;
};

/// What a method returns, in servers and to clients: a T, a declared exception, or a failure.
template <class T>
class [[nodiscard]] Reply {
 public:
  /// Of `void` the value is std::monostate.
  using Held = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
  Reply() requires std::is_void_v<T> : held_(std::in_place_index<0>) {}
  Reply(Held value) : held_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Reply(Exception exception) : held_(std::move(exception)) {}             // NOLINT: implicit on purpose
  Reply(Failure failure) : held_(std::move(failure)) {}                   // NOLINT: implicit on purpose
  /// A method that failed without a declared exception.
  Reply(Error error) : held_(Failure{std::move(error), Fate::kRan}) {}  // NOLINT: implicit on purpose
  template <Raisable E>
  Reply(E exception)  // NOLINT: implicit on purpose
      : held_(Exception{std::string(E::kName), std::move(exception).fields()}) {}

  [[nodiscard]] explicit operator bool() const { return held_.index() == 0; }
  [[nodiscard]] Held& operator*() { return *std::get_if<0>(&held_); }
  [[nodiscard]] const Held& operator*() const { return *std::get_if<0>(&held_); }
  [[nodiscard]] Held* operator->() { return std::get_if<0>(&held_); }
  [[nodiscard]] const Held* operator->() const { return std::get_if<0>(&held_); }
  /// Any declared exception; null where it is none.
  [[nodiscard]] const Exception* exception() const { return std::get_if<Exception>(&held_); }
  /// This declared exception.
  template <Raisable E>
  [[nodiscard]] std::optional<E> as() const {
    const Exception* held = exception();
    if (held == nullptr || held->name != E::kName) return std::nullopt;
    std::vector<Value> fields = held->fields;
    return E::from(fields);
  }
  [[nodiscard]] const Failure* failure() const { return std::get_if<Failure>(&held_); }
  /// The value, or whatever else it was as an error, for callers who make no difference.
  [[nodiscard]] Result<T> result() && {
    if (const Failure* failed = failure()) return failed->error;
    if (const Exception* raised = exception())
      return Error(ErrorCode::kFailed, "the service answered with " + raised->name);
    if constexpr (std::is_void_v<T>)
      return {};
    else
      return std::move(**this);
  }

  /// For generated stubs.
  [[nodiscard]] static Reply read(Outcome outcome) {
    if (Exception* raised = std::get_if<Exception>(&outcome)) return std::move(*raised);
    if (Failure* failed = std::get_if<Failure>(&outcome)) return std::move(*failed);
    if constexpr (std::is_void_v<T>) {
      return {};
    } else {
      std::optional<T> value = Convert<T>::from(*std::get_if<Value>(&outcome));
      if (value) return std::move(*value);
      return Failure{Error(ErrorCode::kCorrupt, "the answer is of another type"), Fate::kRan};
    }
  }
  [[nodiscard]] Outcome outcome() && {
    if (Exception* raised = std::get_if<1>(&held_)) return std::move(*raised);
    if (Failure* failed = std::get_if<2>(&held_)) return std::move(*failed);
    if constexpr (std::is_void_v<T>)
      return Value();
    else
      return Convert<T>::to(std::move(*std::get_if<0>(&held_)));
  }

 private:
  std::variant<Held, Exception, Failure> held_;
};

/// A call that was made by a stub.
template <class T>
class Future {
 public:
  explicit Future(Pending pending) : pending_(std::move(pending)) {}
  [[nodiscard]] Reply<T> get() const { return Reply<T>::read(pending_.get()); }
  void then(std::function<void(Reply<T>)> callback) const {
    pending_.then(
        [callback = std::move(callback)](const Outcome& outcome) { callback(Reply<T>::read(outcome)); });
  }
  [[nodiscard]] const Pending& call() const { return pending_; }

 private:
  Pending pending_;
};

/// Base of generated server stubs.
class ServerStub : public Service {
 protected:
  /// Of the method that runs on this thread; only from within it.
  [[nodiscard]] static const CallContext& context();
  /// While it lives, context() is this.
  class Entered {
   public:
    explicit Entered(const CallContext& context);
    ~Entered();
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;

   private:
    const CallContext* outer_;
  };
};

}  // namespace mvm::rmix
