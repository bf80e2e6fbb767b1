// SPDX-License-Identifier: Apache-2.0
//
// libharness for C++20. Header only, on top of harness.h.
//
//     harness::Context vm("lab", "ada", "secret");   // registers; throws harness::Failure
//     auto result = vm.load("solver", "all", harness::kAllOrNone);
//     for (const auto& [kernel, reason] : result.unable()) std::cerr << kernel << ": " << reason << '\n';
#ifndef HARNESS_HPP
#define HARNESS_HPP

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "harness.h"

namespace harness {

inline constexpr const char* kAllOrNone = "all-or-none";
inline constexpr const char* kBestEffort = "best-effort";

/// Registering failed; code() is one of the H_* values.
class Failure : public std::runtime_error {
 public:
  Failure(int code, const std::string& what) : std::runtime_error(what), code_(code) {}
  [[nodiscard]] int code() const { return code_; }

 private:
  int code_;
};

/// What became of a command.
class Result {
 public:
  explicit Result(H_result* result) : result_(result, &H_free) {}
  [[nodiscard]] int code() const { return H_code(result_.get()); }
  [[nodiscard]] std::string message() const { return H_message(result_.get()); }
  [[nodiscard]] std::string answer() const { return H_answer(result_.get()); }
  [[nodiscard]] std::vector<std::string> able() const {
    std::vector<std::string> kernels;
    for (std::size_t i = 0; i < H_count(result_.get(), H_ABLE); ++i)
      kernels.emplace_back(H_kernel(result_.get(), H_ABLE, i));
    return kernels;
  }
  /// Kernels and their reasons.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> unable() const { return reasons(H_UNABLE); }
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> failed() const {
    return reasons(H_CAME_TO_NOTHING);
  }

 private:
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> reasons(H_list list) const {
    std::vector<std::pair<std::string, std::string>> found;
    for (std::size_t i = 0; i < H_count(result_.get(), list); ++i)
      found.emplace_back(H_kernel(result_.get(), list, i), H_reason(result_.get(), list, i));
    return found;
  }
  std::unique_ptr<H_result, void (*)(H_result*)> result_;
};

/// The core function. [000, §2.1]
inline Result H_command(const std::string& vm, const std::vector<std::string>& words) {
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  return Result(::H_command(vm.c_str(), static_cast<int>(argv.size()), argv.data()));
}

/// A machine and a user. [001, §3.1: VMcontext]
class Context {
 public:
  Context(const std::string& vm, const std::string& user, const std::string& password)
      : context_(H_register(vm.c_str(), user.c_str(), password.c_str()), &H_leave) {
    if (!context_) throw Failure(H_REFUSED, H_error());
  }
  Result load(const std::string& component, const std::string& targets = "all",
              const char* qos = kAllOrNone) {
    return Result(H_load(context_.get(), component.c_str(), targets.c_str(), qos));
  }
  Result unload(const std::string& component, const std::string& targets = "all",
                const char* qos = kAllOrNone) {
    return Result(H_unload(context_.get(), component.c_str(), targets.c_str(), qos));
  }
  Result run(const std::string& component, const std::vector<std::string>& arguments,
             const std::string& targets = "all", const char* qos = kAllOrNone) {
    std::vector<const char*> argv;
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    return Result(H_run(context_.get(), component.c_str(), targets.c_str(), qos,
                        static_cast<int>(argv.size()), argv.data()));
  }
  Result stop(const std::string& component, const std::string& targets = "all",
              const char* qos = kAllOrNone) {
    return Result(H_stop(context_.get(), component.c_str(), targets.c_str(), qos));
  }
  Result getvminfo(const std::string& key) { return Result(H_getvminfo(context_.get(), key.c_str())); }

 private:
  std::unique_ptr<H_context, void (*)(H_context*)> context_;
};

}  // namespace harness

#endif
