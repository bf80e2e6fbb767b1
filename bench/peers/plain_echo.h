// The least that gSOAP itself needs for an echo of a number: what bench/rmix-soap compares RMIX with.
// clang-format off: gSOAP reads its directives only without a blank
//gsoap ns service name: Echo
//gsoap ns service namespace: urn:bench:echo
//gsoap ns service style: document
//gsoap ns service encoding: literal
//gsoap ns service method-action: echo ""
int ns__echo(LONG64 value, LONG64& result);
