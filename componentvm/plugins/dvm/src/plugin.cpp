// The distributed virtual machine as a plug-in: a kernel that does not load it belongs to none and pays for
// none. [Engelmann & Geist, lightweight kernel, §4] Its settings are the file dvm.json in the kernel's run
// folder; without it, the plug-in waits for the host's `dvm.configure`.

#include "mvm/kernel/plugin.h"

#include <unistd.h>

#include <csignal>
#include <memory>
#include <mutex>
#include <thread>

#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/base/lent.h"
#include "mvm/base/log.h"
#include "mvm/base/secret_file.h"
#include "mvm/dvm/node.h"
#include "mvm/dvm/users.h"

namespace mvm::kernel {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kPatience{60};
constexpr std::chrono::seconds kLeave{5};
constexpr std::size_t kShortestSecret = 16;
constexpr std::size_t kLongestSecret = 4096;
constexpr std::size_t kLargestUsers = 1 << 20;

class DvmPlugin final : public Plugin {
 public:
  Status start(Kernel& kernel) override {
    kernel_ = &kernel;
    std::error_code ignored;
    if (std::filesystem::exists(file("dvm.json"), ignored)) MVM_TRY(begin());
    return offer();
  }

  void stop() override { (void)end(); }

 private:
  /// What it was told, and its part of the machine.
  struct Joined {
    dvm::Settings settings;
    std::unique_ptr<dvm::Node> node;
  };

  Status offer() {
    MVM_TRY(on("dvm.command", [this](Call& call) -> Result<Answer> {
      MVM_ASSIGN(const auto words, texts_of(call.args, "argv", 1024, 1 << 20));
      return command(words);
    }));
    MVM_TRY(on("dvm.state.put", [this](Call& call) -> Result<Answer> {
      MVM_ASSIGN(const std::string plugin, need_text(call.args, "plugin", 300));
      MVM_ASSIGN(const std::string key, need_text(call.args, "key", 1024));
      std::vector<std::string> words{"state", "put", plugin, key};
      if (call.args.contains("value")) {
        if (!call.args["value"].is_string()) return Error(ErrorCode::kInvalid, "value: expected a text");
        words.push_back(call.args["value"].get<std::string>());
      }
      return command(words);
    }));
    MVM_TRY(on("dvm.state.get", [this](Call& call) -> Result<Answer> {
      MVM_ASSIGN(const std::string plugin, need_text(call.args, "plugin", 300));
      return command({"getvminfo", "states/" + plugin});
    }));
    MVM_TRY(on("dvm.run-ended", [this](Call& call) -> Result<Answer> {
      if (const auto joined = joined_.borrow()) joined->node->thread_ended(text_or(call.args, "run"));
      return Answer{};
    }));
    MVM_TRY(on("dvm.configure", [this](Call& call) { return configure(call); }));
    MVM_TRY(on("dvm.self", [this](Call&) { return self(); }));
    MVM_TRY(on("dvm.invite", [this](Call& call) { return invite(call); }));
    return on("dvm.forget", [this](Call& call) { return forget(call); });
  }

  Status on(const char* op, Handler handler) { return kernel_->handle(op, std::move(handler)); }

  // ---- the machine that this kernel belongs to ----------------------------------------------------------

  [[nodiscard]] std::filesystem::path file(const char* name) const { return kernel_->config().run / name; }

  Status begin() {
    const NodeConfig& config = kernel_->config();
    // One by one: GCC 12 takes a temporary of an aggregate's defaults for uninitialised.
    dvm::Settings defaults;
    defaults.vm = config.lab;
    defaults.kernel = config.node;
    defaults.secret = file("dvm.secret");
    defaults.users = file("dvm.users");
    defaults.state = file("dvm");
    defaults.socket = file("harness.sock");
    MVM_ASSIGN(dvm::Settings settings, dvm::read_settings(file("dvm.json"), std::move(defaults)));
    dvm::Host host{.call = [this](const std::string& op, const json& args) -> Result<json> {
                     MVM_ASSIGN(Answer answer, kernel_->call({op, args, {}, {}}));
                     return std::move(answer.result);
                   },
                   .submit = [this](std::function<void()> job) { return kernel_->submit(std::move(job)); },
                   // The launcher, which ends the kernel in good order.
                   .end = [] { ::kill(::getppid(), SIGTERM); }};
    auto joined = std::make_unique<Joined>();
    joined->settings = settings;
    MVM_ASSIGN(joined->node, dvm::Node::start(std::move(settings), std::move(host)));
    joined_.lend(std::move(joined));
    return ok();
  }

  /// False where there was none. Returns when also those who use it at the moment have let it go.
  bool end() {
    return joined_.take_back([](Joined&) {});
  }

  Result<Answer> command(const std::vector<std::string>& words) {
    MVM_ASSIGN(const auto joined, this->joined());
    MVM_ASSIGN(json reply, joined->node->command(words, kPatience));
    return Answer{std::move(reply), {}, {}};
  }

  // ---- as the host wants it -----------------------------------------------------------------------------

  /// {settings, secret, users | user, password}: what a former machine left is forgotten.
  Result<Answer> configure(const Call& call) {
    MVM_TRY(only_host(call));
    MVM_ASSIGN(const std::string secret, need_text(call.args, "secret", kLongestSecret));
    if (secret.size() < kShortestSecret)
      return Error(ErrorCode::kInvalid, "secret: expected 16 to 4096 bytes");
    const std::string users = text_or(call.args, "users");
    if (users.size() > kLargestUsers) return Error(ErrorCode::kInvalid, "users: at most 1 MiB");
    const std::lock_guard one(changing_);
    if (const auto joined = joined_.borrow())
      return Error(ErrorCode::kConflict,
                   "this kernel belongs to machine " + joined->settings.vm + " already");
    MVM_TRY(clear());
    Status begun = write(object_or_empty(call.args, "settings"), secret, users);
    if (begun && call.args.contains("user"))
      begun =
          dvm::Users(file("dvm.users"))
              .add(text_or(call.args, "user"), dvm::UserRole::kAdministrator, text_or(call.args, "password"));
    if (begun) begun = begin();
    if (!begun) {
      (void)clear();
      return begun.error();
    }
    MVM_ASSIGN(const auto joined, this->joined());
    return Answer{{{"vm", joined->settings.vm}, {"address", joined->node->address().text()}}, {}, {}};
  }

  Status write(const json& settings, const std::string& secret, const std::string& users) const {
    MVM_TRY(write_file_durably(file("dvm.secret"), secret, 0600));
    if (!users.empty()) MVM_TRY(write_file_durably(file("dvm.users"), users, 0600));
    return write_file_durably(file("dvm.json"), settings.dump(-1, ' ', false, json::error_handler_t::replace),
                              0600);
  }

  Status clear() const {
    for (const char* name : {"dvm.json", "dvm.secret", "dvm.users", "dvm"}) MVM_TRY(remove_tree(file(name)));
    return ok();
  }

  [[nodiscard]] Result<std::shared_ptr<Joined>> joined() const {
    if (auto joined = joined_.borrow()) return joined;
    return Error(ErrorCode::kConflict, "this kernel belongs to no distributed virtual machine");
  }

  /// {vm, ...getvminfo self}; vm is empty where the kernel belongs to none.
  Result<Answer> self() {
    const auto joined = joined_.borrow();
    if (!joined) return Answer{{{"vm", ""}}, {}, {}};
    MVM_ASSIGN(const json reply, joined->node->command({"getvminfo", "self"}, kPatience));
    json told = object_or_empty(reply, "answer");
    told["vm"] = joined->settings.vm;
    return Answer{std::move(told), {}, {}};
  }

  /// What another kernel needs to be told to join: {vm, secret, users}.
  Result<Answer> invite(const Call& call) {
    MVM_TRY(only_host(call));
    MVM_ASSIGN(const auto joined, this->joined());
    const dvm::Settings& settings = joined->settings;
    MVM_ASSIGN(const std::string secret, read_secret_file(settings.secret, kShortestSecret));
    json answer{{"vm", settings.vm}, {"secret", secret}};
    if (dvm::Users(settings.users).exist()) {
      MVM_ASSIGN(answer["users"], read_file(settings.users, kLargestUsers));
    }
    return Answer{std::move(answer), {}, {}};
  }

  /// {left?}: the kernel belongs to no machine from here on, and has kept nothing of it. Where it has just
  /// left, its copy of the log takes leave of the others first.
  Result<Answer> forget(const Call& call) {
    MVM_TRY(only_host(call));
    const std::lock_guard one(changing_);
    if (flag_or(call.args, "left")) wait_out();
    const bool was = end();
    MVM_TRY(clear());
    return Answer{{{"changed", was}}, {}, {}};
  }

  void wait_out() const {
    const auto log = file("dvm") / "log";
    std::error_code ignored;
    for (const auto until = std::chrono::steady_clock::now() + kLeave;
         std::filesystem::exists(log, ignored) && std::chrono::steady_clock::now() < until;)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }

  Kernel* kernel_ = nullptr;
  std::mutex changing_;  // one configure or forget at a time
  Lent<Joined> joined_;
};

}  // namespace
}  // namespace mvm::kernel

using mvm::kernel::DvmPlugin;
MVM_KERNEL_PLUGIN(DvmPlugin, "dvm", "1.0.0")
