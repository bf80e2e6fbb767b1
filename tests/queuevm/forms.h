#pragma once
// The forms of a queue, for tests that hold of all of them.

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mvm/queuevm/queue.h"

namespace mvm::test {

struct Form {
  const char* name;
  std::uint32_t producers, consumers;
  queuevm::QueueKind kind;
  queuevm::WhenFull when_full;
};

class EveryForm : public ::testing::TestWithParam<Form> {
 protected:
  static queuevm::QueueSpec spec() {
    queuevm::QueueSpec spec;
    spec.producers = GetParam().producers;
    spec.consumers = GetParam().consumers;
    spec.kind = GetParam().kind;
    spec.when_full = GetParam().when_full;
    return spec;
  }
  static queuevm::Queue make(const queuevm::QueueSpec& spec) {
    return queuevm::Queue::create_in_memory(spec, "test").value();
  }
};

/// Of a PeekedQueue or a DrainedQueue: the beginnings of its messages.
template <class Seen>
std::vector<std::string> heads(const Seen& seen) {
  std::vector<std::string> texts;
  for (const queuevm::PeekedMessage& message : seen.messages) texts.push_back(message.head);
  return texts;
}

}  // namespace mvm::test
