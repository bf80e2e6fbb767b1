// Serves the probe at one endpoint in a process of its own, until it is killed. Prints the reference.

#include <unistd.h>

#include <iostream>

#include "componentvm/rmix/probe.h"
#include "componentvm/rmix/ways.h"
#include "mvm/rmix/server.h"

namespace {

std::string read(const std::string& file) {
  auto text = mvm::read_file(file, 1 << 20);
  return text ? *text : std::string();
}

}  // namespace

/// probe_server ENDPOINT FOLDER: FOLDER holds own.crt, own.key and ca.crt.
int main(int argc, char** argv) {
  using namespace mvm::rmix;
  if (argc != 3) return 2;
  const std::string folder = argv[2];
  const auto server = Server::create(
      test::providers(),
      {.tls = {read(folder + "/own.crt"), read(folder + "/own.key"), read(folder + "/ca.crt")}});
  if (!server->add("probe", std::make_shared<test::ProbeImpl>())) return 1;
  if (const auto open = server->listen(argv[1]); !open) {
    std::cerr << open.error().describe() << '\n';
    return 1;
  }
  std::cout << *server->reference("probe") << std::endl;
  for (;;) ::pause();
}
