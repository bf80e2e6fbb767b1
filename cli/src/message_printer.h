#pragma once
// Messages as mvm queue get and mvm queue drain write them.

#include <ostream>
#include <string>

#include "common.h"
#include "messages.h"

namespace mvm::cli {

/// Writes messages as they come, whole ones and long ones in pieces: as they are, or as JSON.
class MessagePrinter {
 public:
  MessagePrinter(Session& session, std::ostream& out, Framing framing, bool raw)
      : session_(session), out_(out), framing_(framing), raw_(raw) {}

  /// A piece of a message. True where it was the end of it.
  bool print(const soap::TakenMessage& message);
  /// When all were printed.
  void finish();

 private:
  Session& session_;
  std::ostream& out_;
  const Framing framing_;
  const bool raw_;
  std::string long_;
  Json items_ = Json::array();
};

}  // namespace mvm::cli
