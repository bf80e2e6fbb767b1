#include "peers.h"

#include <fcntl.h>

#include <cstdio>

#include "mvm/base/file.h"
#include "mvm/base/unique_fd.h"

namespace mvm::dvm {

std::vector<std::string> addresses_of(const VmStatus& status, const std::string& self) {
  constexpr std::size_t kOthers = 8;
  std::vector<std::string> holders, there, lost;
  for (const auto& [name, member] : status.members) {
    if (name == self) continue;
    if (member.copy != 0)
      holders.push_back(member.address);
    else if (auto& list = member.lost ? lost : there; list.size() < kOthers)
      list.push_back(member.address);
  }
  holders.insert(holders.end(), there.begin(), there.end());
  holders.insert(holders.end(), lost.begin(), lost.end());
  return holders;
}

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
  if (view.number == remembered_at_) return;
  remembered_at_ = view.number;
  std::string text;
  for (const std::string& address : addresses_of(view, self_)) text += address + "\n";
  if (text == remembered_ || text.empty()) return;
  // Whole at every moment, though not durable: a thousand kernels of a machine write at once.
  const std::filesystem::path fresh = file_.string() + ".new";
  UniqueFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                       0600));  // NOLINT(cppcoreguidelines-pro-type-vararg)
  if (file && write_all(file.get(), text) && ::rename(fresh.c_str(), file_.c_str()) == 0) remembered_ = text;
}

}  // namespace mvm::dvm
