// All services of MVM, one run of soapcpp2.
#import "types.h"
#import "broker.h"
#import "store.h"
#import "node.h"
#import "host.h"
#import "kernels.h"
#import "registry.h"
#import "dvm.h"
