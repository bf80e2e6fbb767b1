// The broker's service: jobs, labs, and the system itself.

//gsoap b service name:          Broker
//gsoap b service type:          BrokerPortType
//gsoap b service binding:       BrokerSoap
//gsoap b service port:          http://127.0.0.1:7780/broker
//gsoap b service namespace:     urn:mvm:broker:1
//gsoap b service style:         document
//gsoap b service encoding:      literal
//gsoap b service documentation: MVM broker: jobs and labs and events
//gsoap b schema  namespace:     urn:mvm:broker:1
//gsoap b schema  elementForm:   qualified
//gsoap b schema  attributeForm: unqualified

//gsoap b service method-documentation: validate All faults of a file at once; none means valid
//gsoap b service method-action: validate "urn:mvm:broker:1#validate"
//gsoap b service method-fault: validate _t__Fault
int b__validate(t__SubmitRequest *request 1, struct b__validateResponse { std::vector<t__Diagnostic> diagnostic 0; } &r);

//gsoap b service method-documentation: plan What would be made and where or why not now
//gsoap b service method-action: plan "urn:mvm:broker:1#plan"
//gsoap b service method-fault: plan _t__Fault
int b__plan(t__SubmitRequest *request 1, struct b__planResponse { t__Plan plan 1; } &r);

//gsoap b service method-documentation: submit Takes a job; answers its id
//gsoap b service method-action: submit "urn:mvm:broker:1#submit"
//gsoap b service method-fault: submit _t__Fault
int b__submit(t__SubmitRequest *request 1, struct b__submitResponse { xsd__string job 1; } &r);

//gsoap b service method-documentation: jobs The jobs the caller may see
//gsoap b service method-action: jobs "urn:mvm:broker:1#jobs"
//gsoap b service method-fault: jobs _t__Fault
int b__jobs(xsd__boolean endedToo 1, struct b__jobsResponse { std::vector<t__Job> job 0; } &r);

//gsoap b service method-documentation: job One job with its processes and its way so far
//gsoap b service method-action: job "urn:mvm:broker:1#job"
//gsoap b service method-fault: job _t__Fault
int b__job(xsd__string id 1, struct b__jobResponse { t__JobDetail detail 1; } &r);

//gsoap b service method-documentation: waitJob As job once its state differs from the given one; waits at most 25 s
//gsoap b service method-action: waitJob "urn:mvm:broker:1#waitJob"
//gsoap b service method-fault: waitJob _t__Fault
int b__waitJob(xsd__string id 1, xsd__string state 1, xsd__unsignedInt waitMs 1, struct b__waitJobResponse { t__JobDetail detail 1; } &r);

//gsoap b service method-documentation: cancel Asks a job to stop
//gsoap b service method-action: cancel "urn:mvm:broker:1#cancel"
//gsoap b service method-fault: cancel _t__Fault
int b__cancel(xsd__string id 1, struct b__cancelResponse {  } &r);

//gsoap b service method-documentation: logs Output of a job from a cursor on; waits at most 25 s for more
//gsoap b service method-action: logs "urn:mvm:broker:1#logs"
//gsoap b service method-fault: logs _t__Fault
int b__logs(xsd__string job 1, xsd__string process 1, xsd__unsignedLong cursor 1, xsd__unsignedInt waitMs 1, struct b__logsResponse { t__LogPage page 1; } &r);

//gsoap b service method-documentation: results Result files of a job; fetch them from the Store by digest
//gsoap b service method-action: results "urn:mvm:broker:1#results"
//gsoap b service method-fault: results _t__Fault
int b__results(xsd__string id 1, struct b__resultsResponse { std::vector<t__ResultFile> result 0; } &r);

//gsoap b service method-documentation: remove Forgets an ended job with its logs and results
//gsoap b service method-action: remove "urn:mvm:broker:1#remove"
//gsoap b service method-fault: remove _t__Fault
int b__remove(xsd__string id 1, struct b__removeResponse {  } &r);

//gsoap b service method-documentation: createLab Makes a lab without a job; answers its id
//gsoap b service method-action: createLab "urn:mvm:broker:1#createLab"
//gsoap b service method-fault: createLab _t__Fault
int b__createLab(t__SubmitRequest *request 1, struct b__createLabResponse { xsd__string lab 1; } &r);

//gsoap b service method-documentation: labs The labs the caller may see
//gsoap b service method-action: labs "urn:mvm:broker:1#labs"
//gsoap b service method-fault: labs _t__Fault
int b__labs(struct b__labsResponse { std::vector<t__Lab> lab 0; } &r);

//gsoap b service method-documentation: lab One lab
//gsoap b service method-action: lab "urn:mvm:broker:1#lab"
//gsoap b service method-fault: lab _t__Fault
int b__lab(xsd__string id 1, struct b__labResponse { t__Lab lab 1; } &r);

//gsoap b service method-documentation: destroyLab Ends a lab with all its jobs and machines
//gsoap b service method-action: destroyLab "urn:mvm:broker:1#destroyLab"
//gsoap b service method-fault: destroyLab _t__Fault
int b__destroyLab(xsd__string id 1, struct b__destroyLabResponse {  } &r);

//gsoap b service method-documentation: graph A picture of a lab: machines and queues and kernels
//gsoap b service method-action: graph "urn:mvm:broker:1#graph"
//gsoap b service method-fault: graph _t__Fault
int b__graph(xsd__string lab 1, t__GraphFormat format 1, struct b__graphResponse { xsd__string picture 1; } &r);

//gsoap b service method-documentation: vms Machines of a lab or of all labs where it is empty
//gsoap b service method-action: vms "urn:mvm:broker:1#vms"
//gsoap b service method-fault: vms _t__Fault
int b__vms(xsd__string lab 1, struct b__vmsResponse { std::vector<t__Vm> vm 0; } &r);

//gsoap b service method-documentation: links Links of a lab or of all labs where it is empty
//gsoap b service method-action: links "urn:mvm:broker:1#links"
//gsoap b service method-fault: links _t__Fault
int b__links(xsd__string lab 1, struct b__linksResponse { std::vector<t__Link> link 0; } &r);

//gsoap b service method-documentation: queues Queues of a lab or of all labs where it is empty
//gsoap b service method-action: queues "urn:mvm:broker:1#queues"
//gsoap b service method-fault: queues _t__Fault
int b__queues(xsd__string lab 1, struct b__queuesResponse { std::vector<t__Queue> queue 0; } &r);

//gsoap b service method-documentation: rewire Gives a running job other links; all of it or nothing
//gsoap b service method-action: rewire "urn:mvm:broker:1#rewire"
//gsoap b service method-fault: rewire _t__Fault
int b__rewire(t__RewireRequest *request 1, struct b__rewireResponse { t__Rewiring rewiring 1; } &r);

//gsoap b service method-documentation: rewiring A rewiring once it is switched or undone; waits at most 25 s
//gsoap b service method-action: rewiring "urn:mvm:broker:1#rewiring"
//gsoap b service method-fault: rewiring _t__Fault
int b__rewiring(xsd__string job 1, xsd__unsignedLong number 1, xsd__unsignedInt waitMs 1, struct b__rewiringResponse { t__Rewiring rewiring 1; } &r);

//gsoap b service method-documentation: suspend Suspends a machine or resumes it
//gsoap b service method-action: suspend "urn:mvm:broker:1#suspend"
//gsoap b service method-fault: suspend _t__Fault
int b__suspend(xsd__string lab 1, xsd__string node 1, xsd__boolean suspend 1, struct b__suspendResponse {  } &r);

//gsoap b service method-documentation: console Console bytes from an offset on; waits at most 25 s for more
//gsoap b service method-action: console "urn:mvm:broker:1#console"
//gsoap b service method-fault: console _t__Fault
int b__console(xsd__string lab 1, xsd__string node 1, xsd__unsignedLong offset 1, xsd__unsignedInt waitMs 1, struct b__consoleResponse { xsd__base64Binary data 1; } &r);

//gsoap b service method-documentation: exec Starts a program in a machine; answers the id that follows it
//gsoap b service method-action: exec "urn:mvm:broker:1#exec"
//gsoap b service method-fault: exec _t__Fault
int b__exec(xsd__string lab 1, xsd__string node 1, std::vector<xsd__string> argument 1, xsd__base64Binary *input 0, struct b__execResponse { xsd__string id 1; } &r);

//gsoap b service method-documentation: execOutput Output of such a program from a cursor on; waits at most 25 s
//gsoap b service method-action: execOutput "urn:mvm:broker:1#execOutput"
//gsoap b service method-fault: execOutput _t__Fault
int b__execOutput(xsd__string id 1, xsd__unsignedLong cursor 1, xsd__unsignedInt waitMs 1, struct b__execOutputResponse { t__LogPage page 1; xsd__int code 1; } &r);

//gsoap b service method-documentation: whoami Who the caller is to this broker
//gsoap b service method-action: whoami "urn:mvm:broker:1#whoami"
//gsoap b service method-fault: whoami _t__Fault
int b__whoami(struct b__whoamiResponse { xsd__string user 1; xsd__string role 1; xsd__string lab 1; xsd__string broker 1; xsd__string version 1; } &r);

//gsoap b service method-documentation: events What happened after a cursor; waits at most 25 s for the first
//gsoap b service method-action: events "urn:mvm:broker:1#events"
//gsoap b service method-fault: events _t__Fault
int b__events(xsd__unsignedLong cursor 1, xsd__unsignedInt waitMs 1, struct b__eventsResponse { std::vector<t__Event> event 0; xsd__unsignedLong cursor 1; } &r);

//gsoap b service method-documentation: hosts The hosts and what they have left
//gsoap b service method-action: hosts "urn:mvm:broker:1#hosts"
//gsoap b service method-fault: hosts _t__Fault
int b__hosts(struct b__hostsResponse { std::vector<t__HostState> host 0; } &r);

//gsoap b service method-documentation: inviteHost A token with which one machine may join as a host
//gsoap b service method-action: inviteHost "urn:mvm:broker:1#inviteHost"
//gsoap b service method-fault: inviteHost _t__Fault
int b__inviteHost(xsd__string host 1, xsd__unsignedInt validSeconds 1, struct b__inviteHostResponse { xsd__string token 1; xsd__string broker 1; xsd__long expires 1; } &r);

//gsoap b service method-documentation: joinHost A machine joins as a host; its join token is all the identity it needs
//gsoap b service method-action: joinHost "urn:mvm:broker:1#joinHost"
//gsoap b service method-fault: joinHost _t__Fault
int b__joinHost(xsd__string secret 1, xsd__string name 1, xsd__string address 1, xsd__string request 1, struct b__joinHostResponse { xsd__string certificate 1; xsd__string authority 1; xsd__string broker 1; } &r);

//gsoap b service method-documentation: drainHost Places nothing new on a host or lets it take work again
//gsoap b service method-action: drainHost "urn:mvm:broker:1#drainHost"
//gsoap b service method-fault: drainHost _t__Fault
int b__drainHost(xsd__string host 1, xsd__boolean drain 1, struct b__drainHostResponse {  } &r);

//gsoap b service method-documentation: removeHost Forgets a joined host that is drained and empty
//gsoap b service method-action: removeHost "urn:mvm:broker:1#removeHost"
//gsoap b service method-fault: removeHost _t__Fault
int b__removeHost(xsd__string host 1, xsd__boolean force 1, struct b__removeHostResponse {  } &r);

//gsoap b service method-documentation: enqueue Puts messages into an open in port of a job; waits at most 25 s while the queue is full
//gsoap b service method-action: enqueue "urn:mvm:broker:1#enqueue"
//gsoap b service method-fault: enqueue _t__Fault
int b__enqueue(t__Enqueue *request 1, struct b__enqueueResponse { t__Enqueued answer 1; } &r);

//gsoap b service method-documentation: dequeue Acknowledges messages and takes the next out of an open out port of a job; waits at most 25 s for the first
//gsoap b service method-action: dequeue "urn:mvm:broker:1#dequeue"
//gsoap b service method-fault: dequeue _t__Fault
int b__dequeue(t__Dequeue *request 1, struct b__dequeueResponse { t__Dequeued answer 1; } &r);

//gsoap b service method-documentation: peek Shows what waits in the queues of a link or port of a running job and takes nothing
//gsoap b service method-action: peek "urn:mvm:broker:1#peek"
//gsoap b service method-fault: peek _t__Fault
int b__peek(xsd__string job 1, xsd__string name 1, xsd__unsignedInt count 1, xsd__unsignedInt bytes 1, struct b__peekResponse { std::vector<t__PeekedQueue> queue 0; } &r);

//gsoap b service method-documentation: drain Takes away the messages that wait in the queues of a link or port of a running job
//gsoap b service method-action: drain "urn:mvm:broker:1#drain"
//gsoap b service method-fault: drain _t__Fault
int b__drain(xsd__string job 1, xsd__string name 1, xsd__unsignedInt count 1, xsd__unsignedInt bytes 1, std::vector<t__DrainMark> mark 0, struct b__drainResponse { std::vector<t__DrainedQueue> queue 0; } &r);
