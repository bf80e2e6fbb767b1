// Types that the services share. docs/formats/soap.md says what may change.
#import "stlvector.h"

//gsoap t schema namespace:      urn:mvm:types:1
//gsoap t schema elementForm:    qualified
//gsoap t schema attributeForm:  unqualified

typedef std::string   xsd__string;
typedef int           xsd__int;
typedef unsigned int  xsd__unsignedInt;
typedef LONG64        xsd__long;
typedef ULONG64       xsd__unsignedLong;
typedef bool          xsd__boolean;

// Bytes: in line as base64, or as an MTOM attachment.
class xsd__base64Binary {
 public:
  unsigned char *__ptr;
  int            __size;
  char          *id, *type, *options;
};

enum class t__GraphFormat : int { dot, svg, text };

class t__Diagnostic {
 public:
  xsd__string file 1;
  xsd__int line 1;
  xsd__int column 1;
  xsd__string message 1;
};

// Detail of every fault: the kind of error, words for people, and where in the caller's file.
class _t__Fault {
 public:
  xsd__string code 1;
  xsd__string message 1;
  xsd__string *field 0;
  std::vector<t__Diagnostic> diagnostic 0;
};

struct SOAP_ENV__Detail {
  _t__Fault *t__Fault;  // typed members first: "__type/fault" swallows every known type
  int __type;
  void *fault;
  _XML __any;
};

// For clients that cannot set an HTTP header.
struct SOAP_ENV__Header {
  xsd__string *t__token;
};

class t__Setting {
 public:
  xsd__string name 1;
  xsd__string value 1;
};

// A profile as literal XML: exactly one element.
class t__Document {
 public:
  _XML __any;
};

class t__SubmitRequest {
 public:
  xsd__string *profile 0;
  t__Document *document 0;
  std::vector<t__Setting> setting 0;
  xsd__string *lab 0;
  xsd__string *request 0;
  xsd__string *file 0;
};

class t__PlannedNode {
 public:
  xsd__string node 1;
  xsd__string host 1;
  xsd__string driver 1;
  xsd__string image 1;
  xsd__string architecture 1;
  xsd__unsignedInt vcpus 1;
  xsd__unsignedLong memory 1;
  std::vector<xsd__string> process 0;
  xsd__string state 1;
};

class t__PlannedLink {
 public:
  xsd__string link 1;
  xsd__string from 1;
  xsd__string to 1;
  xsd__string transport 1;
  xsd__string where 1;
  xsd__string *codec 0;
  xsd__string *forced 0;
};

class t__Plan {
 public:
  xsd__string name 1;
  std::vector<t__PlannedNode> node 0;
  std::vector<t__PlannedLink> link 0;
  xsd__unsignedLong processCount 1;
  xsd__unsignedLong linkCount 1;
  std::vector<xsd__string> build 0;
  std::vector<xsd__string> reason 0;
};

class t__Job {
 public:
  xsd__string id 1;
  xsd__string lab 1;
  xsd__string name 1;
  xsd__string user 1;
  xsd__string state 1;
  xsd__string reason 1;
  xsd__long submittedMs 1;
  xsd__long startedMs 1;
  xsd__long endedMs 1;
  xsd__unsignedInt nodes 1;
  std::vector<xsd__string> where 0;
  xsd__unsignedInt attempt 1;
  xsd__int exitCode 1;
  xsd__boolean cancelAsked 1;
  xsd__string progress 1;
};

class t__Process {
 public:
  xsd__string process 1;
  xsd__string node 1;
  xsd__string state 1;
  xsd__int code 1;
  xsd__int signal 1;
  xsd__unsignedLong userMs 1;
  xsd__unsignedLong systemMs 1;
  xsd__unsignedLong maxRss 1;
};

class t__Transition {
 public:
  xsd__long atMs 1;
  xsd__string from 1;
  xsd__string to 1;
  xsd__string reason 1;
  xsd__unsignedInt attempt 1;
};

class t__JobDetail {
 public:
  t__Job job 1;
  std::vector<t__Process> process 0;
  std::vector<t__Transition> transition 0;
  std::vector<xsd__string> why 0;
};

// Output of a program: bytes, because a program may write what XML cannot carry.
class t__LogPiece {
 public:
  xsd__string process 1;
  xsd__string node 1;
  xsd__string stream 1;
  xsd__long atMs 1;
  xsd__base64Binary data 1;
};

class t__LogPage {
 public:
  std::vector<t__LogPiece> piece 0;
  xsd__unsignedLong cursor 1;
  xsd__boolean ended 1;
};

class t__ResultFile {
 public:
  xsd__string name 1;
  xsd__string process 1;
  xsd__string digest 1;
  xsd__unsignedLong size 1;
};

class t__Lab {
 public:
  xsd__string id 1;
  xsd__string name 1;
  xsd__string user 1;
  xsd__string state 1;
  xsd__string subnet 1;
  xsd__long createdMs 1;
  xsd__unsignedInt nodes 1;
  xsd__unsignedInt jobs 1;
  xsd__boolean ephemeral 1;
};

class t__Vm {
 public:
  xsd__string lab 1;
  xsd__string node 1;
  xsd__string host 1;
  xsd__string driver 1;
  xsd__string image 1;
  xsd__string state 1;
  xsd__string address 1;
  xsd__string wsdl 1;
  xsd__string boot 1;
  xsd__unsignedInt vcpus 1;
  xsd__unsignedLong memory 1;
};

class t__Link {
 public:
  xsd__string lab 1;
  xsd__string link 1;
  xsd__string from 1;
  xsd__string to 1;
  xsd__string type 1;
  xsd__string deliver 1;
  xsd__string whenFull 1;
  xsd__string transport 1;
  xsd__unsignedInt capacity 1;
  xsd__string *codec 0;
  xsd__string *forced 0;
};

// One change of a running job's links.
class t__LinkEdit {
 public:
  xsd__boolean connect 1;
  xsd__string *from 0;
  xsd__string *to 0;
  xsd__string *link 0;
  std::vector<t__Setting> attribute 0;
  xsd__boolean *set 0;
};

// Another wiring for a running job: of a file (as text or document), or the present one with edits.
class t__RewireRequest {
 public:
  xsd__string target 1;
  xsd__string *profile 0;
  t__Document *document 0;
  std::vector<t__Setting> setting 0;
  xsd__string *file 0;
  std::vector<t__LinkEdit> edit 0;
  xsd__unsignedInt deadlineMs 1;
  xsd__boolean dryRun 1;
};

class t__Rewiring {
 public:
  xsd__string job 1;
  xsd__string lab 1;
  xsd__unsignedLong number 1;
  xsd__string state 1;
  xsd__string reason 1;
  xsd__unsignedInt added 1;
  xsd__unsignedInt removed 1;
  xsd__unsignedInt redirected 1;
  xsd__unsignedInt changed 1;
  xsd__unsignedInt unchanged 1;
  std::vector<xsd__string> step 0;
  std::vector<xsd__string> draining 0;
};

class t__Queue {
 public:
  xsd__string lab 1;
  xsd__string job 1;
  xsd__string link 1;
  xsd__string where 1;
  xsd__unsignedLong depth 1;
  xsd__unsignedLong capacity 1;
  xsd__unsignedLong bytes 1;
  xsd__unsignedLong enqueued 1;
  xsd__unsignedLong dequeued 1;
  xsd__unsignedLong dropped 1;
  xsd__string waiting 1;
  xsd__unsignedLong *bytesEnqueued 0;
  xsd__unsignedLong *bytesDequeued 0;
  xsd__unsignedLong *latencySamples 0;
  xsd__unsignedLong *latencyP50Ns 0;
  xsd__unsignedLong *latencyP99Ns 0;
  xsd__unsignedLong *drained 0;
};

// A message that waits in a queue, and its first bytes.
class t__PeekedMessage {
 public:
  xsd__unsignedLong number 1;
  xsd__unsignedLong size 1;
  xsd__base64Binary data 1;
  xsd__unsignedLong key 1;
  xsd__unsignedInt priority 1;
  xsd__boolean again 1;
  xsd__boolean taken 1;
  xsd__unsignedLong *ageNs 0;
};

class t__PeekedQueue {
 public:
  xsd__string link 1;
  xsd__string where 1;
  xsd__unsignedLong depth 1;
  xsd__unsignedLong bytes 1;
  xsd__boolean steady 1;
  std::vector<t__PeekedMessage> message 0;
};

// Of a queue's messages only those before this one: 0 stands for all that wait now.
class t__DrainMark {
 public:
  xsd__string queue 1;
  xsd__unsignedLong before 1;
};

class t__DrainedQueue {
 public:
  xsd__string link 1;
  xsd__string where 1;
  t__DrainMark mark 1;
  xsd__unsignedLong drained 1;
  xsd__unsignedLong bytes 1;
  xsd__boolean more 1;
  xsd__boolean pending 1;
  std::vector<t__PeekedMessage> message 0;
};

// A message into a queue.
class t__Message {
 public:
  xsd__base64Binary data 1;
  xsd__unsignedLong *key 0;
  xsd__unsignedInt *priority 0;
};

// A message out of a queue, or a part of one: offset says where its data stands in the whole.
class t__TakenMessage {
 public:
  xsd__unsignedLong number 1;
  xsd__unsignedLong size 1;
  xsd__unsignedLong offset 1;
  xsd__base64Binary data 1;
  xsd__unsignedLong key 1;
  xsd__unsignedInt priority 1;
  xsd__boolean again 1;
};

class t__Enqueue {
 public:
  xsd__string job 1;
  xsd__string port 1;
  xsd__string client 1;
  xsd__string *ticket 0;
  xsd__unsignedLong first 1;
  std::vector<t__Message> message 0;
  xsd__boolean *done 0;
  xsd__unsignedInt *waitMs 0;
};

class t__Enqueued {
 public:
  xsd__unsignedLong accepted 1;
  xsd__string ticket 1;
  xsd__string end 1;
  xsd__boolean closed 1;
};

class t__Dequeue {
 public:
  xsd__string job 1;
  xsd__string port 1;
  xsd__string client 1;
  xsd__string *ticket 0;
  xsd__unsignedLong acknowledged 1;
  xsd__unsignedLong *partial 0;
  xsd__unsignedLong *offset 0;
  xsd__unsignedInt *count 0;
  xsd__boolean *leave 0;
  xsd__unsignedInt *waitMs 0;
};

class t__Dequeued {
 public:
  std::vector<t__TakenMessage> message 0;
  xsd__string ticket 1;
  xsd__string end 1;
};

class t__Build {
 public:
  xsd__string key 1;
  xsd__string state 1;
  xsd__string role 1;
  xsd__string image 1;
  xsd__string architecture 1;
  xsd__string command 1;
  xsd__string node 1;
  xsd__string digest 1;
  xsd__long atMs 1;
  xsd__unsignedLong size 1;
  xsd__unsignedLong wallMs 1;
  xsd__unsignedLong hits 1;
};

class t__Event {
 public:
  xsd__unsignedLong seq 1;
  xsd__long atMs 1;
  xsd__string event 1;
  xsd__string lab 1;
  xsd__string job 1;
  xsd__string node 1;
  xsd__string detail 1;
};

class t__HostState {
 public:
  xsd__string name 1;
  xsd__string state 1;
  xsd__string architecture 1;
  xsd__unsignedInt vcpus 1;
  xsd__unsignedInt vcpusUsed 1;
  xsd__unsignedLong memory 1;
  xsd__unsignedLong memoryUsed 1;
  std::vector<xsd__string> driver 0;
  std::vector<xsd__string> image 0;
};

class t__NodePlugin {
 public:
  xsd__string name 1;
  xsd__string version 1;
  xsd__string owner 1;
  xsd__string state 1;
};

class t__NodeProcess {
 public:
  xsd__string process 1;
  xsd__int pid 1;
  xsd__string state 1;
  xsd__int code 1;
  xsd__int signal 1;
};

class t__Peer {
 public:
  xsd__string name 1;
  xsd__string address 1;
};
