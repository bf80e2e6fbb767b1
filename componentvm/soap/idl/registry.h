// The registries' service: names that hold items, on a lab's nodes (docs/formats/registry.md).

//gsoap r service name:          Registry
//gsoap r service type:          RegistryPortType
//gsoap r service binding:       RegistrySoap
//gsoap r service port:          http://127.0.0.1:7780/registry
//gsoap r service namespace:     urn:mvm:registry:1
//gsoap r service style:         document
//gsoap r service encoding:      literal
//gsoap r service documentation: MVM registries: put and get and delete and list and watch named items; which nodes serve them
//gsoap r schema  namespace:     urn:mvm:registry:1
//gsoap r schema  elementForm:   qualified
//gsoap r schema  attributeForm: unqualified

class r__Target {
 public:
  xsd__string lab 1;
  xsd__string node 1;
};

class r__Info {
 public:
  xsd__string name 1;
  xsd__unsignedLong index 1;
  xsd__string owner 1;
  std::vector<xsd__string> flag 0;
  xsd__unsignedLong lease 1;
  xsd__unsignedLong revision 1;
  xsd__unsignedLong size 1;
};

class r__Put {
 public:
  xsd__string name 1;
  std::vector<xsd__string> flag 0;
  xsd__unsignedLong index 1;
  xsd__unsignedLong lease 1;
  xsd__string encoding 1;
  xsd__base64Binary value 1;
};

class r__Ask {
 public:
  xsd__string name 1;
  xsd__unsignedLong index 1;
  std::vector<xsd__string> flag 0;
  xsd__unsignedInt waitMs 1;
};

class r__Event {
 public:
  xsd__unsignedLong revision 1;
  xsd__boolean deleted 1;
  r__Info info 1;
};

class r__Member {
 public:
  xsd__string node 1;
  xsd__string provider 1;
  xsd__string state 1;
  xsd__unsignedLong id 1;
  xsd__string role 1;
  xsd__string address 1;
  xsd__boolean leader 1;
  xsd__string trouble 1;
};

class r__Choice {
 public:
  xsd__string provider 1;
  std::vector<xsd__string> endpoint 0;
  xsd__string prefix 1;
};

class r__Answer {
 public:
  xsd__string node 1;
  xsd__boolean done 1;
  xsd__string reason 1;
};

class r__Outcome {
 public:
  xsd__boolean committed 1;
  std::vector<r__Answer> answer 0;
};

//gsoap r service method-documentation: put Puts an item under a name; answers its index
//gsoap r service method-action: put "urn:mvm:registry:1#put"
//gsoap r service method-fault: put _t__Fault
int r__put(r__Target *target 1, r__Put *item 1, struct r__putResponse { xsd__unsignedLong index 1; xsd__unsignedLong revision 1; } &r);

//gsoap r service method-documentation: get Reads an item; where it is one text or some bytes as they are
//gsoap r service method-action: get "urn:mvm:registry:1#get"
//gsoap r service method-fault: get _t__Fault
int r__get(r__Target *target 1, r__Ask *item 1, struct r__getResponse { r__Info info 1; xsd__string encoding 1; xsd__base64Binary value 1; } &r);

//gsoap r service method-documentation: erase Deletes an item
//gsoap r service method-action: erase "urn:mvm:registry:1#erase"
//gsoap r service method-fault: erase _t__Fault
int r__erase(r__Target *target 1, r__Ask *item 1, struct r__eraseResponse { xsd__unsignedLong revision 1; } &r);

//gsoap r service method-documentation: list What is known about the items whose names match a pattern
//gsoap r service method-action: list "urn:mvm:registry:1#list"
//gsoap r service method-fault: list _t__Fault
int r__list(r__Target *target 1, xsd__string pattern 1, xsd__string afterName 1, xsd__unsignedLong afterIndex 1, xsd__unsignedInt limit 1, struct r__listResponse { std::vector<r__Info> info 0; xsd__unsignedLong revision 1; xsd__boolean more 1; } &r);

//gsoap r service method-documentation: watch The changes after a revision; waits for the first of them
//gsoap r service method-action: watch "urn:mvm:registry:1#watch"
//gsoap r service method-fault: watch _t__Fault
int r__watch(r__Target *target 1, xsd__unsignedLong after 1, xsd__string pattern 1, xsd__unsignedInt waitMs 1, struct r__watchResponse { std::vector<r__Event> event 0; xsd__unsignedLong cursor 1; } &r);

//gsoap r service method-documentation: members The nodes of a lab and what they serve, and members of its replicated registry that are no node's
//gsoap r service method-action: members "urn:mvm:registry:1#members"
//gsoap r service method-fault: members _t__Fault
int r__members(r__Target *target 1, struct r__membersResponse { std::vector<r__Member> member 0; } &r);

//gsoap r service method-documentation: serve Has nodes serve a registry (none named: all of the lab); all of them or none
//gsoap r service method-action: serve "urn:mvm:registry:1#serve"
//gsoap r service method-fault: serve _t__Fault
int r__serve(r__Target *target 1, std::vector<xsd__string> node 0, r__Choice *choice 1, struct r__serveResponse { r__Outcome outcome 1; } &r);

//gsoap r service method-documentation: leave Has the node serve no registry any more
//gsoap r service method-action: leave "urn:mvm:registry:1#leave"
//gsoap r service method-fault: leave _t__Fault
int r__leave(r__Target *target 1, xsd__boolean force 1, struct r__leaveResponse { } &r);

//gsoap r service method-documentation: confirmLost Says that a member of the replicated registry never comes back
//gsoap r service method-action: confirmLost "urn:mvm:registry:1#confirmLost"
//gsoap r service method-fault: confirmLost _t__Fault
int r__confirmLost(r__Target *target 1, xsd__unsignedLong id 1, struct r__confirmLostResponse { } &r);
