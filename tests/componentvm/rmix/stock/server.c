/* A server as anybody writes one for rpcgen's stubs, without rpcbind. Prints its port; runs until it is killed. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "desk.h"

void desk_prog_2(struct svc_req* request, SVCXPRT* transport);

static unsigned long long rung;

add_outcome* add_2_svc(add_arguments* numbers, struct svc_req* request) {
  static add_outcome reply;
  (void)request;
  reply.mvm_outcome = 0;
  reply.add_outcome_u.mvm_result = numbers->a + numbers->b;
  return &reply;
}

welcome_outcome* welcome_2_svc(welcome_arguments* who, struct svc_req* request) {
  static welcome_outcome reply;
  (void)request;
  memset(&reply, 0, sizeof reply);
  if (strcmp(who->guest.name, "nobody") == 0) {
    reply.mvm_outcome = 1;
    reply.welcome_outcome_u.mvm_exception_1.beds = -5;
  } else if (strcmp(who->guest.name, "stranger") == 0) {
    reply.mvm_outcome = -1;
    reply.welcome_outcome_u.mvm_failed.fate = "ran";
    reply.welcome_outcome_u.mvm_failed.code = "conflict";
    reply.welcome_outcome_u.mvm_failed.message = "not you";
  } else {
    reply.mvm_outcome = 0;
    reply.welcome_outcome_u.mvm_result = who->guest;
  }
  return &reply;
}

void* ring_2_svc(ring_arguments* times, struct svc_req* request) {
  static char nothing;
  (void)request;
  rung += times->times;
  return &nothing;
}

rings_outcome* rings_2_svc(void* none, struct svc_req* request) {
  static rings_outcome reply;
  (void)none;
  (void)request;
  reply.mvm_outcome = 0;
  reply.rings_outcome_u.mvm_result = rung;
  return &reply;
}

measure_outcome* measure_2_svc(measure_arguments* of, struct svc_req* request) {
  static measure_outcome reply;
  (void)request;
  reply.mvm_outcome = 0;
  reply.measure_outcome_u.mvm_result.mvm_result_len = of->of.of_len;
  reply.measure_outcome_u.mvm_result.mvm_result_val = of->of.of_val;
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
