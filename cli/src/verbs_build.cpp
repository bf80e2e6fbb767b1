// mvm build ...

#include <algorithm>
#include <ostream>

#include "common.h"
#include "follow.h"
#include "format.h"

namespace mvm::cli {
namespace {

constexpr std::size_t kShownKey = 12;

Listing build_listing(const std::vector<soap::BuildView>& builds) {
  Listing listing("build", {{"KEY", "key"},
                            {"STATE", "state"},
                            {"ROLE", "role"},
                            {"IMAGE", "image"},
                            {"ARCH", "architecture"},
                            {"NODE", "node"},
                            {"TOOK", "wall_ms", true},
                            {"SIZE", "size", true},
                            {"HITS", "hits", true},
                            {"WHEN", "time"},
                            {"COMMAND", "command"},
                            {"", "digest"}});
  for (const soap::BuildView& build : builds) {
    listing.row({{build.key.substr(0, kShownKey), build.key},
                 build.state,
                 build.role,
                 build.image,
                 build.architecture,
                 build.node,
                 {human_duration(static_cast<std::int64_t>(build.wall_ms)), build.wall_ms},
                 {human_bytes(build.size), build.size},
                 build.hits,
                 {local_time(build.at_ms), iso_time(build.at_ms)},
                 {cut(one_line(build.command), 60), build.command},
                 build.digest});
  }
  return listing;
}

Result<std::vector<soap::BuildView>> all_builds(Session& session) {
  MVM_ASSIGN(auto api, session.api());
  return api.store.builds(session.caller());
}

/// The whole key that a beginning of it means.
Result<std::string> resolve_key(Session& session, const std::string& text) {
  MVM_ASSIGN(const auto builds, all_builds(session));
  std::vector<std::string> found;
  for (const soap::BuildView& build : builds) {
    if (build.key == text) return build.key;
    if (build.key.starts_with(text)) found.push_back(build.key);
  }
  if (found.size() == 1) return found[0];
  session.hint("mvm build status");
  if (found.empty()) return Error(ErrorCode::kNotFound, "found no build '" + text + "'");
  return Error(ErrorCode::kInvalid, "found " + std::to_string(found.size()) + " builds that begin with '" +
                                        text + "', expected one");
}

void add_status(Grammar& grammar, CLI::App& noun) {
  auto watch = std::make_shared<std::shared_ptr<Watch>>();
  CLI::App& verb = grammar.verb(noun, "status", "what is and was compiled, where, and how long it took",
                                {"mvm build status", "mvm build status --watch"}, [watch](Session& session) {
                                  return show<Listing>(session, **watch, [&]() -> Result<Listing> {
                                    MVM_ASSIGN(const auto builds, all_builds(session));
                                    return build_listing(builds);
                                  });
                                });
  *watch = add_watch(grammar, verb);
}

void add_logs(Grammar& grammar, CLI::App& noun) {
  struct Options {
    std::string key;
    bool follow = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(
      noun, "logs", "what the compiler said", {"mvm build logs 3f2a91", "mvm build logs -f 3f2a91"},
      [options](Session& session) -> Result<int> {
        MVM_ASSIGN(const std::string key, resolve_key(session, options->key));
        MVM_ASSIGN(auto api, session.api());
        std::uint64_t cursor = 0;
        LogPrinter printer(session, {.noun = "build-log"});
        Pacer pacer(session);
        for (;;) {
          const auto wait = options->follow && cursor > 0 ? kLongPoll : std::chrono::milliseconds(0);
          pacer.begin();
          MVM_ASSIGN(const auto page, patiently(session, std::chrono::seconds(options->follow ? 60 : 0), [&] {
                       return api.store.build_log(session.caller(), key, cursor, wait);
                     }));
          cursor = page.cursor;
          for (soap::LogPiece piece : page.pieces) {
            // Asked for by name, the compiler's words are the result.
            if (session.as_table()) piece.stream = "out";
            printer.print(piece);
          }
          if (page.ended || (!options->follow && page.pieces.empty()) || !session.out()) break;
          pacer.end(!page.pieces.empty());
        }
        printer.finish();
        return kDone;
      });
  verb.add_option("KEY", options->key, "the build's key, or its beginning")->required();
  verb.add_flag("-f,--follow", options->follow, "go on until it ends");
}

void add_cache(Grammar& grammar, CLI::App& noun) {
  struct Options {
    std::string key;
    bool clear = false, dry_run = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb =
      grammar.verb(noun, "cache", "binaries kept for the next time; --clear drops them",
                   {"mvm build cache", "mvm build cache --clear", "mvm build cache --clear 3f2a91"},
                   [options](Session& session) -> Result<int> {
                     if (!options->clear || options->dry_run) {
                       MVM_ASSIGN(auto builds, all_builds(session));
                       std::erase_if(builds, [&](const soap::BuildView& build) {
                         return build.digest.empty() || !build.key.starts_with(options->key);
                       });
                       session.print(build_listing(builds));
                       return kDone;
                     }
                     std::string key;
                     if (!options->key.empty()) {
                       MVM_ASSIGN(key, resolve_key(session, options->key));
                     }
                     MVM_ASSIGN(auto api, session.api());
                     MVM_ASSIGN(const std::uint64_t dropped, api.store.drop_builds(session.caller(), key));
                     if (session.as_table()) {
                       session.out() << count_of(dropped, "build") << " dropped\n";
                     } else {
                       Json json = schema_object("build-cache-clear");
                       json["dropped"] = dropped;
                       print_json(session.out(), session.format(), json);
                     }
                     return kDone;
                   });
  verb.add_option("KEY", options->key, "only this build: its key, or the beginning of it");
  verb.add_flag("--clear", options->clear, "drop those that no job uses");
  verb.add_flag("--dry-run", options->dry_run, "with --clear: only list them");
}

}  // namespace

void add_build_verbs(Grammar& grammar) {
  CLI::App& noun = grammar.noun("build", "builds: from source to binaries");
  add_status(grammar, noun);
  add_logs(grammar, noun);
  add_cache(grammar, noun);
}

}  // namespace mvm::cli
