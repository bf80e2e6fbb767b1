#include "fault_list.h"

#include <algorithm>
#include <tuple>

namespace mvm::topologies {

std::vector<Diagnostic> FaultList::sorted() const {
  std::vector<Diagnostic> all = list_;
  std::stable_sort(all.begin(), all.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.file, a.line, a.column) < std::tie(b.file, b.line, b.column);
  });
  all.erase(std::unique(all.begin(), all.end()), all.end());
  if (count_ > list_.size() && !all.empty()) {
    Diagnostic rest = all.back();
    rest.line = 0;
    rest.column = 0;
    rest.message = "and " + std::to_string(count_ - list_.size()) + " more faults";
    rest.suggestion.clear();
    all.push_back(rest);
  }
  return all;
}

}  // namespace mvm::topologies
