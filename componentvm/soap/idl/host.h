// Between broker and hosts, over mutual TLS.

//gsoap h service name:          Host
//gsoap h service type:          HostPortType
//gsoap h service binding:       HostSoap
//gsoap h service port:          http://127.0.0.1:7780/host
//gsoap h service namespace:     urn:mvm:host:1
//gsoap h service style:         document
//gsoap h service encoding:      literal
//gsoap h service documentation: MVM host: what a broker asks of a host
//gsoap h schema  namespace:     urn:mvm:host:1
//gsoap h schema  elementForm:   qualified
//gsoap h schema  attributeForm: unqualified

//gsoap h service method-documentation: call One operation of the host; arguments and result are JSON objects
//gsoap h service method-action: call "urn:mvm:host:1#call"
//gsoap h service method-fault: call _t__Fault
int h__call(xsd__string op 1, xsd__string arguments 1, xsd__base64Binary *blob 0, xsd__unsignedInt timeoutMs 1, struct h__callResponse { xsd__string result 1; xsd__base64Binary *blob 0; } &r);

//gsoap h service method-documentation: poll As call but the host may wait at most 25 s before it answers
//gsoap h service method-action: poll "urn:mvm:host:1#poll"
//gsoap h service method-fault: poll _t__Fault
int h__poll(xsd__string op 1, xsd__string arguments 1, xsd__unsignedInt waitMs 1, struct h__pollResponse { xsd__string result 1; xsd__base64Binary *blob 0; } &r);

//gsoap h service method-documentation: putBlob Stores bytes under their SHA-256 on the host
//gsoap h service method-action: putBlob "urn:mvm:host:1#putBlob"
//gsoap h service method-fault: putBlob _t__Fault
int h__putBlob(xsd__string digest 1, xsd__base64Binary *data 1, struct h__putBlobResponse {  } &r);

//gsoap h service method-documentation: getBlob The bytes of a digest as MTOM attachment
//gsoap h service method-action: getBlob "urn:mvm:host:1#getBlob"
//gsoap h service method-fault: getBlob _t__Fault
int h__getBlob(xsd__string digest 1, struct h__getBlobResponse { xsd__base64Binary data 1; } &r);
