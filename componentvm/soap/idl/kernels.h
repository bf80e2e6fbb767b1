// The kernels' service: what they have loaded, and commands to several of them.

//gsoap k service name:          Kernels
//gsoap k service type:          KernelsPortType
//gsoap k service binding:       KernelsSoap
//gsoap k service port:          http://127.0.0.1:7780/kernels
//gsoap k service namespace:     urn:mvm:kernels:1
//gsoap k service style:         document
//gsoap k service encoding:      literal
//gsoap k service documentation: MVM kernels: plug-ins and threads and thread pools
//gsoap k schema  namespace:     urn:mvm:kernels:1
//gsoap k schema  elementForm:   qualified
//gsoap k schema  attributeForm: unqualified

enum class k__Verb : int { load, unload, run, stop };

class k__Plugin {
 public:
  xsd__string name 1;
  xsd__string version 1;
  xsd__string file 1;
  std::vector<xsd__string> owner 0;
  std::vector<xsd__string> offers 0;
  std::vector<xsd__string> needs 0;
  std::vector<xsd__string> operation 0;
  std::vector<xsd__string> function 0;
  xsd__string sharing 1;
  xsd__string state 1;
  xsd__boolean core 1;
};

class k__Run {
 public:
  xsd__string run 1;
  xsd__string plugin 1;
  xsd__string function 1;
  std::vector<xsd__string> argument 0;
  xsd__string state 1;
  xsd__string reason 1;
  xsd__long beganMs 1;
  xsd__long endedMs 1;
};

class k__Pool {
 public:
  xsd__unsignedLong minimum 1;
  xsd__unsignedLong maximum 1;
  xsd__unsignedLong queue 1;
  xsd__unsignedLong idleMs 1;
  xsd__unsignedLong threads 1;
  xsd__unsignedLong queued 1;
};

class k__Kernel {
 public:
  xsd__string lab 1;
  xsd__string node 1;
  xsd__string host 1;
  xsd__string trouble 1;
  std::vector<k__Plugin> plugin 0;
  std::vector<k__Run> run 0;
  k__Pool pool 1;
};

class k__Targets {
 public:
  xsd__string lab 1;
  std::vector<xsd__string> node 0;
};

class k__Command {
 public:
  k__Verb verb 1;
  k__Targets targets 1;
  xsd__boolean allOrNone 1;
  std::vector<xsd__string> plugin 0;
  xsd__string *function 0;
  std::vector<xsd__string> argument 0;
  xsd__string *run 0;
  xsd__string *sharing 0;
  xsd__unsignedInt *timeoutMs 0;
};

class k__Answer {
 public:
  xsd__string node 1;
  xsd__boolean able 1;
  xsd__boolean done 1;
  xsd__string reason 1;
  xsd__string run 1;
};

class k__Outcome {
 public:
  xsd__boolean committed 1;
  std::vector<k__Answer> answer 0;
};

class k__PoolChange {
 public:
  xsd__long minimum 1;
  xsd__long maximum 1;
  xsd__long queue 1;
  xsd__long idleMs 1;
};

//gsoap k service method-documentation: kernels Plug-ins and threads and thread pools of the kernels of some nodes or of all
//gsoap k service method-action: kernels "urn:mvm:kernels:1#kernels"
//gsoap k service method-fault: kernels _t__Fault
int k__kernels(k__Targets *targets 1, struct k__kernelsResponse { std::vector<k__Kernel> kernel 0; } &r);

//gsoap k service method-documentation: command Loads or unloads plug-ins or runs or stops their code on several kernels
//gsoap k service method-action: command "urn:mvm:kernels:1#command"
//gsoap k service method-fault: command _t__Fault
int k__command(k__Command *command 1, struct k__commandResponse { k__Outcome outcome 1; } &r);

//gsoap k service method-documentation: adjustPools Gives thread pools new bounds; -1 leaves one as it is
//gsoap k service method-action: adjustPools "urn:mvm:kernels:1#adjustPools"
//gsoap k service method-fault: adjustPools _t__Fault
int k__adjustPools(k__Targets *targets 1, k__PoolChange *change 1, struct k__adjustPoolsResponse { std::vector<k__Kernel> kernel 0; } &r);
