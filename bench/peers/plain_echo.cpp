// An echo by gSOAP's generated service and proxy, as its manual writes them:  serve | call SECONDS URL
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "Echo.nsmap"
#include "soapEchoProxy.h"
#include "soapEchoService.h"

int EchoService::echo(LONG64 value, LONG64& result) {
  result = value;
  return SOAP_OK;
}

int main(int argc, char** argv) {
  if (argc >= 2 && std::strcmp(argv[1], "serve") == 0) {
    EchoService service(SOAP_IO_KEEPALIVE);
    service.soap->bind_flags = SO_REUSEADDR;
    const int socket = service.bind("127.0.0.1", 0, 16);
    if (socket < 0) return 1;
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
    std::printf("http://127.0.0.1:%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
    for (;;) {
      service.soap->max_keep_alive = 1 << 30;
      if (service.accept() < 0) return 1;
      service.serve();
      service.destroy();
    }
  }
  if (argc != 4) return 2;
  EchoProxy proxy(argv[3], SOAP_IO_KEEPALIVE);
  proxy.soap->max_keep_alive = 1 << 30;
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(std::atof(argv[2]));
  LONG64 value = 1LL << 40;
  LONG64 rounds = 0;
  const auto begin = Clock::now();
  while (Clock::now() < end) {
    LONG64 result = 0;
    if (proxy.echo(value + rounds, result) != SOAP_OK || result != value + rounds) return 1;
    proxy.destroy();
    ++rounds;
  }
  std::printf("round_us %f\n", std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
                                   static_cast<double>(rounds));
  return 0;
}
