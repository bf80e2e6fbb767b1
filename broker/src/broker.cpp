#include "mvm/broker/broker.h"

#include "api.h"
#include "api_dvm.h"
#include "api_kernels.h"
#include "api_registry.h"
#include "builds.h"
#include "execs.h"
#include "hosts.h"
#include "jobs.h"
#include "labs.h"
#include "logs.h"
#include "rewirings.h"
#include "scheduler.h"

namespace mvm::broker {

class Broker::Impl {
 public:
  explicit Impl(std::shared_ptr<Core> a_core)
      : core(std::move(a_core)),
        jobs(*core),
        labs(*core),
        store(*core),
        system(*core),
        hosts(*core),
        queues(*core),
        kernels(*core),
        registry(*core),
        dvm(*core) {}
  std::shared_ptr<Core> core;
  JobService jobs;
  LabService labs;
  StoreService store;
  SystemService system;
  HostsService hosts;
  QueueService queues;
  KernelService kernels;
  RegistryService registry;
  DvmService dvm;
};

Broker::Broker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Broker::~Broker() { stop(); }

Result<std::unique_ptr<Broker>> Broker::create(BrokerConfig config, Store& store,
                                               const std::vector<host::HostAgent*>& hosts,
                                               const BlobStore& blobs, Clock& clock, Loop& loop,
                                               Executor& executor) {
  auto core = std::make_shared<Core>(std::move(config), store, blobs, clock, loop, executor, hosts);
  MVM_TRY(core->load());
  return std::unique_ptr<Broker>(new Broker(std::make_unique<Impl>(std::move(core))));
}

soap::BrokerApi Broker::api() {
  return {.jobs = impl_->jobs,
          .labs = impl_->labs,
          .store = impl_->store,
          .system = impl_->system,
          .hosts = impl_->hosts,
          .queues = impl_->queues,
          .kernels = impl_->kernels,
          .registry = impl_->registry,
          .dvm = impl_->dvm};
}

void Broker::start() { impl_->core->start(); }

void Broker::stop() {
  if (!impl_->core->stopped) impl_->core->stop();
}

}  // namespace mvm::broker
