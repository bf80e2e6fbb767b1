// Blobs by digest and the compile cache.

//gsoap s service name:          Store
//gsoap s service type:          StorePortType
//gsoap s service binding:       StoreSoap
//gsoap s service port:          http://127.0.0.1:7780/store
//gsoap s service namespace:     urn:mvm:store:1
//gsoap s service style:         document
//gsoap s service encoding:      literal
//gsoap s service documentation: MVM store: blobs by SHA-256 and the compile cache
//gsoap s schema  namespace:     urn:mvm:store:1
//gsoap s schema  elementForm:   qualified
//gsoap s schema  attributeForm: unqualified

//gsoap s service method-documentation: missingBlobs Those of the digests that the store lacks
//gsoap s service method-action: missingBlobs "urn:mvm:store:1#missingBlobs"
//gsoap s service method-fault: missingBlobs _t__Fault
int s__missingBlobs(std::vector<xsd__string> digest 0, struct s__missingBlobsResponse { std::vector<xsd__string> digest 0; } &r);

//gsoap s service method-documentation: putBlob Stores bytes under their SHA-256; send them as MTOM attachment or in line
//gsoap s service method-action: putBlob "urn:mvm:store:1#putBlob"
//gsoap s service method-fault: putBlob _t__Fault
int s__putBlob(xsd__string digest 1, xsd__base64Binary *data 1, struct s__putBlobResponse {  } &r);

//gsoap s service method-documentation: getBlob The bytes of a digest as MTOM attachment
//gsoap s service method-action: getBlob "urn:mvm:store:1#getBlob"
//gsoap s service method-fault: getBlob _t__Fault
int s__getBlob(xsd__string digest 1, struct s__getBlobResponse { xsd__base64Binary data 1; } &r);

//gsoap s service method-documentation: getBlobPart At most 1 MiB of a blob in line for clients without MTOM
//gsoap s service method-action: getBlobPart "urn:mvm:store:1#getBlobPart"
//gsoap s service method-fault: getBlobPart _t__Fault
int s__getBlobPart(xsd__string digest 1, xsd__unsignedLong offset 1, xsd__unsignedInt length 1, struct s__getBlobPartResponse { xsd__base64Binary data 1; xsd__boolean end 1; } &r);

//gsoap s service method-documentation: builds The compile cache
//gsoap s service method-action: builds "urn:mvm:store:1#builds"
//gsoap s service method-fault: builds _t__Fault
int s__builds(struct s__buildsResponse { std::vector<t__Build> build 0; } &r);

//gsoap s service method-documentation: buildLog What a compiler said from a cursor on; waits at most 25 s for more
//gsoap s service method-action: buildLog "urn:mvm:store:1#buildLog"
//gsoap s service method-fault: buildLog _t__Fault
int s__buildLog(xsd__string key 1, xsd__unsignedLong cursor 1, xsd__unsignedInt waitMs 1, struct s__buildLogResponse { t__LogPage page 1; } &r);

//gsoap s service method-documentation: dropBuilds Drops one cached build or all unused ones where the key is empty
//gsoap s service method-action: dropBuilds "urn:mvm:store:1#dropBuilds"
//gsoap s service method-fault: dropBuilds _t__Fault
int s__dropBuilds(xsd__string key 1, struct s__dropBuildsResponse { xsd__unsignedLong dropped 1; } &r);
