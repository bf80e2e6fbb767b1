#pragma once
// The distributed virtual machines of labs, for those outside. docs/formats/dvm.md has the words.

#include <cstdint>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/soap/broker_api.h"

namespace mvm::soap {

struct DvmTarget {
  std::string lab;
  std::string name;  ///< of the machine; empty (conf only): all of the lab
};

/// A kernel of a machine; its name is the node's.
struct DvmMember {
  std::string name, address, architecture;
  bool lost = false, server = false;
  bool voter = false;                 ///< it holds the log
  std::vector<std::string> services;  ///< plug-ins
};

struct DvmView {
  std::string lab, name;
  std::string server;  ///< the kernel that is the status server; empty: none is known
  std::uint64_t term = 0, number = 0;
  std::vector<std::string> baseline;  ///< "SERVICE/VERSION"
  std::vector<DvmMember> members;
  std::string trouble;  ///< why no more than its name is known
};

struct DvmAnswer {
  std::string node;
  bool done = false;
  std::string reason;  ///< why it is not
};

struct DvmOutcome {
  bool committed = false;  ///< false: nothing was done
  std::vector<DvmAnswer> answers;
  std::string user, password;  ///< create: the administrator that applications register as; told once
};

class DvmApi {
 public:
  virtual ~DvmApi() = default;
  /// kNotFound where one is named that is not there.
  [[nodiscard]] virtual Result<std::vector<DvmView>> conf(const Caller&, const DvmTarget&) = 0;
  /// No nodes: all of the lab. The first founds it, the others join; all of them or none. kConflict where the
  /// lab has a machine of that name already.
  [[nodiscard]] virtual Result<DvmOutcome> create(const Caller&, const DvmTarget&,
                                                  const std::vector<std::string>& nodes) = 0;
  [[nodiscard]] virtual Result<DvmOutcome> add(const Caller&, const DvmTarget&, const std::string& node) = 0;
  /// It leaves; where it is dead, the others are told that it will not come back.
  [[nodiscard]] virtual Result<DvmOutcome> remove(const Caller&, const DvmTarget&,
                                                  const std::string& node) = 0;
  [[nodiscard]] virtual Result<DvmOutcome> halt(const Caller&, const DvmTarget&) = 0;
};

}  // namespace mvm::soap
