// Served by the kernel inside each virtual machine.

//gsoap n service name:          Node
//gsoap n service type:          NodePortType
//gsoap n service binding:       NodeSoap
//gsoap n service port:          http://127.0.0.1:7780/node
//gsoap n service namespace:     urn:mvm:node:1
//gsoap n service style:         document
//gsoap n service encoding:      literal
//gsoap n service documentation: MVM node: one virtual machine of a lab as seen from inside
//gsoap n schema  namespace:     urn:mvm:node:1
//gsoap n schema  elementForm:   qualified
//gsoap n schema  attributeForm: unqualified

//gsoap n service method-documentation: info What this node is
//gsoap n service method-action: info "urn:mvm:node:1#info"
//gsoap n service method-fault: info _t__Fault
int n__info(struct n__infoResponse { xsd__string node 1; xsd__string lab 1; xsd__string boot 1; xsd__string architecture 1; xsd__string version 1; xsd__long uptimeMs 1; xsd__unsignedInt processes 1; std::vector<xsd__string> toolchain 0; std::vector<t__Peer> peer 0; } &r);

//gsoap n service method-documentation: processes Processes of the node
//gsoap n service method-action: processes "urn:mvm:node:1#processes"
//gsoap n service method-fault: processes _t__Fault
int n__processes(struct n__processesResponse { std::vector<t__NodeProcess> process 0; } &r);

//gsoap n service method-documentation: queues Queues of the node
//gsoap n service method-action: queues "urn:mvm:node:1#queues"
//gsoap n service method-fault: queues _t__Fault
int n__queues(struct n__queuesResponse { std::vector<t__Queue> queue 0; } &r);

//gsoap n service method-documentation: plugins Plug-ins of the kernel
//gsoap n service method-action: plugins "urn:mvm:node:1#plugins"
//gsoap n service method-fault: plugins _t__Fault
int n__plugins(struct n__pluginsResponse { std::vector<t__NodePlugin> plugin 0; } &r);

//gsoap n service method-documentation: visit Calls info of the named peers one after the other; each asks the next
//gsoap n service method-action: visit "urn:mvm:node:1#visit"
//gsoap n service method-fault: visit _t__Fault
int n__visit(std::vector<xsd__string> route 0, struct n__visitResponse { std::vector<xsd__string> visited 1; } &r);
