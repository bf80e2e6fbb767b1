#include "console.h"

#include <algorithm>

#include "mvm/base/json.h"
#include "mvm/base/number.h"
#include "server.h"

namespace mvm::dvm {
namespace {

using nlohmann::json;

constexpr auto kPatience = std::chrono::seconds(30);

Reply failure(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalid:
      return {2, error.describe(), {}};
    case ErrorCode::kRefused:
      return {7, error.describe(), {}};
    case ErrorCode::kTimeout:
    case ErrorCode::kUnavailable:
      return {6, error.describe(), {}};
    default:
      return {1, error.describe(), {}};
  }
}

Reply wrong(const std::string& what) { return {2, what, {}}; }

/// A command succeeds or fails as its quality of service says. [§2.3]
Reply reply_to(const json& answer) {
  const std::size_t able = array_or_empty(answer, "able").size();
  const std::size_t unable = array_or_empty(answer, "unable").size();
  const std::size_t failed = array_or_empty(answer, "failed").size();
  const std::string counts = std::to_string(able) + " able, " + std::to_string(unable) + " unable";
  if (text_or(answer, "outcome") != "committed")
    return {text_or(answer, "qos") == "all-or-none" ? 5 : 1, "aborted: " + counts, answer};
  if (failed > 0)
    return {1, "committed, and failed on " + std::to_string(failed) + " of them: " + counts, answer};
  return {unable > 0 ? 4 : 0, "committed: " + counts, answer};
}

bool read_option(const std::string& word, std::string_view name, std::string& value) {
  if (word.size() <= name.size() || !word.starts_with(name) || word[name.size()] != '=') return false;
  value = word.substr(name.size() + 1);
  return true;
}

/// LOCATOR [TARGETS] [QOS] [--sharing=..] [--deadline=MS] [--] [ARGUMENT..]
Result<Command> read_command(const std::vector<std::string>& words) {
  Command command;
  command.verb = words[0];
  if (words.size() < 2)
    return Error(ErrorCode::kInvalid, command.verb + ": expected the locator of a plug-in");
  command.locator = words[1];
  std::size_t next = 2;
  if (next < words.size() && words[next] != "--") {
    MVM_ASSIGN(command.targets, Targets::read(words[next++]));
  }
  if (next < words.size() && (words[next] == "all-or-none" || words[next] == "best-effort"))
    command.qos = words[next++] == "best-effort" ? Qos::kBestEffort : Qos::kAllOrNone;
  for (std::string value; next < words.size() && words[next].starts_with("--") && words[next] != "--";
       ++next) {
    if (read_option(words[next], "--sharing", value)) {
      command.sharing = value;
    } else if (read_option(words[next], "--deadline", value)) {
      command.deadline_ms = whole_number<std::uint64_t>(value).value_or(0);
      if (command.deadline_ms < 10)
        return Error(ErrorCode::kInvalid,
                     "--deadline: found \"" + value + "\", expected milliseconds, 10 or more");
    } else {
      return Error(ErrorCode::kInvalid,
                   "found \"" + words[next].substr(0, 40) + "\", expected --sharing=, --deadline= or --");
    }
  }
  if (next < words.size() && words[next] == "--") ++next;
  command.arguments.assign(words.begin() + static_cast<std::ptrdiff_t>(next), words.end());
  return command;
}

}  // namespace

Console::Console(Follower& follower, Users users, Hooks hooks)
    : follower_(follower), users_(std::move(users)), hooks_(std::move(hooks)) {}

void Console::register_user(const std::string& name, const std::string& password, bool owner,
                            std::function<void(Result<SecurityContext>)> done) {
  hooks_.aside([users = users_, name, password, owner, done = std::move(done)]() -> std::function<void()> {
    if (!users.exist() && owner)
      if (Status added = users.add(name, UserRole::kAdministrator, password); !added)
        return [done, error = added.error()] { done(error); };
    return [done, checked = users.check(name, password)] { done(checked); };
  });
}

void Console::run(const SecurityContext& who, const std::vector<std::string>& words, Done done) {
  if (words.empty()) return done(wrong("expected a command"));
  const std::string& verb = words[0];
  const auto need = [&](UserRole role) {
    if (who.role >= role) return true;
    done({7,
          "user " + who.user + " is " + std::string(to_string(who.role)) + "; " + verb +
              " needs a user who is " + std::string(to_string(role)),
          {}});
    return false;
  };
  if (verb == "getvminfo") return info(words.size() > 1 ? words[1] : "members", done);
  if (verb == "load" || verb == "run" || verb == "unload" || verb == "stop") {
    if (need(UserRole::kOperator)) command(who, words, done);
    return;
  }
  if (verb == "state" && words.size() >= 4 && words[1] == "put") {
    if (need(UserRole::kOperator))
      ask({{"what", "state"},
           {"plugin", words[2]},
           {"key", words[3]},
           {"value", words.size() > 4 ? json(words[4]) : json()}},
          done);
    return;
  }
  if (verb == "follow") {
    if (!need(UserRole::kOperator)) return;
    const bool everything = words.size() == 2 && words[1] == "all";
    follower_.follow(everything, everything ? std::vector<std::string>()
                                            : std::vector<std::string>(words.begin() + 1, words.end()));
    return done({0, everything ? "follows all services" : "follows the services named", {}});
  }
  if (!need(UserRole::kAdministrator)) return;
  if (verb == "leave") return ask({{"what", "leave"}}, done);
  if (verb == "remove" && words.size() == 2) return ask({{"what", "remove"}, {"kernel", words[1]}}, done);
  if (verb == "halt") {
    if (!follower_.live()) return done({6, "no status server: " + follower_.reason(), {}});
    follower_.request({{"what", "halt"}}, kPatience, {});
    return done({0, "the kernels of the machine end", {}});
  }
  if (verb == "baseline") {
    json baseline = json::object();
    for (std::size_t i = 1; i < words.size(); ++i) {
      const std::size_t slash = words[i].find('/');
      if (slash == std::string::npos || slash == 0)
        return done(wrong("baseline: found \"" + words[i].substr(0, 40) + "\", expected SERVICE/VERSION"));
      baseline[words[i].substr(0, slash)] = words[i].substr(slash + 1);
    }
    return ask({{"what", "baseline"}, {"baseline", baseline}}, done);
  }
  if (verb == "user") return change_users(words, done);
  done(wrong("found \"" + verb.substr(0, 40) +
             "\", expected load, run, unload, stop, getvminfo, state put, follow, leave, remove KERNEL, "
             "halt, baseline SERVICE/VERSION.., user add or user remove"));
}

void Console::command(const SecurityContext& who, const std::vector<std::string>& words, const Done& done) {
  auto read = read_command(words);
  if (!read) return done(failure(read.error()));
  Command command = *std::move(read);
  command.id = follower_.self().name + "." + follower_.self().incarnation + "." + std::to_string(next_++);
  command.user = who.user;
  command.administrator = who.role == UserRole::kAdministrator;
  if (auto checked = command_from(to_json(command)); !checked) return done(failure(checked.error()));
  follower_.command(
      command, std::chrono::milliseconds(command.deadline_ms) + kPatience,
      [done](Result<json> answer) { done(answer ? reply_to(*answer) : failure(answer.error())); });
}

void Console::ask(json request, const Done& done) {
  follower_.request(std::move(request), kPatience, [done](Result<json> answer) {
    if (!answer) return done(failure(answer.error()));
    done({0, flag_or(*answer, "changed", true) ? "done" : "nothing changed", {}});
  });
}

/// What this kernel knows by itself, also without a server; all else is the server's to say.
void Console::info(const std::string& key, const Done& done) {
  if (key == "self")
    return done({0,
                 "",
                 {{"kernel", follower_.self().name},
                  {"incarnation", follower_.self().incarnation},
                  {"address", follower_.self().address},
                  {"live", follower_.live()},
                  {"reason", follower_.reason()},
                  {"number", follower_.view().number},
                  {"server", follower_.view().server},
                  {"term", follower_.view().term}}});
  if (key == "events") return done({0, "", json(follower_.events())});
  if (key.starts_with("view/")) return done({0, "", info_of(follower_.view(), key.substr(5))});
  follower_.request({{"what", "info"}, {"key", key}}, kPatience, [done, key](Result<json> answer) {
    if (!answer) return done(failure(answer.error()));
    json found = answer->value("info", json());
    if (found.is_null()) return done({1, "nothing is known under \"" + key.substr(0, 80) + "\"", {}});
    done({0, "", std::move(found)});
  });
}

void Console::change_users(const std::vector<std::string>& words, const Done& done) {
  const bool add = words.size() == 5 && words[1] == "add";
  const bool remove = words.size() == 3 && words[1] == "remove";
  if (!add && !remove) return done(wrong("expected user add NAME ROLE PASSWORD, or user remove NAME"));
  auto role = add ? user_role_from(words[3]) : Result<UserRole>(UserRole::kViewer);
  if (!role) return done(failure(role.error()));
  hooks_.aside([users = users_, words, add, role = *role, done]() -> std::function<void()> {
    const Status changed = add ? users.add(words[2], role, words[4]) : users.remove(words[2]);
    return [done, changed] { done(changed ? Reply{0, "done", {}} : failure(changed.error())); };
  });
}

}  // namespace mvm::dvm
