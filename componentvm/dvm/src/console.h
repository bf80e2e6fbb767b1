#pragma once
// What users say to a kernel: <command> <locator> <targets> <quality of service> [more]. [Harness 000, §2.3]

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "follower.h"
#include "mvm/dvm/users.h"

namespace mvm::dvm {

/// What a user is told.
struct Reply {
  int code =
      0;  ///< as the command line's: 0 done, 1 failed, 2 wrong, 4 in part, 5 aborted, 6 no server, 7 refused
  std::string message;
  nlohmann::json answer;
};

/// Of one event loop's thread.
class Console {
 public:
  using Done = std::function<void(Reply)>;
  struct Hooks {
    /// Runs something where it may take its time; the second part on the loop again.
    std::function<void(std::function<std::function<void()>()>)> aside;
  };
  Console(Follower& follower, Users users, Hooks hooks);

  /// registerUser. The first user ever, where this is the kernel's own owner, becomes its administrator.
  void register_user(const std::string& name, const std::string& password, bool owner,
                     std::function<void(Result<SecurityContext>)> done);
  /// One command of a user who has registered.
  void run(const SecurityContext& who, const std::vector<std::string>& words, Done done);

 private:
  void command(const SecurityContext& who, const std::vector<std::string>& words, const Done& done);
  void ask(nlohmann::json request, const Done& done);
  void info(const std::string& key, const Done& done);
  void change_users(const std::vector<std::string>& words, const Done& done);

  Follower& follower_;
  Users users_;
  Hooks hooks_;
  std::uint64_t next_ = 1;
};

}  // namespace mvm::dvm
