#pragma once
// For protocols whose calls of one reference may come over several connections.

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace mvm::rmix::sockets {

/// What keeps the calls of a reference in order, by the name that its client drew for it. Thread-safe.
template <class Order>
class Orders {
 public:
  /// That of a reference; made where no connection holds it.
  template <class Make>
  std::shared_ptr<Order> of(const std::string& reference, Make make) {
    const std::lock_guard lock(mutex_);
    if (orders_.size() > kManyDead)
      std::erase_if(orders_, [](const auto& one) { return one.second.expired(); });
    std::weak_ptr<Order>& known = orders_[reference];
    std::shared_ptr<Order> order = known.lock();
    if (!order) known = order = make();
    return order;
  }

 private:
  static constexpr std::size_t kManyDead = 1000;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<Order>> orders_;
};

}  // namespace mvm::rmix::sockets
