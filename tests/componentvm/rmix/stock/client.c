/* A client as anybody writes one for rpcgen's stubs: client PORT. Prints what it was answered. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "desk.h"

int main(int argc, char** argv) {
  struct sockaddr_in address;
  int socket = RPC_ANYSOCK;
  CLIENT* client;
  if (argc != 2) return 2;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons((unsigned short)atoi(argv[1]));
  client = clnttcp_create(&address, DESK_PROG, DESK_VERS, &socket, 0, 0);
  if (client == NULL) {
    clnt_pcreateerror("stock client");
    return 1;
  }
  {
    add_arguments numbers = {40, 2};
    add_outcome* sum = add_2(&numbers, client);
    if (sum == NULL || sum->mvm_outcome != 0) return 3;
    printf("sum %d\n", sum->add_outcome_u.mvm_result);
  }
  {
    mvm_string bags[2] = {"blue", "r\xc3\xb6tlich"};
    welcome_arguments who;
    welcome_outcome* answer;
    memset(&who, 0, sizeof who);
    who.guest.name = "Ada";
    who.guest.age = 36;
    who.guest.bags.bags_len = 2;
    who.guest.bags.bags_val = bags;
    who.guest.stamp.stamp_len = 3;
    who.guest.stamp.stamp_val = "\0\1\2";
    answer = welcome_2(&who, client);
    if (answer == NULL || answer->mvm_outcome != 0) return 4;
    printf("guest %s %u %s %u\n", answer->welcome_outcome_u.mvm_result.name, answer->welcome_outcome_u.mvm_result.age,
           answer->welcome_outcome_u.mvm_result.bags.bags_val[1], answer->welcome_outcome_u.mvm_result.stamp.stamp_len);
    who.guest.name = "nobody";
    answer = welcome_2(&who, client);
    if (answer == NULL || answer->mvm_outcome != 1) return 5;
    printf("full %lld\n", (long long)answer->welcome_outcome_u.mvm_exception_1.beds);
    who.guest.name = "stranger";
    answer = welcome_2(&who, client);
    if (answer == NULL || answer->mvm_outcome != -1) return 6;
    printf("failure %s %s\n", answer->welcome_outcome_u.mvm_failed.fate, answer->welcome_outcome_u.mvm_failed.code);
  }
  {
    ring_arguments times = {3};
    rings_outcome* rings;
    if (ring_2(&times, client) == NULL) return 7;
    rings = rings_2(NULL, client);
    if (rings == NULL || rings->mvm_outcome != 0) return 8;
    printf("rings %llu\n", (unsigned long long)rings->rings_outcome_u.mvm_result);
  }
  {
    /* Another version of the program. */
    CLIENT* old;
    struct timeval wait = {10, 0};
    socket = RPC_ANYSOCK;
    old = clnttcp_create(&address, DESK_PROG, 7, &socket, 0, 0);
    if (old == NULL) return 9;
    printf("version %d\n",
           clnt_call(old, NULLPROC, (xdrproc_t)xdr_void, NULL, (xdrproc_t)xdr_void, NULL, wait) ==
               RPC_PROGVERSMISMATCH);
    clnt_destroy(old);
  }
  clnt_destroy(client);
  return 0;
}
