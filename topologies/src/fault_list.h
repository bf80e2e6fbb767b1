#pragma once
// Collects the faults of one reading.

#include <string>
#include <utility>
#include <vector>

#include "mvm/base/error.h"
#include "mvm/topologies/diagnostic.h"
#include "mvm/topologies/limits.h"
#include "mvm/topologies/topology.h"

namespace mvm::topologies {

class FaultList {
 public:
  void add(const SourcePosition& where, std::string message, std::string suggestion = {},
           Fault fault = Fault::kMeaning) {
    ++count_;
    if (list_.size() >= kMaxDiagnostics) return;
    list_.push_back({fault, where.file, where.line, where.column, std::move(message), std::move(suggestion)});
  }
  /// A fault inside a text: `error` says the 1-based column within it.
  void add(const Text& text, const Error& error, const std::string& prefix = {}) {
    SourcePosition where = text.where;
    if (error.where().column > 1) where.column += error.where().column - 1;
    add(where, prefix + error.message());
  }
  void add(const std::vector<Diagnostic>& more) {
    for (const Diagnostic& one : more) {
      ++count_;
      if (list_.size() < kMaxDiagnostics) list_.push_back(one);
    }
  }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  /// All faults, by file and position, each once; a last line says how many were left out.
  [[nodiscard]] std::vector<Diagnostic> sorted() const;

 private:
  std::vector<Diagnostic> list_;
  std::size_t count_ = 0;
};

}  // namespace mvm::topologies
