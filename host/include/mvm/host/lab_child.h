#pragma once
// The lab child: the one unprivileged process that a lab has on each host [Kim et al. 2006, §4(5)c: "the
// process instantiates the MVM proxy and the MVM queue threads"]. It carries the lab's links to other memory
// domains and sees no more than the rings of those links. It outlives a restart of mvmd and is gone with the
// lab.

#include <filesystem>
#include <string>

#include "mvm/base/result.h"

namespace mvm::host {

/// How `mvmd lab ID` is called.
struct LabChildOptions {
  std::string lab;
  std::string domain;            ///< name of this memory domain: "host:NAME"
  std::filesystem::path folder;  ///< the lab's folder: control socket child.sock, secret file
  std::string bridge_address;    ///< address of the host on the lab's network; empty: none
  std::string advertise;         ///< address for other hosts; empty: none
  unsigned user = 0;             ///< user and group to become once all is open; 0: stay
};

/// Runs until it is told to stop. The exit code of the process.
[[nodiscard]] int lab_child_main(const LabChildOptions& options);

}  // namespace mvm::host
