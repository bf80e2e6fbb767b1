// The table of XML namespaces, which gSOAP's library finds by this global name.
#include "Broker.nsmap"
