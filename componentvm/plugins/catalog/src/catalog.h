#pragma once
// The Resource Catalog of a node: its server, where it serves one, and its client. docs/formats/catalog.md.

#include <memory>
#include <optional>

#include "mvm/base/clock.h"
#include "mvm/catalog/client.h"
#include "mvm/catalog/server.h"
#include "mvm/kernel/plugin.h"

namespace mvm::plugins::catalog {

class Catalog {
 public:
  /// By the kernel's settings. kInvalid: an unknown one, or neither servers nor an own one.
  [[nodiscard]] static Result<std::unique_ptr<Catalog>> open(kernel::Kernel& kernel);
  ~Catalog();
  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;
  [[nodiscard]] Status offer();

 private:
  using Call = kernel::Call;
  using Answer = kernel::Answer;
  Catalog(kernel::Kernel& kernel, mvm::catalog::Key key) : kernel_(kernel), key_(std::move(key)) {}
  [[nodiscard]] Status start();
  [[nodiscard]] Result<std::string> serve(const std::string& endpoint, const rmix::TlsIdentity& tls);
  Result<Answer> say(Call& call);
  Result<Answer> query(Call& call);
  Result<Answer> resources(Call& call);

  kernel::Kernel& kernel_;
  mvm::catalog::Key key_;
  SystemClock clock_;
  rmix::Providers providers_;
  std::unique_ptr<mvm::catalog::Server> server_;
  std::unique_ptr<rmix::Server> rmix_;
  std::unique_ptr<mvm::catalog::Client> client_;
  std::string endpoint_;
};

}  // namespace mvm::plugins::catalog
