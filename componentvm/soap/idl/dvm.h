// The service of distributed virtual machines: kernels of a lab's nodes that are one machine (docs/formats/dvm.md).

//gsoap d service name:          Dvm
//gsoap d service type:          DvmPortType
//gsoap d service binding:       DvmSoap
//gsoap d service port:          http://127.0.0.1:7780/dvm
//gsoap d service namespace:     urn:mvm:dvm:1
//gsoap d service style:         document
//gsoap d service encoding:      literal
//gsoap d service documentation: MVM distributed virtual machines: make and show and enlarge and shrink and end them
//gsoap d schema  namespace:     urn:mvm:dvm:1
//gsoap d schema  elementForm:   qualified
//gsoap d schema  attributeForm: unqualified

class d__Target {
 public:
  xsd__string lab 1;
  xsd__string name 1;
};

class d__Member {
 public:
  xsd__string name 1;
  xsd__string address 1;
  xsd__string architecture 1;
  xsd__boolean lost 1;
  xsd__boolean server 1;
  xsd__boolean voter 1;
  std::vector<xsd__string> service 0;
};

class d__Machine {
 public:
  xsd__string lab 1;
  xsd__string name 1;
  xsd__string server 1;
  xsd__unsignedLong term 1;
  xsd__unsignedLong number 1;
  std::vector<xsd__string> baseline 0;
  std::vector<d__Member> member 0;
  xsd__string trouble 1;
};

class d__Answer {
 public:
  xsd__string node 1;
  xsd__boolean done 1;
  xsd__string reason 1;
};

class d__Outcome {
 public:
  xsd__boolean committed 1;
  std::vector<d__Answer> answer 0;
  xsd__string user 1;
  xsd__string password 1;
};

//gsoap d service method-documentation: conf The machines of a lab, or the one named: members, voters, status server, services, baseline
//gsoap d service method-action: conf "urn:mvm:dvm:1#conf"
//gsoap d service method-fault: conf _t__Fault
int d__conf(d__Target *target 1, struct d__confResponse { std::vector<d__Machine> machine 0; } &r);

//gsoap d service method-documentation: create Makes nodes one machine (none named: all of the lab); all of them or none
//gsoap d service method-action: create "urn:mvm:dvm:1#create"
//gsoap d service method-fault: create _t__Fault
int d__create(d__Target *target 1, std::vector<xsd__string> node 0, struct d__createResponse { d__Outcome outcome 1; } &r);

//gsoap d service method-documentation: add Has another node join
//gsoap d service method-action: add "urn:mvm:dvm:1#add"
//gsoap d service method-fault: add _t__Fault
int d__add(d__Target *target 1, xsd__string node 1, struct d__addResponse { d__Outcome outcome 1; } &r);

//gsoap d service method-documentation: remove Has a node leave, or removes one that is dead
//gsoap d service method-action: remove "urn:mvm:dvm:1#remove"
//gsoap d service method-fault: remove _t__Fault
int d__remove(d__Target *target 1, xsd__string node 1, struct d__removeResponse { d__Outcome outcome 1; } &r);

//gsoap d service method-documentation: halt Ends the machine on all of its nodes
//gsoap d service method-action: halt "urn:mvm:dvm:1#halt"
//gsoap d service method-fault: halt _t__Fault
int d__halt(d__Target *target 1, struct d__haltResponse { d__Outcome outcome 1; } &r);
