#include "mvm/base/frame.h"
#include "mvm/dvm/log.h"
#include "mvm/dvm/wire.h"

namespace mvm::dvm {
namespace {

constexpr std::size_t kRecent = 2048;

}  // namespace

const Recorded* Record::apply(std::string_view text) {
  auto event = parse_json(text);
  // What is no event takes a number all the same, on every copy.
  Effects effects = dvm::apply(status, event ? *event : nlohmann::json());
  if (!effects.changed) return nullptr;
  recent.push_back({status.number, std::make_shared<const std::string>(text), std::move(effects)});
  if (recent.size() > kRecent) recent.pop_front();
  return &recent.back();
}

std::string Record::snapshot() const { return text_of(to_json(status)); }

Status Record::restore(std::string_view text) {
  MVM_ASSIGN(const nlohmann::json parsed, parse_json(text));
  MVM_ASSIGN(status, status_from(parsed));
  recent.clear();
  return ok();
}

}  // namespace mvm::dvm
