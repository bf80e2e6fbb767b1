#include "peers.h"

#include <fcntl.h>

#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"

namespace mvm::dvm {

void Peers::recall() {
  const auto text = read_file(file_, 64 << 10);
  if (!text) return;
  std::string_view rest = *text;
  for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    if (auto endpoint = Endpoint::read(rest.substr(0, end))) recalled_.push_back(*endpoint);
    rest.remove_prefix(end + 1);
  }
}

void Peers::remember(const VmStatus& view) {
  constexpr std::size_t kOthers = 8;
  if (view.number == remembered_at_) return;
  remembered_at_ = view.number;
  std::string text;
  std::size_t others = 0;
  for (const auto& [name, member] : view.members)
    if (name != self_ && !member.lost && (member.copy != 0 || others++ < kOthers))
      text += member.address + "\n";
  if (text == remembered_) return;
  const UniqueFd file(::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                             0600));  // NOLINT(cppcoreguidelines-pro-type-vararg)
  if (file && write_all(file.get(), text)) remembered_ = text;
}

}  // namespace mvm::dvm
