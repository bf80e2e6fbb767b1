#pragma once

namespace mvm::tests {

/// What the sample plug-ins make.
class Sample {
 public:
  virtual ~Sample() = default;
  [[nodiscard]] virtual int answer() const = 0;
};

}  // namespace mvm::tests
