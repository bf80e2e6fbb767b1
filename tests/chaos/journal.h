#pragma once
// A state machine whose whole past can be checked: registers, and the list of all commands it was given, in
// order, with a hash over them.

#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "mvm/replica/replica.h"

namespace mvm::test {

/// Commands are "KEY VALUE". The answer is the command's place in the list, from 1.
class Journal final : public replica::StateMachine {
 public:
  std::string apply(std::uint64_t index, std::string_view command) override {
    add(index, std::string(command));
    return std::to_string(entries_.size());
  }

  std::string snapshot() override {
    std::ostringstream out;
    for (const auto& [index, command] : entries_) out << index << ' ' << command << '\n';
    return std::move(out).str();
  }

  Status restore(std::string_view snapshot) override {
    entries_.clear();
    registers_.clear();
    hash_ = 0;
    std::istringstream in{std::string(snapshot)};
    std::uint64_t index = 0;
    std::string command;
    while (in >> index && std::getline(in.ignore(1), command)) add(index, command);
    return in.eof() ? ok() : Status(Error(ErrorCode::kCorrupt, "a snapshot of no journal"));
  }

  [[nodiscard]] const std::vector<std::pair<std::uint64_t, std::string>>& entries() const { return entries_; }
  [[nodiscard]] std::string get(const std::string& key) const {
    const auto at = registers_.find(key);
    return at == registers_.end() ? std::string() : at->second;
  }
  [[nodiscard]] std::uint64_t hash() const { return hash_; }

 private:
  void add(std::uint64_t index, std::string command) {
    for (const char c : command) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    hash_ = (hash_ ^ index) * 1099511628211ULL;
    const std::size_t space = command.find(' ');
    if (space != std::string::npos) registers_[command.substr(0, space)] = command.substr(space + 1);
    entries_.emplace_back(index, std::move(command));
  }

  std::vector<std::pair<std::uint64_t, std::string>> entries_;
  std::map<std::string, std::string> registers_;
  std::uint64_t hash_ = 0;
};

}  // namespace mvm::test
