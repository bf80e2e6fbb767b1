// One member of a replicated journal as a process, driven by lines: what tests/chaos kills, cuts off and
// asks.
//
//   chaos_member ID ADDRESS FOLDER GROUP SECRET BEAT_MS
//
// It says "ready LIFE ADDRESS", then answers each line "VERB TOKEN ..." with one that begins with the same
// two words:
//   bootstrap T ID@ADDRESS...   join T ID@ADDRESS...   dead T ID LIFE   lost T ID
//   set T KEY VALUE    ok INDEX PLACE | no WHY | unknown WHY
//   get T KEY          ok VALUE | no WHY
//   info T             LEADS ACTIVE TERM EPOCH APPLIED LEADER
//   dump T FILE        COUNT HASH; the file has the journal as it is here, "INDEX COMMAND" a line

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <mutex>
#include <sstream>

#include "chaos/journal.h"
#include "mvm/base/log.h"

namespace {

using mvm::Status;
using mvm::replica::Applied;
using mvm::replica::Member;

void say(const std::string& line) {
  static std::mutex mutex;
  const std::lock_guard guard(mutex);
  std::cout << line << std::endl;
}

std::vector<Member> members_of(std::istream& in) {
  std::vector<Member> members;
  std::string text;
  while (in >> text) {
    const std::size_t at = text.find('@');
    members.push_back(Member{std::stoull(text.substr(0, at)), text.substr(at + 1)});
  }
  return members;
}

std::string outcome(const mvm::Error& error, bool may_be_done) {
  return std::string(may_be_done ? "unknown " : "no ") + std::string(mvm::to_string(error.code())) + " " +
         error.message();
}

class Driver {
 public:
  Driver(mvm::replica::Replica& replica, mvm::test::Journal& journal)
      : replica_(replica), journal_(journal) {}

  void take(const std::string& line) {
    std::istringstream in(line);
    std::string verb;
    std::string token;
    in >> verb >> token;
    const std::string head = verb + " " + token + " ";
    if (verb == "set") {
      std::string command;
      std::getline(in.ignore(1), command);
      replica_.propose(
          command, [head](mvm::Result<Applied> done) { say(head + set_outcome(std::move(done))); }, limit_);
    } else if (verb == "get") {
      std::string key;
      in >> key;
      replica_.barrier(
          [this, head, key](Status status) {
            say(head + (status ? "ok " + journal_.get(key) : outcome(status.error(), false)));
          },
          limit_);
    } else if (verb == "bootstrap" || verb == "join") {
      const auto members = members_of(in);
      const Status status = verb == "join" ? replica_.join(members) : replica_.bootstrap(members);
      say(head + (status ? "ok" : outcome(status.error(), false)));
    } else if (verb == "dead") {
      mvm::replica::Life life;
      in >> life.id >> life.life;
      replica_.confirm_death(life);
      say(head + "ok");
    } else if (verb == "lost") {
      std::uint64_t id = 0;
      in >> id;
      replica_.confirm_lost(id);
      say(head + "ok");
    } else if (verb == "info") {
      const auto info = replica_.info();
      say(head + std::to_string(info.leads) + " " + std::to_string(info.active) + " " +
          std::to_string(info.term) + " " + std::to_string(info.epoch) + " " + std::to_string(info.applied) +
          " " + std::to_string(info.leader.id));
    } else if (verb == "dump") {
      std::string file;
      in >> file;
      replica_.post([this, head, file] {
        std::ofstream out(file);
        for (const auto& [index, command] : journal_.entries()) out << index << ' ' << command << '\n';
        out.close();
        say(head + std::to_string(journal_.entries().size()) + " " + std::to_string(journal_.hash()));
      });
    } else {
      say(head + "no such verb");
    }
  }

 private:
  static std::string set_outcome(mvm::Result<Applied> done) {
    if (done) return "ok " + std::to_string(done->index) + " " + done->result;
    const mvm::ErrorCode code = done.error().code();
    const bool sure = code == mvm::ErrorCode::kConflict || code == mvm::ErrorCode::kExhausted ||
                      code == mvm::ErrorCode::kInvalid;
    return outcome(done.error(), !sure);
  }

  mvm::replica::Replica& replica_;
  mvm::test::Journal& journal_;
  std::chrono::milliseconds limit_{5000};
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  mvm::log::start("chaos_member", mvm::log::Level::kInfo, "");
  mvm::replica::Options options;
  options.self = Member{std::stoull(argv[1]), argv[2]};
  options.folder = argv[3];
  options.group = argv[4];
  options.secret = argv[5];
  options.beat = std::chrono::milliseconds(std::stol(argv[6]));
  options.patience = options.beat * 3;
  options.limits.snapshot_every = 256;
  mvm::test::Journal journal;
  mvm::replica::Callbacks callbacks;
  callbacks.ended = [](const mvm::Error& why) { say("ended 0 " + why.message()); };
  auto replica = mvm::replica::Replica::open(options, journal, callbacks);
  if (!replica) {
    std::cerr << replica.error().describe() << std::endl;
    return 1;
  }
  say("ready " + std::to_string((*replica)->info().life) + " " + (*replica)->self().address);
  Driver driver(**replica, journal);
  std::string line;
  while (std::getline(std::cin, line)) driver.take(line);
  (*replica)->stop();
  return 0;
}
