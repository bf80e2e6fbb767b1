#pragma once
// The registry that this node's kernel serves: the provider that its settings say, or that the node's host
// chose while the registry was empty. docs/formats/registry.md, "Of a lab's nodes".

#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "mvm/base/clock.h"
#include "mvm/base/lent.h"
#include "mvm/kernel/plugin.h"
#include "provider.h"
#include "sessions.h"

namespace mvm::plugins::registry {

/// Any thread. Who holds it, holds whatever provider there is at the moment.
class Current final : public mvm::registry::Registry {
 public:
  using Settings = std::map<std::string, std::string>;

  Current(const kernel::NodeConfig& node, Clock& clock) : node_(node), clock_(clock) {}
  ~Current() override { stop(); }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

  /// Begins, as registry.json in the kernel's run folder says, else the kernel's settings. What the host
  /// chose and cannot be had is told by trouble(), so that the host can choose anew; other errors are
  /// answered.
  [[nodiscard]] Status open();

  struct Serving {
    explicit Serving(Provider opened) : provider(std::move(opened)), sessions(*provider.registry) {}
    Provider provider;
    Sessions sessions;
  };
  /// kUnavailable: there is none, see trouble().
  [[nodiscard]] Result<std::shared_ptr<Serving>> serving() const;
  [[nodiscard]] std::string trouble() const;
  /// Whether the host chose the provider.
  [[nodiscard]] bool configured() const;

  /// The host's choice: some of the settings registry.*, and the secret of a replicated group. Durable before
  /// it counts; what cannot be opened is taken back. kConflict: something else is served that is not empty,
  /// or was chosen before.
  [[nodiscard]] Status configure(const Settings& settings, const std::string& secret);
  /// Takes the host's choice back; a replicated group is left in good order, for which `force` does not wait.
  /// False: there was none.
  [[nodiscard]] Result<bool> forget(bool force);
  /// The secret of the replicated group that this node is a member of. kConflict.
  [[nodiscard]] Result<std::string> group_secret() const;

  [[nodiscard]] Result<std::uint64_t> lease_of(const std::string& owner);
  void forget_lease(const std::string& owner, std::uint64_t lease);

  Result<mvm::registry::Applied> update(const mvm::registry::Update& update) override;
  Result<mvm::registry::Instance> read(std::string_view name, std::uint64_t index,
                                       std::uint32_t flags) override;
  Result<mvm::registry::Listing> list(std::string_view pattern,
                                      const std::optional<mvm::registry::Position>& after,
                                      std::size_t limit) override;
  Result<mvm::registry::Events> watch(std::uint64_t after, std::string_view pattern,
                                      std::chrono::milliseconds wait, std::size_t limit) override;
  Status keep_alive(std::uint64_t lease) override;
  void stop() override;

 private:
  [[nodiscard]] std::filesystem::path file(const char* name) const { return node_.run / name; }
  [[nodiscard]] Status begin_chosen();
  [[nodiscard]] Status serve(Provider provider);
  [[nodiscard]] Status note(const Settings& settings) const;
  [[nodiscard]] Result<Settings> chosen() const;
  [[nodiscard]] Status empty() const;
  [[nodiscard]] Status clear() const;
  void set_trouble(std::string why);
  void end();

  const kernel::NodeConfig& node_;
  Clock& clock_;
  std::mutex changing_;         // one configure or forget at a time
  std::shared_mutex updating_;  // updates share it: the registry does not change while it is exchanged
  Lent<Serving> serving_;
  mutable std::mutex mutex_;                  // of trouble_
  std::string trouble_ = "it has not begun";  // why nothing is served
};

/// Gives up a replica's part in its group, of which others live; waits until they know, at most 10 s.
[[nodiscard]] Status take_leave(replica::Replica& replica);

}  // namespace mvm::plugins::registry
