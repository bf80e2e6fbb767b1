#include "locators.h"

#include "mvm/base/json.h"
#include "mvm/repository/rules.h"

namespace mvm::plugins::locator {

Status Locators::offer() {
  MVM_ASSIGN(const kernel::Answer answer, kernel_.call({.op = "kernel.locators"}));
  MVM_ASSIGN(repository::LocatorRules rules, repository::rules_from(answer.result));
  MVM_ASSIGN(fetcher_, repository::Fetcher::open(std::move(rules)));
  return kernel_.handle("locator.fetch", [this](kernel::Call& call) { return fetch(call); });
}

Result<kernel::Answer> Locators::fetch(const kernel::Call& call) const {
  MVM_ASSIGN(const std::string url, need_text(call.args, "url"));
  MVM_ASSIGN(const repository::Located located, fetcher_->locate(url));
  return kernel::Answer{{{"plugin", located.wish}, {"folder", located.folder}}, {}, {}};
}

}  // namespace mvm::plugins::locator
