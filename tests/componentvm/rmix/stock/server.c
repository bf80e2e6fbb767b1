/* A server as anybody writes one for rpcgen's stubs, without rpcbind. Prints its port; runs until it is killed. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "desk.h"

void desk_prog_2(struct svc_req* request, SVCXPRT* transport);

static unsigned long long rung;

add_reply* add_2_svc(add_arguments* numbers, struct svc_req* request) {
  static add_reply reply;
  (void)request;
  reply.outcome = 0;
  reply.add_reply_u.result = numbers->a + numbers->b;
  return &reply;
}

welcome_reply* welcome_2_svc(welcome_arguments* who, struct svc_req* request) {
  static welcome_reply reply;
  (void)request;
  memset(&reply, 0, sizeof reply);
  if (strcmp(who->guest.name, "nobody") == 0) {
    reply.outcome = 1;
    reply.welcome_reply_u.exception_Full.beds = -5;
  } else if (strcmp(who->guest.name, "stranger") == 0) {
    reply.outcome = -1;
    reply.welcome_reply_u.failure.fate = "ran";
    reply.welcome_reply_u.failure.code = "conflict";
    reply.welcome_reply_u.failure.message = "not you";
  } else {
    reply.outcome = 0;
    reply.welcome_reply_u.result = who->guest;
  }
  return &reply;
}

void* ring_2_svc(ring_arguments* times, struct svc_req* request) {
  static char nothing;
  (void)request;
  rung += times->times;
  return &nothing;
}

rings_reply* rings_2_svc(void* none, struct svc_req* request) {
  static rings_reply reply;
  (void)none;
  (void)request;
  reply.outcome = 0;
  reply.rings_reply_u.result = rung;
  return &reply;
}

measure_reply* measure_2_svc(measure_arguments* of, struct svc_req* request) {
  static measure_reply reply;
  (void)request;
  reply.outcome = 0;
  reply.measure_reply_u.result.result_len = of->of.of_len;
  reply.measure_reply_u.result.result_val = of->of.of_val;
  return &reply;
}

int main(void) {
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  SVCXPRT* transport;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr*)&address, size) != 0 || listen(listener, 16) != 0) return 1;
  transport = svctcp_create(listener, 0, 0);
  if (transport == NULL || !svc_register(transport, DESK_PROG, DESK_VERS, desk_prog_2, 0)) return 1;
  if (getsockname(listener, (struct sockaddr*)&address, &size) != 0) return 1;
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  svc_run();
  return 1;
}
