// The registries' service: names that hold items, on a lab's nodes (docs/formats/registry.md).

//gsoap r service name:          Registry
//gsoap r service type:          RegistryPortType
//gsoap r service binding:       RegistrySoap
//gsoap r service port:          http://127.0.0.1:7780/registry
//gsoap r service namespace:     urn:mvm:registry:1
//gsoap r service style:         document
//gsoap r service encoding:      literal
//gsoap r service documentation: MVM registries: put and get and delete and list and watch named items
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
