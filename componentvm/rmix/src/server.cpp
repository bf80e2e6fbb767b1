#include "mvm/rmix/server.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

#include "mvm/base/digest.h"
#include "mvm/base/log.h"

namespace mvm::rmix {
namespace {

bool is_service_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

/// A service, while it is exported and as long as calls of it run.
class Entry final : public Exported {
 public:
  Entry(std::string name, std::shared_ptr<Service> service, Permission permission)
      : name_(std::move(name)),
        service_(std::move(service)),
        interface_(service_->interface()),
        permission_(std::move(permission)) {}
  const Interface& interface() const override { return *interface_; }
  const std::string& name() const override { return name_; }
  Status permit(const Caller& caller, const Method& method) const {
    return permission_ ? permission_(caller, *interface_, method) : ok();
  }

  Outcome run(const CallContext& context, std::uint32_t method, std::vector<Value> arguments) {
    if (!enter())
      return failed(ErrorCode::kNotFound, "service " + name_ + " is no longer there", Fate::kNotRun);
    const Entry* outer = std::exchange(here(), this);
    Outcome outcome = guarded(context, method, std::move(arguments));
    here() = outer;
    leave();
    return outcome;
  }

  /// Lets no call begin any more, and waits for those that run elsewhere.
  void retire() {
    std::unique_lock lock(mutex_);
    retired_ = true;
    const int own = here() == this ? 1 : 0;
    idle_.wait(lock, [&] { return running_ <= own; });
  }

 private:
  /// Whose method this thread runs.
  static const Entry*& here() {
    thread_local const Entry* entry = nullptr;
    return entry;
  }
  bool enter() {
    const std::lock_guard lock(mutex_);
    if (retired_) return false;
    ++running_;
    return true;
  }
  void leave() {
    const std::lock_guard lock(mutex_);
    --running_;
    if (retired_) idle_.notify_all();
  }

  Outcome guarded(const CallContext& context, std::uint32_t number, std::vector<Value> arguments) {
    const Method& method = interface_->methods[number];
    try {
      return checked(method, service_->call(context, number, std::move(arguments)));
    } catch (const std::exception& thrown) {
      log::error("rmix.method-threw", {{"service", name_}, {"method", method.name}, {"what", thrown.what()}});
    } catch (...) {
      log::error("rmix.method-threw", {{"service", name_}, {"method", method.name}});
    }
    return failed(ErrorCode::kFailed, method.name + " of " + name_ + " broke", Fate::kRan);
  }

  Outcome checked(const Method& method, Outcome outcome) const {
    Status fits = ok();
    if (const auto* value = std::get_if<Value>(&outcome)) {
      fits = check(*value, method.result, "result");
    } else if (const auto* raised = std::get_if<Exception>(&outcome)) {
      const auto declared = std::find_if(method.exceptions.begin(), method.exceptions.end(),
                                         [&](const auto& one) { return one->name == raised->name; });
      fits = declared == method.exceptions.end()
                 ? Status(Error(ErrorCode::kInvalid, "exception " + raised->name + " is not declared"))
                 : check(raised->fields, (*declared)->fields, raised->name);
    }
    if (fits) return outcome;
    log::error("rmix.bad-answer",
               {{"service", name_}, {"method", method.name}, {"reason", fits.error().message()}});
    return failed(ErrorCode::kFailed,
                  method.name + " of " + name_ + " answered wrongly: " + fits.error().message(), Fate::kRan);
  }

  const std::string name_;
  const std::shared_ptr<Service> service_;
  const InterfacePtr interface_;
  const Permission permission_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int running_ = 0;
  bool retired_ = false;
};

struct InOrder final : Order {
  std::mutex mutex;
  bool busy = false;
  std::deque<std::pair<Incoming, Done>> waiting;
};

class ServerImpl final : public Server, private Dispatcher {
 public:
  ServerImpl(const Providers& providers, Options options)
      : providers_(providers), options_(std::move(options)), pool_(options_.threads) {}
  ~ServerImpl() override {
    std::map<std::string, std::unique_ptr<Listener>> listeners;
    {
      const std::lock_guard lock(mutex_);
      listeners.swap(listeners_);
    }
    listeners.clear();
  }

  Status add(const std::string& name, std::shared_ptr<Service> service, Permission permission) override {
    if (!is_service_name(name))
      return Error(ErrorCode::kInvalid, "service: found \"" + name.substr(0, 80) +
                                            "\", expected letters, digits, dots, dashes and _, at most 128");
    MVM_TRY(check(*service->interface()));
    if (!permission) permission = options_.permission;
    const std::lock_guard lock(mutex_);
    const auto [at, added] =
        entries_.try_emplace(name, std::make_shared<Entry>(name, std::move(service), std::move(permission)));
    if (!added) return Error(ErrorCode::kExists, "service " + name + " is exported already");
    return ok();
  }

  Status remove(const std::string& name) override {
    std::shared_ptr<Entry> entry;
    {
      const std::lock_guard lock(mutex_);
      const auto found = entries_.find(name);
      if (found == entries_.end()) return Error(ErrorCode::kNotFound, "no service " + name + " is exported");
      entry = found->second;
      entries_.erase(found);
    }
    entry->retire();
    return ok();
  }

  Result<std::string> listen(const std::string& endpoint) override {
    const Providers::Entry* provider = providers_.find(scheme_of(endpoint));
    if (provider == nullptr)
      return Error(ErrorCode::kUnsupported, "endpoint " + endpoint.substr(0, 200) +
                                                ": no RMIX provider speaks \"" + scheme_of(endpoint) + "\"");
    MVM_ASSIGN(auto listener, provider->provider->listen(
                                  {.endpoint = endpoint, .server = identifier_, .tls = options_.tls}, *this));
    std::string open = listener->endpoint();
    const std::lock_guard lock(mutex_);
    listeners_[open] = std::move(listener);
    return open;
  }

  Status close(const std::string& endpoint) override {
    std::unique_ptr<Listener> listener;
    const std::lock_guard closing(closing_);
    {
      const std::lock_guard lock(mutex_);
      const auto found = listeners_.find(endpoint);
      if (found == listeners_.end())
        return Error(ErrorCode::kNotFound, "no endpoint " + endpoint + " is open");
      listener = std::move(found->second);
      listeners_.erase(found);
    }
    return ok();
  }

  std::vector<std::string> endpoints() const override {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> open;
    for (const auto& [endpoint, listener] : listeners_) open.push_back(endpoint);
    return open;
  }

  Result<std::string> reference(const std::string& name) const override {
    const std::lock_guard lock(mutex_);
    if (!entries_.contains(name)) return Error(ErrorCode::kNotFound, "no service " + name + " is exported");
    std::string text = name;
    for (const auto& [endpoint, listener] : listeners_) text += " " + endpoint;
    return text;
  }

  Status adjust(ThreadPoolLimits limits) override { return pool_.adjust(limits); }

 private:
  Result<std::shared_ptr<Exported>> find(const std::string& service) override {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(service);
    if (found == entries_.end())
      return Error(ErrorCode::kNotFound, "no service " + service.substr(0, 128) + " is exported here");
    return std::shared_ptr<Exported>(found->second);
  }

  std::vector<std::shared_ptr<Exported>> all() override {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<Exported>> exported;
    for (const auto& [name, entry] : entries_) exported.push_back(entry);
    return exported;
  }

  Status admit(const Exported& service, const Caller& caller) override {
    const auto& entry = static_cast<const Entry&>(service);
    Status last = ok();
    for (const Method& method : entry.interface().methods) {
      last = entry.permit(caller, method);
      if (last) break;
    }
    return last;
  }

  std::shared_ptr<Order> make_order() override { return std::make_shared<InOrder>(); }

  std::function<void()> place(Incoming incoming, Done done) override {
    InOrder* const order = order_of(incoming);
    if (order != nullptr && queued(*order, incoming, done)) return nullptr;
    return [call = std::make_shared<std::pair<Incoming, Done>>(std::move(incoming), std::move(done)), order] {
      const std::shared_ptr<Order> kept = call->first.order;
      run(std::move(call->first), call->second);
      if (order != nullptr) run_queued(*order);
    };
  }

  /// Null where the call need not wait for others.
  static InOrder* order_of(const Incoming& incoming) {
    const bool concurrent = incoming.target->interface().methods[incoming.method].concurrent;
    return concurrent ? nullptr : static_cast<InOrder*>(incoming.order.get());
  }

  /// True where another thread takes it, once those before it are over; else the order is this thread's.
  static bool queued(InOrder& order, Incoming& incoming, Done& done) {
    const std::lock_guard lock(order.mutex);
    if (!std::exchange(order.busy, true)) return false;
    order.waiting.emplace_back(std::move(incoming), std::move(done));
    return true;
  }

  static void run_queued(InOrder& order) {
    for (;;) {
      std::unique_lock lock(order.mutex);
      order.busy = !order.waiting.empty();
      if (!order.busy) return;
      auto [incoming, done] = std::move(order.waiting.front());
      order.waiting.pop_front();
      lock.unlock();
      run(std::move(incoming), done);
    }
  }

  static void run(Incoming incoming, const Done& done) {
    Entry& entry = static_cast<Entry&>(*incoming.target);
    if (incoming.ticket && !incoming.ticket->begin()) return;
    const CallContext context{*incoming.caller, incoming.deadline, incoming.ticket.get()};
    if (incoming.deadline != kNever && std::chrono::steady_clock::now() >= incoming.deadline)
      return done(
          failed(ErrorCode::kTimeout, "the deadline passed before the call's turn came", Fate::kNotRun));
    if (Status permitted = entry.permit(*incoming.caller, entry.interface().methods[incoming.method]);
        !permitted)
      return done(Failure{std::move(permitted).error(), Fate::kNotRun});
    done(entry.run(context, incoming.method, std::move(incoming.arguments)));
  }

  Status submit(std::function<void()> job) override { return pool_.submit(std::move(job)); }
  Status try_submit(std::function<void()> job) override { return pool_.try_submit(std::move(job)); }

  const Providers providers_;
  const Options options_;
  const std::string identifier_ = random_hex(16);
  mutable std::mutex mutex_;
  std::mutex closing_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
  ThreadPool pool_;
  std::map<std::string, std::unique_ptr<Listener>> listeners_;
};

}  // namespace

std::unique_ptr<Server> Server::create(const Providers& providers, Options options) {
  return std::make_unique<ServerImpl>(providers, std::move(options));
}

}  // namespace mvm::rmix
